"""What may break while a load is at work: each time every row arrives, once, without a hand's help."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from cluster import Cluster, Namespace, Object, until
from faultproxy import Fault, HttpProxy
from harness import S3
from manifests import Bucket, Shop, flow
from test_cluster import pod

ROWS = 60_000
# A load of these rows lasts the better part of a minute at this pace: it must be seen at work on a slow machine, too.
PACE = 60_000.0
MODES = ["Batch", "Continuous"]


@contextmanager
def at_work(namespace: Namespace, shop: Shop, *more: Object, table: str = "users", **spec: Any) -> Iterator[None]:
    """A load that is in its middle; at the end of the block the server is as fast as ever."""
    shop.table(table, ROWS)
    shop.server.bytes_per_second = PACE
    namespace.apply(shop.secret, shop.source(table), flow("copy", "shop", shop.destination(), **spec), *more)
    until(lambda: shop.server.accepted >= 2 and working(namespace), 120, "the load begins")
    time.sleep(1)
    assert not shop.same(table), "the load is over already"
    yield
    shop.server.bytes_per_second = None


def working(namespace: Namespace) -> list[Object]:
    return [one for one in namespace.pods("copy") if one["status"].get("phase") == "Running"]


@pytest.mark.long
@pytest.mark.parametrize("mode", MODES)
def test_f13_a_worker_that_is_killed_costs_no_row(namespace: Namespace, operator: None, shop: Shop, mode: str) -> None:
    with at_work(namespace, shop, mode=mode):
        for _ in range(2):
            for one in working(namespace):
                namespace.kill(one)
            until(lambda: working(namespace), 120, "another worker")
    until(lambda: shop.same("users"), 120, lambda: shop.difference("users"))
    namespace.wait_for("Ready", "flow/copy")


@pytest.mark.parametrize("mode", MODES)
def test_f13_a_pod_that_is_deleted_costs_no_row(namespace: Namespace, operator: None, shop: Shop, mode: str) -> None:
    with at_work(namespace, shop, mode=mode):
        # Its time to end is not waited for: another is made while it is still at work.
        namespace.kubectl("delete", "pods", "--selector=millrace.dev/flow=copy", "--force", "--grace-period=0")
        until(lambda: working(namespace), 120, "another worker")
    until(lambda: shop.same("users"), 120, lambda: shop.difference("users"))
    namespace.wait_for("Ready", "flow/copy")


@pytest.mark.parametrize("mode", MODES)
def test_f57_a_worker_that_is_evicted_costs_no_row(namespace: Namespace, operator: None, shop: Shop, mode: str) -> None:
    with at_work(namespace, shop, mode=mode):
        for one in working(namespace):
            name = one["metadata"]["name"]
            eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
            path = f"/api/v1/namespaces/{namespace.name}/pods/{name}/eviction"
            namespace.cluster.kubectl("create", "--raw", path, "-f", "-", stdin=str(eviction).replace("'", '"'))
    until(lambda: shop.same("users"), 180, lambda: shop.difference("users"))
    namespace.wait_for("Ready", "flow/copy")


@pytest.mark.alone
def test_f57_a_worker_that_makes_way_for_another_pod_costs_no_row(
    namespace: Namespace, operator: None, cluster: Cluster, shop: Shop, shell_image: str
) -> None:
    important = f"important-{namespace.name[-6:]}"
    namespace.outside.append(f"priorityclass/{important}")
    cluster.apply(
        [
            {
                "apiVersion": "scheduling.k8s.io/v1",
                "kind": "PriorityClass",
                "metadata": {"name": important},
                "value": 1000,
            }
        ]
    )
    with at_work(namespace, shop):
        before = working(namespace)[0]
        greedy = pod("greedy", shell_image, "-c", "sleep 3", priorityClassName=important)
        # All memory that nobody has asked for, and a part of what the youngest has.
        greedy["spec"]["containers"][0]["resources"] = {"requests": {"memory": str(unasked(cluster) + (256 << 20))}}
        namespace.apply(greedy)
        gone = before["metadata"]["uid"]
        until(lambda: gone not in {one["metadata"]["uid"] for one in working(namespace)}, 120, "the worker makes way")
    until(lambda: shop.same("users"), 180, lambda: shop.difference("users"))
    namespace.wait_for("LastRunSucceeded", "flow/copy")


def unasked(cluster: Cluster) -> int:
    """The memory of the node that no pod has asked for, in bytes."""
    taken = 0
    for one in cluster.list("every pod"):
        if one["status"].get("phase") not in ("Succeeded", "Failed"):
            for container in one["spec"]["containers"]:
                taken += in_bytes(container.get("resources", {}).get("requests", {}).get("memory", "0"))
    (node,) = cluster.list("nodes")
    return in_bytes(node["status"]["allocatable"]["memory"]) - taken


def in_bytes(quantity: str) -> int:
    for unit, factor in (("Ki", 1 << 10), ("Mi", 1 << 20), ("Gi", 1 << 30)):
        if quantity.endswith(unit):
            return int(quantity.removesuffix(unit)) * factor
    return int(quantity)


def test_f25_loads_and_state_outlive_a_bucket_that_fails(
    namespace: Namespace, operator: None, shop: Shop, s3: S3, host: str
) -> None:
    faults = [Fault("fail_before", times=None, status=503, chance=0.3), Fault("lose_response", "PUT", times=5, nth=3)]
    with HttpProxy(s3.endpoint, faults, host=host) as proxy:
        bucket = Bucket(s3, proxy.url)
        shop.table("users", ROWS)
        namespace.apply(
            shop.secret,
            bucket.secret,
            shop.source("users"),
            flow("lake", "shop", bucket.destination(), state=bucket.state()),
            flow("copy", "shop", shop.destination(), state=bucket.state()),
        )
        time.sleep(20)
        proxy.faults.clear()
        namespace.trigger("flow/copy", "full_load", "mended")
        namespace.trigger("flow/lake", "full_load", "mended")
        for name in ("copy", "lake"):
            namespace.await_token(name, "mended", seconds=240)
        assert shop.same("users"), shop.difference("users")
