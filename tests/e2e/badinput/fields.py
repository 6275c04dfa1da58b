"""The fields of the definitions, every one at every depth.

In: the definitions as the chart has them. Out: each field with its path, its schema, and whether it must be there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml
from harness import ROOT

Schema = dict[str, Any]
Path = tuple[str | int, ...]

DEFINITIONS = ROOT / "charts" / "millrace" / "files" / "crds.yaml"
# The key by which a map is entered, where no plain word would do.
KEYS = {"requests": "memory", "limits": "memory"}
ANY = "x-kubernetes-preserve-unknown-fields"


@dataclass(frozen=True)
class Field:
    """One field of a kind; lists are entered at their first item, maps at one key."""

    kind: str
    path: Path
    schema: Schema
    required: bool

    @property
    def name(self) -> str:
        return told(self.path)

    @property
    def type(self) -> str:
        if self.schema.get("x-kubernetes-int-or-string"):
            return "quantity"
        return str(self.schema.get("type", "object"))

    @property
    def is_item(self) -> bool:
        return isinstance(self.path[-1], int)


def told(path: Path) -> str:
    """`spec.streams[0].name`, as the API server writes it."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


def definitions() -> dict[str, Schema]:
    """The schema of each kind."""
    found = {}
    for one in yaml.load_all(DEFINITIONS.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        (version,) = one["spec"]["versions"]
        found[one["spec"]["names"]["kind"]] = version["schema"]["openAPIV3Schema"]
    return found


def fields(kind: str, schema: Schema, part: str = "spec") -> list[Field]:
    """All fields below `spec`, and `spec` itself."""
    return list(below(kind, (part,), schema["properties"][part], part in schema.get("required", ())))


def below(kind: str, path: Path, schema: Schema, required: bool) -> Iterator[Field]:
    yield Field(kind, path, schema, required)
    needed = schema.get("required", ())
    for name, inner in schema.get("properties", {}).items():
        yield from below(kind, (*path, name), inner, name in needed)
    if isinstance(schema.get("items"), dict):
        yield from below(kind, (*path, 0), schema["items"], False)
    if isinstance(schema.get("additionalProperties"), dict):
        key = KEYS.get(str(path[-1]), "default")
        yield from below(kind, (*path, key), schema["additionalProperties"], False)
