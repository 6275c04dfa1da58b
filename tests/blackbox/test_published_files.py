"""Connectors as others have published them, run unmodified: each reads twice, and the second run resumes.

A sample of them by default; with `--full` all that need nothing but files.
"""

from __future__ import annotations

import json
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness import Millrace, Result, Row, duck
from kit import FileSink, expect, same_answers, same_rows
from plugins import engine_manifest, failure, keyed, records, write_rows
from published import (
    DBF,
    DIMDATE,
    FAKER,
    FILE,
    HARDCODED,
    JSONL,
    SINGER_JSONL,
    SMOKE,
    SPREADSHEETS,
    Package,
)

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


def scenario(rows: list[Row]) -> Row:
    """A stream that the smoke test makes of what it is given."""
    types: Row = {
        "id": {"type": "integer"},
        "name": {"type": ["null", "string"]},
        "changed": {"type": "string", "format": "date-time", "airbyte_type": "timestamp_with_timezone"},
        "nested": {"type": ["null", "object"]},
    }
    schema = {"type": "object", "properties": types}
    return {"name": "shop", "json_schema": schema, "records": rows, "primary_key": [["id"]]}


def scenes(first: int, count: int, name: str = "name") -> list[Row]:
    """Rows of such a stream, with nulls."""
    return [
        {
            "id": n,
            "name": None if n % 7 == 0 else f"{name} “{n}”",
            "changed": f"2026-01-01T00:00:{n % 60:02}Z",
            "nested": {"n": [n]},
        }
        for n in range(first, first + count)
    ]


@pytest.mark.usefixtures("whole")
def test_airbyte_smoke_test(run: Run, flow: Callable[..., Path], workdir: Path, files: FileSink) -> None:
    def told(rows: list[Row]) -> Path:
        write_rows(workdir / "wanted.ndjson", rows)
        return flow(SMOKE, "shop", all_fast_streams=False, custom_scenarios=[scenario(rows)])

    manifest = told(scenes(1, 200))
    expect(run(manifest).stream("shop"), read=200, inserted=200)
    told([*scenes(11, 1, "new"), *scenes(12, 200)])
    expect(run(manifest).stream("shop"), read=201, inserted=11, updated=1, unchanged=189, deleted=10, absent=10)

    columns = "id, name, changed, nested::json::varchar"
    ours = f"select {columns} from read_parquet({files.lake.files(manifest)})"
    declared = "columns = {id: 'bigint', name: 'varchar', changed: 'timestamptz', nested: 'json'}"
    same_answers(ours, f"select {columns} from read_json('{workdir}/wanted.ndjson', {declared})")
    expect(run(manifest).stream("shop"), read=201, unchanged=201)


@pytest.mark.usefixtures("whole")
def test_airbyte_hardcoded_records(run: Run, millrace: Millrace, flow: Callable[..., Path], files: FileSink) -> None:
    manifest = flow(HARDCODED, "products", count=500)
    assert "dummy_fields" in millrace("discover", manifest).stdout
    # Each of them is the same row.
    expect(run(manifest).stream("products"), read=500, inserted=1, superseded=499)
    expect(run(manifest).stream("products"), read=500, unchanged=1, superseded=499)
    assert duck("select id, make from t", t=files.table(manifest, "products")) == [(1, "Mazda")]
    error = failure(run(flow(HARDCODED, "products", count="many"), check=False), "products")
    assert error["kind"] == "config" and "many" in f"{error['message']} {error.get('advice')}", error


def test_singer_dimdate(run: Run, millrace: Millrace, flow: Callable[..., Path], files: FileSink) -> None:
    manifest = flow(DIMDATE, "calendar", key="date_key", start_date="2026-01-01", end_date="2026-12-31")
    assert "date_key" in millrace("discover", manifest).stdout
    expect(run(manifest).stream("calendar"), read=365, inserted=365)
    expect(run(manifest).stream("calendar"), read=365, unchanged=365)
    flow(DIMDATE, "calendar", key="date_key", start_date="2026-01-11", end_date="2027-01-31")

    expect(run(manifest).stream("calendar"), read=386, inserted=31, unchanged=355, deleted=10, absent=10)

    ours = f"select date_key, date, weekday_name, day_of_year from read_parquet({files.lake.files(manifest)})"
    days = "generate_series(date '2026-01-11', date '2027-01-31', interval 1 day) as s(d)"
    theirs = f"select strftime(d, '%Y%m%d')::bigint, d::date, dayname(d), dayofyear(d) from {days}"
    same_answers(ours, theirs)


