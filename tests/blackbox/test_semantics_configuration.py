"""Promises about configuration and types: lines 22 and 23 of the semantics."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness import Millrace, Postgres, Result, columns, csv_source, file_source, resource
from kit import FileSink, Sink, customers, expect, letters, postgres_source, same_rows, write_table

Run = Callable[..., Result]
Manifest = Callable[..., Path]
WriteCsv = Callable[..., Path]


def connector(configs: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return resource("Connector", "texts", {"type": "file", "roles": ["source"], "configs": configs, **spec})


@pytest.mark.parametrize(
    ("config", "own", "rows"),
    [
        (None, {}, 3),  # default: ;
        ("tabs", {}, 2),
        ("tabs", {"csv": {"delimiter": ";"}}, 3),
        (None, {"csv": {"delimiter": "\t"}}, 2),
    ],
    ids=["default", "named", "the source over the named", "the source over the default"],
)
def test_22_the_source_goes_before_the_named_config_and_that_before_the_default(
    config: str | None, own: dict[str, Any], rows: int, run: Run, workdir: Path, manifest: Manifest, files: FileSink
) -> None:
    (workdir / "odd.csv").write_text("a;b;c\n1;2\t;3\n")
    recipe = connector({"default": {"csv": {"delimiter": ";"}}, "tabs": {"csv": {"delimiter": "\t"}}})
    named = {"name": "texts", **({"config": config} if config else {})}
    source = {"connector": named, "connection": {"url": str(workdir / "odd.csv"), "format": "csv", **own}}
    flow = manifest(source=source, destination=files.spec("overwrite"), documents=[recipe])
    if rows == 2:
        (workdir / "odd.csv").write_text("a\tb\n1;2\t3\n")

    run(flow)

    assert len(files.table(flow, "odd").column_names) == rows


def test_22_an_explicit_empty_value_stays_empty(run: Run, workdir: Path, manifest: Manifest, files: FileSink) -> None:
    (workdir / "quoted.csv").write_text('a,b\n"x,y\n')
    recipe = connector({"default": {"csv": {"quote": "'"}}})
    connection = {"url": str(workdir / "quoted.csv"), "format": "csv", "csv": {"quote": ""}}
    flow = manifest(
        source={"connector": "texts", "connection": connection},
        destination=files.spec("overwrite"),
        documents=[recipe],
    )

    run(flow)

    same_rows(files.table(flow, "quoted"), [{"a": '"x', "b": "y"}])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"connector": {"name": "file", "config": "bulk"}}, ["spec.connector.config", "bulk"]),
        ({"connector": {"name": "fil"}}, ["spec.connector.name", "fil", "file"]),
        ({"connector": {"name": "file", "engine": "airbyte"}}, ["spec.connector.engine", "airbyte"]),
        ({"connection": {"url": "x.csv", "formt": "csv"}}, ["connection", "formt", "format"]),
        ({"connection": {"format": "csv"}}, ["connection", "url"]),
        ({"streams": [{"name": "absent", "primaryKey": ["id"]}]}, ["absent", "customers"]),
        ({"reader": "./no_such_reader.py:Reader"}, ["lake", "no_such_reader.py"]),
    ],
    ids=["config", "connector", "engine", "property", "missing property", "stream", "plugin path"],
)
def test_22_what_does_not_exist_is_refused_before_anything_is_read(
    change: dict[str, Any], words: list[str], run: Run, workdir: Path, manifest: Manifest, files: FileSink
) -> None:
    path = write_table(customers(10), workdir / "customers.csv")
    source = {**csv_source(path, primary_key=["id"]), **change}
    if "streams" in change:
        source["connection"] = {"url": str(workdir / "{stream}.csv"), "format": "csv"}

    refused = run(manifest(source=source, destination=files.spec()), check=False)

    assert refused.returncode == 2, str(refused)
    assert all(word in refused.stderr for word in words), refused.stderr
    assert not Path(files.root).exists()


def test_23_values_do_not_change_their_meaning(run: Run, workdir: Path, manifest: Manifest, sink: Sink) -> None:
    source = workdir / "odd.csv"
    lines = ["1,3,true,2026-02-28", "2,35.2,true,2026-02-28", "3,3,yes,2026-02-28", "4,many,false,2026-02-28"]
    source.write_text("id,count,flag,day\n" + "\n".join([*lines, "5,3,false,2026-02-30", "6,,,"]) + "\n")
    schema = columns(id="integer", count="integer", flag="boolean", day="date")
    flow = manifest(
        source=csv_source(source, primary_key=["id"], schema=schema),
        destination=sink.spec(),
        schemaContract={"dataType": "discardRow"},
        deadLetter={"url": f"{workdir}/out/_refused/{{stream}}"},
    )

    expect(run(flow).stream("odd"), read=6, inserted=2, refused=4)

    assert sorted(row["id"] for row in sink.table(flow, "odd").to_pylist()) == [1, 6]
    refused = letters(workdir)
    reasons = [next(name for name in ("count", "flag", "day") if name in letter["reason"]) for letter in refused]
    assert reasons == ["count", "flag", "count", "day"]
    assert [letter["place"].get("line") for letter in refused] == [3, 4, 5, 6]
    assert {letter["kind"] for letter in refused} <= {"parse", "type"}


def test_23_a_bad_value_stops_the_load_where_types_are_frozen(
    run: Run, workdir: Path, manifest: Manifest, files: FileSink
) -> None:
    source = workdir / "odd.csv"
    source.write_text("id,count\n1,3\n2,35.2\n")
    schema = columns(id="integer", count="integer")
    flow = manifest(source=csv_source(source, primary_key=["id"], schema=schema), destination=files.spec())

    outcome = run(flow, check=False)

    # freeze: the bad row is refused in the open, never rounded.
    if outcome.returncode == 0:
        expect(outcome.stream("odd"), read=2, inserted=1, refused=1)
        same_rows(files.table(flow, "odd"), [{"id": 1, "count": 3}])
    else:
        assert "count" in outcome.stderr and "35.2" in outcome.stderr


def test_23_the_dead_letter_has_the_path_of_a_nested_value(
    run: Run, workdir: Path, manifest: Manifest, files: FileSink
) -> None:
    source = workdir / "people.ndjson"
    source.write_text(
        '{"id": 1, "address": {"street": "a", "number": 7}}\n'
        '{"id": 2, "address": {"street": "b", "number": "seven"}}\n'
        '{"id": 3, "address": {"street": "c", "number": 7.5}}\n'
    )
    address = {
        "name": "address",
        "logicalType": "object",
        "properties": [
            {"name": "street", "logicalType": "string"},
            {"name": "number", "logicalType": "integer"},
        ],
    }
    schema = [{"name": "id", "logicalType": "integer"}, address]
    flow = manifest(
        source=file_source(source, "ndjson", primary_key=["id"], schema=schema),
        destination=files.spec(),
        schemaContract={"dataType": "discardRow"},
    )

    expect(run(flow).stream("people"), read=3, inserted=1, refused=2)

    refused = letters(workdir)
    assert ["address.number" in letter["reason"] for letter in refused] == [True, True]
    assert [letter["place"].get("line") for letter in refused] == [2, 3]


def test_23_a_refused_row_keeps_its_delivered_version(
    run: Run, write_csv: WriteCsv, manifest: Manifest, sink: Sink
) -> None:
    rows: list[dict[str, Any]] = [{"id": n, "count": n} for n in range(5)]
    schema = columns(id="integer", count="integer")
    source = csv_source(write_csv("people.csv", rows), primary_key=["id"], schema=schema)
    flow = manifest(source=source, destination=sink.spec(), schemaContract={"dataType": "discardRow"})
    run(flow)
    rows[2]["count"] = "two"
    write_csv("people.csv", rows)

    counts = run(flow).stream("people")

    expect(counts, read=5, unchanged=4, refused=1)
    assert sink.table(flow, "people").num_rows == 5


def test_23_discard_value_leaves_out_the_value_alone(
    run: Run, write_csv: WriteCsv, manifest: Manifest, files: FileSink
) -> None:
    schema = columns(id="integer", count="integer")
    rows = [{"id": 1, "count": "one"}, {"id": 2, "count": 2}]
    source = csv_source(write_csv("people.csv", rows), primary_key=["id"], schema=schema)
    flow = manifest(source=source, destination=files.spec(), schemaContract={"dataType": "discardValue"})

    expect(run(flow).stream("people"), read=2, inserted=2)

    same_rows(files.table(flow, "people"), [{"id": 1, "count": None}, {"id": 2, "count": 2}])


def test_23_decimals_dates_and_times_arrive_as_they_are(
    run: Run, millrace: Millrace, manifest: Manifest, postgres: Postgres, files: FileSink
) -> None:
    postgres.execute(
        "create table odd (id int primary key, d numeric(38, 10), n numeric, day date, at timestamptz, "
        "local timestamp, t time, b bytea, j jsonb, u uuid, a int[], f real, g double precision, x text)"
    )
    postgres.execute(
        "insert into odd values (1, 1234567890123456789012345678.0123456789, 0.1, '0001-01-01', "
        "'9999-12-31 23:59:59.999999Z', '2026-03-29 02:30:00.000001', '23:59:59.999999', '\\x00ff', "
        "'{\"a\": [1, null]}', '00000000-0000-0000-0000-000000000001', '{1,null,3}', 'NaN', '-Infinity', '')"
    )
    flow = manifest(source=postgres_source(postgres, "public.odd"), destination=files.spec())
    run(flow)

    (row,) = files.table(flow, "public.odd").to_pylist()
    (source,) = postgres.rows("select d, n::text, day, at, local, t, x, a from odd")
    assert row["d"] == source[0] and str(row["n"]) == source[1]
    assert (row["day"], row["local"], row["t"], row["x"]) == (source[2], source[4], source[5], source[6])
    assert row["at"].timestamp() == source[3].timestamp()
    assert list(row["a"]) == source[7] and row["f"] != row["f"] and row["g"] == float("-inf")
    assert row["b"] == b"\x00\xff"
