"""Manifests of the end-to-end tests, as people write them for a cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml
from cluster import GROUP, Namespace, Object
from forward import Forward
from harness import S3, Lake, Millrace, Postgres

KEYS = ("accessKeyId", "secretAccessKey")


def resource(kind: str, name: str, spec: Object, **metadata: Any) -> Object:
    return {"apiVersion": GROUP, "kind": kind, "metadata": {"name": name, **metadata}, "spec": spec}


def secret(name: str, **values: str) -> Object:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": values}


def from_secret(secret: str, *names: str) -> list[Object]:
    """Credentials of which each is the key of its name."""
    return [{"name": name, "secret": {"name": secret, "key": name}} for name in names]


def source(name: str, connector: str, connection: Object, streams: Sequence[Any] = (), **spec: Any) -> Object:
    """A Source; a stream is its name, or a mapping with more."""
    listed = [{"name": one, "primaryKey": ["id"]} if isinstance(one, str) else dict(one) for one in streams]
    return resource(
        "Source",
        name,
        {
            "connector": {"name": connector},
            "connection": connection,
            **({"streams": listed} if listed else {}),
            **spec,
        },
    )


def flow(
    name: str, source: str, destination: Object, annotations: Mapping[str, str] | None = None, **spec: Any
) -> Object:
    metadata = {"annotations": dict(annotations)} if annotations else {}
    return resource("Flow", name, {"source": {"name": source}, "destination": destination, **spec}, **metadata)


class Shop:
    """A database as pods reach it: a Source that reads its tables, a destination in its schema `copy`."""

    def __init__(self, postgres: Postgres, server: Forward) -> None:
        self.postgres = postgres
        self.server = server
        self.secret = secret("shop-db", password=postgres.connection.info.password)

    @property
    def connection(self) -> Object:
        place = {"host": self.server.host, "port": self.server.port, "sslMode": "disable"}
        return {**self.postgres.spec, **place}

    def table(self, name: str, rows: int) -> None:
        """A table of rows with a key and a time of their last change."""
        self.postgres.execute(
            f'create table "{name}" (id bigint primary key, name text not null, amount numeric(12,2), '
            "updated_at timestamptz not null default clock_timestamp())"
        )
        self.insert(name, 1, rows)

    def insert(self, name: str, first: int, last: int) -> None:
        self.postgres.execute(
            f"insert into \"{name}\" select id, 'row ' || id, id % 1000 / 8.0 from generate_series({first}, {last}) id"
        )

    def source(self, *tables: str, name: str = "shop", connector: str = "postgres", **spec: Any) -> Object:
        streams = [
            {"name": f"public.{table}", "primaryKey": ["id"], "cursorField": "updated_at"} for table in tables
        ]
        credentials = from_secret("shop-db", "password")
        # Nobody's clock differs here, so that a delta need not stay behind the last seconds.
        connection = {**self.connection, "lateMargin": "0s"}
        return source(name, connector, connection, streams, credentials=credentials, **spec)

    def destination(self, mode: str = "upsert", **connection: Any) -> Object:
        return {
            "connector": {"name": "postgres"},
            "connection": {**self.connection, "schema": "copy", **connection},
            "credentials": from_secret("shop-db", "password"),
            "writeMode": mode,
        }

    def same(self, table: str, schema: str = "copy") -> bool:
        """Whether the copy in a schema holds the rows of the table, each once; false while there is no copy."""
        if not self.has(table, schema):
            return False
        columns = "id, name, amount, updated_at"
        one, other = f'select {columns} from "{table}"', f'select {columns} from {schema}."public_{table}"'
        ((count,),) = self.postgres.rows(
            f"select count(*) from (({one} except all {other}) union all ({other} except all {one})) d"
        )
        return bool(count == 0)

    def has(self, table: str, schema: str = "copy") -> bool:
        """Whether there is a copy."""
        return self.postgres.rows("select to_regclass(%s)", f'{schema}."public_{table}"') != [(None,)]

    def difference(self, table: str, schema: str = "copy") -> str:
        """What to say where they are not the same."""
        if not self.has(table, schema):
            return f"there is no {schema}.public_{table}"
        sides = {"table": f'"{table}"', "copy": f'{schema}."public_{table}"'}
        counts = {
            side: self.postgres.rows(f"select count(*), count(distinct id), min(id), max(id) from {place}")
            for side, place in sides.items()
        }
        return f"{schema}.public_{table}: (rows, keys, first, last) {counts}"


class Bucket:
    """A bucket as pods reach it."""

    def __init__(self, s3: S3, url: str) -> None:
        self.s3 = s3
        self.url = url
        self.secret = secret("lake", accessKeyId=s3.access_key, secretAccessKey=s3.secret_key)

    @property
    def place(self) -> Object:
        return {"endpoint": self.url, "region": self.s3.region}

    def destination(self, mode: str = "upsert") -> Object:
        return {
            "connector": {"name": "file"},
            "connection": {"url": f"s3://{self.s3.bucket}/lake/{{stream}}", "format": "parquet", **self.place},
            "credentials": from_secret("lake", *KEYS),
            "writeMode": mode,
        }

    def state(self) -> Object:
        return {"s3": {"bucket": self.s3.bucket, "prefix": "state", **self.place, "credentials": from_secret("lake", *KEYS)}}


def lake(
    namespace: Namespace,
    bucket: Bucket,
    millrace: Millrace,
    directory: Path,
    documents: list[Object],
    flow: str = "lake",
    *options: str,
) -> pa.Table:
    """What lies there, by the list that `millrace files` prints for the same manifests; state of the cluster is none here."""
    documents = [{**one, "metadata": {**one["metadata"], "namespace": namespace.name}} for one in documents]
    directory.joinpath("lake.yaml").write_text(yaml.safe_dump_all(documents))
    return Lake(millrace, bucket.s3).table(directory / "lake.yaml", flow, "--state", str(directory / "none"), *options)
