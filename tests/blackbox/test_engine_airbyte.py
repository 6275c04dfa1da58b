"""The engine `airbyte`: rows of a source arrive once, its state goes back to it, however it spells and lies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness import Millrace, Result, duck
from kit import FileSink, expect, letters, same_rows
from plugins import connector, engine_manifest, journal, keyed, no_child_outlives, records, write_rows

Run = Callable[..., Result]


@pytest.fixture
def flow(workdir: Path, files: FileSink) -> Callable[..., Path]:
    """`flow(state="global", ...)`: a Flow of the stream `items`; the fields are those of the configuration."""

    def write(*, name: str = "lake", stream: str = "items", **config: Any) -> Path:
        place = {"rows": str(workdir / "rows.ndjson"), "journal": str(workdir / "journal"), **config}
        return engine_manifest(
            workdir,
            "airbyte",
            connector("airbyte.py"),
            files.spec(),
            name=name,
            connection=place,
            streams=keyed(stream),
            credentials=[{"name": "token", "file": "token"}] if "rotate" in config else [],
        )

    return write


def reads(workdir: Path) -> list[dict[str, Any]]:
    """The calls that read, in order."""
    return [call for call in journal(workdir / "journal") if call["verb"] == "read"]


@pytest.mark.parametrize("spaced", [False, True], ids=["compact", "spaced"])
@pytest.mark.parametrize("state", ["stream", "global", "legacy", "unwrapped"])
def test_a_delta_begins_where_the_connector_stood(
    state: str, spaced: bool, run: Run, flow: Callable[..., Path], workdir: Path, files: FileSink
) -> None:
    write_rows(workdir / "rows.ndjson", records(100))
    manifest = flow(state=state, spaced=spaced)
    expect(run(manifest).stream("items"), read=100, inserted=100)
    changed = [{**records(1)[0], "version": 101, "name": "changed"}, *records(100)[1:], *records(20, 102)]
    write_rows(workdir / "rows.ndjson", changed)

    counts = run(manifest).stream("items")

    assert counts["load"] == "delta"
    expect(counts, read=21, inserted=20, updated=1)
    same_rows(files.table(manifest, "items"), changed)
    before = files.fingerprint(manifest, "items")
    expect(run(manifest).stream("items"), read=0)
    assert files.fingerprint(manifest, "items") == before
    given = [call.get("state") for call in reads(workdir)]
    assert given[0] is None and given[1] and given[2] and given[1] != given[2], given


def test_a_full_load_finds_changes_and_deletes(
    run: Run, flow: Callable[..., Path], workdir: Path, files: FileSink
) -> None:
    write_rows(workdir / "rows.ndjson", records(100))
    manifest = flow()
    run(manifest)
    rest = [row | {"name": "changed"} if row["id"] == 3 else row for row in records(90)]
    write_rows(workdir / "rows.ndjson", rest)

    counts = run(manifest, "--full").stream("items")

    expect(counts, read=90, updated=1, unchanged=89, deleted=10, absent=10)
    same_rows(files.table(manifest, "items"), rest)


@pytest.mark.parametrize("state", ["none", "empty"])
def test_without_a_state_each_load_is_whole(
    state: str, run: Run, flow: Callable[..., Path], workdir: Path, files: FileSink
) -> None:
    write_rows(workdir / "rows.ndjson", records(100))
    manifest = flow(state=state)
    expect(run(manifest).stream("items"), read=100, inserted=100)
    write_rows(workdir / "rows.ndjson", records(110))

    counts = run(manifest).stream("items")

    expect(counts, read=110, inserted=10, unchanged=100)
    same_rows(files.table(manifest, "items"), records(110))


def test_the_marker_of_a_full_refresh_is_not_given_back(
    run: Run, flow: Callable[..., Path], workdir: Path, files: FileSink
) -> None:
    write_rows(workdir / "rows.ndjson", records(100))
    full = {"supported_sync_modes": ["full_refresh"], "source_defined_cursor": False, "default_cursor_field": []}
    manifest = flow(state="complete", catalog=full)
    run(manifest)
    rest = records(120)[10:]
    write_rows(workdir / "rows.ndjson", rest)

    for _ in range(2):
        counts = run(manifest).stream("items")
        assert counts["read"] == 110, counts

    assert all(call.get("state") is None for call in reads(workdir)), reads(workdir)
    same_rows(files.table(manifest, "items"), rest)


def test_a_state_before_its_rows_is_not_believed_until_they_are_there(
    run: Run, flow: Callable[..., Path], workdir: Path, files: FileSink
) -> None:
    write_rows(workdir / "rows.ndjson", records(20_000))
    once = str(workdir / "failed")
    manifest = flow(state="early", end={"at": 15_000, "signal": "SIGKILL", "unless": once})

    # It is tried again within the run, from where the last commit stood.
    counts = run(manifest).stream("items")

    assert Path(once).exists()
    expect(counts, read=20_000, inserted=20_000)
    same_rows(files.table(manifest, "items"), records(20_000))
    assert [call.get("state") for call in reads(workdir)] == [None, None]


def test_a_state_that_goes_back_repeats_rows_and_changes_nothing(
    run: Run, flow: Callable[..., Path], workdir: Path, files: FileSink
) -> None:
    write_rows(workdir / "rows.ndjson", records(100))
    manifest = flow(state="back")
    run(manifest)

    counts = run(manifest).stream("items")

    expect(counts, read=99, unchanged=99)
    same_rows(files.table(manifest, "items"), records(100))


@pytest.mark.parametrize("verb", ["read", "discover", "check"])
def test_a_changed_configuration_is_kept_for_the_next_run(
    verb: str, run: Run, millrace: Millrace, flow: Callable[..., Path], workdir: Path
) -> None:
    write_rows(workdir / "rows.ndjson", records(10))
    (workdir / "token").write_text("first-Tok3n")
    manifest = flow(rotate=[verb])
    said = ""
    for _ in range(2):
        if verb == "check":
            said += str(millrace("validate", manifest, "--connect"))
        said += str(run(manifest))

    tokens = [call["config"]["token"] for call in journal(workdir / "journal") if call["verb"] == verb]
    # The old token is worth nothing once there is a new one.
    assert tokens == [f"first-Tok3n{'+' * n}" for n in range(len(tokens))] and len(tokens) >= 2, tokens
    assert "first-Tok3n" not in said
    kept = [path for path in workdir.rglob("*") if path.is_file() and b"first-Tok3n+" in path.read_bytes()]
    kept = [path for path in kept if path.name != "journal"]
    assert len(kept) == 1 and kept[0].stat().st_mode & 0o077 == 0, kept
    # Who edits the Source means what they write.
    (workdir / "token").write_text("edited-Tok3n")
    run(manifest)
    assert reads(workdir)[-1]["config"]["token"].rstrip("+") == "edited-Tok3n"


def test_what_is_no_message_and_what_nobody_asked_for_is_left_out(
    run: Run, flow: Callable[..., Path], workdir: Path, files: FileSink
) -> None:
    write_rows(workdir / "rows.ndjson", records(100))
    stranger = {"type": "RECORD", "record": {"stream": "others", "data": {"id": 1000}, "emitted_at": 1}}
    noise: list[Any] = ["", "Downloading…", "{not json", "[1, 2]", '"text"', "{}", '{"record": 5}', "null", "\ufeff{}"]
    noise += [stranger, {"type": "RECORD", "record": {"stream": "items"}}, {"type": "SPEC", "spec": {}}]
    manifest = flow(before={"read": noise, "discover": noise}, middle={"read": noise}, after={"read": noise})

    result = run(manifest)

    expect(result.stream("items"), read=100, inserted=100)
    same_rows(files.table(manifest, "items"), records(100))
    assert "Downloading…" in result.stderr and "nobody asked for" in result.stderr


def test_columns_that_the_catalog_does_not_declare_arrive(
    run: Run, flow: Callable[..., Path], workdir: Path, files: FileSink
) -> None:
    rows = [{**row, "extra": f"x{row['id']}", "deep": {"a": [row["id"]]}} for row in records(100)]
    write_rows(workdir / "rows.ndjson", rows)
    manifest = flow()
    expect(run(manifest).stream("items"), read=100, inserted=100)
    paths = files.lake.files(manifest)
    assert duck(f"select count(*) from read_parquet({paths}) where extra = 'x' || id") == [(100,)]


def test_a_value_that_does_not_fit_its_type_goes_to_the_dead_letter(
    run: Run, flow: Callable[..., Path], workdir: Path, files: FileSink
) -> None:
    rows: list[dict[str, Any]] = records(2000)
    rows[10] |= {"id": "eleven"}
    rows[20] |= {"amount": "much"}
    rows[1500] |= {"amount": {"of": 1}}
    rows[30] |= {"id": None}
    write_rows(workdir / "rows.ndjson", rows)
    manifest = flow(properties={"amount": {"type": ["null", "number"]}})

    expect(run(manifest).stream("items"), read=2000, inserted=1996, refused=4)

    kept = [row for n, row in enumerate(rows) if n not in (10, 20, 30, 1500)]
    paths = files.lake.files(manifest)
    found = duck(f"select count(*), sum(id), sum(version) from read_parquet({paths})")
    assert found == [(1996, sum(row["id"] for row in kept), sum(row["version"] for row in kept))]
    refused = letters(workdir / "out")
    assert len(refused) == 4 and any("amount" in str(one) and "much" in str(one) for one in refused), refused


def test_streams_of_a_namespace_keep_apart(run: Run, flow: Callable[..., Path], workdir: Path, files: FileSink) -> None:
    write_rows(workdir / "rows.ndjson", records(50))
    manifest = flow(stream="shop.items", catalog={"namespace": "shop"})
    expect(run(manifest).stream("shop.items"), read=50, inserted=50)
    expect(run(manifest).stream("shop.items"), read=0)


def test_no_child_outlives_the_worker(millrace: Millrace, flow: Callable[..., Path], workdir: Path) -> None:
    write_rows(workdir / "rows.ndjson", records(100))
    program = millrace.start("run", flow(end={"at": 50, "hang": True}))
    no_child_outlives(program, lambda: reads(workdir))
