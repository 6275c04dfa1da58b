"""What is around the spec: annotations, the status, sizes, unknown fields, and bytes that are no object."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from cluster import Object

from badinput.change import KINDS, change
from badinput.mutations import CONNECTOR
from badinput.operations import ACCEPTED, ANYTHING, ONLY_REJECTED, ONLY_VALID, Operation
from badinput.seeds import seed
from badinput.values import MEBIBYTE

TRIGGERS = {
    "an unknown verb": ("reload", "1"),
    "no token": ("full_load", ""),
    "a blank token": ("full_load", " "),
    "a token with a line end": ("full_load", "a\nb"),
    "NUL in a token": ("full_load", "a\0b"),
    "a table that is not there": ("full_load_nothing", "1"),
    "a table that is not there, by value": ("full_load", "1;tables=nothing"),
    "tables of nobody": ("full_load", "1;tables="),
    "an unknown word": ("full_load", "1;speed=high"),
    "two loads of one name": ("delta_load", "1;tables=public.users,public.users"),
    "a token of 200 KiB": ("full_load", "x" * 200_000),
    "a token that looks like a path": ("full_load", "../../x"),
    "an adoption of nobody": ("adopt-state", "nobody"),
}


def annotations() -> Iterator[Operation]:
    row = "Annotations"
    for name in ("Flow", "Source", "Connector"):
        for what, (key, value) in TRIGGERS.items():
            yield change(
                name,
                row,
                what,
                (f"metadata/annotations/millrace.dev~{key}", value),
                expect=ACCEPTED,
                words=("annotations",),
            )
        yield change(
            name,
            row,
            "a token of a mebibyte",
            ("metadata/annotations/millrace.dev~full_load", "x" * MEBIBYTE),
            expect=ONLY_REJECTED,
            words=("annotations",),
        )
        yield change(
            name,
            row,
            "a key that is none",
            ("metadata/annotations/millrace.dev~full_load_a b", "1"),
            expect=ONLY_REJECTED,
            words=("annotations",),
        )
        yield change(
            name,
            row,
            "a number for a token",
            ("metadata/annotations/millrace.dev~full_load", 1),
            expect=ONLY_REJECTED,
            words=("annotations", "cannot"),
        )
    whole = seed("Flow", CONNECTOR)
    whole["metadata"]["annotations"] = {f"millrace.dev/full_load_t{number}": "1" for number in range(500)}
    yield Operation("Flow", row, "metadata.annotations", "five hundred tables", whole, ACCEPTED)
    whole = seed("Flow", CONNECTOR)
    whole["metadata"]["labels"] = {"millrace.dev/flow": "other", "app.kubernetes.io/managed-by": "millrace-operator"}
    yield Operation("Flow", row, "metadata.labels", "labels of children", whole, ONLY_VALID)


READY = {
    "type": "Ready",
    "status": "True",
    "reason": "Valid",
    "message": "as I say",
    "lastTransitionTime": "2020-01-01T00:00:00Z",
    "observedGeneration": 99999,
}


STATUSES: dict[str, Object] = {
    "a generation of the future": {"observedGeneration": 99999},
    "a generation of the past": {"observedGeneration": -1},
    "no generation": {"observedGeneration": None},
    "no conditions": {"conditions": []},
    "a condition of the future": {"conditions": [READY]},
    "a false Ready": {"conditions": [{**READY, "status": "False", "reason": "Wrong"}]},
    "a condition that nobody knows": {"conditions": [READY, {**READY, "type": "Unheard"}]},
    "both stalled and reconciling": {
        "conditions": [READY, {**READY, "type": "Stalled"}, {**READY, "type": "Reconciling"}]
    },
}


WRONG_STATUSES: dict[str, Any] = {
    "text for conditions": {"conditions": "Ready"},
    "a condition with no type": {"conditions": [{"status": "True"}]},
    "text for a generation": {"observedGeneration": "1"},
    "a key that nobody knows": {"unheardOf": 1},
}


def statuses() -> Iterator[Operation]:
    more: dict[str, Object] = {
        "Flow": {
            "a load of the future": {"lastLoad": "2999-01-01T00:00:00Z"},
            "a guarantee": {"deliveryGuarantee": "ExactlyOnce"},
            "streams": {"streamCount": 7, "streams": [{"name": "made.up", "generation": 9}]},
        },
        "Source": {
            "streams": {"streamCount": 7, "streams": [{"name": "made.up"}]},
            "a connector": {"connector": {"name": "x", "engine": "x", "from": "BuiltIn"}},
        },
        "Connector": {"uses": {"uses": [{"operator": "x", "sources": 99, "flows": 99}]}},
    }
    for name in ("Flow", "Source", "Connector", "Continuous"):
        kind = KINDS[name]
        for what, status in (STATUSES | more.get(name, {})).items():
            yield Operation(kind, "Status", "status", what, {"status": status}, ONLY_VALID, name, status=True)
        for what, status in WRONG_STATUSES.items():
            yield Operation(
                kind, "Status", "status", what, {"status": status}, ONLY_REJECTED, name, status=True, words=("status",)
            )


def sizes() -> Iterator[Operation]:
    row = "Size"
    for name in ("Source", "Flow", "Connector", "Job"):
        whole = seed(name, CONNECTOR)
        whole["metadata"]["annotations"] = {"example.com/large": "x" * 250_000}
        yield Operation(
            KINDS[name],
            row,
            "metadata.annotations",
            "nearly as large as may be",
            whole,
            ACCEPTED,
            name,
            create=name == "Job",
        )
    users = seed("Source", CONNECTOR)["spec"]["streams"][0]
    schema = [
        {"name": f"column_{number:05}", "logicalType": "string", "description": "x" * 400} for number in range(1999)
    ]
    for count, expect in ((1, ACCEPTED), (2, ANYTHING), (4, ONLY_REJECTED)):
        many = [
            {"name": f"public.t{number}", "primaryKey": ["column_00000"], "schema": schema} for number in range(count)
        ]
        yield change("Source", row, f"a mebibyte times {count}", ("spec/streams", [users, *many]), expect=expect)
    yield change(
        "Source",
        row,
        "ten thousand streams",
        ("spec/streams", [{"name": f"public.t{number}"} for number in range(10_000)]),
    )
    yield change(
        "Flow", row, "ten thousand streams", ("spec/source/streams", [f"public.t{number}" for number in range(10_000)])
    )


def unknown() -> Iterator[Operation]:
    row = "Types"
    for name in ("Connector", "Source", "Flow", "Job", "JobAlone"):
        yield change(name, row, "a field that nobody knows", ("spec/unheardOf", 1), expect=ONLY_REJECTED)
        yield change(
            name,
            row,
            "a field that nobody knows, from a client that does not care",
            ("spec/unheardOf", 2),
            expect=ONLY_VALID,
            validation="Ignore",
        )
        wrong = seed(name, CONNECTOR)
        (first, *_rest) = wrong["spec"]
        wrong["spec"] = {first.upper(): wrong["spec"][first], **wrong["spec"]}
        yield Operation(
            KINDS[name], row, "spec", "a field in upper case", wrong, ONLY_REJECTED, name, create=KINDS[name] == "Job"
        )


def raw() -> Iterator[Operation]:
    row = "Types"
    flow = seed("Flow", CONNECTOR)
    flow["metadata"]["name"] = "bytes"
    whole = json.dumps(flow).encode()
    texts = {
        "no JSON": b"{",
        "empty": b"",
        "a list": b"[]",
        "null": b"null",
        "text": b'"text"',
        "invalid UTF-8": whole.replace(b"public.users", b"public.\xff\xfe"),
        "half a surrogate": whole.replace(b"public.users", b"public.\\ud800"),
        "a number beyond all": whole.replace(b"0.5", b"1e999"),
        "a key twice": whole.replace(b'"spec": {', b'"spec": {"suspend": false, '),
        "NaN": whole.replace(b"0.5", b"NaN"),
        "YAML's no": whole.replace(b"true", b"no"),
        "nesting of ten thousand": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    }
    for what, sent in texts.items():
        yield Operation(
            "Flow", row, "metadata", f"bytes: {what}", {"metadata": {}}, ANYTHING, create=True, raw=sent, words=("",)
        )
