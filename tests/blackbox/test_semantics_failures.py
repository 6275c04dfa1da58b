"""Promises about the failure of readers and writers: lines 19 to 21 of the semantics."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from harness import Millrace, Postgres, Result, csv_source, duck, file_source
from kit import (
    FileSink,
    Sink,
    customers,
    expect,
    killed,
    memory_limit_kib,
    postgres_source,
    same_rows,
    wait_until,
    write_table,
)

Run = Callable[..., Result]
Manifest = Callable[..., Path]


def test_19_a_wrong_setting_is_not_tried_again(run: Run, manifest: Manifest, postgres: Postgres, files: FileSink) -> None:
    source = postgres_source(postgres, "public.absent")
    before = sessions(postgres)

    refused = run(manifest(source=source, destination=files.spec()), check=False)

    assert refused.returncode == 2, str(refused)
    assert "public.absent" in refused.stderr
    # The server counts a session once it has ended.
    assert wait_until(lambda: sessions(postgres) - before) == 1


def sessions(postgres: Postgres) -> int:
    """How many sessions this database has had."""
    return int(postgres.rows("select sessions from pg_stat_database where datname = current_database()")[0][0])


def test_19_what_is_out_of_reach_is_tried_again_and_then_told(
    run: Run, manifest: Manifest, postgres: Postgres, files: FileSink
) -> None:
    source = postgres_source(postgres, "public.items", connection={"port": 1, "connectTimeout": "1s"})
    started = time.monotonic()

    failed = run(manifest(source=source, destination=files.spec()), check=False)

    assert failed.returncode == 1, str(failed)
    assert time.monotonic() - started > 0.5
    assert "127.0.0.1" in failed.stderr or str(postgres.spec["host"]) in failed.stderr


def test_19_a_passing_fault_is_retried_and_nothing_shows(
    run: Run, workdir: Path, manifest: Manifest, sink: Sink
) -> None:
    source = write_table(customers(100), workdir / "customers.csv")
    flow = manifest(source=csv_source(source, primary_key=["id"]), destination=sink.spec())

    once = run(flow, env={"MILLRACE_FAILPOINT": "stage.finish=error"})

    expect(once.stream("customers"), read=100, inserted=100)
    assert "again" in once.stderr
    same_rows(sink.table(flow, "customers"), customers(100))


@pytest.mark.parametrize("failpoint", ["stage.write", "commit.before"])
def test_19_a_panic_stops_the_load_and_says_where(
    failpoint: str, run: Run, workdir: Path, manifest: Manifest, sink: Sink
) -> None:
    source = write_table(customers(100), workdir / "customers.csv")
    flow = manifest(source=csv_source(source, primary_key=["id"]), destination=sink.spec())

    failed = run(flow, env={"MILLRACE_FAILPOINT": f"{failpoint}=panic"}, check=False)

    assert failed.returncode not in (0, 77), str(failed)
    assert "panic" in failed.stderr and ".rs:" in failed.stderr
    expect(run(flow).stream("customers"), read=100, inserted=100)
    same_rows(sink.table(flow, "customers"), customers(100))


def test_20_one_stream_fails_alone(run: Run, manifest: Manifest, postgres: Postgres, sink: Sink) -> None:
    for name in ("users", "orders", "carts"):
        postgres.execute(f"create table {name} as select n as id, n as v from generate_series(1, 50) n")
    # The schema declares what one of the tables does not have.
    source = postgres_source(postgres, "public.users", "public.orders", "public.carts", primaryKey=["id"])
    source["streams"][1]["schema"] = [
        {"name": "id", "logicalType": "integer"},
        {"name": "missing", "logicalType": "integer", "required": True},
    ]
    destination = sink.spec()
    if sink.name == "postgres":
        destination["connection"]["schema"] = "lake"
    flow = manifest(source=source, destination=destination)

    failed = run(flow, check=False)

    assert failed.returncode == 1, str(failed)
    assert "public.orders" in failed.stderr and "missing" in failed.stderr
    for name in ("users", "carts"):
        expect(failed.stream(f"public.{name}"), read=50, inserted=50)
    assert failed.stream("public.orders")["outcome"] == "failed"
    del source["streams"][1]["schema"]
    manifest(source=source, destination=destination)
    mended = run(flow)
    expect(mended.stream("public.orders"), read=50, inserted=50)
    expect(mended.stream("public.users"), read=50, unchanged=50)


@pytest.mark.parametrize("damaged", [b"no Parquet at all", b""], ids=["none", "empty"])
def test_20_a_damaged_file_fails_its_own_stream(
    damaged: bytes, run: Run, manifest: Manifest, millrace: Millrace, workdir: Path, files: FileSink
) -> None:
    for name in ("users", "carts"):
        write_table(customers(50), workdir / "in" / f"{name}.parquet")
    (workdir / "in" / "orders.parquet").write_bytes(damaged)
    source = file_source(workdir / "in" / "{stream}.parquet", "parquet")
    source["streams"] = [{"match": ".*", "primaryKey": ["id"]}]
    flow = manifest(source=source, destination=files.spec())

    failed = run(flow, check=False)

    assert failed.returncode == 1, str(failed)
    assert failed.stream("orders")["outcome"] == "failed" and "orders.parquet" in failed.stderr
    for name in ("users", "carts"):
        expect(failed.stream(name), read=50, inserted=50)
    found = millrace("discover", flow, check=False)
    assert found.returncode == 1 and "stream orders" in found.stderr, str(found)
    assert "users" in found.stdout and "orders" not in found.stdout
    checked = millrace("validate", flow, "--connect", check=False)
    assert checked.returncode != 0 and "orders.parquet" in checked.stderr, str(checked)


def test_20_the_next_run_reads_only_what_is_missing(
    run: Run, manifest: Manifest, postgres: Postgres, files: FileSink
) -> None:
    postgres.execute("create table items (id bigint primary key, version bigint not null)")
    postgres.execute("insert into items select n, n from generate_series(1, 1000) n")
    source = postgres_source(postgres, "public.items", cursorField="version")
    flow = manifest(source=source, destination=files.spec())
    run(flow)
    postgres.execute("insert into items select n, n from generate_series(1001, 1100) n")
    assert killed(run(flow, env={"MILLRACE_FAILPOINT": "commit.after"}, check=False))
    postgres.execute("insert into items values (1101, 1101)")

    counts = run(flow).stream("public.items")

    assert counts["load"] == "delta" and counts["read"] <= 2 and counts["inserted"] == 1, counts


@pytest.mark.parametrize("buffer", [1, 17, 102_400])
def test_21_buffers_block_and_drop_nothing(
    buffer: int, run: Run, workdir: Path, manifest: Manifest, files: FileSink
) -> None:
    rows = customers(60_000)
    for part in range(6):
        write_table(rows.slice(part * 10_000, 10_000), workdir / "in" / f"{part}.csv")
    source = csv_source(workdir / "in" / "*.csv", name="in", primary_key=["id"])
    source |= {"bufferLength": buffer, "concurrency": 4}
    flow = manifest(source=source, destination=files.spec())

    expect(run(flow).stream("in"), read=60_000, inserted=60_000)

    same_rows(files.table(flow, "in"), rows)


@pytest.mark.parametrize("concurrency", [1, 2, 8])
def test_21_order_per_key_is_kept_at_any_concurrency(
    concurrency: int, run: Run, workdir: Path, manifest: Manifest, sink: Sink
) -> None:
    for part in range(8):
        path = workdir / "in" / f"{part}.csv"
        path.parent.mkdir(exist_ok=True)
        path.write_text("id,version\n" + "".join(f"{id},{part * 10 + id % 3}\n" for id in range(2000)))
    source = csv_source(workdir / "in" / "*.csv", name="in", primary_key=["id"]) | {"concurrency": concurrency}
    flow = manifest(source=source, destination=sink.spec())

    expect(run(flow).stream("in"), read=16_000, inserted=2000, superseded=14_000)

    wrong = duck("select count(*) from t where version <> 70 + id % 3", t=sink.table(flow, "in"))
    assert wrong == [(0,)]


def test_21_two_flows_on_one_source_are_independent(
    run: Run, workdir: Path, manifest: Manifest, files: FileSink, millrace: Millrace
) -> None:
    source = write_table(customers(100), workdir / "customers.csv")
    plain = manifest("plain", source=csv_source(source, primary_key=["id"]), destination=files.spec())
    other = FileSink(files.lake, str(workdir / "upper"))
    flow = {
        "apiVersion": "millrace.dev/v1alpha1",
        "kind": "Flow",
        "metadata": {"name": "upper"},
        "spec": {
            "source": {"name": "plain"},
            "destination": {**other.spec(), "connector": {"name": "file"}},
            "transforms": [{"sql": "select id, upper(name) as name from input where id > 50"}],
        },
    }
    plain.write_text(plain.read_text() + "---\n" + yaml.safe_dump(flow))

    report = run(plain).json

    assert [f["name"] for f in report["flows"]] == ["plain", "upper"]
    assert [f["streams"][0]["inserted"] for f in report["flows"]] == [100, 50]
    same_rows(files.table(plain, "customers"), customers(100))
    paths = other.lake.files(plain, "upper")
    rows = duck(f"select count(*), min(id), max(name) from read_parquet({paths})")
    assert rows == [(50, 51, "CUSTOMER 99")]


def test_21_memory_is_bounded(millrace: Millrace, manifest: Manifest, files: FileSink, workdir: Path) -> None:
    # 1.5 million rows, some 90 MB, of which not a quarter may be held at once.
    path = workdir / "wide.csv"
    text = "x" * 40
    with path.open("w") as file:
        file.write("id,text\n")
        for start in range(0, 1_500_000, 50_000):
            file.write("".join(f"{id},{text}{id}\n" for id in range(start, start + 50_000)))
    flow = manifest(source=csv_source(path), destination=files.spec("overwrite"))
    program = millrace.start("run", flow, "--output", "json")
    peak = 0
    while program.poll() is None:
        peak = max(peak, memory_limit_kib(program))
        time.sleep(0.02)
    assert program.returncode == 0, program.communicate()
    assert files.table(flow, "wide").num_rows == 1_500_000
    assert 0 < peak < 400 * 1024, peak
