"""Rows that a source sends one at a time, gathered into batches.

In: rows from any thread, some with the position after them. Out: batches to a `Sink`, when there are enough rows, when
somebody asks, or after a while.
"""

from __future__ import annotations

import threading
from typing import Any

from .datasource import ABSENT
from .sink import Closed, Sink


class Outbox:
    """Holds rows back for a moment."""

    def __init__(self, sink: Sink, linger: float | None) -> None:
        """`linger`: the seconds after which rows go out by themselves; `None`: never."""
        self.sink = sink
        self._rows: list[Any] = []
        #: How many of the rows the position covers, and the position.
        self._covered, self._position = 0, ABSENT
        self._lock, self._wake = threading.RLock(), threading.Event()
        self._failure: BaseException | None = None
        self._over = False
        if linger is not None:
            threading.Thread(target=self._linger, args=(linger,), name="millrace-outbox", daemon=True).start()

    def put(self, rows: list[Any], position: Any = ABSENT) -> None:
        """Takes rows; blocks while the worker is behind."""
        with self._lock:
            self._raise()
            self._rows += rows
            if position is not ABSENT:
                self._covered, self._position = len(self._rows), position
            if len(self._rows) >= self.sink.load.batch_rows:
                self._send()
        self._wake.set()

    def flush(self, position: Any = ABSENT) -> None:
        """Sends everything now; the last batch has the position."""
        with self._lock:
            self._raise()
            if position is not ABSENT:
                self._covered, self._position = len(self._rows), position
            self._send()

    def drop(self) -> None:
        """Forgets what was not sent."""
        with self._lock:
            self._rows, self._covered, self._position = [], 0, ABSENT
            self._over = True
        self._wake.set()

    def _send(self) -> None:
        rows, covered, position = self._rows, self._covered, self._position
        self._rows, self._covered, self._position = [], 0, ABSENT
        if position is not ABSENT:
            self.sink.send(rows[:covered], position)
        if rows[covered:]:
            self.sink.send(rows[covered:])

    def _raise(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._over or self.sink.overdue:
            raise Closed

    def _linger(self, seconds: float) -> None:
        pause = threading.Event()
        while True:
            self._wake.wait()
            pause.wait(seconds)
            self._wake.clear()
            with self._lock:
                if self._over:
                    return
                try:
                    self._send()
                except BaseException as error:
                    # The plugin's own thread has to hear of it: at its next row.
                    self._failure = error
                    return
