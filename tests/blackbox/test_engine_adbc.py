"""The engine `adbc`: a database behind a driver library, SQLite here."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import adbc_driver_sqlite
import pytest
from harness import Result, Spec, duck
from kit import FileSink, expect, same_rows
from plugins import engine_manifest, failure, keyed

Run = Callable[..., Result]
DRIVER = Path(adbc_driver_sqlite.__file__).with_name("libadbc_driver_sqlite.so")


@pytest.fixture
def shop(workdir: Path) -> Iterator[sqlite3.Connection]:
    """A database with the table `users`, of a hundred rows."""
    with closing(sqlite3.connect(workdir / "shop.db", isolation_level=None)) as database:
        database.execute("create table users (id integer primary key, name text, version integer, score real)")
        insert(database, range(1, 101))
        yield database


def insert(database: sqlite3.Connection, ids: range) -> None:
    rows = [(id, f"user {id}", id, id / 4) for id in ids]
    # In one transaction: each is made safe on the disk.
    database.execute("begin")
    database.executemany("insert into users values (?, ?, ?, ?)", rows)
    database.execute("commit")


def content(database: sqlite3.Connection, sql: str = "select * from users") -> list[dict[str, Any]]:
    """The rows, as the database tells them."""
    cursor = database.execute(sql)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]


@pytest.fixture
def flow(workdir: Path, files: FileSink) -> Callable[..., Path]:
    """`flow(cursorField="version")`: a Flow of `users`; the fields are those of its stream."""

    def write(
        *streams: str,
        driver: Spec | None = None,
        uri: str | None = None,
        options: Spec | None = None,
        **fields: Any,
    ) -> Path:
        return engine_manifest(
            workdir,
            "adbc",
            driver or {"driver": str(DRIVER)},
            files.spec(),
            connection={"uri": uri or f"file:{workdir}/shop.db"},
            streams=keyed(*streams or ("users",), **fields),
            source={"options": options} if options else None,
        )

    return write


def test_full_loads_find_changes_and_deletes(
    run: Run, flow: Callable[..., Path], shop: sqlite3.Connection, files: FileSink
) -> None:
    manifest = flow()
    expect(run(manifest).stream("users"), read=100, inserted=100)
    same_rows(files.table(manifest, "users"), content(shop))
    shop.execute("delete from users where id % 10 = 0")
    shop.execute("update users set name = 'changed' where id < 4")
    insert(shop, range(101, 106))

    counts = run(manifest).stream("users")

    expect(counts, read=95, inserted=5, updated=3, unchanged=87, deleted=10, absent=10)
    same_rows(files.table(manifest, "users"), content(shop))


def test_a_delta_reads_what_is_beyond_the_cursor(
    run: Run, flow: Callable[..., Path], shop: sqlite3.Connection, files: FileSink
) -> None:
    manifest = flow(cursorField="version")
    run(manifest)
    insert(shop, range(101, 121))
    shop.execute("update users set name = 'changed', version = 121 where id = 7")

    counts = run(manifest).stream("users")

    assert counts["load"] == "delta"
    assert counts["read"] in (21, 22), counts
    assert (counts["inserted"], counts["updated"], counts["deleted"]) == (20, 1, 0), counts
    same_rows(files.table(manifest, "users"), content(shop))
    before = files.fingerprint(manifest, "users")
    assert run(manifest).stream("users")["inserted"] == 0
    assert files.fingerprint(manifest, "users") == before


def test_rows_that_tie_at_the_cursor_are_not_lost(
    run: Run, flow: Callable[..., Path], shop: sqlite3.Connection, files: FileSink
) -> None:
    manifest = flow(cursorField="version")
    run(manifest)
    # Committed after the load, with the version that was the greatest then.
    shop.execute("insert into users values (1000, 'late', 100, 1.5)")
    run(manifest)
    same_rows(files.table(manifest, "users"), content(shop))


@pytest.mark.parametrize("count", [0, 1, 70_000])
def test_queries_are_streams(
    count: int, run: Run, flow: Callable[..., Path], shop: sqlite3.Connection, files: FileSink
) -> None:
    shop.execute("delete from users")
    insert(shop, range(1, count + 1))
    query = "select id, upper(name) as name, score * 2 as twice from users where score is not null"
    manifest = flow("report", options={"queries": {"report": query}})

    expect(run(manifest).stream("report"), read=count, inserted=count)

    if count:
        same_rows(files.table(manifest, "report"), content(shop, query))


def test_nulls_and_every_type_of_the_database(
    run: Run, flow: Callable[..., Path], shop: sqlite3.Connection, files: FileSink
) -> None:
    shop.execute("create table odd (id integer primary key, t text, r real, b blob, big integer)")
    shop.execute("insert into odd values (1001, 'é', 0.1, x'00ff', 9223372036854775807)")
    shop.execute("insert into odd values (1002, '', -1e300, x'', -9223372036854775808)")
    manifest = flow("odd")

    expect(run(manifest).stream("odd"), read=2, inserted=2)

    found = duck("select t, r, b, big from t where id > 1000 order by id", t=files.table(manifest, "odd"))
    assert found == [("é", 0.1, b"\x00\xff", 2**63 - 1), ("", -1e300, b"", -(2**63))]


@pytest.mark.parametrize(
    ("driver", "wanted"),
    [
        ({"driver": "./libabsent.so"}, ["libabsent.so"]),
        ({"driver": "adbc_driver_of_nobody"}, ["adbc_driver_of_nobody"]),
        ({"driver": "./text.so"}, ["text.so"]),
        ({"driver": str(DRIVER), "entrypoint": "NoSuchEntry"}, ["NoSuchEntry"]),
    ],
    ids=["missing", "name", "text", "entrypoint"],
)
def test_a_wrong_driver_is_named(
    driver: Spec, wanted: list[str], run: Run, flow: Callable[..., Path], shop: sqlite3.Connection, workdir: Path
) -> None:
    (workdir / "text.so").write_text("no library at all\n" * 100)

    result = run(flow(driver=driver), check=False)

    assert result.returncode == 2, str(result)
    error = failure(result, "users")
    assert error["kind"] == "config", error
    for part in wanted:
        assert part in f"{error['message']} {error.get('advice')}", error


def test_what_the_database_refuses_is_told(
    run: Run, flow: Callable[..., Path], shop: sqlite3.Connection, files: FileSink
) -> None:
    manifest = flow()
    run(manifest)
    absent = failure(run(flow("users", "absent"), check=False), "absent")
    assert "absent" in absent["message"], absent
    wrong = flow("report", options={"queries": {"report": "select nothing at all"}})
    assert "report" in str(run(wrong, check=False).stderr)
    gone = run(flow(uri=f"file:{files.root}/nowhere/else.db"), "--full", check=False)
    assert gone.returncode not in (0, None), str(gone)
    same_rows(files.table(manifest, "users"), content(shop))
