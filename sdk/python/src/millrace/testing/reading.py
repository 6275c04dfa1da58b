"""Reading without a worker.

In: a reader's class and its settings. Out: a `Reading`. What would be lost in a crash is known: rows after the last
batch with a state.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

from .. import kinds
from ..columns import arrow, odcs
from ..columns.table import Refused, Table
from ..datasource import ABSENT
from ..load import Load
from ..sink import Closed, Sink
from .settings import configured


@dataclass
class Reading:
    """What a reader gave."""

    #: Every row, in the form in which it would be delivered.
    rows: list[dict[str, Any]] = field(default_factory=list)
    #: The same, batch by batch.
    batches: list[list[dict[str, Any]]] = field(default_factory=list)
    #: The state after each batch; `None` where a batch has none.
    states: list[Any] = field(default_factory=list)
    metadata: list[dict[str, Any]] = field(default_factory=list)
    #: Rows with a value that does not fit its column, with `path` and `reason`.
    refused: list[Refused] = field(default_factory=list)
    #: What `get_total_records_estimate` said.
    estimate: int | None = None
    #: The columns, as a manifest would declare them.
    columns: list[dict[str, Any]] = field(default_factory=list)
    #: How many of the rows would be at the destination after a crash here.
    committed: int = 0
    #: Where the next run begins.
    state: Any = None
    #: Whether the reader came to its end, rather than being stopped.
    complete: bool = False


class _Kept(Sink):
    """Keeps what it is given; after so many batches it is as if the process died."""

    def __init__(self, load: Load, table: Table, stop_after: int | None) -> None:
        super().__init__(load, table)
        self.reading = Reading(state=load.position)
        self._stop_after = stop_after
        self._batch: list[dict[str, Any]] = []

    def send(self, data: Any, state: Any = ABSENT, metadata: dict[str, Any] | None = None) -> None:
        if self._stop_after is not None and len(self.reading.batches) >= self._stop_after:
            raise Closed
        self._batch = []
        super().send(data, state, metadata)
        found = self.reading
        found.rows += self._batch
        found.batches.append(self._batch)
        found.states.append(None if state is ABSENT else state)
        found.metadata.append(metadata or {})
        if state is not ABSENT:
            found.state, found.committed = state, len(found.rows)

    def estimate(self, rows: int) -> None:
        self.reading.estimate = rows

    def finish(self, state: Any = ABSENT) -> None:
        super().finish(state)
        found = self.reading
        found.complete, found.committed = True, len(found.rows)
        found.state = found.state if state is ABSENT else state

    def _take(self, piece: Any, state: Any, metadata: dict[str, Any] | None) -> None:
        if piece is None:
            return
        if arrow.is_arrow(piece):
            self._batch += piece.to_pylist()
            self.reading.columns = odcs.fields(arrow.column_of(one) for one in piece.schema)
            return
        batch = self.table.take(piece).fitting()
        self.reading.refused += batch.refused
        self.reading.columns = odcs.fields(batch.columns)
        parts = [part.to_pylist() if hasattr(part, "to_pylist") else part for part in batch.parts]
        names = [column.name for column in batch.columns]
        self._batch += [dict(zip(names, values, strict=True)) for values in zip(*parts, strict=True)]


def read(
    plugin: type[Any],
    *,
    stream: str = "stream",
    connection: dict[str, Any] | None = None,
    credentials: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
    state: Any = None,
    load: Literal["full", "delta", "backfill"] = "full",
    begin: Any = None,
    end: Any = None,
    schema: list[dict[str, Any]] | None = None,
    primary_key: list[str] | None = None,
    instance: int = 0,
    instances: int = 1,
    batch_rows: int = 8192,
    stop_after: int | None = None,
) -> Reading:
    """Reads one stream. `stop_after`: the process dies after so many batches."""
    asked = Load(stream, load, state, begin, end, instance, instances, batch_rows)
    config = configured(stream, connection, credentials, options, schema, primary_key)
    table = Table(odcs.columns(schema or ()), with_arrow=arrow.available())
    sink = _Kept(asked, table, stop_after)
    kind = kinds.kind_of(plugin, config)
    with contextlib.suppress(Closed):
        kind.read(asked, sink)
    return sink.reading


def discover(
    plugin: type[Any],
    *,
    connection: dict[str, Any] | None = None,
    credentials: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """The streams that a reader finds."""
    return kinds.kind_of(plugin, configured("", connection, credentials, options)).discover()


def read_with_crashes(plugin: type[Any], *, stop_after: int = 1, state: Any = None, **settings: Any) -> Reading:
    """Reads a stream whose process dies after every `stop_after` batches, each time from the last state, to the end.
    What is in `rows` is what would be at the destination."""
    found = Reading(state=state)
    # A reader without states begins at the beginning each time, and has to be let through in the end.
    patience = stop_after
    while not found.complete:
        part = read(plugin, state=found.state, stop_after=patience, **settings)
        found.rows += part.rows[: part.committed]
        found.batches += part.batches
        found.states += part.states
        found.refused += part.refused
        found.columns, found.complete = part.columns, part.complete
        patience = stop_after if part.state != found.state else patience * 2
        found.state = part.state
    return found


def assert_resumes(plugin: type[Any], *, ordered: bool = True, **settings: Any) -> None:
    """Stops the reader after its first batch, its second, and so on, starts it again from the last state, and
    compares what is delivered with what one undisturbed reading delivers."""
    whole = read(plugin, **settings)
    for stop_after in range(1, len(whole.batches) + 1):
        first = read(plugin, **{**settings, "stop_after": stop_after})
        second = read(plugin, **{**settings, "state": first.state}) if not first.complete else Reading()
        delivered = first.rows[: first.committed] + second.rows
        same = _said(delivered) == _said(whole.rows) if ordered else _counted(delivered) == _counted(whole.rows)
        if same:
            continue
        raise AssertionError(_told(whole.rows, delivered, stop_after, first.state))


def _told(whole: list[dict[str, Any]], delivered: list[dict[str, Any]], after: int, state: Any) -> str:
    expected, found = _counted(whole), _counted(delivered)
    lost, twice = expected - found, found - expected
    lines = [f"stopped after batch {after} and started again from the state {state!r}:"]
    if lost:
        lines.append(f"{lost.total()} rows are lost, such as {next(iter(lost))}; the state is ahead of the rows")
    if twice:
        lines.append(
            f"{twice.total()} rows come twice, such as {next(iter(twice))}; the state is behind the rows: "
            "keep it before the batch is yielded, not after"
        )
    return "\n".join(lines if lost or twice else [*lines, "the rows come in another order"])


def _counted(rows: list[dict[str, Any]]) -> Counter[str]:
    return Counter(_said(rows))


def _said(rows: list[dict[str, Any]]) -> list[str]:
    """Rows to compare: a column that one reading never met is a null in the other."""
    return [repr(sorted((name, value) for name, value in row.items() if value is not None)) for row in rows]
