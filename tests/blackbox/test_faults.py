"""The worker dies, two work at once, the disk is full: faults that no server is needed for."""

from __future__ import annotations

import json
import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest
from harness import S3, Lake, Millrace, Postgres, Result, Spec, csv_source, duck
from kit import (
    FENCED,
    FileSink,
    PostgresSink,
    Sink,
    customers,
    edited,
    expect,
    killed,
    resume,
    s3_state,
    same_rows,
    sampled,
    stopped,
    wait_until,
    write_table,
)

Run = Callable[..., Result]
Manifest = Callable[..., Path]
FULL = bool(os.environ.get("MILLRACE_FULL"))

# As `millrace failpoints` prints them; a test below compares.
FAILPOINTS = (
    "acquire.before",
    "acquire.after",
    "fence.before",
    "fence.after",
    "recover.before",
    "recover.after",
    "stage.write",
    "stage.finish",
    "intent.before",
    "intent.after",
    "commit.before",
    "commit.after",
    "state.before",
    "state.after",
    "ack.before",
    "ack.after",
)
# Passed only where the destination cannot hold the offset; those here can.
NOT_PASSED = {"intent.before", "intent.after"}
DESTINATIONS = ("file", "s3", "postgres")
STATES = ("directory", "bucket")
LOADS = ("first", "second")


@dataclass
class Setup:
    """A destination, a place for the state, and what the program needs to reach both."""

    sink: Sink
    state: Spec
    env: dict[str, str]


@pytest.fixture
def setup(
    request: pytest.FixtureRequest, workdir: Path, millrace: Millrace, environment: dict[str, str]
) -> Callable[[str, str], Setup]:
    def make(destination: str, state: str) -> Setup:
        s3: S3 | None = request.getfixturevalue("s3") if "s3" in destination or state == "bucket" else None
        environment.update(s3.env if s3 else {})
        sink: Sink
        if destination == "postgres":
            postgres: Postgres = request.getfixturevalue("postgres")
            environment.update(postgres.env)
            sink = PostgresSink(postgres)
        elif destination == "s3":
            assert s3
            sink = FileSink(Lake(millrace, s3), f"{s3.url}/out", dict(s3.spec), "s3")
        else:
            sink = FileSink(Lake(millrace, s3), str(workdir / "out"))
        return Setup(sink, {"state": s3_state(s3)} if state == "bucket" and s3 else {}, environment)

    return make


def ids(combination: tuple[str, ...]) -> str:
    return "-".join(combination)


def test_the_sweep_knows_every_failpoint(millrace: Millrace) -> None:
    assert tuple(millrace("failpoints").stdout.split()) == FAILPOINTS


@pytest.mark.parametrize("combination", sampled(FAILPOINTS, DESTINATIONS, STATES, LOADS), ids=ids)
def test_f1_a_kill_at_a_failpoint_costs_nothing(
    combination: tuple[str, ...], setup: Callable[[str, str], Setup], run: Run, workdir: Path, manifest: Manifest
) -> None:
    failpoint, destination, state, load = combination
    here = setup(destination, state)
    rows = customers(2000)
    source = write_table(rows, workdir / "customers.csv")
    flow = manifest(source=csv_source(source, primary_key=["id"]), destination=here.sink.spec(), **here.state)
    old: pa.Table | None = None
    if load == "second":
        run(flow)
        old, (rows, _) = rows, edited(rows)
        write_table(rows, source)

    died = run(flow, env={"MILLRACE_FAILPOINT": failpoint}, check=False)

    assert died.returncode == 0 if failpoint in NOT_PASSED else killed(died), str(died)
    if old is not None:
        # Whoever looks meanwhile sees the old rows or the new ones, and no mixture.
        found = here.sink.table(flow, "customers")
        same_rows(found, rows if found.num_rows and max(found["amount"].to_pylist()) > 1_000_000 else old)
    again = run(flow)
    assert again.stream("customers")["read"] == rows.num_rows
    same_rows(here.sink.table(flow, "customers"), rows)
    committed = here.sink.committed(flow, "customers")
    assert committed["seq"] == (2 if load == "second" else 1)
    expect(run(flow).stream("customers"), read=rows.num_rows, unchanged=rows.num_rows)
    assert here.sink.committed(flow, "customers")["seq"] == committed["seq"]


