"""What people change while things run: specs, Secrets, whole resources."""

from __future__ import annotations

import roles
from cluster import Namespace, condition, until
from manifests import Shop, flow, secret


def test_a_table_more_is_loaded_and_the_first_goes_on(namespace: Namespace, operator: None, shop: Shop) -> None:
    for table in ("users", "orders"):
        shop.table(table, 1000)
    copy = flow("copy", "shop", shop.destination())
    namespace.apply(shop.secret, shop.source("users"), copy)
    namespace.wait_for("LastRunSucceeded", "flow/copy")
    assert not shop.same("orders")

    shop.insert("users", 2000, 2009)
    namespace.apply(shop.source("users", "orders"))
    namespace.trigger("flow/copy", "full_load", "both")
    namespace.await_token("copy", "both")
    for table in ("users", "orders"):
        assert shop.same(table), shop.difference(table)


def test_a_continuous_flow_rolls_to_its_new_spec(namespace: Namespace, operator: None, shop: Shop) -> None:
    for table in ("users", "orders"):
        shop.table(table, 1000)
    follow = flow("follow", "shop", shop.destination(), mode="Continuous")
    namespace.apply(shop.secret, shop.source("users", deltaLoadInterval="1s"), follow)
    until(lambda: shop.same("users"), 120, lambda: shop.difference("users"))

    namespace.apply(shop.source("users", "orders", deltaLoadInterval="1s"))
    until(lambda: shop.same("orders"), 120, lambda: shop.difference("orders"))
    shop.insert("users", 2000, 2009)
    until(lambda: shop.same("users"), 120, lambda: shop.difference("users"))
    namespace.wait_for("Ready", "flow/follow")


def test_a_worker_that_never_starts_is_replaced_once_its_spec_is_mended(
    namespace: Namespace, operator: None, shop: Shop
) -> None:
    shop.table("users", 10)
    follow = flow("follow", "shop", shop.destination(), mode="Continuous")
    nowhere = {**follow, "spec": {**follow["spec"], "pod": {"nodeSelector": {"millrace.dev/none": "true"}}}}
    namespace.apply(shop.secret, shop.source("users"), nowhere)
    until(lambda: namespace.workers("follow"), 120, "a pod that waits for a node")
    namespace.await_condition("flows", "follow", "Ready", "False")
    waits = until(lambda: namespace.workers("follow"), 120, "a pod that waits for a node")[0]

    namespace.apply(follow)
    namespace.wait_for("Ready", "flow/follow")
    worker = until(lambda: namespace.workers("follow"), 120, "the worker")[0]
    assert worker["metadata"]["uid"] != waits["metadata"]["uid"]
    until(lambda: shop.same("users"), 120, lambda: shop.difference("users"))


def test_a_flow_that_changes_its_mode_keeps_its_place(namespace: Namespace, operator: None, shop: Shop) -> None:
    shop.table("users", 10)
    namespace.apply(shop.secret, shop.source("users"), flow("copy", "shop", shop.destination(), mode="Continuous"))
    namespace.wait_for("Ready", "flow/copy")
    until(lambda: shop.same("users"), 120, lambda: shop.difference("users"))
    shop.insert("users", 100, 109)
    namespace.apply(flow("copy", "shop", shop.destination(), mode="Batch"))
    until(lambda: not namespace.list("statefulsets"), 120, "the workers that stay are gone")
    namespace.await_token("copy", namespace.trigger("flow/copy", "delta_load", "batch"))
    assert shop.same("users"), shop.difference("users")


def test_a_spec_that_cannot_work_leaves_the_running_worker(namespace: Namespace, operator: None, shop: Shop) -> None:
    shop.table("users", 1000)
    destination = shop.destination()
    namespace.apply(
        shop.secret,
        shop.source("users", deltaLoadInterval="1s"),
        flow("follow", "shop", destination, mode="Continuous"),
    )
    until(lambda: shop.same("users"), 120, lambda: shop.difference("users"))
    namespace.wait_for("Ready", "flow/follow")
    (worker,) = namespace.workers("follow")

    # Nobody listens there, which only the attempt can tell.
    nowhere = shop.destination(port=1)
    namespace.apply(flow("follow", "shop", nowhere, mode="Continuous"))
    until(
        lambda: condition(namespace.must("flows", "follow"), "Ready").get("status") == "False",
        300,
        lambda: str(namespace.must("flows", "follow").get("status")),
    )
    shop.insert("users", 2000, 2009)
    until(lambda: shop.same("users"), 120, lambda: shop.difference("users"))
    (same,) = namespace.workers("follow")
    assert same["metadata"]["uid"] == worker["metadata"]["uid"]

    namespace.apply(flow("follow", "shop", destination, mode="Continuous"))
    namespace.wait_for("Ready", "flow/follow")
    shop.insert("users", 3000, 3009)
    until(lambda: shop.same("users"), 120, lambda: shop.difference("users"))


