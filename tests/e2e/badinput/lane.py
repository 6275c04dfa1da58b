"""A lane: a namespace with sound objects, on which operations run one after another, each undone before the next.

In: an operation. Out: what became of it, with complaints. No pod can be made in it: what would run is made, and waits.
"""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from cluster import Object

from badinput import oracle
from badinput.api import JSON_PATCH, MERGE, Api, place
from badinput.mirror import Mirror
from badinput.mutations import CONNECTOR
from badinput.operations import CONDITION, REJECTED, Operation
from badinput.seeds import PLURALS, seed

# How long the operator may take for one thing, on a machine that others use as well.
PATIENCE = 60.0
KINDS = {"connectors": "connectors", "sources": "sources", "flows": "flows", "jobs": "mrj"}
# What a wrong spec must leave as it is.
AT_WORK = ("statefulsets", "jobs", "roles", "rolebindings", "serviceaccounts")


@dataclass
class Result:
    """What became of an operation."""

    operation: Operation
    verdict: str
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0
    # The lane is not as it was.
    used_up: bool = False


class Lane:
    """`with seeds=("Connector", "Source", "Flow")`: what there is on it."""

    def __init__(self, api: Api, mirror: Mirror, seeds: tuple[str, ...]) -> None:
        self.api, self.mirror, self.seeds = api, mirror, seeds
        self.namespace = f"bad-input-{uuid.uuid4().hex[:8]}"
        self.made = 0
        self._set_up()

    def _set_up(self) -> None:
        namespace = {"metadata": {"name": self.namespace, "labels": {"millrace.dev/test": "bad-input"}}}
        self.api.ok("POST", "/api/v1/namespaces", namespace)
        quota = {"metadata": {"name": "no-pods"}, "spec": {"hard": {"pods": "0"}}}
        self.api.ok("POST", f"/api/v1/namespaces/{self.namespace}/resourcequotas", quota)
        for name in self.seeds:
            whole = self.fill(seed(name, CONNECTOR))
            self.api.ok("POST", self.place(whole), whole)
        for name in self.seeds:
            whole = self.fill(seed(name, CONNECTOR))
            found = self.await_settled(whole, 1)
            assert found and "Stalled" not in oracle.by_type(found), f"the seed {name} is not sound: {self.get(whole)}"
        # A status that counts what the others are is written a moment later.
        time.sleep(1)
        self.state = oracle.state(self.mirror.all(self.namespace))

    def remove(self) -> None:
        self.api("DELETE", f"/api/v1/namespaces/{self.namespace}")
        self.api("DELETE", place("connectors", "", self.namespace))

    def fill(self, body: Object) -> Object:
        """An operation's object as it is on this lane."""
        filled: Object = json.loads(json.dumps(body).replace(CONNECTOR, self.namespace))
        return filled

    def place(self, whole: Object, name: str = "") -> str:
        return place(PLURALS[whole["kind"]], self.namespace, name)

    def get(self, whole: Object) -> Object | None:
        return self.mirror.get(self.where(whole), KINDS[PLURALS[whole["kind"]]], whole["metadata"]["name"])

    def where(self, whole: Object) -> str:
        """A Connector is in no namespace, and mirrored under its name."""
        return str(whole["metadata"]["name"]) if whole["kind"] == "Connector" else self.namespace

    def await_settled(self, whole: Object, generation: int) -> Object | None:
        return self.mirror.until(self.where(whole), lambda: oracle.settled(self.get(whole), generation), PATIENCE)

    def run(self, operation: Operation) -> Result:
        began = time.monotonic()
        result = (
            self._status(operation)
            if operation.status
            else self._create(operation)
            if operation.create
            else self._edit(operation)
        )
        result.seconds = time.monotonic() - began
        return result

    def _edit(self, operation: Operation) -> Result:
        """Puts a wrong object over a sound one, and the sound one over that."""
        sound = self.fill(seed(operation.seed, CONNECTOR))
        target = self.place(sound, sound["metadata"]["name"])
        working = self._working()
        code, answer = self._send("PATCH", target, operation)
        if code >= 300:
            return Result(operation, REJECTED, oracle.of_answer(operation, code, answer))
        generation = answer["metadata"]["generation"]
        found = self.await_settled(sound, generation)
        if not found:
            return self._unanswered(operation, self.get(sound), target, sound)
        verdict, wrong = oracle.of_status(operation, found)
        if verdict == CONDITION and operation.kind == "Flow":
            wrong += self._untouched(working)
        # A run that has begun is no part of the seed: the next operation gets another lane.
        if operation.starts:
            return Result(operation, verdict, wrong, used_up=True)
        wrong += self._undo(target, sound)
        return Result(operation, verdict, wrong)

    def _send(self, method: str, target: str, operation: Operation) -> tuple[int, Object]:
        strict = f"{target}?fieldValidation={operation.validation}&fieldManager=person"
        if operation.raw is not None:
            return self.api(method, strict, operation.raw, MERGE if method == "PATCH" else "application/json")
        body = self.fill(operation.body)
        if method == "POST":
            return self.api(method, strict, body)
        patch: list[Object] = [{"op": "replace", "path": "/spec", "value": body["spec"]}]
        metadata = body["metadata"]
        patch += [
            {"op": "add", "path": f"/metadata/{name}", "value": metadata[name]}
            for name in ("annotations", "labels")
            if name in metadata
        ]
        return self.api(method, strict, patch, JSON_PATCH)

    def _undo(self, target: str, sound: Object) -> list[str]:
        patch = [{"op": "replace", "path": "/spec", "value": sound["spec"]}]
        patch += [{"op": "add", "path": f"/metadata/{name}", "value": {}} for name in ("annotations", "labels")]
        code, answer = self.api("PATCH", f"{target}?fieldManager=person", patch, JSON_PATCH)
        if code >= 300:
            return [f"it cannot be undone: {code} {str(answer.get('message'))[:300]}"]
        if not self.await_settled(sound, answer["metadata"]["generation"]):
            return [f"no answer to the sound spec: {(self.get(sound) or {}).get('status')}"]
        return self._same()

    def _same(self) -> list[str]:
        """Whether all is as it was before; what is made without an owner stays by design."""

        def now() -> dict[str, Any]:
            there = oracle.state(self.mirror.all(self.namespace))
            return {name: item for name, item in there.items() if name in self.state or not is_state(item)}

        if self.mirror.until(self.namespace, lambda: now() == self.state, PATIENCE):
            return []
        return [f"undone, and not as before: {oracle.difference(self.state, now())}"]

    def _working(self) -> dict[str, Any]:
        """What runs, or would: workers, rights, and the plans that they go by, of whatever generation."""
        there = self.mirror.all(self.namespace)
        kept = {key: item for key, item in there.items() if key[0] in AT_WORK}
        kept |= {key: without_trial(item) for key, item in there.items() if key[1].endswith("-plan")}
        uids = {f"{kind}/{name}": item["metadata"]["uid"] for (kind, name), item in kept.items()}
        return oracle.state(kept) | {"uids": uids}

    def _untouched(self, working: dict[str, Any]) -> list[str]:
        """Whether what runs is as it was. What a watch has not told yet is of the operation before, and passes."""
        if self.mirror.until(self.namespace, lambda: self._working() == working, PATIENCE):
            return []
        return [f"a wrong spec changed what was at work: {oracle.difference(working, self._working())}"]

    def _create(self, operation: Operation) -> Result:
        """Makes an object that is wrong, and takes it away."""
        body = self.fill(operation.body)
        if body["metadata"].get("name") == seed(operation.seed, self.namespace)["metadata"]["name"]:
            self.made += 1
            body["metadata"]["name"] = f"{body['metadata']['name']}-{self.made}"
        path = self.place(body) if operation.raw is None else place(PLURALS[operation.kind], self.namespace)
        code, answer = self.api(
            "POST",
            f"{path}?fieldValidation={operation.validation}",
            operation.raw if operation.raw is not None else body,
        )
        if code >= 300:
            return Result(operation, REJECTED, oracle.of_answer(operation, code, answer))
        target = self.place(answer, answer["metadata"]["name"])
        found = self.await_settled(answer, answer["metadata"]["generation"])
        if found:
            verdict, wrong = oracle.of_status(operation, found)
            wrong += self._names_of_children()
        else:
            verdict, wrong = "unanswered", [f"no status: {(self.get(answer) or {}).get('status')}"]
        gone, answered = self.api("DELETE", target)
        if gone >= 300:
            wrong.append(f"it cannot be deleted: {gone} {answered.get('message')}")
        return Result(operation, verdict, wrong + self._same())

    def _names_of_children(self) -> list[str]:
        """Names of what the operator made have a label's length; of a StatefulSet one to which a hash is added."""
        wrong = []
        for kind, name in self.mirror.all(self.namespace):
            if kind in ("connectors", "sources", "flows", "mrj"):
                continue
            if len(name) > (52 if kind == "statefulsets" else 63):
                wrong.append(f"{kind} {name} has a name of {len(name)} characters")
        return wrong

    def _status(self, operation: Operation) -> Result:
        """Writes a false status, as somebody who may; the operator puts it right when it looks again."""
        sound = self.fill(seed(operation.seed, CONNECTOR))
        target = self.place(sound, sound["metadata"]["name"])
        code, answer = self.api(
            "PATCH", f"{target}/status?fieldManager=person&fieldValidation=Strict", operation.body, MERGE
        )
        if code >= 300:
            return Result(operation, REJECTED, oracle.of_answer(operation, code, answer))
        touch = {"metadata": {"annotations": {"example.com/touched": uuid.uuid4().hex}}}
        self.api.ok("PATCH", target, touch, MERGE)
        return Result(operation, "valid", self._same_but_touched(target))

    def _same_but_touched(self, target: str) -> list[str]:
        # The annotation goes after the operator has seen it, or there would be nothing for it to see.
        time.sleep(0.5)
        self.api.ok("PATCH", target, {"metadata": {"annotations": None}}, MERGE)
        return self._same()

    def _unanswered(self, operation: Operation, found: Object | None, target: str, sound: Object) -> Result:
        told = f"no status of this generation within {PATIENCE:.0f} s: {(found or {}).get('status')}"
        return Result(operation, "unanswered", [told, *self._undo(target, sound)])


def is_state(item: Object) -> bool:
    labels = item.get("metadata", {}).get("labels") or {}
    return bool(labels.get("app.kubernetes.io/component") == "state")


def without_trial(plan: Object) -> Object:
    """A plan that is being tried lies beside the one that workers go by."""
    return {**plan, "data": {key: text for key, text in plan.get("data", {}).items() if key != "trial.json"}}
