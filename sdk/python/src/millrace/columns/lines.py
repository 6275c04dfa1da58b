"""The JSON form of a batch, for hosts without pyarrow.

In: columns and their values, as `Table` built them. Out: one JSON object a line. What JSON has no form of is text:
decimals and times as they are written, bytes in base64, numbers that are none as `NaN` and `Infinity`.
"""

from __future__ import annotations

import json
import math
from base64 import b64encode
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from .types import Column, Type


def dump(columns: Sequence[Column], parts: Sequence[Sequence[Any]], rows: int) -> list[bytes]:
    """The rows, a line each; a null is left out."""
    lines = []
    for at in range(rows):
        record = {
            column.name: _said(column.type, part[at])
            for column, part in zip(columns, parts, strict=True)
            if part[at] is not None
        }
        lines.append(f"{json.dumps(record, ensure_ascii=False, separators=(',', ':'))}\n".encode())
    return lines


def _said(type_: Type, value: Any) -> Any:
    match value:
        case float():
            return value if math.isfinite(value) else str(Decimal(value))
        case Decimal():
            return format(value, "f")
        case datetime() | date() | time():
            return value.isoformat()
        case timedelta():
            return value // timedelta(microseconds=1)
        case bytes():
            return b64encode(value).decode()
        case dict():
            kinds = {field.name: field.type for field in type_.fields}
            return {name: _said(kinds[name], part) for name, part in value.items()}
        case list() if type_.kind == "map":
            return {str(key): _said(type_.fields[1].type, part) for key, part in value}
        case list():
            assert type_.item is not None
            return [_said(type_.item, part) for part in value]
        case _:
            return value


#: A longer text of a refused row is cut.
_MOST_TEXT = 64_000


def shown(row: Any) -> Any:
    """A refused row as JSON, whatever is in it."""
    if isinstance(row, str) and len(row) > _MOST_TEXT:
        return f"{row[:_MOST_TEXT]}[… {len(row) - _MOST_TEXT} characters left out …]"
    if isinstance(row, dict):
        return {str(name): shown(value) for name, value in row.items()}
    if isinstance(row, (list, tuple)):
        return [shown(value) for value in row]
    if row is None or isinstance(row, (bool, str)) or (isinstance(row, int) and row.bit_length() < 64):
        return row
    if isinstance(row, float) and math.isfinite(row):
        return row
    try:
        return row.isoformat() if isinstance(row, (date, time)) else str(row)
    except Exception:
        return f"<{type(row).__name__}>"
