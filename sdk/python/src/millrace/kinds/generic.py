"""`GenericSource`: rows with a key and a watermark, as whole loads and as changes.

In: `(key, row, watermark)`. Out: rows with the key in its columns, `_millrace_op` in a delta, `_millrace_watermark`
where there is one; the position is the greatest watermark that is safe.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from datetime import timedelta
from typing import Any

from ..columns.plain import plain, row_of
from ..config import names
from ..datasource import ABSENT
from ..errors import ConfigError, DataError
from ..generic import GenericSource
from ..iterate import items, result
from ..load import Load
from ..sink import Sink
from . import watermark
from .base import Kind, told

OPERATION, WATERMARK = "_millrace_op", "_millrace_watermark"
#: The key column of a source that names none.
KEY = "_key"


class GenericKind(Kind):
    """Reads a `GenericSource`."""

    word = "generic"
    base = GenericSource

    @property
    def intervals(self) -> tuple[float | None, float | None]:
        plugin: Any = self.plugin
        if isinstance(plugin.full_load_interval, property) or isinstance(plugin.delta_load_interval, property):
            plugin = self.made(Load())
        return _seconds(plugin.full_load_interval), _seconds(plugin.delta_load_interval)

    def ready(self) -> dict[str, Any]:
        return {**super().ready(), "declaresKeys": True}

    @property
    def _has_delta(self) -> bool:
        return getattr(self.plugin, "delta_load", None) is not GenericSource.delta_load

    def discover(self) -> list[dict[str, Any]]:
        source: GenericSource = self.made(Load())
        found = [told(stream, source.source_config) for stream in items(result(source.discover()))]
        for stream in found:
            stream["primaryKey"] = stream["primaryKey"] or self._key(source, stream["name"])
            stream["cursors"] = stream["cursors"] or ([WATERMARK] if self._has_delta else [])
        return found

    def read(self, load: Load, sink: Sink) -> None:
        source: GenericSource = self.begun(load)
        key = self._key(source, load.stream)
        last = _last(load.position)
        if load.kind == "delta":
            if not self._has_delta:
                raise ConfigError(
                    f"{self.plugin.__name__} has no method `delta_load`",
                    advice="write `delta_load(self, last_watermark)`, or run full loads: `millrace run --full`, and no "
                    "`deltaLoadInterval`",
                )
            given, floor, ordered = items(source.delta_load(last)), None, source.ordered
        elif load.kind == "full":
            # A position would make the next load a delta.
            floor, ordered = result(source.current_watermark()) if self._has_delta else ABSENT, False
            given = items(source.full_load())
        else:
            raise ConfigError(f"{self.plugin.__name__} has no way to load from {load.begin} to {load.end}")
        _Rows(load, sink, key, last, floor, ordered).forward(given)

    def _key(self, source: GenericSource, stream: str) -> list[str]:
        return names(source.primary_key) or source.source_config.key_of(stream) or [KEY]


class _Rows:
    """The rows of one load on their way."""

    def __init__(self, load: Load, sink: Sink, key: list[str], last: Any, floor: Any, ordered: bool) -> None:
        self._load, self._sink, self._key, self._ordered = load, sink, key, ordered
        self._floor, self._greatest = floor, last
        self._rows: list[Any] = []
        #: Where the rows of the greatest watermark begin, and the one before it.
        self._group, self._before = 0, None

    def forward(self, given: Generator[Any, None, None]) -> None:
        with closing(given):
            for item in given:
                row = self._row(item)
                if row is not None:
                    self._rows.append(row)
                if len(self._rows) >= self._load.batch_rows:
                    self._send()
                if self._sink.closed.is_set():
                    return
        if self._rows:
            self._sink.send(self._rows)
        # What changes while a full load goes on may be older than its newest row, never older than its beginning.
        self._sink.finish(self._position(self._greatest if self._floor is None else self._floor))

    def _send(self) -> None:
        """Sends what is complete. Rows of one watermark stay together: a position between them would lose the rest."""
        if self._ordered and 0 < self._group < len(self._rows):
            ready, self._rows = self._rows[: self._group], self._rows[self._group :]
            self._sink.send(ready, self._position(self._before))
        else:
            ready, self._rows = self._rows, []
            self._sink.send(ready)
        self._group = 0

    def _mark(self, mark: Any) -> None:
        """Takes note of a row's watermark, before the row is put to the others."""
        greatest = watermark.greater(self._greatest, mark)
        if self._ordered and mark is not None:
            if greatest != mark:
                raise DataError(
                    f"the watermark {mark!r} comes after {greatest!r}, and the source says that it is ordered",
                    advice="yield rows by rising watermark, or leave out `ordered = True`",
                )
            if mark != self._greatest:
                self._before, self._group = self._greatest, len(self._rows)
        self._greatest = greatest

    def _position(self, mark: Any) -> Any:
        return ABSENT if mark is None or mark is ABSENT else {"watermark": watermark.dump(mark)}

    def _row(self, item: Any) -> Any:
        if not isinstance(item, tuple) or len(item) not in (2, 3):
            raise DataError(f"a load yields (key, row, watermark), not {type(item).__name__}")
        key, row, mark = item if len(item) == 3 else (*item, None)
        mark = None if plain(mark) is None else mark  # NaT has no order
        self._mark(mark)
        delta = self._load.kind == "delta"
        if row is None and not delta:
            return None  # not there, which a full load says by not yielding it
        try:
            found = {**self._keyed(key), **({} if row is None else row_of(row))}
        except TypeError:
            return row  # no row at all, and refused as such
        if delta:
            found[OPERATION] = "delete" if row is None else "update"
        if mark is not None:
            found[WATERMARK] = mark
        return found

    def _keyed(self, key: Any) -> dict[str, Any]:
        if len(self._key) == 1:
            return {self._key[0]: key}
        if isinstance(key, dict):
            return key
        if not isinstance(key, (tuple, list)) or len(key) != len(self._key):
            raise DataError(
                f"the key {key!r} is not one of {len(self._key)} columns ({', '.join(self._key)})",
                advice="yield the key as a tuple, in the order of primary_key",
            )
        return dict(zip(self._key, key, strict=True))


def _last(position: Any) -> Any:
    return watermark.load(position.get("watermark")) if isinstance(position, dict) else watermark.load(position)


def _seconds(interval: Any) -> float | None:
    return interval.total_seconds() if isinstance(interval, timedelta) else interval
