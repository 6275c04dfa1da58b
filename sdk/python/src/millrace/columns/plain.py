"""Values that are other things in disguise.

In: any value that a plugin put into a row. Out: the plain Python value that it stands for: the value of an enum, the
number inside a numpy scalar, the dictionary of a mapping or dataclass.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, cast
from uuid import UUID

_PLAIN = frozenset(
    {type(None), bool, int, float, str, bytes, date, datetime, time, timedelta, Decimal, UUID, list, dict}
)


def plain(value: Any) -> Any:
    """The plain value; what is not known stays as it is, and is refused later with its type's name."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, Enum):
        return plain(value.value)
    if type(value).__module__.partition(".")[0] == "numpy":
        return _numpy(value)
    if hasattr(value, "to_pydatetime"):
        return _pandas_time(value)
    if isinstance(value, (tuple, set, frozenset)):
        return list(value)
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, Mapping):
        return dict(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    for base in (str, int, float):
        if isinstance(value, base):
            return base(value)
    return value


def _numpy(value: Any) -> Any:
    if hasattr(value, "tolist") and getattr(value, "ndim", 0) > 0:
        return value.tolist()
    if type(value).__name__ in ("datetime64", "timedelta64"):
        exact = value.astype(type(value).__name__ + "[us]")
        # A nanosecond that a Python value cannot hold would be lost without a word.
        return exact.item() if exact == value else value
    return value.item() if hasattr(value, "item") else value


def _pandas_time(value: Any) -> Any:
    if value != value:  # pandas.NaT: nothing there
        return None
    return value if getattr(value, "nanosecond", 0) else value.to_pydatetime()


def is_name(key: Any) -> bool:
    """Whether a key can be the name of a column: a text without halves of surrogate pairs."""
    try:
        return isinstance(key, str) and key.encode() is not None
    except UnicodeEncodeError:
        return False


def row_of(row: Any) -> dict[str, Any]:
    """A row as a dictionary.

    Raises `TypeError` for what is none.
    """
    if isinstance(row, Mapping):
        return dict(row)
    if dataclasses.is_dataclass(row):
        return cast("dict[str, Any]", plain(row))
    if hasattr(row, "_asdict"):
        return cast("dict[str, Any]", row._asdict())
    if hasattr(row, "keys"):
        return {key: row[key] for key in row.keys()}  # noqa: SIM118 - a sqlite3.Row iterates over its values
    raise TypeError(f"a row is a dictionary, not {type(row).__name__}")
