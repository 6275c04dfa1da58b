"""The engine `adbc` with a driver that splits the answer of a query: its parts are read side by side, and are one load.

The driver is SQLite's, behind one of the tests (`tests/adbc-driver`) that adds the splitting.
"""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import adbc_driver_sqlite
import pytest
from harness import Millrace, Result, Row, duck
from kit import FileSink, expect, same_rows, wait_until
from plugins import alive, descendants, engine_manifest, failure, keyed

from conftest import program

Run = Callable[..., Result]
SQLITE = Path(adbc_driver_sqlite.__file__).with_name("libadbc_driver_sqlite.so")
PARTS = 4


def stored(count: int, first: int = 1) -> list[Row]:
    """Rows of the table."""
    return [{"id": n, "version": n, "name": f"item {n}"} for n in range(first, first + count)]


def insert(workdir: Path, rows: list[Row]) -> None:
    with closing(sqlite3.connect(workdir / "shop.db")) as database:
        database.execute("create table if not exists items (id integer primary key, version integer, name text)")
        database.executemany("insert into items values (:id, :version, :name)", rows)
        database.commit()


def change(workdir: Path, *statements: str) -> None:
    """Changes the table."""
    with closing(sqlite3.connect(workdir / "shop.db", isolation_level=None)) as database:
        for statement in statements:
            database.execute(statement)


@pytest.fixture
def flow(workdir: Path, files: FileSink) -> Callable[..., Path]:
    """`flow("append", together=2)`: a Flow of `items`; the fields are options of the driver."""
    (workdir / "meet").mkdir()

    def write(
        mode: str = "upsert", stream: str = "items", fields: Row | None = None, queries: Row | None = None, **splits: Any
    ) -> Path:
        options = {"driver": str(SQLITE), "parts": str(PARTS), "meet": str(workdir / "meet"), **splits}
        return engine_manifest(
            workdir,
            "adbc",
            {"driver": os.environ.get("MILLRACE_SPLITTING_DRIVER", str(program().with_name("libadbc_driver_splits.so")))},
            files.spec(mode),
            connection={"uri": f"file:{workdir}/shop.db", **{f"splits.{name}": value for name, value in options.items()}},
            streams=keyed(stream, **(fields or {})),
            source={"concurrency": PARTS, "options": {"partitioned": True, **({"queries": queries} if queries else {})}},
        )

    return write


def begun(workdir: Path) -> set[str]:
    """The parts that were read; forgets them."""
    found = {path.name for path in (workdir / "meet").iterdir()}
    for name in found:
        (workdir / "meet" / name).unlink()
    return found


@pytest.mark.parametrize("mode", ["upsert", "append"])
@pytest.mark.parametrize("silent", ["false", "true"], ids=["columns told", "columns not told"])
def test_all_rows_of_all_parts_arrive_once(
    silent: str, mode: str, run: Run, flow: Callable[..., Path], workdir: Path, files: FileSink
) -> None:
    insert(workdir, stored(1003))
    manifest = flow(mode, silent=silent)

    expect(run(manifest).stream("items"), read=1003, inserted=1003)

    assert begun(workdir) == {"0", "1", "2", "3"}
    same_rows(files.table(manifest, "items"), stored(1003))


def test_changes_and_deletes_are_found_over_all_parts(
    run: Run, flow: Callable[..., Path], workdir: Path, files: FileSink
) -> None:
    insert(workdir, stored(100))
    manifest = flow()
    run(manifest)
    change(workdir, "delete from items where id % 10 = 0", "update items set name = 'changed' where id < 4")

    counts = run(manifest, "--full").stream("items")

    expect(counts, read=90, updated=3, unchanged=87, deleted=10, absent=10)
    found = duck("select count(*), count(*) filter (name = 'changed') from t", t=files.table(manifest, "items"))
    assert found == [(90, 3)]


