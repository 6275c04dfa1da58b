"""Promises about watermarks and cursors: lines 9 to 11 of the semantics."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness import Millrace, Postgres, Result, duck, file_source
from kit import FileSink, customers, expect, postgres_source, resume, same_rows, stopped, wait_until, write_table

Run = Callable[..., Result]
Manifest = Callable[..., Path]
NO_MARGIN = {"lateMargin": "0s"}


def items(postgres: Postgres, cursor: str = "at timestamptz not null default now()") -> None:
    postgres.execute(f"create table items (id bigint generated always as identity primary key, {cursor})")


def delivered(files: FileSink, flow: Path) -> list[int]:
    return sorted(row["id"] for row in files.table(flow, "public.items").to_pylist())


def test_09_the_watermark_stops_before_transactions_that_are_open(
    run: Run, manifest: Manifest, postgres: Postgres, files: FileSink
) -> None:
    items(postgres)
    source = postgres_source(postgres, "public.items", cursorField="at", connection=NO_MARGIN)
    flow = manifest(source=source, destination=files.spec())
    postgres.execute("insert into items default values")
    run(flow)
    with postgres.connect() as late:
        late.execute("insert into items default values")
        postgres.execute("insert into items default values")
        run(flow)
        late.commit()
    run(flow)

    assert delivered(files, flow) == [1, 2, 3]
    run(flow)
    assert duck("select count(*), count(distinct id) from t", t=files.table(flow, "public.items")) == [(3, 3)]


def test_09_a_full_load_takes_its_lower_bound_before_it_reads(
    run: Run, millrace: Millrace, manifest: Manifest, postgres: Postgres, files: FileSink
) -> None:
    items(postgres)
    postgres.execute("insert into items (at) select now() from generate_series(1, 100)")
    source = postgres_source(postgres, "public.items", cursorField="at", connection=NO_MARGIN)
    flow = manifest(source=source, destination=files.spec())
    env = {**postgres.env, "MILLRACE_FAILPOINT": "commit.before=stop"}
    loading = millrace.start("run", flow, "--output", "json", env=env)
    wait_until(lambda: stopped(loading), what="the load stands before its commit")
    postgres.execute("insert into items default values")
    result = resume(loading)
    assert result.returncode == 0, str(result)
    assert delivered(files, flow) == list(range(1, 101))

    run(flow)

    assert delivered(files, flow) == list(range(1, 102))


def test_09_the_watermark_never_goes_back(
    run: Run, manifest: Manifest, postgres: Postgres, files: FileSink
) -> None:
    items(postgres, "version bigint")
    postgres.execute("insert into items (version) select n from generate_series(1, 100) n")
    source = postgres_source(postgres, "public.items", cursorField="version")
    flow = manifest(source=source, destination=files.spec())
    run(flow)
    # The greatest rows go away: what comes below the old watermark is for the next full load.
    postgres.execute("delete from items where version > 50")
    run(flow)
    postgres.execute("insert into items (version) values (101)")

    counts = run(flow).stream("public.items")

    assert counts["inserted"] == 1 and counts["read"] <= 2, counts
    assert len(delivered(files, flow)) == 101


@pytest.mark.parametrize("batch_rows", [1, 7, 100, 1000])
def test_10_ties_at_a_batch_boundary_lose_nothing(
    batch_rows: int, run: Run, manifest: Manifest, postgres: Postgres, files: FileSink
) -> None:
    ties_lose_nothing(batch_rows, run, manifest, postgres, files)


def ties_lose_nothing(
    batch_rows: int, run: Run, manifest: Manifest, postgres: Postgres, files: FileSink
) -> None:
    items(postgres, "version bigint")
    source = postgres_source(
        postgres, "public.items", cursorField="version", connection={"batchRows": batch_rows}
    )
    flow = manifest(source=source, destination=files.spec("append"))
    postgres.execute("insert into items (version) select 1 from generate_series(1, 300)")
    run(flow)
    # More rows of the very cursor that the watermark stands at.
    postgres.execute("insert into items (version) select 1 from generate_series(1, 300)")
    postgres.execute("insert into items (version) select 2 from generate_series(1, 300)")
    run(flow)
    run(flow)

    assert delivered(files, flow) == list(range(1, 901))


def test_10_the_last_row_is_not_delivered_again(
    run: Run, manifest: Manifest, postgres: Postgres, sink: Any
) -> None:
    items(postgres)
    postgres.execute("insert into items (at) select now() from generate_series(1, 10)")
    source = postgres_source(postgres, "public.items", cursorField="at", connection=NO_MARGIN)
    target = sink.spec("append")
    if sink.name == "postgres":
        target["connection"]["schema"] = "lake"
    flow = manifest(source=source, destination=target)
    run(flow)

    for _ in range(3):
        again = run(flow).stream("public.items")
        expect(again, read=again["read"], unchanged=again["read"])


def test_10_several_cursor_columns_order_together(
    run: Run, manifest: Manifest, postgres: Postgres, files: FileSink
) -> None:
    items(postgres, "day int, seq int")
    source = postgres_source(postgres, "public.items", cursorFields=["day", "seq"])
    flow = manifest(source=source, destination=files.spec())
    postgres.execute("insert into items (day, seq) select 1, n from generate_series(1, 50) n")
    run(flow)
    postgres.execute("insert into items (day, seq) select 2, n from generate_series(1, 5) n")

    # The last row is read once more, since others may share its values.
    counts = run(flow).stream("public.items")
    expect(counts, read=5 + counts["unchanged"], inserted=5, unchanged=counts["unchanged"])
    assert counts["unchanged"] <= 1
    assert delivered(files, flow) == list(range(1, 56))


def test_10_null_cursors_are_counted_and_reported(
    run: Run, manifest: Manifest, postgres: Postgres, files: FileSink
) -> None:
    items(postgres, "version bigint")
    source = postgres_source(postgres, "public.items", cursorField="version")
    flow = manifest(source=source, destination=files.spec())
    postgres.execute("insert into items (version) select nullif(n, 5) from generate_series(1, 10) n")

    first = run(flow)

    assert delivered(files, flow) == list(range(1, 11))
    postgres.execute("insert into items (version) values (null), (11)")
    second = run(flow)
    told = first.stderr + second.stderr + second.stdout
    assert "without a cursor" in told and "rows=2" in told, told
    run(flow, "--full")
    assert delivered(files, flow) == list(range(1, 13))


def test_10_microseconds_are_not_rounded(
    run: Run, manifest: Manifest, postgres: Postgres, files: FileSink
) -> None:
    items(postgres, "at timestamp")
    source = postgres_source(
        postgres, "public.items", cursorField="at", connection={**NO_MARGIN, "cursorTimeZone": "UTC"}
    )
    flow = manifest(source=source, destination=files.spec())
    for micros in ("000001", "999999", "500000"):
        postgres.execute(f"insert into items (at) values ('2026-03-29 02:30:00.{micros}')")
        run(flow)
    # What is between two microseconds that were seen.
    postgres.execute("insert into items (at) values ('2026-03-29 02:30:01.0000004')")
    run(flow)
    run(flow, "--full")

    rows = {(row["id"], str(row["at"])) for row in files.table(flow, "public.items").to_pylist()}
    assert rows == {(id, str(at)) for id, at in postgres.rows("select id, at from items")}


def test_11_a_file_that_changes_during_the_read_is_seen_next_time(
    run: Run, millrace: Millrace, workdir: Path, manifest: Manifest, files: FileSink
) -> None:
    source = write_table(customers(100), workdir / "customers.csv")
    flow = manifest(source=file_source(source, "csv", primary_key=["id"]), destination=files.spec())
    loading = millrace.start(
        "run", flow, "--output", "json", env={"MILLRACE_FAILPOINT": "commit.before=stop"}
    )
    wait_until(lambda: stopped(loading), what="the load stands before its commit")
    later = write_table(customers(150), source)
    resume(loading)

    run(flow)

    same_rows(files.table(flow, "customers"), customers(150))
    assert later.exists()


def test_11_equal_modification_times_are_not_skipped(
    run: Run, workdir: Path, manifest: Manifest, files: FileSink
) -> None:
    part = workdir / "in" / "a.csv"
    write_table(customers(10), part)
    source = file_source(workdir / "in" / "*.csv", "csv", name="in", primary_key=["id"], cursorField="id")
    flow = manifest(source=source, destination=files.spec())
    run(flow)
    stat = part.stat()
    # A second file and new content of the first, of the same size, all with the time of the first.
    part.write_text(part.read_text().replace("customer 7", "CUSTOMER 7"))
    second = write_table(customers(10, first=11), workdir / "in" / "b.csv")
    for path in (part, second):
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    run(flow, "--full")

    names = {row["name"] for row in files.table(flow, "in").to_pylist()}
    assert "CUSTOMER 7" in names and "customer 20" in names and len(names) == 20


def test_11_new_files_are_found_by_a_delta(run: Run, workdir: Path, manifest: Manifest, files: FileSink) -> None:
    write_table(customers(10), workdir / "in" / "a.csv")
    source = file_source(workdir / "in" / "*.csv", "csv", name="in", primary_key=["id"])
    flow = manifest(source=source, destination=files.spec())
    run(flow)
    stat = (workdir / "in" / "a.csv").stat()
    late = write_table(customers(10, first=11), workdir / "in" / "b.csv")
    os.utime(late, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    expect(run(flow, "--delta").stream("in"), read=10, inserted=10)

    expect(run(flow, "--delta").stream("in"), read=0)
    same_rows(files.table(flow, "in"), customers(20))


def test_11_source_files_stay_where_they_are(run: Run, workdir: Path, manifest: Manifest, files: FileSink) -> None:
    source = write_table(customers(10), workdir / "in" / "a.csv")
    before = (source.read_bytes(), source.stat().st_mtime_ns, source.stat().st_ino)
    flow = manifest(
        source=file_source(workdir / "in" / "*.csv", "csv", name="in", primary_key=["id"]),
        destination=files.spec(),
    )
    run(flow)
    run(flow, env={"MILLRACE_FAILPOINT": "commit.before"}, check=False)

    assert (source.read_bytes(), source.stat().st_mtime_ns, source.stat().st_ino) == before


@pytest.mark.parametrize("fault", ["nothing", "the role sees no starts", "clients set the time"])
def test_a_guarantee_that_the_source_cannot_keep_is_refused_before_anything_is_read(
    fault: str, millrace: Millrace, postgres: Postgres, manifest: Manifest, files: FileSink
) -> None:
    items(postgres, "at timestamptz not null" + (" default now()" if fault != "clients set the time" else ""))
    postgres.execute("insert into items (at) values (now())")
    env = postgres.env
    source = postgres_source(postgres, "public.items", cursorField="at", primaryKey=["id"])
    if fault == "the role sees no starts":
        role = f"few_{postgres.connection.info.dbname}"
        postgres.execute(f"create role {role} login password 'sesame'; grant select on items to {role}")
        source["connection"]["user"] = role
        env = {"PGPASSWORD": "sesame"}
    flow = manifest(source=source, destination=files.spec(), delivery={"require": "ExactlyOnce"})
    validated = millrace("validate", "--connect", flow, env=env, check=False)
    ran = millrace("run", flow, env=env, check=False)
    if fault == "the role sees no starts":
        postgres.execute(f"drop owned by {role}; drop role {role}")
    if fault == "nothing":
        assert validated.returncode == ran.returncode == 0, f"{validated}\n{ran}"
        assert "ExactlyOnce" in validated.stdout
        return
    assert validated.returncode == ran.returncode == 2, f"{validated}\n{ran}"
    assert "MayMissLateCommits" in validated.stdout
    assert "GuaranteeNotSupported" in validated.stderr and "GuaranteeNotSupported" in ran.stderr
    assert not Path(files.root, "public.items").exists()
