"""The peers of Millrace, each doing one copy as its users would write it: `peers.py PEER FROM TO`.

A peer is imported only when it is the one to run, so that its process carries nothing of the others.
"""

from __future__ import annotations

import sys
from pathlib import Path

# What DuckDB would otherwise guess, money as floating point.
DUCKDB_TYPES = """{
    'l_orderkey': 'BIGINT', 'l_partkey': 'BIGINT', 'l_suppkey': 'BIGINT', 'l_linenumber': 'INTEGER',
    'l_quantity': 'DECIMAL(15,2)', 'l_extendedprice': 'DECIMAL(15,2)', 'l_discount': 'DECIMAL(15,2)',
    'l_tax': 'DECIMAL(15,2)', 'l_returnflag': 'VARCHAR', 'l_linestatus': 'VARCHAR', 'l_shipdate': 'DATE',
    'l_commitdate': 'DATE', 'l_receiptdate': 'DATE', 'l_shipinstruct': 'VARCHAR', 'l_shipmode': 'VARCHAR',
    'l_comment': 'VARCHAR'}"""


def duckdb(source: str, target: str, options: str = "") -> None:
    import duckdb

    connection = duckdb.connect(config={"threads": 2, "preserve_insertion_order": False})
    written = "FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 3"
    connection.execute(f"COPY (SELECT * FROM read_csv('{source}'{options})) TO '{target}' ({written})")


def duckdb_declared(source: str, target: str) -> None:
    duckdb(source, target, f", header = true, columns = {DUCKDB_TYPES}")


def polars(source: str, target: str) -> None:
    import polars

    polars.scan_csv(source, try_parse_dates=True).sink_parquet(
        target, compression="zstd", compression_level=3
    )


def pyarrow(source: str, target: str) -> None:
    from pyarrow import csv

    reader = csv.open_csv(source, read_options=csv.ReadOptions(block_size=16 << 20))
    write(reader, target)


def connectorx(source: str, target: str) -> None:
    import connectorx
    import pyarrow.parquet as pq

    query = "select * from lineitem"
    table = connectorx.read_sql(
        source, query, partition_on="l_orderkey", partition_num=2, return_type="arrow"
    )
    pq.write_table(table, target, compression="zstd", compression_level=3)


def adbc(source: str, target: str) -> None:
    from adbc_driver_postgresql import dbapi

    with dbapi.connect(source) as connection, connection.cursor() as cursor:
        cursor.execute("select * from lineitem")
        write(cursor.fetch_record_batch(), target)


def read_arrow(source: str, _: str) -> None:
    """Only reads, as the plugin that yields Arrow does."""
    import reads

    print("rows", sum(batch.num_rows for batch in reads.arrow(source)))


def read_rows(source: str, _: str) -> None:
    """Only reads, as the plugin that yields dictionaries does, and makes Arrow of them."""
    import pyarrow
    import reads

    print("rows", sum(pyarrow.RecordBatch.from_pylist(rows).num_rows for rows in reads.rows(source)))


def dict_reader(source: str, _: str) -> None:
    """Only reads."""
    import reads

    print("rows", sum(len(rows) for rows in reads.rows(source)))


def write(batches, target: str) -> None:
    """Streams record batches into one Parquet file."""
    import pyarrow.parquet as pq

    with pq.ParquetWriter(target, batches.schema, compression="zstd", compression_level=3) as writer:
        for batch in batches:
            writer.write_batch(batch)


def count(source: str, _: str) -> None:
    """Prints the rows in the Parquet files of a directory: the check of every copy, not measured."""
    import pyarrow.parquet as pq

    print(sum(pq.read_metadata(path).num_rows for path in Path(source).rglob("*.parquet")))


if __name__ == "__main__":
    globals()[sys.argv[1]](sys.argv[2], sys.argv[3])
