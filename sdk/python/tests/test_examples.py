"""The examples do what their pages say."""

from __future__ import annotations

import http.server
import importlib.util
import json
import sqlite3
import threading
from collections.abc import Iterator
from datetime import date, datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import pyarrow as pa
import pytest

from millrace.testing import assert_resumes, read, write

EXAMPLES = Path(__file__).resolve().parents[3] / "examples" / "plugins" / "python"


def example(path: str, name: str) -> Any:
    file = EXAMPLES / path
    spec = importlib.util.spec_from_file_location(f"example_{file.parent.name}".replace("-", "_"), file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)


class Api(http.server.BaseHTTPRequestHandler):
    """250 orders behind a token."""

    def do_GET(self) -> None:
        url = urlparse(self.path)
        query = {name: int(values[0]) for name, values in parse_qs(url.query).items()}
        allowed = self.headers["Authorization"] == "Bearer open-sesame"
        self.send_response(200 if allowed and url.path == "/orders" else 401)
        self.end_headers()
        start = (query["page"] - 1) * query["page_size"]
        items = [{"id": n, "price": n / 4} for n in range(start, min(start + query["page_size"], 250))]
        answer = {"items": items, "has_next": start + len(items) < 250, "total": 250}
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def api() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_the_json_api_is_read_page_by_page_and_resumes(api: str) -> None:
    settings: dict[str, Any] = {
        "stream": "orders",
        "connection": {"baseUrl": api},
        "credentials": {"token": "open-sesame"},
    }
    reader = example("json-api/reader.py", "JsonApiReader")
    found = read(reader, **settings)
    assert (found.estimate, len(found.rows), len(found.batches)) == (250, 250, 3)
    assert found.states == [{"page": 2}, {"page": 3}, {"page": 4}]
    assert found.state == {"page": 1}
    half = read(reader, **settings, stop_after=2)
    rest = read(reader, **settings, state=half.state)
    assert [row["id"] for row in half.rows + rest.rows] == list(range(250))


def test_the_range_goes_on_where_it_stopped() -> None:
    source = example("number-range/source.py", "RangeSource")
    found = read(source, connection={"to": 25})
    assert [row["value"] for row in found.rows] == list(range(1, 26))
    assert found.states == [{"current": 10}, {"current": 20}, {"current": 25}]
    assert [row["value"] for row in read(source, connection={"to": 27}, state=found.state).rows] == [26, 27]
    assert_resumes(source, connection={"to": 25})


def test_the_table_is_read_whole_and_by_what_changed(tmp_path: Path) -> None:
    source = example("users-table/source.py", "UserSource")
    database = sqlite3.connect(tmp_path / "users.db")
    database.executescript((EXAMPLES / "users-table" / "users.sql").read_text())
    settings: dict[str, Any] = {"connection": {"path": str(tmp_path / "users.db")}}
    full = read(source, **settings)
    assert [row["id"] for row in full.rows] == [1, 2, 3]
    assert full.state == {"watermark": 3}
    assert read(source, load="delta", state=full.state, **settings).rows == []
    database.execute("update users set deleted = 1, changed = 4 where id = 2")
    database.execute("update users set name = 'Ida', changed = 5 where id = 1")
    database.commit()
    delta = read(source, load="delta", state=full.state, **settings)
    assert [(row["id"], row["_millrace_op"], row.get("name")) for row in delta.rows] == [
        (2, "delete", None),
        (1, "update", "Ida"),
    ]
    assert delta.state == {"watermark": 5}
    assert_resumes(source, load="delta", batch_rows=1, **settings)


ROWS = [
    {"id": 1, "name": "a", "price": Decimal("1.10"), "at": datetime(2026, 1, 2, tzinfo=timezone.utc), "tags": ["x"]},
    {"id": 2, "name": None, "price": None, "at": None, "tags": []},
]


def test_avro_files_are_seen_once_they_are_committed(tmp_path: Path) -> None:
    from fastavro import reader

    writer = example("avro/writer.py", "AvroWriter")
    rows = [{**row, "day": date(2026, 1, 2), "raw": b"\x00", "place": {"x": 1, "y": None}} for row in ROWS]
    settings: dict[str, Any] = {"output_base": tmp_path / "made", "connection": {"path": str(tmp_path / "{stream}")}}
    found = write(writer, [rows, rows], stream="s", commits=2, **settings)
    assert found.committed == {"status": "committed before"}
    assert found.last_committed == "default/flow:stream:1.1"
    files = sorted((tmp_path / "s").glob("part-*.avro"))
    assert len(files) == 2
    with files[0].open("rb") as file:
        assert list(reader(file)) == rows
    write(writer, [rows], stream="s", commit_id="commit-2", replace=True, **settings)
    assert len(list((tmp_path / "s").glob("*.avro"))) == 1
    write(writer, [rows], stream="s", commit_id="commit-3", **settings)
    assert len(list((tmp_path / "s").glob("*.avro"))) == 2


def test_a_delta_table_is_written_in_one_transaction_per_commit(tmp_path: Path) -> None:
    from deltalake import DeltaTable

    writer = example("delta-lake/writer.py", "DeltaLakeWriter")
    settings: dict[str, Any] = {
        "output_base": tmp_path / "made",
        "connection": {"url": str(tmp_path / "{stream}")},
        "stream": "s",
        "mode": "upsert",
        "primary_key": ["id"],
    }
    first = write(writer, [ROWS, [{"id": 3, "name": "c"}]], commits=2, **settings)
    assert first.committed == {"status": "committed before"}
    change = pa.table(
        {"id": [1, 2, 4], "name": ["A", None, "d"], "_millrace_op": ["update", "delete", "insert"]}
    ).to_batches()
    second = write(writer, change, commit_id="commit-2", **settings)
    table = DeltaTable(str(tmp_path / "s"))
    assert (table.version(), second.last_committed) == (1, "commit-2")
    rows = sorted(pa.table(table.to_pyarrow_table()).to_pylist(), key=lambda row: row["id"])
    assert [(row["id"], row["name"]) for row in rows] == [(1, "A"), (3, "c"), (4, "d")]
    assert rows[0]["price"] == Decimal("1.10")
    write(writer, [[{"id": 9, "name": "new"}]], commit_id="commit-3", replace=True, **settings)
    assert DeltaTable(str(tmp_path / "s")).to_pyarrow_table().column("id").to_pylist() == [9]
    assert list((tmp_path / "made").iterdir()) == []
