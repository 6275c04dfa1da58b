"""The engine `library`: the example reader of CSV files over the Arrow C interface, and what is no such library."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from harness import Result
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

    def write(reader: str, *streams: str, directory: str = "shop", **connection: int) -> Path:
        return engine_manifest(
            workdir,
            "library",
            {"reader": reader},
            files.spec(),
            connection={"directory": directory, **connection},
            streams=keyed(*streams or ("users", "orders")),
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
        ("./text.so:create_reader", ["text.so"]),
        ("./empty.so:create_reader", ["empty.so"]),
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
    assert "many" in result.stream("users")["error"]["message"]
    expect(result.stream("orders"), read=300, unchanged=300)
    same_rows(files.table(manifest, "users"), shop["users"])
