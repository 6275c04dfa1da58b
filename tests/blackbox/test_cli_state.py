"""`millrace state`: looking at state, and a person's changes of it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Lake, Millrace, csv_source, parquet_files

Write = Callable[..., Path]
ROWS = [{"id": n, "n": 1} for n in range(1, 4)]


@pytest.fixture
def loaded(millrace: Millrace, workdir: Path, write_csv: Write, manifest: Write) -> Path:
    """A Flow that has delivered three rows."""
    path = manifest(
        source=csv_source(write_csv("orders.csv", ROWS), primary_key=["id"]),
        destination=parquet_files(workdir / "out"),
    )
    millrace("run", path)
    return path


def test_state_is_listed_with_and_without_manifests(millrace: Millrace, loaded: Path) -> None:
    for args in ([], [loaded]):
        shards = millrace("state", "list", *args, "--output", "json").json
        assert shards == [{"state": "default/lake", "stream": "orders"}]


def test_show_has_the_word_of_the_store_and_of_the_destination(millrace: Millrace, loaded: Path) -> None:
    (shown,) = millrace("state", "show", "lake", loaded, "--output", "json").json
    assert shown["record"]["committed"]["seq"] == shown["destination"]["seq"] == 1
    assert "says the same" in millrace("state", "show", "lake", loaded).stdout
    assert "1.1" in millrace("state", "show", "lake").stdout


def test_a_revision_is_restored(millrace: Millrace, loaded: Path, write_csv: Write, lake: Lake) -> None:
    write_csv("orders.csv", [*ROWS, {"id": 4, "n": 1}])
    millrace("run", loaded)
    (history,) = millrace("state", "history", "lake", loaded, "--output", "json").json
    causes = [revision["run"]["cause"] for revision in history["history"]]
    assert causes.count("full") == 2
    unknown = millrace("state", "restore", "lake", loaded, "--stream", "orders", "--to", "9.9", check=False)
    assert unknown.returncode == 2 and "9.9" in unknown.stderr and "1.1" in unknown.stderr
    millrace("state", "restore", "lake", loaded, "--stream", "orders", "--to", "1.1")
    assert "restore" in millrace("state", "show", "lake").stdout
    millrace("run", loaded)
    assert sorted(row["id"] for row in lake.rows(loaded)) == [1, 2, 3, 4]


def test_a_change_names_its_stream(millrace: Millrace, loaded: Path) -> None:
    for action in (["reset"], ["set", "--watermark", "1"], ["restore", "--to", "1.1"]):
        refused = millrace("state", action[0], "lake", loaded, *action[1:], check=False)
        assert refused.returncode == 2 and "--stream NAME" in refused.stderr, str(refused)


def test_after_a_reset_the_next_load_begins_anew_and_doubles_nothing(
    millrace: Millrace, loaded: Path, lake: Lake
) -> None:
    millrace("state", "reset", "lake", loaded, "--stream", "orders")
    assert "begins anew" in millrace("state", "reset", "lake", loaded, "--all-streams").stderr
    again = millrace("run", loaded, "--output", "json").stream("orders")
    assert again["unchanged"] == again["read"] == 3, again
    assert sorted(row["id"] for row in lake.rows(loaded)) == [1, 2, 3]


def test_a_watermark_is_set(millrace: Millrace, loaded: Path) -> None:
    millrace("state", "set", "lake", loaded, "--stream", "orders", "--watermark", '{"files": {}}')
    (shown,) = millrace("state", "show", "lake", "--output", "json").json
    assert shown["record"]["edit"]["offset"]["watermark"] == {"files": {}}


def test_lost_state_stops_the_flow_until_it_is_taken_from_the_destination(
    millrace: Millrace, workdir: Path, loaded: Path, lake: Lake
) -> None:
    shutil.rmtree(workdir / ".millrace")
    lost = millrace("run", loaded, check=False)
    assert lost.returncode == 3 and "StateLost" in lost.stderr, str(lost)
    assert "millrace state restore" in lost.stderr and "--from-destination" in lost.stderr
    # The manifests of the current directory tell where the destination is.
    millrace("state", "restore", "lake", "--stream", "orders", "--from-destination")
    counts = millrace("run", loaded, "--output", "json").stream("orders")
    assert (counts["unchanged"], counts["inserted"]) == (3, 0)
    again = millrace(
        "state", "restore", "lake", loaded, "--stream", "orders", "--from-destination", check=False
    )
    assert again.returncode == 2 and "has the state" in again.stderr


def test_state_lies_where_it_is_told_to(
    millrace: Millrace, workdir: Path, write_csv: Write, manifest: Write
) -> None:
    path = manifest(
        source=csv_source(write_csv("orders.csv", ROWS), primary_key=["id"]),
        destination=parquet_files(workdir / "out"),
    )
    millrace("run", path, "--state", "elsewhere")
    assert (workdir / "elsewhere").is_dir() and not (workdir / ".millrace").exists()
    assert millrace("state", "list", "--state", "elsewhere", "--output", "json").json
    named = millrace("run", path, env={"MILLRACE_STATE_DIR": str(workdir / "elsewhere")})
    assert str(workdir / "elsewhere") in named.stderr


def test_state_of_another_flow_is_taken_over_only_by_its_name(
    millrace: Millrace, workdir: Path, loaded: Path, manifest: Write, lake: Lake
) -> None:
    ours = manifest(
        "pond",
        source=csv_source(workdir / "orders.csv", primary_key=["id"]),
        destination=parquet_files(workdir / "out"),
        state={"id": "default/lake"},
    )
    for options in ([], ["--adopt-state", "local:default/another"]):
        refused = millrace("run", ours, *options, check=False)
        assert refused.returncode == 3 and "StateOwnedByOther" in refused.stderr, str(refused)
        assert "millrace.dev/adopt-state: local:default/lake" in refused.stderr, str(refused)
    adopted = millrace("run", ours, "--adopt-state", "local:default/lake", "--output", "json")
    assert adopted.stream("orders")["unchanged"] == 3
    # From now on it is its own.
    assert millrace("run", ours, "--output", "json").stream("orders")["unchanged"] == 3
    assert millrace("run", loaded, check=False).returncode == 3
    assert len(lake.rows(ours)) == 3


@pytest.mark.parametrize("what", ["parquet", "index"])
def test_a_file_that_was_removed_by_hand_is_told_and_can_be_made_anew(
    what: str, millrace: Millrace, workdir: Path, loaded: Path, lake: Lake
) -> None:
    (file,) = (workdir / "out" / "orders").rglob(f"*.{what}")
    content = file.read_bytes()
    file.unlink()
    for words in ("run", "run --dry-run", "files lake"):
        stopped = millrace(*words.split(), loaded, check=False)
        assert stopped.returncode == 3 and "DataMissing" in stopped.stderr, str(stopped)
        assert file.name in stopped.stderr and "state reset" in stopped.stderr, str(stopped)
    file.write_bytes(content)
    assert millrace("run", loaded, "--output", "json").stream("orders")["unchanged"] == 3
    # As the error says: without a backup all is taken away, and delivered once more.
    file.unlink()
    shutil.rmtree(workdir / "out" / "orders")
    millrace("state", "reset", "lake", loaded, "--stream", "orders")
    assert millrace("run", loaded, "--output", "json").stream("orders")["inserted"] == 3
    assert sorted(row["id"] for row in lake.rows(loaded)) == [1, 2, 3]


def test_a_removed_file_of_a_table_that_is_written_whole_is_written_anew(
    millrace: Millrace, workdir: Path, write_csv: Write, manifest: Write, lake: Lake
) -> None:
    path = manifest(
        source=csv_source(write_csv("orders.csv", ROWS)), destination=parquet_files(workdir / "out", "overwrite")
    )
    millrace("run", path)
    (file,) = (workdir / "out" / "orders").rglob("*.parquet")
    file.unlink()
    millrace("run", path)
    assert sorted(row["id"] for row in lake.rows(path)) == [1, 2, 3]
