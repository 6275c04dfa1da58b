"""The engine `airbyte` at the writing end: rows are committed where the destination has given their state back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness import Millrace, Result, Row, columns
from kit import expect, letters, same_rows
from plugins import (
    connector,
    failure,
    journal,
    kept,
    keyed,
    no_child_outlives,
    records,
    write_rows,
    written,
    written_manifest,
)

Run = Callable[..., Result]


@pytest.fixture
def flow(workdir: Path) -> Callable[..., Path]:
    """`flow("append", state="twice")`: a Flow of `items`; the fields are those of the destination's configuration."""

    def write(
        mode: str = "upsert",
        *args: str,
        stream: str = "items",
        fields: Row | None = None,
        options: Row | None = None,
        credentials: list[Row] | None = None,
        reader: Row | None = None,
        **config: Any,
    ) -> Path:
        return written_manifest(
            workdir,
            "airbyte",
            connector("destination.py", *args),
            mode,
            connection={"out": str(workdir / "out"), "journal": str(workdir / "journal"), **config},
            streams=keyed(stream, **(fields or {})),
            options=options,
            credentials=credentials or (),
            **(reader or {}),
        )

    return write


def writes(workdir: Path) -> list[Row]:
    """The streams that it was asked to write, in order."""
    calls = [call for call in journal(workdir / "journal") if call["verb"] == "write"]
    return [call["catalog"]["streams"][0] for call in calls]


def test_upserts_replace_rows_by_key(run: Run, flow: Callable[..., Path], workdir: Path) -> None:
    write_rows(workdir / "rows.ndjson", records(100))
    manifest = flow()
    first = run(manifest)
    expect(first.stream("items"), read=100, inserted=100)
    same_rows(written(workdir), records(100))
    changed = [{**records(1)[0], "version": 101, "name": "changed"}, *records(20, 102)]
    write_rows(workdir / "rows.ndjson", changed)

    counts = run(manifest).stream("items")

    assert counts["load"] == "delta"
    expect(counts, read=21, inserted=20, updated=1)
    same_rows(written(workdir), [changed[0], *records(100)[1:], *changed[1:]])
    # Nothing new: nothing is started.
    calls = len(writes(workdir))
    expect(run(manifest).stream("items"), read=0)
    assert len(writes(workdir)) == calls == 2
    assert first.json["flows"][0]["deliveryGuarantee"] == "EffectivelyOnce", first
    asked = writes(workdir)[0]
    assert asked["primary_key"] == [["id"]] and asked["cursor_field"] == ["_millrace_loaded_at"], asked
    assert (asked["destination_sync_mode"], asked["minimum_generation_id"]) == ("append_dedup", 0), asked


def test_appends_add_to_what_is_there(run: Run, flow: Callable[..., Path], workdir: Path) -> None:
    write_rows(workdir / "rows.ndjson", records(50))
    manifest = flow("append")
    run(manifest)
    write_rows(workdir / "rows.ndjson", records(80))

    result = run(manifest)

    expect(result.stream("items"), read=30, inserted=30)
    same_rows(written(workdir), records(80))
    assert result.json["flows"][0]["deliveryGuarantee"] == "AtLeastOnce", result
    modes = {asked["destination_sync_mode"] for asked in writes(workdir)}
    assert modes == {"append"}


def test_a_load_that_replaces_is_a_new_generation(run: Run, flow: Callable[..., Path], workdir: Path) -> None:
    manifest = flow("overwrite")
    for count in (100, 60, 60, 0):
        write_rows(workdir / "rows.ndjson", records(count))
        run(manifest)
        same_rows(written(workdir), records(count))
    asked = writes(workdir)
    assert [one["destination_sync_mode"] for one in asked] == ["overwrite"] * 4
    generations = [(one["generation_id"], one["minimum_generation_id"]) for one in asked]
    assert generations == [(n, n) for n in range(1, 5)]
    syncs = [one["sync_id"] for one in asked]
    assert syncs == sorted(set(syncs)), syncs


