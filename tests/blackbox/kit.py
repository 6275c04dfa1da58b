"""What the tests of the promises share: destinations behind one face, counts, data, and a program that watches."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import harness
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from harness import S3, Lake, Millrace, Postgres, Result, Row, Spec

# The outcomes of a row that was read; `absent` counts those of `deleted` that a full load found by absence.
OUTCOMES = ("inserted", "updated", "deleted", "unchanged", "superseded", "filtered", "refused")
FENCED = 77
# Seconds until what is waited for has failed to come. It costs nothing where all is well, and the machine may be busy.
LONGEST = 240


def expect(stream: Row, **counts: int) -> None:
    """Checks the counts of one stream: those not named are 0, `read` is checked where it is named, and all add up."""
    adds_up(stream)
    wanted = {name: counts.pop(name, 0) for name in OUTCOMES} | counts
    assert {name: stream[name] for name in wanted} == wanted, stream


def adds_up(stream: Row) -> None:
    """Every row that was read has one outcome; deletes found by absence were read from nowhere."""
    absent = stream.get("absent", 0)
    assert stream["read"] == sum(stream[name] for name in OUTCOMES) - absent, stream


class Sink(Protocol):
    """A destination, as a test sees it."""

    name: str

    def spec(self, write_mode: str = "upsert") -> Spec:
        """The `destination` of a Flow."""

    def table(self, manifest: Path, stream: str) -> pa.Table:
        """What an independent reader finds there now, without the columns that Millrace adds."""

    def fingerprint(self, manifest: Path, stream: str) -> Any:
        """Changes with anything written there, be it the same rows once more."""

    def committed(self, manifest: Path, stream: str) -> Row:
        """Generation, number and epoch of the last commit, from the destination itself."""


@dataclass
class FileSink:
    """Parquet files, local or in a bucket."""

    lake: Lake
    root: str
    connection: Spec = field(default_factory=dict)
    name: str = "file"

    def spec(self, write_mode: str = "upsert") -> Spec:
        return harness.parquet_files(self.root, write_mode, **self.connection)

    def table(self, manifest: Path, stream: str) -> pa.Table:
        paths = [path for path in self.lake.files(manifest) if f"/{stream}/" in path]
        tables = [self.lake.read(path) for path in paths]
        found = pa.concat_tables(tables, promote_options="default") if tables else pa.table({})
        return found.select([name for name in found.column_names if not name.startswith(harness.ADDED)])

    def fingerprint(self, manifest: Path, stream: str) -> Any:
        return self.committed(manifest, stream)["seq"], self.data(stream)

    def data(self, stream: str) -> list[str]:
        """All objects but the head, whether anything refers to them or not."""
        if self.root.startswith("s3://"):
            assert self.lake.s3
            prefix = self.root.removeprefix(self.lake.s3.url).strip("/")
            found = self.lake.s3.keys(f"{prefix}/{stream}")
        else:
            found = [str(path) for path in Path(self.root, stream).rglob("*") if path.is_file()]
        return sorted(path for path in found if path.endswith((".parquet", ".csv", ".ndjson")))

    def committed(self, manifest: Path, stream: str) -> Row:
        if self.root.startswith("s3://"):
            assert self.lake.s3
            prefix = self.root.removeprefix(self.lake.s3.url).strip("/")
            text = self.lake.s3.get(f"{prefix}/{stream}/HEAD.json").decode()
        else:
            text = Path(self.root, stream, "HEAD.json").read_text()
        return dict(json.loads(text)["committed"])


@dataclass
class PostgresSink:
    """A table of its own for each stream."""

    postgres: Postgres
    name: str = "postgres"

    def spec(self, write_mode: str = "upsert") -> Spec:
        return {"connector": "postgres", "connection": self.postgres.spec, "writeMode": write_mode}

    def table(self, manifest: Path, stream: str) -> pa.Table:
        return query_table(self.postgres, f'select * from "{stream}"')

    def fingerprint(self, manifest: Path, stream: str) -> Any:
        versions = self.postgres.rows(f'select xmin::text, count(*) from "{stream}" group by 1 order by 1')
        return self.committed(manifest, stream)["seq"], versions

    def committed(self, manifest: Path, stream: str) -> Row:
        sql = "select generation, epoch, seq from millrace_state where shard = %s"
        rows = self.postgres.rows(sql, stream)
        assert len(rows) == 1, rows
        return dict(zip(("generation", "epoch", "seq"), rows[0], strict=True))


def query_table(postgres: Postgres, sql: str) -> pa.Table:
    """The answer of a query, without the columns that Millrace adds."""
    cursor = postgres.connection.execute(sql.encode())
    names = [column.name for column in cursor.description or ()]
    rows = cursor.fetchall()
    columns = zip(*rows, strict=True) if rows else [()] * len(names)
    arrays = {
        name: pa.array(values)
        for name, values in zip(names, columns, strict=True)
        if not name.startswith(harness.ADDED)
    }
    return pa.table(arrays)


def same_rows(actual: pa.Table, wanted: pa.Table | Sequence[Row]) -> None:
    """Checks that two tables hold the same rows, each as often; DuckDB compares."""
    if not isinstance(wanted, pa.Table):
        if not wanted:
            assert actual.num_rows == 0, actual.slice(0, 5).to_pylist()
            return
        wanted = pa.Table.from_pylist(list(wanted))
    assert set(actual.column_names) == set(wanted.column_names)
    names = ", ".join(f'"{name}"' for name in wanted.column_names)
    lacks, extra = (
        harness.duck(
            f"select {names} from {a} except all select {names} from {b} limit 5", actual=actual, wanted=wanted
        )
        for a, b in (("wanted", "actual"), ("actual", "wanted"))
    )
    assert not lacks and not extra, f"{actual.num_rows} of {wanted.num_rows} rows; lacks {lacks}; has {extra}"


def same_answers(ours: str, theirs: str) -> None:
    """Checks that two queries give the same rows, each as often."""
    differs = harness.duck(f"({ours} except all {theirs}) union all ({theirs} except all {ours}) limit 5")
    assert differs == [], differs


def customers(count: int, first: int = 1) -> pa.Table:
    """Rows with a key, a text, a decimal-free amount and a nullable column."""
    ids = range(first, first + count)
    return pa.table(
        {
            "id": pa.array(ids, pa.int64()),
            "name": pa.array([f"customer {id}" for id in ids]),
            "amount": pa.array([id * 7 % 1000 for id in ids], pa.int64()),
            "note": pa.array([None if id % 3 else f"note, {id}" for id in ids], pa.string()),
        }
    )


def edited(table: pa.Table, every: int = 100) -> tuple[pa.Table, int]:
    """One row in `every` edited, one deleted, one added; and how many that is of each."""
    rows = table.to_pylist()
    count = len(rows) // every
    for row in rows[:: every][:count]:
        row["amount"] += 1_000_000
    kept = [row for number, row in enumerate(rows) if number % every != 1]
    last = rows[-1]["id"]
    added = [{"id": last + n, "name": f"new {n}", "amount": n, "note": None} for n in range(1, count + 1)]
    return pa.Table.from_pylist(kept + added, schema=table.schema), count


def write_table(table: pa.Table, path: Path) -> Path:
    """Writes CSV, NDJSON or Parquet, by the suffix; a null is an empty field of CSV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    match path.suffix:
        case ".csv":
            # pyarrow quotes every text, and an empty field without quotes is null.
            pacsv.write_csv(table, path)
        case ".parquet":
            pq.write_table(table, path)
        case ".ndjson":
            path.write_text("".join(json.dumps(row, default=str) + "\n" for row in table.to_pylist()))
        case other:
            raise ValueError(other)
    return path


