"""Do the tests see? Each makes the program err on purpose, and wants the test of that promise to fail.

`MILLRACE_MUTATION` is heard by programs that are built for development, as those of the tests are.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import test_faults
import test_faults_s3
import test_semantics_state
import test_semantics_watermarks
from harness import S3, Millrace, Postgres, Result, parquet_files
from kit import FileSink, Sink
from test_canary import Watcher
from test_faults import Setup
from test_faults_s3 import Bucket

from conftest import program

Run = Callable[..., Result]
Manifest = Callable[..., Path]
Err = Callable[[str], None]

# Fixtures of the tests that are played here.
setup = test_faults.setup
bucket = test_faults_s3.bucket


@pytest.fixture
def err(environment: dict[str, str]) -> Err:
    """`err("m1")`: from here on the program makes this mistake."""
    known = b"MILLRACE_MUTATION" in program().read_bytes()
    assert known, f"{program()} makes no mistakes on purpose: it was built for release"
    return lambda mistake: environment.update({"MILLRACE_MUTATION": mistake})


def unseen(mistake: str) -> str:
    return f"{mistake} would go unseen"


@pytest.mark.parametrize("destination", ["file", "s3", "postgres"])
def test_m1_no_check_of_the_epoch_at_the_commit_is_seen(
    destination: str,
    err: Err,
    setup: Callable[[str, str], Setup],
    millrace: Millrace,
    run: Run,
    workdir: Path,
    manifest: Manifest,
) -> None:
    err("m1")
    with pytest.raises(AssertionError):
        test_faults.acquiring_alone_fences(setup(destination, "directory"), millrace, run, workdir, manifest)
        pytest.fail(unseen("m1"))


def test_m3_a_refused_write_taken_for_success_is_seen(
    err: Err, bucket: Bucket, millrace: Millrace, environment: dict[str, str]
) -> None:
    err("m3")
    with pytest.raises(AssertionError):
        test_faults_s3.late_write_is_refused(bucket, millrace, environment)
        pytest.fail(unseen("m3"))


def test_m4_a_refusal_that_is_not_read_back_is_seen(err: Err, bucket: Bucket) -> None:
    err("m4")
    with pytest.raises(AssertionError):
        for nth in range(1, 5):
            test_faults_s3.lost_answer_is_settled(bucket, nth, "first")
        pytest.fail(unseen("m4"))


def test_m7_a_cursor_without_its_ties_is_seen(
    err: Err, run: Run, manifest: Manifest, postgres: Postgres, files: FileSink
) -> None:
    err("m7")
    with pytest.raises(AssertionError):
        test_semantics_watermarks.ties_lose_nothing(100, run, manifest, postgres, files)
        pytest.fail(unseen("m7"))


@pytest.mark.parametrize("destination", ["file", "postgres"])
def test_m8_a_destination_that_is_emptied_first_is_seen(
    destination: str,
    err: Err,
    setup: Callable[[str, str], Setup],
    millrace: Millrace,
    run: Run,
    workdir: Path,
    manifest: Manifest,
) -> None:
    err("m8")
    with pytest.raises(AssertionError):
        test_faults.readers_see_whole_loads(setup(destination, "directory"), millrace, run, workdir, manifest)
        pytest.fail(unseen("m8"))


def test_m9_cleaning_up_by_age_alone_is_seen(
    err: Err,
    setup: Callable[[str, str], Setup],
    millrace: Millrace,
    run: Run,
    workdir: Path,
    manifest: Manifest,
) -> None:
    err("m9")
    with pytest.raises((AssertionError, OSError)):
        test_faults.cleaning_up_keeps_what_is_referenced(setup("s3", "directory"), millrace, run, workdir, manifest)
        pytest.fail(unseen("m9"))


@pytest.mark.parametrize("where", ["directory", "s3"])
def test_m12_missing_state_taken_for_none_is_seen(
    where: str, err: Err, run: Run, workdir: Path, manifest: Manifest, sink: Sink, s3: S3, environment: dict[str, str]
) -> None:
    err("m12")
    with pytest.raises(AssertionError):
        test_semantics_state.missing_state_stops(where, run, workdir, manifest, sink, s3, environment)
        pytest.fail(unseen("m12"))


def test_m13_a_secret_in_the_text_of_an_error_is_seen(millrace: Millrace, workdir: Path, manifest: Manifest) -> None:
    # No mistake is needed: what stands in a path is printed, and this path is called the secret.
    watcher = Watcher(millrace, ["a-secret-of-some-length"])
    source = {"connector": "file", "connection": {"url": "a-secret-of-some-length.csv", "format": "csv"}}
    flow = manifest(source=source, destination=parquet_files(workdir / "out", "overwrite"))
    result = watcher.run("run", flow, env={})
    assert result.returncode != 0
    with pytest.raises(AssertionError, match="a-secret-of-some-length"):
        watcher.finds_nothing(result, but=flow)
