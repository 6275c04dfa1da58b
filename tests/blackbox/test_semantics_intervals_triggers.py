"""Promises about intervals and triggers, through the runner that watches: lines 12 to 15 of the semantics."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import harness
import kit
import pytest
import yaml
from harness import Millrace, Postgres, Spec
from kit import FileSink, Watch, customers, postgres_source, same_rows, ticks, wait_until, write_table

Manifest = Callable[..., Path]
Watching = Callable[..., Watch]


@pytest.fixture
def watching(millrace: Millrace, environment: dict[str, str]) -> Iterator[Watching]:
    """`watching(manifest)`: the program, which runs on and watches its manifest."""

    def begin(*args: str | Path, env: dict[str, str] | None = None) -> Watch:
        return kit.watch(millrace, *args, env={**environment, **(env or {})})

    yield begin


def annotate(manifest: Path, kind: str = "Flow", **annotations: str | None) -> None:
    """Sets annotations of one resource in a manifest, as a person edits the file; None takes one away."""
    documents: list[Spec] = list(yaml.safe_load_all(manifest.read_text()))
    for document in documents:
        if document["kind"] == kind:
            found = document["metadata"].setdefault("annotations", {})
            found |= {f"millrace.dev/{name}": value for name, value in annotations.items()}
            document["metadata"]["annotations"] = {k: v for k, v in found.items() if v is not None}
    change(manifest, documents)


def suspend(manifest: Path, suspended: bool) -> None:
    documents = list(yaml.safe_load_all(manifest.read_text()))
    documents[-1]["spec"]["suspend"] = suspended
    change(manifest, documents)


def change(manifest: Path, documents: list[Spec]) -> None:
    """Replaces the file as editors do: whoever reads it sees the old or the new."""
    new = manifest.with_name(f".{manifest.name}.new")
    new.write_text(yaml.safe_dump_all(documents, sort_keys=False))
    new.replace(manifest)


def items(postgres: Postgres, *names: str) -> None:
    for name in names or ("items",):
        postgres.execute(f"create table {name} (id bigint primary key, version bigint not null)")
        postgres.execute(f"insert into {name} select n, n from generate_series(1, 10) n")


def waiting(postgres: Postgres) -> int:
    """How many sessions wait for a lock."""
    sql = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    return int(postgres.rows(sql)[0][0])


def shows(millrace: Millrace, flow: Path, *texts: str) -> None:
    """Waits until `status` shows all of these."""
    wait_until(lambda: all(text in millrace("status", flow).stdout for text in texts), what=f"status: {texts}")


def cursor_source(postgres: Postgres, *streams: str, **spec: Any) -> Spec:
    # A test holds the lock of a table while it looks at what waits for it.
    patient = {"lockTimeout": "600s"}
    return {**postgres_source(postgres, *streams, cursorField="version", connection=patient), **spec}


def test_12_deltas_come_by_interval_after_one_full_load(
    watching: Watching, manifest: Manifest, postgres: Postgres, files: FileSink
) -> None:
    items(postgres)
    source = cursor_source(postgres, "public.items", deltaLoadInterval="2s", fullLoadInterval="24h")
    flow = manifest(source=source, destination=files.spec())
    begun = time.monotonic()
    program = watching(flow)
    program.wait("public.items", 1)
    postgres.execute("insert into items values (11, 11)")

    program.wait("public.items", 5)

    loads = program.loads("public.items")
    assert len(loads) <= ticks(begun, 2), loads
    assert [load["load"] for load in loads] == ["full"] + ["delta"] * (len(loads) - 1)
    assert sum(load["inserted"] for load in loads) == 11
    assert program.end() == 0


def test_12_a_restart_brings_a_delta_and_no_full_load(
    watching: Watching, manifest: Manifest, postgres: Postgres, files: FileSink
) -> None:
    items(postgres)
    source = cursor_source(postgres, "public.items", deltaLoadInterval="2s", fullLoadInterval="24h")
    flow = manifest(source=source, destination=files.spec())
    first = watching(flow)
    first.wait("public.items", 2)
    first.process.kill()
    first.process.wait()
    postgres.execute("insert into items values (11, 11)")

    again = watching(flow)
    loads = again.wait("public.items", 2)

    assert [load["load"] for load in loads] == ["delta", "delta"]
    assert loads[0]["inserted"] + loads[1]["inserted"] == 1


def test_12_loads_of_one_stream_do_not_overlap_and_missed_ticks_do_not_pile_up(
    watching: Watching, manifest: Manifest, postgres: Postgres, files: FileSink
) -> None:
    items(postgres)
    source = cursor_source(postgres, "public.items", deltaLoadInterval="1s")
    flow = manifest(source=source, destination=files.spec())
    program = watching(flow)
    program.wait("public.items", 2)
    with postgres.connect() as lock:
        lock.execute("lock table items in access exclusive mode")
        wait_until(lambda: waiting(postgres) > 0, what="a load that waits for the lock")
        # Several ticks pass while one load waits; what had ended before it was told by then.
        time.sleep(2)
        during = len(program.loads("public.items"))
        time.sleep(6)
        assert waiting(postgres) == 1
        assert len(program.loads("public.items")) == during
        begun = time.monotonic()
        lock.commit()
    program.wait("public.items", during + 3)

    after = len(program.loads("public.items")) - during
    assert after <= ticks(begun, 1), after


def test_12_there_is_one_tick_an_interval_after_a_failure(
    watching: Watching, manifest: Manifest, postgres: Postgres, files: FileSink
) -> None:
    items(postgres)
    source = cursor_source(postgres, "public.items", deltaLoadInterval="2s")
    flow = manifest(source=source, destination=files.spec())
    program = watching(flow)
    program.wait("public.items", 1)
    begun = time.monotonic()
    postgres.execute("alter table items rename to away")

    def failed() -> int:
        """How many loads failed, as a whole or in their stream."""
        flows = [flow for report in list(program.reports) for flow in report["flows"]]
        return sum("error" in flow or any("error" in stream for stream in flow["streams"]) for flow in flows)

    wait_until(lambda: failed() > 3)
    assert failed() <= ticks(begun, 2), program.reports
    postgres.execute("alter table away rename to items")
    postgres.execute("insert into items values (11, 11)")

    wait_until(lambda: sum(load.get("inserted", 0) for load in program.loads("public.items")) == 11)
    assert program.process.poll() is None


def test_13_a_trigger_runs_once(
    watching: Watching, workdir: Path, manifest: Manifest, files: FileSink, millrace: Millrace
) -> None:
    source = write_table(customers(20), workdir / "customers.csv")
    flow = manifest(source=harness.csv_source(source, primary_key=["id"]), destination=files.spec())
    program = watching(flow)
    program.wait("customers", 1)

    annotate(flow, full_load="first")
    program.wait("customers", 2)
    annotate(flow, full_load="first", description="nothing to do with it")
    time.sleep(3)
    assert len(program.loads("customers")) == 2
    annotate(flow, full_load="second")
    program.wait("customers", 3)
    time.sleep(2)

    assert len(program.loads("customers")) == 3
    status = millrace("status", flow).stdout
    assert "first" in status and "second" in status, status


def test_13_a_trigger_during_a_load_runs_once_after_it_and_waiting_ones_join(
    watching: Watching, manifest: Manifest, postgres: Postgres, files: FileSink, millrace: Millrace
) -> None:
    items(postgres)
    flow = manifest(
        source=cursor_source(postgres, "public.items"), destination=files.spec()
    )
    program = watching(flow)
    program.wait("public.items", 1)
    with postgres.connect() as lock:
        lock.execute("lock table items in access exclusive mode")
        annotate(flow, full_load="token-a")
        wait_until(lambda: waiting(postgres) > 0, what="a load that waits for the lock")
        # An annotation that is set again before it was seen was never set.
        for token in ("token-b", "token-c"):
            annotate(flow, full_load=token)
            shows(millrace, flow, token)
        annotate(flow, kind="Source", full_load="token-d")
        shows(millrace, flow, "token-d")
        lock.commit()
    program.wait("public.items", 3)
    time.sleep(3)

    assert [load["load"] for load in program.loads("public.items")] == ["full"] * 3
    status = millrace("status", flow).stdout
    assert all(f"token-{letter}" in status for letter in "abcd"), status


def test_f41_a_trigger_survives_a_crash_of_its_load(
    watching: Watching, workdir: Path, manifest: Manifest, files: FileSink, millrace: Millrace
) -> None:
    source = write_table(customers(20), workdir / "customers.csv")
    flow = manifest(source=harness.csv_source(source, primary_key=["id"]), destination=files.spec())
    first = watching(flow)
    first.wait("customers", 1)
    first.process.kill()
    first.process.wait()
    # The load that the trigger asks for dies; the token is neither lost nor run twice.
    dying = watching(flow, env={"MILLRACE_FAILPOINT": "commit.before"})
    dying.wait("customers", 1)
    write_table(customers(30), source)
    annotate(flow, full_load="token-9")
    wait_until(lambda: dying.process.poll() is not None, what="the worker dies in its load")

    again = watching(flow)
    wait_until(lambda: sum(load["inserted"] for load in again.loads("customers")) == 10)

    def lines() -> list[str]:
        return [line for line in millrace("status", flow).stdout.splitlines() if "token-9" in line]

    wait_until(lambda: any("Succeeded" in line for line in lines()), what="the end of what the token asks for")
    time.sleep(2)

    # One as it starts, and one by the token.
    assert len(again.loads("customers")) <= 2
    (line,) = lines()
    assert "Succeeded" in line, line
    same_rows(files.table(flow, "customers"), customers(30))


def test_f42_a_manifest_changed_a_hundred_times_runs_as_it_is_last(
    watching: Watching, workdir: Path, manifest: Manifest, files: FileSink
) -> None:
    source = write_table(customers(20), workdir / "customers.csv")
    flow = manifest(source=harness.csv_source(source, primary_key=["id"]), destination=files.spec())
    program = watching(flow)
    program.wait("customers", 1)
    documents = list(yaml.safe_load_all(flow.read_text()))
    begun = time.monotonic()
    for number in range(100):
        documents[-1]["spec"]["transforms"] = [{"sql": f"select id, name, {number} as version from input"}]
        change(flow, documents)
        time.sleep(0.01)
    annotate(flow, full_load="after-all")

    wait_until(lambda: set(files.table(flow, "customers").to_pydict().get("version", [])) == {99})
    assert program.process.poll() is None
    # It looks for changes three times a second: what it has not seen it cannot run.
    assert len(program.loads("customers")) <= ticks(begun, 0.3)


def test_14_a_token_set_while_suspended_waits_and_shows(
    watching: Watching, workdir: Path, manifest: Manifest, files: FileSink, millrace: Millrace
) -> None:
    source = write_table(customers(20), workdir / "customers.csv")
    flow = manifest(source=harness.csv_source(source, primary_key=["id"]), destination=files.spec())
    program = watching(flow)
    program.wait("customers", 1)
    suspend(flow, True)
    annotate(flow, full_load="patient-token")
    shows(millrace, flow, "patient-token")
    time.sleep(2)

    assert len(program.loads("customers")) == 1
    status = millrace("status", flow).stdout
    assert "patient-token" in status and "wait" in status.lower(), status
    suspend(flow, False)
    assert len(program.wait("customers", 2)) == 2


def test_14_a_name_that_matches_nothing_is_told(
    watching: Watching, workdir: Path, manifest: Manifest, files: FileSink, millrace: Millrace
) -> None:
    source = write_table(customers(20), workdir / "customers.csv")
    flow = manifest(source=harness.csv_source(source, primary_key=["id"]), destination=files.spec())
    program = watching(flow)
    program.wait("customers", 1)

    annotate(flow, full_load_Customers="token-7")

    wait_until(lambda: "Customers" in "".join(program.errors), what="a warning that names the stream")
    shows(millrace, flow, "token-7")
    time.sleep(1)
    assert len(program.loads("customers")) == 1
    status = millrace("status", flow).stdout
    assert "token-7" in status and "fail" in status.lower(), status


def test_15_a_trigger_for_one_stream_reads_no_other(
    watching: Watching, manifest: Manifest, postgres: Postgres, files: FileSink
) -> None:
    items(postgres, "users", "orders", "carts")
    source = cursor_source(postgres, "public.users", "public.orders", "public.carts")
    flow = manifest(source=source, destination=files.spec())
    program = watching(flow)
    for name in ("users", "orders", "carts"):
        program.wait(f"public.{name}", 1)
    scans = "select relname, seq_scan + coalesce(idx_scan, 0) from pg_stat_user_tables order by 1"

    annotate(flow, full_load="t1;tables=public.users,public.orders")

    program.wait("public.users", 2)
    program.wait("public.orders", 2)
    time.sleep(2)
    assert len(program.loads("public.carts")) == 1, postgres.rows(scans)
    annotate(flow, **{"delta_load_public.carts": "t2"})
    loads = program.wait("public.carts", 2)
    assert loads[1]["load"] == "delta"
    assert [len(program.loads(f"public.{name}")) for name in ("users", "orders")] == [2, 2]


def test_04_a_trigger_approves_a_mass_delete(
    watching: Watching, workdir: Path, manifest: Manifest, files: FileSink
) -> None:
    source = write_table(customers(90), workdir / "customers.csv")
    flow = manifest(source=harness.csv_source(source, primary_key=["id"]), destination=files.spec())
    program = watching(flow)
    program.wait("customers", 1)
    write_table(customers(10), source)
    annotate(flow, full_load="t1")
    assert program.wait("customers", 2)[1]["outcome"] == "failed"

    annotate(flow, full_load="t2;allow-deletes")

    assert program.wait("customers", 3)[2]["deleted"] == 80
    same_rows(files.table(flow, "customers"), customers(10))
