"""The requests that a writer answers.

In: `open`, `write`, `commit`. Out: `ok`, `written`, `committed`.
"""

from __future__ import annotations

from typing import Any

from ..columns import arrow
from ..errors import ConfigError, MillraceError, to_install
from ..kinds.writer import WriterKind, asset
from .frames import Frame


class Writing:
    """One writer at work."""

    def __init__(self, kind: WriterKind) -> None:
        self.kind = kind
        #: The batch that is being written, counted from 1: errors name it.
        self.batch = 0

    def open(self, frame: Frame) -> dict[str, Any]:
        """`open`."""
        schema, _ = _arrow(frame)
        columns = tuple(arrow.column_of(field) for field in schema)
        self.batch = 0
        self.kind.open(asset(frame.header, columns, schema), frame.header.get("outputBase"))
        return {"type": "ok"}

    def write(self, frame: Frame) -> dict[str, Any]:
        """`write`."""
        self.batch += 1
        counter = int(frame.header.get("fileCounter") or 0)
        files: list[dict[str, Any]] = []
        for batch in _arrow(frame)[1]:
            files += self.kind.write(batch if self.kind.plugin.arrow else batch.to_pylist(), counter)
        return {"type": "written", "files": files}

    def commit(self, frame: Frame) -> dict[str, Any]:
        """`commit`."""
        header = frame.header
        self.kind.commit(header.get("id"), header.get("files") or [], bool(header.get("replace")))
        return {"type": "committed"}


def _arrow(frame: Frame) -> tuple[Any, list[Any]]:
    if not arrow.available():
        raise ConfigError("a writer is given Arrow data, and pyarrow is not installed", advice=to_install("pyarrow"))
    if not frame.body:
        raise MillraceError(f"`{frame.type}` has no body")
    return arrow.read_stream(frame.body)
