"""Wrong and odd values of each class of fields, as tests/faults.md lists them.

In: the schema of a field. Out: what is put there, in words, and what may come of it: what the schema refuses must be
rejected, and what it takes must not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from badinput.fields import ANY, Field, Schema
from badinput.operations import ACCEPTED, ANYTHING, ONLY_REJECTED
from badinput.samples import DELETE, fits, items, sample

Value = tuple[str, Any, frozenset[str]]

MEBIBYTE = 1 << 20
# A secret that nobody may repeat, where a literal stands in place of a reference.
LITERAL = "literal-canary-5b1f"
ODD = {
    "blank": " ",
    "NUL": "a\0b",
    "a line end": "a\nb",
    "right to left": "\u202egnp.exe",
    "a crab": "\U0001f980",
    "climbing": "../../../etc/passwd",
    "an environment variable": "${HOME}",
    "a template": "{{ .Values.x }}",
    "a format": "%n%s",
    "SQL": "'; DROP TABLE users; --",
    "a shell": "$(reboot)",
    "a file": "file:///etc/passwd",
    "the metadata server": "http://169.254.169.254/",
    "quotes": "a\"b`c'd",
    "dots": "a.b.c",
    "a decomposed letter": "e\u0301",
    "upper case": "UPPER",
    "a reserved word": "select",
}
DURATIONS = (
    "0s",
    "-1s",
    "1",
    "1ns",
    "9999999h",
    "999999h",
    "P1D",
    "1h 30m",
    "1.5h",
    "1s1h",
    "1h1h",
    "h",
    "1d",
    "1ms",
    "\u0661h",
)
INTEGERS = (0, -1, 1, 2**31, 2**32, 2**53 + 1, 2**63 - 1, 2**64, 10**9)
QUANTITIES = {
    "0": ACCEPTED,
    "1Mi": ACCEPTED,
    "1000": ACCEPTED,
    "1": ACCEPTED,
    "-1Gi": ONLY_REJECTED,
    "INVALID": ONLY_REJECTED,
    "1e100": ONLY_REJECTED,
    "": ONLY_REJECTED,
    "1 Gi": ONLY_REJECTED,
    "0x10": ONLY_REJECTED,
    "1e18": ACCEPTED,
    "0.000000001": ACCEPTED,
    "1GiB": ONLY_REJECTED,
    "100n": ACCEPTED,
}
OTHER_TYPES: dict[str, tuple[Any, ...]] = {
    "string": (5, True, {}, []),
    "integer": ("5", 5.5, True, []),
    "number": ("0.5", True, {}),
    "boolean": ("yes", "true", 1, {}),
    "array": ("text", {}, 5),
    "object": ("text", [], 5),
    "quantity": (True, {}, []),
}


def values(field: Field, rotation: int) -> Iterator[Value]:
    """All for one field; `rotation` chooses among what is the same for every text."""
    schema = field.schema
    yield from missing(field)
    for wrong in OTHER_TYPES[field.type]:
        yield f"{wrong!r} for {field.type}", wrong, ONLY_REJECTED
    match field.type:
        case "string":
            yield from texts(schema, rotation)
        case "integer" | "number":
            yield from numbers(schema, field.type)
        case "boolean":
            yield from ((str(one), one, ACCEPTED) for one in (True, False))
        case "array":
            yield from lists(schema)
        case "object":
            yield from objects(schema)
        case "quantity":
            yield from ((f"the quantity {text!r}", text, expect) for text, expect in QUANTITIES.items())
            yield from ((f"the number {number!r}", number, ANYTHING) for number in (0, -1, 1, 1.5, 1e100))


def missing(field: Field) -> Iterator[Value]:
    # An item that is taken away is another list.
    expect = ONLY_REJECTED if field.required and not field.is_item else ANYTHING
    if len(field.path) > 1:
        yield "taken away", DELETE, expect
    # To the API server a null is the same, where it is no value of the field.
    yield "null", None, expect


def texts(schema: Schema, rotation: int) -> Iterator[Value]:
    def of(what: str, text: str) -> Value:
        return what, text, ANYTHING if fits(schema, text) else ONLY_REJECTED

    yield of("empty", "")
    if "enum" in schema:
        for one in schema["enum"]:
            yield f"the word {one}", one, ACCEPTED
        first = schema["enum"][0]
        yield of("an unknown word", "Sometimes")
        yield of("wrong case", first.swapcase())
        yield of("a blank at its end", first + " ")
        return
    if "[0-9]{1,6}h" in schema.get("pattern", ""):
        yield from (of(f"the duration {text!r}", text) for text in DURATIONS)
        return
    longest = schema.get("maxLength")
    if longest:
        if "pattern" not in schema:
            yield "as long as may be", "x" * longest, ACCEPTED
        yield of("one too long", "x" * (longest + 1))
        yield of("crabs as long as may be", "\U0001f980" * longest)
    elif "pattern" not in schema:
        yield "a mebibyte", "x" * MEBIBYTE, ANYTHING
    if "pattern" in schema:
        good = sample(schema)
        for what, text in (
            ("a blank before it", " " + good),
            ("a line end after it", good + "\n"),
            ("NUL in it", good + "\0"),
        ):
            yield of(what, text)
        yield of("a blank", " ")
        yield of("climbing", "../../../etc/passwd")
        return
    names = list(ODD)
    always = ("blank", "NUL", "a line end", "climbing", "an environment variable")
    turning = [names[(rotation * 3 + one) % len(names)] for one in range(4)]
    yield from (of(what, ODD[what]) for what in dict.fromkeys((*always, *turning)))


def numbers(schema: Schema, type: str) -> Iterator[Value]:
    least, most = schema.get("minimum"), schema.get("maximum")

    def of(what: str, number: float) -> Value:
        inside = (least is None or number >= least) and (most is None or number <= most)
        return what, number, ANYTHING if inside else ONLY_REJECTED

    step = 1 if type == "integer" else 0.0001
    whole = int if type == "integer" else float
    if least is not None:
        yield "the least", whole(least), ACCEPTED
        yield of("less than the least", whole(least - step))
    if most is not None:
        yield "the most", whole(most), ACCEPTED
        yield of("more than the most", whole(most + step))
    yield from (of(f"the number {number}", number) for number in INTEGERS)
    if type == "integer":
        yield of("5.0", 5.0)


def lists(schema: Schema) -> Iterator[Value]:
    def of(what: str, value: list[Any]) -> Value:
        inside = schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value))
        keyed = schema.get("x-kubernetes-list-type") == "map" and len(value) != len(
            {str(one.get("name")) for one in value}
        )
        return what, value, ANYTHING if inside and not keyed else ONLY_REJECTED

    yield of("empty", [])
    two = items(schema["items"], 2)
    yield of("one", two[:1])
    yield of("two", two)
    yield of("two in another order", two[::-1])
    yield of("the same twice", two[:1] * 2)
    yield "a null in it", [None], ANYTHING
    most = schema.get("maxItems", 10_000)
    yield of("one too many" if "maxItems" in schema else "ten thousand", items(schema["items"], most + 1))
    if most <= 100 and "maxItems" in schema:
        yield of("as many as may be", items(schema["items"], most))


def objects(schema: Schema) -> Iterator[Value]:
    yield "empty", {}, ONLY_REJECTED if schema.get("required") else ANYTHING
    if schema.get(ANY):
        yield from settings()
        return
    whole = sample(schema)
    if isinstance(schema.get("additionalProperties"), dict):
        one = sample(schema["additionalProperties"])
        # The API server asks nothing of the keys of a map.
        for what, key in (
            ("an empty key", ""),
            ("a key with a blank", "a b"),
            ("a key with NUL", "a\0b"),
            ("a key that climbs", "../x"),
        ):
            yield what, {key: one}, ANYTHING
        yield "ten thousand keys", {f"key{number}": one for number in range(10_000)}, ANYTHING
        return
    yield "a key that nobody knows", {**whole, "unheardOf": 1}, ONLY_REJECTED


def settings() -> Iterator[Value]:
    """What stands where any key may stand. A secret that is written out must never be taken in silence."""
    yield "a key that nobody knows", {"unheardOf": 1}, ANYTHING
    yield "a literal password", {"password": LITERAL}, ANYTHING
    yield "a literal secret key", {"secretAccessKey": LITERAL}, ANYTHING
    yield "an environment variable", {"host": "${HOME}"}, ANYTHING
    yield "a null value", {"host": None}, ANYTHING
    yield "an object for text", {"host": {"a": 1}}, ANYTHING
    yield "a list for text", {"host": [1]}, ANYTHING
    yield "a wrong port", {"host": "db", "port": 0}, ANYTHING
    yield "odd text", {"host": "a\0\n\u202e\U0001f980"}, ANYTHING
    yield "ten thousand keys", {f"key{number}": number for number in range(10_000)}, ANYTHING
    deep: Any = 1
    for _ in range(60):
        deep = {"a": deep}
    yield "sixty levels", deep, ANYTHING
    yield "half a mebibyte", {"host": "x" * (MEBIBYTE // 2)}, ANYTHING
