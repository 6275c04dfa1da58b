"""`Source` and `StatefulSource`: `setup`, then `run`, then what is left."""

from __future__ import annotations

from typing import Any

from ..datasource import ABSENT
from ..iterate import result
from ..load import Load
from ..outbox import Outbox
from ..sink import Sink
from ..source import Source, StatefulSource
from ..state import State
from .base import Kind

#: How long a row of a source without state waits for others.
LINGER = 0.2


class SourceKind(Kind):
    """Reads a `Source` or a `StatefulSource`."""

    word = "stateful"
    base = Source

    @property
    def _stateful(self) -> bool:
        return issubclass(self.plugin, StatefulSource)

    @property
    def replayable(self) -> bool:
        return self._stateful

    def check(self) -> None:
        source: Source = self.made(Load())
        _connect(source)
        result(source.check())

    def read(self, load: Load, sink: Sink) -> None:
        source: Source = self.begun(load)
        if isinstance(source, StatefulSource):
            source._state = State(load.position)
            source._outbox = Outbox(sink, linger=None)
        else:
            source._outbox = _Counted(sink, load.position)
        try:
            _connect(source)
            result(source.run())
            source.flush()
        finally:
            # Nothing may be sent after the answer that ends the reading, by whatever thread.
            source._outbox.drop()
        state = source.state.value if isinstance(source, StatefulSource) and source.state.known else ABSENT
        sink.finish(state)


class _Counted(Outbox):
    """The outbox of a source without state: what was sent can be committed at any time, since there is no place to
    come back to. Its position is the number of rows, for people to see."""

    def __init__(self, sink: Sink, position: Any) -> None:
        known = position.get("produced") if isinstance(position, dict) else 0
        self._produced = known if isinstance(known, int) else 0
        super().__init__(sink, LINGER)

    def put(self, rows: list[Any], position: Any = ABSENT) -> None:
        with self._lock:
            self._produced += len(rows)
            super().put(rows, {"produced": self._produced})


def _connect(source: Source) -> None:
    try:
        result(source.setup())
    except Exception as error:
        if source.on_client_connect_failure is not None:
            source.on_client_connect_failure(error)
        raise
    if source.on_client_connect_success is not None:
        source.on_client_connect_success()
