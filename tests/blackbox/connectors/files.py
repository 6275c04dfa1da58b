"""One file of rows, read anew each time: as a Python reader, an Airbyte source and a Singer tap.

Its configuration has the `path` of a CSV file, or of several by a pattern, and the `stream` that they are.
"""

from __future__ import annotations

import csv
import glob
import itertools
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

try:
    from millrace import BaseReader
except ImportError:
    BaseReader = object  # type: ignore[misc, assignment]

Row = dict[str, Any]
TYPES = {int: "integer", float: "number", str: "string"}


def value(text: str) -> Any:
    """What a field says: nothing, a number, a text."""
    if text == "":
        return None
    if re.fullmatch(r"-?\d{1,18}", text):
        return int(text)
    return float(text) if re.fullmatch(r"-?\d+\.\d+", text) else text


def rows(path: str) -> Iterator[Row]:
    """The rows of the files, in their order."""
    paths = sorted(glob.glob(path))
    if not paths:
        raise FileNotFoundError(f"there is no {path}")
    for one in paths:
        with open(one, newline="") as file:
            for row in csv.DictReader(file):
                yield {name: value(text) for name, text in row.items()}


def schema(path: str) -> Row:
    """The columns, with the types that their first values have."""
    found: dict[str, set[str]] = {}
    for one in sorted(glob.glob(path)):
        with open(one, newline="") as file:
            found |= {name: set() for name in next(csv.reader(file), [])}
    for row in itertools.islice(rows(path), 1000):
        for name, seen in found.items():
            seen |= {TYPES[type(row[name])]} if row.get(name) is not None else set()
    return {"type": "object", "properties": {name: {"type": ["null", *sorted(seen)]} for name, seen in found.items()}}


class Files(BaseReader):  # type: ignore[misc, valid-type]
    """Yields dictionaries."""

    def extract(self, state_manager: Any = None) -> Iterator[list[Row]]:
        batch: list[Row] = []
        for row in rows(self.connection["path"]):
            batch.append(row)
            if len(batch) == 1000:
                yield batch
                batch = []
        yield batch


def say(**message: Any) -> None:
    print(json.dumps(message))


def airbyte(verb: str, config: Row) -> None:
    name, path = config["stream"], config["path"]
    if verb == "check":
        say(type="CONNECTION_STATUS", connectionStatus={"status": "SUCCEEDED"})
    elif verb == "discover":
        stream = {"name": name, "json_schema": schema(path), "supported_sync_modes": ["full_refresh"]}
        say(type="CATALOG", catalog={"streams": [stream]})
    else:
        for row in rows(path):
            say(type="RECORD", record={"stream": name, "data": row, "emitted_at": 1})


def singer(discovers: bool, config: Row) -> None:
    name, path = config["stream"], config["path"]
    columns = schema(path)
    if discovers:
        root = {"breadcrumb": [], "metadata": {"forced-replication-method": "FULL_TABLE"}}
        stream = {"tap_stream_id": name, "stream": name, "schema": columns, "metadata": [root]}
        say(streams=[stream])
        return
    say(type="SCHEMA", stream=name, schema=columns, key_properties=[])
    for row in rows(path):
        say(type="RECORD", stream=name, record=row)


def main() -> None:
    options = sys.argv[1:]
    if "--help" in options:
        return print("usage: files.py --config CONFIG [--discover] [--catalog CATALOG] [--state STATE]")
    config = json.loads(Path(options[options.index("--config") + 1]).read_text())
    if options[0] in ("check", "discover", "read"):
        airbyte(options[0], config)
    else:
        singer("--discover" in options, config)


if __name__ == "__main__":
    main()
