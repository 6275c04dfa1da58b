"""The requests that a writer answers.

In: `open`, `write`, `commit`, `lastCommitted`. Out: `ok`, `written`, `committed`.
"""

from __future__ import annotations

from typing import Any

from ..columns import arrow, lines, odcs
from ..columns.types import Column
from ..config import AssetDefinition
from ..errors import ConfigError, MillraceError
from ..kinds.writer import WriterKind, asset
from ..sink import ARROW_ADVICE
from .frames import Frame


class Writing:
    """One writer at work."""

    def __init__(self, kind: WriterKind) -> None:
        self.kind = kind
        self._columns: tuple[Column, ...] = ()
        #: The batch that is being written, counted from 1: errors name it.
        self.batch = 0

    def open(self, frame: Frame) -> dict[str, Any]:
        """`open`."""
        schema = None
        if "columns" in frame.header:
            self._columns = odcs.columns(frame.header["columns"])
        else:
            schema, _ = _arrow(frame)
            self._columns = tuple(arrow.column_of(field) for field in schema)
        self.batch = 0
        self.kind.open(asset(frame.header, self._columns, schema), frame.header.get("outputBase"))
        return {"type": "ok"}

    def write(self, frame: Frame) -> dict[str, Any]:
        """`write`."""
        self.batch += 1
        counter = int(frame.header.get("fileCounter") or 0)
        if frame.header.get("format") == "json":
            return {"type": "written", "files": self.kind.write(lines.load(self._columns, frame.body), counter)}
        files: list[dict[str, Any]] = []
        for batch in _arrow(frame)[1]:
            files += self.kind.write(batch if self.kind.plugin.arrow else batch.to_pylist(), counter)
        return {"type": "written", "files": files}

    def commit(self, frame: Frame) -> dict[str, Any]:
        """`commit`; after a restart it comes before any `open`."""
        self._named(frame)
        id_ = frame.header.get("id")
        found = self.kind.commit(id_, frame.header.get("files") or [], bool(frame.header.get("replace")))
        return {"type": "committed", "id": id_, "metadata": found}

    def last_committed(self, frame: Frame) -> dict[str, Any]:
        """`lastCommitted`."""
        self._named(frame)
        return {"type": "committed", "id": self.kind.last_committed()}

    def _named(self, frame: Frame) -> None:
        if "stream" in frame.header and not self.kind.opened:
            self.kind.open(AssetDefinition(str(frame.header["stream"])))


def _arrow(frame: Frame) -> tuple[Any, list[Any]]:
    if not arrow.available():
        raise ConfigError("a writer is given Arrow data, and pyarrow is not installed", advice=ARROW_ADVICE)
    if not frame.body:
        raise MillraceError(f"`{frame.type}` has no body")
    return arrow.read_stream(frame.body)
