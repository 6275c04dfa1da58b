"""Data that is not what it should be, and schemas that drift: the good rows arrive, the others are told with their place."""

from __future__ import annotations

import gzip
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from harness import Millrace, Postgres, Result, columns, csv_source, file_source
from kit import (
    FileSink,
    PostgresSink,
    Sink,
    adds_up,
    customers,
    expect,
    letters,
    memory_limit_kib,
    same_rows,
    write_table,
)

Run = Callable[..., Result]
Manifest = Callable[..., Path]
TEXTS = columns(id="integer", v="string")


def poison(content: bytes, schema: Any, good: list[Any], refused: dict[int, str], id: str, suffix: str = "csv") -> Any:
    """A file, the ids and values that arrive, and what is said of the other lines."""
    return pytest.param(content, schema, good, refused, suffix, id=id)


POISON = [
    poison(b"id,v\n1,ok\n2,\xff\xfe\n3,ok\n", TEXTS, [(1, "ok"), (3, "ok")], {3: "UTF-8"}, "no UTF-8"),
    poison(b"id,v\n1,ok\n2,\xff\xfe\n3,ok\n", None, [(1, "ok"), (3, "ok")], {3: "UTF-8"}, "no UTF-8, inferred"),
    poison(b"id,v\n1,a\x00b\n2,ok\n", TEXTS, [(1, "a\x00b"), (2, "ok")], {}, "NUL"),
    poison(b"\xef\xbb\xbfid,v\n1,a\n", None, [(1, "a")], {}, "byte order mark"),
    poison(b'id,v\r\n1,a\n2,b\r\n3,"c\r\nd"\r\n', TEXTS, [(1, "a"), (2, "b"), (3, "c\r\nd")], {}, "line ends"),
    poison(b"id,v\n1,a\n2\n3,b,c\n4,d\n", TEXTS, [(1, "a"), (4, "d")], {3: "1 field", 4: "3 fields"}, "too short, too long"),
    poison(
        b"id,v\n1,12345678901.5\n2,1.005\n3,1.50\n",
        columns(id="integer", v="number decimal(10,2)"),
        [(3, "1.50")],
        {2: "12345678901.5", 3: "1.005"},
        "decimals",
    ),
    poison(
        b"id,v\n1,9223372036854775808\n2,9223372036854775807\n3,1e3\n",
        columns(id="integer", v="integer"),
        [(2, str(2**63 - 1))],
        {2: "9223372036854775808", 4: "1e3"},
        "large numbers",
    ),
    poison(
        b"id,v\n1,0001-01-01\n2,9999-12-31\n4,10000-01-01\n5,2026-02-30\n6,2026-13-01\n",
        columns(id="integer", v="date"),
        [(1, "0001-01-01"), (2, "9999-12-31")],
        {4: "10000-01-01", 5: "2026-02-30", 6: "2026-13-01"},
        "dates",
    ),
    poison(
        b'{"id":1,"v":"a"}\n{"id":2,"v":\n{"id":3,"v":"\xff"}\n{"id":4,"v":"d"}\nno json\n[1]\n{"id":7,"v":8}\n',
        TEXTS,
        [(1, "a"), (4, "d")],
        {2: "JSON", 3: "UTF-8", 5: "JSON", 6: "object", 7: "v"},
        "JSON",
        "ndjson",
    ),
    poison(
        b'{"id":1,"v":' + b"[" * 1000 + b"]" * 1000 + b'}\n{"id":2,"v":"b"}\n', TEXTS, [(2, "b")], {1: "v"}, "depth", "ndjson"
    ),
]


@pytest.mark.parametrize(("content", "schema", "good", "refused", "suffix"), POISON)
def test_f55_a_bad_row_is_refused_with_its_place_and_the_others_arrive(
    content: bytes,
    schema: Any,
    good: list[tuple[int, str]],
    refused: dict[int, str],
    suffix: str,
    run: Run,
    workdir: Path,
    manifest: Manifest,
    files: FileSink,
) -> None:
    source = workdir / f"in.{suffix}"
    source.write_bytes(content)
    stream = {"schema": schema} if schema else {}
    flow = manifest(
        source=file_source(source, suffix, primary_key=["id"], **stream),
        destination=files.spec(),
        schemaContract={"dataType": "discardRow"},
    )

    counts = run(flow).stream("in")

    expect(counts, read=len(good) + len(refused), inserted=len(good), refused=len(refused))
    assert sorted((row["id"], str(row["v"])) for row in files.table(flow, "in").to_pylist()) == good
    told = {letter["place"]["line"]: letter["reason"] for letter in letters(workdir)}
    assert told.keys() == refused.keys()
    assert all(words in told[line] for line, words in refused.items()), told
    assert all(source.name in letter["place"]["file"] for letter in letters(workdir))


