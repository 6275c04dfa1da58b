"""Meltano as published: a tap of a project, with what Meltano itself makes of its settings."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Millrace, Result, duck
from kit import FileSink, expect, same_answers
from plugins import engine_manifest, failure, keyed, records, write_rows
from published import MELTANO, meltano_project

Run = Callable[..., Result]


@pytest.fixture
def environment() -> dict[str, str]:
    """What says where Meltano is."""
    return {"MILLRACE_MELTANO": str(MELTANO.install())}


@pytest.fixture
def flow(workdir: Path, files: FileSink) -> Callable[..., Path]:
    """`flow("tap-jsonl")`: a Flow of the items by a plugin of the project; where they lie the Source says."""

    def write(plugin: str) -> Path:
        settings = {"project": str(meltano_project()), "plugin": plugin}
        path = {"path": str(workdir / "items.jsonl")}
        return engine_manifest(workdir, "meltano", settings, files.spec(), connection=path, streams=keyed("items"))

    return write


@pytest.mark.usefixtures("whole")
def test_meltano_tap_of_a_project(
    run: Run,
    millrace: Millrace,
    environment: dict[str, str],
    flow: Callable[..., Path],
    workdir: Path,
    files: FileSink,
) -> None:
    write_rows(workdir / "items.jsonl", records(500))
    manifest = flow("tap-jsonl")
    assert "items" in millrace("discover", manifest, env=environment).stdout
    expect(run(manifest).stream("items"), read=500, inserted=500)
    ours = f"select id, version, name from read_parquet({files.lake.files(manifest)})"
    theirs = f"select id, version, name from '{workdir}/items.jsonl'"
    same_answers(ours, theirs)

    again = run(manifest).stream("items")

    assert again["load"] == "delta"
    assert (again["inserted"], again["updated"], again["deleted"]) == (0, 0, 0), again
    write_rows(workdir / "items.jsonl", records(550))
    # A second later than it was, whatever the clock of the files.
    os.utime(workdir / "items.jsonl", (time.time() + 5, time.time() + 5))
    # The tap writes the time of the file into each row.
    expect(run(manifest).stream("items"), read=550, inserted=50, updated=500)
    assert duck("select count(*), max(id) from t", t=files.table(manifest, "items")) == [(550, 550)]


@pytest.mark.usefixtures("whole")
def test_meltano_is_told_of_a_plugin_that_the_project_does_not_have(run: Run, flow: Callable[..., Path]) -> None:
    error = failure(run(flow("tap-absent"), check=False), "items")
    assert "tap-absent" in error["message"], error
