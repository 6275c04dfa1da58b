"""What may happen to the operator: it is killed, there are two of it, it is upgraded, nobody answers it."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

import install
import pytest
from audit import Audit, told
from cluster import Cluster, Namespace, Object, Unavailable, until
from manifests import Bucket, Shop, flow
from test_survives import at_work, working

LEASE = ("--namespace", install.SYSTEM, "delete", "lease", "millrace-operator", "--ignore-not-found")


def kill_operators(cluster: Cluster) -> None:
    """As a power cut does: nothing is written any more, and the Lease is not given back."""
    for one in cluster.list("pods", install.SYSTEM, "app.kubernetes.io/name=millrace"):
        cluster.kill(one)


@pytest.mark.alone
def test_f40_a_load_goes_on_while_the_operator_is_killed(
    namespace: Namespace, operator: None, cluster: Cluster, shop: Shop
) -> None:
    with at_work(namespace, shop):
        before = {one["metadata"]["uid"] for one in working(namespace)}
        kill_operators(cluster)
        install.wait_for_operator(cluster)
        assert {one["metadata"]["uid"] for one in working(namespace)} <= before, "the load was started again"
    until(lambda: shop.same("users"), 120, lambda: shop.difference("users"))
    namespace.wait_for("LastRunSucceeded", "flow/copy")


@pytest.mark.alone
@pytest.mark.own
def test_f40_each_token_runs_once_while_the_operator_is_killed(
    namespace: Namespace, operator: None, cluster: Cluster, shop: Shop, full: bool, audit: Audit
) -> None:
    shop.table("users", 100)
    followed = shop.destination(schema="followed")
    copies = {"copy": "copy", "follow": "followed"}
    namespace.apply(
        shop.secret,
        shop.source("users"),
        flow("copy", "shop", shop.destination()),
        flow("follow", "shop", followed, mode="Continuous"),
    )
    namespace.wait_for("LastRunSucceeded", "flow/copy")
    for schema in copies.values():
        until(lambda: shop.same("users", schema), 120, lambda: shop.difference("users", schema))
    kills = 200 if full else 10
    chance = random.Random(40)
    seen: dict[str, list[Object]] = {name: [] for name in copies}
    for number in range(kills):
        shop.insert("users", 1000 + 10 * number, 1002 + 10 * number)
        # Before anybody sees it, and at any step of what follows.
        if number % 4 == 0:
            kill_operators(cluster)
        token = namespace.trigger("source/shop", "full_load", f"t{number}")
        if number % 4 != 0:
            time.sleep(chance.uniform(0, 3))
            kill_operators(cluster)
        # The next one need not wait for the dead one's time to run out, but now and then.
        if number % 20 != 5:
            cluster.kubectl(*LEASE)
        for name in copies:
            seen[name].append(namespace.await_token(name, token, seconds=180))
    for name, schema in copies.items():
        assert [one["rows"] for one in seen[name]] == [3] * kills, seen[name]
        assert len({one["job"] for one in seen[name]}) == kills, seen[name]
        assert shop.same("users", schema), shop.difference("users", schema)
    made = [r for r in audit.requests() if r.namespace == namespace.name and r.resource == "jobs.batch" and r.verb == "create"]
    runs = [r.name for r in made if r.code == 201 and r.name.startswith("copy-")]
    assert len(runs) == len(set(runs)) == kills + 1, told(made)


@pytest.mark.alone
@pytest.mark.own
def test_f29_loads_outlive_a_minute_without_the_api_server(
    namespace: Namespace, operator: None, cluster: Cluster, shop: Shop, bucket: Bucket, servers: Callable[..., None]
) -> None:
    """One is in its middle; two follow their source, with their state in the API server and on S3."""
    shop.table("users", 100)
    following = {"here": {"configMap": {}}, "there": bucket.state()}
    namespace.apply(
        shop.secret,
        bucket.secret,
        shop.source("users", name="changes", deltaLoadInterval="1s"),
        *(
            flow(name, "changes", shop.destination(schema=name), mode="Continuous", state=place)
            for name, place in following.items()
        ),
    )
    with at_work(namespace, shop, table="orders"):
        for name in following:
            until(lambda: shop.same("users", name), 120, lambda: shop.difference("users", name))
        servers("stop", "apiserver")
        stopped = time.monotonic()
        with pytest.raises(Unavailable):
            cluster.raw("/readyz")
    for first in (1000, 2000):
        shop.insert("users", first, first + 9)
        until(lambda: shop.same("users", "there"), 120, lambda: shop.difference("users", "there"))
        time.sleep(5)
    # What has its state in the API server could write of one commit no more that it was made, and makes no other.
    assert not shop.same("users", "here")
    time.sleep(max(0, 60 - (time.monotonic() - stopped)))
    servers("start", "apiserver")
    until(lambda: cluster.raw("/readyz") == b"ok", 120, "the API server is back")
    namespace.wait_for("LastRunSucceeded", "flow/copy", 180)
    for name, table, schema in (("here", "users", "here"), ("there", "users", "there"), ("copy", "orders", "copy")):
        until(lambda: shop.same(table, schema), 120, lambda: shop.difference(table, schema))
        namespace.trigger(f"flow/{name}", "full_load", "after")
        assert namespace.await_token(name, "after", seconds=180)["rows"] == 0
        namespace.wait_for("Ready", f"flow/{name}", 180)


def test_f15_two_operators_that_know_nothing_of_each_other_run_each_token_once(
    namespace: Namespace, operator: None, shop: Shop, audit: Audit
) -> None:
    """A second release for this namespace alone: two leaders for the same Flows, each by a Lease of its own."""
    shop.table("users", 1000)
    install.second(namespace.name)
    try:
        namespace.apply(
            shop.secret,
            shop.source("users"),
            flow("copy", "shop", shop.destination()),
            flow("follow", "shop", shop.destination(schema="followed"), mode="Continuous"),
        )
        namespace.wait_for("LastRunSucceeded", "flow/copy")
        namespace.wait_for("Ready", "flow/follow")
        until(lambda: shop.same("users", "followed"), 120, lambda: shop.difference("users", "followed"))
        (worker,) = namespace.workers("follow")
        jobs = []
        for number in range(6):
            shop.insert("users", 2000 + 10 * number, 2004 + 10 * number)
            token = namespace.trigger("source/shop", "full_load", f"two-{number}")
            for name in ("copy", "follow"):
                done = namespace.await_token(name, token)
                assert done["rows"] == 5, done
                jobs.append(done["job"])
        assert len(set(jobs)) == 12, jobs
        (same,) = namespace.workers("follow")
        assert same["metadata"]["uid"] == worker["metadata"]["uid"], "they fight over the worker"
        # Both are content with what the other has made.
        until(lambda: audit.calm(10, namespace.name), 120, lambda: told(audit.written(namespace.name)[-10:]))
        made = [r for r in audit.written(namespace.name) if r.resource == "jobs.batch" and r.verb == "create" and r.code == 201]
        names = [r.name for r in made]
        assert len(names) == len(set(names)), told(made)
        users = {r.user for r in audit.written(namespace.name) if r.code < 300 and ":millrace-worker" not in r.user}
        assert {f"system:serviceaccount:{where}:millrace" for where in (install.SYSTEM,)} <= users, users
    finally:
        install.remove_second(namespace.name)


@pytest.mark.alone
def test_f15_a_lease_that_is_taken_away_costs_no_token_and_repeats_none(
    namespace: Namespace, operator: None, cluster: Cluster, shop: Shop
) -> None:
    """Two stand by one Lease, which is deleted under the one that holds it again and again."""
    shop.table("users", 1000)
    namespace.apply(shop.secret, shop.source("users"), flow("copy", "shop", shop.destination()))
    (deployment,) = cluster.list("deployments", install.SYSTEM)
    scale = ("--namespace", install.SYSTEM, "scale", f"deployment/{deployment['metadata']['name']}")
    cluster.kubectl(*scale, "--replicas=2")
    try:
        install.wait_for_operator(cluster)
        namespace.wait_for("LastRunSucceeded", "flow/copy")
        stop = threading.Event()

        def disturb() -> None:
            while not stop.wait(2):
                cluster.kubectl(*LEASE, check=False)

        thread = threading.Thread(target=disturb)
        thread.start()
        try:
            for number in range(6):
                shop.insert("users", 2000 + 10 * number, 2004 + 10 * number)
                namespace.trigger("flow/copy", "full_load", f"two-{number}")
                assert namespace.await_token("copy", f"two-{number}", seconds=180)["rows"] == 5
        finally:
            stop.set()
            thread.join()
        found = namespace.must("flows", "copy")["status"]["triggers"]
        jobs = [one["job"] for one in found if one["token"].startswith("two-")]
        assert len(jobs) == len(set(jobs)) == 6, found
        assert shop.same("users"), shop.difference("users")
    finally:
        cluster.kubectl(*scale, "--replicas=1")
        install.wait_for_operator(cluster)


@pytest.mark.alone
def test_f60_a_load_outlives_an_upgrade_of_the_chart(
    namespace: Namespace, operator: None, cluster: Cluster, shop: Shop
) -> None:
    following = flow("follow", "shop", shop.destination(schema="followed"), mode="Continuous")
    try:
        with at_work(namespace, shop, following):
            before = {one["metadata"]["uid"] for one in working(namespace)}
            install.chart(install.upgraded())
            assert {one["metadata"]["uid"] for one in working(namespace)} <= before, "the load was started again"
        until(lambda: shop.same("users"), 180, lambda: shop.difference("users"))
        namespace.wait_for("LastRunSucceeded", "flow/copy", 180)

        def rolled() -> bool:
            images = {c["image"] for one in namespace.workers("follow") for c in one["spec"]["containers"]}
            return images == {install.NEXT[install.WORKER]}

        until(rolled, 180, "the continuous worker is of the new release")
        namespace.wait_for("Ready", "flow/follow")
        until(lambda: shop.same("users", "followed"), 120, lambda: shop.difference("users", "followed"))
        namespace.trigger("flow/copy", "full_load", "new")
        job = namespace.await_token("copy", "new", seconds=180)["job"]
        made = namespace.must("jobs", job)["spec"]["template"]["spec"]["containers"][0]["image"]
        assert made == install.NEXT[install.WORKER]
    finally:
        install.chart()