def dbf(path: Path, rows: list[Row]) -> None:
    """Writes a table of dBase III, its texts in Windows' code page."""
    fields = [("ID", "N", 8, 0), ("NAME", "C", 20, 0), ("PRICE", "N", 10, 2), ("OK", "L", 1, 0)]
    size, width = 32 * (len(fields) + 1) + 1, 1 + sum(field[2] for field in fields)
    head = struct.pack("<BBBBIHH17xBxx", 3, 126, 1, 1, len(rows), size, width, 3)
    for name, type_, length, places in fields:
        head += struct.pack("<11sc4xBB14x", name.encode(), type_.encode(), length, places)
    lines = [
        f" {row['ID']:8}{row['NAME']:20}{' ' * 10 if row['PRICE'] is None else format(row['PRICE'], '10.2f')}"
        f"{'T' if row['OK'] else 'F'}"
        for row in rows
    ]
    path.write_bytes(head + b"\r" + "".join(lines).encode("cp1252") + b"\x1a")


@pytest.mark.usefixtures("whole")
def test_singer_dbf(run: Run, flow: Callable[..., Path], workdir: Path, files: FileSink) -> None:
    def people(first: int, last: int, name: str = "Zoë") -> list[Row]:
        return [
            {"ID": n, "NAME": f"{name} {n}", "PRICE": None if n % 7 == 0 else n / 4, "OK": n % 2 == 0}
            for n in range(first, last + 1)
        ]

    path = workdir / "people.dbf"
    dbf(path, people(1, 300))
    manifest = flow(DBF, "people", key="ID", path=str(path))
    expect(run(manifest).stream("people"), read=300, inserted=300)
    expect(run(manifest).stream("people"), read=300, unchanged=300)
    # New at the end, so that no row has another place.
    rows = [*people(1, 299), *people(300, 300, "new"), *people(301, 320)]
    dbf(path, rows)
    expect(run(manifest).stream("people"), read=320, inserted=20, updated=1, unchanged=299)
    found = files.table(manifest, "people").select(["ID", "NAME", "PRICE", "OK"]).sort_by("ID").to_pylist()
    assert found == rows
    dbf(path, rows[:290])
    expect(run(manifest).stream("people"), read=290, unchanged=290, deleted=30, absent=30)


@pytest.mark.usefixtures("whole")
def test_singer_singer_jsonl(run: Run, flow: Callable[..., Path], workdir: Path, files: FileSink) -> None:
    """Messages of a tap that were kept in a file."""
    schema = {"type": "object", "properties": {"id": {"type": "integer"}, "name": {"type": ["null", "string"]}}}
    begins = {"type": "SCHEMA", "stream": "people", "schema": schema, "key_properties": ["id"]}

    def keep(rows: list[Row]) -> None:
        messages = [begins, *({"type": "RECORD", "stream": "people", "record": row} for row in rows)]
        (workdir / "people-1.singer").write_text("".join(json.dumps(message) + "\n" for message in messages))

    rows = [{"id": n, "name": None if n % 7 == 0 else f"name “{n}”"} for n in range(1, 321)]
    keep(rows[:300])
    place = {"folders": [str(workdir)]}
    manifest = flow(SINGER_JSONL, "people", source="local", local=place, add_record_metadata=False)
    expect(run(manifest).stream("people"), read=300, inserted=300)
    keep([{"id": 1, "name": "new"}, *rows[1:290], *rows[300:]])
    expect(run(manifest).stream("people"), read=310, inserted=20, updated=1, unchanged=289, deleted=10, absent=10)
    wanted = [{"id": 1, "name": "new"}, *rows[1:290], *rows[300:]]
    assert files.table(manifest, "people").select(["id", "name"]).sort_by("id").to_pylist() == wanted
