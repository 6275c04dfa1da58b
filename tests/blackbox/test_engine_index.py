"""An index beside the state, for destinations of engines: full loads into them deliver the difference, deletes included."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from destinations import ENGINES, Into
from harness import Millrace, Result, Row
from kit import expect, same_rows, sampled
from plugins import failure, records

Run = Callable[..., Result]
LOADS = ("stage.finish", "intent.before", "intent.after", "commit.before", "commit.after", "state.before", "state.after")


def index(into: Into) -> list[Path]:
    """The files of the index."""
    return sorted(into.directory.glob(".millrace/state/_files/*/*/*/**/*.*"))


@pytest.fixture(params=ENGINES)
def into(request: pytest.FixtureRequest, workdir: Path) -> Into:
    """A Flow into each engine."""
    return Into(request.param, workdir)


def changed(rows: list[Row]) -> list[Row]:
    """One row edited, one gone, one new."""
    return [{**rows[0], "name": "edited"}, *rows[2:], {"id": len(rows) + 1, "version": 1, "name": "new"}]


@pytest.fixture
def environment() -> dict[str, str]:
    """Writers are given Arrow data, which their interpreter has to know."""
    return {"MILLRACE_PYTHON": sys.executable}


def test_a_full_load_delivers_the_difference(run: Run, into: Into) -> None:
    into.rows(records(200))
    manifest = into.manifest()
    expect(run(manifest, "--full").stream("items"), read=200, inserted=200)
    same_rows(into.table(), records(200))

    into.rows(changed(records(200)))
    expect(run(manifest, "--full").stream("items"), read=200, inserted=1, updated=1, deleted=1, absent=1, unchanged=198)
    same_rows(into.table(), changed(records(200)))

    expect(run(manifest, "--full").stream("items"), read=200, unchanged=200)
    same_rows(into.table(), changed(records(200)))


def test_a_log_gets_what_has_changed(run: Run, into: Into) -> None:
    into.rows(records(50))
    manifest = into.manifest("append")
    run(manifest, "--full")
    into.rows(changed(records(50)))
    counts = {"inserted": 1, "updated": 1, "deleted": 1, "absent": 1, "unchanged": 48}
    expect(run(manifest, "--full").stream("items"), read=50, **counts)
    told = into.table().to_pylist()
    assert len(told) == 53, told
    assert {row["name"] for row in told if row["id"] == 1} == {"name 1", "edited"}


def test_rows_without_a_key_come_once(run: Run, into: Into) -> None:
    into.rows([*records(20), *records(5)])
    manifest = into.manifest("append", keys=False)
    expect(run(manifest, "--full").stream("items"), read=25, inserted=25)
    into.rows([*records(20), *records(6)])
    expect(run(manifest, "--full").stream("items"), read=26, inserted=1, unchanged=25)
    same_rows(into.table(), [*records(20), *records(6)])


def test_a_mass_delete_is_guarded(run: Run, into: Into) -> None:
    into.rows(records(200))
    manifest = into.manifest()
    run(manifest, "--full")
    into.rows(records(50))
    assert failure(run(manifest, "--full", check=False))["reason"] == "MassDelete"
    same_rows(into.table(), records(200))
    run(manifest, "--full", "--allow-deletes")
    same_rows(into.table(), records(50))


@pytest.mark.parametrize(("point", "into"), sampled(LOADS, tuple(ENGINES)), indirect=["into"])
def test_a_crash_of_a_comparison_is_made_good(point: str, run: Run, into: Into) -> None:
    into.rows(records(100))
    manifest = into.manifest()
    run(manifest, "--full")
    into.rows(changed(records(100)))

    killed = run(manifest, "--full", check=False, env={"MILLRACE_FAILPOINT": point})
    assert killed.returncode == -signal.SIGKILL, str(killed)
    run(manifest, "--full")

    same_rows(into.table(), changed(records(100)))
    expect(run(manifest, "--full").stream("items"), read=100, unchanged=100)


def test_a_lost_index_is_told_and_a_reset_delivers_everything(run: Run, into: Into, millrace: Millrace) -> None:
    into.rows(records(100))
    manifest = into.manifest()
    run(manifest, "--full")
    for path in index(into):
        path.unlink()

    error = failure(run(manifest, "--full", check=False))
    assert error["kind"] == "state" and error["reason"] == "IndexDamaged", error
    assert "state reset" in error["advice"], error

    millrace("state", "reset", "lake", manifest, "--stream", "items")
    into.rows(changed(records(100)))
    expect(run(manifest, "--full").stream("items"), read=100, inserted=100)
    into.rows(records(100))
    run(manifest, "--full")
    expect(run(manifest, "--full").stream("items"), read=100, unchanged=100)


def test_what_no_commit_needs_is_removed(run: Run, into: Into) -> None:
    manifest = into.manifest()
    for turn in range(6):
        into.rows([{**row, "name": f"turn {turn}"} for row in records(50)])
        run(manifest, "--full")
    # One segment of the last rows, and two manifests at the most.
    names = [path.suffix for path in index(into)]
    assert names.count(".index") == 1 and names.count(".json") <= 2, index(into)


@pytest.mark.parametrize("into", list(ENGINES)[:1], indirect=True)
def test_small_segments_become_one(run: Run, into: Into) -> None:
    rows = records(200)
    into.rows(rows)
    manifest = into.manifest()
    run(manifest, "--full")
    for turn in range(9):
        rows[turn] = {**rows[turn], "name": f"turn {turn}"}
        into.rows(rows)
        expect(run(manifest, "--full").stream("items"), read=200, updated=1, unchanged=199)
    # That of the first load, eight that became one, and the last.
    segments = [path for path in index(into) if path.suffix == ".index"]
    assert sorted(pq.read_metadata(path).num_rows for path in segments) == [1, 8, 200]
    del rows[3], rows[150]
    into.rows(rows)
    expect(run(manifest, "--full").stream("items"), read=198, deleted=2, absent=2, unchanged=198)
    same_rows(into.table(), rows)


def test_a_dry_run_compares_and_leaves_nothing(run: Run, into: Into) -> None:
    into.rows(records(100))
    manifest = into.manifest()
    run(manifest, "--full")
    before = index(into)
    into.rows(changed(records(100)))
    counts = run(manifest, "--full", "--dry-run").stream("items")
    expect(counts, read=100, inserted=1, updated=1, deleted=1, absent=1, unchanged=98)
    assert index(into) == before
    same_rows(into.table(), records(100))


def test_an_index_holds_keys_and_hashes_alone(run: Run, into: Into) -> None:
    into.rows([{"id": n, "version": n, "name": f"a secret name {n}"} for n in range(100)])
    run(into.manifest(), "--full")
    (segment,) = [path for path in index(into) if path.suffix == ".index"]
    assert pq.read_schema(segment).names == ["id", "_hash_lo", "_hash_hi"]
    assert b"a secret name" not in segment.read_bytes()
    assert all(set(json.loads(path.read_text())) == {"segments"} for path in index(into) if path.suffix == ".json")
