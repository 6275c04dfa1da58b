"""The engine `python`: what a class reads arrives once, state resumes, the class is found where the manifest says."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness import Millrace, Result, Spec, duck
from kit import FileSink, expect, same_rows, wait_until
from plugins import CONNECTORS, alive, descendants, engine_manifest, failure, journal, keyed, records, write_rows

Run = Callable[..., Result]
# An interpreter with pyarrow.
ARROW = {"MILLRACE_PYTHON": sys.executable}
READER = CONNECTORS / "reader.py"


@pytest.fixture
def flow(workdir: Path, files: FileSink) -> Callable[..., Path]:
    """`flow("Rows", size=10)`: a Flow of one stream, `items`, that a class reads from `rows.ndjson`."""

    def write(
        plugin: str = "Rows",
        *,
        name: str = "lake",
        settings: Spec | None = None,
        stream: Spec | None = None,
        mode: str = "Batch",
        **connection: Any,
    ) -> Path:
        reader = {"reader": plugin if ":" in plugin else f"{READER}:{plugin}"}
        place = {"rows": str(workdir / "rows.ndjson"), "journal": str(workdir / "journal"), **connection}
        return engine_manifest(
            workdir,
            "python",
            reader | (settings or {}),
            files.spec(),
            name=name,
            connection=place,
            streams=keyed("items", **(stream or {})),
            mode=mode,
        )

    return write


@pytest.mark.parametrize("plugin", ["Rows", "ArrowRows"])
def test_a_full_load_finds_changes_and_deletes(
    plugin: str, run: Run, flow: Callable[..., Path], workdir: Path, files: FileSink
) -> None:
    rows = records(100)
    write_rows(workdir / "rows.ndjson", rows)
    manifest = flow(plugin)
    expect(run(manifest, env=ARROW).stream("items"), read=100, inserted=100)
    same_rows(files.table(manifest, "items"), rows)

    changed = [{**row, "name": "changed"} if row["id"] <= 5 else row for row in rows if row["id"] % 10]
    write_rows(workdir / "rows.ndjson", [*changed, *records(7, 101)])
    counts = run(manifest, "--full", env=ARROW).stream("items")

    assert counts["load"] == "full"
    expect(counts, read=97, inserted=7, updated=5, unchanged=85, deleted=10, absent=10)
    same_rows(files.table(manifest, "items"), [*changed, *records(7, 101)])


def test_what_yields_arrow_and_what_yields_dictionaries_is_the_same(
    run: Run, flow: Callable[..., Path], workdir: Path, files: FileSink
) -> None:
    write_rows(workdir / "rows.ndjson", records(1000))
    manifest = flow("ArrowRows")
    run(manifest, env=ARROW)

    # By an interpreter that may have no pyarrow, and by one that has it.
    for env in ({}, ARROW):
        flow("Rows")
        expect(run(manifest, "--full", env=env).stream("items"), read=1000, unchanged=1000)


@pytest.mark.parametrize("plugin", ["Rows", "ArrowRows"])
def test_a_delta_follows_the_state_of_the_last_commit(
    plugin: str, run: Run, flow: Callable[..., Path], workdir: Path, files: FileSink
) -> None:
    write_rows(workdir / "rows.ndjson", records(100))
    manifest = flow(plugin)
    run(manifest, env=ARROW)
    write_rows(workdir / "rows.ndjson", records(120))

    counts = run(manifest, env=ARROW).stream("items")

    assert counts["load"] == "delta"
    expect(counts, read=20, inserted=20)
    before = files.fingerprint(manifest, "items")
    again = run(manifest, env=ARROW)
    expect(again.stream("items"), read=0)
    assert files.fingerprint(manifest, "items") == before
    assert [call["after"] for call in journal(workdir / "journal")] == [0, 100, 120]
    same_rows(files.table(manifest, "items"), records(120))


def test_an_empty_first_load_is_complete(run: Run, flow: Callable[..., Path], workdir: Path, files: FileSink) -> None:
    write_rows(workdir / "rows.ndjson", [])
    manifest = flow()
    expect(run(manifest).stream("items"), read=0)

    write_rows(workdir / "rows.ndjson", records(10))
    expect(run(manifest).stream("items"), read=10, inserted=10)

    same_rows(files.table(manifest, "items"), records(10))


@pytest.mark.parametrize("failpoint", ["commit.before", "commit.after", "state.before"])
def test_a_crash_at_the_commit_loses_and_doubles_nothing(
    failpoint: str, run: Run, flow: Callable[..., Path], workdir: Path, files: FileSink
) -> None:
    write_rows(workdir / "rows.ndjson", records(50))
    manifest = flow()
    run(manifest)
    write_rows(workdir / "rows.ndjson", records(120))

    assert run(manifest, env={"MILLRACE_FAILPOINT": failpoint}, check=False).returncode == -signal.SIGKILL

    write_rows(workdir / "rows.ndjson", records(125))
    counts = run(manifest).stream("items")
    assert counts["load"] == "delta"
    assert counts["inserted"] == (75 if failpoint == "commit.before" else 5), counts
    same_rows(files.table(manifest, "items"), records(125))


@pytest.mark.parametrize("plugin", ["Rows", "ArrowRows"])
def test_a_worker_that_is_killed_in_the_middle_loses_and_doubles_nothing(
    plugin: str, run: Run, millrace: Millrace, flow: Callable[..., Path], workdir: Path, files: FileSink
) -> None:
    write_rows(workdir / "rows.ndjson", records(100))
    # It is at work for ten seconds, so that the test finds it there; it is killed as soon as it has begun.
    manifest = flow(plugin, pause=1)
    for _ in range(2):
        calls = len(journal(workdir / "journal"))
        program = millrace.start("run", manifest, env=ARROW)
        wait_until(lambda calls=calls: len(journal(workdir / "journal")) > calls)  # type: ignore[misc]
        children = wait_until(lambda program=program: descendants(program.pid))  # type: ignore[misc]
        program.kill()
        program.communicate()
        # The host ends by itself: its input has ended, or nobody reads what it writes.
        wait_until(lambda children=children: not alive(children), what="the host ends")  # type: ignore[misc]

    flow(plugin)
    run(manifest, env=ARROW)

    same_rows(files.table(manifest, "items"), records(100))


@pytest.mark.parametrize("form", ["relative", "absolute", "module", "package"])
def test_the_class_is_found_by_each_form_of_path(
    form: str, run: Run, flow: Callable[..., Path], workdir: Path, files: FileSink
) -> None:
    write_rows(workdir / "rows.ndjson", records(10))
    (workdir / "lib" / "deep").mkdir(parents=True)
    for place in ("lib/reader.py", "lib/deep/inner.py"):
        shutil.copy(READER, workdir / place)
    (workdir / "lib" / "deep" / "__init__.py").touch()
    paths = {
        "relative": "./lib/reader.py:Rows",
        "absolute": f"{workdir}/lib/reader.py:Rows",
        "module": "reader:Rows",
        "package": "deep.inner:Rows",
    }
    manifest = flow(paths[form])

    result = run(manifest, env={"PYTHONPATH": str(workdir / "lib")})

    expect(result.stream("items"), read=10, inserted=10)
    same_rows(files.table(manifest, "items"), records(10))


def test_a_relative_path_is_meant_from_the_manifest(
    millrace: Millrace, flow: Callable[..., Path], workdir: Path, files: FileSink
) -> None:
    write_rows(workdir / "rows.ndjson", records(10))
    shutil.copy(READER, workdir / "mine.py")
    manifest = flow("./mine.py:Rows")
    (workdir / "elsewhere").mkdir()

    away = Millrace(millrace.binary, workdir / "elsewhere")
    result = away("run", manifest, "--output", "json")

    expect(result.stream("items"), read=10, inserted=10)


def test_a_pinned_file_runs_and_another_content_does_not(
    run: Run, flow: Callable[..., Path], workdir: Path, files: FileSink
) -> None:
    write_rows(workdir / "rows.ndjson", records(10))
    mine = Path(shutil.copy(READER, workdir / "mine.py"))
    digest = hashlib.sha256(mine.read_bytes()).hexdigest()
    manifest = flow("./mine.py:Rows", settings={"sha256": digest})
    expect(run(manifest).stream("items"), read=10, inserted=10)

    mine.write_text(mine.read_text() + f"\nopen({str(workdir / 'ran')!r}, 'w')\n")
    refused = run(manifest, check=False)

    assert refused.returncode == 2, str(refused)
    assert "mine.py" in refused.stderr and digest in refused.stderr, str(refused)
    assert not (workdir / "ran").exists(), "a changed file was run"
    same_rows(files.table(manifest, "items"), records(10))


def test_a_row_whose_value_does_not_fit_is_refused_alone(
    run: Run, flow: Callable[..., Path], workdir: Path, files: FileSink
) -> None:
    rows: list[dict[str, Any]] = records(100)
    wrong = [{**row, "id": None} if row["id"] == 7 else row for row in rows]
    wrong[50]["version"] = 51.5
    write_rows(workdir / "rows.ndjson", wrong)
    manifest = flow("Full")

    expect(run(manifest).stream("items"), read=100, inserted=98, refused=2)

    paths = files.lake.files(manifest)
    assert duck(f"select count(*), sum(id), max(version) from read_parquet({paths})") == [(98, 5050 - 7 - 51, 100)]
    letters = list(workdir.glob("out/**/_refused/**/*.ndjson"))
    text = "".join(path.read_text() for path in letters)
    assert text.count("\n") == 2 and "51.5" in text and "version" in text, text
    # Batches are counted from 1, and their rows from 0.
    assert [json.loads(line)["place"] for line in text.splitlines()] == [
        {"batch": 1, "row": 6},
        {"batch": 6, "row": 0},
    ]


ODD = """
from millrace import BaseReader
class Odd(BaseReader):
    def extract(self, state_manager=None):
        yield [{}, ["a", "list"], {None: 1}, {3: 4}, {"half \\ud800": 5}]
        yield [{"id": 1, "name": "a"}] * self.connection["good"]
