"""One Connector, several engines: a Source chooses, a reader of one's own stands on a recipe, and a change loses nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness import Result, Spec, resource, write_manifest
from kit import FileSink, expect, same_rows
from plugins import CONNECTORS, connector, failure, journal, keyed, records, write_rows

Run = Callable[..., Result]
READER = f"{CONNECTORS / 'reader.py'}:Rows"
ENGINES: Spec = {"python": {"reader": READER}, "airbyte": connector("airbyte.py"), "singer": connector("tap.py")}


@pytest.fixture
def flow(workdir: Path, files: FileSink) -> Callable[..., Path]:
    """`flow(engine="airbyte")`: the same Flow of `items`, by this engine of the recipe `rows`; none: its default."""

    def write(engine: str | None = None, source: Spec | None = None, **connection: Any) -> Path:
        recipe = {
            "type": "rows",
            "roles": ["source"],
            "defaultEngine": "singer",
            "engines": ENGINES,
            "configSchema": {
                "type": "object",
                "required": ["rows"],
                "additionalProperties": False,
                "properties": {"rows": {"type": "string"}, "journal": {"type": "string"}},
            },
            "credentials": [{"name": "password", "required": True}],
        }
        (workdir / "password").write_text("a word of some length")
        place = {"rows": str(workdir / "rows.ndjson"), "journal": str(workdir / "journal"), **connection}
        of_source: Spec = {
            "connector": {"name": "rows", **({"engine": engine} if engine else {})},
            "connection": place,
            "credentials": [{"name": "password", "file": "password"}],
            "streams": keyed("items"),
            **(source or {}),
        }
        return write_manifest(workdir, "lake", of_source, files.spec(), documents=[resource("Connector", "rows", recipe)])

    return write


@pytest.mark.parametrize("engine", [None, *ENGINES])
def test_a_source_chooses_the_engine(
    engine: str | None, run: Run, flow: Callable[..., Path], workdir: Path, files: FileSink
) -> None:
    write_rows(workdir / "rows.ndjson", records(30))
    manifest = flow(engine)
    expect(run(manifest).stream("items"), read=30, inserted=30)
    same_rows(files.table(manifest, "items"), records(30))
    write_rows(workdir / "rows.ndjson", records(40))

    again = run(manifest).stream("items")

    assert (again["load"], again["inserted"]) == ("delta", 10), again


@pytest.mark.parametrize("after", ["python", "airbyte"])
def test_another_engine_is_not_told_where_the_first_one_stood(
    after: str, run: Run, flow: Callable[..., Path], workdir: Path, files: FileSink
) -> None:
    """Each has a state of its own kind. A full load finds what differs, what is gone meanwhile included."""
    write_rows(workdir / "rows.ndjson", records(50))
    run(flow("singer"))
    rest = [*records(52)[2:]]
    write_rows(workdir / "rows.ndjson", rest)

    result = run(flow(after))

    found = result.stream("items")
    assert (found["load"], found["inserted"], found["deleted"], found["unchanged"]) == ("full", 2, 2, 48), found
    assert "rows/singer" in result.stderr and f"rows/{after}" in result.stderr
    same_rows(files.table(flow(after), "items"), rest)
    assert run(flow(after)).stream("items")["load"] == "delta"


def test_a_reader_of_ones_own_stands_on_a_recipe(
    run: Run, flow: Callable[..., Path], workdir: Path, files: FileSink
) -> None:
    """The recipe checks the settings and asks for credentials; the reader gets both."""
    write_rows(workdir / "rows.ndjson", records(30))
    own = {"reader": READER, "connector": {"name": "rows"}}
    manifest = flow(source=own)
    expect(run(manifest).stream("items"), read=30, inserted=30)
    same_rows(files.table(manifest, "items"), records(30))
    assert journal(workdir / "journal")[-1]["load"] == "full"

    wrong = run(flow(source=own, roows="x"), check=False)
    missing = run(flow(source={**own, "credentials": []}), check=False)

    assert wrong.returncode == 2 and "roows" in wrong.stderr, str(wrong)
    assert missing.returncode == 2 and "password" in missing.stderr, str(missing)


def test_a_reader_of_an_installed_package(run: Run, flow: Callable[..., Path], workdir: Path) -> None:
    write_rows(workdir / "rows.ndjson", records(30))
    package = workdir / "site" / "acme"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "readers.py").write_text((CONNECTORS / "reader.py").read_text())
    site = {"PYTHONPATH": str(package.parent)}
    manifest = flow(source={"reader": "acme.readers:Rows", "connector": {"name": "rows"}})
    expect(run(manifest, env=site).stream("items"), read=30, inserted=30)

    error = failure(run(flow(source={"reader": "acme.writers:Rows"}), env=site, check=False))

    assert error["kind"] == "config" and "acme.writers" in error["message"], error
