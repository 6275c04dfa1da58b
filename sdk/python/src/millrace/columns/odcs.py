"""Columns as a manifest declares them: properties of the Open Data Contract Standard.

In: the `schema` of a stream. Out: columns; and the other way round, for the JSON form of a batch and for the
`schema` that a writer sees.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import ConfigError
from . import types as t
from .types import Column, Type, Unit

Properties = Mapping[str, Any]

_LOGICAL = {
    "string": t.TEXT, "integer": t.INT, "number": t.FLOAT, "boolean": t.BOOL, "date": t.DATE,
    "time": t.TIME, "timestamp": t.TIMESTAMP,
}  # fmt: skip
_PHYSICAL: dict[str, Type] = {
    **dict.fromkeys(("bool", "boolean"), t.BOOL),
    **dict.fromkeys(("int8", "tinyint"), Type("int", bits=8)),
    **dict.fromkeys(("int16", "smallint", "int2", "smallserial"), Type("int", bits=16)),
    **dict.fromkeys(("int32", "int", "integer", "int4", "serial"), Type("int", bits=32)),
    **dict.fromkeys(("int64", "bigint", "long", "bigserial"), t.INT),
    **{f"uint{bits}": Type("uint", bits=bits) for bits in (8, 16, 32, 64)},
    **dict.fromkeys(("float32", "float", "real", "float4"), Type("float", bits=32)),
    **dict.fromkeys(("float64", "double", "double precision", "float8"), t.FLOAT),
    **dict.fromkeys(("date", "date32"), t.DATE),
    **dict.fromkeys(("json", "jsonb"), t.JSON),
    "uuid": t.UUID,
}
_ZONED = {"timestamptz", "timestamp with time zone", "timestamp_tz"}
_LOCAL = {"timestamp", "datetime", "timestamp without time zone", "timestamp_ntz"}
_UNITS: dict[str, Unit] = {
    "s": "s", "0": "s", "ms": "ms", "1": "ms", "2": "ms", "3": "ms", "us": "us", "": "us",
    "4": "us", "5": "us", "6": "us", "ns": "ns", "7": "ns", "8": "ns", "9": "ns",
}  # fmt: skip


def columns(fields: Iterable[Properties]) -> tuple[Column, ...]:
    """The declared columns, in their order."""
    return tuple(_column(field) for field in fields)


def _column(field: Properties) -> Column:
    name = str(field.get("name", ""))
    return Column(name, _type(field, name), bool(field.get("required", False)), declared=True)


def _type(field: Properties, path: str) -> Type:
    logical = field.get("logicalType")
    physical = str(field.get("physicalType") or "").strip().lower()
    if logical == "array":
        items = field.get("items")
        return t.list_of(_type(items, path) if items else t.TEXT)
    if logical == "object":
        parts = columns(field.get("properties") or ())
        if physical == "map" and len(parts) == 2:
            return Type("map", fields=parts)
        return t.struct_of(parts) if parts else t.JSON
    if physical:
        return _exact(physical)
    if logical not in _LOGICAL:
        raise ConfigError(
            f"column `{path}` has no type that is known here: {logical!r}",
            advice="write logicalType: string, integer, number, boolean, date, time, timestamp, object or array",
        )
    return _narrowed(_LOGICAL[logical], field.get("logicalTypeOptions") or {})


def _narrowed(type_: Type, options: Properties) -> Type:
    format_ = str(options.get("format") or "")
    if type_.kind == "int" and format_ == "i128":
        return Type("decimal")
    if type_.kind == "int" and (found := re.fullmatch(r"([iu])(8|16|32|64)", format_)):
        return Type("int" if found[1] == "i" else "uint", bits=int(found[2]))
    if type_.kind == "float" and format_ == "f32":
        return Type("float", bits=32)
    if type_.kind == "timestamp" and options.get("timezone") is True:
        return t.TIMESTAMP_TZ
    return type_


def _exact(physical: str) -> Type:
    found = re.fullmatch(r"([^(]*)(?:\(([^)]*)\))?(.*)", physical)
    assert found is not None
    base = " ".join(f"{found[1]} {found[3]}".split())
    parameters = [part.strip() for part in (found[2] or "").split(",")]
    unit = _UNITS.get(parameters[0], "us")
    if base in ("decimal", "numeric", "dec"):
        return Type("decimal", precision=int(parameters[0] or 38), scale=int((*parameters, "0")[1]))
    if base in _ZONED or base in _LOCAL:
        return Type("timestamp", unit=unit, zoned=base in _ZONED)
    if base in ("time", "time without time zone", "duration"):
        return Type("duration" if base == "duration" else "time", unit=unit)
    if base in ("binary", "bytes", "bytea", "blob", "varbinary"):
        size = int(parameters[0]) if base == "binary" and parameters[0] else None
        return Type("bytes", size=size)
    # A name that only a database knows is held as text, as the worker holds it.
    return _PHYSICAL.get(base, t.TEXT)


def fields(columns_: Iterable[Column]) -> list[dict[str, Any]]:
    """Columns as a manifest would declare them."""
    return [{"name": column.name, **_declared(column)} for column in columns_]


def _declared(column: Column) -> dict[str, Any]:
    type_ = column.type
    found: dict[str, Any] = dict(_forms(type_))
    if column.required:
        found["required"] = True
    if type_.kind == "list":
        assert type_.item is not None
        found["items"] = _declared(Column("", type_.item))
    if type_.fields:
        found["properties"] = fields(type_.fields)
    return found


def _forms(type_: Type) -> dict[str, str]:
    match type_.kind:
        case "int" | "uint":
            exact = {} if type_ == t.INT else {"physicalType": f"{type_.kind}{type_.bits}"}
            return {"logicalType": "integer", **exact}
        case "float":
            return {"logicalType": "number", **({"physicalType": "float32"} if type_.bits == 32 else {})}
        case "decimal":
            return {"logicalType": "number", "physicalType": f"decimal({type_.precision},{type_.scale})"}
        case "timestamp":
            base = "timestamptz" if type_.zoned else "timestamp"
            return {"logicalType": "timestamp", "physicalType": f"{base}({type_.unit})"}
        case "time":
            return {"logicalType": "time", "physicalType": f"time({type_.unit})"}
        case "bytes":
            return {
                "logicalType": "string",
                "physicalType": f"binary({type_.size})" if type_.size else "binary",
            }
        case "uuid" | "json" | "duration":
            exact_name = f"duration({type_.unit})" if type_.kind == "duration" else type_.kind
            return {"logicalType": "string", "physicalType": exact_name}
        case "map":
            return {"logicalType": "object", "physicalType": "map"}
        case "bool":
            return {"logicalType": "boolean"}
        case "list":
            return {"logicalType": "array"}
        case "struct":
            return {"logicalType": "object"}
        case "date":
            return {"logicalType": "date"}
        case _:
            return {"logicalType": "string"}
