"""Destinations, targets and drivers as others have published them, run unmodified: what each makes of a load."""

from __future__ import annotations

import csv
import gzip
import json
import os
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from harness import S3, Millrace, Postgres, Result, Row, Spec, columns, duck
from kit import expect, sampled
from plugins import failure, keyed, write_rows, written_manifest
from published import (
    ADBC_POSTGRES,
    ADBC_SQLITE,
    AILAKE,
    TARGET_CSV,
    TARGET_DATAMILL,
    TARGET_DUCKDB,
    TARGET_JSONL,
    TARGET_LOCALJSON,
    TARGET_PIPELINEWISE,
    TARGET_POSTGRES,
    TARGET_S3,
    TARGET_S3_CSV,
    TARGET_SINGER_CSV,
    TARGET_SINGER_JSONL,
    TARGET_SQLITE,
    Package,
    duckdb_library,
)

Run = Callable[..., Result]
CRASHES = ("stage.finish", "commit.before", "commit.after", "state.before")
DECLARED = columns(
    id="integer",
    version="integer",
    name="string",
    price="number decimal(12,2)",
    fine="boolean",
    changed="timestamp timestamp_tz",
)
READ = "select id, version, name, price::numeric, fine, changed from {} order by id, version"


def items(count: int, first: int = 1, name: str = "item") -> list[Row]:
    """Rows of several types, with nulls."""
    return [
        {
            "id": n,
            "version": n,
            "name": None if n % 7 == 0 else f'{name} "{n}", \u201cof\u201d {n}',
            "price": f"{n // 10}.{n % 10}0",
            "fine": n % 2 == 0,
            "changed": f"2026-01-01T00:{n // 60 % 60:02}:{n % 60:02}.123456Z",
        }
        for n in range(first, first + count)
    ]


def values(rows: list[Row]) -> list[tuple[Any, ...]]:
    """Rows as a database gives them, by key."""
    found = [(*row.values(),) for row in sorted(rows, key=lambda row: (row["id"], row["version"]))]
    return [(*row[:3], Decimal(row[3]), row[4], datetime.fromisoformat(row[5])) for row in found]


@pytest.fixture
def flow(workdir: Path) -> Callable[..., Path]:
    """`flow(TARGET_CSV, "overwrite", output_path="out")`: a Flow of `items`; the fields are the configuration."""

    def write(
        package: Package,
        mode: str,
        *,
        credentials: Row | None = None,
        stream: str = "items",
        transform: str = "",
        **config: Any,
    ) -> Path:
        if not package.interpreter():
            pytest.skip(f"{package.requirement} runs on Python {package.python} at most, which is not installed here")
        given = []
        for name, value in (credentials or {}).items():
            (workdir / name).write_text(value)
            given.append({"name": name, "file": name})
        settings: Spec = {"command": [str(package.install())]}
        return written_manifest(
            workdir,
            package.engine,
            settings,
            mode,
            connection=config,
            streams=keyed(stream, schema=DECLARED),
            credentials=given,
            options={"_millrace_loaded_at": False},
            transforms=[{"sql": transform}] if transform else [],
        )

    return write


def read(postgres: Postgres, table: str) -> list[tuple[Any, ...]]:
    """The rows of a table; times without a zone are of UTC."""
    rows = postgres.rows(READ.format(table))
    return [(*row[:5], row[5] if row[5].tzinfo else row[5].replace(tzinfo=UTC)) for row in rows]


def test_target_jsonl(run: Run, flow: Callable[..., Path], workdir: Path) -> None:
    manifest = flow(TARGET_JSONL, "append", destination_path=str(workdir / "out"), do_timestamp_file=False)
    write_rows(workdir / "rows.ndjson", items(200))
    expect(run(manifest).stream("items"), read=200, inserted=200)
    write_rows(workdir / "rows.ndjson", items(250))
    expect(run(manifest).stream("items"), read=50, inserted=50)

    path = workdir / "out" / "items.jsonl"
    assert path.read_text().count("\n") == 250 and '"price": 0.10' in path.read_text()
    found = duck(f"select count(*), count(distinct id), sum(price), count(name) from read_json_auto('{path}')")
    assert found == [(250, 250, pytest.approx(sum(float(row["price"]) for row in items(250))), 215)]


