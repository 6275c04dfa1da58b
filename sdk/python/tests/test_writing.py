"""Writers, through the pipe and through the test kit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from conftest import Host, stream

from millrace import BaseWriter
from millrace.testing import write

Write = Callable[..., str]
WRITER = """
import json, pathlib
from millrace import BaseWriter
class Plugin(BaseWriter):
    idempotent = True
    def __init__(self, asset_definition, target_config, output_base):
        super().__init__(asset_definition, target_config, output_base)
        self.ledger = pathlib.Path(self.connection["path"]) / "ledger"
    def write_batch(self, records, file_counter):
        path = pathlib.Path(self.output_base) / f"{self.asset_definition.name}-{file_counter}.json"
        path.write_text(json.dumps(records))
        return [{"path": path, "record_count": len(records), "size_bytes": path.stat().st_size}]
    def commit_files(self, file_metadata):
        self.ledger.write_text(f"{self.commit_id} {len(file_metadata)} {self.replace}")
"""
BATCH = pa.record_batch({"id": [1, 2], "name": ["a", None]})


def test_a_writer_writes_and_commits_again_after_a_restart(host: Host, plugin: Write, tmp_path: Path) -> None:
    path = plugin(WRITER)
    config: dict[str, Any] = {"connection": {"path": str(tmp_path)}}
    ready = host.start(path, "writer", **config)
    assert (ready["kind"], ready["idempotent"]) == ("writer", True)
    opened = {"stream": "users", "mode": "upsert", "primaryKey": ["id"], "generation": 3}
    opened["outputBase"] = str(tmp_path / "out")
    assert host.one("open", stream(BATCH.schema), **opened)["type"] == "ok"
    written = host.one("write", stream(BATCH.schema, BATCH), fileCounter=7)
    (file,) = written["files"]
    assert (file["path"], file["record_count"]) == (str(tmp_path / "out" / "users-7.json"), 2)
    assert Path(file["path"]).read_text() == '[{"id": 1, "name": "a"}, {"id": 2, "name": null}]'
    assert host.one("commit", id="c1", files=[file], replace=True) == {"type": "committed"}
    host.end()
    assert (tmp_path / "ledger").read_text() == "c1 1 True"
    again = Host()
    again.start(path, "writer", **config)
    again.one("open", stream(pa.schema([])), **opened)
    assert again.one("commit", id="c1", files=[file], replace=True) == {"type": "committed"}
    assert again.end() == 0


def test_an_error_of_a_writer_says_the_batch(host: Host, plugin: Write) -> None:
    text = """
        from millrace import BaseWriter
        class Plugin(BaseWriter):
            def write_batch(self, records, file_counter):
                if file_counter == 1:
                    raise OSError("disk full")
                return []
    """
    host.start(plugin(text), "writer")
    host.one("open", stream(BATCH.schema), stream="a", mode="append", primaryKey=[], generation=1)
    assert host.one("write", stream(BATCH.schema, BATCH), fileCounter=0) == {"type": "written", "files": []}
    error = host.one("write", stream(BATCH.schema, BATCH), fileCounter=1)
    assert (error["kind"], error["batch"], error["message"]) == ("bug", 2, "OSError: disk full")


def test_a_writer_that_is_no_reader_is_told(host: Host, plugin: Write) -> None:
    assert "extend `millrace.BaseWriter`" in host.start(plugin("class Plugin: pass"), "writer")["advice"]


def test_a_writer_without_pyarrow_is_told_that_it_needs_it(plugin: Write, tmp_path: Path) -> None:
    host = Host("-c", "import sys; sys.modules['pyarrow'] = None; from millrace.host.__main__ import main; main()")
    try:
        host.start(plugin(WRITER), "writer", connection={"path": str(tmp_path)})
        error = host.one("open", stream(BATCH.schema), stream="s", mode="append", primaryKey=[], generation=1)
        assert (error["kind"], "pyarrow" in error["advice"]) == ("config", True)
    finally:
        host.end()


class Kept(BaseWriter):
    """Keeps what it is given."""

    given: list[Any] = []

    def write_batch(self, records: Any, file_counter: int) -> list[dict[str, Any]]:
        self.given.append(records)
        return [{"path": f"part-{file_counter}", "columns": [field["type"] for field in self.asset_definition.schema]}]


class Columnar(Kept):
    arrow = True


def test_the_kit_runs_a_writer(tmp_path: Path) -> None:
    Kept.given.clear()
    found = write(Kept, [[{"a": 1}], [{"a": 2}]], output_base=tmp_path, commits=2)
    assert Kept.given == [[{"a": 1}], [{"a": 2}]]
    assert [file["path"] for file in found.files] == ["part-0", "part-1024"]
    assert found.files[0]["columns"] == ["integer"]
    assert (found.committed, found.last_committed) == ({}, None)


def test_a_writer_that_wants_arrow_gets_it(tmp_path: Path) -> None:
    Kept.given.clear()
    write(Columnar, [[{"a": 1}], BATCH], output_base=tmp_path)
    assert [type(one) for one in Kept.given] == [pa.RecordBatch, pa.RecordBatch]


def test_metadata_that_is_no_json_is_refused(tmp_path: Path) -> None:
    class Odd(BaseWriter):
        def write_batch(self, records: Any, file_counter: int) -> list[dict[str, Any]]:
            return [{"path": {1, 2}}]

    with pytest.raises(TypeError, match="the file metadata of Odd.path"):
        write(Odd, [[{"a": 1}]], output_base=tmp_path)
