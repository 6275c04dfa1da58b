"""Values that fit a schema, and their places in an object.

In: a schema. Out: the smallest value that it takes; an object with a value set, parents and all, or taken away.
"""

from __future__ import annotations

import copy
import re
from typing import Any

from cluster import Object

from badinput.fields import ANY, Path, Schema

# A pattern takes one of these; another pattern needs another one here.
TEXTS = (
    "text",
    "1h",
    "reader.py:Reader",
    "library.so:create",
    "0" * 64,
    "registry.example/image@sha256:" + "0" * 64,
    "100M",
)
# Of what excludes one another, setting one takes the others away: what is wrong is then the value alone.
INSTEAD = {
    "env": ("secret", "file"),
    "file": ("secret", "env"),
    "match": ("name",),
    "schemaRef": ("schema",),
    "cursorFields": ("cursorField",),
    "s3": ("configMap", "directory"),
    "directory": ("configMap", "s3"),
    "flow": ("flowTemplate",),
    "flowTemplate": ("flow",),
}
# What makes sense only beside another field.
BESIDE: dict[str, Object] = {
    "scheduleLoad": {"schedule": "0 3 * * *"},
    "timeZone": {"schedule": "0 3 * * *"},
    "backfill": {"load": "Backfill"},
}


class Delete:
    """In place of a value: the field is taken away."""

    def __repr__(self) -> str:
        return "taken away"


DELETE = Delete()


def fits(schema: Schema, text: str) -> bool:
    """Whether the schema takes a text. The patterns of the definitions are whole: `^...$`."""
    pattern = schema.get("pattern")
    if pattern and not re.fullmatch(pattern.removeprefix("^").removesuffix("$"), text):
        return False
    if "enum" in schema and text not in schema["enum"]:
        return False
    return schema.get("minLength", 0) <= len(text) <= schema.get("maxLength", len(text))


def sample(schema: Schema) -> Any:
    """A value that the schema takes."""
    if schema.get("x-kubernetes-int-or-string"):
        return "100M"
    match schema.get("type"):
        case "string":
            return text(schema)
        case "integer":
            return int(schema.get("minimum", 1))
        case "number":
            return schema.get("minimum", 0) or 1.0
        case "boolean":
            return True
        case "array":
            return [sample(schema["items"])]
    if isinstance(schema.get("additionalProperties"), dict):
        return {"default": sample(schema["additionalProperties"])}
    if schema.get(ANY):
        return {}
    return {name: sample(schema["properties"][name]) for name in schema.get("required", ())}


def text(schema: Schema) -> str:
    if "enum" in schema:
        return str(schema["enum"][0])
    found = next((one for one in TEXTS if fits(schema, one)), None)
    assert found is not None, f"no sample fits {schema}; add one to TEXTS"
    return found


def items(schema: Schema, count: int) -> list[Any]:
    """So many items of a list, no two the same where that can be."""
    made = []
    for number in range(count):
        item = sample(schema)
        if isinstance(item, str) and "enum" not in schema and "pattern" not in schema:
            item = f"{item}{number}"
        elif isinstance(item, dict) and "name" in schema.get("properties", {}):
            item = {**item, "name": f"text{number}"}
        elif isinstance(item, str) and fits(schema, f"{item}{number}"):
            item = f"{item}{number}"
        made.append(item)
    return made


def put(whole: Object, schema: Schema, path: Path, value: Any) -> Object:
    """A copy with the value at the path; parents that are not there are made as their schemas want them."""
    changed = copy.deepcopy(whole)
    node: Any = changed
    for depth, part in enumerate(path):
        schema = step(schema, part)
        last = depth == len(path) - 1
        if isinstance(part, str) and isinstance(node, dict) and not (last and value is DELETE):
            for other in INSTEAD.get(part, ()):
                node.pop(other, None)
            for name, needed in BESIDE.get(part, {}).items():
                node[name] = needed
        if last:
            set_at(node, part, value)
        elif missing(node, part):
            set_at(node, part, sample(schema))
        if not last:
            node = node[part]
    return changed


def step(schema: Schema, part: str | int) -> Schema:
    if isinstance(part, int):
        return dict(schema["items"])
    if part in schema.get("properties", {}):
        return dict(schema["properties"][part])
    rest = schema.get("additionalProperties")
    return dict(rest) if isinstance(rest, dict) else {}


def missing(node: Any, part: str | int) -> bool:
    return part >= len(node) if isinstance(part, int) else node.get(part) is None


def set_at(node: Any, part: str | int, value: Any) -> None:
    if value is DELETE:
        if not missing(node, part):
            del node[part]
    elif isinstance(part, int) and part >= len(node):
        node.append(value)
    else:
        node[part] = value
