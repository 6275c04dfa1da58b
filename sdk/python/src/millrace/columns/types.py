"""The types that a column can have.

In: nothing. Out: `Type` and `Column`, which the declared schema, the inference from values, Arrow and the JSON
form are all translated to and from, so that each of them knows this page and not the others.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Kind = Literal[
    "null", "bool", "int", "uint", "float", "decimal", "text", "json", "uuid", "bytes",
    "date", "time", "timestamp", "duration", "list", "struct", "map",
]  # fmt: skip
Unit = Literal["s", "ms", "us", "ns"]


@dataclass(frozen=True, slots=True)
class Type:
    """What a value can be. `null` is a type of which no value has been seen yet."""

    kind: Kind
    bits: int = 64
    precision: int = 38
    scale: int = 0
    unit: Unit = "us"
    zoned: bool = False
    size: int | None = None
    item: Type | None = None
    fields: tuple[Column, ...] = ()

    @property
    def settled(self) -> bool:
        """Whether every part has a type."""
        if self.kind == "null" or (self.item is not None and not self.item.settled):
            return False
        return all(field.type.settled for field in self.fields)

    def __str__(self) -> str:
        match self.kind:
            case "int" | "uint" | "float":
                return f"{self.kind}{self.bits}"
            case "decimal":
                return f"decimal({self.precision},{self.scale})"
            case "timestamp":
                return "timestamp with time zone" if self.zoned else "timestamp"
            case "list":
                return f"list of {self.item}"
            case _:
                return self.kind


@dataclass(frozen=True, slots=True)
class Column:
    """A type with a name; one that is `required` holds no null."""

    name: str
    type: Type
    required: bool = False
    declared: bool = False

    def typed(self, type_: Type) -> Column:
        """The same column with another type."""
        return replace(self, type=type_)


NULL = Type("null")
BOOL = Type("bool")
INT = Type("int")
FLOAT = Type("float")
TEXT = Type("text")
JSON = Type("json")
UUID = Type("uuid")
BYTES = Type("bytes")
DATE = Type("date")
TIME = Type("time")
TIMESTAMP = Type("timestamp")
TIMESTAMP_TZ = Type("timestamp", zoned=True)
DURATION = Type("duration")


def list_of(item: Type) -> Type:
    """A list."""
    return Type("list", item=item)


def struct_of(fields: tuple[Column, ...]) -> Type:
    """A value of named parts."""
    return Type("struct", fields=fields)