@pytest.mark.usefixtures("whole")
def test_target_csv(run: Run, flow: Callable[..., Path], workdir: Path) -> None:
    (workdir / "out").mkdir()
    # It begins its file anew each time, whatever it is told: only a load that replaces is what it seems.
    manifest = flow(TARGET_CSV, "overwrite", output_path=str(workdir / "out"))
    for count in (200, 150):
        write_rows(workdir / "rows.ndjson", items(count))
        expect(run(manifest).stream("items"), read=count, inserted=count)
        found = duck(f"select id, name, price::varchar from read_csv('{workdir}/out/items.csv') order by id")
        assert [(row[0], row[1]) for row in found] == [(row["id"], row["name"]) for row in items(count)]
        assert [Decimal(row[2]) for row in found] == [Decimal(row["price"]) for row in items(count)]


POSTGRES = {"default_target_schema": "public", "hard_delete": True, "add_record_metadata": True}


def place(package: Package, postgres: Postgres) -> Row:
    """Where a database is, as a target wants to be told."""
    spec = postgres.spec
    name = "dbname" if package is TARGET_PIPELINEWISE else "database"
    return {"host": spec["host"], "port": spec["port"], name: spec["database"], "user": spec["user"], **POSTGRES}


@pytest.mark.parametrize(
    "package",
    [TARGET_POSTGRES, TARGET_PIPELINEWISE] if os.environ.get("MILLRACE_FULL") else [TARGET_POSTGRES],
    ids=lambda package: package.requirement.partition("-")[0],
)
def test_target_postgres(
    package: Package, run: Run, millrace: Millrace, flow: Callable[..., Path], workdir: Path, postgres: Postgres
) -> None:
    secret = {"password": postgres.env["PGPASSWORD"]}
    manifest = flow(package, "upsert", credentials=secret, **place(package, postgres))
    write_rows(workdir / "rows.ndjson", items(300))
    assert millrace("validate", manifest, "--connect").returncode == 0
    expect(run(manifest).stream("items"), read=300, inserted=300)
    assert read(postgres, "items") == values(items(300))
    # New versions of some, new rows, and two that are gone.
    changed = [{**row, "version": row["id"] + 300, "name": "new"} for row in items(10)]
    gone = [{"id": n, "version": 400 + n, "_millrace_op": "delete"} for n in (20, 21)]
    write_rows(workdir / "rows.ndjson", [*changed, *items(20, 500), *gone])

    counts = run(manifest).stream("items")

    assert (counts["load"], counts["read"], counts["deleted"]) == ("delta", 32, 2), counts
    rest = [row for row in items(300)[10:] if row["id"] not in (20, 21)]
    live = list(read(postgres, "items where _sdc_deleted_at is null"))
    assert live == values([*changed, *rest, *items(20, 500)])
    left = postgres.rows("select count(*) from items where _sdc_deleted_at is not null")
    assert left == [(0 if package is TARGET_PIPELINEWISE else 2,)]


@pytest.mark.usefixtures("whole")
@pytest.mark.parametrize("package", [TARGET_POSTGRES, TARGET_PIPELINEWISE], ids=["meltanolabs", "pipelinewise"])
def test_target_postgres_replaces(
    package: Package, run: Run, flow: Callable[..., Path], workdir: Path, postgres: Postgres
) -> None:
    secret = {"password": postgres.env["PGPASSWORD"]}
    manifest = flow(package, "overwrite", credentials=secret, **place(package, postgres))
    counts = []
    for rows in (items(100), items(60, name="again")):
        write_rows(workdir / "rows.ndjson", rows)
        run(manifest)
        counts.append(len(read(postgres, "items")))
    if package is TARGET_PIPELINEWISE:
        # It hears the word that a version is active, and does nothing about it.
        assert counts == [100, 100]
        assert read(postgres, "items")[:60] == values(items(60, name="again"))
    else:
        assert read(postgres, "items") == values(items(60, name="again"))


