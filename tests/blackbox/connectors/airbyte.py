"""An Airbyte source for the tests. Its configuration says what it reads, and how it spells, errs and lies.

`rows`: an NDJSON file; those above the cursor `version` are read. `state`: how it tells where it stands (`stream`,
`global`, `legacy`, `unwrapped`, `early` before the rows it covers, `back` to where it was, `complete`, `empty`,
`none`). `spaced`: the other spelling of JSON. `before`, `middle`, `after`: lines between. `end`: what happens in
place of a good end, after `at` rows. `catalog`: fields of the stream in the catalog. `rotate`: verbs that change
the `token`. `journal`: a file that gets each call.
"""

from __future__ import annotations

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


class Source:
    """One call of it."""

    def __init__(self, verb: str, files: dict[str, str]) -> None:
        self.verb = verb
        # Rows since the last state.
        self.since = 0
        self.given = {name: json.loads(Path(path).read_text()) for name, path in files.items()}
        self.config: dict[str, Any] = self.given.get("config", {})
        self.separators = (", ", ": ") if self.config.get("spaced") else (",", ":")
        if path := self.config.get("journal"):
            with Path(path).open("a") as file:
                file.write(json.dumps({"verb": verb, "pid": os.getpid(), **self.given}) + "\n")

    def say(self, type_: str, **fields: Any) -> None:
        """Writes one message, as its CDK would."""
        self.line(json.dumps({"type": type_, **fields}, separators=self.separators))

    def line(self, text: str) -> None:
        """Writes a line, whatever it is."""
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def lines(self, place: str) -> None:
        """Writes the lines that the configuration wants at this place of this verb."""
        for line in self.config.get(place, {}).get(self.verb, []):
            self.line(line if isinstance(line, str) else json.dumps(line, separators=self.separators))

    def run(self) -> None:
        """Answers the verb."""
        if self.config.get("spaced"):
            self.say("LOG", log={"level": "INFO", "message": "a word before all"})
        self.lines("before")
        getattr(self, f"do_{self.verb}")()
        self.lines("after")
        if self.verb in self.config.get("rotate", []):
            config = {**self.config, "token": self.config["token"] + "+"}
            control = {"type": "CONNECTOR_CONFIG", "emitted_at": 1.5, "connectorConfig": {"config": config}}
            self.say("CONTROL", control=control)

    def do_check(self) -> None:
        status = self.config.get("check", {"status": "SUCCEEDED"})
        self.say("CONNECTION_STATUS", connectionStatus=status)

    def do_discover(self) -> None:
        names = self.config.get("streams", ["items"])
        self.say("CATALOG", catalog={"streams": [self.described(name) for name in names]})

    def described(self, name: str) -> dict[str, Any]:
        stream = {
            "name": name,
            "json_schema": {"type": "object", "properties": {**PROPERTIES, **self.config.get("properties", {})}},
            "supported_sync_modes": ["full_refresh", "incremental"],
            "source_defined_cursor": True,
            "default_cursor_field": ["version"],
            "source_defined_primary_key": [["id"]],
        }
        return {**stream, **self.config.get("catalog", {})}

    def do_read(self) -> None:
        (configured,) = self.given["catalog"]["streams"]
        self.stream = configured["stream"]["name"]
        self.namespace = configured["stream"].get("namespace")
        incremental = configured["sync_mode"] == "incremental"
        last = self.stood() if incremental else 0
        rows = list(map(json.loads, Path(self.config["rows"]).read_text().splitlines()))
        rows = [row for row in rows if not incremental or (row.get("version") or 0) > last]
        self.status("STARTED")
        how, every = self.config.get("state", "stream"), self.config.get("every", 10)
        if how == "complete" and self.given.get("state"):
            rows = []
        if how == "early" and rows:
            self.state(max(row["version"] for row in rows), how)
        end = self.config.get("end", {})
        for number, row in enumerate(rows, 1):
            if end and number == end.get("at", 0) + 1:
                self.end(end)
            self.record(row)
            last = max(last, row.get("version") or 0)
            if number == len(rows) // 2:
                self.lines("middle")
            if number % every == 0 and how not in ("early", "complete"):
                self.state(last, how)
        if end and end.get("at", 0) >= len(rows):
            self.end(end)
        if how == "back":
            self.state(1, how)
        elif how != "early":
            self.state(last, how)
        self.status("COMPLETE")

    def record(self, row: dict[str, Any]) -> None:
        namespace = {"namespace": self.namespace} if self.namespace else {}
        record = {"stream": self.stream, **namespace, "data": row, "emitted_at": 1_700_000_000_000}
        self.say("RECORD", record=record)
        self.since += 1

    def status(self, status: str) -> None:
        told = {"stream_descriptor": {"name": self.stream}, "status": status}
        self.say("TRACE", trace={"type": "STREAM_STATUS", "emitted_at": 1.7e12 + 0.5, "stream_status": told})

    def state(self, last: int, how: str) -> None:
        """Tells where it stands."""
        state: dict[str, Any] = {"version": last}
        if how == "complete":
            state = {"__ab_full_refresh_sync_complete": True}
        descriptor = {"name": self.stream, **({"namespace": self.namespace} if self.namespace else {})}
        per_stream = {"stream_descriptor": descriptor, "stream_state": state}
        stream = {"type": "STREAM", "stream": per_stream, "sourceStats": {"recordCount": float(self.since)}}
        self.since = 0
        match how:
            case "none":
                return
            case "empty":
                self.say("STATE", state={})
            case "legacy":
                self.say("STATE", state={"data": {self.stream: state}})
            case "global":
                whole = {"shared_state": {"epoch": 7}, "stream_states": [per_stream]}
                self.say("STATE", state={"type": "GLOBAL", "global": whole})
            case "unwrapped":
                self.line(json.dumps(stream))
                self.line(json.dumps(stream))
            case _:
                self.say("STATE", state=stream)

    def stood(self) -> int:
        """Where it stands by the state that it was given, which must be as it was told."""
        state = self.given.get("state")
        if not state:
            return 0
        if isinstance(state, dict):
            return int(state[self.stream]["version"])
        (one,) = state
        if one["type"] == "GLOBAL":
            assert one["global"]["shared_state"] == {"epoch": 7}, one
            (found,) = one["global"]["stream_states"]
        else:
            found = one["stream"]
        assert found["stream_descriptor"]["name"] == self.stream, found
        return int(found["stream_state"]["version"])

    def end(self, how: dict[str, Any]) -> None:
        """Ends in another way than well."""
        if once := how.get("unless"):
            if Path(once).exists():
                return
            Path(once).touch()
        if error := how.get("error"):
            self.status("INCOMPLETE")
            self.say("TRACE", trace={"type": "ERROR", "emitted_at": 1.7e12 + 0.5, "error": error})
        if how.get("long"):
            sys.stdout.write('{"type":"RECORD","record":{"stream":"items","data":{"name":"')
            for _ in range(how["long"] >> 20):
                sys.stdout.write("x" * (1 << 20))
            self.line('"},"emitted_at":1}}')
        if how.get("hang"):
            time.sleep(3600)
        if how.get("signal"):
            os.kill(os.getpid(), getattr(signal, how["signal"]))
        if "code" in how:
            os._exit(how["code"])


def main() -> None:
    """`airbyte.py VERB --config FILE [--catalog FILE] [--state FILE]`."""
    verb, *options = sys.argv[1:]
    files = {name.removeprefix("--"): path for name, path in zip(options[::2], options[1::2], strict=True)}
    Source(verb, files).run()


main()
