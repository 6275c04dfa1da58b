"""The engines `singer` and `meltano` at the writing end: rows are committed where the target has ended well."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness import Millrace, Result, Row, resource
from kit import expect, same_rows
from plugins import CONNECTORS, connector, failure, journal, keyed, records, write_rows, written, written_manifest

Run = Callable[..., Result]


@pytest.fixture
def flow(workdir: Path) -> Callable[..., Path]:
    """`flow("append", state="twice")`: a Flow of `items`; the fields are those of the target's configuration."""

    def write(
        mode: str = "upsert",
        *,
        stream: str = "items",
        options: Row | None = None,
        credentials: list[Row] | None = None,
        source: Row | None = None,
        recipes: list[Row] | None = None,
        **config: Any,
    ) -> Path:
        return written_manifest(
            workdir,
            "singer",
            connector("target.py"),
            mode,
            connection={"out": str(workdir / "out"), "journal": str(workdir / "journal"), **config},
            streams=keyed(stream),
            options=options,
            credentials=credentials or (),
            source=source,
            recipes=recipes or (),
        )

    return write


@pytest.mark.parametrize("state", ["end", "twice", "none"])
def test_upserts_replace_rows_by_key(state: str, run: Run, flow: Callable[..., Path], workdir: Path) -> None:
    write_rows(workdir / "rows.ndjson", records(100))
    manifest = flow(state=state)
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
    expect(run(manifest).stream("items"), read=0)
    calls = journal(workdir / "journal")
    assert len(calls) == 2
    # Whether a target replaces rows by key nobody says.
    assert first.json["flows"][0]["deliveryGuarantee"] == "AtLeastOnce", first
    (schema,) = calls[0]["schemas"]
    assert schema["key_properties"] == ["id"] and schema["stream"] == "items", schema
    assert schema["schema"]["properties"]["id"] == {"type": ["null", "integer"]}, schema


def test_appends_add_to_what_is_there(run: Run, flow: Callable[..., Path], workdir: Path) -> None:
    write_rows(workdir / "rows.ndjson", records(50))
    manifest = flow("append", appends=True)
    run(manifest)
    write_rows(workdir / "rows.ndjson", records(80))
    expect(run(manifest).stream("items"), read=30, inserted=30)
    same_rows(written(workdir), records(80))


def test_a_load_that_replaces_activates_its_version(run: Run, flow: Callable[..., Path], workdir: Path) -> None:
    manifest = flow("overwrite")
    for count in (100, 60, 60, 0):
        write_rows(workdir / "rows.ndjson", records(count))
        run(manifest)
        same_rows(written(workdir), records(count))
    versions = [call["versions"]["items"] for call in journal(workdir / "journal")]
    assert versions == sorted(set(versions)) and len(versions) == 4, versions


def test_deletes_of_a_tap_reach_a_target_as_they_came(run: Run, flow: Callable[..., Path], workdir: Path) -> None:
    write_rows(workdir / "rows.ndjson", records(20))
    deleted = {"_sdc_deleted_at": {"type": ["null", "string"], "format": "date-time"}}
    engines = {"singer": connector("tap.py")}
    recipe = {"type": "tap", "roles": ["source"], "defaultEngine": "singer", "engines": engines}
    place = {"rows": str(workdir / "rows.ndjson"), "schema": deleted}
    source = {"connector": "tap", "connection": place, "streams": keyed("items")}
    manifest = flow(source=source, recipes=[resource("Connector", "tap", recipe)])
    run(manifest)
    gone = [{**row, "version": 30, "_sdc_deleted_at": "2024-01-01T00:00:00Z"} for row in records(2, 5)]
    write_rows(workdir / "rows.ndjson", gone)

    run(manifest)

    same_rows(written(workdir), [row for row in records(20) if row["id"] not in (5, 6)])


def test_streams_of_a_namespace_are_named_as_targets_split_them(
    run: Run, flow: Callable[..., Path], workdir: Path
) -> None:
    write_rows(workdir / "rows.ndjson", records(10))
    run(flow(stream="shop.items"))
    same_rows(written(workdir, "shop-items"), records(10))


def test_validate_lets_it_look_at_its_configuration(
    millrace: Millrace, flow: Callable[..., Path], workdir: Path
) -> None:
    write_rows(workdir / "rows.ndjson", records(10))
    assert millrace("validate", flow(), "--connect").returncode == 0
    failed = millrace("validate", flow(wants="password"), "--connect", check=False)
    assert failed.returncode != 0 and "missing required keys" in f"{failed.stdout}{failed.stderr}"
    assert not (workdir / "out").exists()


def test_what_it_says_of_a_credential_is_hidden(run: Run, flow: Callable[..., Path], workdir: Path) -> None:
    write_rows(workdir / "rows.ndjson", records(10))
    (workdir / "token").write_text("s3cret-Tok3n")
    manifest = flow(
        credentials=[{"name": "token", "file": "token"}],
        then={"at": 5, "code": 1, "stderr": "it opens with s3cret-Tok3n"},
    )
    result = run(manifest, check=False)
    assert "it opens with" in str(result) and "s3cret" not in str(result), str(result)


def test_a_target_of_a_meltano_project(run: Run, workdir: Path) -> None:
    programs = workdir / "project/.meltano/loaders/target-items/venv/bin"
    script(programs / "items", f'exec {sys.executable} {CONNECTORS / "target.py"} "$@"')
    loaders = [{"name": "target-items", "executable": "items"}]
    (workdir / "project/meltano.yml").write_text(json.dumps({"plugins": {"loaders": loaders}}))
    config = {"out": str(workdir / "of-the-project"), "journal": str(workdir / "journal")}
    script(workdir / "meltano", f"echo '{json.dumps(config)}'")
    write_rows(workdir / "rows.ndjson", records(10))
    settings = {"project": "./project", "plugin": "target-items"}
    place = {"out": str(workdir / "out")}
    manifest = written_manifest(workdir, "meltano", settings, "upsert", connection=place, streams=keyed("items"))
    env = {"MILLRACE_MELTANO": str(workdir / "meltano")}

    expect(run(manifest, env=env).stream("items"), read=10, inserted=10)

    # What the Flow says lies over the project.
    same_rows(written(workdir), records(10))
    manifest.write_text(manifest.read_text().replace("plugin: target-items", "plugin: target-more"))
    write_rows(workdir / "rows.ndjson", records(11))
    error = failure(run(manifest, env=env, check=False))
    assert "no loader target-more" in error["message"] and "target-items" in error["advice"], error


def script(path: Path, text: str) -> None:
    """Writes a program of the shell."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