def test_airbyte_ailake(run: Run, millrace: Millrace, flow: Callable[..., Path], workdir: Path) -> None:
    embed = workdir / "embed.py"
    embed.write_text("import json, sys\nprint(json.dumps([[1.0, float(len(t))] for t in json.load(sys.stdin)]))\n")
    manifest = flow(
        AILAKE,
        "append",
        table_base_path=str(workdir / "out"),
        embed_mode="cmd",
        embed_cmd=f"{sys.executable} {embed}",
        embedding_dim=2,
        text_field="name",
    )
    assert millrace("validate", manifest, "--connect").returncode == 0
    write_rows(workdir / "rows.ndjson", items(200))
    expect(run(manifest).stream("items"), read=200, inserted=200)
    write_rows(workdir / "rows.ndjson", items(250))
    expect(run(manifest).stream("items"), read=50, inserted=50)

    files = sorted((workdir / "out" / "items").rglob("*.parquet"))
    rows = [row for path in files for row in pq.read_table(path).to_pylist()]
    assert sorted(row["id"] for row in rows) == list(range(1, 251))
    assert {row["id"]: row["fine"] for row in rows} == {row["id"]: row["fine"] for row in items(250)}


# To this target a moment has no zone.
WITHOUT_ZONE = "select id, version, name, price, fine, cast(changed as timestamp) as changed from input"


def in_duckdb(path: Path) -> list[tuple[Any, ...]]:
    """The items of a database, as DuckDB itself reads them."""
    with duckdb.connect(str(path), read_only=True) as database:
        rows = database.execute(
            "select id, version, name, price::decimal(12, 2), fine, epoch_us(changed) from items order by id, version"
        ).fetchall()
    return [(*row[:5], datetime.fromtimestamp(0, UTC) + timedelta(microseconds=row[5])) for row in rows]


@pytest.mark.usefixtures("whole")
def test_target_duckdb(run: Run, millrace: Millrace, flow: Callable[..., Path], workdir: Path) -> None:
    place = {"path": str(workdir / "shop.duckdb"), "default_target_schema": "main", "hard_delete": True}
    manifest = flow(TARGET_DUCKDB, "upsert", transform=WITHOUT_ZONE, **place)
    write_rows(workdir / "rows.ndjson", items(300))
    assert millrace("validate", manifest, "--connect").returncode == 0
    expect(run(manifest).stream("items"), read=300, inserted=300)
    assert in_duckdb(workdir / "shop.duckdb") == values(items(300))

    expect(run(manifest).stream("items"), read=0)
    changed = [{**row, "version": row["id"] + 300, "name": "new"} for row in items(10)]
    gone = [{"id": n, "version": 400 + n, "_millrace_op": "delete"} for n in (20, 21)]
    write_rows(workdir / "rows.ndjson", [*changed, *items(20, 500), *gone])
    counts = run(manifest).stream("items")

    assert (counts["load"], counts["read"], counts["deleted"]) == ("delta", 32, 2), counts
    rest = [row for row in items(300)[10:] if row["id"] not in (20, 21)]
    assert in_duckdb(workdir / "shop.duckdb") == values([*changed, *rest, *items(20, 500)])


@pytest.mark.usefixtures("whole")
def test_target_duckdb_takes_the_first_row_for_a_header(run: Run, flow: Callable[..., Path], workdir: Path) -> None:
    # What the documents warn of: it has DuckDB guess whether its file of a batch has a header.
    place = {"path": str(workdir / "shop.duckdb"), "default_target_schema": "main", "hard_delete": True}
    manifest = flow(TARGET_DUCKDB, "upsert", **place)
    write_rows(workdir / "rows.ndjson", items(300))
    expect(run(manifest).stream("items"), read=300, inserted=300)
    assert in_duckdb(workdir / "shop.duckdb") == values(items(300))[1:]