def test_f26_a_rotated_password_is_read_again(namespace: Namespace, operator: None, shop: Shop) -> None:
    shop.table("users", 1000)
    role = shop.postgres.connection.info.dbname
    shop.postgres.execute(f"create role {role} login superuser password 'first'")
    try:
        shop.postgres.execute('grant all on "users" to public')
        source = shop.source("users", deltaLoadInterval="1s")
        source["spec"]["connection"] |= {"user": role}
        source["spec"]["credentials"] = [{"name": "password", "secret": {"name": "role", "key": "password"}}]
        namespace.apply(
            shop.secret,
            secret("role", password="first"),
            source,
            flow("follow", "shop", shop.destination(), mode="Continuous"),
        )
        until(lambda: shop.same("users"), 120, lambda: shop.difference("users"))
        worker = until(lambda: namespace.workers("follow"), 120, "the worker")[0]

        shop.postgres.execute(f"alter role {role} password 'second'")
        namespace.apply(secret("role", password="second"))
        # Connections that are open need no password.
        shop.server.cut()
        shop.insert("users", 2000, 2009)
        until(lambda: shop.same("users"), 240, lambda: shop.difference("users"))
        (same,) = namespace.workers("follow")
        assert same["metadata"]["uid"] == worker["metadata"]["uid"]
        assert same["status"]["containerStatuses"][0]["restartCount"] == 0
    finally:
        namespace.kubectl("delete", "flow", "follow", "--wait=false")
        until(lambda: not namespace.pods("follow"), 120, "the worker is gone")
        roles.drop(shop.postgres, role)


def test_a_secret_that_is_missing_is_named_and_taken_when_it_comes(
    namespace: Namespace, operator: None, shop: Shop
) -> None:
    shop.table("users", 100)
    namespace.apply(shop.source("users"), flow("copy", "shop", shop.destination()))

    def named() -> bool:
        status = namespace.must("flows", "copy").get("status", {})
        return any("shop-db" in c.get("message", "") for c in status.get("conditions", []))

    until(named, 120, lambda: str(namespace.must("flows", "copy").get("status")))
    namespace.apply(shop.secret)
    namespace.trigger("flow/copy", "full_load", "now")
    # The kubelet looks for a Secret that was missing ever more seldom, after two minutes at last.
    namespace.await_token("copy", "now", seconds=300)
    assert shop.same("users"), shop.difference("users")


def test_f16_a_flow_made_again_stops_until_its_state_is_adopted(namespace: Namespace, operator: None, shop: Shop) -> None:
    shop.table("users", 1000)
    copy = flow("copy", "shop", shop.destination())
    namespace.apply(shop.secret, shop.source("users"), copy)
    namespace.wait_for("LastRunSucceeded", "flow/copy")
    first = namespace.must("flows", "copy")["metadata"]["uid"]
    namespace.kubectl("delete", "flow", "copy")
    until(lambda: not namespace.pods("copy"), 120, "the pods of the first are gone")

    namespace.apply(copy)
    shop.insert("users", 2000, 2009)

    def stopped() -> bool:
        conditions = namespace.must("flows", "copy").get("status", {}).get("conditions", [])
        return any(c["status"] == "True" and c["type"] == "Stalled" for c in conditions) and any(
            c["reason"] == "StateOwnedByOther" for c in conditions
        )

    until(stopped, 120, lambda: str(namespace.must("flows", "copy").get("status")))
    assert not shop.same("users")

    namespace.kubectl("annotate", "flow/copy", f"millrace.dev/adopt-state={first}")
    namespace.trigger("flow/copy", "full_load", "adopted")
    done = namespace.await_token("copy", "adopted", seconds=180)
    assert shop.same("users"), shop.difference("users")
    # The rows of the first are known, and not delivered again.
    assert done["rows"] <= 10, done


def test_what_belongs_to_a_flow_goes_with_it_and_its_state_stays(
    namespace: Namespace, operator: None, shop: Shop
) -> None:
    shop.table("users", 10)
    namespace.apply(shop.secret, shop.source("users"), flow("copy", "shop", shop.destination()))
    namespace.wait_for("LastRunSucceeded", "flow/copy")
    namespace.kubectl("delete", "flow,source", "--all")

    def children() -> list[str]:
        found = namespace.kubectl(
            "get", "pods,jobs.batch,statefulsets,configmaps,serviceaccounts,roles,rolebindings", "-o", "name"
        ).split()
        return [one for one in found if not one.endswith(("/kube-root-ca.crt", "/default", "-state"))]

    until(lambda: not children(), 120, lambda: str(children()))
    assert [c for c in namespace.list("configmaps") if c["metadata"]["name"].endswith("-state")]
