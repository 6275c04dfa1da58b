"""The engine `library`: the example reader of CSV files over the Arrow C interface, and what is no such library."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from harness import Result, Spec
from kit import FileSink, customers, edited, expect, same_rows, write_table
from plugins import engine_manifest, failure, keyed

from conftest import program

Run = Callable[..., Result]


@pytest.fixture
def library() -> Path:
    """The example, as it lies beside the program that is tested."""
    path = Path(os.environ.get("MILLRACE_EXAMPLE_LIBRARY", program().with_name("libexample_csv_reader.so")))
    assert path.is_file(), f"{path} is not built: cargo build -p example-csv-reader"
    return path


@pytest.fixture
def flow(workdir: Path, files: FileSink) -> Callable[..., Path]:
    """`flow(reader, parts=4)`: a Flow of the streams `users` and `orders`, files of the directory `shop`."""

    def write(
        reader: str, *streams: str, directory: str = "shop", schema: list[Spec] | None = None, **connection: int
    ) -> Path:
        return engine_manifest(
            workdir,
            "library",
            {"reader": reader},
            files.spec(),
            connection={"directory": directory, **connection},
            streams=keyed(*streams or ("users", "orders"), **({"schema": schema} if schema else {})),
        )

    return write


@pytest.fixture
def shop(workdir: Path) -> dict[str, pa.Table]:
    """Two files of customers."""
    tables = {"users": customers(20_000), "orders": customers(300)}
    for name, table in tables.items():
        write_table(table, workdir / "shop" / f"{name}.csv")
    return tables


@pytest.mark.parametrize("parts", [1, 4])
def test_full_loads_find_changes_and_deletes(
    parts: int,
    run: Run,
    flow: Callable[..., Path],
    library: Path,
    shop: dict[str, pa.Table],
    workdir: Path,
    files: FileSink,
) -> None:
    manifest = flow(f"{library}:create_reader", parts=parts)
    first = run(manifest)
    expect(first.stream("users"), read=20_000, inserted=20_000)
    expect(first.stream("orders"), read=300, inserted=300)
    for name, table in shop.items():
        same_rows(files.table(manifest, name), table)

    changed, count = edited(shop["users"])
    write_table(changed, workdir / "shop" / "users.csv")
    second = run(manifest, "--full")

    expect(
        second.stream("users"),
        read=20_000,
        inserted=count,
        updated=count,
        unchanged=20_000 - 2 * count,
        deleted=count,
        absent=count,
    )
    expect(second.stream("orders"), read=300, unchanged=300)
    same_rows(files.table(manifest, "users"), changed)


@pytest.mark.parametrize("failpoint", ["commit.before", "commit.after"])
def test_a_crash_loses_and_doubles_nothing(
    failpoint: str, run: Run, flow: Callable[..., Path], library: Path, shop: dict[str, pa.Table], files: FileSink
) -> None:
    manifest = flow(f"{library}:create_reader", "users", parts=3)
    assert run(manifest, env={"MILLRACE_FAILPOINT": failpoint}, check=False).returncode == -signal.SIGKILL
    run(manifest)
    same_rows(files.table(manifest, "users"), shop["users"])


@pytest.mark.parametrize(
    ("reader", "wanted"),
    [
        ("./libabsent.so:create_reader", ["libabsent.so"]),
        ("{library}:create_raeder", ["create_raeder"]),
        ("./text.so:create_reader", ["text.so", "invalid ELF header"]),
        ("./empty.so:create_reader", ["empty.so", "file too short"]),
        ("{libc}:create_reader", ["create_reader"]),
    ],
    ids=["missing", "symbol", "text", "empty", "another library"],
)
def test_what_is_no_plugin_is_refused_by_name(
    reader: str,
    wanted: list[str],
    run: Run,
    flow: Callable[..., Path],
    library: Path,
    shop: dict[str, pa.Table],
    workdir: Path,
) -> None:
    (workdir / "text.so").write_text("no library at all\n" * 100)
    (workdir / "empty.so").touch()
    libc = next(Path("/").glob("lib/*-linux-gnu/libm.so.6"), Path("/lib/libm.so.6"))

    result = run(flow(reader.format(library=library, libc=libc)), check=False)

    assert result.returncode == 2, str(result)
    error = failure(result, "users")
    assert error["kind"] == "config", error
    for part in wanted:
        assert part in error["message"], error
    assert not (workdir / "out").exists()


def test_a_wrong_setting_is_told_by_the_plugin(
    run: Run, flow: Callable[..., Path], library: Path, shop: dict[str, pa.Table]
) -> None:
    absent = failure(run(flow(f"{library}:create_reader", directory="nowhere"), check=False), "users")
    assert absent["kind"] == "config" and "nowhere" in absent["message"], absent
    unknown = failure(run(flow(f"{library}:create_reader", prats=3), check=False), "users")
    assert unknown["kind"] == "config" and "prats" in unknown["message"], unknown


def test_a_stream_that_the_plugin_does_not_have_is_refused(
    run: Run, flow: Callable[..., Path], library: Path, shop: dict[str, pa.Table], files: FileSink
) -> None:
    result = run(flow(f"{library}:create_reader", "users", "carts"), check=False)
    assert result.returncode not in (0, None) and "carts" in str(result), str(result)


def test_a_value_that_is_not_what_the_first_rows_showed_fails_its_stream_alone(
    run: Run, flow: Callable[..., Path], library: Path, shop: dict[str, pa.Table], workdir: Path, files: FileSink
) -> None:
    manifest = flow(f"{library}:create_reader")
    run(manifest)
    with (workdir / "shop" / "users.csv").open("a") as file:
        file.write('"many","name",7,\n')

    result = run(manifest, "--full", check=False)

    assert result.returncode == 1, str(result)
    message = result.stream("users")["error"]["message"]
    assert "many" in message and "while it read, at batch " in message, message
    expect(result.stream("orders"), read=300, unchanged=300)
    same_rows(files.table(manifest, "users"), shop["users"])


def test_cells_are_read_as_they_are_written(
    run: Run, flow: Callable[..., Path], library: Path, workdir: Path, files: FileSink
) -> None:
    (workdir / "shop").mkdir()
    (workdir / "shop" / "users.csv").write_bytes(
        b"id,name,price,sold,on,at,seen\r\n"
        b'1,"a ""b"", c",1.5,true,2024-02-29,2024-02-29 12:30:00,2024-02-29T13:30:00+01:00\r\n'
        b"\r\n"
        b"2,,,,,,\r\n"
        b'4,5" pipe,,,,,\r\n'
        b'"3","",-2,FALSE,1969-12-31,1969-12-31T23:59:59,1969-12-31 23:59:59.000Z\r\n'
    )
    manifest = flow(f"{library}:create_reader", "users", parts=2)

    run(manifest)

    first, last = datetime(2024, 2, 29, 12, 30), datetime(1969, 12, 31, 23, 59, 59)
    nothing = dict.fromkeys(["name", "price", "sold", "on", "at", "seen"])
    assert sorted(files.table(manifest, "users").to_pylist(), key=lambda row: row["id"]) == [
        {"id": 1, "name": 'a "b", c', "price": 1.5, "sold": True, "on": first.date(), "at": first, "seen": utc(first)},
        {"id": 2, **nothing},
        {"id": 3, "name": None, "price": -2.0, "sold": False, "on": last.date(), "at": last, "seen": utc(last)},
        {"id": 4, **nothing, "name": '5" pipe'},
    ]


def utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC)


def test_declared_columns_are_what_they_are_declared(
    run: Run, flow: Callable[..., Path], library: Path, workdir: Path, files: FileSink
) -> None:
    (workdir / "shop").mkdir()
    (workdir / "shop" / "users.csv").write_text("id,zip,price,born\n1,01067,1.10,2024-02-29\n2,10115,20,\n")
    price = {"name": "price", "logicalType": "number", "physicalType": "decimal(9,2)"}
    declared: list[Spec] = [{"name": "zip", "logicalType": "string"}, price, {"name": "born", "logicalType": "date"}]
    manifest = flow(f"{library}:create_reader", "users", schema=declared)

    run(manifest)

    assert sorted(files.table(manifest, "users").to_pylist(), key=lambda row: row["id"]) == [
        {"id": 1, "zip": "01067", "price": Decimal("1.10"), "born": date(2024, 2, 29)},
        {"id": 2, "zip": "10115", "price": Decimal("20.00"), "born": None},
    ]


def test_a_column_that_is_empty_at_first_is_text(
    run: Run, flow: Callable[..., Path], library: Path, workdir: Path, files: FileSink
) -> None:
    (workdir / "shop").mkdir()
    (workdir / "shop" / "users.csv").write_text("id,note\n" + "".join(f"{n},\n" for n in range(2000)) + "2000,late\n")
    manifest = flow(f"{library}:create_reader", "users")

    expect(run(manifest).stream("users"), read=2001, inserted=2001)

    notes = files.table(manifest, "users").column("note")
    assert (notes.null_count, set(notes.drop_null().to_pylist())) == (2000, {"late"})


@pytest.mark.parametrize(
    ("broken", "wanted"),
    [(b"id,name\n1,x\n2\n", "1 fields and not 2"), (b"", "has no header"), (b'id,name\n1,"x\n', "not closed")],
    ids=["fields", "empty", "quote"],
)
def test_a_file_that_is_broken_at_its_beginning_fails_its_stream_alone(
    broken: bytes, wanted: str, run: Run, flow: Callable[..., Path], library: Path, shop: dict[str, pa.Table], workdir: Path
) -> None:
    (workdir / "shop" / "users.csv").write_bytes(broken)

    result = run(flow(f"{library}:create_reader"), check=False)

    error = failure(result, "users")
    assert error["kind"] == "data" and wanted in error["message"] and "users.csv" in error["message"], error
    expect(result.stream("orders"), read=300, inserted=300)


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        (b"4,more", "2 fields and not 3"),
        (b'4,"\xff",1', "`name` is no Utf8"),
        (b"4,x,2023-02-29", "`on` is no Date32"),
        (b'4,"x,2023-02-28', "not closed"),
    ],
    ids=["fields", "text", "date", "quote"],
)
def test_a_record_that_cannot_be_read_is_shown(
    line: bytes, wanted: str, run: Run, flow: Callable[..., Path], library: Path, workdir: Path
) -> None:
    rows = b"".join(b"%d,name,2026-01-01\n" % n for n in range(2000))
    (workdir / "shop").mkdir()
    (workdir / "shop" / "users.csv").write_bytes(b"id,name,on\n" + rows + line + b"\n")

    error = failure(run(flow(f"{library}:create_reader", "users"), check=False), "users")

    assert error["kind"] == "data" and wanted in error["message"] and '"4,' in error["message"], error
    assert "users.csv" in error["message"], error
