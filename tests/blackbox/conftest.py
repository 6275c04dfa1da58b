"""The fixtures of the black-box tests.

`tests/run` gives them their ground; by hand, `eval "$(tests/ground up)"` does.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import harness
import pytest
from harness import Lake, Millrace, Postgres, Result, Row, Spec
from kit import FileSink, PostgresSink, Sink
from servers import postgres, s3

# Fixtures that the end-to-end tests have as well.
__all__ = ["postgres", "s3"]


def program() -> Path:
    """The program under test."""
    target = os.environ.get("CARGO_TARGET_DIR", harness.ROOT / "target")
    binary = Path(os.environ.get("MILLRACE_BIN", Path(target) / "debug" / "millrace"))
    assert binary.is_file(), f"{binary} is not built: cargo build, or name one by MILLRACE_BIN"
    return binary


@pytest.fixture(scope="session")
def full() -> bool:
    """Whether sweeps are to be run whole (`tests/run --full`) or sampled."""
    return bool(os.environ.get("MILLRACE_FULL"))


@pytest.fixture
def whole(full: bool) -> None:
    """Of a test that is left out of a sample."""
    if not full:
        pytest.skip("a sample does without it: tests/run --full")


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    """The directory that the program runs in: empty, and the test's own."""
    return tmp_path


@pytest.fixture
def millrace(workdir: Path) -> Iterator[Millrace]:
    """`millrace("run", file, env=..., check=False)` runs the program; `millrace.start(...)` leaves it running."""
    started = Millrace(program(), workdir)
    yield started
    started.end()


@pytest.fixture
def write_csv(workdir: Path) -> Callable[..., Path]:
    """`write_csv("orders.csv", rows)` writes dictionaries (None as an empty field), or a list after `header=[...]`."""

    def write(
        name: str, rows: Iterable[Mapping[str, Any] | Sequence[Any]], header: Sequence[str] | None = None
    ) -> Path:
        lines = list(rows)
        if header is None:
            assert lines and isinstance(lines[0], Mapping), "rows that are no dictionaries need a header"
            header = list(lines[0])
        path = workdir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # A program that watches may read it at any time, and is to see the old rows or the new ones.
        new = path.with_name(f".{path.name}.new")
        with new.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(header)
            for line in lines:
                writer.writerow([line.get(c) for c in header] if isinstance(line, Mapping) else line)
        new.replace(path)
        return path

    return write


@pytest.fixture
def manifest(workdir: Path) -> Callable[..., Path]:
    """`manifest("lake", source=csv_source(...), destination=parquet_files(...), mode="Batch", ...)`: a file to run."""

    def write(name: str = "lake", *, source: Spec, destination: Spec, **fields: Any) -> Path:
        return harness.write_manifest(workdir, name, source, destination, **fields)

    return write


@pytest.fixture
def lake(millrace: Millrace, request: pytest.FixtureRequest) -> Lake:
    """Reads delivered Parquet files, those in the bucket too when the test uses `s3`."""
    return Lake(millrace, request.getfixturevalue("s3") if "s3" in request.fixturenames else None)


@pytest.fixture
def rows_of(lake: Lake) -> Callable[..., list[Row]]:
    """`rows_of(manifest)`: the rows in the current files of its Flow, without the columns that Millrace adds."""
    return lake.rows


@pytest.fixture
def duck() -> Callable[..., list[tuple[Any, ...]]]:
    """`duck("select count(*) from t", t=lake.table(manifest))`: the answer of an independent engine."""
    return harness.duck


@pytest.fixture
def environment(request: pytest.FixtureRequest) -> dict[str, str]:
    """The environment of the program: the credentials of the servers that the test uses."""
    servers = [name for name in ("postgres", "s3") if name in request.fixturenames]
    return {key: value for name in servers for key, value in request.getfixturevalue(name).env.items()}


@pytest.fixture
def run(millrace: Millrace, environment: dict[str, str]) -> Callable[..., Result]:
    """`run(manifest, "--full", env=..., check=False)`: one run of the program, with its closing report as JSON."""

    def once(
        manifest: Path, *options: str | Path, env: Mapping[str, str] | None = None, **how: Any
    ) -> Result:
        every = {**environment, **(env or {})}
        return millrace("run", manifest, "--output", "json", *options, env=every, **how)

    return once


SINKS = ("file", "postgres")


@pytest.fixture(params=SINKS)
def sink(request: pytest.FixtureRequest, workdir: Path, millrace: Millrace, environment: dict[str, str]) -> Sink:
    """A destination; the test runs once for each kind."""
    if request.param == "postgres":
        postgres: Postgres = request.getfixturevalue("postgres")
        environment.update(postgres.env)
        return PostgresSink(postgres)
    return FileSink(Lake(millrace), str(workdir / "out"))


@pytest.fixture
def files(workdir: Path, millrace: Millrace) -> FileSink:
    """Parquet files as the destination."""
    return FileSink(Lake(millrace), str(workdir / "out"))
