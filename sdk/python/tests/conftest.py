"""A worker's side of the pipe, and plugins written for a test."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

ENDS = ("ready", "streams", "ok", "end", "written", "committed", "error")
Answer = tuple[dict[str, Any], bytes]
# Seconds until a host that does not end has failed: the machine may be busy.
PATIENCE = 120


class Host:
    """`python -m millrace.host`, asked as a worker asks it."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, *(arguments or ("-m", "millrace.host"))]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe)
        self.log = io.BytesIO()
        # Drained as the worker does, so that a flood does not stop the plugin.
        self._drain = threading.Thread(target=self._read_log, daemon=True)
        self._drain.start()

    def _read_log(self) -> None:
        for line in self.process.stderr:
            self.log.write(line)

    def send(self, type_: str, body: bytes = b"", **fields: Any) -> None:
        header = json.dumps({"type": type_, **fields}).encode()
        self.process.stdin.write(struct.pack("<II", len(header), len(body)) + header + body)
        self.process.stdin.flush()

    def next(self) -> Answer | None:
        """The next frame; `None` at the end of the output."""
        lengths = self.process.stdout.read(8)
        if len(lengths) < 8:
            return None
        header, body = struct.unpack("<II", lengths)
        return json.loads(self.process.stdout.read(header)), self.process.stdout.read(body)

    def answers(self) -> Iterator[Answer]:
        """Frames up to the one that ends a request, or to the end of the output."""
        while (answer := self.next()) is not None:
            yield answer
            if answer[0]["type"] in ENDS:
                return

    def ask(self, type_: str, body: bytes = b"", **fields: Any) -> list[Answer]:
        self.send(type_, body, **fields)
        return list(self.answers())

    def one(self, type_: str, body: bytes = b"", **fields: Any) -> dict[str, Any]:
        """The header that ends the request."""
        return self.ask(type_, body, **fields)[-1][0]

    def start(self, plugin: str, role: str = "reader", **config: Any) -> dict[str, Any]:
        return self.one("start", protocol=1, role=role, plugin=plugin, config={"name": "shop", **config})

    def read(self, stream: str = "things", position: Any = None, **fields: Any) -> list[Answer]:
        fields = {"range": {"full": True}, "instance": 0, "instances": 1, **fields}
        return self.ask("read", stream=stream, position=position, **fields)

    def end(self) -> int:
        """Closes the input, as a worker that is done."""
        self.process.stdin.close()
        code = self.process.wait(PATIENCE)
        self._drain.join(PATIENCE)
        return code

    @property
    def said(self) -> str:
        """The log so far; whole once the process has ended."""
        return self.log.getvalue().decode()


@pytest.fixture
def host() -> Iterator[Host]:
    found = Host()
    yield found
    if found.process.poll() is None:
        found.process.kill()
    found.process.wait()


@pytest.fixture
def plugin(tmp_path: Path) -> Callable[..., str]:
    """Writes a module and gives the path of a class in it."""

    def write(text: str, class_: str = "Plugin", name: str = "my_plugin") -> str:
        path = tmp_path / f"{name}.py"
        path.write_text(textwrap.dedent(text))
        return f"{path}:{class_}"

    return write


def rows(answers: list[Answer]) -> list[dict[str, Any]]:
    """The rows of all batches."""
    found: list[dict[str, Any]] = []
    for header, body in answers:
        if header["type"] == "batch" and body:
            found += pa.ipc.open_stream(body).read_all().to_pylist()
    return found


def types(answers: list[Answer]) -> list[str]:
    return [header["type"] for header, _ in answers]


def positions(answers: list[Answer]) -> list[Any]:
    """The positions of the frames that have one."""
    return [header["position"] for header, _ in answers if "position" in header]


def stream(schema: pa.Schema, *batches: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return sink.getvalue().to_pybytes()
