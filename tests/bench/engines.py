"""The engines beside what people use instead: plain loops in Python, PyAirbyte, Meltano."""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from race import Program, figures, measure, publish, race, table

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "blackbox"))
from published import FAKER, JSONL, MELTANO, Package, meltano_project  # noqa: E402

PYAIRBYTE = Package("airbyte==0.71.3", "python", "")
NULL = {"connector": {"name": "null"}, "writeMode": "overwrite"}
# A tap and a target, which Meltano installs; where they read and write its variables say.
PROJECT = """
project_id: 00000000-0000-0000-0000-000000000002
default_environment: dev
send_anonymous_usage_stats: false
environments: [{ name: dev }]
plugins:
  extractors:
  - name: tap-jsonl
    namespace: tap_jsonl
    pip_url: tap-jsonl==0.3.1
    executable: tap-jsonl
    capabilities: [catalog, discover, state]
    settings: [{ name: path }, { name: stream_name }, { name: primary_keys, kind: array }]
    config: { stream_name: items, primary_keys: [id] }
  loaders:
  - name: target-jsonl
    namespace: target_jsonl
    pip_url: target-jsonl==0.1.4
    executable: target-jsonl
    settings: [{ name: destination_path }, { name: do_timestamp_file, kind: boolean }]
    config: { do_timestamp_file: false }
"""


