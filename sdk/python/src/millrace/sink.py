"""Where a reading puts what a plugin gives.

In: data of any accepted form, with the state after it. Out: pieces of at most the rows that a batch should have, for
the host to make frames of and for the test kit to keep.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from .columns import arrow
from .columns.table import Table
from .datasource import ABSENT
from .errors import DataError, MillraceError, to_install
from .load import Load


class Closed(BaseException):
    """The worker wants no more: unwinds a plugin that does not look. No plugin's `except Exception` catches it."""


#: Columns are smaller than the same rows as dictionaries, and each batch has its cost: so many times more rows in one.
_ARROW_ROWS = 4
#: The seconds in which a plugin that was told to stop may still send, to end in good order.
PATIENCE = 5.0


@dataclass
class Sink:
    """What a reading writes to."""

    load: Load
    table: Table
    closed: threading.Event = field(default_factory=threading.Event)
    #: The number of the batch that is being made, counted from 1: errors name it.
    batch: int = 1
    #: The rows of it that were sent.
    row: int = 0
    #: The state at the end.
    last: Any = ABSENT
    _closed_at: float | None = None

    def send(self, data: Any, state: Any = ABSENT, metadata: dict[str, Any] | None = None) -> None:
        """Takes data, cuts it into batches; the last of them alone has the state."""
        last: Any = None
        for piece in self._pieces(data):
            if last is not None:
                self._take(last, ABSENT, metadata)
            last = piece
        if last is not None or state is not ABSENT:
            self._take(last, state, metadata)
        self.batch, self.row = self.batch + 1, 0

    @property
    def overdue(self) -> bool:
        """Whether the worker wanted no more a while ago, and the plugin goes on."""
        if not self.closed.is_set():
            return False
        self._closed_at = self._closed_at or time.monotonic()
        return time.monotonic() - self._closed_at > PATIENCE

    def rewound(self) -> None:
        """What was sent is void; what follows begins at the position that was asked for."""

    def finish(self, state: Any = ABSENT) -> None:
        """The plugin has given all that it has."""
        self.last = state

    def estimate(self, rows: int) -> None:
        """How many rows there may be."""

    def _pieces(self, data: Any) -> Iterator[Any]:
        most = self.load.batch_rows
        if data is None:
            return
        if arrow.is_arrow(data):
            if not arrow.available():
                raise DataError(
                    "the plugin yields Arrow data, and pyarrow is not installed", advice=to_install("pyarrow")
                )
            yield from arrow.batches(data, _ARROW_ROWS * most)
            return
        rows = _rows(data)
        for start in range(0, len(rows), most):
            yield rows if len(rows) <= most else rows[start : start + most]

    def _take(self, piece: Any, state: Any, metadata: dict[str, Any] | None) -> None:
        raise NotImplementedError


def _rows(data: Any) -> Sequence[Any]:
    if isinstance(data, list):
        return data
    if isinstance(data, dict):
        return [data]
    if isinstance(data, (str, bytes)) or not hasattr(data, "__iter__"):
        raise MillraceError(
            f"the plugin yields {type(data).__name__} where a list of dictionaries or Arrow data belongs",
            advice="yield [row, row, ...], a pyarrow table or batch, or a data frame",
        )
    return list(data)
