"""`DataSource`: one of its streams, by name, with the state that each payload carries."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..datasource import DataSource
from ..errors import ConfigError
from ..iterate import items, result
from ..load import Load
from ..sink import Sink
from ..state import State
from .base import Kind, told
from .reader import forward


class DataSourceKind(Kind):
    """Reads a `DataSource`."""

    word = "data_source"
    base = DataSource

    def ready(self) -> dict[str, Any]:
        return {**super().ready(), "declaresKeys": True}

    def discover(self) -> list[dict[str, Any]]:
        with self._connected(Load(), None) as source:
            return [told(stream, source.source_config) for stream in items(result(source.streams()))]

    def check(self) -> None:
        with self._connected(Load(), None) as source:
            result(source.check())

    def read(self, load: Load, sink: Sink) -> None:
        with self._connected(load, [load.stream]) as source:
            self.reading = source
            stream = self._stream(source, load.stream)
            stream.state = load.position
            given = stream.read(load.position) if _takes_one(stream.read) else stream.read()
            forward(items(given), State(load.position), sink, ambient=False)

    @contextmanager
    def _connected(self, load: Load, objects: list[str] | None) -> Iterator[DataSource]:
        source: DataSource = self.made(load, objects)
        if _takes_one(source.connect):
            result(source.connect(State(load.position)))
        else:
            result(source.connect())
        try:
            yield source
        finally:
            result(source.disconnect())

    def _stream(self, source: DataSource, name: str) -> Any:
        streams = {_name(stream): stream for stream in items(result(source.streams()))}
        if name in streams:
            return streams[name]
        near = difflib.get_close_matches(name, streams, n=3, cutoff=0.5) or list(streams)[:10]
        raise ConfigError(
            f"{self.plugin.__name__} has no stream `{name}`",
            advice=f"it has {', '.join(near) or 'no streams at all'}",
        )


def _name(stream: Any) -> str:
    return str(stream.name() if callable(stream.name) else stream.name)


def _takes_one(method: Any) -> bool:
    """Whether a method can be given the state."""
    try:
        inspect.signature(method).bind(None)
    except TypeError:
        return False
    return True