class Engines:
    """The programs, and the places where they work."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.work = Path(options.work)
        self.log = self.work / "last.log"
        shutil.rmtree(self.work, ignore_errors=True)
        (self.work / "part").mkdir(parents=True)
        self.lineitem = Path(options.csv)
        with self.lineitem.open("rb") as file:
            self.rows = sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 22), b"")) - 1
        # What Python takes minutes for is measured over a part.
        self.part = self.work / "part" / "lineitem.csv"
        self.part_rows = min(self.rows, options.part)
        with self.lineitem.open("rb") as file, self.part.open("wb") as part:
            part.writelines(itertools.islice(file, self.part_rows + 1))

    # The cases: the first program of each is what the ratios compare with.

    def library(self) -> list[Program]:
        return [self.csv("millrace, built-in reader", self.lineitem), self.plugin(self.lineitem)]

    def arrow(self) -> list[Program]:
        return [
            self.peer("pyarrow", "read_arrow", self.lineitem),
            self.python("Arrow", self.lineitem),
        ]

    def dictionaries(self) -> list[Program]:
        return [
            self.peer("Python, and Arrow of its dictionaries", "read_rows", self.part),
            self.python("Rows", self.part),
        ]

    def dict_reader(self) -> list[Program]:
        return [self.peer("csv.DictReader", "dict_reader", self.part), self.plugin(self.part)]

    def airbyte(self) -> list[Program]:
        program, place = str(FAKER.install()), self.work / "faker"
        config = {"count": self.options.rows, "seed": 7, "parallelism": 1, "records_per_slice": 1000}
        config["always_updated"] = False
        place.mkdir(exist_ok=True)
        (place / "config.json").write_text(json.dumps(config))
        told = subprocess.run(
            [program, "discover", "--config", str(place / "config.json")], check=True, stdout=subprocess.PIPE, text=True
        )
        catalogs = (line for line in told.stdout.splitlines() if '"CATALOG"' in line)
        streams = json.loads(next(catalogs))["catalog"]["streams"]
        (users,) = (stream for stream in streams if stream["name"] == "users")
        asked = {"stream": users, "sync_mode": "incremental", "destination_sync_mode": "append"}
        (place / "catalog.json").write_text(json.dumps({"streams": [asked]}))
        alone = [program, "read", "--config", str(place / "config.json"), "--catalog", str(place / "catalog.json")]
        peer = [str(PYAIRBYTE.install()), str(HERE / "pyairbyte.py"), program, str(place / "config.json"), "users"]
        database = place / "cache.duckdb"
        return [
            nowhere("source-faker to /dev/null", alone),
            self.connector("airbyte", [program], config, "users"),
            Program(
                "PyAirbyte, into its DuckDB",
                [*peer, str(database)],
                lambda: database.unlink(missing_ok=True),
                self.told,
                environment={"AIRBYTE_OFFLINE_MODE": "1", "DO_NOT_TRACK": "1"},
            ),
        ]

    def singer(self) -> list[Program]:
        program, place = str(JSONL.install()), self.work / "jsonl"
        place.mkdir(exist_ok=True)
        rows = place / "items.jsonl"
        with rows.open("w") as file:
            for n in range(self.options.rows):
                row = {"id": n, "name": f"item {n}", "price": n / 100, "sold": n % 2 == 0, "at": "2026-01-01T00:00:00Z"}
                file.write(json.dumps(row) + "\n")
        config = {"path": str(rows), "stream_name": "items", "primary_keys": ["id"]}
        (place / "config.json").write_text(json.dumps(config))
        found = subprocess.run(
            [program, "--config", str(place / "config.json"), "--discover"], check=True, stdout=subprocess.PIPE, text=True
        )
        catalog = json.loads(found.stdout)
        for one in catalog["streams"][0]["metadata"]:
            one["metadata"]["selected"] = True
        (place / "catalog.json").write_text(json.dumps(catalog))
        alone = [program, "--config", str(place / "config.json"), "--catalog", str(place / "catalog.json")]
        project, out = meltano_project("bench-project", PROJECT, ""), place / "out"
        lines = partial(lines_of, out)
        return [
            nowhere("tap-jsonl to /dev/null", alone),
            self.connector("singer", [program], config, "items"),
            Program(
                "Meltano, into target-jsonl",
                [str(MELTANO.install()), "--cwd", str(project), "run", "--full-refresh", "tap-jsonl", "target-jsonl"],
                lambda: self.clear(out),
                lines,
                environment={"TAP_JSONL_PATH": str(rows), "TARGET_JSONL_DESTINATION_PATH": str(out)},
            ),
        ]

    # How a program is put together.

    def csv(self, name: str, path: Path) -> Program:
        source = {"connector": {"name": "file"}, "connection": {"url": str(path), "format": "csv"}}
        return self.millrace(name, source, NULL, "lineitem")

    def plugin(self, path: Path) -> Program:
        connection = {"directory": str(path.parent), "parts": 2}
        source = {"reader": f"{self.options.library}:create_reader", "connection": connection}
        program = self.millrace("millrace, Rust plugin", source, NULL, "lineitem")
        if not Path(self.options.library).is_file():
            program.skip = "not built (cargo build --release -p example-csv-reader)"
        return program

    def python(self, name: str, path: Path) -> Program:
        source = {"reader": f"{HERE / 'readers.py'}:{name}", "connection": {"path": str(path)}}
        return self.millrace(f"millrace, Python plugin ({name})", source, NULL, "lineitem")

    def connector(self, engine: str, command: list[str], config: dict[str, Any], stream: str) -> Program:
        recipe = {"type": "bench", "roles": ["source"], "engines": {engine: {"command": command}}}
        recipe["defaultEngine"] = engine
        source = {"connector": {"name": "bench"}, "connection": config}
        place = {"url": f"{self.work}/out/{{stream}}", "format": "parquet", "compression": "zstd"}
        files = {"connector": {"name": "file"}, "connection": place, "writeMode": "overwrite"}
        return self.millrace("millrace, into Parquet", source, files, stream, recipe)

    def millrace(
        self, name: str, source: dict[str, Any], destination: dict[str, Any], stream: str, recipe: dict[str, Any] | None = None
    ) -> Program:
        """A run of a manifest that is written for it."""
        source["streams"] = [{"name": stream}]
        flow = {"source": {"name": "bench"}, "destination": destination, "mode": "Batch"}
        documents = [resource("Connector", recipe)] if recipe else []
        documents += [resource("Source", source), resource("Flow", flow)]
        path = self.work / f"{hashlib.sha256(json.dumps(documents).encode()).hexdigest()[:12]}.yaml"
        path.write_text("---\n".join(json.dumps(document) + "\n" for document in documents))
        command = [self.options.millrace, "run", str(path), "--full", "--output", "json", "--state", f"{self.work}/state"]
        found = Path(self.options.millrace).is_file()
        return Program(
            name,
            command,
            lambda: self.clear(self.work / "state", self.work / "out"),
            self.told,
            "" if found else "not built (cargo build --release)",
            environment={"MILLRACE_PYTHON": self.options.peers, "PYTHONPYCACHEPREFIX": f"{self.work}/pycache"},
        )

    def peer(self, name: str, function: str, path: Path) -> Program:
        return Program(name, [self.options.peers, str(HERE / "peers.py"), function, str(path), ""], count=self.told)

    # What is done between the measurements.

    def clear(self, *directories: Path) -> None:
        for directory in directories:
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir()

    def told(self) -> int:
        """The rows that a program says it has read."""
        found = re.findall(r'(?:"read": |^rows )(\d+)', self.log.read_text(errors="replace"), re.MULTILINE)
        return int(found[-1]) if found else 0

    def run(self, wanted: int, program: Program) -> str:
        """One run; the answer is why the program is out of the race, or nothing."""
        program.prepare()
        os.sync()
        sample, code = measure(program, self.work, self.log)
        if code != 0:
            tail = self.log.read_text(errors="replace").strip().splitlines()[-1:]
            return f"failed with exit code {code}: {' '.join(tail)}"
        rows = program.count()
        if rows not in (None, wanted):
            return f"wrong: {rows} rows, not {wanted}"
        program.samples.append(sample)
        return ""


def nowhere(name: str, command: list[str]) -> Program:
    """A connector whose output nobody reads."""
    return Program(name, ["sh", "-c", 'exec "$@" >/dev/null', "sh", *command])


def resource(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "millrace.dev/v1alpha1", "kind": kind, "metadata": {"name": "bench"}, "spec": spec}


def lines_of(directory: Path) -> int:
    return sum(len(path.read_bytes().splitlines()) for path in directory.glob("*.jsonl"))


# Title, programs, and the option that says how many rows there are.
CASES: dict[str, tuple[str, Callable[[Engines], list[Program]], Callable[[Engines], int]]] = {
    "library": ("A Rust plugin, reading CSV alone", Engines.library, lambda e: e.rows),
    "arrow": ("A Python plugin that yields Arrow, reading CSV alone", Engines.arrow, lambda e: e.rows),
    "dictionaries": ("A Python plugin that yields dictionaries", Engines.dictionaries, lambda e: e.part_rows),
    "dict-reader": ("A Rust plugin beside csv.DictReader", Engines.dict_reader, lambda e: e.part_rows),
    "airbyte": ("An Airbyte source", Engines.airbyte, lambda e: e.options.rows),
    "singer": ("A Singer tap", Engines.singer, lambda e: e.options.rows),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("csv", "scale", "peers", "work", "millrace", "library"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--part", type=int, default=1_000_000, help="rows of lineitem for what is slow in Python")
    parser.add_argument("--rows", type=int, default=500_000, help="rows that a connector reads")
    parser.add_argument("--case", action="append", choices=CASES, help="one case; may be given again (default: all)")
    parser.add_argument("--json", help="where the figures go (default: beside the data)")
    options = parser.parse_args()
    engines = Engines(options)
    cases: dict[str, object] = {}
    report = {"scale": options.scale, "rows": engines.rows, "cpus": os.cpu_count(), "runs": options.runs, "cases": cases}
    tables = []
    for name in options.case or CASES:
        title, programs_of, rows_of = CASES[name]
        rows = rows_of(engines)
        print(f"{title}, {rows} rows", file=sys.stderr)
        programs = programs_of(engines)
        race(programs, options.runs, partial(engines.run, rows))
        tables.append(table(f"{title}, {rows:,} rows", programs, whole=True))
        cases[name] = figures(programs)
    publish(tables, report, Path(options.json or Path(options.csv).parent / "bench-engines.json"))


if __name__ == "__main__":
    main()
