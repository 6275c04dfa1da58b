"""A writer for the tests: batches are laid down as files, and a commit makes them rows of one NDJSON file, by key.

`connection.out`: the directory of that file. `connection.fails`: no batch can be written.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tables
from millrace import BaseWriter

OPERATION = "_millrace_op"


class Table(BaseWriter):
    """Rows of a stream, in `connection.out`."""

    idempotent = True

    def write_batch(self, records: list[dict[str, Any]], file_counter: int) -> list[dict[str, Any]]:
        path = Path(self.output_base) / f"{self.asset_definition.name}-{file_counter}.ndjson"
        path.write_text("".join(json.dumps(row, default=str) + "\n" for row in records))
        if self.connection.get("fails"):
            raise OSError("the disk is full")
        return [{"path": str(path), "size_bytes": path.stat().st_size, "record_count": len(records)}]

    def commit_files(self, file_metadata: list[dict[str, Any]]) -> None:
        done = self.place(".commit")
        if done.exists() and done.read_text() == self.commit_id:
            return
        upsert = self.asset_definition.write_mode == "upsert"
        table = tables.Table(self.place(".ndjson"), self.asset_definition.primary_key if upsert else [], OPERATION)
        if self.replace:
            table.rows, table.places = [], {}
        for file in file_metadata:
            for line in Path(file["path"]).read_text().splitlines():
                row = json.loads(line)
                gone = row.get(OPERATION) == "delete"
                table.add(row if gone or not upsert else {**row, OPERATION: None})
        table.save()
        done.write_text(self.commit_id or "")

    def place(self, suffix: str) -> Path:
        """A file of this stream."""
        directory = Path(self.connection["out"])
        directory.mkdir(parents=True, exist_ok=True)
        return directory / f"{self.asset_definition.name}{suffix}"