def insert_table(postgres: Postgres, name: str, table: pa.Table) -> None:
    """Copies rows into a table that is there already."""
    columns = ", ".join(f'"{column}"' for column in table.column_names)
    with (
        postgres.connection.cursor() as cursor,
        cursor.copy(f'copy "{name}" ({columns}) from stdin'.encode()) as copy,
    ):
        for row in table.to_pylist():
            copy.write_row(list(row.values()))


def postgres_source(postgres: Postgres, *streams: str, **fields: Any) -> Spec:
    """The spec of a Source that reads tables; `fields` are those of each stream."""
    connection = postgres.spec
    options = fields.pop("options", {})
    return {
        "connector": "postgres",
        "connection": {**connection, **fields.pop("connection", {})},
        **({"options": options} if options else {}),
        "streams": [{"name": name, **fields} for name in streams],
    }


def letters(root: Path) -> list[Row]:
    """The refused rows below a directory, oldest file first."""
    files = sorted(root.glob("**/_refused/**/*.ndjson"), key=lambda path: path.stat().st_mtime_ns)
    lines = itertools.chain.from_iterable(path.read_text().splitlines() for path in files)
    return [json.loads(line) for line in lines]


def s3_state(s3: S3, prefix: str = "state") -> Spec:
    """`state` of a Flow in a bucket; the keys go by `env`."""
    names = {"accessKeyId": "AWS_ACCESS_KEY_ID", "secretAccessKey": "AWS_SECRET_ACCESS_KEY"}
    credentials = [{"name": name, "env": variable} for name, variable in names.items()]
    place = {"bucket": s3.bucket, "prefix": prefix, **s3.spec, "credentials": credentials}
    return {"s3": place}


