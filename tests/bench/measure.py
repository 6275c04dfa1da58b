"""The built-in connectors beside their peers."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from race import Program, figures, measure, publish, race, table

HERE = Path(__file__).resolve().parent
DATABASE = "bench"
# Without constraints and indexes; what `psql \copy` fills and what is read back.
LINEITEM = """create table lineitem (
    l_orderkey bigint, l_partkey bigint, l_suppkey bigint, l_linenumber integer, l_quantity numeric(15,2),
    l_extendedprice numeric(15,2), l_discount numeric(15,2), l_tax numeric(15,2), l_returnflag text,
    l_linestatus text, l_shipdate date, l_commitdate date, l_receiptdate date, l_shipinstruct text,
    l_shipmode text, l_comment text)"""


class Bench:
    """The programs, and the places where they work."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.work = Path(options.work)
        self.out = self.work / "out"
        self.log = self.work / "last.log"
        self.admin = os.environ["MILLRACE_TEST_POSTGRES"]
        self.url = f"{self.admin.rpartition('/')[0]}/{DATABASE}"
        shutil.rmtree(self.work, ignore_errors=True)
        self.out.mkdir(parents=True)
        with open(options.csv, "rb") as file:
            self.rows = sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 22), b"")) - 1

    # The cases: the first program of each is what the ratios compare with.

    def csv_parquet(self) -> list[Program]:
        return [
            self.files("bare loop", [self.options.bare, "copy", self.options.csv, str(self.out)]),
            self.peer("DuckDB", "duckdb", self.options.csv),
            self.peer("DuckDB, types declared", "duckdb_declared", self.options.csv),
            self.peer("Polars", "polars", self.options.csv),
            self.peer("pyarrow", "pyarrow", self.options.csv),
            self.files("millrace", *self.millrace("csv-parquet")),
        ]

    def csv_read(self) -> list[Program]:
        return [
            self.files("bare loop", [self.options.bare, "read", self.options.csv], counted=False),
            self.files("millrace", *self.millrace("csv-null"), counted=False),
        ]

    def unchanged(self) -> list[Program]:
        command, skip = self.millrace("csv-parquet-keyed", place="keyed")

        def count() -> int:
            return self.parquet_rows(self.work / "keyed")

        first = Program("millrace, first load", command, lambda: self.clear("keyed"), count, skip, once=True)
        again = Program("millrace, unchanged rows", command, count=count, skip=skip)
        return [self.files("millrace, plain copy", *self.millrace("csv-parquet")), first, again]

    def csv_postgres(self) -> list[Program]:
        copy = ["psql", "-qX", "-v", "ON_ERROR_STOP=1", self.url, "-c"]
        copy.append(f"\\copy lineitem from '{self.options.csv}' with (format csv, header)")
        command, skip = self.millrace("csv-postgres")
        return [
            Program("psql \\copy", copy, lambda: self.fresh_database(LINEITEM), self.table_rows),
            Program("millrace", command, self.fresh_database, self.table_rows, skip),
        ]

    def postgres_parquet(self) -> list[Program]:
        self.fresh_database(LINEITEM)
        copy = f"\\copy lineitem from '{self.options.csv}' with (format csv, header)"
        self.sql(copy, "vacuum analyze lineitem", "checkpoint", url=self.url)
        return [
            self.peer("ConnectorX, 2 partitions", "connectorx", self.url),
            self.peer("ADBC", "adbc", self.url),
            self.files("millrace", *self.millrace("postgres-parquet")),
        ]

    # How a program is put together.

    def files(self, name: str, command: list[str], skip: str = "", counted: bool = True) -> Program:
        """A program that writes Parquet files into an empty directory."""
        count = (lambda: self.parquet_rows(self.work / "out")) if counted else lambda: None
        return Program(name, command, lambda: self.clear("out"), count, skip)

    def peer(self, name: str, function: str, source: str) -> Program:
        command = [
            self.options.peers,
            str(HERE / "peers.py"),
            function,
            source,
            str(self.out / "lineitem.parquet"),
        ]
        return self.files(name, command)

    def millrace(self, manifest: str, place: str = "out") -> tuple[list[str], str]:
        """The command, which sets the variables of the manifest, and why it cannot be run."""
        if not Path(self.options.millrace).is_file():
            return [], "not built (cargo build --release)"
        url = urlsplit(self.url)
        known = {"CSV": self.options.csv, "OUT": str(self.work / place), "PGDATABASE": DATABASE}
        known |= {"PGHOST": url.hostname, "PGPORT": url.port, "PGUSER": url.username}
        variables = [f"{name}={value}" for name, value in known.items()]
        path, state = HERE / "manifests" / f"{manifest}.yaml", self.work / f"{place}.state"
        return ["env", *variables, self.options.millrace, "run", str(path), "--full", "--state", str(state)], ""

    # What is done between the measurements.

    def clear(self, place: str) -> None:
        """An empty directory for the output, and no state of an earlier run."""
        for directory in (self.work / place, self.work / f"{place}.state"):
            shutil.rmtree(directory, ignore_errors=True)
        (self.work / place).mkdir()

    def sql(self, *statements: str, url: str | None = None) -> str:
        commands = [word for statement in statements for word in ("-c", statement)]
        psql = ["psql", "-qAtX", "-v", "ON_ERROR_STOP=1", url or self.admin, *commands]
        return subprocess.run(psql, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()

    def fresh_database(self, *statements: str) -> None:
        self.clear("out")
        self.sql(
            f"drop database if exists {DATABASE} with (force)", f"create database {DATABASE}", "checkpoint"
        )
        if statements:
            self.sql(*statements, url=self.url)

    def table_rows(self) -> int:
        return int(self.sql("select count(*) from lineitem", url=self.url))

    def parquet_rows(self, directory: Path) -> int:
        command = [self.options.peers, str(HERE / "peers.py"), "count", str(directory), ""]
        return int(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)

    def run(self, program: Program) -> str:
        """One run; the answer is why the program is out of the race, or nothing."""
        program.prepare()
        os.sync()
        program.environment["PGPASSWORD"] = urlsplit(self.url).password or ""
        sample, code = measure(program, self.work, self.log)
        if code != 0:
            tail = self.log.read_text(errors="replace").strip().splitlines()[-1:]
            return f"failed with exit code {code}: {' '.join(tail)}"
        rows = program.count()
        if rows not in (None, self.rows):
            return f"wrong: {rows} rows, not {self.rows}"
        program.samples.append(sample)
        return ""


CASES: dict[str, tuple[str, Callable[[Bench], list[Program]]]] = {
    "csv-parquet": ("CSV to Parquet (zstd)", Bench.csv_parquet),
    "csv-read": ("CSV, reading alone", Bench.csv_read),
    "unchanged": ("Full load of unchanged rows against the index", Bench.unchanged),
    "csv-postgres": ("CSV to PostgreSQL (logged table, no index)", Bench.csv_postgres),
    "postgres-parquet": ("PostgreSQL to Parquet (zstd)", Bench.postgres_parquet),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("csv", "scale", "peers", "bare", "work", "millrace"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument(
        "--case", action="append", choices=CASES, help="one case; may be given again (default: all)"
    )
    parser.add_argument("--json", help="where the figures go (default: beside the data)")
    options = parser.parse_args()
    bench = Bench(options)
    cases: dict[str, object] = {}
    report = {
        "scale": options.scale,
        "rows": bench.rows,
        "cpus": os.cpu_count(),
        "runs": options.runs,
        "cases": cases,
    }
    tables = []
    for name in options.case or CASES:
        title, programs_of = CASES[name]
        print(f"{title}, {bench.rows} rows", file=sys.stderr)
        programs = programs_of(bench)
        race(programs, options.runs, bench.run)
        tables.append(table(title, programs))
        cases[name] = figures(programs)
    publish(tables, report, Path(options.json or Path(options.csv).parent / "bench.json"))


if __name__ == "__main__":
    main()
