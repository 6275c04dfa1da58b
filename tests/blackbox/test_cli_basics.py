"""What a person meets first: init, discover, preview, status, errors and exit codes."""

import json
import os
import pty
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from harness import Lake, Millrace, columns, csv_source, parquet_files, resource

Write = Callable[..., Path]


def test_init_then_run_works_in_an_empty_directory(millrace: Millrace, workdir: Path) -> None:
    millrace("init")
    first = millrace("run", "--output", "json")
    assert first.stream("orders")["inserted"] == 5
    with (workdir / "orders.csv").open("a") as rows:
        rows.write("6,Zoe,pen,1,2026-01-09T00:00:00Z\n")
    second = millrace("run", "--output", "json").stream("orders")
    assert (second["inserted"], second["unchanged"], second["deleted"]) == (1, 5, 0)
    files = millrace("files", "orders").stdout.splitlines()
    assert files and all(Path(file).is_file() for file in files)


def test_init_never_overwrites(millrace: Millrace, workdir: Path) -> None:
    (workdir / "orders.csv").write_text("mine")
    refused = millrace("init", check=False)
    assert refused.returncode == 2 and "orders.csv is there already" in refused.stderr
    assert (workdir / "orders.csv").read_text() == "mine" and not (workdir / "flow.yaml").exists()
    millrace("init", "elsewhere")
    assert (workdir / "elsewhere" / "flow.yaml").is_file()


def test_what_discover_prints_is_a_ready_streams_block(
    millrace: Millrace, workdir: Path, write_csv: Write, manifest: Write
) -> None:
    orders = write_csv("orders.csv", [{"id": 1, "price": "1.10", "day": "2026-01-02"}])
    source = csv_source(orders)
    del source["streams"]
    path = manifest(source=source, destination=parquet_files(workdir / "out", "append"))
    block = yaml.safe_load(millrace("discover", path).stdout)
    assert [stream["name"] for stream in block["streams"]] == ["orders"]
    types = {field["name"]: field["logicalType"] for field in block["streams"][0]["schema"]}
    assert types["id"] == "integer" and types["day"] == "date"
    path = manifest(source={**source, **block}, destination=parquet_files(workdir / "out", "append"))
    assert millrace("run", path, "--output", "json").stream("orders")["inserted"] == 1
    found = millrace("discover", path, "--output", "json").json["sources"][0]
    assert (found["name"], found["streams"][0]["name"]) == ("lake", "orders")


def test_what_discover_prints_keeps_what_the_manifest_declares(
    millrace: Millrace, workdir: Path, write_csv: Write, manifest: Write
) -> None:
    orders = write_csv("orders.csv", [{"id": 1, "price": "1.10", "day": "2026-01-02"}])
    declared = {"schema": columns(price="number decimal(9,3)"), "cursorField": "day"}
    source = csv_source(orders, primary_key=["id", "day"], **declared)
    path = manifest(source=source, destination=parquet_files(workdir / "out"))
    (stream,) = yaml.safe_load(millrace("discover", path).stdout)["streams"]
    assert (stream["primaryKey"], stream["cursorField"]) == (["id", "day"], "day")
    assert [field["name"] for field in stream["schema"]] == ["price", "id", "day"]
    assert stream["schema"][0]["physicalType"] == "decimal(9,3)"
    path = manifest(source={**source, "streams": [stream]}, destination=parquet_files(workdir / "out"))
    assert millrace("run", path, "--output", "json").stream("orders")["inserted"] == 1


def test_preview_shows_the_first_rows(
    millrace: Millrace, workdir: Path, write_csv: Write, manifest: Write
) -> None:
    orders = write_csv("orders.csv", [{"id": n, "who": f"p{n}"} for n in range(100)])
    path = manifest(source=csv_source(orders), destination=parquet_files(workdir / "out", "append"))
    shown = millrace("preview", path, "--rows", "3").stdout
    assert "who" in shown and "p2" in shown and "p3" not in shown
    assert not (workdir / "out").exists() and not (workdir / ".millrace").exists()
    unknown = millrace("preview", path, "--stream", "ordres", check=False)
    assert unknown.returncode == 2 and "ordres" in unknown.stderr and "orders" in unknown.stderr


