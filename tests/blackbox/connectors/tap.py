"""A Singer tap for the tests. Its configuration says what it reads, and how it spells, errs and lies.

`rows`: an NDJSON file; those from the bookmark on (which it repeats) are read. `id`: its `tap_stream_id`, where
that is not the name in its records. `schema`: properties beside the usual ones. `takes`: `catalog`, `properties` or
`nothing`. `full`: it knows no bookmarks. `batches`: a directory for BATCH files. `activate`: ACTIVATE_VERSION
before, and after. `early`: a state before all. `before`, `after`: lines. `end`: what happens in place of a good
end, after `at` rows. `journal`: a file that gets each call.
"""

from __future__ import annotations

import gzip
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

PROPERTIES = {
    "id": {"type": ["null", "integer"]},
    "version": {"type": ["null", "integer"]},
    "name": {"type": ["null", "string"]},
}


def say(type_: str, **fields: Any) -> None:
    """Writes one message."""
    line(json.dumps({"type": type_, **fields}))


def line(text: str) -> None:
    """Writes a line, whatever it is."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


class Tap:
    """One call of it."""

    def __init__(self, given: dict[str, Any]) -> None:
        self.given, self.config = given, given.get("config", {})
        self.stream = self.config.get("stream", "items")
        self.id = self.config.get("id", self.stream)
        self.schema = {"type": "object", "properties": {**PROPERTIES, **self.config.get("schema", {})}}
        if path := self.config.get("journal"):
            with Path(path).open("a") as file:
                file.write(json.dumps({"pid": os.getpid(), **given}) + "\n")

    def discover(self) -> None:
        """Writes the catalog, over several lines."""
        if self.config.get("takes") == "nothing":
            print("this tap knows no discovery", file=sys.stderr)
            sys.exit(2)
        method = "FULL_TABLE" if self.config.get("full") else "INCREMENTAL"
        root = {"inclusion": "available", "table-key-properties": ["id"]}
        root |= {} if self.config.get("full") else {"forced-replication-method": method}
        stream = {
            "tap_stream_id": self.id,
            "stream": self.stream,
            "key_properties": ["id"],
            "schema": self.schema,
            "metadata": [{"breadcrumb": [], "metadata": root}],
        }
        other = {**stream, "tap_stream_id": "others", "stream": "others"}
        for text in self.config.get("before", []):
            line(text)
        print(json.dumps({"streams": [stream, other]}, indent=2))

    def selected(self) -> bool:
        """Whether the stream is selected, and no other."""
        takes = self.config.get("takes", "catalog")
        if takes == "nothing":
            assert "catalog" not in self.given and "properties" not in self.given, self.given
            return True
        streams = self.given[takes]["streams"]
        chosen = [s["tap_stream_id"] for s in streams if s["metadata"][0]["metadata"].get("selected")]
        assert chosen == [s["tap_stream_id"] for s in streams if s["schema"].get("selected")], streams
        return chosen == [self.id]

    def sync(self) -> None:
        """Writes the rows."""
        assert self.selected()
        bookmarks = self.given.get("state", {}).get("bookmarks", {})
        last = bookmarks.get(self.id, {}).get("version", 0)
        rows = [json.loads(text) for text in Path(self.config["rows"]).read_text().splitlines()]
        raw = dict(zip(map(id, rows), Path(self.config["rows"]).read_text().splitlines(), strict=True))
        # Bookmarks are inclusive.
        rows = [row for row in rows if self.config.get("full") or row["version"] >= last]
        if self.config.get("early"):
            self.state(last)
        for text in self.config.get("before", []):
            line(text)
        say("SCHEMA", stream=self.stream, schema=self.schema, key_properties=["id"])
        if self.config.get("activate"):
            say("ACTIVATE_VERSION", stream=self.stream, version=17)
        if batches := self.config.get("batches"):
            last = self.batch(Path(batches), rows, last)
        else:
            last = self.records(rows, raw, last)
        if self.config.get("activate"):
            say("ACTIVATE_VERSION", stream=self.stream, version=17)
        for text in self.config.get("after", []):
            line(text)
        self.state(last)

    def records(self, rows: list[dict[str, Any]], raw: dict[int, str], last: int) -> int:
        end = self.config.get("end", {})
        version = ', "version": 17' if self.config.get("activate") else ""
        for number, row in enumerate(rows, 1):
            if end and number == end.get("at", 0) + 1:
                self.end(end)
            # The row as it is in the file: no digit of it changes.
            line(f'{{"type": "RECORD", "stream": "{self.stream}", "record": {raw[id(row)]}{version}}}')
            last = max(last, row["version"])
            if number % 10 == 0:
                self.state(last)
        if end and end.get("at", 0) >= len(rows):
            self.end(end)
        return last

    def batch(self, directory: Path, rows: list[dict[str, Any]], last: int) -> int:
        directory.mkdir(exist_ok=True)
        for number, start in enumerate(range(0, len(rows), 40)):
            part = rows[start : start + 40]
            path = directory / f"{os.getpid()}-{number}.json.gz"
            with gzip.open(path, "wt") as file:
                file.write("".join(json.dumps(row) + "\n" for row in part))
            last = max(row["version"] for row in part)
            if number == 0:
                # A state before the last batch that it covers.
                self.state(max(row["version"] for row in rows))
            encoding = {"format": "jsonl", "compression": "gzip"}
            say("BATCH", stream=self.stream, encoding=encoding, manifest=[path.as_uri()])
        return last

    def state(self, last: int) -> None:
        if self.config.get("full"):
            say("STATE", value={"bookmarks": {}})
        else:
            say("STATE", value={"bookmarks": {self.id: {"version": last, "starting_replication_value": None}}})

    def end(self, how: dict[str, Any]) -> None:
        """Ends in another way than well."""
        if once := how.get("unless"):
            if Path(once).exists():
                return
            Path(once).touch()
        if how.get("say"):
            print(how["say"], file=sys.stderr, flush=True)
        if how.get("long"):
            sys.stdout.write('{"type":"RECORD","stream":"items","record":{"name":"')
            for _ in range(how["long"] >> 20):
                sys.stdout.write("x" * (1 << 20))
            line('"}}')
        for _ in range(how.get("chat", 0)):
            print("still at work", file=sys.stderr, flush=True)
            time.sleep(1)
        if how.get("hang"):
            time.sleep(3600)
        if how.get("signal"):
            os.kill(os.getpid(), getattr(signal, how["signal"]))
        if "code" in how:
            os._exit(how["code"])


def main() -> None:
    """`tap.py --config FILE [--discover] [--catalog FILE] [--properties FILE] [--state FILE]`."""
    options = sys.argv[1:]
    if "--help" in options:
        shown = os.environ.get("TAP_OPTIONS", "[--discover] [--catalog CATALOG]")
        print(f"usage: tap --config CONFIG [--state STATE] {shown}")
        return
    discover = "--discover" in options
    options = [option for option in options if option != "--discover"]
    files = dict(zip(options[::2], options[1::2], strict=True))
    tap = Tap({name.removeprefix("--"): json.loads(Path(path).read_text()) for name, path in files.items()})
    if discover:
        tap.discover()
    else:
        tap.sync()


main()
