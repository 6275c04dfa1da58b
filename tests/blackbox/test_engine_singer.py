"""The engine `singer`: rows of a tap arrive once, its state goes back to it, whatever it spells and however it lies."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness import Millrace, Result, duck
from kit import FileSink, end_at_once, expect, letters, memory_limit_kib, same_rows, wait_until
from plugins import CONNECTORS, alive, connector, descendants, engine_manifest, failure, journal, keyed, records, write_rows

Run = Callable[..., Result]


@pytest.fixture
def flow(workdir: Path, files: FileSink) -> Callable[..., Path]:
    """`flow(early=True, ...)`: a Flow of the stream `items`; the fields are those of the tap's configuration."""

    def write(*, name: str = "lake", stream: str = "items", **config: Any) -> Path:
        place = {"rows": str(workdir / "rows.ndjson"), "journal": str(workdir / "journal"), **config}
        sink = FileSink(files.lake, f"{files.root}/{name}").spec()
        tap = connector("tap.py")
        return engine_manifest(workdir, "singer", tap, sink, name=name, connection=place, streams=keyed(stream))

    return write


def delivered(files: FileSink, manifest: Path, stream: str = "items") -> Any:
    """What the Flow of a manifest has delivered."""
    return FileSink(files.lake, f"{files.root}/{manifest.stem}").table(manifest, stream)


@pytest.mark.parametrize(
    "config",
    [{}, {"early": True}, {"activate": True}, {"id": "shop-items"}],
    ids=["plain", "state first", "versions", "another id"],
)
def test_a_delta_begins_where_the_tap_stood(
    config: dict[str, Any], run: Run, flow: Callable[..., Path], workdir: Path, files: FileSink
) -> None:
    stream = config.get("id", "items")
    write_rows(workdir / "rows.ndjson", records(100))
    manifest = flow(stream=stream, **config)
    expect(run(manifest).stream(stream), read=100, inserted=100)
    changed = [{**records(1)[0], "version": 101, "name": "changed"}, *records(100)[1:], *records(20, 102)]
    write_rows(workdir / "rows.ndjson", changed)

    counts = run(manifest).stream(stream)

    assert counts["load"] == "delta"
    # The row of the bookmark comes once more.
    expect(counts, read=22, inserted=20, updated=1, unchanged=1)
    same_rows(delivered(files, manifest, stream), changed)
    expect(run(manifest).stream(stream), read=1, unchanged=1)
    states = [call.get("state") for call in journal(workdir / "journal") if "catalog" in call]
    assert [state and state["bookmarks"][stream]["version"] for state in states] == [None, 100, 121]


def test_a_tap_that_cannot_start_is_not_taken_for_one_without_discovery(
    millrace: Millrace, flow: Callable[..., Path], workdir: Path
) -> None:
    (workdir / "tap.py").write_text("import a_package_that_is_not_there\n")
    manifest = flow()
    manifest.write_text(manifest.read_text().replace(str(CONNECTORS), str(workdir)))

    result = millrace("discover", manifest, check=False)

    assert result.returncode != 0 and "the package that holds `a_package_that_is_not_there`" in str(result), str(result)
    # What was raised, and not the way there.
    assert 'File "' not in result.stderr.splitlines()[-1], str(result)


def test_a_full_table_finds_changes_and_deletes(
    run: Run, flow: Callable[..., Path], workdir: Path, files: FileSink
) -> None:
    write_rows(workdir / "rows.ndjson", records(100))
    manifest = flow(full=True)
    run(manifest)
    rest = [row | {"name": "changed"} if row["id"] == 3 else row for row in records(90)]
    write_rows(workdir / "rows.ndjson", rest)

    expect(run(manifest).stream("items"), read=90, updated=1, unchanged=89, deleted=10, absent=10)

    same_rows(delivered(files, manifest), rest)


