"""Whatever the engine at the writing end: what dies, hangs or fails around a load loses no row."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from destinations import ENGINES, Into
from harness import Result, Row
from kit import expect, same_rows, sampled
from plugins import failure, records

Run = Callable[..., Result]
LOADS = ("stage.write", "stage.finish", "intent.after", "commit.before", "commit.after", "state.before")
MODES = ("upsert", "append", "overwrite")
# Those whose synthetic destination can be told to err.
ERRING = ("airbyte", "singer")


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """An engine; the test runs once for each."""
    return str(request.param)


@pytest.fixture
def into(engine: str, workdir: Path) -> Into:
    """A Flow into it."""
    return Into(engine, workdir)


@pytest.fixture
def environment() -> dict[str, str]:
    """Writers are given Arrow data, which their interpreter has to know."""
    return {"MILLRACE_PYTHON": sys.executable}


@pytest.mark.parametrize(
    ("engine", "failpoint", "mode"),
    # The modes in another order for each, so that each of them meets each failpoint.
    [(engine, *pair) for turn, engine in enumerate(ENGINES) for pair in sampled(LOADS, (*MODES[turn:], *MODES[:turn]))],
    indirect=["engine"],
)
def test_a_crash_loses_nothing(engine: str, failpoint: str, mode: str, run: Run, into: Into) -> None:
    manifest = into.manifest(mode, keeps=mode != "overwrite")
    for count in (40, 70):
        into.rows(records(count))
        killed = run(manifest, env={"MILLRACE_FAILPOINT": failpoint}, check=False)
        assert killed.returncode == -signal.SIGKILL, str(killed)
    into.rows(records(90))

    run(manifest)

    if mode == "append" and not ENGINES[engine].exact:
        assert set(into.table()["id"].to_pylist()) == set(range(1, 91))
    else:
        same_rows(into.table(), records(90))


def test_a_reader_that_fails_changes_nothing(run: Run, into: Into) -> None:
    into.rows(records(100))
    run(into.manifest("overwrite"))
    into.rows(records(200))

    failure(run(into.manifest("overwrite", reader={"then": {"at": 15, "do": "raise"}}), check=False))

    same_rows(into.table(), records(100))
    run(into.manifest("overwrite"))
    same_rows(into.table(), records(200))


def test_deletes_reach_a_table_with_a_key(run: Run, into: Into) -> None:
    into.rows(records(20))
    manifest = into.manifest()
    run(manifest)
    gone = [{"id": n, "version": 20 + n, "_millrace_op": "delete"} for n in (3, 7)]
    into.rows([*gone, {"id": 8, "version": 40, "name": "new", "_millrace_op": "update"}])

    expect(run(manifest).stream("items"), read=3, updated=1, deleted=2)

    rest = [row for row in records(20) if row["id"] not in (3, 7, 8)]
    same_rows(into.table(), [*rest, {"id": 8, "version": 40, "name": "new"}])


@pytest.mark.parametrize("engine", ERRING, indirect=True)
@pytest.mark.parametrize(
    ("then", "words"),
    [({"code": 1}, "ended with 1"), ({"signal": "SIGKILL"}, "signal 9"), ({"signal": "SIGSEGV"}, "signal 11")],
    ids=["exit 1", "killed", "crash"],
)
@pytest.mark.parametrize("at", [0, 50, -1], ids=["at once", "middle", "end"])
def test_an_early_end_is_a_failure_and_the_rows_come_again(
    at: int,
    then: Row,
    words: str,
    engine: str,
    run: Run,
    into: Into,
) -> None:
    into.rows(records(100))
    dies = {"at": at, "stderr": "the disk of the lake is full", **then}

    error = failure(run(into.manifest(keeps=True, then=dies), check=False))

    assert words in error["message"] and ENGINES[engine].name in error["message"], error
    assert "the disk of the lake is full" in f"{error['message']} {error.get('advice')}", error
    run(into.manifest(keeps=True))
    same_rows(into.table(), records(100))


@pytest.mark.parametrize("engine", ERRING, indirect=True)
@pytest.mark.parametrize("at", [0, 50], ids=["at once", "middle"])
def test_a_good_end_before_all_rows_were_taken_is_a_failure(at: int, engine: str, run: Run, into: Into) -> None:
    # More than a pipe holds.
    into.rows(records(5000))
    error = failure(run(into.manifest(then={"at": at, "code": 0}), check=False))
    assert "before it had taken all rows" in error["message"] and ENGINES[engine].name in error["message"], error


@pytest.mark.parametrize("engine", ERRING, indirect=True)
@pytest.mark.parametrize("at", [0, 50, -1], ids=["at once", "middle", "end"])
def test_a_hang_is_ended(at: int, run: Run, into: Into) -> None:
    # More than a pipe holds.
    into.rows(records(5000))
    manifest = into.manifest(then={"at": at, "hang": True, "unless": str(into.directory / "hung")})

    # Without an end it would hang for 15 minutes, which is beyond what a run may take here.
    result = run(manifest, env={"MILLRACE_PLUGIN_PATIENCE": "4"})

    assert "was silent for 4 s" in result.stderr, result
    same_rows(into.table(), records(5000))


@pytest.mark.parametrize("engine", ERRING, indirect=True)
def test_who_talks_while_it_is_written_to_blocks_nobody(run: Run, into: Into) -> None:
    into.rows(records(5000))
    result = run(into.manifest(then={"at": 100, "flood": 100}))
    expect(result.stream("items"), read=5000, inserted=5000)
    same_rows(into.table(), records(5000))
    assert len(result.stderr) < 1_000_000
