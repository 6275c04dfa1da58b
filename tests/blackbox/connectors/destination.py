"""An Airbyte destination for the tests. Its configuration says where it writes, and how it spells, errs and lies.

`out`: a directory of NDJSON files, one a table. `state`: how it gives a state back
(`wrapped`, `unwrapped`, `twice`, `other`, `none`). `keeps`: it makes each row safe as it comes, and does not wait for
the state. `loses`: it writes nothing. `before`: lines. `check`: its answer. `error`: it tells of one, at the end.
`then`: what it does after `at` rows. `journal`: a file that gets each call.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tables import Row, Table, misbehave, note

MODES = ["append", "append_dedup", "overwrite"]


def say(type_: str, **fields: Any) -> None:
    """Writes one message."""
    print(json.dumps({"type": type_, **fields}), flush=True)


class Destination:
    """One call of it."""

    def __init__(self, verb: str, files: dict[str, str]) -> None:
        self.verb = verb
        self.given = {name: json.loads(Path(path).read_text()) for name, path in files.items()}
        self.config: Row = self.given.get("config", {})
        note(self.config, verb=verb, **self.given)

    def run(self) -> None:
        """Answers the verb."""
        say("LOG", log={"level": "INFO", "message": "a word before all"})
        for line in self.config.get("before", []):
            print(line, flush=True)
        getattr(self, f"do_{self.verb}")()

    def do_spec(self) -> None:
        spec = {"connectionSpecification": {}, "supported_destination_sync_modes": MODES}
        say("SPEC", spec=spec)

    def do_check(self) -> None:
        say("CONNECTION_STATUS", connectionStatus=self.config.get("check", {"status": "SUCCEEDED"}))

    def do_write(self) -> None:
        (configured,) = self.given["catalog"]["streams"]
        stream, mode = configured["stream"], configured["destination_sync_mode"]
        key = [path[0] for path in configured["primary_key"]] if mode == "append_dedup" else []
        name = ".".join(filter(None, [stream.get("namespace"), stream["name"]]))
        self.table = Table(Path(self.config["out"]) / f"{name}.ndjson", key, "_ab_cdc_deleted_at")
        if mode == "overwrite":
            assert configured["minimum_generation_id"] == configured["generation_id"] > 0
            self.table.rows = []
        self.columns, self.count, self.complete = set(stream["json_schema"]["properties"]), 0, False
        misbehave(self.config, 0)
        for line in sys.stdin:
            self.take(json.loads(line), stream)
        misbehave(self.config, -1)
        assert self.complete, "the input ended before the stream was complete"
        if error := self.config.get("error"):
            say("TRACE", trace={"type": "ERROR", "emitted_at": 1.5, "error": error})

    def take(self, message: Row, stream: Row) -> None:
        """Takes in one message."""
        match message["type"]:
            case "RECORD":
                record = message["record"]
                assert (record["stream"], record.get("namespace")) == (stream["name"], stream.get("namespace"))
                assert set(record["data"]) <= self.columns, record
                self.table.add(record["data"])
                self.count += 1
                if self.config.get("keeps"):
                    self.table.save()
                misbehave(self.config, self.count)
            case "STATE":
                assert message["state"]["sourceStats"]["recordCount"] == self.count, (message, self.count)
                if not self.config.get("loses"):
                    self.table.save()
                self.give_back(message)
            case "TRACE":
                self.complete = message["trace"]["stream_status"]["status"] == "COMPLETE"
            case other:
                raise ValueError(other)

    def give_back(self, message: Row) -> None:
        """Says that the state is safe."""
        match self.config.get("state", "wrapped"):
            case "wrapped":
                say("STATE", state={**message["state"], "destinationStats": {"recordCount": float(self.count)}})
            case "unwrapped":
                print(json.dumps(message["state"]), flush=True)
            case "twice":
                say("STATE", state=message["state"])
                print(json.dumps(message["state"]), flush=True)
            case "other":
                stream = {**message["state"]["stream"], "stream_state": {"millrace": "of yesterday"}}
                say("STATE", state={**message["state"], "stream": stream})
            case "none":
                pass


def main() -> None:
    """`destination.py VERB [--config FILE] [--catalog FILE]`."""
    global MODES
    verb, *options = sys.argv[1:]
    if verb.startswith("--modes="):
        MODES = verb.removeprefix("--modes=").split(",")
        verb, *options = options
    files = {name.removeprefix("--"): path for name, path in zip(options[::2], options[1::2], strict=True)}
    Destination(verb, files).run()


main()