def test_status_tells_where_each_stream_stands(
    millrace: Millrace, workdir: Path, write_csv: Write, manifest: Write
) -> None:
    orders = write_csv("orders.csv", [{"id": 1}])
    path = manifest(
        source={**csv_source(orders, primary_key=["id"]), "fullLoadInterval": "1h"},
        destination=parquet_files(workdir / "out"),
    )
    before = millrace("status", path, "--output", "json").json["flows"][0]
    assert before["streams"] == [] and before["nextRun"]
    millrace("run", path)
    after = millrace("status", path, "--output", "json").json["flows"][0]
    assert (after["streams"][0]["name"], after["streams"][0]["generation"]) == ("orders", 1)
    assert after["streams"][0]["lastFullLoad"] and after["deliveryGuarantee"] == "ExactlyOnce"
    text = millrace("status", path).stdout
    assert str(workdir / ".millrace" / "state") in text and "orders" in text


def test_a_dry_run_counts_and_writes_nothing(
    millrace: Millrace, workdir: Path, write_csv: Write, manifest: Write, lake: Lake
) -> None:
    orders = write_csv("orders.csv", [{"id": 1, "n": 1}, {"id": 2, "n": 1}, {"id": 3, "n": 1}])
    path = manifest(source=csv_source(orders, primary_key=["id"]), destination=parquet_files(workdir / "out"))
    first = millrace("run", path, "--dry-run", "--output", "json")
    assert first.json["dryRun"] is True and first.stream("orders")["inserted"] == 3
    assert not list((workdir / "out").rglob("*.parquet"))
    millrace("run", path)
    write_csv("orders.csv", [{"id": 1, "n": 1}, {"id": 2, "n": 2}, {"id": 4, "n": 1}])
    counts = millrace("run", path, "--dry-run", "--output", "json").stream("orders")
    assert (counts["inserted"], counts["updated"], counts["deleted"]) == (1, 1, 1)
    assert sorted(row["id"] for row in lake.rows(path)) == [1, 2, 3]


def test_one_stream_of_several_is_loaded_alone(millrace: Millrace, workdir: Path, write_csv: Write) -> None:
    for name in ("a", "b"):
        write_csv(f"in/{name}.csv", [{"id": 1}])
    path = workdir / "lake.yaml"
    documents = [
        {
            "apiVersion": "millrace.dev/v1alpha1",
            "kind": "Source",
            "metadata": {"name": "lake"},
            "spec": {
                "connector": {"name": "file"},
                "connection": {"url": "in/{stream}.csv", "format": "csv"},
                "streams": [{"name": "a"}, {"name": "b"}],
            },
        },
        {
            "apiVersion": "millrace.dev/v1alpha1",
            "kind": "Flow",
            "metadata": {"name": "lake"},
            "spec": {
                "source": {"name": "lake"},
                "destination": {**parquet_files("out", "append"), "connector": {"name": "file"}},
            },
        },
    ]
    path.write_text(yaml.safe_dump_all(documents))
    one = millrace("run", path, "--stream", "b", "--output", "json").json["flows"][0]["streams"]
    assert [stream["name"] for stream in one] == ["b"]
    unknown = millrace("run", path, "--stream", "c", check=False)
    assert unknown.returncode == 2 and "`c`" in unknown.stderr and "a, b" in unknown.stderr


def test_a_wrong_manifest_is_told_with_its_place_and_exits_with_2(millrace: Millrace, workdir: Path) -> None:
    millrace("init")
    text = (workdir / "flow.yaml").read_text().replace("primaryKey: [id]", "primaryKy: [id]")
    (workdir / "flow.yaml").write_text(text)
    wrong = millrace("run", "flow.yaml", check=False)
    line = text.splitlines().index("      primaryKy: [id]") + 1
    assert wrong.returncode == 2
    assert f"flow.yaml:{line}" in wrong.stderr and "primaryKy" in wrong.stderr and "primaryKey" in wrong.stderr
    empty = workdir / "empty"
    empty.mkdir()
    nothing = millrace("run", empty, check=False)
    assert nothing.returncode == 2 and "holds no manifest" in nothing.stderr


def test_a_run_that_does_not_begin_is_told_to_programs_too(
    millrace: Millrace, workdir: Path, write_csv: Write, manifest: Write
) -> None:
    millrace("init")
    text = (workdir / "flow.yaml").read_text()
    (workdir / "flow.yaml").write_text(text.replace("primaryKey: [id]", "primaryKy: [id]"))
    wrong = millrace("run", "flow.yaml", "--output", "json", check=False)
    assert wrong.returncode == 2 and wrong.json["flows"] == []
    (error,) = wrong.json["errors"]
    assert (error["kind"], error["reason"], error["field"]) == ("config", "InvalidSpec", "spec.streams[0].primaryKy")
    assert error["file"].endswith("flow.yaml") and error["line"] and "primaryKey" in error["advice"]
    (workdir / "flow.yaml").write_text(text)
    for args in (["--flow", "nope"], ["--watch", "--stream", "nope"]):
        lost = millrace("run", "flow.yaml", "--output", "json", *args, check=False)
        (error,) = lost.json["errors"]
        assert lost.returncode == 2 and lost.json["flows"] == [] and "nope" in error["message"], str(lost)


