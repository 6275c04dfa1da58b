"""Reload triggers by `kubectl annotate`: each form, each token once, with and without a running worker."""

from __future__ import annotations

import re
import time

import pytest
from cluster import Namespace, Object, until
from manifests import Shop, flow, resource

TABLES = ("users", "orders")
# Trigger, value, the streams that it loads, whether in full.
FORMS = [
    ("full_load", "{}", ("users", "orders"), True),
    ("delta_load", "{}", ("users", "orders"), False),
    ("full_load_public.users", "{}", ("users",), True),
    ("delta_load_public.orders", "{}", ("orders",), False),
    ("full_load", "{};tables=public.users", ("users",), True),
    ("delta_load", "{};tables=public.users,public.orders", ("users", "orders"), False),
]


def prepared(namespace: Namespace, shop: Shop, **spec: object) -> Object:
    """Two tables, delivered once, by a Connector that belongs to this test alone."""
    connector = namespace.name
    recipe = {"type": "postgres", "roles": ["source", "destination"], "credentials": [{"name": "password"}]}
    namespace.outside.append(f"connector/{connector}")
    for table in TABLES:
        shop.table(table, 100)
    namespace.apply(
        resource("Connector", connector, recipe),
        shop.secret,
        shop.source(*TABLES, connector=connector),
        flow("copy", "shop", shop.destination(), **spec),
    )
    namespace.wait_for("Ready", "flow/copy")
    until(lambda: all(shop.same(table) for table in TABLES), 120, lambda: shop.difference("users"))
    until(lambda: len(loads(namespace)) == 2, 120, "both tables in status.streams")
    return namespace.must("flows", "copy")


def loads(namespace: Namespace) -> dict[str, tuple[str, str]]:
    """When each table was last loaded, in full and by delta."""
    streams = namespace.must("flows", "copy").get("status", {}).get("streams", [])
    return {
        stream["name"].removeprefix("public."): (stream.get("lastFullLoad", ""), stream.get("lastDeltaLoad", ""))
        for stream in streams
        if stream.get("lastFullLoad")
    }


@pytest.mark.long
@pytest.mark.parametrize("mode", ["Batch", "Continuous"])
def test_each_form_on_each_kind_loads_what_it_names(
    namespace: Namespace, operator: None, shop: Shop, mode: str
) -> None:
    prepared(namespace, shop, mode=mode)
    next_row = 1000
    for kind in ("flow/copy", "source/shop", f"connector/{namespace.name}"):
        for number, (name, value, tables, full) in enumerate(FORMS):
            # Status has whole seconds.
            time.sleep(1)
            before = loads(namespace)
            for table in TABLES:
                shop.insert(table, next_row, next_row + 4)
            next_row += 10
            token = namespace.trigger(kind, name, value.format(f"{kind.split('/')[0]}-{number}"))
            done = namespace.await_token("copy", token)
            where = f"{kind} {name}={value}: {done}"
            assert done["name"] == name, where
            assert done["rows"] >= 5 * len(tables), where

            def loaded(before: dict[str, tuple[str, str]] = before) -> set[str]:
                return {table for table, times in loads(namespace).items() if times != before[table]}

            until(lambda: loaded() >= set(tables), 120, where)
            assert loaded() == set(tables), where
            for table in tables:
                assert shop.same(table), shop.difference(table)
                assert (loads(namespace)[table][0] != before[table][0]) == full, where


def test_an_equal_token_does_nothing_and_a_new_one_does(namespace: Namespace, operator: None, shop: Shop) -> None:
    prepared(namespace, shop)
    namespace.trigger("flow/copy", "full_load", "one")
    first = namespace.await_token("copy", "one")
    jobs = {job["metadata"]["uid"] for job in namespace.list("jobs")}

    namespace.trigger("flow/copy", "full_load", "one")
    # Something that the operator answers after it has seen the equal token.
    namespace.kubectl("label", "flow/copy", "seen=yes")
    time.sleep(3)
    assert namespace.token("copy", "one") == first
    assert {job["metadata"]["uid"] for job in namespace.list("jobs")} <= jobs

    namespace.trigger("flow/copy", "full_load", "two")
    namespace.await_token("copy", "two")
    states = [(t["token"], t["state"]) for t in triggers(namespace) if t["name"] == "full_load"]
    assert states == [("one", "Succeeded"), ("two", "Succeeded")]


def triggers(namespace: Namespace) -> list[Object]:
    found: list[Object] = namespace.must("flows", "copy")["status"].get("triggers", [])
    return sorted(found, key=lambda one: str(one.get("requestedAt")))


def test_a_token_that_is_there_first_is_not_run(namespace: Namespace, operator: None, shop: Shop) -> None:
    shop.table("users", 10)
    annotations = {"millrace.dev/full_load": "old"}
    namespace.apply(
        shop.secret, shop.source("users"), flow("copy", "shop", shop.destination(), annotations=annotations)
    )
    namespace.wait_for("LastRunSucceeded", "flow/copy")
    old = namespace.token("copy", "old")
    assert old is not None and old["state"] == "Initial", old


def test_a_name_that_no_table_has_fails_and_is_told(namespace: Namespace, operator: None, shop: Shop) -> None:
    prepared(namespace, shop)
    namespace.trigger("flow/copy", "full_load_public.userz", "typo")
    namespace.await_token("copy", "typo", "Failed")
    warnings = until(
        lambda: [e for e in namespace.events() if e["type"] == "Warning" and "userz" in e.get("note", "")],
        120,
        lambda: str([(e["reason"], e.get("note")) for e in namespace.events()]),
    )
    assert warnings[0]["regarding"]["kind"] == "Flow"


def test_tokens_that_wait_for_the_same_load_share_a_run(namespace: Namespace, operator: None, shop: Shop) -> None:
    prepared(namespace, shop)
    namespace.kubectl("patch", "flow/copy", "--type=merge", "-p", '{"spec":{"suspend":true}}')
    namespace.await_condition("flows", "copy", "Ready", "True", "Suspended")
    everything = ["flow/copy", "source/shop", f"connector/{namespace.name}"]
    asked = [(resource, "full_load") for resource in everything] + [("flow/copy", "delta_load_public.users")]
    tokens = [namespace.trigger(resource, name, f"wait-{number}") for number, (resource, name) in enumerate(asked)]
    for token in tokens:
        namespace.await_token("copy", token, "Waiting")
    before = {job["metadata"]["name"] for job in namespace.list("jobs")}
    namespace.kubectl("patch", "flow/copy", "--type=merge", "-p", '{"spec":{"suspend":false}}')
    *whole, table = [namespace.await_token("copy", token)["job"] for token in tokens]
    assert len(set(whole)) == 1 and table not in whole, (whole, table)
    after = {job["metadata"]["name"] for job in namespace.list("jobs")}
    assert after - before == {table, *whole}


def test_a_running_worker_takes_a_trigger_without_a_restart(namespace: Namespace, operator: None, shop: Shop) -> None:
    prepared(namespace, shop, mode="Continuous")
    (worker,) = namespace.workers("copy")
    for number in range(5):
        namespace.trigger("flow/copy", "full_load", f"now-{number}")
        namespace.await_token("copy", f"now-{number}")
    (same,) = namespace.workers("copy")
    assert same["metadata"]["uid"] == worker["metadata"]["uid"]
    assert same["status"]["containerStatuses"][0]["restartCount"] == 0
    assert [job for job in namespace.list("jobs") if re.search("millrace.dev/run", str(job["metadata"]))] == []