def wait_until(probe: Callable[[], Any], seconds: float = LONGEST, what: str = "") -> Any:
    """The first true answer of `probe`; fails when there is none in time."""
    end = time.monotonic() + seconds
    while True:
        found = probe()
        if found:
            return found
        assert time.monotonic() < end, f"not within {seconds} s: {what or probe}"
        time.sleep(0.05)


def stopped(process: subprocess.Popen[str]) -> bool:
    """Whether a process stands still (SIGSTOP)."""
    if process.poll() is not None:
        raise AssertionError(f"it ended with {process.returncode}: {process.communicate()}")
    status = Path(f"/proc/{process.pid}/stat").read_text()
    return status.rsplit(")", 1)[1].split()[0] == "T"


def resume(process: subprocess.Popen[str], timeout: float = 600) -> Result:
    """Lets a stopped process go on, and waits for its end."""
    process.send_signal(signal.SIGCONT)
    stdout, stderr = process.communicate(timeout=timeout)
    return Result([str(a) for a in list(process.args)[1:]], process.returncode, stdout, stderr)  # type: ignore[arg-type]


def end_at_once(process: subprocess.Popen[str]) -> None:
    """Asks it to end until it has. The first signal lets it finish what has begun, the second does not.

    Two signals that come before the first was heard are one: on a busy machine a second is not always enough between.
    """
    end = time.monotonic() + LONGEST
    while process.poll() is None:
        assert time.monotonic() < end, f"it does not end within {LONGEST} s"
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=1)


@dataclass
class Watch:
    """`millrace run --watch --output json`, with the report of each run as it comes."""

    process: subprocess.Popen[str]
    reports: list[Row] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for read in (self._reports, self._errors):
            threading.Thread(target=read, daemon=True).start()

    def _errors(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.errors.append(line)

    def _reports(self) -> None:
        """Reports follow one another, each over several lines."""
        assert self.process.stdout is not None
        text, decoder = "", json.JSONDecoder()
        for line in self.process.stdout:
            text = (text + line).lstrip()
            try:
                report, end = decoder.raw_decode(text)
            except json.JSONDecodeError:
                continue
            self.reports.append({"at": time.monotonic(), **report})
            text = text[end:]

    def loads(self, stream: str) -> list[Row]:
        """What was loaded of one stream so far, in order."""
        found = ((report, flow) for report in list(self.reports) for flow in report["flows"])
        return [{"at": r["at"], **s} for r, flow in found for s in flow["streams"] if s["name"] == stream]

    def wait(self, stream: str, count: int, seconds: float = LONGEST) -> list[Row]:
        """The first `count` loads of a stream."""
        return list(
            wait_until(
                lambda: self.loads(stream)[:count] if len(self.loads(stream)) >= count else None,
                seconds,
                f"{count} loads of {stream}; there are {self.loads(stream)}; {''.join(self.errors[-20:])}",
            )
        )

    def end(self, name: signal.Signals = signal.SIGTERM, timeout: float = LONGEST) -> int:
        """Ends it, and gives its exit code."""
        self.process.send_signal(name)
        return self.process.wait(timeout)


def watch(millrace: Millrace, *args: str | Path, env: Mapping[str, str] | None = None) -> Watch:
    """Starts the program so that it watches its manifests."""
    return Watch(millrace.start("run", *args, "--watch", "--output", "json", env=env))


def ticks(since: float, every: float) -> float:
    """The most loads that an interval of `every` seconds can have brought since a moment.

    It holds on a slow machine too, where ticks are late or missed. Two more than whole intervals: one at the start of
    the time, and one that was under way.
    """
    return (time.monotonic() - since) / every + 2


def killed(result: Result) -> bool:
    """Whether it died by SIGKILL."""
    return result.returncode == -signal.SIGKILL


def chunks(values: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Parts of at most `size`."""
    for start in range(0, len(values), size):
        yield values[start : start + size]


def memory_limit_kib(process: subprocess.Popen[str]) -> int:
    """The greatest resident size of a running process so far, in KiB."""
    text = Path(f"/proc/{process.pid}/status").read_text() if os.path.exists(f"/proc/{process.pid}") else ""
    lines = [line for line in text.splitlines() if line.startswith("VmHWM")]
    return int(lines[0].split()[1]) if lines else 0


def sampled(*axes: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Each of the first axis with one combination of the others, in turn; with MILLRACE_FULL all of them."""
    first, *others = axes
    every: list[tuple[str, ...]] = [()]
    for axis in others:
        every = [(*head, value) for head in every for value in axis]
    if os.environ.get("MILLRACE_FULL"):
        return [(value, *rest) for value in first for rest in every]
    random.Random(20261121).shuffle(every)
    return [(value, *every[number % len(every)]) for number, value in enumerate(first)]