def test_a_stream_whose_file_went_away_is_told(
    millrace: Millrace, workdir: Path, write_csv: Write, manifest: Write, lake: Lake
) -> None:
    for name in ("orders", "users"):
        write_csv(f"in/{name}.csv", [{"id": 1}])
    source = {"connector": "file", "connection": {"url": "in/{stream}.csv"}, "streams": [{"match": ".*", "primaryKey": ["id"]}]}
    path = manifest(source=source, destination=parquet_files(workdir / "out"))
    assert "gone" not in millrace("run", path, "--output", "json").json["flows"][0]
    (workdir / "in" / "users.csv").unlink()
    second = millrace("run", path, "--output", "json")
    assert second.json["flows"][0]["gone"] == ["users"]
    assert "users" in second.stderr and "no longer" in second.stderr, second.stderr
    assert len(lake.rows(path)) == 2
    # Of one stream that is asked for, nothing is said about others.
    assert "gone" not in millrace("run", path, "--stream", "orders", "--output", "json").json["flows"][0]


def test_a_failed_stream_exits_with_1_and_is_named(
    millrace: Millrace, workdir: Path, write_csv: Write, manifest: Write
) -> None:
    orders = write_csv("orders.csv", [{"id": 1}])
    path = manifest(source=csv_source(orders, primary_key=["id"]), destination=parquet_files(workdir / "out"))
    millrace("run", path)
    (workdir / "out" / "orders" / "HEAD.json").write_text("{")
    failed = millrace("run", path, "--output", "json", check=False)
    assert failed.returncode in (1, 3), str(failed)
    assert failed.stream("orders")["outcome"] == "failed"
    assert 'stream="orders"' in failed.stderr


def test_every_command_that_uses_local_state_states_its_place(millrace: Millrace) -> None:
    for command in (
        ["run"],
        ["status"],
        ["trigger"],
        ["files"],
        ["validate"],
        *(["state", action] for action in ("list", "show", "history", "set", "restore", "reset")),
    ):
        text = " ".join(millrace(*command, "--help").stdout.split())
        assert ".millrace/state" in text and "MILLRACE_STATE_DIR" in text, command


def test_exit_codes_are_documented(millrace: Millrace) -> None:
    for args in (["--help"], ["run", "--help"]):
        text = millrace(*args).stdout
        assert "Exit codes:" in text and "77" in text


def test_log_lines_are_json_where_that_is_asked_for(
    millrace: Millrace, workdir: Path, write_csv: Write, manifest: Write
) -> None:
    orders = write_csv("orders.csv", [{"id": 1}])
    path = manifest(source=csv_source(orders), destination=parquet_files(workdir / "out", "append"))
    result = millrace("run", path, env={"MILLRACE_LOG_FORMAT": "json"})
    lines: list[dict[str, Any]] = [json.loads(line) for line in result.stderr.splitlines()]
    done = next(line for line in lines if line.get("message") == "done")
    assert (done["stream"], done["read"], done["inserted"]) == ("orders", 1, 1)


def job(name: str, **spec: Any) -> str:
    """A Job's document."""
    text = {"apiVersion": "millrace.dev/v1alpha1", "kind": "Job", "metadata": {"name": name}, "spec": spec}
    return "---\n" + yaml.safe_dump(text)


