"""Readers in Python for the tests: rows of a file by rising `version`, and every way to misbehave that `then` names.

`connection` has `rows` (an NDJSON file), `size` (rows of a batch), and `then`: what to do before batch `at`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from millrace import BaseReader, PushSource
from millrace.state import State


class Rows(BaseReader):
    """Yields dictionaries, after the version that the state has."""

    def extract(self, state_manager: State | None = None) -> Iterator[Any]:
        assert state_manager is not None
        last = state_manager.get("version", 0)
        with Path(self.connection["rows"]).open() as file:
            rows = [row for row in map(json.loads, file) if row["version"] > last]
        size = self.connection.get("size", 10)
        self.note(last)
        for number, start in enumerate(range(0, len(rows), size), 1):
            self.misbehave(number)
            part = rows[start : start + size]
            state_manager.set("version", max(row["version"] for row in part))
            yield self.shaped(part)
            time.sleep(self.connection.get("pause", 0))
        self.misbehave(0)

    def shaped(self, rows: list[dict[str, Any]]) -> Any:
        """The batch, in the form that this class yields."""
        return rows

    def note(self, last: int) -> None:
        """Tells the test what was asked for, and by which processes."""
        if path := self.connection.get("journal"):
            call = {"load": self.load.kind, "after": last, "stream": self.load.stream, "pid": os.getpid()}
            call["instance"] = self.load.instance
            with Path(path).open("a") as file:
                file.write(json.dumps(call) + "\n")

    def misbehave(self, number: int) -> None:
        """Does what the test wants before this batch; 0 is the end."""
        then = self.connection.get("then", {})
        if then.get("at") != number:
            return
        if once := then.get("unless"):
            if Path(once).exists():
                return
            Path(once).touch()
        getattr(self, f"do_{then['do']}")()

    def do_raise(self) -> None:
        raise ValueError(f"the pump of {self.credentials.get('password', 'nobody')} is dry")

    def do_leave(self) -> None:
        os._exit(0)

    def do_exit(self) -> None:
        sys.exit(0)

    def do_die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def do_abort(self) -> None:
        os.abort()

    def do_hang(self) -> None:
        time.sleep(3600)

    def do_bear(self) -> None:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
        Path(self.connection["born"]).write_text(str(child.pid))

    def do_flood(self) -> None:
        for number in range(100_000):
            print(f"stdout {number} " + "x" * 80)
            print(f"stderr {number} " + "x" * 80, file=sys.stderr)
        os.write(1, b"no line end " * 100_000)

    def do_tell(self) -> None:
        password = self.credentials["password"]
        print(f"the password is {password}")
        print(f"the password is {password}", file=sys.stderr)
        os.write(2, f"the password is {password}\n".encode())
        subprocess.run(["/bin/echo", f"a child says {password}"], check=True)


class ArrowRows(Rows):
    """Yields Arrow tables."""

    def shaped(self, rows: list[dict[str, Any]]) -> Any:
        import pyarrow as pa

        return pa.Table.from_pylist(rows)


class Full(Rows):
    """Keeps no state: each load is all of it."""

    def extract(self, state_manager: State | None = None) -> Iterator[Any]:
        with Path(self.connection["rows"]).open() as file:
            rows = [json.loads(line) for line in file]
        size = self.connection.get("size", 10)
        for start in range(0, len(rows), size):
            yield rows[start : start + size]


class Stranger:
    """No reader."""


class Parts(Rows):
    """Of several instances each reads its share of the rows."""

    def extract(self, state_manager: State | None = None) -> Iterator[Any]:
        assert state_manager is not None
        last = state_manager.get("version", 0)
        self.note(last)
        with Path(self.connection["rows"]).open() as file:
            rows = [row for row in map(json.loads, file) if row["id"] % self.load.instances == self.load.instance]
        if rows := [row for row in rows if row["version"] > last]:
            state_manager.set("version", max(row["version"] for row in rows))
            yield rows


class Numbers(PushSource):
    """Emits numbers from where it stands, and notes what it hears is safe."""

    def configure(self, datasource: str, props: dict[str, Any]) -> None:
        self.last, self.journal, self.open_still = 0, Path(props["journal"]), True
        self.rows = int(props["rows"])

    def open(self, emit: Any) -> None:
        while self.last < self.rows and self.open_still:
            self.last += 1
            emit({"id": self.last, "version": self.last, "name": f"name {self.last}"}, {"last": self.last})
        while self.open_still:
            time.sleep(0.05)

    def rewind(self, position: Any) -> None:
        self.last, self.open_still = (position or {"last": 0})["last"], True

    def close(self) -> None:
        self.open_still = False

    def acknowledge(self, position: Any) -> None:
        with self.journal.open("a") as file:
            file.write(json.dumps(position) + "\n")