@pytest.mark.usefixtures("whole")
def test_target_sqlite(run: Run, millrace: Millrace, flow: Callable[..., Path], workdir: Path) -> None:
    manifest = flow(TARGET_SQLITE, "upsert", database=str(workdir / "shop.db"))
    write_rows(workdir / "rows.ndjson", items(300))
    assert millrace("validate", manifest, "--connect").returncode == 0

    def found(where: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(workdir / "shop.db")) as database:
            columns = "id, version, name, printf('%.2f', price), fine, changed"
            rows = database.execute(f"select {columns} from items where {where} order by id").fetchall()
        return [(*row[:3], Decimal(row[3]), bool(row[4]), datetime.fromisoformat(row[5])) for row in rows]

    expect(run(manifest).stream("items"), read=300, inserted=300)
    assert found("true") == values(items(300))

    expect(run(manifest).stream("items"), read=0)
    changed = [{**row, "version": row["id"] + 300, "name": "new"} for row in items(10)]
    gone = [{**items(1, n)[0], "version": 400 + n, "_millrace_op": "delete"} for n in (20, 21)]
    write_rows(workdir / "rows.ndjson", [*changed, *items(20, 500), *gone])
    counts = run(manifest).stream("items")

    assert (counts["load"], counts["read"], counts["deleted"]) == ("delta", 32, 2), counts
    rest = [row for row in items(300)[10:] if row["id"] not in (20, 21)]
    assert found("_sdc_deleted_at is null") == values([*changed, *rest, *items(20, 500)])
    assert [row[0] for row in found("_sdc_deleted_at is not null")] == [20, 21]


def in_bucket(s3: S3) -> list[tuple[Any, ...]]:
    """The items of all CSV files of a bucket, as Python reads them; an empty field is nothing."""
    rows = [row for key in s3.keys("in") for row in csv.DictReader(s3.get(key).decode().splitlines())]
    assert {row["_millrace_op"] for row in rows} == {"insert"}
    return values(
        [
            {
                "id": int(row["id"]),
                "version": int(row["version"]),
                "name": row["name"] or None,
                "price": row["price"],
                "fine": row["fine"] == "True",
                "changed": row["changed"],
            }
            for row in rows
        ]
    )


@pytest.mark.usefixtures("whole")
def test_target_s3_csv(run: Run, millrace: Millrace, flow: Callable[..., Path], workdir: Path, s3: S3) -> None:
    place = {"s3_bucket": s3.bucket, "aws_endpoint_url": s3.endpoint, "aws_access_key_id": s3.access_key}
    secret = {"aws_secret_access_key": s3.secret_key}
    more = {"naming_convention": "in/{stream}-{timestamp}.csv", "temp_dir": str(workdir / "files")}
    manifest = flow(TARGET_S3_CSV, "append", credentials=secret, **place, **more)
    write_rows(workdir / "rows.ndjson", items(200))
    assert millrace("validate", manifest, "--connect").returncode == 0
    expect(run(manifest).stream("items"), read=200, inserted=200)
    assert in_bucket(s3) == values(items(200))

    expect(run(manifest).stream("items"), read=0)
    assert len(s3.keys("in")) == 1
    write_rows(workdir / "rows.ndjson", items(250))
    expect(run(manifest).stream("items"), read=50, inserted=50)

    assert len(s3.keys("in")) == 2 and not list((workdir / "files").iterdir())
    assert in_bucket(s3) == values(items(250))


