"""Whether a value fits a type, and what it is there.

In: a type and values. Out: whether a whole column can be taken as it is (`direct`, which looks at types only and is
fast), or one value in the form that its type has (`coerce`), or `Misfit` with the path and the reason. No value
changes its meaning: 35.2 is not 35, and "yes" is not true. Text is read as another type only where the manifest
declares that type, since JSON has no dates and no decimals, and then only whole and exactly.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import chain
from operator import attrgetter
from typing import Any, NoReturn
from uuid import UUID

from . import text
from .plain import plain
from .types import Type

_NONE = type(None)
_TZINFO = attrgetter("tzinfo")
_DIRECT: dict[str, frozenset[type]] = {
    "bool": frozenset({bool, _NONE}),
    "int": frozenset({int, _NONE}),
    "uint": frozenset({int, _NONE}),
    "float": frozenset({float, int, _NONE}),
    "decimal": frozenset({Decimal, int, _NONE}),
    "text": frozenset({str, _NONE}),
    "bytes": frozenset({bytes, _NONE}),
    "date": frozenset({date, _NONE}),
    "time": frozenset({time, _NONE}),
    "timestamp": frozenset({datetime, _NONE}),
    "duration": frozenset({timedelta, _NONE}),
    "list": frozenset({list, _NONE}),
    "struct": frozenset({dict, _NONE}),
    "null": frozenset({_NONE}),
}


class Misfit(Exception):
    """A value that has no place in its column."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason


def direct(type_: Type, values: Sequence[Any]) -> bool:
    """Whether every value is of the Python type that stands for the column's type.

    Ranges are not looked at: the builder of the column finds those.
    """
    kinds = _DIRECT.get(type_.kind)
    if kinds is None or not kinds.issuperset(map(type, values)):
        return False
    match type_.kind:
        case "float":
            return type_.bits == 64
        case "time":
            fine = type_.unit in ("us", "ns")
            return fine and all(value is None or value.tzinfo is None for value in values)
        case "timestamp":
            return type_.unit in ("us", "ns") and _same_zone(values, type_.zoned)
        case "list":
            assert type_.item is not None
            return direct(type_.item, list(chain.from_iterable(value for value in values if value is not None)))
        case "struct":
            return _direct_struct(type_, [value for value in values if value is not None])
        case _:
            return True


def _same_zone(values: Sequence[Any], zoned: bool) -> bool:
    try:
        zones = set(map(_TZINFO, values))
    except AttributeError:
        zones = {value.tzinfo for value in values if value is not None}
    return None not in zones if zoned else zones <= {None}


def _direct_struct(type_: Type, values: Sequence[dict[Any, Any]]) -> bool:
    names = {field.name for field in type_.fields}
    if not all(names.issuperset(value) for value in values):
        return False
    return all(direct(field.type, [value.get(field.name) for value in values]) for field in type_.fields)


def coerce(type_: Type, value: Any, path: str, declared: bool = False) -> Any:
    """The value in the form that its type has.

    Raises `Misfit`, with the path to the part that does not fit.
    """
    value = plain(value)
    if value is None or type_.kind == "null":
        if value is None:
            return None
        raise Misfit(path, f"{_said(value)} is nothing that a column can hold")
    if declared and isinstance(value, str) and type_.kind in text.READERS:
        value = _read_text(type_, value, path)
    return _CHECKS[type_.kind](type_, value, path, declared)


def _read_text(type_: Type, value: str, path: str) -> Any:
    read = text.READERS[type_.kind](value)
    if read is None:
        raise Misfit(path, f"the text {_shown(value)} is not exactly one value of type {type_}")
    return read


def _bool(type_: Type, value: Any, path: str, _: bool) -> bool:
    return bool(value) if isinstance(value, bool) else _refuse(type_, value, path)


def _int(type_: Type, value: Any, path: str, _: bool) -> int:
    if isinstance(value, float) and value.is_integer() and abs(value) <= 2**53:
        value = int(value)
    if isinstance(value, Decimal) and value.is_finite() and value == value.to_integral_value():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        _refuse(type_, value, path)
    low, high = (0, 2**type_.bits) if type_.kind == "uint" else (-(2 ** (type_.bits - 1)), 2 ** (type_.bits - 1))
    return int(value) if low <= value < high else _refuse(type_, value, path)


def _float(type_: Type, value: Any, path: str, _: bool) -> float:
    if isinstance(value, int) and not isinstance(value, bool):
        if abs(value) > (2**53 if type_.bits == 64 else 2**24):
            _refuse(type_, value, path, "it would be rounded")
        return float(value)
    if not isinstance(value, float):
        _refuse(type_, value, path)
    if type_.bits == 32 and math.isfinite(value) and abs(value) > 3.4028235677973366e38:
        _refuse(type_, value, path)
    return float(value)


def _decimal(type_: Type, value: Any, path: str, declared: bool) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        _refuse(type_, value, path)
    if isinstance(value, float):
        # A JSON number that a parser made a float is, as it was written, its shortest form.
        value = Decimal(repr(value)) if declared and math.isfinite(value) else _refuse(type_, value, path)
    number = Decimal(value)
    if not number.is_finite():
        _refuse(type_, value, path)
    _, digits, exponent = number.normalize(text.WIDE).as_tuple() if number else (0, (0,), 0)
    scale = -int(exponent)
    if scale > type_.scale:
        _refuse(type_, value, path, f"more than {type_.scale} digits after the point")
    if len(digits) - scale + type_.scale > type_.precision:
        _refuse(type_, value, path, "too many digits")
    return number


