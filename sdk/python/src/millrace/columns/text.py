"""Text read strictly and whole, where the manifest declares another type.

In: a text. Out: the one value that it is, or `None`. No space around it, no rounding, no time zone invented: what
the built-in readers accept of CSV and JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import date, datetime, time, timezone
from decimal import Context, Decimal, InvalidOperation
from typing import Any

#: Wide enough that no decimal with a place in a column is rounded on the way.
WIDE = Context(prec=200)

_INTEGER = re.compile(r"[+-]?[0-9]{1,78}", re.ASCII)
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,4})?|NaN|[+-]?Infinity", re.ASCII)
_DECIMAL = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)", re.ASCII)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_TIME = re.compile(r"([0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?)", re.ASCII)
_MOMENT = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[T ]([0-9]{2}:[0-9]{2}(?::[0-9]{2})?)(?:\.([0-9]{1,6})0*)?"
    r"(Z|z|[+-][0-9]{2}:?[0-9]{2})?",
    re.ASCII,
)


def _integer(text: str) -> int | None:
    return int(text) if _INTEGER.fullmatch(text) else None


def _float(text: str) -> float | None:
    if not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    # One too large to be held is none, and not infinite.
    return None if value in (float("inf"), float("-inf")) and "Inf" not in text else value


def _decimal(text: str) -> Decimal | None:
    try:
        return Decimal(text) if _DECIMAL.fullmatch(text) else None
    except InvalidOperation:
        return None


def _boolean(text: str) -> bool | None:
    return {"true": True, "false": False}.get(text.lower())


def _date(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if _DATE.fullmatch(text) else None
    except ValueError:
        return None


def _time(text: str) -> time | None:
    found = _TIME.fullmatch(text)
    try:
        return time.fromisoformat(_six_digits(text)) if found else None
    except ValueError:
        return None


def _moment(text: str) -> datetime | None:
    found = _MOMENT.fullmatch(text)
    if not found:
        return None
    day, clock, fraction, zone = found.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}")
        moment = moment.replace(microsecond=int((fraction or "0").ljust(6, "0")))
        return moment if zone is None else moment.replace(tzinfo=_zone(zone))
    except ValueError:
        return None


def _zone(text: str) -> timezone:
    if text in ("Z", "z"):
        return timezone.utc
    offset = datetime.strptime(text, "%z").tzinfo
    assert isinstance(offset, timezone)
    return offset


def _six_digits(text: str) -> str:
    # Python 3.10 reads three or six digits after the second, and no others.
    whole, point, fraction = text.partition(".")
    return f"{whole}.{fraction.ljust(6, '0')}" if point else text


def is_json(text: str) -> bool:
    """Whether a text is one JSON value."""
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


#: How text is read as a value of each kind that JSON or CSV have no form of.
READERS: dict[str, Callable[[str], Any]] = {
    "int": _integer, "uint": _integer, "float": _float, "decimal": _decimal, "bool": _boolean,
    "date": _date, "time": _time, "timestamp": _moment,
}  # fmt: skip
