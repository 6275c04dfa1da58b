"""The clock, and what stops it."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from audit import moment
from cluster import Namespace, until
from manifests import Shop, flow


@pytest.mark.long
def test_a_schedule_runs_at_its_minute(namespace: Namespace, operator: None, shop: Shop) -> None:
    shop.table("users", 100)
    scheduled = flow("copy", "shop", shop.destination(), schedule="* * * * *", timeZone="Europe/Stockholm")
    namespace.apply(shop.secret, shop.source("users"), scheduled)
    namespace.wait_for("Ready", "flow/copy")
    status = namespace.must("flows", "copy")["status"]
    due = datetime.fromisoformat(status["nextRun"].replace("Z", "+00:00"))
    now = datetime.now(UTC)
    # The status may be some seconds old by now.
    assert due.second == 0 and -60 < (due - now).total_seconds() <= 60, (due, now)

    until(lambda: shop.same("users"), 240, lambda: shop.difference("users"))
    made = until(lambda: [one for one in runs(namespace) if one >= due], 120, lambda: f"{runs(namespace)} {due}")
    assert (made[0] - due).total_seconds() < 60, (made, due)
    # Nothing runs before the first minute that begins once the Flow is there.
    first = moment(namespace.must("flows", "copy")["metadata"]["creationTimestamp"])
    assert runs(namespace)[0] >= first.replace(second=0) + timedelta(minutes=1), (runs(namespace), first)
    namespace.wait_for("LastRunSucceeded", "flow/copy")

    def later() -> bool:
        text = namespace.must("flows", "copy")["status"].get("nextRun", "")
        return bool(text) and datetime.fromisoformat(text.replace("Z", "+00:00")) > due

    until(later, 120, "nextRun goes on")


def runs(namespace: Namespace) -> list[datetime]:
    """When each run of the Flow was made, the first one first."""
    jobs = namespace.list("jobs", "millrace.dev/flow=copy")
    return sorted(moment(one["metadata"]["creationTimestamp"]) for one in jobs)


@pytest.mark.long
def test_an_interval_loads_again(namespace: Namespace, operator: None, shop: Shop) -> None:
    shop.table("users", 100)
    source = shop.source("users", deltaLoadInterval="60s")
    namespace.apply(shop.secret, source, flow("copy", "shop", shop.destination()))
    namespace.wait_for("LastRunSucceeded", "flow/copy")
    shop.insert("users", 1000, 1009)
    until(lambda: shop.same("users"), 240, lambda: shop.difference("users"))


def test_a_suspended_flow_rests_and_says_so(namespace: Namespace, operator: None, shop: Shop) -> None:
    shop.table("users", 100)
    namespace.apply(shop.secret, shop.source("users"), flow("copy", "shop", shop.destination(), suspend=True))
    namespace.await_condition("flows", "copy", "Ready", "True", "Suspended")
    namespace.trigger("flow/copy", "full_load", "wait")
    namespace.await_token("copy", "wait", "Waiting")
    time.sleep(5)
    assert not shop.same("users")
    assert [p for p in namespace.pods("copy") if p["status"]["phase"] != "Succeeded"] == []

    namespace.kubectl("patch", "flow/copy", "--type=merge", "-p", '{"spec":{"suspend":false}}')
    namespace.await_token("copy", "wait")
    assert shop.same("users"), shop.difference("users")
    namespace.await_condition("flows", "copy", "Ready", "True")
