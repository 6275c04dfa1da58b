"""Airbyte's source for S3 as published, against a bucket on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from harness import S3, Result, Spec, columns, duck
from kit import FileSink, expect, same_answers
from plugins import engine_manifest, failure, keyed
from published import OBJECTS

Run = Callable[..., Result]
# The connector reads CSV as text.
SCHEMA = columns(id="integer", price="number decimal(12,2)", day="date")


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