@pytest.mark.parametrize(
    ("takes", "options"),
    [
        ("properties", "[--discover] [--properties PROPERTIES]"),
        # It tells of the newer one, and does not look at it.
        ("properties", "[--discover] [--properties PROPERTIES] [--catalog CATALOG]"),
        ("catalog", "[--discover] [--properties PROPERTIES] [--catalog CATALOG]"),
        ("nothing", ""),
    ],
    ids=["properties", "properties of both", "catalog of both", "nothing"],
)
def test_a_tap_that_takes_its_catalog_in_another_way(
    takes: str, options: str, run: Run, flow: Callable[..., Path], workdir: Path, files: FileSink
) -> None:
    write_rows(workdir / "rows.ndjson", records(50))
    manifest = flow(takes=takes)

    result = run(manifest, env={"TAP_OPTIONS": options})

    expect(result.stream("items"), read=50, inserted=50)
    same_rows(delivered(files, manifest), records(50))


def test_batch_files_are_read_and_removed(run: Run, flow: Callable[..., Path], workdir: Path, files: FileSink) -> None:
    write_rows(workdir / "rows.ndjson", records(100))
    manifest = flow(batches=str(workdir / "batches"))

    expect(run(manifest).stream("items"), read=100, inserted=100)

    same_rows(delivered(files, manifest), records(100))
    assert not list((workdir / "batches").iterdir())


def test_numbers_keep_their_scale(run: Run, flow: Callable[..., Path], workdir: Path, files: FileSink) -> None:
    prices = ["1.10", "0.01", "-12345678901234567890.12", "100", "0.30"]
    text = "".join(f'{{"id": {n}, "version": {n}, "price": {price}}}\n' for n, price in enumerate(prices, 1))
    (workdir / "rows.ndjson").write_text(text)
    # As draft 4 writes it.
    price = {"type": ["null", "number"], "multipleOf": 0.01, "exclusiveMaximum": True, "maximum": 1e20}
    manifest = flow(schema={"price": price})

    expect(run(manifest).stream("items"), read=5, inserted=5)

    found = duck("select price::varchar from t order by id", t=delivered(files, manifest))
    assert [one for (one,) in found] == ["1.10", "0.01", "-12345678901234567890.12", "100.00", "0.30"]


def test_a_row_with_the_time_of_its_delete_is_one(
    run: Run, flow: Callable[..., Path], workdir: Path, files: FileSink
) -> None:
    gone = {"_sdc_deleted_at": {"type": ["null", "string"], "format": "date-time"}}
    write_rows(workdir / "rows.ndjson", records(100))
    manifest = flow(schema=gone)
    run(manifest)
    deletes = [{"id": n, "version": 200 + n, "_sdc_deleted_at": "2026-01-02T03:04:05+00:00"} for n in (5, 6, 7)]
    write_rows(workdir / "rows.ndjson", [*records(99), *deletes])

    counts = run(manifest).stream("items")

    expect(counts, read=3, deleted=3)
    left = duck("select count(*), count(*) filter (id in (5, 6, 7)) from t", t=delivered(files, manifest))
    assert left == [(97, 0)]


def test_noise_other_streams_and_values_that_do_not_fit(
    run: Run, flow: Callable[..., Path], workdir: Path, files: FileSink
) -> None:
    rows: list[dict[str, Any]] = records(100)
    rows[10] |= {"amount": "much"}
    rows[20] |= {"id": None}
    rows[30] |= {"extra": True}
    write_rows(workdir / "rows.ndjson", rows)
    noise = ["", "INFO starting", "{not json", "[1]", '{"type": "RECORD", "stream": "others", "record": {"id": 999}}']
    manifest = flow(before=noise, after=noise, schema={"amount": {"type": "integer"}})

    result = run(manifest)

    expect(result.stream("items"), read=100, inserted=98, refused=2)
    found = duck("select count(*), sum(id), count(*) filter (extra) from t", t=delivered(files, manifest))
    assert found == [(98, 5050 - 11 - 21, 1)]
    assert len(letters(workdir / "out")) == 2
    assert "INFO starting" in result.stderr


def test_batch_files_are_files(run: Run, flow: Callable[..., Path], workdir: Path) -> None:
    write_rows(workdir / "rows.ndjson", records(10))
    os.mkfifo(workdir / "pipe")
    for path, words in ((workdir / "pipe", "it is no file"), (workdir / "nowhere", "No such file")):
        batch = {"type": "BATCH", "stream": "items", "encoding": {"format": "jsonl"}, "manifest": [path.as_uri()]}
        error = failure(run(flow(after=[json.dumps(batch)]), check=False))
        assert words in error["message"], error