"""


@pytest.mark.parametrize("env", [{}, ARROW], ids=["python3", "with pyarrow"])
def test_rows_without_columns_are_refused_and_those_after_them_are_delivered(
    env: dict[str, str], run: Run, flow: Callable[..., Path], workdir: Path, files: FileSink
) -> None:
    (workdir / "odd.py").write_text(ODD)
    manifest = flow("./odd.py:Odd", good=1)

    expect(run(manifest, env=env).stream("items"), read=6, inserted=1, refused=5)

    same_rows(files.table(manifest, "items"), [{"id": 1, "name": "a"}])
    (letters,) = workdir.glob("out/**/_refused/**/*.ndjson")
    assert [json.loads(line)["place"] for line in letters.read_text().splitlines()] == [{"batch": 1}] * 5


def test_a_column_of_nulls_alone_takes_what_comes_after_it(
    run: Run, flow: Callable[..., Path], workdir: Path, files: FileSink
) -> None:
    (workdir / "late.py").write_text(
        "import pyarrow as pa\nfrom millrace import BaseReader\n\n"
        "class Late(BaseReader):\n"
        "    def extract(self, state_manager=None):\n"
        "        yield pa.table({'id': [1], 'v': pa.nulls(1), 'o': [{'x': 1, 'y': None}]})\n"
        "        yield pa.table({'id': [2], 'v': ['hello'], 'o': [{'x': 2, 'y': 'there'}]})\n"
    )
    manifest = flow(f"{workdir}/late.py:Late")

    expect(run(manifest, env=ARROW).stream("items"), read=2, inserted=2)
    found = sorted(files.table(manifest, "items").to_pylist(), key=lambda row: row["id"])
    assert [(row["v"], row["o"]) for row in found] == [(None, {"x": 1, "y": None}), ("hello", {"x": 2, "y": "there"})]
    expect(run(manifest, "--full", env=ARROW).stream("items"), read=2, unchanged=2)


def test_nothing_but_rows_without_columns_is_told_with_the_batch_and_what_to_do(
    run: Run, flow: Callable[..., Path], workdir: Path
) -> None:
    (workdir / "odd.py").write_text(ODD)

    error = failure(run(flow("./odd.py:Odd", good=0), check=False))

    assert error["kind"] == "data" and "schema" in error["advice"], error
    assert "stream items" in error["message"] and '"batch":1' in error["message"], error
    assert "the key None is not a text" in error["message"] or "a row is a dictionary" in error["message"], error


def test_an_unknown_engine_or_no_reader_is_refused_before_anything_is_read(
    run: Run, flow: Callable[..., Path], workdir: Path
) -> None:
    write_rows(workdir / "rows.ndjson", records(10))
    manifest = flow()
    text = manifest.read_text()
    manifest.write_text(text.replace(f"reader: {READER}:Rows", "writer: ./none.py:Writer"))
    assert manifest.read_text() != text

    refused = run(manifest, check=False)

    assert refused.returncode == 2 and "reader" in str(refused), str(refused)
    assert not (workdir / "journal").exists()


def test_a_source_that_pushes_hears_what_is_safe_and_goes_on_from_there(
    millrace: Millrace, flow: Callable[..., Path], workdir: Path, files: FileSink
) -> None:
    safe = workdir / "journal"
    for rows in (300, 500):
        manifest = flow("Numbers", rows=rows, mode="Continuous")
        program = millrace.start("run", manifest, "--watch")
        wait_until(lambda rows=rows: {"last": rows} in (journal(safe) if safe.exists() else []))  # type: ignore[misc]
        program.terminate()
        program.communicate(timeout=600)
        same_rows(files.table(manifest, "items"), records(rows))
    said = [one["last"] for one in journal(safe)]
    assert said == sorted(said), said


def test_each_part_of_a_load_goes_on_from_its_own_position(
    run: Run, flow: Callable[..., Path], workdir: Path, files: FileSink
) -> None:
    write_rows(workdir / "rows.ndjson", records(100))
    manifest = flow("Parts", stream={"partitions": 2})
    expect(run(manifest).stream("items"), read=100, inserted=100)
    # The first of the two parts finds nothing.
    write_rows(workdir / "rows.ndjson", [*records(100), *records(1, 101)])
    for read in (1, 0):
        expect(run(manifest, "--delta").stream("items"), read=read, inserted=read)
    write_rows(workdir / "rows.ndjson", records(103))
    expect(run(manifest, "--delta").stream("items"), read=2, inserted=2)
    same_rows(files.table(manifest, "items"), records(103))
    asked = [(call["instance"], call["after"]) for call in journal(workdir / "journal")]
    assert sorted(asked) == [(0, 0), (0, 100), (0, 100), (0, 100), (1, 0), (1, 99), (1, 101), (1, 101)], asked


def test_a_plugin_that_has_too_many_parts_is_refused(
    run: Run, flow: Callable[..., Path], workdir: Path, files: FileSink
) -> None:
    (workdir / "mine.py").write_text(
        f"import sys\nsys.path.insert(0, {str(CONNECTORS)!r})\nfrom reader import Parts\n"
        "class Countless(Parts):\n"
        "    def discover(self):\n        return [{'name': 'items', 'partitions': 1_000_000}]\n"
    )
    write_rows(workdir / "rows.ndjson", records(100))

    error = failure(run(flow("./mine.py:Countless"), check=False))

    assert error["kind"] == "config" and "items" in error["message"], error
    assert "1000000 parts" in error["message"] and "10000" in error["message"], error
    assert not (workdir / "journal").exists()
    manifest = flow("./mine.py:Countless", stream={"partitions": 3})
    expect(run(manifest).stream("items"), read=100, inserted=100)
    same_rows(files.table(manifest, "items"), records(100))
