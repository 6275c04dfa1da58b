"""Taps as published that read a database server: in full and by a replication key."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mariadb
import pytest
from harness import Millrace, Postgres, Result, Spec, columns
from kit import FileSink, expect
from mariadb import MariaDb
from plugins import engine_manifest, failure, keyed
from published import MYSQL, PIPELINEWISE_POSTGRES, POSTGRES

Run = Callable[..., Result]
# Columns of which a test compares each value; a tap tells of a numeric that it is a number, so that its scale is declared.
TABLE = """create table items (
    id int primary key, name text, price numeric(12, 2), sold boolean, at timestamptz not null, day date, j jsonb,
    u uuid, f double precision, big bigint)"""
SCHEMA = columns(price="number decimal(12,2)")
NAMES = ["id", "name", "price", "sold", "at", "day", "j", "u", "f", "big"]


def fill(postgres: Postgres, first: int, last: int) -> None:
    """Rows, one changed every second."""
    postgres.execute(
        "insert into items select n, nullif('item “' || n || '”', 'item “7”'), n / 100.0, n % 2 = 0,"
        " timestamptz '2026-01-01 00:00:00.123456+00' + n * interval '1 second', date '2026-01-01' + n % 60,"
        " jsonb_build_object('n', n), md5(n::text)::uuid, n / 8.0::double precision, 9223372036854775807 - n"
        f" from generate_series({first}, {last}) as n"
    )


@pytest.fixture
def flow(workdir: Path, files: FileSink, postgres: Postgres) -> Callable[..., Path]:
    """`flow(cursorField="at")`: a Flow of the items by the tap."""

    def write(*streams: str, connection: Spec | None = None, **fields: Any) -> Path:
        command = {"command": [str(POSTGRES.install())]}
        (workdir / "password").write_text(postgres.connection.info.password)
        settings = {**postgres.spec, "filter_schemas": ["public"], **(connection or {})}
        return engine_manifest(
            workdir,
            "singer",
            command,
            files.spec(),
            connection=settings,
            streams=keyed(*streams or ("public-items",), schema=SCHEMA, **fields),
            credentials=[{"name": "password", "file": "password"}],
        )

    return write


def same_as_the_table(manifest: Path, files: FileSink, postgres: Postgres) -> None:
    """Compares each value: as the database's own driver reads it, and pyarrow the files."""
    wanted = postgres.rows("select id, name, price, sold, at, day, j, u::text, f, big from items order by id")
    found = files.table(manifest, "public-items").select(NAMES).sort_by("id").to_pylist()
    assert [tuple({**row, "j": json.loads(row["j"])}.values()) for row in found] == wanted


@pytest.mark.usefixtures("whole")
def test_singer_postgres_in_full(
    run: Run, millrace: Millrace, flow: Callable[..., Path], postgres: Postgres, files: FileSink
) -> None:
    postgres.execute(TABLE)
    fill(postgres, 1, 300)
    manifest = flow()
    assert "public-items" in millrace("discover", manifest).stdout
    expect(run(manifest).stream("public-items"), read=300, inserted=300)
    same_as_the_table(manifest, files, postgres)
    postgres.execute("delete from items where id <= 10")
    postgres.execute("update items set name = 'changed' where id = 20")
    fill(postgres, 301, 305)

    again = run(manifest).stream("public-items")

    expect(again, read=295, inserted=5, updated=1, unchanged=289, deleted=10, absent=10)
    same_as_the_table(manifest, files, postgres)


@pytest.mark.usefixtures("whole")
def test_singer_postgres_by_replication_key(run: Run, flow: Callable[..., Path], postgres: Postgres, files: FileSink) -> None:
    postgres.execute(TABLE)
    fill(postgres, 1, 300)
    manifest = flow(cursorField="at")
    expect(run(manifest).stream("public-items"), read=300, inserted=300)
    same_as_the_table(manifest, files, postgres)

    again = run(manifest).stream("public-items")

    # The tap reads from its bookmark on, and that row once more.
    assert again["load"] == "delta"
    expect(again, read=1, unchanged=1)
    fill(postgres, 301, 320)
    postgres.execute("update items set name = 'changed', at = '2026-02-01' where id = 7")
    expect(run(manifest).stream("public-items"), read=22, inserted=20, updated=1, unchanged=1)
    same_as_the_table(manifest, files, postgres)


def test_singer_postgres_is_told_of_a_wrong_setting(run: Run, flow: Callable[..., Path], postgres: Postgres) -> None:
    postgres.execute(TABLE)
    wrong = run(flow(connection={"user": "nobody_at_all"}), check=False)
    error = failure(wrong, "public-items")
    assert "nobody_at_all" in f"{error['message']} {error.get('advice')}", error
    assert postgres.env["PGPASSWORD"] not in str(wrong)


