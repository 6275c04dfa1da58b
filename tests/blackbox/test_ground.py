"""The ground itself: a fault test that passes on a ground without these properties proves nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from harness import S3, Postgres, columns, csv_source, parquet_files


def test_postgres_keeps_what_it_committed(postgres: Postgres) -> None:
    settings = {
        name: postgres.rows(f"show {name}")[0][0] for name in ("fsync", "wal_level", "password_encryption")
    }
    assert settings == {"fsync": "on", "wal_level": "logical", "password_encryption": "scram-sha-256"}


def test_a_bucket_takes_and_gives_back_objects(s3: S3) -> None:
    s3.put("a/b.bin", b"\x00content")
    assert (s3.keys(), s3.get("a/b.bin")) == (["a/b.bin"], b"\x00content")
    s3.delete("a/b.bin")
    assert s3.keys() == []


def test_a_manifest_is_a_source_and_a_flow(
    workdir: Path, write_csv: Callable[..., Path], manifest: Callable[..., Path], duck: Callable[..., Any]
) -> None:
    orders = write_csv("orders.csv", [{"id": 1, "price": "1.10"}, {"id": 2, "price": None}])
    schema = columns(id="integer", price="number decimal(15,2)")
    path = manifest(
        source=csv_source(orders, primary_key=["id"], schema=schema),
        destination=parquet_files(workdir / "out"),
        mode="Batch",
    )
    source, flow = yaml.safe_load_all(path.read_text())
    assert (source["kind"], flow["kind"]) == ("Source", "Flow")
    assert source["spec"]["streams"][0]["schema"][1]["physicalType"] == "decimal(15,2)"
    assert flow["spec"]["source"] == {"name": source["metadata"]["name"]}
    assert duck(f"select count(*), count(price) from '{orders}'") == [(2, 1)]
