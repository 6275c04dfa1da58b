"""Connectors as others have published them, run unmodified: each reads twice, and the second run resumes.

A sample of them by default; with `--full` all that need nothing but files.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness import Millrace, Result, duck
from kit import FileSink, expect, same_answers, same_rows
from plugins import engine_manifest, failure, keyed, records, write_rows
from published import FAKER, FILE, JSONL, SPREADSHEETS, Package

Run = Callable[..., Result]


@pytest.fixture
def flow(workdir: Path, files: FileSink) -> Callable[..., Path]:
    """`flow(FAKER, "users", count=100)`: a Flow of one stream; the fields are the connector's configuration."""

    def write(package: Package, stream: str, *, key: str = "id", **config: Any) -> Path:
        command = {"command": [str(package.install())]}
        streams = keyed(stream, primaryKey=[key]) if key != "id" else keyed(stream)
        return engine_manifest(workdir, package.engine, command, files.spec(), connection=config, streams=streams)

    return write


def test_airbyte_faker(run: Run, millrace: Millrace, flow: Callable[..., Path], files: FileSink) -> None:
    config = {"seed": 7, "parallelism": 1, "records_per_slice": 50}
    manifest = flow(FAKER, "users", count=200, always_updated=False, **config)
    assert "purchases" in millrace("discover", manifest).stdout

    expect(run(manifest).stream("users"), read=200, inserted=200)
    again = run(manifest).stream("users")

    assert again["load"] == "delta" and (again["inserted"], again["updated"], again["deleted"]) == (0, 0, 0), again
    table = files.table(manifest, "users")
    counts = "select count(*), count(distinct id), min(id), max(id), count(email), min(typeof(created_at)) from t"
    assert duck(counts, t=table) == [(200, 200, 1, 200, 200, "TIMESTAMP WITH TIME ZONE")]
    # Told to, it gives all a new time, and more of them.
    flow(FAKER, "users", count=300, always_updated=True, **config)
    more = run(manifest).stream("users")
    assert more["load"] == "delta", more
    expect(more, read=300, inserted=100, updated=200)
    assert duck("select count(*), count(distinct id) from t", t=files.table(manifest, "users")) == [(300, 300)]


def test_airbyte_faker_is_told_of_a_wrong_setting(run: Run, flow: Callable[..., Path]) -> None:
    error = failure(run(flow(FAKER, "users", count="many"), check=False), "users")
    assert error["kind"] == "config" and "many" in f"{error['message']} {error.get('advice')}", error


def test_singer_jsonl(run: Run, flow: Callable[..., Path], workdir: Path, files: FileSink) -> None:
    write_rows(workdir / "items.jsonl", records(500))
    manifest = flow(JSONL, "items", path=str(workdir / "items.jsonl"), stream_name="items", primary_keys=["id"])
    first = run(manifest).stream("items")
    expect(first, read=500, inserted=500)
    ours = f"select id, version, name from read_parquet({files.lake.files(manifest)})"
    theirs = f"select id, version, name from '{workdir}/items.jsonl'"
    same_answers(ours, theirs)

    again = run(manifest).stream("items")
    assert again["load"] == "delta"
    assert (again["inserted"], again["updated"], again["deleted"]) == (0, 0, 0), again
    write_rows(workdir / "items.jsonl", records(550))
    # A second later than it was, whatever the clock of the files.
    os.utime(workdir / "items.jsonl", (time.time() + 5, time.time() + 5))
    more = run(manifest).stream("items")

    # The tap writes the time of the file into each row, so that all of them have changed.
    assert more["load"] == "delta", more
    expect(more, read=550, inserted=50, updated=500)
    found = duck("select count(*), count(distinct id), max(version) from t", t=files.table(manifest, "items"))
    assert found == [(550, 550, 550)]


@pytest.mark.usefixtures("whole")
def test_airbyte_file(run: Run, flow: Callable[..., Path], workdir: Path, files: FileSink) -> None:
    path = workdir / "people.csv"
    path.write_text("id,name,score\n" + "".join(f"{n},name {n},{n / 4}\n" for n in range(1, 301)))
    place = {"storage": "local"}
    manifest = flow(FILE, "people", dataset_name="people", format="csv", url=str(path), provider=place)
    expect(run(manifest).stream("people"), read=300, inserted=300)
    ours = f"select id, name, score from read_parquet({files.lake.files(manifest)})"
    theirs = f"select id, name, score from read_csv('{path}')"
    same_answers(ours, theirs)

    # It reads in full each time, so that what is gone is found.
    path.write_text("id,name,score\n" + "".join(f"{n},name {n},{n / 4}\n" for n in range(11, 321)))
    again = run(manifest).stream("people")

    expect(again, read=310, inserted=20, unchanged=290, deleted=10, absent=10)
    expect(run(manifest).stream("people"), read=310, unchanged=310)


@pytest.mark.usefixtures("whole")
def test_singer_spreadsheets(run: Run, flow: Callable[..., Path], workdir: Path, files: FileSink) -> None:
    path = workdir / "people.csv"
    path.write_text("id,name\n" + "".join(f"{n},name {n}\n" for n in range(1, 301)))
    file = {"path": str(path), "format": "csv", "table_name": "people", "primary_keys": ["id"]}
    manifest = flow(SPREADSHEETS, "people", files=[file])
    expect(run(manifest).stream("people"), read=300, inserted=300)
    table = files.table(manifest, "people")
    assert duck("select count(*), count(distinct id), min(name) from t", t=table) == [(300, 300, "name 1")]

    again = run(manifest).stream("people")

    assert (again["inserted"], again["updated"], again["deleted"]) == (0, 0, 0), again
    same_rows(files.table(manifest, "people"), table)