def test_a_delta_over_parts_goes_on_where_the_last_one_ended(
    run: Run, flow: Callable[..., Path], workdir: Path, files: FileSink
) -> None:
    insert(workdir, stored(100))
    manifest = flow(fields={"cursorField": "version"})
    run(manifest)
    insert(workdir, stored(50, 101))
    begun(workdir)

    counts = run(manifest).stream("items")

    assert counts["load"] == "delta" and counts["inserted"] == 50 and counts["read"] in (50, 51), counts
    assert begun(workdir) == {"0", "1", "2", "3"}
    same_rows(files.table(manifest, "items"), stored(150))
    assert run(manifest).stream("items")["inserted"] == 0


@pytest.mark.parametrize("count", [0, 1, 2])
def test_fewer_rows_than_parts(
    count: int, run: Run, flow: Callable[..., Path], workdir: Path, files: FileSink
) -> None:
    insert(workdir, stored(count))
    query = "select id, name from items where id > 0"
    manifest = flow(stream="report", queries={"report": query})
    expect(run(manifest).stream("report"), read=count, inserted=count)
    assert len(begun(workdir)) == count


def test_parts_are_read_side_by_side(run: Run, flow: Callable[..., Path], workdir: Path, files: FileSink) -> None:
    insert(workdir, stored(400))
    # No part gives a row before two have begun: one after the other they would never end.
    manifest = flow(together="2")
    expect(run(manifest).stream("items"), read=400, inserted=400)
    same_rows(files.table(manifest, "items"), stored(400))


def test_a_part_that_fails_names_the_driver_and_nothing_is_delivered(
    run: Run, flow: Callable[..., Path], workdir: Path, files: FileSink
) -> None:
    insert(workdir, stored(100))
    manifest = flow()
    run(manifest)
    change(workdir, "update items set name = 'changed'")

    error = failure(run(flow(fails="2"), "--full", check=False))

    assert "part 2 of the answer is gone" in error["message"], error
    assert "libadbc_driver_splits.so" in error["message"], error
    same_rows(files.table(manifest, "items"), stored(100))


def test_a_driver_that_dies_in_a_part_is_named_and_the_rows_come_again(
    run: Run, flow: Callable[..., Path], workdir: Path, files: FileSink
) -> None:
    insert(workdir, stored(400))
    manifest = flow("append", dies="1")

    error = failure(run(manifest, check=False))

    assert "signal 6" in error["message"] and "libadbc_driver_splits.so" in error["message"], error
    expect(run(manifest).stream("items"), read=400, inserted=400)
    same_rows(files.table(manifest, "items"), stored(400))


@pytest.mark.parametrize("failpoint", ["stage.finish", "commit.before", "commit.after", "state.before"])
def test_a_crash_loses_and_doubles_nothing(
    failpoint: str, run: Run, flow: Callable[..., Path], workdir: Path, files: FileSink
) -> None:
    manifest = flow("append", fields={"cursorField": "version"})
    for first in (1, 101):
        insert(workdir, stored(100, first))
        killed = run(manifest, env={"MILLRACE_FAILPOINT": failpoint}, check=False)
        assert killed.returncode == -signal.SIGKILL, str(killed)

    run(manifest)

    same_rows(files.table(manifest, "items"), stored(200))


def test_no_host_of_a_part_outlives_the_worker(millrace: Millrace, flow: Callable[..., Path], workdir: Path) -> None:
    insert(workdir, stored(100))
    # More than there are: they wait.
    started = millrace.start("run", flow(together=str(PARTS + 1)))
    wait_until(lambda: len(list((workdir / "meet").iterdir())) >= 2)
    wait_until(lambda: len(descendants(started.pid)) >= 2)
    children = descendants(started.pid)
    started.kill()
    started.communicate()
    wait_until(lambda: not alive(children), what=f"the end of {children}")


def test_parts_that_a_manifest_wishes_for_are_not_read_twice(
    run: Run, flow: Callable[..., Path], workdir: Path, files: FileSink
) -> None:
    insert(workdir, stored(100))
    manifest = flow("append", fields={"partitions": 3}, parts="0")
    expect(run(manifest).stream("items"), read=100, inserted=100)
    same_rows(files.table(manifest, "items"), stored(100))
