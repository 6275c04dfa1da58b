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
    match type(value).__module__.partition(".")[0]:
        case "numpy":
            return _numpy(value)
        case "pandas":
            return _pandas(value)
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
    if type(value).__name__ in ("datetime64", "timedelta64"):
        return _numpy_time(value)
    if not hasattr(value, "tolist"):
        return value
    if value.dtype.kind not in "mM":
        return value.tolist()
    if not value.ndim:
        return plain(value[()])
    # What is in nanoseconds, or out of the range of Python, would become a number: it stays a time.
    return [part if isinstance(item, (int, list)) else item for item, part in zip(value.tolist(), value, strict=True)]


#: How the types of durations without a length end: months, years, and numbers of no unit.
_NO_LENGTH = ("M]", "Y]", "timedelta64")


def _numpy_time(value: Any) -> Any:
    if value != value:  # NaT: nothing there
        return None
    if value.dtype.kind == "m" and value.dtype.name.endswith(_NO_LENGTH):
        return value
    try:
        exact = value.astype(f"{value.dtype.kind}8[us]")
        # numpy cuts off nanoseconds, and wraps what is out of range where it does not raise: no such value comes back.
        comes_back = exact.astype(value.dtype) == value
    except OverflowError:
        return value
    held = exact.item()
    return held if comes_back and isinstance(held, (datetime, timedelta)) else value


def _pandas(value: Any) -> Any:
    if type(value).__name__ == "NAType":
        return None
    if not hasattr(value, "asm8"):
        return value
    # To Python a time of pandas is a datetime or timedelta, and would be taken without what those cannot hold.
    exact = value.asm8
    held = _numpy_time(exact)
    try:
        return value.to_pydatetime() if isinstance(held, datetime) else held
    except ValueError:  # the last year of UTC has ended in its time zone
        return exact


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
