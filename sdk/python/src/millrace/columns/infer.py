"""The type of values that nobody declared.

In: the values of one column. Out: the type of the first value that has one, widened by those after it where both
mean the same in the wider type. What does not fit is left to `fit` to refuse: a text among numbers does not make a
column of text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID as PyUUID

from . import types as t
from .plain import is_name, plain
from .types import Column, Type

#: An object with more names than this is a map by ids rather than a record; it is kept as JSON.
MOST_FIELDS = 500
#: The digits that a decimal has room for, and those of a 64 bit whole number.
MOST_DIGITS, DIGITS_OF_INT = 76, 19

_SIMPLE: dict[type, Type] = {
    bool: t.BOOL, float: t.FLOAT, str: t.TEXT, bytes: t.BYTES, date: t.DATE,
    timedelta: t.DURATION, PyUUID: t.UUID,
}  # fmt: skip


def infer(values: Sequence[Any], known: Type = t.NULL) -> Type:
    """The type of a column of values, beginning with what is `known` of it."""
    kinds = set(map(type, values)) - {type(None)}
    if len(kinds) == 1:
        # A column of one type is the rule, and most types say all there is to know.
        (kind,) = kinds
        if kind in _SIMPLE:
            return widen(known, _SIMPLE[kind])
        if kind is datetime and len({value.tzinfo is None for value in values if value is not None}) == 1:
            return widen(known, of(next(value for value in values if value is not None)))
        if kind is int:
            there = [value for value in values if value is not None]
            return widen(widen(known, _whole(min(there))), _whole(max(there)))
    type_ = known
    for value in values:
        if value is not None:
            type_ = widen(type_, of(value))
    return type_


def of(value: Any) -> Type:
    """The type of one value; `null` where it has none here."""
    value = plain(value)
    simple = _SIMPLE.get(type(value))
    if simple is not None:
        return simple
    match value:
        case int():
            return _whole(value)
        case Decimal():
            return _decimal(value)
        case datetime():
            return t.TIMESTAMP if value.tzinfo is None else t.TIMESTAMP_TZ
        case time():
            return t.TIME
        case list():
            return t.list_of(_item(value))
        case dict():
            return _record(value)
        case _:
            return t.NULL


def _item(values: list[Any]) -> Type:
    type_ = t.NULL
    for value in values:
        type_ = join(type_, of(value)) or t.JSON
    return type_


def _record(value: dict[Any, Any]) -> Type:
    if not value or len(value) > MOST_FIELDS or not all(map(is_name, value)):
        return t.JSON
    return t.struct_of(tuple(Column(name, of(part)) for name, part in value.items()))


def _whole(value: int) -> Type:
    if -(2**63) <= value < 2**63:
        return t.INT
    # The length of a text is not asked of a number of a million digits.
    digits = len(str(abs(value))) if value.bit_length() < 300 else MOST_DIGITS + 1
    return Type("decimal", precision=digits) if digits <= MOST_DIGITS else t.NULL


def _decimal(value: Decimal) -> Type:
    if not value.is_finite():
        return t.NULL
    _, digits, exponent = value.as_tuple()
    scale = max(0, -int(exponent))
    whole = max(0, len(digits) + int(exponent))
    digits_in_all = max(1, whole + scale)
    return Type("decimal", precision=digits_in_all, scale=scale) if digits_in_all <= MOST_DIGITS else t.NULL


def widen(known: Type, seen: Type) -> Type:
    """The type that holds both, or `known` where none does."""
    return join(known, seen) or known


def join(left: Type, right: Type) -> Type | None:
    """The type in which values of both mean what they meant; `None` where there is none."""
    if left == right or right.kind == "null":
        return left
    if left.kind == "null":
        return right
    match (left.kind, right.kind):
        case ("decimal", "decimal"):
            return _decimals(left, right)
        case ("int", "decimal"):
            return _decimals(Type("decimal", precision=DIGITS_OF_INT), right)
        case ("decimal", "int"):
            return _decimals(left, Type("decimal", precision=DIGITS_OF_INT))
        case ("int", "float") | ("float", "int"):
            return t.FLOAT
        case ("list", "list"):
            assert left.item is not None and right.item is not None
            return t.list_of(join(left.item, right.item) or t.JSON)
        case ("struct", "struct"):
            return _records(left, right)
        case ("json", "struct" | "list") | ("struct" | "list", "json"):
            return t.JSON
        case _:
            return None


def _decimals(left: Type, right: Type) -> Type:
    scale = max(left.scale, right.scale)
    whole = max(left.precision - left.scale, right.precision - right.scale)
    return Type("decimal", precision=min(whole + scale, MOST_DIGITS), scale=scale)


def roomy(type_: Type) -> Type:
    """The same type with room for values to come: decimals of 38 digits, or of 76 where those seen need it."""
    if type_.kind == "decimal":
        return replace(type_, precision=38 if type_.precision <= 38 else MOST_DIGITS)
    if type_.item is not None:
        return replace(type_, item=roomy(type_.item))
    if type_.fields:
        return replace(type_, fields=tuple(field.typed(roomy(field.type)) for field in type_.fields))
    return type_


def _records(left: Type, right: Type) -> Type:
    fields = {field.name: field for field in left.fields}
    for field in right.fields:
        known = fields.get(field.name)
        type_ = field.type if known is None else join(known.type, field.type) or t.JSON
        fields[field.name] = Column(field.name, type_) if known is None else known.typed(type_)
    return t.JSON if len(fields) > MOST_FIELDS else t.struct_of(tuple(fields.values()))