@pytest.mark.parametrize("recovering", ["acquire.after", "fence.before", "fence.after", "recover.before", "recover.after"])
@pytest.mark.parametrize("first", ["commit.after", "state.before"] if FULL else ["commit.after"])
def test_f5_a_second_crash_while_the_first_is_recovered_from(
    first: str, recovering: str, run: Run, workdir: Path, manifest: Manifest, sink: Sink
) -> None:
    rows = customers(500)
    source = write_table(rows, workdir / "customers.csv")
    flow = manifest(source=csv_source(source, primary_key=["id"]), destination=sink.spec())
    run(flow)
    rows, _ = edited(rows, 10)
    write_table(rows, source)
    for failpoint in (first, recovering, recovering):
        assert killed(run(flow, env={"MILLRACE_FAILPOINT": failpoint}, check=False))

    expect(run(flow).stream("customers"), read=rows.num_rows, unchanged=rows.num_rows)

    same_rows(sink.table(flow, "customers"), rows)


@pytest.mark.parametrize("destination", DESTINATIONS if FULL else ("file", "postgres"))
def test_f2_kills_at_random_moments_of_long_loads(
    destination: str,
    setup: Callable[[str, str], Setup],
    millrace: Millrace,
    run: Run,
    workdir: Path,
    manifest: Manifest,
) -> None:
    here = setup(destination, "directory")
    # Versions of the source: what is there is always one of them, whole.
    versions = [customers(60_000)]
    source = write_table(versions[0], workdir / "customers.csv")
    # Versions that were never delivered add up to more than a single load may delete.
    spec = csv_source(source, primary_key=["id"])
    flow = manifest(source=spec, destination=here.sink.spec(), maxDeleteFraction=1)
    started = time.monotonic()
    run(flow)
    longest = (time.monotonic() - started) * 1.2
    chance = random.Random(destination)
    kills = finished = 0
    while kills < (200 if FULL else 8):
        versions.append(edited(versions[-1], 50)[0])
        write_table(versions[-1], source)
        program = millrace.start("run", flow, env=here.env)
        try:
            program.wait(chance.uniform(0.005, longest))
            finished += 1
            assert program.returncode == 0, program.communicate()
        except subprocess.TimeoutExpired:
            program.kill()
            kills += 1
        program.communicate()

    assert kills and run(flow).returncode == 0
    same_rows(here.sink.table(flow, "customers"), versions[-1])
    expect(run(flow).stream("customers"), read=versions[-1].num_rows, unchanged=versions[-1].num_rows)


@pytest.mark.parametrize("destination", DESTINATIONS if FULL else ("file",))
def test_f2_kills_at_random_moments_of_one_long_load(
    destination: str,
    setup: Callable[[str, str], Setup],
    millrace: Millrace,
    run: Run,
    workdir: Path,
    manifest: Manifest,
) -> None:
    here = setup(destination, "directory")
    rows = customers(1_000_000 if FULL else 150_000)
    source = write_table(rows, workdir / "customers.csv")
    spec = csv_source(source, primary_key=["id"])
    # How long it takes where nothing happens.
    elsewhere = FileSink(here.sink.lake, str(workdir / "elsewhere")) if isinstance(here.sink, FileSink) else here.sink
    started = time.monotonic()
    if elsewhere is not here.sink:
        run(manifest("elsewhere", source=spec, destination=elsewhere.spec()))
    whole = max(1.0, time.monotonic() - started)
    flow = manifest(source=spec, destination=here.sink.spec())
    chance = random.Random(destination)
    kills = 0
    for _ in range(200 if FULL else 10):
        program = millrace.start("run", flow, env=here.env)
        try:
            program.wait(chance.uniform(0.01, whole))
            assert program.returncode == 0, program.communicate()
        except subprocess.TimeoutExpired:
            program.kill()
            kills += 1
        program.communicate()

    assert kills
    counts = run(flow).stream("customers")
    assert counts["inserted"] + counts["unchanged"] == rows.num_rows, counts
    same_rows(here.sink.table(flow, "customers"), rows)
    assert here.sink.committed(flow, "customers")["seq"] == 1