def test_run_runs_the_flows_and_the_jobs_that_it_finds(
    millrace: Millrace, workdir: Path, write_csv: Write, manifest: Write
) -> None:
    orders = write_csv("orders.csv", [{"id": n} for n in range(5)])
    path = manifest(source=csv_source(orders, primary_key=["id"]), destination=parquet_files(workdir / "out"))
    own = {"source": {"name": "lake"}, "destination": {**parquet_files("own"), "connector": {"name": "file"}}}
    with path.open("a") as text:
        text.write(job("again", flow={"name": "lake"}, load="Full"))
        text.write(job("alone", flowTemplate={"spec": own}, load="Full"))
    flows = millrace("run", path, "--output", "json").json["flows"]
    assert [flow.get("job") for flow in flows] == [None, "again", "alone"]
    counts = [flow["streams"][0] for flow in flows]
    assert [(c["load"], c["inserted"], c["unchanged"]) for c in counts] == [
        ("full", 5, 0),
        ("full", 0, 5),
        ("full", 5, 0),
    ]
    assert list((workdir / "own").rglob("*.parquet"))
    missing = job("lost", flow={"name": "lkae"}, load="Full")
    (workdir / "lost.yaml").write_text(path.read_text() + missing)
    refused = millrace("run", "lost.yaml", check=False)
    assert refused.returncode == 2 and "Job/lost" in refused.stderr and "lake" in refused.stderr


def test_a_backfill_loads_its_range_and_the_watermark_stays(
    millrace: Millrace, workdir: Path, write_csv: Write, manifest: Write, lake: Lake
) -> None:
    rows = [{"id": n, "day": f"2026-01-{n:02}", "n": 1} for n in range(1, 11)]
    source = csv_source(write_csv("orders.csv", rows), primary_key=["id"], cursorField="day")
    path = manifest(source=source, destination=parquet_files(workdir / "out"))
    millrace("run", path)
    before = millrace("status", path, "--output", "json").json["flows"][0]["streams"][0]["watermark"]
    write_csv("orders.csv", [{**row, "n": 2} for row in rows])
    backfill = {"from": "2026-01-03", "to": "2026-01-05"}
    (workdir / "job.yaml").write_text(job("again", flow={"name": "lake"}, load="Backfill", backfill=backfill))
    done = millrace("run", path, "job.yaml", "--job", "again", "--output", "json").stream("orders")
    assert (done["load"], done["updated"]) == ("backfill", 2), done
    changed = {row["id"] for row in lake.rows(path) if row["n"] == 2}
    assert changed == {3, 4}
    after = millrace("status", path, "--output", "json").json["flows"][0]["streams"][0]["watermark"]
    assert before == after
    unknown = millrace("run", path, "job.yaml", "--job", "agian", check=False)
    assert unknown.returncode == 2 and "they have again" in unknown.stderr


def test_on_a_terminal_bars_tell_how_it_goes_and_a_table_closes(
    millrace: Millrace, workdir: Path, manifest: Write
) -> None:
    # It reads for a second by the clock, on whatever machine: bars are drawn ten times in it.
    limit = {"requestsPerSecond": 10, "burst": 1}
    path = manifest(
        source={"connector": "slow", "connection": {"rows": 100_000, "batchRows": 10_000}},
        destination=parquet_files(workdir / "out", "append"),
        documents=[resource("Connector", "slow", {"type": "generator", "roles": ["source"], "rateLimit": limit})],
    )
    # A terminal of the test's own; log lines would stand between the bars.
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [millrace.binary, "run", str(path)],
        cwd=workdir,
        env=millrace.environment({"TERM": "xterm"}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        drawn = b""
        while chunk := _read(ours):
            drawn += chunk
        table = process.stdout.read().decode() if process.stdout else ""
    text = drawn.decode()
    assert process.returncode == 0, text
    assert "lake rows" in text and "rows/s" in text and "━" in text and " INFO " not in text
    assert "inserted" in table and "100,000" in table


def test_in_a_pipe_log_lines_tell_all_of_it_once(
    millrace: Millrace, workdir: Path, write_csv: Write, manifest: Write
) -> None:
    write_csv("orders.csv", [{"id": n, "n": 1} for n in range(200)])
    path = manifest(
        source=csv_source(workdir / "orders.csv", primary_key=["id"]),
        destination=parquet_files(workdir / "out"),
    )
    done = millrace("run", path)
    assert done.stdout == "" and done.stderr.count("inserted=200") == 1, str(done)
    write_csv("orders.csv", [{"id": 1, "n": 1}])
    failed = millrace("run", path, check=False)
    assert failed.returncode == 1 and failed.stdout == "", str(failed)
    (line,) = [text for text in failed.stderr.splitlines() if "would delete" in text]
    assert "ERROR" in line and "stream=\"orders\"" in line, line
    # A Flow that could not begin has no line of its own.
    (workdir / "orders.csv").unlink()
    lost = millrace("run", path, check=False)
    assert lost.returncode != 0 and lost.stderr.count("error:") == 1, str(lost)


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""  # The other end is closed.
