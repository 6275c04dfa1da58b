"""Plugins from Google Cloud Storage, of which a server that gives objects stands here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar
from urllib.parse import unquote

import pytest
from harness import Result, Spec
from kit import FileSink, expect
from plugins import engine_manifest, failure

from conftest import program

Run = Callable[..., Result]
BUCKET = "plugins"
READER = """
from millrace import BaseReader

class Numbers(BaseReader):
    def extract(self, state_manager=None):
        assert "pluginServiceAccountKey" not in self.credentials
        yield [{"number": n} for n in range(self.connection["to"])]
"""


class Objects(BaseHTTPRequestHandler):
    """Gives an object as the storage's XML API does: `GET /BUCKET/OBJECT`."""

    stored: ClassVar[dict[str, bytes]] = {}

    def do_GET(self) -> None:
        content = self.stored.get(unquote(self.path))
        self.send_response(404 if content is None else 200)
        self.send_header("Content-Length", str(len(content or b"")))
        self.send_header("Last-Modified", self.date_time_string())
        self.send_header("ETag", f'"{hashlib.md5(content or b"").hexdigest()}"')
        self.end_headers()
        self.wfile.write(content or b"")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def gcs() -> Iterator[str]:
    """The address of a server with the bucket."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Objects) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def put(name: str, content: bytes) -> str:
    """Puts an object there; gives its address."""
    Objects.stored[f"/{BUCKET}/{name}"] = content
    return f"gs://{BUCKET}/{name}"


@pytest.fixture
def flow(workdir: Path, files: FileSink, gcs: str) -> Callable[..., Path]:
    """`flow("python", url)`: a Flow of numbers by a reader from the bucket."""
    # The server asks for no token.
    key = {"disable_oauth": True, "client_email": "", "private_key": "", "private_key_id": ""}
    (workdir / "key.json").write_text(json.dumps(key))

    def write(engine: str, reader: str, **settings: Any) -> Path:
        credentials: list[Spec] = [{"name": "pluginServiceAccountKey", "file": "key.json"}]
        return engine_manifest(
            workdir,
            engine,
            {"reader": reader, "endpoint": gcs, **settings},
            files.spec(),
            connection={"to": 250},
            streams=[{"name": "numbers", "primaryKey": ["number"]}],
            source={"credentials": credentials},
        )

    return write


def test_a_python_reader(run: Run, flow: Callable[..., Path]) -> None:
    url = put("readers/numbers.py", READER.encode())
    digest = hashlib.sha256(READER.encode()).hexdigest()
    expect(run(flow("python", f"{url}:Numbers", sha256=digest)).stream("numbers"), read=250, inserted=250)


def test_a_library(run: Run, flow: Callable[..., Path]) -> None:
    url = put("libcounter.so", program().with_name("libexample_counter.so").read_bytes())
    expect(run(flow("library", f"{url}:create_reader")).stream("numbers"), read=250, inserted=250)


def test_one_is_fetched_once_and_anew_where_that_is_wanted(run: Run, flow: Callable[..., Path], workdir: Path) -> None:
    cached = {"MILLRACE_PLUGIN_CACHE_DIR": str(workdir / "cache")}
    url = put("readers/changing.py", READER.encode())
    run(flow("python", f"{url}:Numbers"), env=cached)
    put("readers/changing.py", READER.replace('["to"]', '["to"] + 5').encode())
    expect(run(flow("python", f"{url}:Numbers"), "--full", env=cached).stream("numbers"), read=250, unchanged=250)
    anew = {**cached, "MILLRACE_PLUGIN_REFRESH": "1"}
    expect(run(flow("python", f"{url}:Numbers"), "--full", env=anew).stream("numbers"), read=255, inserted=5, unchanged=250)
    put("readers/changing.py", READER.replace('["to"]', '["to"] + 6').encode())
    wanted = flow("python", f"{url}:Numbers", refresh=True)
    expect(run(wanted, "--full", env=cached).stream("numbers"), read=256, inserted=1, unchanged=255)


def test_one_that_is_not_there_is_named(run: Run, flow: Callable[..., Path]) -> None:
    found = failure(run(flow("python", f"gs://{BUCKET}/nowhere.py:Numbers"), check=False))
    assert found["reason"] == "PluginMissing" and f"gs://{BUCKET}/nowhere.py" in found["message"], found