def test_deletes_that_nothing_could_tell_of_are_refused(run: Run, flow: Callable[..., Path], workdir: Path) -> None:
    write_rows(workdir / "rows.ndjson", records(1))
    silent = flow("append", options={"_millrace_op": False})
    run(silent)
    write_rows(workdir / "rows.ndjson", [{"id": 1, "version": 2, "name": "x", "_millrace_op": "delete"}])
    error = failure(run(silent, check=False))
    assert error["kind"] == "config" and "deleted" in error["message"] and "upsert" in error["advice"], error
    # In a log they are rows like any other.
    run(flow("append"))
    assert '"_millrace_op": "delete"' in (workdir / "out" / "items.ndjson").read_text()


def test_each_type_arrives_as_its_schema_says(run: Run, flow: Callable[..., Path], workdir: Path) -> None:
    declared = columns(
        id="integer",
        version="integer",
        price="number decimal(38,2)",
        score="number",
        fine="boolean",
        day="date",
        moment="timestamp timestamp_tz",
        text="string",
    )
    full = {
        "price": "12345678901234567890.10",
        "score": 0.25,
        "fine": True,
        "day": "2024-02-29",
        "moment": "2024-02-29T12:00:00.123456Z",
        "text": 'a "quoted"\nline, \u2028 and 𝄞',
    }
    none = dict.fromkeys(full)
    write_rows(workdir / "rows.ndjson", [{"id": 1, "version": 1, **full}, {"id": 2, "version": 2, **none}])

    run(flow(fields={"schema": declared}))

    lines = (workdir / "out" / "items.ndjson").read_text().splitlines()
    found = kept(workdir / "out" / "items.ndjson")
    assert {**found[0], "price": ""} == {"id": 1, "version": 1, **full, "price": ""}
    assert {name: value for name, value in found[1].items() if name in none} == none
    assert len(lines) == 2
    properties = writes(workdir)[0]["stream"]["json_schema"]["properties"]
    assert properties["price"] == {"type": ["null", "number"], "multipleOf": 0.01}
    assert properties["moment"]["airbyte_type"] == "timestamp_with_timezone"
    assert properties["day"]["format"] == "date"


def test_a_number_that_json_has_no_digits_for_is_refused_alone(
    run: Run, flow: Callable[..., Path], workdir: Path
) -> None:
    rows = [{**row, "score": 1.5} for row in records(10)]
    rows[4]["score"] = float("nan")
    write_rows(workdir / "rows.ndjson", rows)

    expect(run(flow()).stream("items"), read=10, inserted=9, refused=1)

    same_rows(written(workdir), [row for row in rows if row["id"] != 5])
    (letter,) = letters(workdir)
    assert "score" in letter["reason"] and letter["row"]["id"] == 5, letter


def test_streams_of_a_namespace_keep_it(run: Run, flow: Callable[..., Path], workdir: Path) -> None:
    write_rows(workdir / "rows.ndjson", records(10))
    run(flow(stream="shop.items"))
    same_rows(written(workdir, "shop.items"), records(10))
    assert writes(workdir)[0]["stream"]["namespace"] == "shop"


@pytest.mark.parametrize("state", ["wrapped", "unwrapped", "twice"])
def test_a_state_is_known_however_it_comes_back(
    state: str, run: Run, flow: Callable[..., Path], workdir: Path
) -> None:
    write_rows(workdir / "rows.ndjson", records(30))
    noise = ["", "Flushing…", "{not json", "[]", "5", '{"type":"STATE"}', '{"type":"STATE","state":{}}']
    expect(run(flow(state=state, before=noise)).stream("items"), read=30, inserted=30)
    same_rows(written(workdir), records(30))


