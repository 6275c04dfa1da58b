"""What the black-box tests use to drive the program and to look at what it left, without sharing its code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import yaml

Spec = dict[str, Any]
Row = dict[str, Any]

# By default AWS's library ends each upload with a checksum after the body, at which the S3 server of the tests
# loses its place within a connection that is kept open.
os.environ.setdefault("AWS_REQUEST_CHECKSUM_CALCULATION", "WHEN_REQUIRED")

ROOT = Path(__file__).resolve().parents[2]
API_VERSION = "millrace.dev/v1alpha1"
# Columns that Millrace adds to those of the source.
ADDED = "_millrace_"


@dataclass(frozen=True)
class Result:
    """How one call of the program ended."""

    args: Sequence[str]
    returncode: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """The standard output as JSON: of `run --output json`, the closing report."""
        return json.loads(self.stdout)

    def stream(self, name: str) -> Row:
        """The counts of one stream in the closing report of `run --output json`."""
        found: list[Row] = [s for flow in self.json["flows"] for s in flow["streams"] if s["name"] == name]
        assert len(found) == 1, f"the report has {len(found)} streams named {name}: {self.stdout}"
        return found[0]

    def __str__(self) -> str:
        return (
            f"millrace {' '.join(self.args)}: exit code {self.returncode}\n"
            f"--- stdout\n{self.stdout}\n--- stderr\n{self.stderr}"
        )


@dataclass
class Millrace:
    """The program, run in one directory with an environment that holds nothing of the caller's."""

    binary: Path
    cwd: Path
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def __call__(
        self,
        *args: str | Path,
        env: Mapping[str, str] | None = None,
        check: bool = True,
        timeout: float = 600,
        stdin: str = "",
    ) -> Result:
        """Runs the program to its end. With `check`, another exit code than 0 fails the test."""
        command = [str(a) for a in args]
        done = subprocess.run(
            [self.binary, *command],
            cwd=self.cwd,
            env=self.environment(env),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        result = Result(command, done.returncode, done.stdout, done.stderr)
        assert not check or result.returncode == 0, str(result)
        return result

    def start(self, *args: str | Path, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Starts the program and goes on; what still runs when the test ends is killed."""
        process = subprocess.Popen(
            [self.binary, *map(str, args)],
            cwd=self.cwd,
            env=self.environment(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def environment(self, extra: Mapping[str, str] | None) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "TMPDIR", "LANG") if name in os.environ}
        own = {"HOME": str(self.cwd), "RUST_BACKTRACE": "1", "AWS_EC2_METADATA_DISABLED": "true"}
        return {**kept, **own, **(extra or {})}

    def end(self) -> None:
        for process in self.started:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.communicate()


@dataclass
class Postgres:
    """A database that one test has to itself."""

    url: str
    connection: psycopg.Connection[tuple[Any, ...]]

    @property
    def spec(self) -> Spec:
        """The `connection` of a Source or destination; the password goes by `env`."""
        info = self.connection.info
        return {"host": info.host, "port": info.port, "database": info.dbname, "user": info.user}

    @property
    def env(self) -> dict[str, str]:
        return {"PGPASSWORD": self.connection.info.password}

    def execute(self, sql: str, *values: Any) -> None:
        self.connection.execute(sql.encode(), values or None)

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        return self.connection.execute(sql.encode(), values or None).fetchall()

    def connect(self, **options: Any) -> psycopg.Connection[tuple[Any, ...]]:
        """One more connection; the caller closes it."""
        return psycopg.connect(self.url, **options)


@dataclass
class S3:
    """A bucket that one test has to itself."""

    bucket: str
    endpoint: str
    region: str
    access_key: str
    secret_key: str

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}"

    @property
    def spec(self) -> Spec:
        """What a `connection` or `state.s3` needs beside the place; the keys go by `env`."""
        return {"endpoint": self.endpoint, "region": self.region}

    @property
    def env(self) -> dict[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": self.region,
        }

    @property
    def files(self) -> pafs.S3FileSystem:
        """The server as a file system; a path begins with the bucket."""
        return pafs.S3FileSystem(
            access_key=self.access_key,
            secret_key=self.secret_key,
            endpoint_override=self.endpoint,
            region=self.region,
            allow_bucket_creation=True,
            allow_bucket_deletion=True,
            # By default it waits one second for a connection and three for an answer, and then asks again.
            connect_timeout=60,
            request_timeout=120,
        )

    def keys(self, prefix: str = "") -> list[str]:
        """The objects below a prefix, as full keys."""
        selector = pafs.FileSelector(
            f"{self.bucket}/{prefix}".rstrip("/"), recursive=True, allow_not_found=True
        )
        found = [info.path for info in self.files.get_file_info(selector) if info.is_file]
        return sorted(path.removeprefix(f"{self.bucket}/") for path in found)

    def get(self, key: str) -> bytes:
        with self.files.open_input_stream(f"{self.bucket}/{key}", compression=None) as stream:
            return bytes(stream.read())

    def put(self, key: str, content: bytes) -> None:
        with self.files.open_output_stream(f"{self.bucket}/{key}", compression=None) as stream:
            stream.write(content)

    def delete(self, key: str) -> None:
        self.files.delete_file(f"{self.bucket}/{key}")


def resource(kind: str, name: str, spec: Spec, **metadata: Any) -> Spec:
    """One document of a manifest."""
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name, **metadata}, "spec": spec}


def write_manifest(
    directory: Path,
    name: str,
    source: Spec,
    destination: Spec,
    documents: Sequence[Spec] = (),
    annotations: Mapping[str, str] | None = None,
    **flow: Any,
) -> Path:
    """Writes a Source and a Flow from it, both called `name`, to `NAME.yaml`.

    `source` is the Source's spec, `destination` that of the Flow; either may give its connector as a plain name.
    `flow` holds the other fields of the Flow's spec as the manifest spells them. `documents` come before.
    """
    metadata = {"annotations": dict(annotations)} if annotations else {}
    spec = {"source": {"name": name}, "destination": _with_connector(destination), **flow}
    every = [
        *documents,
        resource("Source", name, _with_connector(source)),
        resource("Flow", name, spec, **metadata),
    ]
    path = directory / f"{name}.yaml"
    path.write_text(yaml.safe_dump_all(every, sort_keys=False, allow_unicode=True))
    return path


def _with_connector(spec: Spec) -> Spec:
    connector = spec.get("connector", "file")
    return {**spec, "connector": {"name": connector} if isinstance(connector, str) else connector}


def csv_source(url: str | Path, *, primary_key: Sequence[str] = (), **stream: Any) -> Spec:
    """The spec of a Source that reads CSV with a header; `stream` holds more fields of its one stream."""
    return file_source(url, "csv", primary_key=primary_key, **stream)


def file_source(url: str | Path, format: str, *, primary_key: Sequence[str] = (), **stream: Any) -> Spec:
    """The spec of a Source that reads files of a format; `stream` holds more fields of its one stream."""
    path = Path(str(url))
    fields = {"name": stream.pop("name", path.name.split(".")[0]), **stream}
    if primary_key:
        fields["primaryKey"] = list(primary_key)
    return {"connector": "file", "connection": {"url": str(url), "format": format}, "streams": [fields]}


def parquet_files(url: str | Path, write_mode: str = "upsert", **connection: Any) -> Spec:
    """The spec of a destination of Parquet files, one directory a stream."""
    place = {"url": f"{url}/{{stream}}", "format": "parquet", "compression": "zstd", **connection}
    return {"connector": "file", "connection": place, "writeMode": write_mode}


def columns(**types: str) -> list[Spec]:
    """A stream's `schema`: `id="integer"`, or with a physical type `price="number decimal(15,2)"`."""
    schema = []
    for name, text in types.items():
        logical, _, physical = text.partition(" ")
        column = {"name": name, "logicalType": logical}
        schema.append({**column, "physicalType": physical} if physical else column)
    return schema


@dataclass
class Lake:
    """Reads what a Flow has delivered to Parquet files, by pyarrow and from the program's own list of files."""

    millrace: Millrace
    s3: S3 | None = None

    def files(self, manifest: Path, flow: str | None = None, *options: str) -> list[str]:
        """The current files of a Flow (by default of the manifest's name), as `millrace files` prints them."""
        env = self.s3.env if self.s3 else None
        result = self.millrace("files", flow or manifest.stem, manifest, *options, env=env)
        return [line for line in result.stdout.splitlines() if line]

    def table(self, manifest: Path, flow: str | None = None, *options: str) -> pa.Table:
        """All rows in the current files, with the columns that Millrace adds."""
        tables = [self.read(path) for path in self.files(manifest, flow, *options)]
        return pa.concat_tables(tables, promote_options="default") if tables else pa.table({})

    def rows(self, manifest: Path, flow: str | None = None, *options: str, added: bool = False) -> list[Row]:
        """The same as dictionaries, by default without the added columns."""
        table = self.table(manifest, flow, *options)
        kept = [name for name in table.column_names if added or not name.startswith(ADDED)]
        rows: list[Row] = table.select(kept).to_pylist()
        return rows

    def read(self, path: str) -> pa.Table:
        """One Parquet file, local or in the bucket."""
        if path.startswith("s3://"):
            assert self.s3 is not None, f"{path} needs the s3 fixture"
            return pq.read_table(path.removeprefix("s3://"), filesystem=self.s3.files, partitioning=None)
        return pq.read_table(path.removeprefix("file://"), partitioning=None)


def duck(sql: str, **tables: pa.Table) -> list[tuple[Any, ...]]:
    """Answers a query by DuckDB, over files that it names or over the tables given."""
    with duckdb.connect() as connection:
        for name, table in tables.items():
            connection.register(name, table)
        return connection.execute(sql).fetchall()


@contextmanager
def database(admin: str, name: str) -> Iterator[Postgres]:
    """A new database on the server, dropped at the end whoever is still in it."""
    url = f"{admin.rpartition('/')[0]}/{name}"
    with psycopg.connect(admin, autocommit=True) as server:
        server.execute(f'create database "{name}"'.encode())
    try:
        with psycopg.connect(url, autocommit=True) as connection:
            yield Postgres(url, connection)
    finally:
        drop(admin, name)


def drop(admin: str, name: str) -> None:
    """Drops a database. The server waits five seconds for its sessions to end, which may take longer on a busy disk."""
    last = 20
    for attempt in range(1, last + 1):
        try:
            # A test may have restarted the server.
            with psycopg.connect(admin, autocommit=True) as server:
                server.execute(f'drop database if exists "{name}" with (force)'.encode())
            return
        except psycopg.errors.ObjectInUse:
            if attempt == last:
                raise