def test_f3_sigterm_leaves_all_or_nothing(
    millrace: Millrace, run: Run, workdir: Path, manifest: Manifest, sink: Sink, environment: dict[str, str]
) -> None:
    rows = customers(60_000)
    source = write_table(rows, workdir / "customers.csv")
    flow = manifest(source=csv_source(source, primary_key=["id"]), destination=sink.spec())
    run(flow)
    versions = [rows]
    for delay in (0.05, 0.2, 0.5, 0.9):
        versions.append(edited(versions[-1], 50)[0])
        write_table(versions[-1], source)
        program = millrace.start("run", flow, env=environment)
        time.sleep(delay)
        program.terminate()
        program.communicate(timeout=600)
        # Before it listens for signals, the system ends it.
        assert program.returncode in (0, 4, -15)

    run(flow)
    same_rows(sink.table(flow, "customers"), versions[-1])


def test_f7_what_is_committed_of_one_stream_is_no_state_of_another(
    run: Run, workdir: Path, manifest: Manifest, files: FileSink
) -> None:
    for name in ("one", "two"):
        write_table(customers(300), workdir / "in" / f"{name}.csv")
    source = csv_source(workdir / "in" / "{stream}.csv")
    source["streams"] = [{"name": name, "primaryKey": ["id"]} for name in ("one", "two")]
    flow = manifest(source={**source, "concurrency": 1}, destination=files.spec())
    assert killed(run(flow, env={"MILLRACE_FAILPOINT": "commit.after:1"}, check=False))
    held = [name for name in ("one", "two") if Path(files.root, name, "data").exists()]

    after = run(flow)

    assert after.stream("one")["unchanged"] == 300 and after.stream("two")["inserted"] == 300, (held, after.stdout)
    for name in ("one", "two"):
        same_rows(files.table(flow, name), customers(300))


COMMITTED_AT = ("commit.after", "state.before")
FENCED_AT = ("fence.after", "recover.after", "stage.write", "stage.finish", "commit.before", "commit.after", "state.before")


@pytest.mark.parametrize("combination", sampled(FENCED_AT, DESTINATIONS, STATES), ids=ids)
def test_f9_an_older_worker_is_refused_at_the_destination(
    combination: tuple[str, ...],
    setup: Callable[[str, str], Setup],
    millrace: Millrace,
    run: Run,
    workdir: Path,
    manifest: Manifest,
) -> None:
    failpoint, destination, state = combination
    older_worker_is_refused(failpoint, setup(destination, state), millrace, run, workdir, manifest)


def older_worker_is_refused(
    failpoint: str, here: Setup, millrace: Millrace, run: Run, workdir: Path, manifest: Manifest
) -> None:
    rows = customers(500)
    source = write_table(rows, workdir / "customers.csv")
    flow = manifest(source=csv_source(source, primary_key=["id"]), destination=here.sink.spec(), **here.state)
    run(flow)
    older, _ = edited(rows, 10)
    write_table(older, source)
    program = millrace.start("run", flow, env={**here.env, "MILLRACE_FAILPOINT": f"{failpoint}=stop"})
    wait_until(lambda: stopped(program))
    seen = [rows, older]
    for _ in range(3):
        seen.append(edited(seen[-1], 7)[0])
        write_table(seen[-1], source)
        run(flow)
    before = here.sink.committed(flow, "customers")
    # The older one has something to deliver, be it that it has read already or that it reads now.
    newest = edited(seen[-1], 9)[0]
    write_table(newest, source)

    late = resume(program)

    # What it committed before it was overtaken is done.
    assert late.returncode == FENCED or (failpoint in COMMITTED_AT and late.returncode == 0), str(late)
    assert here.sink.committed(flow, "customers") == before
    same_rows(here.sink.table(flow, "customers"), seen[-1])
    assert run(flow).stream("customers")["updated"] > 0
    same_rows(here.sink.table(flow, "customers"), newest)


@pytest.mark.parametrize("destination", DESTINATIONS)
def test_f12_acquiring_alone_fences_the_older_worker(
    destination: str, setup: Callable[[str, str], Setup], millrace: Millrace, run: Run, workdir: Path, manifest: Manifest
) -> None:
    acquiring_alone_fences(setup(destination, "directory"), millrace, run, workdir, manifest)


