"""Makes frames of what a plugin gives.

In: pieces of data from a `Sink`. Out: `schema`, `refused` and `batch` frames; what is refused of a batch comes
before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ..columns import arrow, lines, odcs
from ..columns.table import Batch, Refused, Table
from ..datasource import ABSENT
from ..errors import DataError
from ..load import Load
from ..sink import Sink
from .frames import MOST_BODY, Writer

#: A batch with more bytes is cut in two: a frame has a limit, and so has the memory of the worker.
_LARGE = 16 << 20
#: Few enough that their header stays far from its limit.
_REFUSED_AT_ONCE = 100


class FrameSink(Sink):
    """Writes frames."""

    def __init__(self, load: Load, table: Table, out: Writer, mask: Callable[[Any], Any]) -> None:
        super().__init__(load, table)
        self._out, self._mask, self._told_schema = out, mask, False

    def estimate(self, rows: int) -> None:
        self._out.send({"type": "estimate", "rows": rows})

    def rewound(self) -> None:
        self._out.send({"type": "rewound"})

    def _take(self, piece: Any, state: Any, metadata: dict[str, Any] | None) -> None:
        header: dict[str, Any] = {"type": "batch", "batch": self.batch, "rows": 0, "bytes": 0}
        if metadata:
            header["metadata"] = metadata
        if state is not ABSENT:
            header["position"] = state
        if piece is None:
            self._out.send(header)
        elif arrow.is_arrow(piece):
            self._send_arrow(header, piece, [])
        else:
            self._send_rows(header, self.table.take(piece))

    def _send_rows(self, header: dict[str, Any], batch: Batch) -> None:
        if batch.rows == 0 and not batch.columns:
            self._refuse(batch.refused)
            self._out.send(header)
        elif arrow.available():
            self._send_arrow(header, batch.arrow(), batch.refused)
        else:
            told = {**header, "format": "json", "columns": odcs.fields(batch.columns)}
            self._send_lines(told, lines.dump(batch.columns, batch.parts, batch.rows), batch.refused)

    def _send_lines(self, header: dict[str, Any], rows: list[bytes], refused: list[Refused]) -> None:
        size = sum(map(len, rows))
        if size > _LARGE and len(rows) > 1:
            half = len(rows) // 2
            first, second = _cut(header, refused, half)
            self._send_lines(first[0], rows[:half], first[1])
            self._send_lines(second[0], rows[half:], second[1])
            return
        self._refuse(refused)
        self._send({**header, "rows": len(rows), "bytes": size}, [b"".join(rows)])

    def _send_arrow(self, header: dict[str, Any], batch: Any, refused: list[Refused]) -> None:
        if not self._told_schema:
            self._told_schema = True
            self._out.send({"type": "schema"}, arrow.stream_pieces(batch.schema))
        if batch.nbytes > _LARGE and batch.num_rows > 1:
            half = batch.num_rows // 2
            first, second = _cut(header, refused, half)
            self._send_arrow(first[0], batch.slice(0, half), first[1])
            self._send_arrow(second[0], batch.slice(half), second[1])
            return
        self._refuse(refused)
        body = arrow.stream_pieces(batch.schema, [batch])
        self._send({**header, "rows": batch.num_rows, "bytes": batch.nbytes}, body)

    def _send(self, header: dict[str, Any], body: Sequence[bytes | memoryview]) -> None:
        size = sum(map(len, body))
        if size > MOST_BODY:
            raise DataError(f"a row of {size >> 20} MiB; {MOST_BODY >> 20} MiB is the most that a row can have")
        self._out.send({**header, "row": self.row}, body)
        self.row += header["rows"]

    def _refuse(self, refused: list[Refused]) -> None:
        for start in range(0, len(refused), _REFUSED_AT_ONCE):
            rows = [self._refusal(one) for one in refused[start : start + _REFUSED_AT_ONCE]]
            self._out.send({"type": "refused", "rows": rows})

    def _refusal(self, one: Refused) -> dict[str, Any]:
        reason = f"{one.path}: {one.reason}" if one.path else one.reason
        row = lines.shown(one.row)
        told = {"row": row, "reason": self._mask(reason), "kind": "type"}
        return told if one.at is None else {**told, "at": one.at, "columns": one.columns}


Part = tuple[dict[str, Any], list[Refused]]


def _cut(header: dict[str, Any], refused: list[Refused], at: int) -> tuple[Part, Part]:
    """The header and the refused rows of the two parts of a batch; the second has the position."""
    first = [one for one in refused if one.at is None or one.at < at]
    second = [replace(one, at=one.at - at) for one in refused if one.at is not None and one.at >= at]
    return ({name: value for name, value in header.items() if name != "position"}, first), (header, second)
