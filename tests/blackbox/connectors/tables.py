"""Tables of the synthetic destinations: NDJSON files, each written whole or not at all."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

Row = dict[str, Any]


class Table:
    """One table: rows as they came, or one a key."""

    def __init__(self, path: Path, key: list[str], deleted: str) -> None:
        self.path, self.key, self.deleted = path, key, deleted
        lines = path.read_text().splitlines() if path.exists() else []
        self.rows: list[Row] = [json.loads(line) for line in lines]
        self.places = {self.key_of(row): place for place, row in enumerate(self.rows)} if key else {}

    def key_of(self, row: Row) -> str:
        return json.dumps([row[column] for column in self.key])

    def add(self, row: Row) -> None:
        """Adds a row, in the place of an earlier one of its key, if there is a key."""
        if not self.key:
            self.rows.append(row)
            return
        place = self.places.setdefault(self.key_of(row), len(self.rows))
        self.rows[place:] = [row, *self.rows[place + 1 :]]

    def save(self) -> None:
        """Makes it safe; deleted rows are gone."""
        live = [row for row in self.rows if not (self.key and row.get(self.deleted))]
        new = self.path.with_suffix(".new")
        new.parent.mkdir(parents=True, exist_ok=True)
        new.write_text("".join(json.dumps(row) + "\n" for row in live))
        new.replace(self.path)


def note(config: Row, /, **call: Any) -> None:
    """Tells the test of a call."""
    if path := config.get("journal"):
        with Path(path).open("a") as file:
            file.write(json.dumps({"pid": os.getpid(), **call}) + "\n")


def misbehave(config: Row, rows: int) -> None:
    """Does what the test wants after so many rows; `-1` is the end of the input."""
    then = config.get("then", {})
    if then.get("at") != rows:
        return
    if once := then.get("unless"):
        if Path(once).exists():
            return
        Path(once).touch()
    if words := then.get("stderr"):
        print(words, file=sys.stderr, flush=True)
    for _ in range(then.get("flood", 0)):
        sys.stderr.write("a word of no weight\n" * 1000)
        sys.stdout.write('"a line that is no message"\n' * 1000)
    sys.stdout.flush()
    if then.get("hang"):
        time.sleep(3600)
    if name := then.get("signal"):
        os.kill(os.getpid(), getattr(signal, name))
    if "code" in then:
        sys.stdout.flush()
        os._exit(then["code"])
