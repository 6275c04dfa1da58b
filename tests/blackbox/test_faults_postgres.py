"""Faults of PostgreSQL as source and as destination: lost connections, restarts, locks, late transactions."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from faultproxy import PostgresProxy
from harness import Millrace, Postgres, Result, csv_source, file_source
from kit import (
    FENCED,
    FileSink,
    PostgresSink,
    Sink,
    adds_up,
    customers,
    edited,
    expect,
    postgres_source,
    resume,
    same_rows,
    stopped,
    wait_until,
    write_table,
)
from servers import ground

Run = Callable[..., Result]
Manifest = Callable[..., Path]
FULL = bool(os.environ.get("MILLRACE_FULL"))


@pytest.fixture
def table(postgres: Postgres, environment: dict[str, str]) -> PostgresSink:
    environment.update(postgres.env)
    return PostgresSink(postgres)


def near(sink: PostgresSink, port: int, mode: str = "upsert", **connection: Any) -> dict[str, Any]:
    """The destination through a proxy."""
    spec = sink.spec(mode)
    spec["connection"] |= {"host": "127.0.0.1", "port": port, "sslMode": "disable", **connection}
    return spec


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("nth", range(1, 9) if FULL else (1, 2, 3))
@pytest.mark.parametrize("mode", ["upsert", "append", "overwrite"] if FULL else ["upsert", "overwrite"])
def test_f49_a_connection_cut_at_its_commit_loses_and_repeats_nothing(
    moment: Any, nth: int, mode: str, run: Run, workdir: Path, manifest: Manifest, table: PostgresSink
) -> None:
    rows = customers(300)
    source = write_table(rows, workdir / "customers.csv")
    spec = csv_source(source, primary_key=["id"])
    flow = manifest(source=spec, destination=table.spec(mode))
    run(flow)
    changed, count = edited(rows, 10)
    write_table(changed, source)
    info = table.postgres.connection.info
    with PostgresProxy(info.host, info.port, moment, nth) as proxy:
        manifest(source=spec, destination=near(table, proxy.port, mode))
        result = run(flow, check=False)

    # The program finds out by itself whether it was applied, or stops in the open and the next run does.
    assert result.returncode in (0, 1), str(result)
    if result.returncode == 0:
        adds_up(result.stream("customers"))
    manifest(source=spec, destination=table.spec(mode))
    run(flow)
    if mode == "append":
        assert table.table(flow, "customers").num_rows == 300 + 3 * count
    else:
        same_rows(table.table(flow, "customers"), changed)
    before = table.fingerprint(flow, "customers")
    again = run(flow).stream("customers")
    assert (again["inserted"], again["updated"], again["deleted"]) == (0, 0, 0) or mode == "overwrite"
    assert mode == "overwrite" or table.fingerprint(flow, "customers") == before


def test_f49_a_backend_that_is_killed_within_the_load_is_no_loss(
    millrace: Millrace, run: Run, workdir: Path, manifest: Manifest, table: PostgresSink
) -> None:
    rows = customers(300)
    source = write_table(rows, workdir / "customers.csv")
    flow = manifest(source=csv_source(source, primary_key=["id"]), destination=table.spec())
    run(flow)
    rows, _ = edited(rows, 10)
    write_table(rows, source)
    env = {**table.postgres.env, "MILLRACE_FAILPOINT": "commit.before=stop"}
    program = millrace.start("run", flow, "--output", "json", env=env)
    wait_until(lambda: stopped(program))
    table.postgres.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity "
        "where datname = current_database() and pid <> pg_backend_pid()"
    )

    result = resume(program)

    assert result.returncode in (0, 1), str(result)
    run(flow)
    same_rows(table.table(flow, "customers"), rows)


@pytest.mark.alone
def test_f49_a_restart_of_the_server_ends_in_a_retry_or_a_clear_stop(
    millrace: Millrace, run: Run, workdir: Path, manifest: Manifest, table: PostgresSink
) -> None:
    rows = customers(300)
    source = write_table(rows, workdir / "customers.csv")
    flow = manifest(source=csv_source(source, primary_key=["id"]), destination=table.spec())
    run(flow)
    rows, _ = edited(rows, 10)
    write_table(rows, source)
    env = {**table.postgres.env, "MILLRACE_FAILPOINT": "stage.finish=stop"}
    program = millrace.start("run", flow, "--output", "json", env=env)
    wait_until(lambda: stopped(program))
    subprocess.run([ground("MILLRACE_TEST_PGCTL"), "restart", "-m", "immediate"], check=True)

    result = resume(program)

    assert result.returncode in (0, 1), str(result)
    table.postgres.connection = psycopg.connect(table.postgres.url, autocommit=True)
    run(flow)
    same_rows(table.table(flow, "customers"), rows)
    table.postgres.connection.close()


def test_f49_a_destination_without_the_last_commit_is_noticed(
    run: Run, workdir: Path, manifest: Manifest, table: PostgresSink
) -> None:
    rows = customers(300)
    source = write_table(rows, workdir / "customers.csv")
    flow = manifest(source=csv_source(source, primary_key=["id"]), destination=table.spec())
    run(flow)
    # As a replica that took over before the second commit reached it.
    saved = table.postgres.rows("select row_to_json(s)::text from millrace_state s")
    write_table(edited(rows, 10)[0], source)
    run(flow)
    table.postgres.execute("delete from millrace_state")
    table.postgres.execute(
        "insert into millrace_state select * from json_populate_record(null::millrace_state, %s::json)", saved[0][0]
    )

    diverged = run(flow, check=False)

    assert diverged.returncode == 3 and "StateDiverged" in str(diverged), str(diverged)


@pytest.mark.parametrize("mode", ["upsert", "append", "overwrite"])
@pytest.mark.parametrize("what", ["drop table customers", "truncate customers"])
def test_f49_a_table_that_was_dropped_or_emptied_is_noticed_and_after_a_reset_made_anew(
    mode: str,
    what: str,
    run: Run,
    millrace: Millrace,
    environment: dict[str, str],
    workdir: Path,
    manifest: Manifest,
    table: PostgresSink,
) -> None:
    rows = customers(4)
    source = write_table(rows, workdir / "customers.csv")
    flow = manifest(source=csv_source(source, primary_key=["id"]), destination=table.spec(mode))
    run(flow)
    table.postgres.execute(what)

    for change in (False, True):
        if change:
            edit = rows.to_pylist()
            edit[0]["amount"] += 1
            rows = pa.Table.from_pylist(edit, schema=rows.schema)
            write_table(rows, source)
        for load in ((), ("--full",)):
            diverged = run(flow, *load, check=False)
            assert diverged.returncode == 3, str(diverged)
            assert "StateDiverged" in str(diverged) and "state reset" in str(diverged), str(diverged)
            assert "customers" in str(diverged), str(diverged)
    # Nothing was made or written meanwhile.
    there = table.postgres.rows("select to_regclass('customers') is not null")[0][0]
    assert there == what.startswith("truncate")
    assert not there or table.postgres.rows("select count(*) from customers") == [(0,)]

    millrace("state", "reset", "lake", flow, "--stream", "customers", env=environment)
    expect(run(flow).stream("customers"), read=4, inserted=4)

    same_rows(table.table(flow, "customers"), rows)
    expect(run(flow, "--full").stream("customers"), read=4, unchanged=4)
    same_rows(table.table(flow, "customers"), rows)


def test_f49_a_table_that_never_had_a_row_is_not_taken_for_an_emptied_one(
    run: Run, workdir: Path, manifest: Manifest, table: PostgresSink
) -> None:
    source = write_table(customers(0), workdir / "customers.parquet")
    flow = manifest(source=file_source(source, "parquet", primary_key=["id"]), destination=table.spec())
    for _ in range(2):
        run(flow, "--full")
    rows = customers(4)
    write_table(rows, source)
    expect(run(flow, "--full").stream("customers"), read=4, inserted=4)
    write_table(customers(0), source)
    expect(run(flow, "--full", "--allow-deletes").stream("customers"), read=0, deleted=4)
    run(flow, "--full")
    write_table(rows, source)
    expect(run(flow, "--full").stream("customers"), read=4, inserted=4)
    same_rows(table.table(flow, "customers"), rows)


def test_f50_an_idle_transaction_on_the_fence_row_is_waited_for_but_not_for_ever(
    run: Run, workdir: Path, manifest: Manifest, table: PostgresSink
) -> None:
    rows = customers(300)
    source = write_table(rows, workdir / "customers.csv")
    spec = csv_source(source, primary_key=["id"])
    info = table.postgres.connection.info
    flow = manifest(source=spec, destination=near(table, info.port, host=info.host, lockTimeout="1s"))
    run(flow)
    rows, _ = edited(rows, 10)
    write_table(rows, source)
    with table.postgres.connect() as zombie:
        zombie.execute("select * from millrace_state for update")
        started = time.monotonic()
        # Not for ever: the run ends before the harness ends it.
        waited = run(flow, check=False)
        assert waited.returncode == 1, str(waited)
        assert time.monotonic() - started > 0.9
        assert "lock" in waited.stderr
        zombie.rollback()

    run(flow)
    same_rows(table.table(flow, "customers"), rows)


def test_f50_a_lock_that_is_given_back_in_time_is_waited_for(
    run: Run, workdir: Path, manifest: Manifest, table: PostgresSink
) -> None:
    rows = customers(300)
    source = write_table(rows, workdir / "customers.csv")
    flow = manifest(source=csv_source(source, primary_key=["id"]), destination=table.spec())
    run(flow)
    rows, _ = edited(rows, 10)
    write_table(rows, source)
    with table.postgres.connect() as other:
        other.execute("select * from millrace_state for update")
        threading.Timer(2, other.rollback).start()

        assert run(flow).returncode == 0

    same_rows(table.table(flow, "customers"), rows)


def test_f45_a_row_that_commits_late_is_in_the_next_delta(
    run: Run, manifest: Manifest, postgres: Postgres, files: FileSink
) -> None:
    postgres.execute("create table items (id int primary key, at timestamptz not null default now())")
    source = postgres_source(postgres, "public.items", cursorField="at", connection={"lateMargin": "0s"})
    flow = manifest(source=source, destination=files.spec())
    run(flow)
    with postgres.connect() as late, postgres.connect() as later:
        late.execute("insert into items values (1)")
        postgres.execute("insert into items values (2)")
        run(flow)
        later.execute("insert into items values (3)")
        run(flow)
        late.commit()
        postgres.execute("insert into items values (4)")
        run(flow)
        later.commit()
    run(flow)

    assert sorted(row["id"] for row in files.table(flow, "public.items").to_pylist()) == [1, 2, 3, 4]


@pytest.mark.parametrize("cursor", ["timestamptz not null default now()", "bigint not null default nextval('s')"])
def test_f45_a_prepared_transaction_is_waited_for(
    cursor: str, run: Run, manifest: Manifest, postgres: Postgres, files: FileSink
) -> None:
    postgres.execute("create sequence s")
    postgres.execute(f"create table items (id int primary key, at {cursor})")
    source = postgres_source(postgres, "public.items", cursorField="at", connection={"lateMargin": "0s"})
    flow = manifest(source=source, destination=files.spec())
    run(flow)
    with postgres.connect() as other:
        other.execute("insert into items values (1)")
        other.execute(f"prepare transaction '{postgres.spec['database']}'")
    try:
        postgres.execute("insert into items values (2)")
        run(flow)
        run(flow)
    finally:
        postgres.execute(f"commit prepared '{postgres.spec['database']}'")
    postgres.execute("insert into items values (3)")
    run(flow)
    run(flow)

    assert sorted(row["id"] for row in files.table(flow, "public.items").to_pylist()) == [1, 2, 3]


def test_f46_equal_null_and_fine_cursors_lose_nothing(
    run: Run, manifest: Manifest, postgres: Postgres, files: FileSink
) -> None:
    postgres.execute("create table items (id int primary key, at timestamptz)")
    connection = {"lateMargin": "0s", "batchRows": 100}
    source = postgres_source(postgres, "public.items", cursorField="at", connection=connection)
    flow = manifest(source=source, destination=files.spec("append"))
    # A thousand of one moment, the two sides of a clock that is set back, a leap second, and none.
    postgres.execute("insert into items select n, '2026-01-01' from generate_series(1, 1000) n")
    run(flow)
    postgres.execute("insert into items select n, '2026-01-01' from generate_series(1001, 2000) n")
    for number, at in enumerate(["2026-10-25 00:59:60Z", "2026-10-25 01:00:00.0000005Z", "2026-10-25 01:00:00.000001Z"]):
        postgres.execute("insert into items values (%s, %s)", 3000 + number, at)
    run(flow)
    postgres.execute("insert into items values (4000, null)")
    run(flow)
    run(flow, "--full")

    found = [row["id"] for row in files.table(flow, "public.items").to_pylist()]
    assert sorted(found) == [id for (id,) in postgres.rows("select id from items order by id")]


@pytest.mark.parametrize("failpoint", ["stage.write", "stage.finish"])
def test_f47_a_source_that_goes_away_in_a_full_load_leaves_the_old_data_whole(
    failpoint: str, millrace: Millrace, run: Run, manifest: Manifest, postgres: Postgres, sink: Sink
) -> None:
    postgres.execute("create table items as select n as id, 'old' as v from generate_series(1, 5000) n")
    destination = sink.spec("overwrite")
    if sink.name == "postgres":
        destination["connection"] |= {"schema": "lake", "table": "{stream}"}
    source = postgres_source(postgres, "public.items", primaryKey=["id"], connection={"batchRows": 100})
    flow = manifest(source=source, destination=destination)
    run(flow)

    def look() -> list[tuple[Any, ...]]:
        if sink.name == "postgres":
            return postgres.rows('select count(*), min(v), max(v) from lake."public_items"')
        found = sink.table(flow, "public.items").to_pylist()
        return [(len(found), min(row["v"] for row in found), max(row["v"] for row in found))]

    assert look() == [(5000, "old", "old")]
    postgres.execute("update items set v = 'new'")
    env = {**postgres.env, "MILLRACE_FAILPOINT": f"{failpoint}=stop"}
    program = millrace.start("run", flow, env=env)
    wait_until(lambda: stopped(program))
    assert look() == [(5000, "old", "old")]
    # Its transactions hold the table.
    postgres.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity "
        "where datname = current_database() and pid <> pg_backend_pid()"
    )
    postgres.execute("alter table items rename to gone")

    ended = resume(program)

    assert ended.returncode != FENCED
    # What was read whole before the source went away may be committed; a half never.
    assert look() in ([(5000, "old", "old")], [(5000, "new", "new")])
    postgres.execute("alter table gone rename to items")
    run(flow)
    assert look() == [(5000, "new", "new")]


def test_f48_a_reload_of_one_table_touches_no_other(
    run: Run, manifest: Manifest, postgres: Postgres, files: FileSink
) -> None:
    names = [f"t{n}" for n in range(8)]
    for name in names:
        postgres.execute(f"create table {name} (id int primary key, version bigint)")
        postgres.execute(f"insert into {name} select n, n from generate_series(1, 20) n")
    streams = [f"public.{name}" for name in names]
    flow = manifest(source=postgres_source(postgres, *streams, cursorField="version"), destination=files.spec())
    run(flow)
    before = {stream: files.fingerprint(flow, stream) for stream in streams}
    postgres.execute("delete from t3 where id = 1")
    postgres.execute("delete from t4 where id = 1")

    report = run(flow, "--full", "--stream", "public.t3").json

    assert [stream["name"] for flow_ in report["flows"] for stream in flow_["streams"]] == ["public.t3"]
    touched = [stream for stream in streams if files.fingerprint(flow, stream) != before[stream]]
    assert touched == ["public.t3"]
    expect(run(flow, "--full", "--stream", "public.t4").stream("public.t4"), read=19, unchanged=19, deleted=1, absent=1)