@pytest.mark.usefixtures("whole")
def test_target_s3_csv_is_told_of_a_wrong_bucket(run: Run, flow: Callable[..., Path], workdir: Path, s3: S3) -> None:
    place = {"s3_bucket": "no-such-bucket-here", "aws_endpoint_url": s3.endpoint, "aws_access_key_id": s3.access_key}
    place["temp_dir"] = str(workdir / "files")
    write_rows(workdir / "rows.ndjson", items(10))
    wrong = run(flow(TARGET_S3_CSV, "append", credentials={"aws_secret_access_key": s3.secret_key}, **place), check=False)
    error = failure(wrong)
    assert "no-such-bucket-here" in f"{error['message']} {error.get('advice')}", error
    assert s3.secret_key not in str(wrong)


@pytest.mark.usefixtures("whole")
@pytest.mark.parametrize(
    ("package", "config", "words"),
    [
        (TARGET_DUCKDB, {"path": "shop.duckdb"}, "Neither 'default_target_schema'"),
        (TARGET_SQLITE, {"file": "shop.db"}, "missing required keys: ['database']"),
        (TARGET_S3_CSV, {"bucket": "shop"}, "Required key is missing from config: [s3_bucket]"),
    ],
    ids=["duckdb", "sqlite", "s3-csv"],
)
def test_a_target_is_told_of_a_wrong_setting(
    package: Package, config: Row, words: str, millrace: Millrace, flow: Callable[..., Path], workdir: Path
) -> None:
    write_rows(workdir / "rows.ndjson", items(1))
    wrong = millrace("validate", flow(package, "append", **config), "--connect", check=False)
    assert wrong.returncode == 1 and words in wrong.stderr.splitlines()[-1], str(wrong)


def of_csv(place: Path) -> list[Row]:
    """What the target of the first hour writes, a file for each load."""
    found = [row for path in place.glob("items-*.csv") for row in csv.DictReader(path.read_text().splitlines())]
    return [{**row, "name": row["name"] or None, "fine": row["fine"] == "True"} for row in found]


def of_json(place: Path) -> list[Row]:
    """A file for each message."""
    return [json.loads(path.read_text())["record"] for path in place.rglob("*.json")]


def of_messages(place: Path) -> list[Row]:
    """The messages themselves, packed."""
    lines = [line for path in place.rglob("*.gz") for line in gzip.decompress(path.read_bytes()).splitlines()]
    messages = [json.loads(line, parse_float=str) for line in lines]
    return [message["record"] for message in messages if message["type"] == "RECORD"]


@pytest.mark.usefixtures("whole")
@pytest.mark.parametrize(
    ("package", "config", "rows_of"),
    [
        (TARGET_SINGER_CSV, {"destination_path": "out"}, of_csv),
        (TARGET_LOCALJSON, {"dest_dir": "out"}, of_json),
        (TARGET_SINGER_JSONL, {"destination": "local", "local": {"folder": "out"}}, of_messages),
    ],
    ids=["csv", "localjson", "singer-jsonl"],
)
def test_target_into_files(
    package: Package,
    config: Row,
    rows_of: Callable[[Path], list[Row]],
    run: Run,
    flow: Callable[..., Path],
    workdir: Path,
) -> None:
    # They read numbers as binary ones, and look whether each is as the schema says: 2.3 is no multiple of 0.01 there.
    (workdir / "out").mkdir()
    manifest = flow(package, "append", **config)
    for count, more in ((200, 200), (200, 0), (250, 50)):
        write_rows(workdir / "rows.ndjson", items(count))
        expect(run(manifest).stream("items"), read=more, inserted=more)
    found = [{name: row[name] for name in TOLD} for row in rows_of(workdir / "out")]
    typed = [{**row, "id": int(row["id"]), "version": int(row["version"]), "price": str(row["price"])} for row in found]
    assert values(typed) == values(items(250))


