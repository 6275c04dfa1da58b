"""A MariaDB of one test: a server of its own on this machine, in a directory that goes with the test."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PASSWORD = "a word for the tap"


@dataclass
class MariaDb:
    """A server with the database `shop`, which the user `tap` may read."""

    socket: Path
    port: int

    def execute(self, sql: str, database: str = "shop") -> str:
        """What the server's own client prints of a statement."""
        client = ["mariadb", "--no-defaults", "-S", str(self.socket), "-u", "root", "-D", database]
        options = ["--batch", "--raw", "--skip-column-names", "--default-character-set=utf8mb4"]
        return subprocess.run([*client, *options], input=sql, check=True, stdout=subprocess.PIPE, text=True).stdout

    def rows(self, sql: str) -> list[list[Any]]:
        """The rows of a query that makes one JSON array of each."""
        return [json.loads(line) for line in self.execute(sql).splitlines()]


@contextmanager
def server(directory: Path) -> Iterator[MariaDb]:
    """Starts a server on a port of the loopback, and ends it."""
    program = shutil.which("mariadbd") or "/usr/sbin/mariadbd"
    assert Path(program).exists(), "MariaDB is not installed: tests/run --full does that"
    # The path of a socket is short.
    place = directory / "db"
    place.mkdir()
    owner = ["--user=root"] if os.getuid() == 0 else []
    data = ["--no-defaults", f"--datadir={place}/data"]
    make = ["mariadb-install-db", *data, "--auth-root-authentication-method=normal", "--skip-test-db", *owner]
    subprocess.run(make, check=True, stdout=subprocess.DEVNULL)
    process, found = started([program, *data, *owner], place)
    try:
        found.execute(
            "create database shop character set utf8mb4;"
            f"create user tap@'127.0.0.1' identified by '{PASSWORD}'; grant select on shop.* to tap@'127.0.0.1'",
            database="mysql",
        )
        yield found
    finally:
        process.terminate()
        process.wait(600)


def started(command: list[str], place: Path) -> tuple[subprocess.Popen[bytes], MariaDb]:
    """The server at work. Another process may take a port between its choice and its use: then it is another port."""
    for last in (False, False, True):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        found = MariaDb(place / "s", port)
        network = [f"--socket={found.socket}", f"--port={port}", "--bind-address=127.0.0.1", "--skip-name-resolve"]
        with (place / "log").open("wb") as log:
            process = subprocess.Popen([*command, *network], stdout=log, stderr=log)
        while process.poll() is None:
            if found.socket.exists():
                return process, found
            time.sleep(0.05)
        assert not last, (place / "log").read_text()
    raise AssertionError("unreachable")
