"""Promises about state: lines 16 to 18 of the semantics."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from harness import S3, Millrace, Postgres, Result, csv_source
from kit import (
    FileSink,
    Sink,
    adds_up,
    customers,
    expect,
    killed,
    postgres_source,
    s3_state,
    same_rows,
    stopped,
    wait_until,
    write_table,
)

Run = Callable[..., Result]
Manifest = Callable[..., Path]


def state_files(workdir: Path) -> list[Path]:
    return sorted((workdir / ".millrace" / "state").rglob("HEAD.json"))


@pytest.mark.parametrize("failpoint", ["commit.before", "commit.after", "state.before"])
def test_16_state_is_committed_with_the_data_or_after_it(
    failpoint: str, run: Run, workdir: Path, manifest: Manifest, sink: Sink
) -> None:
    source = write_table(customers(100), workdir / "customers.csv")
    flow = manifest(source=csv_source(source, primary_key=["id"]), destination=sink.spec())
    run(flow)
    write_table(customers(150), source)

    assert killed(run(flow, env={"MILLRACE_FAILPOINT": failpoint}, check=False))

    state = json.loads(state_files(workdir)[0].read_text())
    there = sink.table(flow, "customers").num_rows
    # The destination decides; the record in the store is never ahead of it.
    assert there == (100 if failpoint == "commit.before" else 150)
    assert state["committed"]["seq"] == 1
    counts = run(flow).stream("customers")
    adds_up(counts)
    assert (counts["inserted"], counts["unchanged"]) == ((50, 100) if there == 100 else (0, 150))
    same_rows(sink.table(flow, "customers"), customers(150))


def test_17_a_clean_stop_commits_what_is_complete(
    millrace: Millrace, environment: dict[str, str], run: Run, manifest: Manifest, postgres: Postgres, files: FileSink
) -> None:
    for name in ("one", "two"):
        postgres.execute(f"create table {name} as select n as id from generate_series(1, 1000) n")
    source = {**postgres_source(postgres, "public.one", "public.two", primaryKey=["id"]), "concurrency": 1}
    flow = manifest(source=source, destination=files.spec())
    env = {**environment, "MILLRACE_FAILPOINT": "commit.before=stop"}
    program = millrace.start("run", flow, "--output", "json", env=env)
    wait_until(lambda: stopped(program))
    program.send_signal(signal.SIGTERM)
    program.send_signal(signal.SIGCONT)
    stdout, stderr = program.communicate(timeout=600)

    assert program.returncode in (0, 4), (stdout, stderr)
    assert files.table(flow, "public.one").num_rows == 1000
    rest = run(flow)
    expect(rest.stream("public.one"), read=1000, unchanged=1000)
    assert files.table(flow, "public.two").num_rows == 1000


def test_17_state_belongs_to_its_id_and_a_renamed_flow_does_not_take_it(
    run: Run, workdir: Path, manifest: Manifest, sink: Sink
) -> None:
    source = write_table(customers(100), workdir / "customers.csv")
    spec = csv_source(source, primary_key=["id"])
    first = manifest("first", source=spec, destination=sink.spec(), state={"id": "shared"})
    run(first)
    second = manifest("second", source=spec, destination=sink.spec(), state={"id": "shared"})

    refused = run(second, check=False)

    assert refused.returncode == 3 and "StateOwnedByOther" in str(refused), str(refused)
    assert "adopt-state" in str(refused)
    adopted = yaml.safe_load_all(second.read_text())
    documents = [
        {**d, "metadata": {**d["metadata"], "annotations": {"millrace.dev/adopt-state": "local:default/first"}}}
        if d["kind"] == "Flow"
        else d
        for d in adopted
    ]
    second.write_text(yaml.safe_dump_all(documents))
    expect(run(second).stream("customers"), read=100, unchanged=100)
    fenced = run(first, check=False)
    assert fenced.returncode == 3, str(fenced)


@pytest.mark.parametrize("where", ["directory", "s3"])
def test_17_missing_state_never_means_start_over(
    where: str, run: Run, workdir: Path, manifest: Manifest, sink: Sink, s3: S3, environment: dict[str, str]
) -> None:
    missing_state_stops(where, run, workdir, manifest, sink, s3, environment)


def missing_state_stops(
    where: str, run: Run, workdir: Path, manifest: Manifest, sink: Sink, s3: S3, environment: dict[str, str]
) -> None:
    source = write_table(customers(100), workdir / "customers.csv")
    state = {"state": s3_state(s3)} if where == "s3" else {}
    environment.update(s3.env)
    flow = manifest(source=csv_source(source, primary_key=["id"]), destination=sink.spec(), **state)
    run(flow)
    before = sink.fingerprint(flow, "customers")
    if where == "s3":
        for key in s3.keys("state"):
            s3.delete(key)
    else:
        shutil.rmtree(workdir / ".millrace")

    lost = run(flow, check=False)

    assert lost.returncode == 3 and "StateLost" in str(lost), str(lost)
    assert "millrace state" in str(lost)
    assert sink.fingerprint(flow, "customers") == before


@pytest.mark.parametrize("damage", ["empty", "cut", "no json", "a digit"])
def test_17_damaged_state_is_told_and_nothing_is_loaded(
    damage: str, run: Run, workdir: Path, manifest: Manifest, files: FileSink
) -> None:
    source = write_table(customers(100), workdir / "customers.csv")
    flow = manifest(source=csv_source(source, primary_key=["id"]), destination=files.spec())
    run(flow)
    before = files.fingerprint(flow, "customers")
    (head,) = state_files(workdir)
    text = head.read_text()
    ruined = {
        "empty": "",
        "cut": text[: len(text) // 2],
        "no json": "{]",
        "a digit": text.replace('"seq":1', '"seq":9').replace('"seq": 1', '"seq": 9'),
    }
    head.write_text(ruined[damage])

    refused = run(flow, check=False)

    assert refused.returncode == 3, str(refused)
    assert "StateCorrupt" in str(refused) or "StateLost" in str(refused)
    assert files.fingerprint(flow, "customers") == before


def test_17_a_person_sees_and_changes_state(
    run: Run, millrace: Millrace, environment: dict[str, str], manifest: Manifest, postgres: Postgres, files: FileSink
) -> None:
    postgres.execute("create table items (id bigint primary key, version bigint not null)")
    postgres.execute("insert into items select n, n from generate_series(1, 100) n")
    source = postgres_source(postgres, "public.items", cursorField="version", primaryKey=["id"])
    flow = manifest(source=source, destination=files.spec())
    run(flow)
    assert "public.items" in millrace("state", "list", flow, env=environment).stdout
    shown = millrace("state", "show", "lake", flow, "--stream", "public.items", env=environment, check=False)
    assert shown.returncode == 0 and "watermark" in shown.stdout, str(shown)


def test_18_a_push_reader_goes_on_from_its_committed_position(
    millrace: Millrace, manifest: Manifest, files: FileSink
) -> None:
    # Messages are numbered one after the other: a gap is a loss, a repeat a duplicate.
    source = {
        "connector": "generator",
        "connection": {"mode": "push", "rows": 20_000, "ratePerSecond": 5_000, "seed": 7, "streams": ["events"]},
        "streams": [{"name": "events"}],
    }
    flow = manifest(source=source, destination=files.spec("append"), mode="Continuous")
    for _ in range(3):
        program = millrace.start("run", flow, "--watch", "--output", "json")
        time.sleep(1)
        program.kill()
        program.communicate()
    program = millrace.start("run", flow, "--watch", "--output", "json")
    wait_until(lambda: count(files, flow) >= 20_000, what="all events")
    program.terminate()
    program.communicate(timeout=600)
    assert program.returncode == 0

    rows = files.table(flow, "events").select(["shard", "seq"]).to_pylist()
    numbers = sorted(row["seq"] for row in rows)
    assert len(numbers) == 20_000 and numbers == list(range(numbers[0], numbers[0] + 20_000))


def count(files: FileSink, flow: Path) -> int:
    try:
        return files.table(flow, "events").num_rows
    except (AssertionError, FileNotFoundError, subprocess.TimeoutExpired):
        return 0
