"""The clock, and what stops it."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
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
    assert due.second == 0 and -5 < (due - now).total_seconds() <= 60, (due, now)
    # Nothing runs before.
    assert namespace.list("jobs", "millrace.dev/flow=copy") == [] or datetime.now(UTC) >= due

    until(lambda: shop.same("users"), (due - datetime.now(UTC)).total_seconds() + 60, lambda: shop.difference("users"))
    (job,) = namespace.list("jobs", "millrace.dev/flow=copy")[:1]
    made = datetime.fromisoformat(job["metadata"]["creationTimestamp"].replace("Z", "+00:00"))
    assert 0 <= (made - due).total_seconds() <= 30, (made, due)
    namespace.wait_for("LastRunSucceeded", "flow/copy")

    def later() -> bool:
        text = namespace.must("flows", "copy")["status"].get("nextRun", "")
        return bool(text) and datetime.fromisoformat(text.replace("Z", "+00:00")) > due

    until(later, 20, "nextRun goes on")


@pytest.mark.long
def test_an_interval_loads_again(namespace: Namespace, operator: None, shop: Shop) -> None:
    shop.table("users", 100)
    source = shop.source("users", deltaLoadInterval="60s")
    namespace.apply(shop.secret, source, flow("copy", "shop", shop.destination()))
    namespace.wait_for("LastRunSucceeded", "flow/copy")
    shop.insert("users", 1000, 1009)
    until(lambda: shop.same("users"), 110, lambda: shop.difference("users"))


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