def test_f55_numbers_that_are_none_are_themselves(run: Run, workdir: Path, manifest: Manifest, sink: Sink) -> None:
    source = write_table(pa.table({"id": [1, 2, 3, 4], "v": [math.nan, math.inf, -math.inf, -0.0]}), workdir / "in.parquet")
    flow = manifest(source=file_source(source, "parquet", primary_key=["id"]), destination=sink.spec())
    run(flow)
    found = {row["id"]: row["v"] for row in sink.table(flow, "in").to_pylist()}
    assert math.isnan(found[1]) and (found[2], found[3]) == (math.inf, -math.inf)
    expect(run(flow).stream("in"), read=4, unchanged=4)


@pytest.mark.parametrize("form", ["ndjson", "csv"])
def test_f55_what_text_has_no_form_for_refuses_its_row_alone(form: str, run: Run, workdir: Path, manifest: Manifest) -> None:
    moments = pa.array([0, 2**63 - 1, 1, 2], pa.timestamp("us"))
    source = write_table(pa.table({"id": [1, 2, 3, 4], "at": moments, "n": [0.5, 1.5, math.nan, 2.5]}), workdir / "in.parquet")
    place = {"url": f"{workdir}/out", "format": form}
    flow = manifest(
        source=file_source(source, "parquet"),
        destination={"connector": {"name": "file"}, "connection": place, "writeMode": "append"},
    )
    # CSV has a word for what is no number.
    wanted = {2: "`at`: a time that no calendar has"} | ({3: "`n`: JSON has no such number"} if form == "ndjson" else {})

    expect(run(flow).stream("in"), read=4, inserted=4 - len(wanted), refused=len(wanted))

    told = {letter["row"]["id"]: letter["reason"] for letter in letters(workdir)}
    assert told == wanted
    written = [path.read_text() for path in (workdir / "out").rglob(f"*.{form}") if "_refused" not in path.parts]
    assert written and not any("ERROR" in text for text in written), written


def test_f55_what_postgres_cannot_hold_refuses_its_row_alone(
    run: Run, workdir: Path, manifest: Manifest, postgres: Postgres
) -> None:
    moment = "2026-01-02T03:04:05.123456"
    rows: list[dict[str, Any]] = [
        {"id": 1, "t": "fine", "at": moment, "o": {"a": "b"}},
        {"id": 2, "t": "zero \0 byte", "at": moment, "o": {"a": "b"}},
        {"id": 3, "t": "fine", "at": f"{moment}789", "o": {"a": "b"}},
        {"id": 4, "t": "fine", "at": f"{moment}000", "o": {"a": "\0"}},
        {"id": 5, "t": None, "at": None, "o": None},
    ]
    source = workdir / "in.ndjson"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    schema = columns(id="integer", t="string", at="timestamp timestamp(ns)")
    schema.append({"name": "o", "logicalType": "object", "properties": columns(a="string")})
    flow = manifest(
        source=file_source(source, "ndjson", primary_key=["id"], schema=schema),
        destination=PostgresSink(postgres).spec(),
    )

    expect(run(flow).stream("in"), read=5, inserted=2, refused=3)

    assert sorted(postgres.rows('select id, t from "in"')) == [(1, "fine"), (5, None)]
    told = {letter["place"]["line"] + letter["place"]["rowsAfter"]: letter for letter in letters(workdir)}
    assert {line: letter["kind"] for line, letter in told.items()} == dict.fromkeys((2, 3, 4), "destination")
    words = {2: ("`t`", "zero byte"), 3: ("`at`", "microseconds"), 4: ("`o`", "zero byte")}
    assert all(word in told[line]["reason"] for line, each in words.items() for word in each), told
    assert {letter["row"]["id"] for letter in told.values()} == {2, 3, 4}

    # What was delivered of a row stays as it was while a newer version of it is refused.
    rows[0]["t"] = "no longer \0 fine"
    rows[1]["t"] = "mended"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    expect(run(flow).stream("in"), read=5, inserted=1, unchanged=1, refused=3)
    assert sorted(postgres.rows('select id, t from "in"')) == [(1, "fine"), (2, "mended"), (5, None)]


