"""The engine `adbc` at the writing end: each load arrives in one transaction, and a commit made twice arrives once."""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import adbc_driver_sqlite
import pytest
from harness import Millrace, Result, Row, columns
from kit import expect, stopped, wait_until
from plugins import failure, keyed, records, write_rows, written_manifest

Run = Callable[..., Result]
DRIVER = Path(adbc_driver_sqlite.__file__).with_name("libadbc_driver_sqlite.so")


@pytest.fixture
def flow(workdir: Path) -> Callable[..., Path]:
    """`flow("append")`: a Flow of `items` into a database of SQLite; the fields are those of its stream."""

    def write(mode: str = "upsert", *, stream: str = "items", reader: Row | None = None, **fields: Any) -> Path:
        return written_manifest(
            workdir,
            "adbc",
            {"driver": str(DRIVER)},
            mode,
            connection={"uri": f"file:{workdir}/shop.db"},
            streams=keyed(stream, **fields),
            **(reader or {}),
        )

    return write


def query(workdir: Path, sql: str) -> list[tuple[Any, ...]]:
    """What another client of the database sees."""
    with closing(sqlite3.connect(workdir / "shop.db")) as database:
        return database.execute(sql).fetchall()


def written(workdir: Path, stream: str = "items") -> list[tuple[Any, ...]]:
    """The rows of a table, by key."""
    return query(workdir, f'select id, version, name from "{stream}" order by id, version')


def tuples(rows: list[Row]) -> list[tuple[Any, ...]]:
    """Rows as the database gives them."""
    return [(row["id"], row["version"], row["name"]) for row in sorted(rows, key=lambda row: row["id"])]


def left(workdir: Path) -> list[str]:
    """Tables in which loads were laid down."""
    tables = query(workdir, "select name from sqlite_master")
    return [name for (name,) in tables if name.startswith("_millrace_load")]


def test_upserts_replace_rows_by_key(run: Run, flow: Callable[..., Path], workdir: Path) -> None:
    write_rows(workdir / "rows.ndjson", records(100))
    manifest = flow()
    first = run(manifest)
    expect(first.stream("items"), read=100, inserted=100)
    assert first.json["flows"][0]["deliveryGuarantee"] == "EffectivelyOnce", first
    changed = [{**records(1)[0], "version": 101, "name": "changed"}, *records(20, 102)]
    write_rows(workdir / "rows.ndjson", changed)

    counts = run(manifest).stream("items")

    assert counts["load"] == "delta"
    expect(counts, read=21, inserted=20, updated=1)
    assert written(workdir) == tuples([changed[0], *records(100)[1:], *changed[1:]])
    assert left(workdir) == []


def test_the_last_version_of_a_key_wins(run: Run, flow: Callable[..., Path], workdir: Path) -> None:
    rows = [{"id": n % 10, "version": n, "name": f"turn {n}"} for n in range(1, 301)]
    write_rows(workdir / "rows.ndjson", rows)
    run(flow())
    assert written(workdir) == tuples(rows[-10:])


def test_appends_add_to_what_is_there(run: Run, flow: Callable[..., Path], workdir: Path) -> None:
    write_rows(workdir / "rows.ndjson", records(50))
    manifest = flow("append")
    run(manifest)
    write_rows(workdir / "rows.ndjson", records(80))
    expect(run(manifest).stream("items"), read=30, inserted=30)
    assert written(workdir) == tuples(records(80))
    assert query(workdir, "select distinct _millrace_op from items") == [("insert",)]


def test_a_load_that_replaces_deletes_all_first(run: Run, flow: Callable[..., Path], workdir: Path) -> None:
    manifest = flow("overwrite")
    for count in (100, 60, 0, 5):
        write_rows(workdir / "rows.ndjson", records(count))
        run(manifest)
        assert written(workdir) == tuples(records(count))
    # A view of the table lives on.
    with closing(sqlite3.connect(workdir / "shop.db")) as database:
        database.execute("create view seen as select count(*) from items")
    write_rows(workdir / "rows.ndjson", records(7))
    run(manifest)
    assert query(workdir, "select * from seen") == [(7,)]


def test_each_type_keeps_its_value(run: Run, flow: Callable[..., Path], workdir: Path) -> None:
    declared = columns(
        id="integer",
        version="integer",
        price="number decimal(38,2)",
        score="number",
        fine="boolean",
        day="date",
        moment="timestamp timestamp",
        text="string",
    )
    full = {
        "price": "12345678901234567890.10",
        "score": 0.25,
        "fine": True,
        "day": "2024-02-29",
        "moment": "2024-02-29T12:00:00.123456",
        "text": "a 'quoted' \"word\"\nand 𝄞",
    }
    none = dict.fromkeys(full)
    write_rows(workdir / "rows.ndjson", [{"id": 1, "version": 1, **full}, {"id": 2, "version": 2, **none}])

    run(flow(schema=declared))

    found = query(workdir, f"select {', '.join(full)} from items order by id")
    assert found == [tuple({**full, "fine": 1}.values()), tuple(none.values())]


def test_columns_that_are_new_are_added(run: Run, flow: Callable[..., Path], workdir: Path) -> None:
    write_rows(workdir / "rows.ndjson", records(10))
    run(flow())
    write_rows(workdir / "rows.ndjson", [{**row, "score": row["id"] / 4} for row in records(5, 11)])

    manifest = flow()
    manifest.write_text(manifest.read_text() + "  schemaContract: { columns: evolve }\n")
    run(manifest)

    found = query(workdir, "select count(*), count(score), max(score) from items")
    assert found == [(15, 5, 3.75)]


def test_names_are_quoted(run: Run, flow: Callable[..., Path], workdir: Path) -> None:
    write_rows(workdir / "rows.ndjson", [{**row, 'a "b" c': row["id"]} for row in records(3)])
    for _ in range(2):
        run(flow("overwrite", stream='order.items "of" select'))
    found = query(workdir, 'select sum("a ""b"" c") from "order.items ""of"" select"')
    assert found == [(6,)]


def test_an_older_worker_changes_nothing_any_more(
    millrace: Millrace, run: Run, flow: Callable[..., Path], workdir: Path
) -> None:
    write_rows(workdir / "rows.ndjson", records(50))
    manifest = flow("append")
    older = millrace.start("run", manifest, env={"MILLRACE_FAILPOINT": "commit.before=stop"})
    wait_until(lambda: stopped(older))

    run(manifest)
    older.send_signal(signal.SIGCONT)
    older.communicate(timeout=600)

    assert written(workdir) == tuples(records(50))


def test_a_table_that_does_not_fit_is_told_and_stays(run: Run, flow: Callable[..., Path], workdir: Path) -> None:
    with closing(sqlite3.connect(workdir / "shop.db")) as database:
        database.execute("create table items (id integer, version integer check (version < 5), name text)")
        database.execute("insert into items values (0, 0, 'first')")
        database.commit()
    write_rows(workdir / "rows.ndjson", records(10))

    error = failure(run(flow(), check=False))

    assert "CHECK constraint failed" in error["message"] and DRIVER.name in error["message"], error
    assert written(workdir) == [(0, 0, "first")]


def test_validate_tries_the_database(millrace: Millrace, flow: Callable[..., Path], workdir: Path) -> None:
    write_rows(workdir / "rows.ndjson", records(10))
    assert millrace("validate", flow(), "--connect").returncode == 0
    assert query(workdir, "select count(*) from sqlite_master") == [(0,)]
