"""One Flow into each engine at the writing end, behind one face: its manifest, and what another reader finds."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import adbc_driver_sqlite
import pyarrow as pa
from harness import Row, Spec
from plugins import CONNECTORS, connector, kept, keyed, write_rows, written_manifest

SQLITE = Path(adbc_driver_sqlite.__file__).with_name("libadbc_driver_sqlite.so")


@dataclass(frozen=True)
class Engine:
    """An engine, and what another reader sees of its table."""

    settings: Spec
    rows: Callable[[Path], list[Row]]
    # What it is called in errors.
    name: str
    # A commit that is made twice arrives once, whatever the mode.
    exact: bool = False


def in_files(workdir: Path) -> list[Row]:
    """The rows of the table of a synthetic destination."""
    return kept(workdir / "out" / "items.ndjson")


def in_sqlite(workdir: Path) -> list[Row]:
    """The rows of the table in a database."""
    with closing(sqlite3.connect(workdir / "shop.db")) as database:
        tables = {name for (name,) in database.execute("select name from sqlite_master")}
        assert not [name for name in tables if name.startswith("_millrace_load")], "a load that was laid down is left"
        cursor = database.execute("select id, version, name from items")
        return [dict(zip(("id", "version", "name"), row, strict=True)) for row in cursor]


ENGINES = {
    "airbyte": Engine(connector("destination.py"), in_files, "destination.py"),
    "singer": Engine(connector("target.py"), in_files, "target.py"),
    "adbc": Engine({"driver": str(SQLITE)}, in_sqlite, SQLITE.name, exact=True),
    "python": Engine({"writer": f"{CONNECTORS / 'writer.py'}:Table"}, in_files, "writer.py", exact=True),
}


@dataclass(frozen=True)
class Into:
    """A Flow of `items` into one engine."""

    engine: str
    directory: Path

    def manifest(self, mode: str = "upsert", *, keys: bool = True, reader: Row | None = None, **config: Any) -> Path:
        """Its manifest; `config` is the destination's."""
        database = {"uri": f"file:{self.directory}/shop.db"}
        files = {"out": str(self.directory / "out"), "appends": mode == "append", **config}
        return written_manifest(
            self.directory,
            self.engine,
            ENGINES[self.engine].settings,
            mode,
            connection=database if self.engine == "adbc" else files,
            streams=keyed("items") if keys else [{"name": "items"}],
            **(reader or {}),
        )

    def rows(self, rows: list[Row]) -> None:
        """What the source has now."""
        write_rows(self.directory / "rows.ndjson", rows)

    def table(self) -> pa.Table:
        """What another reader finds at the destination."""
        return pa.Table.from_pylist(ENGINES[self.engine].rows(self.directory))