def test_one_that_logs_is_no_one_that_hangs(run: Run, flow: Callable[..., Path], workdir: Path) -> None:
    write_rows(workdir / "rows.ndjson", records(10))
    manifest = flow(end={"at": 5, "chat": 12, "unless": str(workdir / "chatted")})
    expect(run(manifest, env={"MILLRACE_PLUGIN_PATIENCE": "8"}).stream("items"), read=10, inserted=10)


@pytest.mark.parametrize(
    ("end", "words"),
    [
        ({"code": 1, "say": "CRITICAL the pump is dry"}, "the pump is dry"),
        ({"signal": "SIGKILL"}, "signal 9"),
        ({"long": 200 << 20}, "128 MiB"),
        ({"hang": True}, "was silent for 5 s"),
    ],
    ids=["exit", "killed", "long line", "hang"],
)
def test_a_failure_is_told_deletes_nothing_and_leaves_another_flow_alone(
    end: dict[str, Any], words: str, run: Run, flow: Callable[..., Path], workdir: Path, files: FileSink
) -> None:
    write_rows(workdir / "rows.ndjson", records(100))
    bad, good = flow(name="lake"), flow(name="good")
    run(bad)

    # Only what hangs is silent: a long line may take its time on a busy machine.
    env = {"MILLRACE_PLUGIN_PATIENCE": "5"} if "hang" in end else None
    flow(end={"at": 60, **end})
    result = run(bad, good, "--full", env=env, check=False)

    assert result.returncode == 1, str(result)
    flows = {one["name"]: one["streams"][0] for one in result.json["flows"]}
    error = flows["lake"]["error"]
    assert words in f"{error['message']} {error.get('advice')}", error
    expect(flows["good"], read=100, inserted=100)
    for manifest in (bad, good):
        same_rows(delivered(files, manifest), records(100))


def test_a_kill_in_the_middle_loses_and_doubles_nothing(
    run: Run, flow: Callable[..., Path], workdir: Path, files: FileSink
) -> None:
    write_rows(workdir / "rows.ndjson", records(30_000))
    manifest = flow(end={"at": 25_000, "signal": "SIGKILL", "unless": str(workdir / "died")})

    expect(run(manifest).stream("items"), read=30_000, inserted=30_000)

    assert (workdir / "died").exists()
    same_rows(delivered(files, manifest), records(30_000))


def test_a_worker_that_dies_leaves_no_tap_and_no_secret(
    millrace: Millrace, flow: Callable[..., Path], workdir: Path
) -> None:
    write_rows(workdir / "rows.ndjson", records(100))
    program = millrace.start("run", flow(end={"at": 50, "hang": True}))
    wait_until(lambda: [call for call in journal(workdir / "journal") if "catalog" in call])
    children = wait_until(lambda: descendants(program.pid))
    arguments = [Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0") for pid in children]
    given = [Path(word) for words in arguments for word in words if word.endswith("config.json")]
    assert given and all(path.stat().st_mode & 0o077 == 0 for path in given), arguments
    assert json.loads(given[0].read_text())["rows"] == str(workdir / "rows.ndjson")
    end_at_once(program)
    wait_until(lambda: not alive(children), what=f"the end of {children}")
    assert not any(path.exists() for path in given), "what it was given outlives it"


def test_memory_is_bounded(millrace: Millrace, flow: Callable[..., Path], workdir: Path, files: FileSink) -> None:
    # 200 MB, of which not half may be held at once.
    text = "x" * 2000
    write_rows(workdir / "rows.ndjson", [{"id": n, "version": n, "name": text} for n in range(1, 100_001)])
    manifest = flow()
    program = millrace.start("run", manifest, "--output", "json")
    peak = 0
    while program.poll() is None:
        peak = max(peak, memory_limit_kib(program))
        time.sleep(0.02)
    assert program.returncode == 0, program.communicate()
    assert delivered(files, manifest).num_rows == 100_000
    assert 0 < peak < 400 * 1024, peak