@pytest.mark.usefixtures("whole")
def test_singer_pipelinewise_postgres(run: Run, millrace: Millrace, workdir: Path, postgres: Postgres, files: FileSink) -> None:
    def flow(**fields: Any) -> Path:
        (workdir / "password").write_text(postgres.connection.info.password)
        place = {name: postgres.spec[name] for name in ("host", "port", "user")}
        return engine_manifest(
            workdir,
            PIPELINEWISE_POSTGRES.engine,
            {"command": [str(PIPELINEWISE_POSTGRES.install())]},
            files.spec(),
            connection={**place, "dbname": postgres.spec["database"], "filter_schemas": "public"},
            streams=keyed("public-items", **fields),
            credentials=[{"name": "password", "file": "password"}],
        )

    def same() -> None:
        # A date comes as a moment at midnight.
        wanted = postgres.rows(
            "select id, name, price, sold, at, day::timestamp at time zone 'UTC', j, u::text, f, big from items order by id"
        )
        found = files.table(manifest, "public-items").select(NAMES).sort_by("id").to_pylist()
        assert [tuple({**row, "j": json.loads(row["j"])}.values()) for row in found] == wanted

    postgres.execute(TABLE)
    fill(postgres, 1, 300)
    manifest = flow()
    assert "public-items" in millrace("discover", manifest).stdout
    expect(run(manifest).stream("public-items"), read=300, inserted=300)
    same()
    postgres.execute("delete from items where id <= 10")
    postgres.execute("update items set name = 'changed' where id = 20")
    fill(postgres, 301, 305)
    expect(run(manifest).stream("public-items"), read=295, inserted=5, updated=1, unchanged=289, deleted=10, absent=10)
    same()
    # From now on by its key: the tap begins anew, and goes on from there.
    flow(cursorField="at")
    expect(run(manifest).stream("public-items"), read=295, unchanged=295)
    fill(postgres, 306, 320)
    more = run(manifest).stream("public-items")
    assert more["load"] == "delta"
    expect(more, read=16, inserted=15, unchanged=1)
    same()


@pytest.fixture
def shop(workdir: Path) -> Iterator[MariaDb]:
    """A MariaDB with 300 items."""
    with mariadb.server(workdir) as server:
        server.execute(
            "create table items (id int primary key, name varchar(50), price decimal(12, 2), sold tinyint(1),"
            " at datetime(6) not null, day date, j json, f double, big bigint unsigned)"
        )
        insert(server, 1, 300)
        yield server


def insert(shop: MariaDb, first: int, last: int) -> None:
    """Rows, one changed every second."""
    shop.execute(
        "insert into items select seq, nullif(concat('item “', seq, '”'), 'item “7”'), seq / 100, seq % 2,"
        " timestamp '2026-01-01 00:00:00.123456' + interval seq second, '2026-01-01' + interval seq day,"
        " json_object('n', seq), seq / 8,"
        f" 18446744073709551615 - seq from seq_{first}_to_{last}"
    )


def same_as_in_the_shop(manifest: Path, files: FileSink, shop: MariaDb) -> None:
    """Compares each value: as the server's client tells it, and pyarrow the files."""
    wanted = shop.rows(
        "select json_array(id, name, cast(price as char), sold, date_format(at, '%Y-%m-%dT%H:%i:%s.%f'),"
        " date_format(day, '%Y-%m-%dT00:00:00.000000'), cast(j as char), f, cast(big as char)) from items order by id"
    )
    found = files.table(manifest, "shop-items").sort_by("id")
    names = ["id", "name", "price", "sold", "at", "day", "j", "f", "big"]
    moment = "%Y-%m-%dT%H:%M:%S.%f"
    rows = [
        [id, name, str(price), int(sold), at.strftime(moment), day.strftime(moment), j, f, str(big)]
        for id, name, price, sold, at, day, j, f, big in (row.values() for row in found.select(names).to_pylist())
    ]
    assert rows == wanted


@pytest.mark.usefixtures("whole")
@pytest.mark.parametrize("cursor", ["", "at"], ids=["full", "by key"])
def test_singer_mysql(cursor: str, run: Run, shop: MariaDb, workdir: Path, files: FileSink) -> None:
    (workdir / "password").write_text(mariadb.PASSWORD)
    manifest = engine_manifest(
        workdir,
        "singer",
        {"command": [str(MYSQL.install())]},
        files.spec(),
        connection={"host": "127.0.0.1", "port": shop.port, "user": "tap", "filter_dbs": "shop", "engine": "mariadb"},
        streams=keyed("shop-items", **({"cursorField": cursor} if cursor else {})),
        credentials=[{"name": "password", "file": "password"}],
    )
    expect(run(manifest).stream("shop-items"), read=300, inserted=300)
    same_as_in_the_shop(manifest, files, shop)

    again = run(manifest).stream("shop-items")

    insert(shop, 301, 320)
    shop.execute("update items set name = 'changed', at = '2026-02-01' where id = 7")
    if cursor:
        assert again["load"] == "delta"
        expect(again, read=1, unchanged=1)
        expect(run(manifest).stream("shop-items"), read=22, inserted=20, updated=1, unchanged=1)
    else:
        expect(again, read=300, unchanged=300)
        shop.execute("delete from items where id > 290 and id <= 300")
        counts = run(manifest).stream("shop-items")
        expect(counts, read=310, inserted=20, updated=1, unchanged=289, deleted=10, absent=10)
    same_as_in_the_shop(manifest, files, shop)