@pytest.mark.parametrize("state", ["none", "other"])
def test_a_good_end_without_the_state_is_not_believed(
    state: str, run: Run, flow: Callable[..., Path], workdir: Path
) -> None:
    write_rows(workdir / "rows.ndjson", records(30))

    error = failure(run(flow(state=state, loses=True), check=False))

    assert error["kind"] == "bug" and "did not give back the state" in error["message"], error
    assert "destination.py" in error["message"], error
    expect(run(flow()).stream("items"), read=30, inserted=30)
    same_rows(written(workdir), records(30))


def test_a_death_that_passes_is_tried_again_within_the_run(
    run: Run, flow: Callable[..., Path], workdir: Path
) -> None:
    write_rows(workdir / "rows.ndjson", records(100))
    once = str(workdir / "died")

    counts = run(flow(then={"at": 50, "signal": "SIGKILL", "unless": once})).stream("items")

    assert Path(once).exists()
    expect(counts, read=100, inserted=100)
    same_rows(written(workdir), records(100))


@pytest.mark.parametrize(
    ("failure_type", "kind"), [("config_error", "config"), ("system_error", "bug"), ("transient_error", "transient")]
)
def test_an_error_that_it_tells_is_a_failure_whatever_its_exit_code(
    failure_type: str, kind: str, run: Run, flow: Callable[..., Path], workdir: Path
) -> None:
    write_rows(workdir / "rows.ndjson", records(10))
    told = {"message": "the lake is dry", "failure_type": failure_type}
    error = failure(run(flow(error=told), check=False))
    assert error["kind"] == kind and "the lake is dry" in error["message"], error


def test_a_mode_that_it_does_not_know_is_told_before_anything_is_read(
    run: Run, flow: Callable[..., Path], workdir: Path
) -> None:
    write_rows(workdir / "rows.ndjson", records(10))
    error = failure(run(flow("upsert", "--modes=append,overwrite"), check=False))
    assert error["kind"] == "config" and "append_dedup" in error["message"], error
    assert "append, overwrite" in error["advice"], error
    run(flow("append", "--modes=append,overwrite"))
    same_rows(written(workdir), records(10))


def test_validate_asks_it_to_check(millrace: Millrace, flow: Callable[..., Path], workdir: Path) -> None:
    write_rows(workdir / "rows.ndjson", records(10))
    assert millrace("validate", flow(), "--connect").returncode == 0
    dry = flow(check={"status": "FAILED", "message": "no such lake"})
    failed = millrace("validate", dry, "--connect", check=False)
    assert failed.returncode != 0 and "no such lake" in f"{failed.stdout}{failed.stderr}"
    assert not (workdir / "out").exists()


def test_what_it_says_of_a_credential_is_hidden(run: Run, flow: Callable[..., Path], workdir: Path) -> None:
    write_rows(workdir / "rows.ndjson", records(10))
    (workdir / "token").write_text("s3cret-Tok3n")
    said = "it opens with s3cret-Tok3n"
    manifest = flow(
        credentials=[{"name": "deep.token", "file": "token"}],
        deep={"user": "me"},
        before=[said, '{"type":"LOG","log":{"level":"WARN","message":"s3cret-Tok3n"}}'],
        error={"message": said, "failure_type": "config_error", "internal_message": said + "!"},
        then={"at": 5, "stderr": said},
    )

    result = run(manifest, check=False)

    assert "it opens with" in str(result) and "s3cret" not in str(result), str(result)
    (call,) = [call for call in journal(workdir / "journal") if call["verb"] == "write"]
    assert call["config"]["deep"] == {"user": "me", "token": "s3cret-Tok3n"}


def test_no_child_outlives_the_worker(millrace: Millrace, flow: Callable[..., Path], workdir: Path) -> None:
    write_rows(workdir / "rows.ndjson", records(100))
    program = millrace.start("run", flow(then={"at": 50, "hang": True}))
    no_child_outlives(program, lambda: writes(workdir))
