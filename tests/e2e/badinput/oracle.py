"""Judging: what became of an operation, and whether it may.

In: an answer of the API server, an object with its status, all objects of a namespace. Out: a verdict, complaints, and
a state that can be compared.
"""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

from cluster import Object

from badinput.mirror import Key
from badinput.mutations import all_fields
from badinput.operations import CONDITION, REJECTED, VALID, Operation
from badinput.values import LITERAL

LONGEST = 1000
# Conditions that speak of what was, and not of the spec that there is now.
OF_RUNS = {"LastRunSucceeded"}
# The operator's; a condition of another type is somebody else's, and stays.
OURS = {"Ready", "Reconciling", "Stalled", "Succeeded", *OF_RUNS}
VOLATILE = {
    "resourceVersion",
    "uid",
    "creationTimestamp",
    "generation",
    "managedFields",
    "selfLink",
    "deletionTimestamp",
}


def of_answer(operation: Operation, code: int, answer: Object) -> list[str]:
    """What is wrong with a rejection."""
    message = str(answer.get("message", ""))
    wrong = []
    if code not in (400, 413, 422) and "too large" not in message.lower():
        wrong.append(f"answered {code}")
    # A value that its own field takes may be wrong beside another, as a rule says.
    if REJECTED not in operation.expect and not any(rule in message for rule in rules()):
        wrong.append("rejected, though the schema takes it")
    if not names(operation, message):
        wrong.append("the message does not name the field")
    return [f"{one}: {message[:400]}" for one in wrong]


@cache
def rules() -> frozenset[str]:
    """The sentences of the rules of all kinds."""
    every = [field.schema for field in all_fields()]
    return frozenset(rule["message"] for schema in every for rule in schema.get("x-kubernetes-validations", ()))


def names(operation: Operation, message: str) -> bool:
    """Whether a message says where to look: by the field's own name, or by a place in the object."""
    if operation.words:
        return any(word in message for word in operation.words)
    if "too large" in message.lower() or "too long" in message.lower():
        return True
    whole, *parts = re.sub(r"\[\d+\]", "", operation.field).split(".")
    return any(part in message for part in parts or [whole]) or bool(re.search(r"\b(spec|metadata)\.[A-Za-z]", message))


def settled(found: Object | None, generation: int) -> Object | None:
    """The object, once its status speaks of that generation and no more of nothing."""
    if not found or found.get("status", {}).get("observedGeneration") != generation:
        return None
    conditions = by_type(found)
    return found if "Ready" in conditions and conditions["Ready"]["reason"] != "New" else None


def by_type(found: Object) -> dict[str, Object]:
    return {one["type"]: one for one in found.get("status", {}).get("conditions", [])}


def of_status(operation: Operation, found: Object) -> tuple[str, list[str]]:
    """The verdict on what was accepted, and what is wrong with the status."""
    conditions = by_type(found)
    generation = found["metadata"]["generation"]
    wrong = [
        f"{name} has observedGeneration {one.get('observedGeneration')}, not {generation}"
        for name, one in conditions.items()
        if name in OURS - OF_RUNS and one.get("observedGeneration") != generation
    ]
    stalled, ready = conditions.get("Stalled"), conditions["Ready"]
    if stalled is not None:
        wrong += of_stalled(operation, conditions)
        verdict = CONDITION
    else:
        verdict = VALID
        if ready["status"] != "True" and "Reconciling" not in conditions:
            wrong.append(f"neither ready, nor reconciling, nor stalled: {ready}")
    if verdict not in operation.expect:
        wrong.append(f"{verdict}, where {', '.join(sorted(operation.expect))} was expected: {ready}")
    if LITERAL in json.dumps(found.get("status", {})):
        wrong.append(f"the status repeats a secret: {conditions}")
    return verdict, wrong


def of_stalled(operation: Operation, conditions: dict[str, Object]) -> list[str]:
    stalled, ready = conditions["Stalled"], conditions["Ready"]
    wrong = []
    if stalled["status"] != "True" or ready["status"] != "False" or stalled["reason"] != ready["reason"]:
        wrong.append(f"Stalled and Ready do not agree: {stalled} {ready}")
    if "Reconciling" in conditions:
        wrong.append("both stalled and reconciling")
    if not re.fullmatch(r"[A-Z][A-Za-z]+", stalled["reason"]):
        wrong.append(f"{stalled['reason']!r} is no reason")
    if not 0 < len(stalled["message"]) <= LONGEST:
        wrong.append(f"a message of {len(stalled['message'])} characters")
    if not names(operation, stalled["message"]):
        wrong.append(f"the condition does not name the field: {stalled['reason']}: {stalled['message']}")
    return wrong


def state(objects: dict[Key, Object]) -> dict[str, Any]:
    """What of a namespace can be compared: all but times, versions, and history."""
    return {f"{kind}/{name}": comparable(kind, item) for (kind, name), item in sorted(objects.items())}


def comparable(kind: str, item: Object) -> Object:
    metadata = {key: value for key, value in item["metadata"].items() if key not in VOLATILE}
    metadata["ownerReferences"] = [{**owner, "uid": ""} for owner in metadata.get("ownerReferences", [])]
    # A hash over what was applied, the generation of a plan among it.
    metadata["annotations"] = {
        key: value for key, value in metadata.get("annotations", {}).items() if key != "millrace.dev/applied"
    }
    rest = {key: value for key, value in item.items() if key not in ("metadata", "status", "apiVersion", "kind")}
    if kind == "configmaps":
        rest = {"data": {key: document(key, value) for key, value in item.get("data", {}).items()}}
    elif kind in ("connectors", "sources", "flows", "mrj"):
        rest["status"] = status(item.get("status", {}))
    elif kind == "jobs":
        # Who was asked to run it is the Job controller's.
        rest = {"template": rest["spec"]["template"]["spec"]}
    return {"metadata": metadata, **rest}


def document(key: str, text: str) -> Any:
    """A plan without the generation that it is of; of a ledger only that it is there."""
    if key == "ledger.json":
        return "there"
    if key == "plan.json":
        return {name: value for name, value in json.loads(text).items() if name != "generation"}
    return text


def status(found: Object) -> Object:
    """A status without times, counts of others, and history."""
    kept = {
        key: value
        for key, value in found.items()
        if key not in ("observedGeneration", "triggers", "uses", "nextRun", "flowCount")
    }
    drop = ("lastTransitionTime", "observedGeneration")
    kept["conditions"] = sorted(
        (
            {key: value for key, value in one.items() if key not in drop}
            for one in found.get("conditions", [])
            if one["type"] in OURS
        ),
        key=lambda one: str(one["type"]),
    )
    return kept


def difference(before: dict[str, Any], after: dict[str, Any]) -> str:
    """Where two states differ, in a few lines."""
    lines = [f"+ {name}" for name in after.keys() - before.keys()] + [
        f"- {name}" for name in before.keys() - after.keys()
    ]
    for name in sorted(before.keys() & after.keys()):
        if before[name] != after[name]:
            lines += unequal(name, before[name], after[name])
    return "; ".join(lines[:8])


def unequal(place: str, one: Any, other: Any) -> list[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        keys = sorted({*one, *other})
        return [
            line
            for key in keys
            if one.get(key) != other.get(key)
            for line in unequal(f"{place}.{key}", one.get(key), other.get(key))
        ]
    return [f"{place}: {str(one)[:160]} -> {str(other)[:160]}"]
