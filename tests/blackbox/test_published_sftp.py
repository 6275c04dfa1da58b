"""Airbyte's source for SFTP as published, against a server on this machine."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import Result, Spec, columns, duck
from kit import FileSink, expect
from plugins import CONNECTORS, engine_manifest, failure, keyed
from published import SFTP

Run = Callable[..., Result]
PASSWORD = "a word for the server"
# The connector reads CSV as text.
SCHEMA = columns(id="integer", price="number decimal(12,2)", day="date")


@pytest.fixture
def port(workdir: Path) -> Iterator[int]:
    """That of a server, by the library that the connector brings, of what lies in `remote`."""
    (workdir / "remote" / "in").mkdir(parents=True)
    python = str(SFTP.environment() / "bin" / "python")
    command = [python, "-W", "ignore", str(CONNECTORS / "sftp.py"), str(workdir / "remote"), "shop", PASSWORD]
    with (
        (workdir / "sftp.log").open("w") as log,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True) as server,
    ):
        assert server.stdin and server.stdout
        try:
            yield int(server.stdout.readline())
        finally:
            server.stdin.close()


@pytest.fixture
def flow(workdir: Path, port: int, files: FileSink) -> Callable[..., Path]:
    """`flow()`: a Flow of the files of people on the server; the fields lie over the connection."""

    def write(**connection: object) -> Path:
        (workdir / "password").write_text(PASSWORD)
        stream: Spec = {"name": "people", "globs": ["**/*.csv"]}
        stream["format"] = {"filetype": "csv", "null_values": [""]}
        place = {"host": "127.0.0.1", "port": port, "username": "shop", "folder_path": "/in", "streams": [stream]}
        return engine_manifest(
            workdir,
            SFTP.engine,
            {"command": [str(SFTP.install())]},
            files.spec(),
            connection={**place, "credentials": {"auth_type": "password"}, **connection},
            streams=keyed("people", schema=SCHEMA),
            credentials=[{"name": "credentials.password", "file": "password"}],
        )

    return write


def put(workdir: Path, name: str, first: int, last: int, text: str = "name") -> None:
    """Writes a file of people; each is a second younger than the one before."""
    rows = (f"{n},“{text}” {n},{n / 100:.2f},2026-01-{n % 28 + 1:02d}\n" for n in range(first, last + 1))
    place = workdir / "remote" / "in"
    at = max((path.stat().st_mtime for path in place.iterdir()), default=1_780_000_000) + 1
    (place / name).write_text("id,name,price,day\n" + "".join(rows) + f"{last + 1},,,\n")
    os.utime(place / name, (at, at))


def same_as_the_files(manifest: Path, files: FileSink, workdir: Path) -> None:
    """Compares each value with the files as DuckDB reads them."""
    ours = f"select id, name, price, day from read_parquet({files.lake.files(manifest)})"
    types = {"id": "BIGINT", "name": "VARCHAR", "price": "DECIMAL(12,2)", "day": "DATE"}
    theirs = f"select * from read_csv('{workdir}/remote/in/*.csv', columns = {types}, header = true)"
    assert duck(f"({ours} except all {theirs}) union all ({theirs} except all {ours})") == []


@pytest.mark.usefixtures("whole")
def test_airbyte_sftp(run: Run, flow: Callable[..., Path], files: FileSink, workdir: Path) -> None:
    put(workdir, "a.csv", 1, 200)
    put(workdir, "b.csv", 1001, 1100)
    manifest = flow()
    expect(run(manifest).stream("people"), read=302, inserted=302)
    same_as_the_files(manifest, files, workdir)

    again = run(manifest).stream("people")

    assert again["load"] == "delta"
    expect(again, read=0)
    put(workdir, "b.csv", 1001, 1150, "changed")
    put(workdir, "c.csv", 2001, 2010)
    # The one that is new and the one that was written anew; row 1101 was the empty one.
    expect(run(manifest).stream("people"), read=162, inserted=61, updated=101)
    same_as_the_files(manifest, files, workdir)
    (workdir / "remote" / "in" / "c.csv").unlink()
    # What is gone is found by a full load.
    expect(run(manifest, "--full").stream("people"), read=352, unchanged=352, deleted=11, absent=11)
    same_as_the_files(manifest, files, workdir)


@pytest.mark.usefixtures("whole")
def test_airbyte_sftp_is_told_of_a_wrong_setting(run: Run, flow: Callable[..., Path]) -> None:
    wrong = run(flow(username="nobody_at_all"), check=False)
    error = failure(wrong, "people")
    assert "please check username, password" in f"{error['message']} {error.get('advice')}", error
    assert PASSWORD not in str(wrong)
