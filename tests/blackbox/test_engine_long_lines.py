"""A value of a gigabyte: the plugin that gives it is named, the worker does not hold it, and other flows go on.

A sample tries one engine with a smaller one, `--full` all of them.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness
import pytest
from harness import Millrace, Result, Spec
from kit import FileSink, expect, memory_limit_kib, same_rows
from plugins import connector, engine_manifest, failure, keyed, records, write_rows
from published import duckdb_library

from conftest import program

# The rows; the long one comes behind those by which columns are settled.
ROWS = 2000
AT = 1500
READER = """
from millrace import BaseReader

class Rows(BaseReader):
    def extract(self, state_manager=None):
        for at in range(1, 2001, 100):
            rows = [{"id": n, "version": n, "name": f"name {n}"} for n in range(at, at + 100)]
            if at == 1501 and self.connection["long"]:
                rows[0]["name"] = "x" * self.connection["long"]
            yield rows
"""

# Of the size of the long value, 0 for none: the engine, its settings, the connection, more fields of the Source.
Reads = Callable[[Path, int], tuple[str, Spec, Spec, Spec]]


def long_text(path: Path, before: str, size: int, after: str) -> None:
    """Adds a line to a file without holding it."""
    with path.open("a") as file:
        file.write(before)
        for _ in range(size >> 20):
            file.write("x" * (1 << 20))
        file.write(after)


def message(name: str, engine: str) -> Reads:
    def reads(directory: Path, size: int) -> tuple[str, Spec, Spec, Spec]:
        rows = write_rows(directory / "rows.ndjson", records(ROWS))
        end = {"end": {"at": AT, "long": size}} if size else {}
        return engine, connector(name), {"rows": str(rows), **end}, {}

    return reads


def batch_file(directory: Path, size: int) -> tuple[str, Spec, Spec, Spec]:
    rows = write_rows(directory / "rows.ndjson", records(ROWS))
    batch = write_rows(directory / "batch.ndjson", [])
    if size:
        long_text(batch, '{"id": 5000, "version": 1, "name": "', size, '"}\n')
    told = {"type": "BATCH", "stream": "items", "encoding": {"format": "jsonl"}, "manifest": [batch.as_uri()]}
    return "singer", connector("tap.py"), {"rows": str(rows), "full": True, "after": [json.dumps(told)]}, {}


def python(directory: Path, size: int) -> tuple[str, Spec, Spec, Spec]:
    (directory / "reader.py").write_text(READER)
    return "python", {"reader": "./reader.py:Rows"}, {"long": size}, {}


def library(directory: Path, size: int) -> tuple[str, Spec, Spec, Spec]:
    path = directory / "shop" / "items.csv"
    path.parent.mkdir(exist_ok=True)
    lines = [f"{row['id']},{row['version']},{row['name']}\n" for row in records(ROWS)]
    path.write_text("id,version,name\n" + "".join(lines[:AT]))
    if size:
        long_text(path, "5000,1,", size, "\n")
    with path.open("a") as file:
        file.writelines(lines[AT:])
    built = os.environ.get("MILLRACE_EXAMPLE_LIBRARY", program().with_name("libexample_csv_reader.so"))
    return "library", {"reader": f"{built}:create_reader"}, {"directory": str(path.parent)}, {}


def adbc(directory: Path, size: int) -> tuple[str, Spec, Spec, Spec]:
    name = f"case when n = {AT} and {size} > 0 then repeat('x', {size}) else 'name ' || n end"
    query = f"select n as id, n as version, {name} as name from range(1, {ROWS + 1}) as rows(n)"
    driver = {"driver": str(duckdb_library()), "entrypoint": "duckdb_adbc_init"}
    return "adbc", driver, {}, {"options": {"queries": {"items": query}}}


@pytest.mark.parametrize(
    ("reads", "plugin", "most"),
    [
        (message("airbyte.py", "airbyte"), "airbyte.py", "128 MiB"),
        (message("tap.py", "singer"), "tap.py", "128 MiB"),
        (batch_file, "tap.py", "128 MiB"),
        (python, "reader.py:Rows", "256 MiB"),
        (library, "libexample_csv_reader", "256 MiB"),
        (adbc, "libduckdb", "256 MiB"),
    ],
    ids=["airbyte", "singer", "batch file", "python", "library", "adbc"],
)
def test_a_line_of_a_gigabyte_stops_its_stream_and_not_the_worker(
    reads: Reads,
    plugin: str,
    most: str,
    full: bool,
    request: pytest.FixtureRequest,
    millrace: Millrace,
    workdir: Path,
    files: FileSink,
) -> None:
    if not full and "airbyte" not in request.node.name:
        pytest.skip("a sample does without it: tests/run --full")
    good = write_good(workdir, files)

    result, peak = run_watched(millrace, write_flow(workdir, files, *reads(workdir, 1 << 30 if full else 300 << 20)), good)

    error = failure(result)
    assert plugin in error["message"] and most in error["message"], error
    assert 0 < peak < 1 << 20, f"{peak} KiB"
    print(f"{plugin}: the worker had {peak >> 10} MiB at most")
    same_rows(files_of(files, good).table(good, "others"), records(100))
    # Mended, it delivers all, once.
    flow = write_flow(workdir, files, *reads(workdir, 0))
    mended, _ = run_watched(millrace, flow)
    stream = mended.stream("items")
    assert stream["read"] == ROWS and stream["inserted"] + stream["unchanged"] == ROWS, stream
    same_rows(files_of(files, flow).table(flow, "items"), records(ROWS))


def files_of(files: FileSink, manifest: Path) -> FileSink:
    """The files of one Flow."""
    return FileSink(files.lake, f"{files.root}/{manifest.stem}")


def write_flow(
    workdir: Path, files: FileSink, engine: str, settings: Spec, connection: Spec, source: dict[str, Any]
) -> Path:
    sink = files_of(files, workdir / "lake.yaml").spec()
    return engine_manifest(
        workdir, engine, settings, sink, connection=connection, streams=keyed("items"), source=source
    )


def write_good(workdir: Path, files: FileSink) -> Path:
    """A Flow that has nothing to do with it."""
    source = harness.file_source(write_rows(workdir / "others.ndjson", records(100)), "ndjson", primary_key=["id"])
    return harness.write_manifest(workdir, "good", source, files_of(files, workdir / "good.yaml").spec())


def run_watched(millrace: Millrace, *manifests: Path) -> tuple[Result, int]:
    """One run, and the most memory that the worker had, in KiB."""
    process = millrace.start("run", *manifests, "--output", "json")
    peak = 0
    while process.poll() is None:
        peak = max(peak, memory_limit_kib(process))
        time.sleep(0.02)
    stdout, stderr = process.communicate()
    result = Result(["run"], process.returncode, stdout, stderr)
    if len(manifests) > 1:
        expect(result.stream("others"), read=100, inserted=100)
    return result, peak
