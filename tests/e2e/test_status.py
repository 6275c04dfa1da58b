"""What the cluster says of itself is true: `kubectl get`, `kubectl wait`, events, metrics, at every moment."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

import install
from audit import moment
from cluster import Cluster, Namespace, Object, Unavailable, condition, until
from manifests import Shop, flow, resource


def shown(namespace: Namespace, kind: str, name: str) -> dict[str, str]:
    """A line of `kubectl get`, by the heads of its columns."""
    head, line = namespace.kubectl("get", kind, name, "-o", "wide").splitlines()
    starts = [found.start() for found in re.finditer(r"(?:(?<=  )|^)\S", head)]
    ends = [*starts[1:], max(len(head), len(line))]
    return {head[at:end].strip(): line[at:end].strip() for at, end in zip(starts, ends, strict=True)}


@contextmanager
def watched(namespace: Namespace, name: str) -> Iterator[list[Object]]:
    """Every state of a Flow that is seen within the block; none of them may contradict itself."""
    seen: list[Object] = []
    stop = threading.Event()

    def look() -> None:
        while not stop.wait(0.1):
            with suppress(Unavailable):
                found = namespace.get("flows", name)
                if found is not None and found not in seen[-1:]:
                    seen.append(found)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()
    for one in seen:
        status = one.get("status")
        if status is None:
            continue
        generation = one["metadata"]["generation"]
        types = [c["type"] for c in status["conditions"]]
        assert "Ready" in types and len(types) == len(set(types)), status
        assert all(c["observedGeneration"] <= status["observedGeneration"] <= generation for c in status["conditions"]), one
        assert all(c["status"] == "True" for c in status["conditions"] if c["type"] in ("Stalled", "Reconciling")), status
        ready = condition(one, "Ready").get("status")
        assert not (condition(one, "Stalled") and ready != "False"), status


def test_kubectl_get_and_wait_tell_the_truth_from_the_first_moment_on(
    namespace: Namespace, operator: None, shop: Shop
) -> None:
    shop.table("users", 10)
    with watched(namespace, "copy") as seen:
        namespace.apply(shop.secret, flow("copy", "shop", shop.destination()))
        namespace.await_condition("flows", "copy", "Ready", "False", "RefNotFound")
        assert shown(namespace, "flow", "copy")["READY"] == "False"
        refused = namespace.kubectl("wait", "--for=condition=Ready", "flow/copy", "--timeout=2s", check=False)
        assert "timed out" in refused
        assert not [one for one in seen if condition(one, "Ready").get("status") == "True"], "it was ready without a source"

        namespace.apply(shop.source("users"))
        namespace.wait_for("Ready", "source/shop")
        namespace.wait_for("Ready", "flow/copy")
        namespace.wait_for("LastRunSucceeded", "flow/copy")
        assert shop.same("users"), "it is said to have loaded, and has not"
        line = shown(namespace, "flow", "copy")
        assert (line["READY"], line["LAST RUN"], line["GUARANTEE"]) == ("True", "True", "ExactlyOnce"), line
        until(lambda: shown(namespace, "source", "shop")["FLOWS"] == "1", 120, lambda: str(shown(namespace, "source", "shop")))
        assert shown(namespace, "source", "shop")["STREAMS"] == "1"

        namespace.kubectl("patch", "flow/copy", "--type=merge", "-p", '{"spec":{"suspend":true}}')
        namespace.await_condition("flows", "copy", "Ready", "True", "Suspended")
        assert shown(namespace, "flow", "copy")["REASON"] == "Suspended"
        namespace.kubectl("patch", "flow/copy", "--type=merge", "-p", '{"spec":{"suspend":false}}')
        namespace.await_condition("flows", "copy", "Ready", "True", "Valid")

        shop.postgres.execute("alter table users rename to elsewhere")
        namespace.trigger("flow/copy", "full_load", "fails")
        namespace.await_token("copy", "fails", "Failed")
        namespace.await_condition("flows", "copy", "LastRunSucceeded", "False")
        assert shown(namespace, "flow", "copy")["LAST RUN"] == "False"

        def agree() -> bool:
            """Two looks, between which it may change."""
            line = shown(namespace, "flow", "copy")
            return line["READY"] == condition(namespace.must("flows", "copy"), "Ready").get("status")

        until(agree, 60, lambda: f"{shown(namespace, 'flow', 'copy')} {namespace.must('flows', 'copy')}")
        told = lambda: [e for e in namespace.events("RunFailed") if "users" in e["note"]]  # noqa: E731
        until(told, 60, lambda: str(namespace.events()))

        shop.postgres.execute("alter table elsewhere rename to users")
        namespace.trigger("flow/copy", "full_load", "mended")
        namespace.await_token("copy", "mended")
        namespace.wait_for("LastRunSucceeded", "flow/copy")
        namespace.wait_for("Ready", "flow/copy")


def test_a_job_says_how_far_it_is_and_how_it_ended(namespace: Namespace, operator: None, shop: Shop) -> None:
    shop.table("users", 10)
    namespace.apply(shop.secret, shop.source("users"), flow("copy", "shop", shop.destination(), schedule="0 3 1 1 *"))
    namespace.apply(resource("Job", "well", {"flow": {"name": "copy"}, "load": "Full", "ttl": "60s"}))
    namespace.wait_for("Succeeded", "mrj/well")
    ended = moment(namespace.must("mrj", "well")["status"]["completionTime"])
    line = shown(namespace, "mrj", "well")
    assert (line["FLOW"], line["LOAD"], line["SUCCEEDED"], line["READ"]) == ("copy", "Full", "True", "10"), line
    assert shop.same("users")

    # What cannot begin waits for a person, and has not ended.
    namespace.apply(resource("Job", "typo", {"flow": {"name": "copy"}, "load": "Full", "streams": ["public.userz"]}))
    namespace.await_condition("mrj", "typo", "Stalled", "True", "RefNotFound")
    assert shown(namespace, "mrj", "typo")["SUCCEEDED"] == "Unknown"

    shop.postgres.execute("alter table users rename to elsewhere")
    namespace.apply(resource("Job", "badly", {"flow": {"name": "copy"}, "load": "Full"}))
    namespace.await_condition("mrj", "badly", "Succeeded", "False")
    assert shown(namespace, "mrj", "badly")["SUCCEEDED"] == "False"
    # Its time after the end is over, and not before.
    until(lambda: namespace.get("mrj", "well") is None, 180, "mrj/well is deleted")
    # Times of a status have whole seconds.
    assert (datetime.now(UTC) - ended).total_seconds() > 58


def test_connectors_are_counted_and_a_wrong_one_is_told(namespace: Namespace, operator: None, shop: Shop) -> None:
    shop.table("users", 1)
    names = [f"{namespace.name}-{end}" for end in ("good", "bad")]
    namespace.outside += [f"connector/{name}" for name in names]
    recipe = {"type": "postgres", "roles": ["source"], "credentials": [{"name": "password"}]}
    namespace.apply(
        resource("Connector", names[0], recipe),
        resource("Connector", names[1], {**recipe, "configSchema": {"type": 5}}),
        shop.secret,
        shop.source("users", connector=names[0]),
    )
    namespace.wait_for("Ready", f"connector/{names[0]}")
    namespace.wait_for("Ready", "source/shop")
    until(lambda: shown(namespace, "connector", names[1])["READY"] == "False", 120, "the wrong one says so")
    said = namespace.must("connectors", names[0])["status"]
    assert namespace.name not in str(said), "a tenant's name in what all can read"


def test_metrics_tell_of_loads_and_of_the_operators_work(
    namespace: Namespace, operator: None, cluster: Cluster, shop: Shop
) -> None:
    shop.table("users", 25)
    namespace.apply(
        shop.secret,
        shop.source("users", deltaLoadInterval="1s"),
        flow("follow", "shop", shop.destination(), mode="Continuous"),
    )
    namespace.wait_for("Ready", "flow/follow")
    until(lambda: shop.same("users"), 120, lambda: shop.difference("users"))
    of_flow = {"namespace": namespace.name, "flow": "follow"}
    worker = until(lambda: namespace.workers("follow"), 120, "the worker")[0]

    def value(pod: Object, name: str, **labels: str) -> float | None:
        where = pod["metadata"]
        path = f"/api/v1/namespaces/{where['namespace']}/pods/{where['name']}:8080/proxy/metrics"
        for line in cluster.raw(path).decode().splitlines():
            if line.startswith(f"{name}{{") and all(f'{key}="{text}"' in line for key, text in labels.items()):
                return float(line.rsplit(" ", 1)[1])
        return None

    until(lambda: (value(worker, "millrace_rows_read_total", **of_flow, stream="public.users") or 0) >= 25, 120, "rows read")
    until(lambda: value(worker, "millrace_rows_written_total", **of_flow, stream="public.users") == 25, 120, "rows written")
    operators = cluster.list("pods", install.SYSTEM, "app.kubernetes.io/name=millrace")
    (leader,) = [one for one in operators if "deletionTimestamp" not in one["metadata"]]
    until(lambda: value(leader, "millrace_flow_ready", **of_flow) == 1, 120, "the operator counts the Flow as ready")
    assert (value(leader, "millrace_operator_reconciles_total", kind="Flow", result="ok") or 0) > 0