@pytest.mark.usefixtures("whole")
def test_target_of_datamill(run: Run, flow: Callable[..., Path], workdir: Path, postgres: Postgres) -> None:
    spec = postgres.spec
    place = {"postgres_host": spec["host"], "postgres_port": spec["port"], "postgres_database": spec["database"]}
    more = {"postgres_username": spec["user"], "disable_collection": True}
    secret = {"postgres_password": postgres.env["PGPASSWORD"]}
    manifest = flow(TARGET_DATAMILL, "upsert", credentials=secret, **place, **more)
    write_rows(workdir / "rows.ndjson", items(300))
    expect(run(manifest).stream("items"), read=300, inserted=300)
    changed = [{**row, "version": row["id"] + 300, "name": "new"} for row in items(10)]
    write_rows(workdir / "rows.ndjson", [*changed, *items(20, 500), {"id": 20, "version": 420, "_millrace_op": "delete"}])
    run(manifest)

    # It keeps four digits of a second.
    columns = "id, version, name, price::numeric, fine, date_trunc('second', changed)"
    found = postgres.rows(f"select {columns} from items where _sdc_deleted_at is null order by id, version")
    wanted = values([*changed, *(row for row in items(300)[10:] if row["id"] != 20), *items(20, 500)])
    assert found == [(*row[:5], row[5].replace(microsecond=0)) for row in wanted]


# Those of `items`, as pyarrow casts them to what can be compared.
TYPED = pa.schema(
    {
        "id": pa.int64(),
        "version": pa.int64(),
        "name": pa.string(),
        "price": pa.string(),
        "fine": pa.bool_(),
        "changed": pa.timestamp("us", "UTC"),
    }
)
TOLD = TYPED.names


@pytest.mark.usefixtures("whole")
def test_target_s3(run: Run, flow: Callable[..., Path], workdir: Path, s3: S3) -> None:
    place = {"aws_access_key_id": s3.access_key, "aws_region": "us-east-1", "aws_bucket": s3.bucket}
    cloud = {"cloud_provider_type": "aws", "aws": {**place, "aws_endpoint_override": s3.endpoint}}
    form = {"format_type": "parquet", "format_parquet": {"get_schema_from_tap": True}}
    secret = {"cloud_provider.aws.aws_secret_access_key": s3.secret_key}
    manifest = flow(TARGET_S3, "append", credentials=secret, cloud_provider=cloud, format=form, prefix="in")
    for count, more in ((200, 200), (200, 0), (250, 50)):
        write_rows(workdir / "rows.ndjson", items(count))
        expect(run(manifest).stream("items"), read=more, inserted=more)
    paths = [f"{s3.bucket}/{key}" for key in s3.keys("in")]
    # Its decimals are double, its moments whole seconds.
    found = [row for path in paths for row in pq.read_table(path, filesystem=s3.files, columns=TOLD).cast(TYPED).to_pylist()]
    seconds = [{**row, "changed": row["changed"].replace(".123456", "")} for row in items(250)]
    assert values([{**row, "changed": row["changed"].isoformat()} for row in found]) == values(seconds)


def adbc(workdir: Path, driver: Path, mode: str, uri: str, stream: str) -> Path:
    """A Flow by a driver; where the database is, is a secret."""
    (workdir / "uri").write_text(uri)
    return written_manifest(
        workdir,
        "adbc",
        {"driver": str(driver)},
        mode,
        connection={},
        streams=keyed(stream, schema=DECLARED),
        credentials=[{"name": "uri", "file": "uri"}],
    )


def test_adbc_postgresql(run: Run, workdir: Path, postgres: Postgres) -> None:
    driver = ADBC_POSTGRES.library("libadbc_driver_postgresql.so")
    manifest = adbc(workdir, driver, "upsert", postgres.url, "shop.items")
    write_rows(workdir / "rows.ndjson", items(300))
    result = run(manifest)
    expect(result.stream("shop.items"), read=300, inserted=300)
    assert result.json["flows"][0]["deliveryGuarantee"] == "EffectivelyOnce"
    assert read(postgres, "shop.items") == values(items(300))
    changed = [{**row, "version": row["id"] + 300, "name": "new"} for row in items(10)]
    gone = [{"id": n, "version": 400 + n, "_millrace_op": "delete"} for n in (20, 21)]
    write_rows(workdir / "rows.ndjson", [*changed, *items(20, 500), *gone])

    run(manifest)

    rest = [row for row in items(300)[10:] if row["id"] not in (20, 21)]
    assert read(postgres, "shop.items") == values([*changed, *rest, *items(20, 500)])
    types = dict(postgres.rows("select column_name, data_type from information_schema.columns where table_name = 'items'"))
    wanted = {"id": "bigint", "price": "numeric", "fine": "boolean", "changed": "timestamp with time zone"}
    assert {name: types[name] for name in wanted} == wanted
    tables = postgres.rows("select table_name from information_schema.tables where table_schema = 'shop' order by 1")
    assert tables == [("_millrace_commits",), ("items",)]