STOPS = {
    "a header twice": (b"id,v,v\n1,a,b\n", "csv", ["in.csv", "`v`", "more than once"]),
    "UTF-16": ("id,v\n1,a\n".encode("utf-16"), "csv", ["in.csv", "UTF-16"]),
    "one JSON array": (b'[{"id":1}]\n', "ndjson", ["in.ndjson", "one object a line"]),
    "nothing at all": (b"", "csv", ["empty", "schema"]),
    "a quote that stays open": (b'id,v\n1,"a\n2,b\n', "csv", ["in.csv", "quote"]),
    "cut gzip": (gzip.compress(b"id,v\n" + b"1,a\n" * 10_000)[:-30], "csv.gz", ["in.csv.gz", "cut short"]),
    "no gzip": (b"\x1f\x8b\x08 but no more than that", "csv.gz", ["in.csv.gz"]),
    "a Parquet file without its end": (b"PAR1" + b"\0" * 100, "parquet", ["in.parquet"]),
    "text called Parquet": (b"id,v\n1,a\n", "parquet", ["in.parquet"]),
}


@pytest.mark.parametrize("case", STOPS)
def test_f55_a_file_that_cannot_be_read_stops_the_load_by_its_name(
    case: str, run: Run, workdir: Path, manifest: Manifest, files: FileSink
) -> None:
    content, suffix, words = STOPS[case]
    source = workdir / f"in.{suffix}"
    source.write_bytes(content)
    source_spec = file_source(source, suffix.split(".")[0], primary_key=["id"], name="in")

    stopped = run(manifest(source=source_spec, destination=files.spec()), check=False)

    # The file is wrong, not the manifest.
    assert stopped.returncode == 1, str(stopped)
    assert all(word in stopped.stderr for word in words), stopped.stderr
    assert not list(Path(files.root).rglob("*.parquet"))


@pytest.mark.parametrize("what", ["a huge row", "a bomb"])
def test_f4_one_huge_row_stops_the_load_within_its_memory(
    what: str, run: Run, millrace: Millrace, workdir: Path, manifest: Manifest, files: FileSink
) -> None:
    rows = customers(100)
    write_table(rows, workdir / "in" / "a.csv")
    source = csv_source(workdir / "in" / "*.csv*", name="in", primary_key=["id"])
    flow = manifest(source=source, destination=files.spec())
    run(flow)
    huge = b"id,name,amount,note\n1000," + b"x" * 200_000_000
    if what == "a bomb":
        (workdir / "in" / "b.csv.gz").write_bytes(gzip.compress(huge, 1))
    else:
        (workdir / "in" / "b.csv").write_bytes(huge + b",1,2\n")
    program = millrace.start("run", flow)
    peak = 0
    while program.poll() is None:
        peak = max(peak, memory_limit_kib(program))
        # The processor is for the program.
        time.sleep(0.02)
    stderr = program.communicate()[1]

    assert program.returncode == 1 and "RecordTooLarge" in stderr and "b.csv" in stderr, stderr
    assert peak < 600 * 1024, peak
    same_rows(files.table(flow, "in"), rows)


def test_f55_ten_thousand_columns_are_carried(run: Run, workdir: Path, manifest: Manifest, files: FileSink) -> None:
    names = ["id", *(f"c{n}" for n in range(9_999))]
    source = workdir / "in.csv"
    source.write_text(",".join(names) + "\n" + ",".join(str(n) for n in range(10_000)) + "\n")
    flow = manifest(source=csv_source(source, primary_key=["id"]), destination=files.spec())
    expect(run(flow).stream("in"), read=1, inserted=1)
    assert files.table(flow, "in").column_names == names


