"""Is what arrives what was sent? TPC-H lineitem through the program, judged by DuckDB alone.

DuckDB reads the source and what was delivered, both with the types of the source's contract, and compares them by
checksums of each column and of the rows. `tests/run --full` takes 10,001,313 rows; MILLRACE_LINEITEM names a file that
is there already, and `pytest -s` shows the figures.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import harness
import pytest
from harness import Lake, Postgres, Result, csv_source, parquet_files
from kit import postgres_source

Run = Callable[..., Result]
Manifest = Callable[..., Path]

# Each column as the manifest declares it, and as DuckDB has to find it.
INTEGER, LONG = ("integer int32", "INTEGER"), ("integer int64", "BIGINT")
MONEY, TEXT, DATE = ("number decimal(15,2)", "DECIMAL(15,2)"), ("string", "VARCHAR"), ("date", "DATE")
LINEITEM = {
    "l_orderkey": LONG,
    "l_partkey": LONG,
    "l_suppkey": LONG,
    "l_linenumber": INTEGER,
    "l_quantity": MONEY,
    "l_extendedprice": MONEY,
    "l_discount": MONEY,
    "l_tax": MONEY,
    "l_returnflag": TEXT,
    "l_linestatus": TEXT,
    "l_shipdate": DATE,
    "l_commitdate": DATE,
    "l_receiptdate": DATE,
    "l_shipinstruct": TEXT,
    "l_shipmode": TEXT,
    "l_comment": TEXT,
}
TYPES = {name: type for name, (_, type) in LINEITEM.items()}
# Of a load in a debug build, on a machine that has other things to do.
PATIENCE = 1800


@dataclass(frozen=True)
class Content:
    """What DuckDB finds in a relation, whatever the order of the rows."""

    types: dict[str, str]
    rows: int
    # Of whole rows, so that values in the wrong row are seen.
    together: int
    # Sum of hashes, least, greatest, nulls.
    columns: dict[str, tuple[Any, ...]]

    @property
    def digest(self) -> str:
        """The checksum of the checksums."""
        return hashlib.sha256(repr((self.rows, self.together, self.columns)).encode()).hexdigest()[:16]


def content(relation: str) -> Content:
    """The content of `relation`, a table function of DuckDB, without the columns that Millrace adds."""
    with duckdb.connect() as connection:
        connection.execute("set threads = 2; set memory_limit = '2GB'")
        described = connection.execute(f"describe select * from {relation}").fetchall()
        types = {name: type for name, type, *_ in described if not name.startswith(harness.ADDED)}
        each = ", ".join(f"sum(hash({c})), min({c}), max({c}), count(*) - count({c})" for c in types)
        row = f"sum(hash({', '.join(types)}))"
        found = connection.execute(f"select count(*), {row}, {each} from {relation}").fetchall()[0]
    columns = {name: found[2 + 4 * n : 6 + 4 * n] for n, name in enumerate(types)}
    return Content(types, found[0], found[1], columns)


def in_csv(path: Path) -> Content:
    return content(f"read_csv('{path}', header = true, delim = ',', quote = '\"', escape = '\"', columns = {TYPES})")


def in_parquet(paths: list[str]) -> Content:
    assert paths, "nothing was delivered"
    return content(f"read_parquet({[path.removeprefix('file://') for path in paths]})")


def same(found: Content, wanted: Content) -> None:
    assert found.types == TYPES
    assert found.rows == wanted.rows
    differ = {c: (found.columns[c], wanted.columns[c]) for c in TYPES if found.columns[c] != wanted.columns[c]}
    assert not differ, f"checksum, least, greatest, nulls: found and wanted: {differ}"
    assert found.together == wanted.together, "the values of each column are there, but not in their rows"
    assert found.digest == wanted.digest


def generated(directory: Path, scale: float) -> Path:
    generator = Path(sys.executable).with_name("tpchgen-cli")
    command = [str(generator), "csv", "--scale-factor", str(scale), "--tables=lineitem", "--quiet"]
    subprocess.run(command, cwd=directory, check=True)
    return directory / "lineitem.csv"


@pytest.fixture
def lineitem(full: bool, tmp_path: Path) -> Iterator[Path]:
    """The rows to move."""
    if there := os.environ.get("MILLRACE_LINEITEM"):
        yield Path(there)
        return
    path = generated(tmp_path, 1.667 if full else 0.02)
    yield path
    path.unlink()


def declared(csv: Path) -> dict[str, Any]:
    return csv_source(csv, name="lineitem", schema=harness.columns(**{c: text for c, (text, _) in LINEITEM.items()}))


def tell(what: str, found: Content, **seconds: float) -> None:
    took = "".join(f", {name} {value:.1f} s" for name, value in seconds.items())
    print(f"\n{what}: {found.rows} rows, {len(found.columns)} columns, checksum of checksums {found.digest}{took}")


def timed(run: Run, manifest: Path) -> tuple[float, dict[str, Any]]:
    begun = time.monotonic()
    result = run(manifest, timeout=PATIENCE)
    (flow,) = result.json["flows"]
    (stream,) = flow["streams"]
    return time.monotonic() - begun, stream


def test_csv_to_parquet_is_right(run: Run, manifest: Manifest, workdir: Path, lake: Lake, lineitem: Path) -> None:
    flow = manifest(source=declared(lineitem), destination=parquet_files(workdir / "out", "overwrite"))

    seconds, counts = timed(run, flow)

    wanted, found = in_csv(lineitem), in_parquet(lake.files(flow))
    tell("in the CSV, by DuckDB", wanted)
    tell("CSV to Parquet, by DuckDB", found, millrace=seconds)
    assert (counts["read"], counts["inserted"], counts["refused"]) == (wanted.rows, wanted.rows, 0)
    same(found, wanted)


def test_csv_to_postgres_to_parquet_is_right(
    run: Run, manifest: Manifest, workdir: Path, lake: Lake, lineitem: Path, postgres: Postgres
) -> None:
    table = {
        "connector": "postgres",
        "connection": postgres.spec,
        "options": {"_millrace_loaded_at": False},
        "writeMode": "overwrite",
    }
    into = manifest("into", source=declared(lineitem), destination=table)
    source = postgres_source(postgres, "public.lineitem")
    out_of = manifest("out-of", source=source, destination=parquet_files(workdir / "out", "overwrite"))

    seconds_in, counts_in = timed(run, into)
    copied = in_csv(copied_out(postgres, workdir / "copied.csv"))
    seconds_out, counts_out = timed(run, out_of)

    wanted, found = in_csv(lineitem), in_parquet(lake.files(out_of))
    tell("CSV to PostgreSQL, by COPY and DuckDB", copied, millrace=seconds_in)
    tell("PostgreSQL to Parquet, by DuckDB", found, millrace=seconds_out)
    assert counts_in["inserted"] == counts_out["read"] == counts_out["inserted"] == wanted.rows
    same(copied, wanted)
    same(found, wanted)


def copied_out(postgres: Postgres, path: Path) -> Path:
    """The table as the server itself writes it."""
    sql = f"copy (select {', '.join(LINEITEM)} from lineitem) to stdout (format csv, header)"
    with path.open("wb") as file, postgres.connection.cursor().copy(sql.encode()) as rows:
        for part in rows:
            file.write(part)
    return path


def changed_byte(lines: list[str]) -> str:
    """Another letter in the comment of one row; says what has to be told."""
    row = len(lines) // 2
    line = lines[row]
    # The comment is the last column and may end with a quote.
    lines[row] = f"{line[:-3]}{'x' if line[-3] != 'x' else 'y'}{line[-2:]}"
    return "l_comment"


def changed_cent(lines: list[str]) -> str:
    fields = lines[7].split(",")
    fields[5] = fields[5][:-1] + str((int(fields[5][-1]) + 1) % 10)
    lines[7] = ",".join(fields)
    return "l_extendedprice"


def swapped_values(lines: list[str]) -> str:
    """Two rows exchange their supplier: every column has the sums it had."""
    one, other = lines[3].split(","), lines[9].split(",")
    assert one[2] != other[2]
    one[2], other[2] = other[2], one[2]
    lines[3], lines[9] = ",".join(one), ",".join(other)
    return "not in their rows"


def lost_row(lines: list[str]) -> str:
    del lines[5]
    return "rows"


@pytest.mark.parametrize("harm", [changed_byte, changed_cent, swapped_values, lost_row])
def test_the_comparison_sees_a_wrong_row(
    harm: Callable[[list[str]], str], run: Run, manifest: Manifest, workdir: Path, lake: Lake
) -> None:
    csv = generated(workdir, 0.001)
    right = in_csv(csv)
    lines = csv.read_text().splitlines()
    message = harm(lines)
    csv.write_text("".join(f"{line}\n" for line in lines))
    flow = manifest(source=declared(csv), destination=parquet_files(workdir / "out", "overwrite"))
    run(flow)
    found = in_parquet(lake.files(flow))

    same(found, in_csv(csv))
    with pytest.raises(AssertionError, match=message):
        same(found, right)
