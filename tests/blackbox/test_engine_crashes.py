"""Whatever the engine: a worker that dies at or around a commit loses no row, and appends none twice."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness import Millrace, Result, Spec, duck
from kit import FileSink, same_rows, wait_until
from plugins import CONNECTORS, connector, engine_manifest, journal, keyed, records, write_rows

Run = Callable[..., Result]
ENGINES: dict[str, Spec] = {
    "python": {"reader": f"{CONNECTORS / 'reader.py'}:Rows"},
    "airbyte": connector("airbyte.py"),
    "singer": connector("tap.py"),
}


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """An engine; the test runs once for each."""
    return str(request.param)


@pytest.fixture
def flow(engine: str, workdir: Path, files: FileSink) -> Callable[..., Path]:
    """`flow("append", pause=1)`: a Flow of `items`, by the engine of the test, which adds to what is there."""

    def write(mode: str = "append", **config: Any) -> Path:
        place = {"rows": str(workdir / "rows.ndjson"), "journal": str(workdir / "journal"), **config}
        settings, streams = ENGINES[engine], keyed("items")
        return engine_manifest(workdir, engine, settings, files.spec(mode), connection=place, streams=streams)

    return write


def once_each(files: FileSink, manifest: Path, count: int) -> None:
    """Checks that each of the first keys was appended once, and no other."""
    found = duck("select count(*), count(distinct id), min(id), max(id) from t", t=files.table(manifest, "items"))
    assert found == [(count, count, 1, count)]


@pytest.mark.parametrize("failpoint", ["stage.finish", "commit.before", "commit.after", "state.before"])
def test_a_crash_around_a_commit(
    failpoint: str, run: Run, flow: Callable[..., Path], workdir: Path, files: FileSink
) -> None:
    manifest = flow()
    for number, count in enumerate((100, 180, 250)):
        write_rows(workdir / "rows.ndjson", records(count))
        killed = run(manifest, env={"MILLRACE_FAILPOINT": failpoint}, check=False)
        assert killed.returncode == -signal.SIGKILL, (number, str(killed))
    write_rows(workdir / "rows.ndjson", records(300))

    run(manifest)
    once_each(files, manifest, 300)
    again = run(manifest).stream("items")

    assert (again["inserted"], again["updated"], again["deleted"]) == (0, 0, 0), again
    once_each(files, manifest, 300)


@pytest.mark.parametrize("interval", ["60", "0"])
def test_kills_at_any_moment(
    interval: str,
    millrace: Millrace,
    run: Run,
    flow: Callable[..., Path],
    workdir: Path,
    files: FileSink,
    full: bool,
) -> None:
    manifest, chance = flow(), random.Random(7)
    often = {"MILLRACE_COMMIT_INTERVAL": interval}
    for round in range(30 if full else 6):
        write_rows(workdir / "rows.ndjson", records(1000 * (round + 1)))
        calls = len(journal(workdir / "journal"))
        program = millrace.start("run", manifest, env=often)
        wait_until(lambda calls=calls: len(journal(workdir / "journal")) > calls)  # type: ignore[misc]
        time.sleep(chance.random() * 0.4)
        program.kill()
        program.communicate()
    run(manifest)
    once_each(files, manifest, 30_000 if full else 6000)


# How each fails late in 3000 rows, and where the last position before that was, of a connector that tells some.
FAILURES: dict[str, tuple[Spec, int]] = {
    "python": ({"size": 100, "then": {"at": 22, "do": "raise"}}, 2100),
    "airbyte": (
        {"end": {"at": 2155, "error": {"failure_type": "system_error", "message": "no more"}, "code": 1}},
        2150,
    ),
    "singer": ({"end": {"at": 2155, "code": 3}}, 0),
}


def test_what_was_told_before_a_failure_stays(
    engine: str, run: Run, flow: Callable[..., Path], workdir: Path, files: FileSink
) -> None:
    failure, stays = FAILURES[engine]
    write_rows(workdir / "rows.ndjson", records(3000))
    often = {"MILLRACE_COMMIT_INTERVAL": "0"}
    assert run(flow(**failure), env=often, check=False).returncode != 0
    if stays:
        once_each(files, flow(), stays)

    rest = run(flow()).stream("items")

    assert rest["read"] == rest["inserted"] == 3000 - stays, rest
    once_each(files, flow(), 3000)


@pytest.mark.parametrize("engine", ["airbyte"], indirect=True)
@pytest.mark.parametrize("state", ["early", "legacy"])
def test_a_position_that_covers_rows_to_come_is_not_believed(
    state: str, run: Run, flow: Callable[..., Path], workdir: Path, files: FileSink
) -> None:
    write_rows(workdir / "rows.ndjson", records(3000))
    failure, _ = FAILURES["airbyte"]
    often = {"MILLRACE_COMMIT_INTERVAL": "0"}
    assert run(flow(state=state, **failure), env=often, check=False).returncode != 0

    run(flow(state=state), env=often)

    once_each(files, flow(), 3000)


@pytest.mark.parametrize("engine", ["airbyte", "singer"], indirect=True)
def test_what_a_killed_worker_left_of_a_configuration_goes(
    millrace: Millrace, run: Run, flow: Callable[..., Path], workdir: Path
) -> None:
    write_rows(workdir / "rows.ndjson", records(10))
    mark = f"mark-{workdir}"

    def left() -> list[Path]:
        found = []
        for path in Path("/dev/shm").glob("millrace-scratch-*/config.json"):
            # Those of tests beside this one come and go.
            with contextlib.suppress(OSError):
                found += [path.parent] if mark in path.read_text() else []
        return found

    program = millrace.start("run", flow(mark=mark, end={"at": 5, "hang": True}))
    wait_until(lambda: any((place / "catalog.json").exists() for place in left()))
    program.kill()
    program.communicate()
    # It is not one that another worker is about to lock.
    for place in left():
        # A worker of another test may have swept it since.
        with contextlib.suppress(FileNotFoundError):
            os.utime(place, (0, 0))

    run(flow(mark=mark))

    # Another worker may be about to remove it in its place.
    wait_until(lambda: not left())


def test_what_is_gone_between_a_crash_and_the_next_full_load_goes(
    run: Run, flow: Callable[..., Path], workdir: Path, files: FileSink
) -> None:
    manifest = flow("upsert")
    write_rows(workdir / "rows.ndjson", records(100))
    assert run(manifest, env={"MILLRACE_FAILPOINT": "commit.after"}, check=False).returncode == -signal.SIGKILL
    rest = records(100)[20:]
    write_rows(workdir / "rows.ndjson", rest)

    run(manifest, "--full")

    same_rows(files.table(manifest, "items"), rest)
