"""`BaseWriter`: opened for a stream, given batches, and one commit of what they became.

In: the class, the configuration, batches as Arrow or as rows. Out: metadata of files as JSON, and ids of commits.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..columns import odcs
from ..columns.types import Column
from ..config import AssetDefinition, target_config
from ..errors import MillraceError
from ..iterate import result
from ..state import copied
from ..writer import BaseWriter


class WriterKind:
    """Runs a `BaseWriter`."""

    def __init__(self, plugin: type[BaseWriter], config: dict[str, Any]) -> None:
        self.plugin, self._config = plugin, config
        self._writer: BaseWriter | None = None

    def ready(self) -> dict[str, Any]:
        """What the worker is told once the class is loaded."""
        return {"kind": "writer", "idempotent": bool(self.plugin.idempotent)}

    def open(self, asset: AssetDefinition, output_base: str | None = None) -> None:
        """Makes the writer of a stream; the one before it is let go."""
        self.close()
        config = target_config(self._config, objects=[asset.name] if asset.name else [])
        output = output_base or "."
        Path(output).mkdir(parents=True, exist_ok=True)
        writer = self.plugin.__new__(self.plugin)
        writer.asset_definition, writer.target_config, writer.output_base = asset, config, output
        writer.__init__(asset, config, output)  # type: ignore[misc]
        self._writer = writer

    def check(self) -> None:
        """Makes a writer and lets it try its connection."""
        if self._writer is None:
            objects = self._config.get("objects") or [""]
            self.open(AssetDefinition(str(objects[0])))
        result(self._opened().check())

    def write(self, records: Any, counter: int) -> list[dict[str, Any]]:
        """Writes one batch."""
        return _files(result(self._opened().write_batch(records, counter)), self.plugin.__name__)

    def commit(self, id_: str | None, files: Sequence[dict[str, Any]], replace: bool) -> dict[str, Any]:
        """Commits what was written."""
        writer = self._opened()
        writer.commit_id, writer.replace = id_, replace
        found = result(writer.commit_files([dict(file) for file in files]))
        return dict(copied(_plain_paths(found or {}), f"the result of {self.plugin.__name__}.commit_files"))

    def last_committed(self) -> str | None:
        """The id of the last commit that the destination knows."""
        found = result(self._opened().last_committed())
        return None if found is None else str(found)

    def close(self) -> None:
        """Lets go of the writer."""
        if self._writer is not None:
            writer, self._writer = self._writer, None
            result(writer.close())

    def _opened(self) -> BaseWriter:
        if self._writer is None:
            raise MillraceError("no stream was opened")
        return self._writer


def asset(header: dict[str, Any], columns: Sequence[Column], schema: Any = None) -> AssetDefinition:
    """The definition of what is written, from the request that opens it."""
    fields = odcs.fields(columns)
    return AssetDefinition(
        name=str(header.get("stream") or ""),
        schema=[{**field, "type": field["logicalType"]} for field in fields],
        primary_key=list(header.get("primaryKey") or ()),
        write_mode=str(header.get("mode") or "append"),
        generation=int(header.get("generation") or 0),
        arrow_schema=schema,
    )


def _files(given: Any, plugin: str) -> list[dict[str, Any]]:
    found = [given] if isinstance(given, dict) else given
    if not isinstance(found, (list, tuple)) or not all(isinstance(one, dict) for one in found):
        raise TypeError(f"{plugin}.write_batch returns a list of dictionaries, not {type(given).__name__}")
    return [dict(copied(_plain_paths(one), f"the file metadata of {plugin}")) for one in found]


def _plain_paths(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain_paths(part) for name, part in value.items()}
    return os.fspath(value) if isinstance(value, os.PathLike) else value