def _text(type_: Type, value: Any, path: str, _: bool) -> str:
    if isinstance(value, UUID):
        return str(value)
    if not isinstance(value, str):
        _refuse(type_, value, path)
    try:
        value.encode()
    except UnicodeEncodeError:
        _refuse(type_, value, path, "half of a surrogate pair, which UTF-8 cannot hold")
    return str(value)


def _json(type_: Type, value: Any, path: str, _: bool) -> str:
    if isinstance(value, str) and text.is_json(value):
        return value
    try:
        return json.dumps(value, ensure_ascii=False, default=_json_part, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise Misfit(path, f"not JSON: {error}") from None


def _json_part(value: Any) -> Any:
    simple = plain(value)
    if isinstance(simple, (Decimal, UUID)):
        return str(simple)
    if isinstance(simple, (datetime, date, time)):
        return simple.isoformat()
    if simple is value:
        raise TypeError(f"{type(value).__name__} has no form in JSON")
    return simple


def _uuid(type_: Type, value: Any, path: str, _: bool) -> str:
    if isinstance(value, UUID):
        return str(value)
    try:
        return str(UUID(value)) if isinstance(value, str) else _refuse(type_, value, path)
    except ValueError:
        return _refuse(type_, value, path)


def _bytes(type_: Type, value: Any, path: str, _: bool) -> bytes:
    if not isinstance(value, bytes):
        _refuse(type_, value, path)
    if type_.size is not None and len(value) != type_.size:
        _refuse(type_, value, path, f"{len(value)} bytes where {type_.size} belong")
    return bytes(value)


def _date(type_: Type, value: Any, path: str, _: bool) -> date:
    if isinstance(value, datetime):
        if value.tzinfo is None and value.time() == time():
            return value.date()
        _refuse(type_, value, path, "its time of day would be lost")
    return value if isinstance(value, date) else _refuse(type_, value, path)


def _time(type_: Type, value: Any, path: str, _: bool) -> time:
    if not isinstance(value, time):
        _refuse(type_, value, path)
    if value.tzinfo is not None:
        _refuse(type_, value, path, "its time zone would be lost")
    if not _exact(type_, value.microsecond):
        _refuse(type_, value, path, "it would be rounded")
    return value


def _timestamp(type_: Type, value: Any, path: str, declared: bool) -> datetime:
    if type(value) is date and not type_.zoned:
        value = datetime.combine(value, time())
    if not isinstance(value, datetime):
        _refuse(type_, value, path)
    if type_.zoned != (value.tzinfo is not None):
        had = "it has no time zone" if type_.zoned else "its time zone would be lost"
        _refuse(type_, value, path, had)
    if not _exact(type_, value.microsecond):
        _refuse(type_, value, path, "it would be rounded")
    return value


def _exact(type_: Type, microseconds: int) -> bool:
    return microseconds % {"s": 1_000_000, "ms": 1000, "us": 1, "ns": 1}[type_.unit] == 0


def _duration(type_: Type, value: Any, path: str, _: bool) -> timedelta:
    return value if isinstance(value, timedelta) else _refuse(type_, value, path)


def _list(type_: Type, value: Any, path: str, declared: bool) -> list[Any]:
    if not isinstance(value, list):
        _refuse(type_, value, path)
    assert type_.item is not None
    return [coerce(type_.item, item, f"{path}[{at}]", declared) for at, item in enumerate(value)]


def _struct(type_: Type, value: Any, path: str, declared: bool) -> dict[str, Any]:
    if not isinstance(value, dict):
        _refuse(type_, value, path)
    known = {field.name: field for field in type_.fields}
    for name in value:
        if name not in known:
            raise Misfit(f"{path}.{name}", "this part is not in the schema")
    return {name: coerce(field.type, value.get(name), f"{path}.{name}", declared) for name, field in known.items()}


def _map(type_: Type, value: Any, path: str, declared: bool) -> list[tuple[Any, Any]]:
    pairs = list(value.items()) if isinstance(value, dict) else value
    if not isinstance(pairs, list) or not all(isinstance(pair, (tuple, list)) and len(pair) == 2 for pair in pairs):
        _refuse(type_, value, path)
    key, part = type_.fields
    return [
        (coerce(key.type, name, path, declared), coerce(part.type, item, f"{path}.{name}", declared))
        for name, item in pairs
    ]


_CHECKS: dict[str, Callable[[Type, Any, str, bool], Any]] = {
    "bool": _bool, "int": _int, "uint": _int, "float": _float, "decimal": _decimal, "text": _text,
    "json": _json, "uuid": _uuid, "bytes": _bytes, "date": _date, "time": _time, "timestamp": _timestamp,
    "duration": _duration, "list": _list, "struct": _struct, "map": _map,
}  # fmt: skip


def _refuse(type_: Type, value: Any, path: str, why: str = "") -> NoReturn:
    raise Misfit(path, f"{_said(value)} does not fit {type_}" + (f": {why}" if why else ""))


def _said(value: Any) -> str:
    return f"{_shown(value)} ({type(value).__name__})"


def _shown(value: Any) -> str:
    try:
        shown = repr(value)
    except Exception:
        shown = f"<{type(value).__name__}>"
    return shown if len(shown) <= 80 else shown[:77] + "..."
