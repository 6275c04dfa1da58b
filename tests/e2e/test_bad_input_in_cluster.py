"""Bad input, thousands of kinds of it: each is refused, or told by one condition, and leaves nothing behind.

`tests/run` takes a sample, `tests/run --full` all of it; the figures are printed.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import install
import pytest
from audit import Audit, Request
from badinput import oracle
from badinput.api import Api
from badinput.lane import Lane
from badinput.mirror import Mirror
from badinput.mutations import all_fields, mutations
from badinput.operations import ACCEPTED, ANYTHING, CONDITION, Operation, chosen
from badinput.rows import rows
from badinput.sweep import SEEDS, Sweep
from badinput.values import LITERAL
from cluster import Cluster, Namespace, Object, until
from manifests import flow, source

SAMPLE = 200
# Requests of the operator for one operation and its undoing: two reconciles of an object, and of what refers to it.
REQUESTS = 60
# Looks at one object in a minute, where nothing changes.
LOOKS = 10


def operations() -> list[Operation]:
    return mutations() + rows()


@pytest.fixture
def mirror(cluster: Cluster, operator: None) -> Iterator[Mirror]:
    found = Mirror(Api(cluster.url))
    yield found
    found.close()


def test_every_field_has_an_operation_and_there_are_thousands() -> None:
    made = operations()
    touched = {(one.kind, one.field) for one in made}
    untouched = [field.name for field in all_fields() if (field.kind, field.name) not in touched]
    assert not untouched
    assert len({one.name for one in made}) == len(made) >= 2000


@pytest.fixture
def bystander(namespace: Namespace, operator: None) -> Object:
    """A Flow with a worker, which has nothing to do with any of it."""
    to = {"connector": {"name": "null"}}
    namespace.apply(
        source("rows", "generator", {"rows": 10}, fullLoadInterval="24h"),
        flow("bystander", "rows", to, mode="Continuous"),
        flow("waits", "rows", to, suspend=True),
    )
    namespace.wait_for("Ready", "flow/bystander", 180)
    namespace.wait_for("Ready", "flow/waits")
    return stand(namespace)


def stand(namespace: Namespace) -> Object:
    """What must not change of a Flow while others are maltreated."""
    (pod,) = namespace.pods("bystander")
    flows = [namespace.must("flows", name) for name in ("bystander", "waits")]
    return {
        "pod": (pod["metadata"]["uid"], [one["restartCount"] for one in pod["status"]["containerStatuses"]]),
        "generations": [one["metadata"]["generation"] for one in flows],
        "conditions": [one["status"]["conditions"] for one in flows],
        "maps": {one["metadata"]["name"]: one.get("data", {}).get("plan.json") for one in namespace.list("configmaps")},
    }


def operator_pod(cluster: Cluster) -> Object:
    (pod,) = [pod for pod in cluster.list("pods", install.SYSTEM) if "deletionTimestamp" not in pod["metadata"]]
    return pod


@pytest.mark.alone
def test_bad_input_is_refused_or_told_and_can_be_undone(
    cluster: Cluster,
    mirror: Mirror,
    bystander: Object,
    namespace: Namespace,
    full: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = operator_pod(cluster)
    audit = Audit() if os.environ.get("MILLRACE_TEST_AUDIT_LOG") else None
    made = operations()
    only = os.environ.get("MILLRACE_BAD_INPUT")
    if only:
        made = [one for one in made if only in one.name]
    elif not full:
        made = chosen(made, SAMPLE)
    sweep = Sweep(mirror.api, mirror)
    sweep.run(made)
    with capsys.disabled():
        print(f"\n{sweep.figures()}")
    assert len(sweep.results) == len(made), sweep.errors
    wrong = sweep.wrong()
    assert not wrong, f"{len(wrong)} complaints:\n" + "\n".join(wrong)

    after = operator_pod(cluster)
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert [c["restartCount"] for c in after["status"]["containerStatuses"]] == [
        c["restartCount"] for c in before["status"]["containerStatuses"]
    ]
    if audit is not None:
        asked = [one for one in of_operator(audit) if one.namespace in sweep.namespaces]
        assert len(asked) <= REQUESTS * len(made), f"{len(asked)} requests for {len(made)} operations"
    log = cluster.kubectl("--namespace", install.SYSTEM, "logs", after["metadata"]["name"], "--tail=-1")
    assert "panicked" not in log
    assert LITERAL not in log
    until(lambda: stand(namespace) == bystander, 120, lambda: f"{stand(namespace)}, which was {bystander}")


def of_operator(audit: Audit) -> list[Request]:
    return [one for one in audit.requests() if one.user == f"system:serviceaccount:{install.SYSTEM}:{install.RELEASE}"]


@pytest.mark.alone
@pytest.mark.own
def test_what_stays_wrong_is_not_looked_at_again_and_again(mirror: Mirror, audit: Audit, full: bool) -> None:
    """One object for each way of being wrong that a condition tells; then nothing happens, and nothing is written."""
    lane = Lane(mirror.api, mirror, SEEDS["Batch"])
    kept = [one for one in rows() if one.expect == frozenset({CONDITION}) and one.seed != "Continuous"]
    made = []
    for number, one in enumerate(kept):
        whole = lane.fill(one.body)
        whole["metadata"]["name"] = f"wrong-{number}"
        mirror.api.ok("POST", lane.place(whole), whole)
        made.append(whole)
    for whole in made:
        assert lane.await_settled(whole, 1), f"no status of {whole}"
        assert "Stalled" in oracle.by_type(lane.get(whole) or {}), whole
    time.sleep(5)
    quiet, seconds = Audit(), 60 if full else 20
    time.sleep(seconds)
    asked = [one for one in of_operator(quiet) if one.namespace == lane.namespace]
    lane.remove()
    assert len(made) >= 20
    assert not [one for one in asked if one.writes], "\n".join(str(one) for one in asked if one.writes)
    looks = Counter(one.name for one in asked if one.verb == "get" and one.name.startswith("wrong-"))
    # Another object may ask for one as well: a Flow for its Source.
    assert all(count <= LOOKS * seconds / 60 + 2 for count in looks.values()), looks.most_common(5)


def test_the_oracle_sees() -> None:
    """Each complaint that there is, of a status that deserves it."""
    operation = Operation("Flow", "Names", "spec.source.name", "of nobody", {}, ACCEPTED)
    message = {"observedGeneration": 2, "lastTransitionTime": "", "message": "spec.source.name: no"}
    ready = {"type": "Ready", "status": "False", "reason": "RefNotFound", **message}
    stalled = {**ready, "type": "Stalled", "status": "True"}

    def complaints(*conditions: Object) -> list[str]:
        return oracle.of_status(operation, {"metadata": {"generation": 2}, "status": {"conditions": list(conditions)}})[
            1
        ]

    assert complaints(ready, stalled) == []
    wrong = {
        "observedGeneration": (ready, {**stalled, "observedGeneration": 1}),
        "do not agree": ({**ready, "status": "True"}, stalled),
        "both stalled": (ready, stalled, {**ready, "type": "Reconciling"}),
        "is no reason": ({**ready, "reason": "not found"}, {**stalled, "reason": "not found"}),
        "characters": (ready, {**stalled, "message": ""}),
        "name the field": ({**ready, "message": "no"}, {**stalled, "message": "no"}),
        "neither ready": (ready,),
        "repeats a secret": ({**ready, "message": LITERAL}, stalled),
    }
    for complaint, conditions in wrong.items():
        assert any(complaint in one for one in complaints(*conditions)), complaint
    rejected = replace(operation, expect=ANYTHING)
    assert not oracle.of_answer(rejected, 422, {"message": "spec.source.name"})
    assert oracle.of_answer(rejected, 500, {"message": "spec.source.name"})
    assert oracle.of_answer(rejected, 422, {"message": "no"})
    assert oracle.of_answer(operation, 422, {"message": "spec.source.name"})
    one = {
        ("configmaps", "a"): {"metadata": {"name": "a", "uid": "1"}, "data": {"plan.json": '{"generation": 1, "x": 1}'}}
    }
    two = {
        ("configmaps", "a"): {"metadata": {"name": "a", "uid": "2"}, "data": {"plan.json": '{"generation": 2, "x": 1}'}}
    }
    assert oracle.state(one) == oracle.state(two)
    two[("configmaps", "a")]["data"]["plan.json"] = '{"generation": 2, "x": 2}'
    assert "plan.json" in oracle.difference(oracle.state(one), oracle.state(two))
