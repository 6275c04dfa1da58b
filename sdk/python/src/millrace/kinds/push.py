"""`PushSource`: opened, paused, rewound, closed, while it sends by itself.

A rewind closes the source, forgets what was not sent, and opens it again at the position. Each opening has an
`Emitter` of its own, so that a row on its way from before the rewind can never follow it.
"""

from __future__ import annotations

import threading
from typing import Any

from ..datasource import ABSENT
from ..iterate import result
from ..load import Load
from ..outbox import Outbox
from ..push import PushSource
from ..sink import Closed, Sink
from .base import Kind

#: How long a row waits for others.
LINGER = 0.05


class Emitter:
    """What `open` is given: called with each row, from any thread."""

    def __init__(self, source: PushSource, sink: Sink, flowing: threading.Event) -> None:
        self._source, self._flowing = source, flowing
        self._outbox = Outbox(sink, LINGER)
        self._stopped = threading.Event()
        self.failure: BaseException | None = None

    @property
    def running(self) -> bool:
        """Whether rows are still wanted of this opening."""
        return not self._stopped.is_set()

    def __call__(self, rows: Any, position: Any = ABSENT) -> None:
        """Takes a row or a list of rows, and the position after the last of them. Waits while paused; raises an
        exception that is none of `Exception` once the source is closed."""
        while not self._flowing.wait(0.1):
            if not self.running:
                break
        if not self.running:
            raise Closed
        if position is ABSENT:
            offset = self._source.get_offset()
            position = ABSENT if offset is None else offset
        self._outbox.put(rows if isinstance(rows, list) else [rows], position)

    def fail(self, error: BaseException) -> None:
        """Ends the opening with an error, from a thread of a client library."""
        self.failure = error
        self.stop()

    def stop(self) -> None:
        """Takes no more rows."""
        self._stopped.set()

    def wait(self) -> None:
        """Until there are no more rows to come."""
        self._stopped.wait()

    def flush(self) -> None:
        """Sends what is left."""
        self._outbox.flush()

    def drop(self) -> None:
        """Forgets what is left, and takes no more."""
        self.stop()
        self._outbox.drop()


class PushKind(Kind):
    """Reads a `PushSource`."""

    word = "push"
    base = PushSource
    push = True

    def __init__(self, plugin: type[Any], config: dict[str, Any]) -> None:
        super().__init__(plugin, config)
        self._lock = threading.Lock()
        self._source: PushSource | None = None
        self._emitter: Emitter | None = None
        self._rewind: list[Any] = []
        self._flowing = threading.Event()
        self._flowing.set()

    @property
    def replayable(self) -> bool:
        return self.plugin.rewind is not PushSource.rewind  # type: ignore[attr-defined]

    def read(self, load: Load, sink: Sink) -> None:
        source: PushSource = self.begun(load)
        source.configure(load.stream, {**source.connection, **source.options})
        position = load.position
        try:
            while True:
                if position is not None and self.replayable:
                    source.rewind(position)
                self._open(source, sink)
                with self._lock:
                    if not self._rewind:
                        break
                    position = self._rewind.pop()
                sink.rewound()
        finally:
            self._source = None
            self._rewind.clear()
            self._flowing.set()
        sink.finish()

    def _open(self, source: PushSource, sink: Sink) -> None:
        """One opening, to its end: there is no more, or it was closed, for good or for a rewind."""
        emitter = Emitter(source, sink, self._flowing)
        with self._lock:
            self._source, self._emitter = source, emitter
            if sink.closed.is_set() or self._rewind:
                emitter.stop()
        closed = False
        try:
            if emitter.running:
                self._run(source, emitter)
            with self._lock:
                self._emitter, closed = None, not emitter.running
            if not self._rewind:
                emitter.flush()
        finally:
            # Nothing may be sent after the answer that ends the reading, by whatever thread.
            emitter.drop()
            self._emitter = None
            if not closed:
                result(source.close())

    def _run(self, source: PushSource, emitter: Emitter) -> None:
        try:
            result(source.open(emitter))
            if source.background:
                emitter.wait()
        except Closed:
            pass
        except Exception:
            # A connection that was closed under its reader complains; that is how `close` works.
            if emitter.running:
                raise
        if emitter.failure is not None:
            raise emitter.failure

    def control(self, word: str, position: Any) -> None:
        with self._lock:
            source, emitter = self._source, self._emitter
            if word == "rewind":
                self._rewind = [position]
            if word == "pause":
                self._flowing.clear()
            if source is None:
                if word == "resume":
                    self._flowing.set()
                return
            if word in ("rewind", "close") and emitter is not None:
                emitter.stop()
        match word:
            case "pause":
                source.pause()
            case "resume":
                source.resume()
                self._flowing.set()
            case "acknowledge":
                source.acknowledge(position)
            case "rewind" | "close" if emitter is not None:
                result(source.close())