def acquiring_alone_fences(here: Setup, millrace: Millrace, run: Run, workdir: Path, manifest: Manifest) -> None:
    """The newer worker dies before it has committed anything."""
    rows = customers(500)
    source = write_table(rows, workdir / "customers.csv")
    flow = manifest(source=csv_source(source, primary_key=["id"]), destination=here.sink.spec())
    run(flow)
    changed, _ = edited(rows, 10)
    write_table(changed, source)
    # Whatever mistake is asked for, the older one makes it.
    env = {**here.env, "MILLRACE_FAILPOINT": "commit.before=stop"}
    older = millrace.start("run", flow, env=env)
    wait_until(lambda: stopped(older))
    assert killed(run(flow, env={"MILLRACE_FAILPOINT": "recover.after"}, check=False))

    late = resume(older)

    assert late.returncode == FENCED, str(late)
    same_rows(here.sink.table(flow, "customers"), rows)


@pytest.mark.parametrize("destination", ["file", "s3"])
def test_f27_cleaning_up_never_removes_what_is_referenced_and_a_stalled_writer_is_refused(
    destination: str, setup: Callable[[str, str], Setup], millrace: Millrace, run: Run, workdir: Path, manifest: Manifest
) -> None:
    cleaning_up_keeps_what_is_referenced(setup(destination, "directory"), millrace, run, workdir, manifest)


def cleaning_up_keeps_what_is_referenced(
    here: Setup, millrace: Millrace, run: Run, workdir: Path, manifest: Manifest
) -> None:
    assert isinstance(here.sink, FileSink)
    here.sink.connection["cleanAfterHours"] = 0
    versions = [customers(500)]
    source = write_table(versions[0], workdir / "customers.csv")
    flow = manifest(source=csv_source(source, primary_key=["id"]), destination=here.sink.spec())
    run(flow)
    versions.append(edited(versions[-1], 10)[0])
    write_table(versions[-1], source)
    stalled = millrace.start("run", flow, env={**here.env, "MILLRACE_FAILPOINT": "commit.before=stop"})
    wait_until(lambda: stopped(stalled))
    for _ in range(4):
        versions.append(edited(versions[-1], 10)[0])
        write_table(versions[-1], source)
        run(flow)

    assert resume(stalled).returncode == FENCED

    same_rows(here.sink.table(flow, "customers"), versions[-1])
    run(flow)
    same_rows(here.sink.table(flow, "customers"), versions[-1])


@pytest.mark.parametrize("destination", DESTINATIONS)
def test_f47_readers_see_the_old_rows_or_the_new_ones(
    destination: str, setup: Callable[[str, str], Setup], millrace: Millrace, run: Run, workdir: Path, manifest: Manifest
) -> None:
    readers_see_whole_loads(setup(destination, "directory"), millrace, run, workdir, manifest)


def readers_see_whole_loads(
    here: Setup, millrace: Millrace, run: Run, workdir: Path, manifest: Manifest
) -> None:
    """What an `overwrite` replaces is there until its commit, and what it brings from then on."""
    old, new = customers(500), edited(customers(500), 10)[0]
    source = write_table(old, workdir / "customers.csv")
    flow = manifest(source=csv_source(source), destination=here.sink.spec("overwrite"))
    run(flow)
    for failpoint in ("stage.finish", "commit.before", "commit.after"):
        write_table(new, source)
        program = millrace.start("run", flow, env={**here.env, "MILLRACE_FAILPOINT": f"{failpoint}=stop"})
        wait_until(lambda: stopped(program))
        same_rows(here.sink.table(flow, "customers"), new if failpoint == "commit.after" else old)
        assert resume(program).returncode == 0
        same_rows(here.sink.table(flow, "customers"), new)
        old, new = new, edited(new, 10)[0]


def test_f43_newer_state_is_refused_and_left_as_it_is(
    run: Run, workdir: Path, manifest: Manifest, files: FileSink
) -> None:
    source = write_table(customers(10), workdir / "customers.csv")
    flow = manifest(source=csv_source(source, primary_key=["id"]), destination=files.spec())
    run(flow)
    (head,) = (workdir / ".millrace" / "state").rglob("HEAD.json")
    newer = {**json.loads(head.read_text()), "v": 99}
    head.write_text(json.dumps(newer))

    refused = run(flow, check=False)

    assert refused.returncode == 3 and "StateTooNew" in str(refused), str(refused)
    assert json.loads(head.read_text()) == newer
    assert files.table(flow, "customers").num_rows == 10


