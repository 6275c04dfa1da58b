"""A Singer target for the tests. Its configuration says where it writes, and how it errs and lies.

`out`: a directory of NDJSON files, one a table. `appends`: it knows no keys. `state`: how it gives a state back (`end`,
`twice`, `none`). `keeps`: it makes each row safe as it comes. `loses`: it writes nothing. `wants`: a setting that
it needs. `then`: what it does after `at` rows. `journal`: a file that gets each call.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tables import Row, Table, misbehave, note


class Target:
    """One call of it."""

    def __init__(self, config: Row) -> None:
        self.config, self.state, self.count = config, None, 0
        self.tables: dict[str, Table] = {}
        self.columns: dict[str, set[str]] = {}
        self.versions: dict[str, int] = {}
        if (wants := config.get("wants")) and wants not in config:
            sys.exit(f"Config is missing required keys: ['{wants}']")

    def run(self) -> None:
        """Takes in all messages."""
        schemas = []
        misbehave(self.config, 0)
        for line in sys.stdin:
            message = json.loads(line)
            if message["type"] == "SCHEMA":
                schemas.append(message)
            self.take(message)
        note(self.config, config=self.config, schemas=schemas, versions=self.versions)
        misbehave(self.config, -1)
        if not self.config.get("loses"):
            for table in self.tables.values():
                table.save()
        if self.state is not None and (how := self.config.get("state", "end")) != "none":
            for _ in range(2 if how == "twice" else 1):
                print(json.dumps(self.state), flush=True)

    def take(self, message: Row) -> None:
        """Takes in one message."""
        stream = message.get("stream", "")
        match message["type"]:
            case "SCHEMA":
                key = [] if self.config.get("appends") else message["key_properties"]
                self.tables[stream] = Table(Path(self.config["out"]) / f"{stream}.ndjson", key, "_sdc_deleted_at")
                self.columns[stream] = set(message["schema"]["properties"])
            case "RECORD":
                assert set(message["record"]) <= self.columns[stream], message
                row = message["record"]
                if "version" in message:
                    row |= {"_sdc_table_version": message["version"]}
                self.tables[stream].add(row)
                self.count += 1
                if self.config.get("keeps"):
                    self.tables[stream].save()
                misbehave(self.config, self.count)
            case "ACTIVATE_VERSION":
                version = self.versions[stream] = message["version"]
                table = self.tables[stream]
                table.rows = [row for row in table.rows if row.get("_sdc_table_version") == version]
            case "STATE":
                self.state = message["value"]
            case other:
                raise ValueError(other)


def main() -> None:
    """`target.py --config FILE`."""
    option, path = sys.argv[1:]
    assert option == "--config"
    Target(json.loads(Path(path).read_text())).run()


main()
