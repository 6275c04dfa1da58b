"""Sources of files in S3 as published, against a bucket on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from harness import S3, Millrace, Result, Spec, columns, duck
from kit import FileSink, expect, same_answers
from plugins import engine_manifest, failure, keyed
from published import OBJECTS, S3_CSV

Run = Callable[..., Result]
# The connector reads CSV as text.
SCHEMA = columns(id="integer", price="number decimal(12,2)", day="date")


# The tap makes text of everything, and an empty text of an empty field.
TYPED = """select id, nullif(name, '') as name, cast(nullif(price, '') as decimal(12, 2)) as price,
    cast(nullif(day, '') as date) as day from input"""


@pytest.fixture
def flow(workdir: Path, s3: S3, files: FileSink) -> Callable[..., Path]:
    """`flow()`: a Flow of the files of people in the bucket; the fields lie over the connection."""

    def write(**connection: object) -> Path:
        (workdir / "secret").write_text(s3.secret_key)
        stream: Spec = {"name": "people", "globs": ["in/*.csv"]}
        stream["format"] = {"filetype": "csv", "null_values": [""]}
        place = {"bucket": s3.bucket, "endpoint": s3.endpoint, "region_name": s3.region, "streams": [stream]}
        return engine_manifest(
            workdir,
            "airbyte",
            {"command": [str(OBJECTS.install())]},
            files.spec(),
            connection={**place, "aws_access_key_id": s3.access_key, **connection},
            streams=keyed("people", schema=SCHEMA),
            credentials=[{"name": "aws_secret_access_key", "file": "secret"}],
        )

    return write


def put(s3: S3, directory: Path, name: str, first: int, last: int, text: str = "name") -> None:
    """Writes a file of people to the bucket, and beside it."""
    rows = (f"{n},“{text}” {n},{n / 100:.2f},2026-01-{n % 28 + 1:02d}\n" for n in range(first, last + 1))
    content = "id,name,price,day\n" + "".join(rows) + f"{last + 1},,,\n"
    (directory / "in").mkdir(exist_ok=True)
    (directory / "in" / name).write_text(content)
    s3.put(f"in/{name}", content.encode())


def same_as_the_files(manifest: Path, files: FileSink, workdir: Path) -> None:
    """Compares each value with the files as DuckDB reads them."""
    ours = f"select id, name, price, day from read_parquet({files.lake.files(manifest)})"
    types = {"id": "BIGINT", "name": "VARCHAR", "price": "DECIMAL(12,2)", "day": "DATE"}
    theirs = f"select * from read_csv('{workdir}/in/*.csv', columns = {types}, header = true)"
    assert duck(f"select distinct typeof(id), typeof(price), typeof(day) from ({ours})") == [
        ("BIGINT", "DECIMAL(12,2)", "DATE")
    ]
    same_answers(ours, theirs)


@pytest.mark.usefixtures("whole")
def test_airbyte_s3(run: Run, flow: Callable[..., Path], s3: S3, files: FileSink, workdir: Path) -> None:
    put(s3, workdir, "a.csv", 1, 200)
    put(s3, workdir, "b.csv", 1001, 1100)
    manifest = flow()
    expect(run(manifest).stream("people"), read=302, inserted=302)
    same_as_the_files(manifest, files, workdir)

    again = run(manifest).stream("people")

    assert again["load"] == "delta"
    expect(again, read=0)
    put(s3, workdir, "b.csv", 1001, 1150, "changed")
    put(s3, workdir, "c.csv", 2001, 2010)
    more = run(manifest).stream("people")
    # The one that is new and the one that was written anew; row 1101 was the empty one.
    expect(more, read=162, inserted=61, updated=101)
    same_as_the_files(manifest, files, workdir)


@pytest.mark.usefixtures("whole")
def test_airbyte_s3_is_told_of_a_wrong_setting(run: Run, flow: Callable[..., Path], s3: S3) -> None:
    wrong = run(flow(bucket="no-such-bucket-here"), check=False)
    assert "no-such-bucket-here" in str(failure(wrong, "people")), str(wrong)
    assert s3.secret_key not in str(wrong)


@pytest.fixture
def tap_flow(workdir: Path, s3: S3, files: FileSink) -> Callable[..., Path]:
    """`tap_flow(cursorField="_sdc_source_file")`: a Flow of the same files by the tap; the fields are the stream's."""

    def write(bucket: str = s3.bucket, **stream: object) -> Path:
        (workdir / "secret").write_text(s3.secret_key)
        table = {"table_name": "people", "search_prefix": "in/", "search_pattern": r"\.csv$", "key_properties": ["id"]}
        place = {"bucket": bucket, "aws_endpoint_url": s3.endpoint, "aws_access_key_id": s3.access_key}
        return engine_manifest(
            workdir,
            "singer",
            {"command": [str(S3_CSV.install())]},
            files.spec(),
            connection={**place, "start_date": "2020-01-01T00:00:00Z", "tables": [table]},
            streams=keyed("people", schema=columns(id="integer"), **stream),
            credentials=[{"name": "aws_secret_access_key", "file": "secret"}],
            transforms=[{"sql": TYPED}],
        )

    return write


@pytest.fixture
def run_tap(millrace: Millrace) -> Run:
    """A run whose environment has no keys: with some there the tap first looks for the bucket in the cloud."""
    return partial(millrace, "run", "--output", "json")


def next_second(s3: S3) -> None:
    """Waits until what is written has another time than all that was: the tap knows files by their second."""
    newest = max(info.mtime for info in s3.files.get_file_info([f"{s3.bucket}/{key}" for key in s3.keys("in")]))
    time.sleep(max(0, newest.timestamp() + 1 - time.time()))


@pytest.mark.usefixtures("whole")
@pytest.mark.parametrize("cursor", ["", "_sdc_source_file"], ids=["full", "by file"])
def test_singer_s3_csv(
    cursor: str, run_tap: Run, tap_flow: Callable[..., Path], s3: S3, files: FileSink, workdir: Path
) -> None:
    put(s3, workdir, "a.csv", 1, 200)
    put(s3, workdir, "b.csv", 1001, 1100)
    manifest = tap_flow(**({"cursorField": cursor} if cursor else {}))
    expect(run_tap(manifest).stream("people"), read=302, inserted=302)
    same_as_the_files(manifest, files, workdir)

    again = run_tap(manifest).stream("people")

    next_second(s3)
    put(s3, workdir, "b.csv", 1001, 1150, "changed")
    put(s3, workdir, "c.csv", 2001, 2010)
    if cursor:
        assert again["load"] == "delta"
        expect(again, read=0)
        expect(run_tap(manifest).stream("people"), read=162, inserted=61, updated=101)
    else:
        expect(again, read=302, unchanged=302)
        expect(run_tap(manifest).stream("people"), read=363, inserted=61, updated=101, unchanged=201)
        s3.delete("in/c.csv")
        (workdir / "in" / "c.csv").unlink()
        expect(run_tap(manifest).stream("people"), read=352, unchanged=352, deleted=11, absent=11)
    same_as_the_files(manifest, files, workdir)


@pytest.mark.usefixtures("whole")
def test_singer_s3_csv_is_told_of_a_wrong_setting(run_tap: Run, tap_flow: Callable[..., Path], s3: S3) -> None:
    wrong = run_tap(tap_flow(bucket="no-such-bucket-here"), check=False)
    error = failure(wrong, "people")
    assert "NoSuchBucket" in f"{error['message']} {error.get('advice')}", error
    assert s3.secret_key not in str(wrong)
