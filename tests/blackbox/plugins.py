"""What the tests of the plugin engines share: Sources by any engine, synthetic connectors, what they leave behind."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import harness
import pyarrow as pa
from harness import Result, Row, Spec
from kit import wait_until

CONNECTORS = Path(__file__).with_name("connectors")


def engine_manifest(
    directory: Path,
    engine: str,
    settings: Spec,
    destination: Spec,
    *,
    connection: Spec,
    streams: Sequence[Spec] = (),
    name: str = "lake",
    credentials: Sequence[Spec] = (),
    source: Spec | None = None,
    **flow: Any,
) -> Path:
    """Writes a Connector for one engine, a Source of it and a Flow, all called `name`.

    `settings` are those of the engine; `source` holds more fields of the Source.
    """
    spec: Spec = {"type": name, "roles": ["source"], "defaultEngine": engine, "engines": {engine: settings}}
    if credentials:
        spec["credentials"] = [{"name": one["name"], "required": True} for one in credentials]
    of_source: Spec = {"connector": name, "connection": connection, **(source or {})}
    of_source |= {"streams": list(streams)} if streams else {}
    of_source |= {"credentials": list(credentials)} if credentials else {}
    recipe = harness.resource("Connector", name, spec)
    return harness.write_manifest(directory, name, of_source, destination, documents=[recipe], **flow)


def connector(name: str, *args: str) -> Spec:
    """The settings of an engine that runs a synthetic connector."""
    return {"command": [sys.executable, str(CONNECTORS / name), *args]}


def written_manifest(
    directory: Path,
    engine: str,
    settings: Spec,
    mode: str,
    *,
    connection: Spec,
    streams: Sequence[Spec],
    source: Spec | None = None,
    recipes: Sequence[Spec] = (),
    credentials: Sequence[Spec] = (),
    options: Spec | None = None,
    transforms: Sequence[Spec] = (),
    **reader: Any,
) -> Path:
    """Writes a Flow into a Connector for one engine, from the reader of the tests, whose `connection` is `reader`.

    `source`: another Source, by a Connector of `recipes`.
    """
    spec: Spec = {"type": "sink", "roles": ["destination"], "defaultEngine": engine, "engines": {engine: settings}}
    if credentials:
        spec["credentials"] = [{"name": one["name"], "required": True} for one in credentials]
    into: Spec = {"connector": "sink", "connection": connection, "writeMode": mode}
    into |= {"credentials": list(credentials)} if credentials else {}
    into |= {"options": options} if options else {}
    python = {"reader": f"{CONNECTORS / 'reader.py'}:Rows"}
    place = {"rows": str(directory / "rows.ndjson"), **reader}
    recipes = [*recipes, harness.resource("Connector", "sink", spec)]
    if source is None:
        rows: Spec = {"type": "rows", "roles": ["source"], "defaultEngine": "python", "engines": {"python": python}}
        recipes.append(harness.resource("Connector", "rows", rows))
        source = {"connector": "rows", "connection": place, "streams": list(streams)}
    changed: Any = {"transforms": list(transforms)} if transforms else {}
    return harness.write_manifest(directory, "lake", source, into, documents=recipes, **changed)


def kept(path: Path) -> list[Row]:
    """The rows of a table of a synthetic destination, without the columns that were added on the way."""
    lines = path.read_text().splitlines() if path.exists() else []
    added = ("_millrace", "_ab_", "_sdc_")
    rows: list[Row] = [json.loads(line) for line in lines]
    return [{name: value for name, value in row.items() if not name.startswith(added)} for row in rows]


def written(directory: Path, stream: str = "items") -> pa.Table:
    """What a synthetic destination holds of a stream."""
    return pa.Table.from_pylist(kept(directory / "out" / f"{stream}.ndjson"))


def keyed(*names: str, **fields: object) -> list[Spec]:
    """Streams with the key `id`."""
    return [{"name": name, "primaryKey": ["id"], **fields} for name in names]


def records(count: int, first: int = 1, text: str = "name") -> list[Row]:
    """Rows with a key, a version that grows with it, and a text."""
    return [{"id": n, "version": n, "name": f"{text} {n}"} for n in range(first, first + count)]


def write_rows(path: Path, rows: Iterable[Row]) -> Path:
    """Writes what a synthetic connector is to read, one JSON object a line."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def journal(path: Path) -> list[Row]:
    """What a synthetic connector has noted of its calls, in order; a line that it is still writing is none yet."""
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def failure(result: Result, stream: str = "items") -> Row:
    """Checks that a run has failed, in this stream or before any, and gives its error."""
    assert result.returncode not in (0, None), str(result)
    report = result.json
    errors = list(report.get("errors", []))
    for flow in report["flows"]:
        errors.append(flow.get("error"))
        errors += [one.get("error") for one in flow["streams"] if one["name"] == stream]
    found: list[Row] = [error for error in errors if error]
    assert len(found) == 1, str(result)
    return found[0]


def alive(group: Iterable[int]) -> list[int]:
    """Which of these processes are still there, and are no zombies."""
    return [pid for pid in group if running(pid)]


def running(pid: int) -> bool:
    """Whether a process is at work."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rsplit(")", 1)[1].split()[0] not in ("Z", "X")


def descendants(pid: int) -> list[int]:
    """The processes below one, at whatever depth."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(child) for child in task.read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue
        for child in children:
            found += [child, *descendants(child)]
    return found


def no_child_outlives(program: subprocess.Popen[str], begun: Callable[[], object]) -> None:
    """Kills a worker once its work has begun, and waits for the end of all that it has started."""
    wait_until(begun)
    children = wait_until(lambda: descendants(program.pid))
    program.kill()
    program.communicate()
    wait_until(lambda: not alive(children), what=f"the end of {children}")