@pytest.mark.parametrize("destination", ["file", "s3"] if FULL else ["file"])
def test_f62_many_commits_leave_no_more_behind_than_few(
    destination: str, setup: Callable[[str, str], Setup], run: Run, workdir: Path, manifest: Manifest
) -> None:
    here = setup(destination, "directory")
    assert isinstance(here.sink, FileSink)
    here.sink.connection["cleanAfterHours"] = 0
    chance = random.Random(62)
    rows = customers(200)
    source = workdir / "customers.csv"
    flow = manifest(source=csv_source(source, primary_key=["id"]), destination=here.sink.spec("overwrite"))
    left: list[int] = []
    for _number in range(1000 if FULL else 40):
        write_table(rows, source)
        # One load in twenty dies on its way.
        fault = {"MILLRACE_FAILPOINT": chance.choice(FAILPOINTS)} if chance.random() < 0.05 else {}
        run(flow, env=fault, check=not fault)
        rows, _ = edited(rows, 20)
        left.append(sum(1 for path in workdir.rglob("*") if path.is_file()) + len(here.sink.data("customers")))
    write_table(rows, source)
    run(flow)
    same_rows(here.sink.table(flow, "customers"), rows)
    assert max(left[-10:]) <= max(left[5:20]) + 4, left
    (head,) = (workdir / ".millrace" / "state").rglob("HEAD.json")
    assert head.stat().st_size < 64 * 1024


@contextmanager
def small_disk(path: Path, size: str) -> Iterator[Path]:
    """A file system of a few bytes; needs the right to mount one."""
    path.mkdir(parents=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)], capture_output=True)
    if done.returncode != 0:
        pytest.skip(f"a full disk cannot be had: mount says {done.stderr.decode().strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


@pytest.mark.parametrize("what", ["output", "scratch", "state"])
def test_f8_a_full_disk_is_told_and_nothing_is_lost(
    what: str, run: Run, workdir: Path, manifest: Manifest, files: FileSink
) -> None:
    rows = customers(50_000)
    source = write_table(rows, workdir / "customers.csv")
    with small_disk(workdir / "small", "12m") as small:
        if what == "output":
            files.root = str(small / "out")
        state = {"state": {"directory": str(small / "state")}} if what == "state" else {}
        env = {"MILLRACE_SCRATCH_DIR": str(small)} if what == "scratch" else {}
        flow = manifest(source=csv_source(source, primary_key=["id"]), destination=files.spec(), **state)
        run(flow, env=env)
        fill(small / "filler")
        changed = pa.Table.from_pylist([{**row, "name": f"changed {row['id']}"} for row in rows.to_pylist()])
        write_table(changed, source)

        full = run(flow, env=env, check=False)

        assert full.returncode not in (0, FENCED), str(full)
        assert "space" in full.stderr.lower() or "os error 28" in full.stderr, full.stderr
        if what != "state":
            same_rows(files.table(flow, "customers"), rows)
        (small / "filler").unlink()
        assert run(flow, env=env).stream("customers")["read"] == 50_000
        same_rows(files.table(flow, "customers"), changed.select(rows.column_names))


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        try:
            while file.write(b"\0" * 4096):
                pass
        except OSError:
            pass


def test_f61_state_and_destination_of_different_times_are_told_apart(
    run: Run, workdir: Path, manifest: Manifest, files: FileSink
) -> None:
    rows = customers(200)
    source = write_table(rows, workdir / "customers.csv")
    flow = manifest(source=csv_source(source, primary_key=["id"]), destination=files.spec())
    run(flow)
    (head,) = (workdir / ".millrace" / "state").rglob("HEAD.json")
    there = Path(files.root, "customers", "HEAD.json")
    older = (head.read_bytes(), there.read_bytes())
    rows, _ = edited(rows, 10)
    write_table(rows, source)
    run(flow)
    newer = (head.read_bytes(), there.read_bytes())

    # State from a backup: the destination knows better, and it goes on from there.
    head.write_bytes(older[0])
    behind = run(flow)
    expect(behind.stream("customers"), read=rows.num_rows, unchanged=rows.num_rows)
    assert json.loads(head.read_text())["committed"]["seq"] == 2

    # The destination from a backup: a person must decide.
    head.write_bytes(newer[0])
    there.write_bytes(older[1])
    diverged = run(flow, check=False)
    assert diverged.returncode == 3 and "StateDiverged" in str(diverged), str(diverged)
    assert duck("select count(*) from t", t=files.table(flow, "customers")) == [(200,)]