@pytest.fixture
def drift(run: Run, workdir: Path, manifest: Manifest, files: FileSink) -> Callable[..., tuple[Result, Path]]:
    """Delivers `before`, then loads `after` under a contract."""

    def load(before: pa.Table, after: pa.Table, contract: Any, key: str = "id") -> tuple[Result, Path]:
        source = write_table(before, workdir / "in.parquet")
        spec = file_source(source, "parquet", primary_key=["id"])
        run(manifest(source=spec, destination=files.spec()))
        write_table(after, source)
        spec["streams"][0]["primaryKey"] = [key]
        flow = manifest(source=spec, destination=files.spec(), schemaContract=contract)
        return run(flow, check=False), flow

    return load


TWO = pa.table({"id": [1, 2], "v": pa.array([10, 20], pa.int64())})


@pytest.mark.parametrize("columns_", ["evolve", "freeze", "discardRow", "discardValue"])
def test_f54_a_new_column_follows_the_contract(columns_: str, drift: Callable[..., Any], files: FileSink) -> None:
    after = TWO.append_column("w", pa.array(["a", None]))

    result, flow = drift(TWO, after, {"columns": columns_})

    found = files.table(flow, "in")
    match columns_:
        case "evolve":
            same_rows(found, after)
        case "freeze":
            assert result.returncode != 0 and "`w`" in result.stderr, str(result)
            same_rows(found, TWO)
        case "discardRow":
            counts = result.stream("in")
            adds_up(counts)
            assert counts["refused"] == 1
            same_rows(found, TWO)
        case _:
            same_rows(found, TWO)


def test_f54_a_column_that_goes_is_null_or_stops_the_load(drift: Callable[..., Any], files: FileSink) -> None:
    result, flow = drift(TWO, TWO.select(["id"]), {"columns": "evolve"})
    assert result.returncode == 0, str(result)
    assert files.table(flow, "in").column("v").to_pylist() == [None, None]
    result, flow = drift(TWO, TWO.select(["id"]), {"columns": "freeze"})
    assert result.returncode != 0 and "`v`" in result.stderr, str(result)


@pytest.mark.parametrize("data_type", ["evolve", "freeze", "discardRow", "discardValue"])
@pytest.mark.parametrize("values", [[10.5, 20.0], ["many", "20"]], ids=["wider", "text"])
def test_f54_another_type_follows_the_contract(
    data_type: str, values: list[Any], drift: Callable[..., Any], files: FileSink, workdir: Path
) -> None:
    after = pa.table({"id": [1, 2], "v": values})

    result, flow = drift(TWO, after, {"dataType": data_type})

    found = {row["id"]: row["v"] for row in files.table(flow, "in").to_pylist()}
    if result.returncode != 0:
        # Nothing is lost, and what to do is said.
        assert data_type in ("freeze", "evolve"), str(result)
        assert "`v`" in result.stderr and found == {1: 10, 2: 20}
    elif data_type == "evolve":
        assert [str(found[id]) for id in (1, 2)] == [str(value) for value in values]
    else:
        # A value that fits is taken, the other is told or left out; never rounded.
        assert found[2] == 20 and found[1] == (None if data_type == "discardValue" else 10), found
        assert data_type == "discardValue" or "v" in letters(workdir)[0]["reason"]


def test_f54_another_key_is_never_taken_in_silence(drift: Callable[..., Any], files: FileSink) -> None:
    result, flow = drift(TWO, TWO, {}, key="v")
    if result.returncode == 0:
        adds_up(result.stream("in"))
        same_rows(files.table(flow, "in"), TWO)
    else:
        assert "key" in result.stderr, str(result)
        same_rows(files.table(flow, "in"), TWO)


def test_f54_a_schema_that_changes_between_row_groups_of_files_is_one(
    run: Run, workdir: Path, manifest: Manifest, files: FileSink
) -> None:
    place = workdir / "in"
    place.mkdir()
    pq.write_table(TWO, place / "a.parquet")
    pq.write_table(pa.table({"v": pa.array([30], pa.int32()), "id": [3], "w": ["x"]}), place / "b.parquet")
    source = file_source(place / "*.parquet", "parquet", name="in", primary_key=["id"])
    flow = manifest(source=source, destination=files.spec())
    expect(run(flow).stream("in"), read=3, inserted=3)
    wanted = [{"id": 1, "v": 10, "w": None}, {"id": 2, "v": 20, "w": None}, {"id": 3, "v": 30, "w": "x"}]
    same_rows(files.table(flow, "in"), wanted)
