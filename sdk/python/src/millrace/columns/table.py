"""Rows as dictionaries into columns.

In: batches of rows, and what the manifest declares of their columns. Out: for each batch its columns, built one
column at a time, and the rows with values that have no place in them, each with the path and the reason. Such a row
stays in the batch, without these values: its key may be known, and whether it is delivered is for the worker to say.

The types of columns that nobody declared are settled by the first batch that has values in them. A key that comes
first in a later batch is a new column.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, compress
from operator import itemgetter
from typing import Any

from . import arrow
from . import types as t
from .fit import Misfit, coerce, direct
from .infer import infer, roomy
from .plain import is_name, row_of
from .types import Column, Type

NO_COLUMNS = "a row without columns, and no row before it has any"


@dataclass(frozen=True, slots=True)
class Refused:
    """A row with values that have no place in their columns."""

    row: Any
    #: Of the first of these values.
    path: str
    reason: str
    #: Its number in the batch, where it is a row at all.
    at: int | None = None
    #: The columns of these values, which are null in the batch.
    columns: tuple[str, ...] = ()


@dataclass(slots=True)
class Batch:
    """Rows in columns: Arrow arrays, or lists where there is no pyarrow. Refused ones are among them."""

    columns: tuple[Column, ...]
    parts: list[Any]
    rows: int
    refused: list[Refused] = field(default_factory=list)

    def arrow(self) -> Any:
        """The same as an Arrow batch."""
        return arrow.batch(self.columns, self.parts, self.rows)

    def fitting(self) -> Batch:
        """The same without the rows that are refused."""
        gone = {one.at for one in self.refused} - {None}
        if not gone:
            return self
        keep = [at not in gone for at in range(self.rows)]
        return Batch(self.columns, [_kept(part, keep) for part in self.parts], sum(keep), self.refused)


class Table:
    """The columns of one stream, as they are known so far."""

    def __init__(self, declared: Sequence[Column] = (), *, with_arrow: bool = True) -> None:
        self.columns: dict[str, Column] = {column.name: column for column in declared}
        self._with_arrow = with_arrow

    def take(self, rows: Sequence[Any]) -> Batch:
        """Puts rows into columns."""
        records: Sequence[Any] = rows
        refused: list[Refused] = []
        bad: Bad = {}
        try:
            parts = self._parts(_alike(rows, list(self.columns)), bad)
        except _Unlike:
            records, keys, refused = _records(rows)
            self._know(records, keys)
            if not self.columns:
                refused += [Refused(record, "", NO_COLUMNS) for record in records]
                records = []
            parts = self._parts(_filled(records, list(self.columns)), bad)
        refused += [_refused(records[at], at, misfits) for at, misfits in sorted(bad.items())]
        return Batch(tuple(self.columns.values()), parts, len(records), refused)

    def _parts(self, blocks: Iterable[list[Any]], bad: Bad) -> list[Any]:
        """The columns. Blocks are values of some rows, one row after another."""
        columns, kept = list(self.columns.values()), []
        # A column of which each value is just what its type says; `None` where that is not so, or not known yet.
        ready: list[list[Any] | None] = [[] if self._with_arrow and column.type.settled else None for column in columns]
        for block in blocks:
            kept.append(block)
            for at, column in enumerate(columns):
                if (arrays := ready[at]) is not None:
                    array = _at_once(column.type, block[at :: len(columns)])
                    ready[at] = None if array is None else [*arrays, array]
        return [
            arrow.joined(arrays)
            if arrays
            else self._part(column.name, [value for block in kept for value in block[at :: len(columns)]], bad)
            for at, (column, arrays) in enumerate(zip(columns, ready, strict=True))
        ]

    def _know(self, records: Sequence[dict[str, Any]], keys: set[str]) -> None:
        """Adds the columns of keys not met before, in the order in which they come."""
        if keys <= self.columns.keys():
            return
        for record in records:
            for name in record:
                if name not in self.columns:
                    self.columns[name] = Column(name, t.NULL)

    def _part(self, name: str, values: list[Any], bad: Bad) -> Any:
        column = self.columns[name]
        if not column.type.settled:
            column = self._settled(column, values)
        if self._with_arrow:
            ready = _at_once(column.type, values)
            if ready is not None:
                return ready
        column = self._settled(column, values)
        return self._built(column, [_fitted(column, value, at, bad) for at, value in enumerate(values)], bad)

    def _settled(self, column: Column, values: list[Any]) -> Column:
        if column.type.kind == "null":
            type_ = roomy(infer(values))
        elif column.type.kind in ("list", "struct"):
            type_ = _grown(column.type, infer(values))
        else:
            return column
        self.columns[column.name] = column.typed(type_)
        return self.columns[column.name]

    def _built(self, column: Column, values: list[Any], bad: Bad) -> Any:
        if not self._with_arrow:
            return values
        try:
            return arrow.array(column.type, values)
        except Exception as error:
            for at, value in enumerate(values):
                if not arrow.holds(column.type, value):
                    _note(bad, at, column, Misfit(column.name, f"no place in {column.type}: {error}"))
                    values[at] = None
            return arrow.array(column.type, values)


#: Rows whose values fit into the cache of a processor, where they are still at hand when columns are made of them.
_AT_HAND = 2048


class _Unlike(Exception):
    """Not every row has just the columns that are known."""


def _alike(rows: Sequence[Any], names: list[str]) -> Iterator[list[Any]]:
    """The values of rows that have just these columns, in blocks.

    Rows with as many keys in all as there are places, none of which is empty, have no other keys.
    """
    # A `defaultdict` or a `Counter` would make up what a row lacks. Rows of a batch are of one kind: one is asked.
    if not rows or not names or hasattr(rows[0], "__missing__"):
        raise _Unlike
    for start in range(0, len(rows), _AT_HAND):
        some = rows[start : start + _AT_HAND]
        try:
            found = map(itemgetter(*names), some)
            block = list(found if len(names) == 1 else chain.from_iterable(found))
            keys = sum(map(len, some))
        except (LookupError, TypeError):
            raise _Unlike from None
        if keys != len(block):
            raise _Unlike
        yield block


def _filled(records: Sequence[dict[str, Any]], names: list[str]) -> Iterator[list[Any]]:
    """The values of rows in blocks, nothing where a row has no such column."""
    for start in range(0, len(records), _AT_HAND):
        yield [record.get(name) for record in records[start : start + _AT_HAND] for name in names]


#: What is wrong with the rows of a batch, by row and column.
Bad = dict[int, dict[str, Misfit]]


def _note(bad: Bad, at: int, column: Column, misfit: Misfit) -> None:
    bad.setdefault(at, {})[column.name] = misfit


def _refused(row: Any, at: int, misfits: dict[str, Misfit]) -> Refused:
    first, *others = misfits.values()
    reason = "; ".join([first.reason, *map(str, others)])
    return Refused(row, first.path, reason, at, tuple(misfits))


def _kept(part: Any, keep: list[bool]) -> Any:
    if isinstance(part, list):
        return list(compress(part, keep))
    import pyarrow as pa

    return part.filter(pa.array(keep))


def _records(rows: Sequence[Any]) -> tuple[list[dict[str, Any]], set[str], list[Refused]]:
    """Rows as dictionaries with text for keys, and all of their keys; other rows are refused one by one."""
    if {*map(type, rows)} == {dict}:
        keys = set().union(*rows)
        if all(map(is_name, keys)):
            return list(rows), keys, []
    good: list[dict[str, Any]] = []
    refused: list[Refused] = []
    for row in rows:
        try:
            good.append(_record(row))
        except TypeError as error:
            refused.append(Refused(row, "", str(error)))
    return good, set().union(*good), refused


def _record(row: Any) -> dict[str, Any]:
    record = row_of(row)
    for key in record:
        if not is_name(key):
            raise TypeError(f"the key {key!r} is not a text that UTF-8 can hold")
    return record


def _at_once(type_: Type, values: list[Any]) -> Any:
    """The column, where every value is just what its type says; else `None`."""
    try:
        return arrow.array(type_, values) if direct(type_, values) else None
    except Exception:
        # pyarrow names no place: which value is out of range is found one by one.
        return None


def _fitted(column: Column, value: Any, at: int, bad: Bad) -> Any:
    try:
        return coerce(column.type, value, column.name, column.declared)
    except Misfit as misfit:
        _note(bad, at, column, misfit)
        return None


def _grown(known: Type, seen: Type) -> Type:
    """The known type with the parts that were not known before."""
    if known.kind == "null":
        return roomy(seen)
    if known.kind == "list" and seen.kind == "list":
        assert known.item is not None and seen.item is not None
        return t.list_of(_grown(known.item, seen.item))
    if known.kind == "struct" and seen.kind == "struct":
        fields = {one.name: one for one in known.fields}
        for one in seen.fields:
            had = fields.get(one.name)
            grown = roomy(one.type) if had is None else _grown(had.type, one.type)
            fields[one.name] = replace(one, type=grown) if had is None else had.typed(grown)
        return t.struct_of(tuple(fields.values()))
    return known
