"""With nothing to do, nothing is written."""

from __future__ import annotations

import time

import install
import pytest
from audit import Audit, told
from cluster import Namespace, until
from manifests import Shop, flow, resource

# The operator looks again after so many seconds at what a person must put right, and at who uses each Connector.
RESYNC = 60
PERIODS = 3


@pytest.mark.long
@pytest.mark.own
def test_nothing_is_written_when_there_is_nothing_to_do(
    namespace: Namespace, operator: None, shop: Shop, audit: Audit
) -> None:
    shop.table("users", 100)
    connector = namespace.name
    namespace.outside.append(f"connector/{connector}")
    recipe = {"type": "postgres", "roles": ["source", "destination"], "credentials": [{"name": "password"}]}
    namespace.apply(
        resource("Connector", connector, recipe),
        shop.secret,
        shop.source("users", connector=connector),
        flow("done", "shop", shop.destination()),
        flow("waits", "shop", shop.destination(schema="other"), schedule="0 3 1 1 *"),
        flow("rests", "shop", shop.destination(schema="third"), suspend=True),
        flow("follows", "shop", shop.destination(schema="followed"), mode="Continuous"),
        flow("cannot", "shops", shop.destination(schema="fourth")),
        resource("Job", "once", {"flow": {"name": "waits"}, "load": "Full"}),
    )
    namespace.wait_for("LastRunSucceeded", "flow/done")
    namespace.wait_for("Succeeded", "mrj/once")
    namespace.wait_for("Ready", "flow/follows")
    namespace.await_condition("flows", "rests", "Ready", "True", "Suspended")
    namespace.await_condition("flows", "cannot", "Ready", "False")
    # A Connector's users are counted once a minute.
    uses = lambda: namespace.must("connectors", connector).get("status", {}).get("uses", [])  # noqa: E731
    until(lambda: any(one["sources"] == 1 for one in uses()), 120, "its users are counted")
    until(lambda: audit.calm(10, namespace.name), 120, lambda: told(audit.written(namespace.name)[-5:]))

    quiet = Audit()
    time.sleep(RESYNC * PERIODS + 5)
    # Operators of other tests count the users of every Connector, too.
    ours = [r for r in quiet.written() if install.SYSTEM in r.user or namespace.name in r.user]
    written = [r for r in ours if r.namespace == namespace.name or r.name == connector]
    assert not written, told(written)
