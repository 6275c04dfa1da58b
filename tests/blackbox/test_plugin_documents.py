"""The pages about plugins, typed from top to bottom: what they run has written what they say."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import fastavro
import pytest
import walk
from harness import ROOT, Millrace, duck
from orders import TOKEN, Orders

from conftest import program

DOCS = ROOT / "docs" / "plugins"
PAGES = [DOCS / f"{name}.md" for name in ("avro", "delta-lake", "json-api", "number-range", "python", "rust", "users-table")]


@pytest.fixture
def desk(millrace: Millrace, tmp_path: Path) -> walk.Walk:
    return walk.desk(millrace, tmp_path)


def out(desk: walk.Walk, example: str) -> Path:
    return desk.directory / "examples" / "plugins" / "python" / example / "out"


def test_python(desk: walk.Walk) -> None:
    (desk.directory / "sdk").symlink_to(ROOT / "sdk")
    desk.environment = {**desk.environment, "PYTHONPATH": str(desk.directory / "lib")}
    pip = f"{sys.executable} -m pip install --quiet --target lib --no-deps"
    desk.instead["pip install ./sdk/python[arrow]"] = lambda: f"{pip} ./sdk/python"
    desk.through(DOCS / "python.md")
    assert desk.printed.count("1 passed") == 2
    planets = f"select * from '{desk.directory}/out/planets/**/*.parquet' order by number"
    assert duck(f"select number, name, greeting from ({planets})")[2] == (2, "Earth", "hello")


def test_number_range(desk: walk.Walk) -> None:
    desk.through(DOCS / "number-range.md")
    rows = f"'{out(desk, 'number-range')}/**/*.parquet'"
    assert duck(f"select count(*), count(distinct value), min(value), max(value) from {rows}") == [(100, 100, 1, 100)]


def test_users_table(desk: walk.Walk) -> None:
    desk.through(DOCS / "users-table.md")
    assert duck(f"select count(*), count(distinct id) from '{out(desk, 'users-table')}/**/*.parquet'") == [(3, 3)]


def test_avro(desk: walk.Walk) -> None:
    desk.through(DOCS / "avro.md")
    rows = []
    for path in out(desk, "avro").rglob("*.avro"):
        with path.open("rb") as file:
            rows += fastavro.reader(file)
    assert len({row["id"] for row in rows}) == len(rows) == 1000


def test_delta_lake(desk: walk.Walk) -> None:
    desk.through(DOCS / "delta-lake.md")
    (log,) = out(desk, "delta-lake").rglob("_delta_log")
    actions = [json.loads(line) for file in log.glob("*.json") for line in file.read_text().splitlines()]
    files = [str(log.parent / action["add"]["path"]) for action in actions if "add" in action]
    assert duck(f"select count(*), count(distinct id) from read_parquet({files})") == [(1000, 1000)]


def test_rust(desk: walk.Walk) -> None:
    built = desk.directory / "target" / "release"
    built.mkdir(parents=True)
    for name in ("csv_reader", "parquet_writer"):
        (built / f"libexample_{name}.so").symlink_to(program().with_name(f"libexample_{name}.so"))
    packages = "--package example-csv-reader --package example-parquet-writer"
    desk.instead[f"cargo build --release {packages}"] = lambda: "true"
    desk.through(DOCS / "rust.md")
    assert "create_reader" in desk.printed
    examples = desk.directory / "examples" / "plugins" / "rust"
    read = f"select count(*), sum(moons), max(discovered)::varchar from '{examples}/csv-reader/out/planets/**/*.parquet'"
    assert duck(read) == [(8, 419, "1846-09-23")]
    (ledger,) = (examples / "parquet-writer" / "out").rglob("committed.json")
    written = [str(ledger.parent / name) for name in json.loads(ledger.read_text())["files"]]
    assert duck(f"select count(*), count(distinct id) from read_parquet({written})") == [(1000, 1000)]


@pytest.fixture
def api() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Orders) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_json_api(desk: walk.Walk, api: str) -> None:
    desk.instead["API_URL=https://api.example.com API_TOKEN=..."] = lambda: f"API_URL={api} API_TOKEN={TOKEN}"
    desk.through(DOCS / "json-api.md")
    found = duck(f"select count(*), count(distinct id), sum(price) from '{out(desk, 'json-api')}/**/*.parquet'")
    assert found == [(250, 250, sum(range(250)) / 4)]