def test_adbc_postgresql_replaces(run: Run, workdir: Path, postgres: Postgres) -> None:
    driver = ADBC_POSTGRES.library("libadbc_driver_postgresql.so")
    manifest = adbc(workdir, driver, "overwrite", postgres.url, "items")
    for rows in (items(100), items(60, name="again"), []):
        write_rows(workdir / "rows.ndjson", rows)
        run(manifest)
        assert read(postgres, "items") == values(rows)


@pytest.mark.parametrize(("failpoint", "mode"), sampled(CRASHES, ("upsert", "append")))
def test_adbc_postgresql_after_a_crash(failpoint: str, mode: str, run: Run, workdir: Path, postgres: Postgres) -> None:
    driver = ADBC_POSTGRES.library("libadbc_driver_postgresql.so")
    manifest = adbc(workdir, driver, mode, postgres.url, "items")
    for count in (40, 70):
        write_rows(workdir / "rows.ndjson", items(count))
        run(manifest, env={"MILLRACE_FAILPOINT": failpoint}, check=False)
    write_rows(workdir / "rows.ndjson", items(90))

    run(manifest)

    assert read(postgres, "items") == values(items(90))
    tables = postgres.rows("select table_name from information_schema.tables where table_schema = 'public' order by 1")
    assert tables == [("_millrace_commits",), ("items",)]


@pytest.mark.usefixtures("whole")
@pytest.mark.parametrize("mode", ["upsert", "append", "overwrite"])
def test_adbc_duckdb(mode: str, run: Run, workdir: Path) -> None:
    manifest = written_manifest(
        workdir,
        "adbc",
        {"driver": str(duckdb_library()), "entrypoint": "duckdb_adbc_init"},
        mode,
        connection={"path": str(workdir / "shop.duckdb")},
        streams=keyed("items", schema=DECLARED),
    )
    write_rows(workdir / "rows.ndjson", items(300))
    expect(run(manifest).stream("items"), read=300, inserted=300)
    assert in_duckdb(workdir / "shop.duckdb") == values(items(300))
    changed = [{**row, "version": row["id"] + 300, "name": "new"} for row in items(10)]
    write_rows(workdir / "rows.ndjson", [*changed, *items(20, 500)])

    for _ in range(2):
        run(manifest)
        before = {"upsert": items(300)[10:], "append": items(300), "overwrite": []}[mode]
        assert in_duckdb(workdir / "shop.duckdb") == values([*changed, *before, *items(20, 500)])


def test_adbc_sqlite(run: Run, workdir: Path) -> None:
    driver = ADBC_SQLITE.library("libadbc_driver_sqlite.so")
    manifest = adbc(workdir, driver, "upsert", f"file:{workdir}/shop.db", "items")
    write_rows(workdir / "rows.ndjson", items(300))
    expect(run(manifest).stream("items"), read=300, inserted=300)
    write_rows(workdir / "rows.ndjson", items(30, 290))
    # A delta of the versions behind the last.
    expect(run(manifest).stream("items"), read=19, inserted=19)
    with closing(sqlite3.connect(workdir / "shop.db")) as database:
        found = database.execute("select id, version, name, price, fine from items order by id").fetchall()
    assert [(*row[:3], Decimal(row[3]), bool(row[4])) for row in found] == [row[:5] for row in values(items(319))]
