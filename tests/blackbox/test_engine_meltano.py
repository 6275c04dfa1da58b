"""The engine `meltano`: a tap as a project declares it, with the configuration that Meltano makes of the project."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from harness import Result
from kit import FileSink, expect, same_rows
from plugins import CONNECTORS, engine_manifest, failure, journal, keyed, records, write_rows

Run = Callable[..., Result]


@pytest.fixture
def env(workdir: Path) -> dict[str, str]:
    """A project with the tap `tap-items` and one that is made from it, and a Meltano that knows what they are told."""
    programs = [workdir / "project/.meltano/extractors" / name / "venv/bin" for name in ("tap-items", "tap-more")]
    for directory in programs:
        script(directory / "items", f'exec {sys.executable} {CONNECTORS / "tap.py"} "$@"')
    extractors = [{"name": "tap-items", "executable": "items"}, {"name": "tap-more", "inherit_from": "tap-items"}]
    (workdir / "project/meltano.yml").write_text(json.dumps({"plugins": {"extractors": extractors}}))
    config = {"rows": str(workdir / "rows.ndjson"), "journal": str(workdir / "journal"), "of": "the project"}
    noise = "echo a warning of some kind >&2"
    script(workdir / "meltano", f"{noise}; echo '{json.dumps(config)}'")
    return {"MILLRACE_MELTANO": str(workdir / "meltano")}


def script(path: Path, text: str) -> None:
    """Writes a program of the shell."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def flow(workdir: Path, files: FileSink) -> Callable[..., Path]:
    """`flow("tap-items", of="the Source")`: a Flow of `items`; the fields lie over the project's configuration."""

    def write(plugin: str, project: str = "./project", **connection: Any) -> Path:
        settings = {"project": project, "plugin": plugin}
        streams = keyed("items")
        return engine_manifest(
            workdir, "meltano", settings, files.spec(), connection={"start": 0, **connection}, streams=streams
        )

    return write


@pytest.mark.parametrize("plugin", ["tap-items", "tap-more"])
def test_a_tap_of_a_project_resumes(
    plugin: str, run: Run, flow: Callable[..., Path], workdir: Path, env: dict[str, str], files: FileSink
) -> None:
    write_rows(workdir / "rows.ndjson", records(100))
    manifest = flow(plugin, of="the Source")
    expect(run(manifest, env=env).stream("items"), read=100, inserted=100)
    write_rows(workdir / "rows.ndjson", records(120))

    counts = run(manifest, env=env).stream("items")

    assert counts["load"] == "delta"
    expect(counts, read=21, inserted=20, unchanged=1)
    same_rows(files.table(manifest, "items"), records(120))
    assert {call["config"]["of"] for call in journal(workdir / "journal")} == {"the Source"}


@pytest.mark.parametrize(
    ("plugin", "project", "wanted"),
    [("tap-items", "./nowhere", "meltano.yml"), ("tap-absent", "./project", "tap-absent")],
)
def test_a_wrong_project_or_plugin_is_named(
    plugin: str, project: str, wanted: str, run: Run, flow: Callable[..., Path], workdir: Path, env: dict[str, str]
) -> None:
    result = run(flow(plugin, project), env=env, check=False)
    assert result.returncode == 2, str(result)
    assert wanted in failure(result)["message"], str(result)


def test_a_missing_meltano_is_named(run: Run, flow: Callable[..., Path], workdir: Path, env: dict[str, str]) -> None:
    result = run(flow("tap-items"), env={"MILLRACE_MELTANO": str(workdir / "absent")}, check=False)
    assert result.returncode == 2, str(result)
    assert "MILLRACE_MELTANO" in str(result) and "absent" in failure(result)["message"]


@pytest.mark.parametrize("secret", ["hunter2hunter2", "corréct horse"])
def test_what_a_project_keeps_secret_is_not_told(
    secret: str, run: Run, flow: Callable[..., Path], workdir: Path, env: dict[str, str]
) -> None:
    (workdir / "project/.env").write_text(
        f"# of the tests\nexport TAP_ITEMS_PASSWORD='{secret}'\nno line\nURL=pg://me:{quote(secret)}@host/db\n"
    )
    write_rows(workdir / "rows.ndjson", records(3))

    said = f"password {secret}, or pg://me:{quote(secret)}@host/db"
    config = {"rows": str(workdir / "rows.ndjson"), "end": {"at": 2, "say": said, "code": 1}}
    (workdir / "config.json").write_text(json.dumps(config))
    script(workdir / "meltano", f"cat {workdir / 'config.json'}")

    result = run(flow("tap-items"), env=env, check=False)

    assert result.returncode == 1, str(result)
    assert "password ***, or pg://me:***@host/db" in str(result), str(result)
    assert secret not in str(result) and quote(secret) not in str(result), str(result)
