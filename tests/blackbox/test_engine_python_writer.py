"""The engine `python` at the writing end: what is laid down for a commit belongs to one attempt of one load."""

from __future__ import annotations

import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from destinations import Into
from harness import Result
from kit import expect, same_rows
from plugins import records

Run = Callable[..., Result]


@pytest.fixture
def scratch(workdir: Path) -> Path:
    """Where the worker keeps files for a while."""
    place = workdir / "scratch"
    place.mkdir()
    return place


@pytest.fixture
def environment(scratch: Path) -> dict[str, str]:
    """Writers are given Arrow data, which their interpreter has to know."""
    return {"MILLRACE_PYTHON": sys.executable, "MILLRACE_SCRATCH_DIR": str(scratch)}


@pytest.fixture
def into(workdir: Path) -> Into:
    """A Flow into the writer of the tests."""
    return Into("python", workdir)


def laid_down(scratch: Path) -> list[Path]:
    """Directories of attempts."""
    return sorted(scratch.glob("millrace-writer-*"))


def test_nothing_stays_of_a_load(run: Run, into: Into, scratch: Path) -> None:
    manifest = into.manifest()
    into.rows(records(100))
    run(manifest)
    same_rows(into.table(), records(100))
    assert not laid_down(scratch)

    failing = into.manifest(fails=True)
    into.rows(records(110))
    run(failing, "--full", check=False)
    assert not laid_down(scratch)


def test_a_commit_that_was_announced_is_made_of_the_same_files(run: Run, into: Into, scratch: Path) -> None:
    manifest = into.manifest()
    into.rows(records(100))
    killed = run(manifest, check=False, env={"MILLRACE_FAILPOINT": "intent.after"})
    assert killed.returncode == -signal.SIGKILL and len(laid_down(scratch)) == 1, str(killed)

    expect(run(manifest).stream("items"), read=0)

    same_rows(into.table(), records(100))
    assert not laid_down(scratch)


def test_what_is_gone_before_its_commit_is_read_again(run: Run, into: Into, scratch: Path) -> None:
    manifest = into.manifest()
    into.rows(records(100))
    run(manifest, check=False, env={"MILLRACE_FAILPOINT": "intent.after"})
    for directory in laid_down(scratch):
        shutil.rmtree(directory)

    result = run(manifest)

    expect(result.stream("items"), read=100, inserted=100)
    assert "what was staged for commit 1.1" in result.stderr, str(result)
    same_rows(into.table(), records(100))
