"""The engine `python`: whatever a class does wrong is answered with its name, and nothing else is touched."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness import Millrace, Result
from kit import FileSink, end_at_once, expect, memory_limit_kib, same_rows, wait_until
from plugins import CONNECTORS, alive, descendants, engine_manifest, failure, keyed, records, write_rows

Run = Callable[..., Result]
READER = CONNECTORS / "reader.py"
PASSWORD = "pa55-Word-of-the-plugin"
CREDENTIAL = [{"name": "password", "file": "secret.txt"}]
IMPATIENT = {"MILLRACE_PLUGIN_PATIENCE": "4"}


@pytest.fixture
def flow(workdir: Path, files: FileSink) -> Callable[..., Path]:
    """`flow(at=3, do="raise")`: a Flow whose class misbehaves before its third batch of ten; `at=0` is the end."""
    write_rows(workdir / "rows.ndjson", records(100))
    (workdir / "secret.txt").write_text(PASSWORD)

    def write(plugin: str = f"{READER}:Rows", *, name: str = "lake", **then: Any) -> Path:
        paths = {key: str(workdir / value) for key, value in {"rows": "rows.ndjson", "born": "born"}.items()}
        place = {**paths, **then.pop("connection", {}), **({"then": then} if then else {})}
        return engine_manifest(
            workdir,
            "python",
            {"reader": plugin},
            FileSink(files.lake, f"{files.root}/{name}").spec(),
            name=name,
            connection=place,
            streams=keyed("items"),
            credentials=CREDENTIAL,
        )

    return write


def delivered(files: FileSink, manifest: Path) -> Any:
    """What the Flow of a manifest has delivered."""
    return FileSink(files.lake, f"{files.root}/{manifest.stem}").table(manifest, "items")


@pytest.mark.parametrize(
    ("text", "plugin", "wanted"),
    [
        (None, "./redaer.py:Rows", ["redaer.py", "module not found"]),
        (None, "nowhere.at.all:Rows", ["nowhere", "module not found"]),
        ("from millrace import BaseReader\nclass Raeder(BaseReader): pass\n", "./mine.py:Reader", ["Reader", "Raeder"]),
        ("class Reader: pass\n", "./mine.py:Reader", ["class `Reader`", "millrace.BaseReader"]),
        ("Reader = 7\n", "./mine.py:Reader", ["Reader"]),
        ("import left_pad_of_pumps\n", "./mine.py:Reader", ["left_pad_of_pumps", "requirements"]),
        ("def broken(:\n", "./mine.py:Reader", ["mine.py", "SyntaxError"]),
        (None, "__main__:Reader", ["notebook", "%%writefile"]),
    ],
    ids=["file", "module", "class", "base", "no class", "package", "syntax", "notebook"],
)
def test_a_wrong_plugin_is_refused_before_anything_is_read(
    text: str | None, plugin: str, wanted: list[str], run: Run, flow: Callable[..., Path], workdir: Path
) -> None:
    if text:
        (workdir / "mine.py").write_text(text)

    result = run(flow(plugin), check=False)

    assert result.returncode == 2, str(result)
    error = failure(result)
    assert error["kind"] == "config", error
    for part in wanted:
        assert part in f"{error['message']} {error.get('advice')}", (part, error)
    assert not (workdir / "out").exists()


def test_an_exception_is_told_with_its_traceback_and_its_batch(
    run: Run, flow: Callable[..., Path], files: FileSink
) -> None:
    result = run(flow(at=3, do="raise"), check=False)

    error = failure(result)
    assert error["kind"] == "bug", error
    assert "ValueError" in error["message"] and "reader.py:Rows" in error["message"], error
    assert "batch 3" in error["message"], error
    assert result.stderr.count("Traceback") == result.stderr.count("in do_raise") == 1, str(result)
    assert "millrace/host" not in str(result)
    assert PASSWORD not in str(result)
    # Mended, it delivers all, once.
    manifest = flow()
    expect(run(manifest).stream("items"), read=100, inserted=100)
    same_rows(delivered(files, manifest), records(100))


@pytest.mark.parametrize("text", ["import pumps_of_acme", "from json import pumps", "raise ValueError('no pumps')"])
def test_an_import_that_fails_is_told_once_with_the_lines_of_the_plugin(
    text: str, run: Run, flow: Callable[..., Path], workdir: Path
) -> None:
    (workdir / "mine.py").write_text("import pumps\n")
    (workdir / "pumps.py").write_text(f"{text}\n")

    result = run(flow("./mine.py:Rows"), check=False)

    told = result.stderr
    assert told.count("Traceback") == 1, str(result)
    frames = [Path(line.split('"')[1]) for line in told.splitlines() if line.startswith("  File")]
    assert frames == [workdir / "mine.py", workdir / "pumps.py"], str(result)


@pytest.mark.parametrize(
    ("do", "words"),
    [
        ("leave", "ended with 0 before it was done"),
        ("exit", "sys.exit(0)"),
        ("die", "signal 9"),
        ("abort", "signal 6"),
    ],
)
@pytest.mark.parametrize("at", [1, 4, 0], ids=["before", "middle", "end"])
def test_a_death_is_a_failure_whatever_it_looks_like(
    do: str, words: str, at: int, run: Run, flow: Callable[..., Path], files: FileSink
) -> None:
    manifest = flow()
    run(manifest)
    before = delivered(files, manifest)

    result = run(flow(at=at, do=do), "--full", check=False)

    error = failure(result)
    assert words in error["message"] and "reader.py:Rows" in error["message"], error
    # What was not read is not deleted.
    same_rows(delivered(files, manifest), before)
    expect(run(flow(), "--full").stream("items"), read=100, unchanged=100)


def test_a_kill_that_passes_is_tried_again(run: Run, flow: Callable[..., Path], workdir: Path, files: FileSink) -> None:
    manifest = flow(at=4, do="die", unless=str(workdir / "died"))

    result = run(manifest)

    assert (workdir / "died").exists() and "again" in result.stderr, str(result)
    expect(result.stream("items"), read=100, inserted=100)
    same_rows(delivered(files, manifest), records(100))


@pytest.mark.parametrize("at", [1, 4])
def test_a_hang_is_ended(at: int, run: Run, millrace: Millrace, flow: Callable[..., Path], workdir: Path) -> None:
    manifest = flow(at=at, do="hang", unless=str(workdir / "hung"))

    # Without an end it would hang for 15 minutes, which is beyond what a run may take here.
    result = run(manifest, env=IMPATIENT)

    assert "was silent for 4 s" in result.stderr and "reader.py:Rows" in result.stderr, str(result)
    expect(result.stream("items"), read=100, inserted=100)


def test_a_flood_of_output_is_neither_an_answer_nor_in_the_way(
    millrace: Millrace, flow: Callable[..., Path], files: FileSink
) -> None:
    manifest = flow(at=3, do="flood")
    with (millrace.cwd / "log").open("w") as log:
        program = millrace.start("run", manifest, "--output", "json")
        assert program.stderr is not None and program.stdout is not None
        peak = 0
        for line in program.stderr:
            log.write(line)
            peak = max(peak, memory_limit_kib(program))
        stdout, code = program.stdout.read(), program.wait(600)

    assert code == 0, (millrace.cwd / "log").read_text()[-2000:]
    (stream,) = json.loads(stdout)["flows"][0]["streams"]
    expect(stream, read=100, inserted=100)
    same_rows(delivered(files, manifest), records(100))
    text = (millrace.cwd / "log").read_text()
    # Some of it is shown, and that there was more.
    assert "stdout 0 " in text and "says more than is logged" in text
    assert len(text) < 5_000_000 and peak < 400 * 1024, (len(text), peak)


def test_a_credential_is_in_no_log_no_argument_no_state(
    millrace: Millrace, flow: Callable[..., Path], workdir: Path
) -> None:
    manifest = flow(at=2, do="tell", connection={"pause": 0.1})
    program = millrace.start("run", manifest, "--output", "json")
    seen: set[bytes] = set()
    while program.poll() is None:
        for pid in [program.pid, *descendants(program.pid)]:
            try:
                seen.add(Path(f"/proc/{pid}/cmdline").read_bytes())
            except (FileNotFoundError, ProcessLookupError):
                continue
        time.sleep(0.01)
    stdout, stderr = program.communicate()

    assert program.returncode == 0, stderr
    assert any(b"millrace.host" in line for line in seen), seen
    assert not [line for line in seen if PASSWORD.encode() in line and b"echo" not in line]
    assert PASSWORD not in stdout + stderr
    # Each of its four ways to say it was heard.
    assert stderr.count("the password is") == 3 and "a child says" in stderr, stderr
    left = [path for path in workdir.rglob("*") if path.is_file() and path.name != "secret.txt"]
    assert not [path for path in left if PASSWORD.encode() in path.read_bytes()]


@pytest.mark.parametrize("do", ["leave", "die", "hang", "flood", "raise"])
def test_another_flow_goes_on(do: str, run: Run, flow: Callable[..., Path], files: FileSink) -> None:
    bad = flow(name="bad", at=2, do=do)
    good = flow(name="good", connection={"pause": 0.02})

    # Only what hangs is silent: a flood may take its time on a busy machine.
    result = run(bad, good, env=IMPATIENT if do == "hang" else None, check=False)

    flows = {one["name"]: one for one in result.json["flows"]}
    expect(flows["good"]["streams"][0], read=100, inserted=100)
    same_rows(delivered(files, good), records(100))
    assert (result.returncode == 0) == (do == "flood"), str(result)
    assert flows["bad"]["streams"][0]["outcome"] == ("loaded" if do == "flood" else "failed"), str(result)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL], ids=["terminated", "killed"])
@pytest.mark.parametrize("do", ["hang", "bear"])
def test_no_child_outlives_the_worker(
    do: str, end: signal.Signals, millrace: Millrace, flow: Callable[..., Path], workdir: Path
) -> None:
    # Row by row, so that the one that does not hang is at work for half a minute.
    manifest = flow(at=2, do=do, connection={"pause": 0.3, "size": 1})
    program = millrace.start("run", manifest)
    if do == "bear":
        wait_until((workdir / "born").exists)
    wait_until(lambda: len(descendants(program.pid)) >= (2 if do == "bear" else 1))
    time.sleep(0.5)
    children = descendants(program.pid)

    if end == signal.SIGTERM:
        # The first one would let it finish what has begun, which here takes an hour.
        end_at_once(program)
    else:
        program.send_signal(end)
        program.communicate(timeout=600)

    wait_until(lambda: not alive(children), what=f"the end of {children}")
