"""The engine `airbyte`: every failure of a source is seen, named and told from an empty result."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness import Millrace, Result
from kit import FileSink, expect, same_rows
from plugins import connector, engine_manifest, failure, journal, keyed, records, write_rows

Run = Callable[..., Result]


@pytest.fixture
def flow(workdir: Path, files: FileSink) -> Callable[..., Path]:
    """`flow(end={"at": 50, "code": 1})`: a Flow of `items`; the fields are those of the connector's configuration."""
    write_rows(workdir / "rows.ndjson", records(100))

    def write(*, name: str = "lake", command: list[str] | None = None, **config: Any) -> Path:
        place = {"rows": str(workdir / "rows.ndjson"), "journal": str(workdir / f"journal-{name}"), **config}
        settings = {"command": command} if command else connector("airbyte.py")
        sink = FileSink(files.lake, f"{files.root}/{name}").spec()
        return engine_manifest(workdir, "airbyte", settings, sink, name=name, connection=place, streams=keyed("items"))

    return write


def delivered(files: FileSink, manifest: Path) -> Any:
    """What the Flow of a manifest has delivered."""
    return FileSink(files.lake, f"{files.root}/{manifest.stem}").table(manifest, "items")


def reads(workdir: Path) -> int:
    """How often it was asked to read."""
    return sum(call["verb"] == "read" for call in journal(workdir / "journal-lake"))


@pytest.mark.parametrize(
    ("failure_type", "kind", "tried"),
    [("config_error", "config", 1), ("system_error", "bug", 1), ("transient_error", "transient", 2)],
)
@pytest.mark.parametrize(("at", "code"), [(0, 0), (50, 1), (200, 0)], ids=["at once", "middle", "end"])
def test_an_error_that_it_tells_is_a_failure_whatever_its_exit_code(
    at: int,
    code: int,
    failure_type: str,
    kind: str,
    tried: int,
    run: Run,
    flow: Callable[..., Path],
    workdir: Path,
    files: FileSink,
) -> None:
    manifest = flow()
    run(manifest)
    write_rows(workdir / "rows.ndjson", records(200))
    told = {"message": "the pump is dry", "internal_message": "E4711", "failure_type": failure_type}
    (workdir / "journal-lake").unlink()

    result = run(flow(end={"at": at, "code": code, "error": told}), "--full", check=False)

    error = failure(result)
    assert error["kind"] == kind and "the pump is dry" in error["message"], error
    # Not by the interpreter that runs it.
    assert "airbyte.py" in error["message"] or "lake" in error["message"], error
    assert (reads(workdir) > 1) == (tried > 1)
    same_rows(delivered(files, manifest), records(100))
    expect(run(flow()).stream("items"), read=100, inserted=100)
    same_rows(delivered(files, manifest), records(200))


@pytest.mark.parametrize(
    ("end", "words"),
    [({"code": 1}, "ended with 1"), ({"signal": "SIGKILL"}, "signal 9"), ({"signal": "SIGSEGV"}, "signal 11")],
    ids=["exit 1", "killed", "crash"],
)
def test_a_death_without_a_word_is_a_failure(
    end: dict[str, Any], words: str, run: Run, flow: Callable[..., Path], workdir: Path, files: FileSink
) -> None:
    manifest = flow()
    run(manifest)
    write_rows(workdir / "rows.ndjson", records(40))

    error = failure(run(flow(end={"at": 20, **end}), "--full", check=False))

    assert words in error["message"], error
    same_rows(delivered(files, manifest), records(100))


def test_a_kill_in_the_middle_loses_and_doubles_nothing(
    run: Run, flow: Callable[..., Path], workdir: Path, files: FileSink
) -> None:
    rows = records(30_000)
    write_rows(workdir / "rows.ndjson", rows)
    manifest = flow(end={"at": 25_000, "signal": "SIGKILL", "unless": str(workdir / "died")}, every=1000)

    result = run(manifest)

    assert (workdir / "died").exists()
    expect(result.stream("items"), read=30_000, inserted=30_000)
    same_rows(delivered(files, manifest), rows)


def test_a_failed_check_is_told_though_it_ends_with_0(millrace: Millrace, flow: Callable[..., Path]) -> None:
    manifest = flow(check={"status": "FAILED", "message": "the door is shut"})

    checked = millrace("validate", manifest, "--connect", check=False)

    assert checked.returncode not in (0, None), str(checked)
    assert "the door is shut" in str(checked)
    assert millrace("validate", flow(), "--connect").returncode == 0


@pytest.mark.parametrize("spaced", [False, True])
def test_silent_emptiness_is_shown_and_deletes_nothing_by_itself(
    spaced: bool, run: Run, flow: Callable[..., Path], workdir: Path, files: FileSink
) -> None:
    manifest = flow()
    run(manifest)
    write_rows(workdir / "rows.ndjson", [])
    log = {"type": "LOG", "log": {"level": "ERROR", "message": "the listing failed: no such bucket"}}

    result = run(flow(spaced=spaced, before={"read": [log]}), "--full", check=False)

    assert "the listing failed" in result.stderr
    assert result.returncode not in (0, None), str(result)
    same_rows(delivered(files, manifest), records(100))
    # Of a first load it is an outcome of its own.
    first = run(flow(name="fresh", before={"read": [log]}))
    shown = first.stream("items")
    assert shown["read"] == 0 and shown["outcome"] not in ("loaded", "failed"), shown


def test_a_hang_is_ended_and_another_flow_goes_on(
    run: Run, flow: Callable[..., Path], workdir: Path, files: FileSink
) -> None:
    bad = flow(end={"at": 50, "hang": True, "unless": str(workdir / "hung")})
    good = flow(name="good")

    result = run(bad, good, env={"MILLRACE_PLUGIN_PATIENCE": "6"})

    assert "was silent for 6 s" in result.stderr, str(result)
    for manifest in (bad, good):
        same_rows(delivered(files, manifest), records(100))


@pytest.mark.parametrize(
    ("command", "words"),
    [(["./absent-source"], "absent-source"), (["source-that-is-nowhere"], "source-that-is-nowhere")],
)
def test_a_missing_program_is_named(
    command: list[str], words: str, run: Run, flow: Callable[..., Path], workdir: Path
) -> None:
    error = failure(run(flow(command=command), check=False))
    assert error["kind"] == "config" and words in error["message"], error


def test_a_program_that_is_no_source_is_told(run: Run, flow: Callable[..., Path], workdir: Path) -> None:
    error = failure(run(flow(command=["/bin/echo", "hello"]), check=False))
    assert "echo" in error["message"] and "discover" in error["message"], error
    failure(run(flow(command=["/bin/false"]), check=False))


def test_a_stream_that_is_not_in_the_catalog_is_refused(run: Run, flow: Callable[..., Path], workdir: Path) -> None:
    result = run(flow(streams=["others"]), check=False)
    assert result.returncode == 2, str(result)
    assert "items" in str(failure(result)) and reads(workdir) == 0
