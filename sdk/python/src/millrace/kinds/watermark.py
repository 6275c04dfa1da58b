"""Watermarks as JSON.

In: whatever orders rows: a number, a text, a time, a decimal, a tuple of them. Out: JSON from which the same value
comes back, for the position that the worker keeps.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from ..columns.plain import plain
from ..errors import DataError
from ..state import copied

_READ: dict[str, Callable[[Any], Any]] = {
    "$datetime": datetime.fromisoformat,
    "$date": date.fromisoformat,
    "$decimal": Decimal,
    "$uuid": UUID,
    "$bytes": b64decode,
    "$tuple": lambda parts: tuple(load(part) for part in parts),
}


def dump(value: Any) -> Any:
    """A watermark as JSON."""
    if isinstance(value, tuple):
        return {"$tuple": [dump(part) for part in value]}
    match plain(value):
        case datetime() as moment:
            return {"$datetime": moment.isoformat()}
        case date() as day:
            return {"$date": day.isoformat()}
        case Decimal() as number:
            return {"$decimal": str(number)}
        case UUID() as id_:
            return {"$uuid": str(id_)}
        case bytes() as content:
            return {"$bytes": b64encode(content).decode()}
        case other:
            return copied(other, "the watermark")


def load(value: Any) -> Any:
    """The watermark that was dumped."""
    if isinstance(value, dict) and len(value) == 1:
        ((word, content),) = value.items()
        if word in _READ:
            return _READ[word](content)
    return value


def greater(left: Any, right: Any) -> Any:
    """The greater of two, of which either may be missing."""
    if left is None or right is None:
        return right if left is None else left
    try:
        return right if right > left else left
    except TypeError as error:
        raise DataError(f"watermarks that have no order: {left!r} and {right!r} ({error})") from None
