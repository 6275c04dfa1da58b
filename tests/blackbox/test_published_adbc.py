"""ADBC drivers as published, for databases on this machine: in full, by a cursor, and what their types become."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest
from harness import Millrace, Postgres, Result, Spec, columns
from kit import FileSink, expect
from plugins import engine_manifest, failure, keyed
from published import ADBC_POSTGRES, duckdb_library

Run = Callable[..., Result]
NAMES = ["id", "name", "price", "sold", "changed", "day", "f", "big"]
TABLE = """create table items (
    id integer primary key, name text, price numeric(12, 2), sold boolean, changed timestamptz not null, day date,
    f double precision, big bigint)"""
INSERT = """insert into items select n, nullif('item “' || n || '”', 'item “7”'), n / 100.0, n % 2 = 0,
    timestamptz '2026-01-01 00:00:00.123456+00' + n * interval '1 second', date '2026-01-01' + (n % 60)::integer,
    n / 8.0::double precision, 9223372036854775807 - n from generate_series({first}, {last}) as s(n)"""


def manifest_of(workdir: Path, files: FileSink, driver: Spec, connection: Spec, *streams: Spec, **fields: object) -> Path:
    return engine_manifest(workdir, "adbc", driver, files.spec(), connection=connection, streams=streams, **fields)  # type: ignore[arg-type]


def found(manifest: Path, files: FileSink, stream: str) -> list[tuple[object, ...]]:
    """The rows that were delivered, as pyarrow reads them."""
    rows = files.table(manifest, stream).select(NAMES).sort_by("id").to_pylist()
    return [tuple(row.values()) for row in rows]


@pytest.fixture
def postgres_flow(workdir: Path, files: FileSink, postgres: Postgres) -> Callable[..., Path]:
    """`postgres_flow(cursorField="changed")`: a Flow of the items; the driver is told where by a secret."""

    def write(table: str = "public.items", **stream: object) -> Path:
        (workdir / "uri").write_text(postgres.url)
        driver = {"driver": str(ADBC_POSTGRES.library("libadbc_driver_postgresql.so"))}
        fields = {"credentials": [{"name": "uri", "file": "uri"}]}
        return manifest_of(workdir, files, driver, {}, *keyed(table, **stream), **fields)

    return write


def test_adbc_postgresql(
    run: Run, millrace: Millrace, postgres_flow: Callable[..., Path], postgres: Postgres, files: FileSink
) -> None:
    postgres.execute(TABLE)
    postgres.execute(INSERT.format(first=1, last=300))
    # To the driver a numeric is text, so that the manifest says what it is.
    manifest = postgres_flow(schema=columns(price="number decimal(12,2)"), cursorField="changed")
    assert "public.items" in millrace("discover", manifest).stdout

    expect(run(manifest).stream("public.items"), read=300, inserted=300)

    wanted = "select id, name, price, sold, changed, day, f, big from items order by id"
    assert found(manifest, files, "public.items") == postgres.rows(wanted)
    again = run(manifest).stream("public.items")
    assert again["load"] == "delta" and (again["inserted"], again["updated"], again["deleted"]) == (0, 0, 0), again
    postgres.execute(INSERT.format(first=301, last=320))
    postgres.execute("update items set name = 'new', changed = '2026-02-01' where id = 7")
    more = run(manifest).stream("public.items")
    assert (more["load"], more["inserted"], more["updated"]) == ("delta", 20, 1), more
    assert found(manifest, files, "public.items") == postgres.rows(wanted)
    postgres.execute("delete from items where id <= 10")
    whole = run(manifest, "--full").stream("public.items")
    expect(whole, read=310, unchanged=310, deleted=10, absent=10)


def test_adbc_postgresql_is_told_of_a_wrong_setting(
    run: Run, postgres_flow: Callable[..., Path], postgres: Postgres
) -> None:
    postgres.execute(TABLE)
    wrong = run(postgres_flow("public.wares"), check=False)
    assert "public.wares" in failure(wrong, "public.wares")["message"], str(wrong)
    assert postgres.env["PGPASSWORD"] not in str(wrong)


def attach(database: duckdb.DuckDBPyConnection, workdir: Path, options: str = "") -> None:
    database.execute(f"attach '{workdir}/shop.db' as shop {options}; use shop; set timezone = 'UTC'")


def told(database: duckdb.DuckDBPyConnection) -> list[tuple[object, ...]]:
    """The rows, as the database tells them."""
    rows = database.sql(f"select {', '.join(NAMES)} from items order by id").to_arrow_table()
    return [tuple(row.values()) for row in rows.to_pylist()]


@pytest.mark.usefixtures("whole")
def test_adbc_duckdb(run: Run, millrace: Millrace, workdir: Path, files: FileSink) -> None:
    # In a format that the library, which is older than the tests' own, reads.
    with duckdb.connect() as database:
        attach(database, workdir, "(storage_version 'v1.0.0')")
        database.execute(TABLE)
        database.execute(INSERT.format(first=1, last=300))
        wanted = told(database)
    driver = {"driver": str(duckdb_library()), "entrypoint": "duckdb_adbc_init"}
    place = {"path": str(workdir / "shop.db")}
    manifest = manifest_of(workdir, files, driver, place, *keyed("main.items", cursorField="id"))
    assert "main.items" in millrace("discover", manifest).stdout

    expect(run(manifest).stream("main.items"), read=300, inserted=300)

    assert found(manifest, files, "main.items") == wanted
    assert isinstance(wanted[0][2], Decimal)
    again = run(manifest).stream("main.items")
    assert again["load"] == "delta" and (again["inserted"], again["updated"], again["deleted"]) == (0, 0, 0), again
    with duckdb.connect() as database:
        attach(database, workdir)
        database.execute(INSERT.format(first=301, last=320))
        database.execute("delete from items where id <= 10")
        wanted = told(database)
    more = run(manifest).stream("main.items")
    assert (more["load"], more["inserted"], more["updated"]) == ("delta", 20, 0), more
    expect(run(manifest, "--full").stream("main.items"), read=310, unchanged=310, deleted=10, absent=10)
    assert found(manifest, files, "main.items") == wanted
