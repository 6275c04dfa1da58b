"""Dictionaries to columns: no value changes its meaning, and what does not fit is named."""

from __future__ import annotations

import dataclasses
import enum
import json
import uuid
from collections import Counter, defaultdict
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from millrace.columns import lines, odcs
from millrace.columns.table import Table

UTC = timezone.utc


def took(
    rows: list[Any], *more: list[Any], declared: list[dict[str, Any]] | None = None, with_arrow: bool = True
) -> Any:
    """The last of several batches."""
    table = Table(odcs.columns(declared or ()), with_arrow=with_arrow)
    for batch in (rows, *more):
        found = table.take(batch)
    return found


def values(batch: Any, name: str) -> list[Any]:
    return batch.fitting().arrow().column(name).to_pylist()


def reasons(batch: Any) -> list[tuple[str, str]]:
    return [(one.path, one.reason) for one in batch.refused]


@pytest.mark.parametrize(
    ("given", "type_", "held"),
    [
        (True, pa.bool_(), True),
        (7, pa.int64(), 7),
        (2**63, pa.decimal128(38, 0), Decimal(2**63)),
        (-(10**50), pa.decimal256(76, 0), Decimal(-(10**50))),
        (1.5, pa.float64(), 1.5),
        (Decimal("1.10"), pa.decimal128(38, 2), Decimal("1.10")),
        (Decimal("1E+3"), pa.decimal128(38, 0), Decimal(1000)),
        ("é", pa.string(), "é"),
        (b"\x00\xff", pa.binary(), b"\x00\xff"),
        (date(2026, 1, 2), pa.date32(), date(2026, 1, 2)),
        (time(1, 2, 3, 4), pa.time64("us"), time(1, 2, 3, 4)),
        (datetime(2026, 1, 2, 3), pa.timestamp("us"), datetime(2026, 1, 2, 3)),
        (datetime(2026, 1, 2, 3, tzinfo=UTC), pa.timestamp("us", "UTC"), datetime(2026, 1, 2, 3, tzinfo=UTC)),
        (timedelta(seconds=1), pa.duration("us"), timedelta(seconds=1)),
        (uuid.UUID(int=5), pa.string(), str(uuid.UUID(int=5))),
        ([1, None], pa.list_(pa.int64()), [1, None]),
        ((1, 2), pa.list_(pa.int64()), [1, 2]),
        ({"a": {"b": [True]}}, pa.struct([("a", pa.struct([("b", pa.list_(pa.bool_()))]))]), {"a": {"b": [True]}}),
        ({}, pa.string(), "{}"),
        ([1, "x"], pa.list_(pa.string()), ["1", '"x"']),
        (enum.Enum("Colour", {"RED": "red"}).RED, pa.string(), "red"),
        (enum.IntEnum("Level", {"LOW": 1}).LOW, pa.int64(), 1),
        (np.int32(4), pa.int64(), 4),
        (np.float64(4.5), pa.float64(), 4.5),
        (np.array([1, 2]), pa.list_(pa.int64()), [1, 2]),
        (np.datetime64("2026-01-02T03:00"), pa.timestamp("us"), datetime(2026, 1, 2, 3)),
        (pd.Timestamp("2026-01-02T03:00Z"), pa.timestamp("us", "UTC"), datetime(2026, 1, 2, 3, tzinfo=UTC)),
        (np.datetime64("2026-01-02T03:00:00.000001000", "ns"), pa.timestamp("us"), datetime(2026, 1, 2, 3, 0, 0, 1)),
        (np.datetime64("9999-12-31"), pa.timestamp("us"), datetime(9999, 12, 31)),
        (np.timedelta64(2000, "ns"), pa.duration("us"), timedelta(microseconds=2)),
        (np.array("2026-01-02", "M8[ns]"), pa.timestamp("us"), datetime(2026, 1, 2)),
        (np.array(["2026-01-02", "NaT"], "M8[ns]"), pa.list_(pa.timestamp("us")), [datetime(2026, 1, 2), None]),
        (np.array([["2026-01-02"]], "M8[D]"), pa.list_(pa.list_(pa.date32())), [[date(2026, 1, 2)]]),
        (pd.Timedelta(1, "s"), pa.duration("us"), timedelta(seconds=1)),
        (pd.NaT, pa.string(), None),
        (pd.NA, pa.string(), None),
        (np.datetime64("NaT"), pa.string(), None),
        (np.timedelta64("NaT", "ns"), pa.string(), None),
        (np.ma.masked, pa.string(), None),
        (None, pa.string(), None),
    ],
)
def test_a_value_finds_its_type(given: Any, type_: pa.DataType, held: Any) -> None:
    batch = took([{"v": given}, {"v": None}])
    assert batch.refused == []
    assert batch.arrow().schema.field("v").type == type_
    assert values(batch, "v") == [held, None]


@pytest.mark.parametrize(
    ("given", "known"),
    [
        (np.datetime64(2**62, "s"), datetime(2026, 1, 1)),
        (np.datetime64("20000-01-01", "s"), datetime(2026, 1, 1)),
        (np.datetime64("400000-01-01", "s"), datetime(2026, 1, 1)),
        (np.datetime64("10000-01-01"), date(2026, 1, 1)),
        (np.datetime64("0000-12-31"), 5),
        (np.datetime64(2**62, "Y"), 5),
        (np.datetime64("2026-01-01T00:00:00.000000001"), datetime(2026, 1, 1)),
        (np.timedelta64(2**62, "s"), timedelta(1)),
        (np.timedelta64(-(2**62), "h"), timedelta(1)),
        (np.timedelta64(10**9, "D"), timedelta(1)),
        (np.timedelta64(1001, "ns"), timedelta(1)),
        (np.timedelta64(3, "M"), timedelta(1)),
        (np.timedelta64(3, "2Y"), timedelta(1)),
        (np.timedelta64(3), timedelta(1)),
        (pd.Timestamp("2026-01-01T00:00:00.000000001"), datetime(2026, 1, 1)),
        (pd.Timestamp(np.datetime64("20000-01-01", "s")), datetime(2026, 1, 1)),
        (pd.Timestamp("9999-12-31T23:00Z").tz_convert("Asia/Tokyo"), datetime(2026, 1, 1, tzinfo=UTC)),
        (pd.Timedelta(1001), timedelta(1)),
        (pd.Timedelta(np.timedelta64(2**55, "s")), timedelta(1)),
    ],
)
@pytest.mark.parametrize("with_arrow", [True, False])
def test_a_time_that_python_cannot_hold_is_refused_and_settles_no_column(
    given: Any, known: Any, with_arrow: bool
) -> None:
    for value in (given, [given], {"part": given}):
        first = took([{"v": value}], with_arrow=with_arrow)
        assert [one.row["v"] for one in first.refused] == [value]
        assert (
            "(datetime64) is nothing" in first.refused[0].reason or "(timedelta64) is nothing" in reasons(first)[0][1]
        )
    later = took([{"v": known}], [{"v": known}, {"v": given}], with_arrow=with_arrow)
    assert [(one.at, one.path) for one in later.refused] == [(1, "v")]
    assert took([{"v": given}], [{"v": known}], with_arrow=with_arrow).refused == []


@pytest.mark.parametrize("unit", ["ns", "s", "D"])
def test_an_array_of_times_never_holds_numbers(unit: str) -> None:
    batch = took([{"v": np.array([2**62 + 1], f"M8[{unit}]")}])
    assert [one.path for one in batch.refused] == ["v[0]"]
    assert "(datetime64)" in batch.refused[0].reason


def test_a_time_that_python_cannot_hold_has_no_form_in_json() -> None:
    batch = took([{"v": {}}], [{"v": {"at": np.datetime64("20000-01-01", "s")}}, {"v": {"at": np.datetime64("NaT")}}])
    assert reasons(batch) == [("v", "not JSON: datetime64 has no form in JSON")]
    assert values(batch, "v") == ['{"at":null}']


def test_a_column_without_any_value_says_that_it_has_no_type_yet() -> None:
    field = took([{"v": None}]).arrow().schema.field("v")
    assert field.metadata == {b"millrace.untyped": b""}


def test_nan_is_a_number_and_no_null() -> None:
    column = took([{"v": float("nan")}, {"v": None}]).arrow().column("v")
    assert column.null_count == 1
    assert str(column[0].as_py()) == "nan"


@pytest.mark.parametrize(
    ("known", "later"),
    [
        (35, 35.2),
        (True, "yes"),
        (True, 1),
        (1, True),
        (1.5, True),
        (1, "1"),
        ("1", 1),
        ("x", b"x"),
        (1, 2**63),
        (1.5, 2**53 + 1),
        (date(2026, 1, 1), datetime(2026, 1, 1, 5)),
        (datetime(2026, 1, 1), datetime(2026, 1, 1, tzinfo=UTC)),
        (datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1)),
        (datetime(2026, 1, 1), 5),
        (date(2026, 1, 1), 5),
        (time(1), time(1, tzinfo=UTC)),
        (Decimal("1.10"), Decimal("1.101")),
        (Decimal("1.10"), Decimal("NaN")),
        (Decimal("1.10"), 1.25),
        ([1], ["1"]),
        ([1], "1"),
        ({"a": 1}, {"a": 1.5}),
        ("x", "\ud800"),
        ("x", object()),
        (uuid.UUID(int=1), "no uuid"),
    ],
)
@pytest.mark.parametrize("with_arrow", [True, False])
def test_a_later_value_of_another_meaning_refuses_its_row_alone(known: Any, later: Any, with_arrow: bool) -> None:
    batch = took([{"v": known}], [{"v": known}, {"v": later}, {"v": None}], with_arrow=with_arrow)
    assert (batch.rows, batch.fitting().rows) == (3, 2)
    assert len(batch.refused) == 1
    assert batch.refused[0].row["v"] is later
    assert batch.refused[0].path.startswith("v")
    assert batch.refused[0].reason


def test_what_means_the_same_fits() -> None:
    first = {"i": 1, "f": 1.5, "d": Decimal("1.10")}
    batch = took([first], [{"i": 2.0, "f": 2, "d": 3}])
    assert batch.refused == []
    assert batch.arrow().to_pylist() == [{"i": 2, "f": 2.0, "d": Decimal("3.00")}]


def test_the_first_batch_settles_on_the_type_that_holds_all_of_it() -> None:
    batch = took([{"n": 1, "m": 1}, {"n": 2.5, "m": Decimal("0.001")}, {"n": 2**70, "m": 2**62}])
    assert batch.arrow().schema.field("m").type == pa.decimal128(38, 3)
    assert values(batch, "n") == [1.0, 2.5]
    assert reasons(batch) == [("n", f"{2**70} (int) does not fit float64: it would be rounded")]


def test_a_misfit_deep_inside_is_named_by_its_path() -> None:
    rows = [{"address": {"number": 1, "tags": ["a"]}}]
    batch = took(rows, [{"address": {"number": "1a"}}, {"address": {"tags": ["a", 5]}}])
    assert [path for path, _ in reasons(batch)] == ["address.number", "address.tags[1]"]


def test_a_new_key_is_a_new_column_and_one_that_is_missing_a_null() -> None:
    table = Table()
    table.take([{"a": 1, "b": {"x": 1}}])
    batch = table.take([{"a": 2, "b": {"y": "new"}, "c": "new"}, {"c": "only"}])
    assert batch.refused == []
    assert batch.arrow().to_pylist() == [
        {"a": 2, "b": {"x": None, "y": "new"}, "c": "new"},
        {"a": None, "b": None, "c": "only"},
    ]


def test_as_many_keys_but_other_ones_are_noticed() -> None:
    batch = took([{"a": 1, "b": 2}], [{"a": 1, "c": 3}])
    assert batch.arrow().to_pylist() == [{"a": 1, "b": None, "c": 3}]


def test_a_column_of_nulls_gets_its_type_when_a_value_comes() -> None:
    batch = took([{"a": None}], [{"a": 5}])
    assert batch.arrow().schema.field("a").type == pa.int64()


@pytest.mark.parametrize("with_arrow", [True, False])
def test_a_refused_row_stays_in_the_batch_without_the_values_that_do_not_fit(with_arrow: bool) -> None:
    known = [{"a": 1, "b": 1, "key": 1}]
    batch = took(known, [{"a": 3, "b": 3, "key": 3}, {"a": "x", "b": "y", "key": 2}], with_arrow=with_arrow)
    held = [part.to_pylist() if with_arrow else part for part in batch.parts]
    assert held == [[3, None], [3, None], [3, 2]]
    (refused,) = batch.refused
    assert (refused.at, refused.columns, refused.path) == (1, ("a", "b"), "a")
    assert refused.reason == "'x' (str) does not fit int64; b: 'y' (str) does not fit int64"


@dataclasses.dataclass
class Point:
    x: int


def test_rows_may_be_other_things_than_dictionaries_and_what_is_no_row_is_refused() -> None:
    batch = took([{"x": 1}, Point(2), "no row", {3: 4}, 5])
    assert values(batch, "x") == [1, 2]
    assert [one.row for one in batch.refused] == ["no row", {3: 4}, 5]


@pytest.mark.parametrize("with_arrow", [True, False])
def test_a_row_whose_keys_cannot_be_names_is_refused_alone(with_arrow: bool) -> None:
    odd: list[Any] = [{None: 1}, {3: 4}, {"half \ud800": 5}]
    for rows in ([{"x": 1}, *odd], [*odd, {"x": 1}]):
        batch = took(rows, with_arrow=with_arrow)
        assert (batch.rows, [column.name for column in batch.columns]) == (1, ["x"])
        assert [(one.row, one.at) for one in batch.refused] == [(row, None) for row in odd]
    assert reasons(took(odd, with_arrow=with_arrow)) == [
        ("", "the key None is not a text that UTF-8 can hold"),
        ("", "the key 3 is not a text that UTF-8 can hold"),
        ("", "the key 'half \\ud800' is not a text that UTF-8 can hold"),
    ]


def test_a_part_whose_name_cannot_be_written_refuses_its_row_alone() -> None:
    batch = took([{"x": {"half \ud800": 1}}, {"x": {"y": 1}}])
    assert [one.at for one in batch.refused] == [0]
    assert values(batch, "x") == ['{"y":1}']


def test_a_row_without_columns_is_refused_while_none_is_known() -> None:
    batch = took([{}])
    assert (batch.rows, reasons(batch)) == (0, [("", "a row without columns, and no row before it has any")])
    assert took([{}], [{"x": 1}]).arrow().to_pylist() == [{"x": 1}]
    assert took([{"x": 1}], [{}]).arrow().to_pylist() == [{"x": None}]


DECLARED = [
    {"name": "id", "logicalType": "integer", "physicalType": "int32"},
    {"name": "price", "logicalType": "number", "physicalType": "decimal(6,2)"},
    {"name": "at", "logicalType": "timestamp", "logicalTypeOptions": {"timezone": True}},
    {"name": "day", "logicalType": "date"},
    {"name": "ok", "logicalType": "boolean"},
    {"name": "free", "logicalType": "object"},
    {"name": "labels", "logicalType": "object", "physicalType": "map",
     "properties": [{"name": "key", "logicalType": "string"}, {"name": "value", "logicalType": "integer"}]},
]  # fmt: skip


def test_a_declared_type_is_read_from_text_exactly_or_not_at_all() -> None:
    good = {"id": 1, "price": "1.10", "at": "2026-01-02T03:04:05+02:00", "day": "2026-01-02", "ok": "true"}
    batch = took([good, {**good, "free": {"a": [1]}, "labels": {"x": 1}, "price": 1.1}], declared=DECLARED)
    assert batch.refused == []
    assert batch.arrow().to_pylist()[1] == {
        "id": 1,
        "price": Decimal("1.10"),
        "at": datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC),
        "day": date(2026, 1, 2),
        "ok": True,
        "free": '{"a":[1]}',
        "labels": [("x", 1)],
    }


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": 35.2}, {"id": 2**31}, {"id": " 1"}, {"price": "1.101"}, {"price": "12345.00"}, {"price": "abc"},
        {"at": "2026-01-02T03:04:05"}, {"at": "2026-02-30T00:00:00Z"}, {"day": "2026-01-02T00:00:00"},
        {"ok": "yes"}, {"ok": 1}, {"day": "2026-1-2"}, {"labels": {"x": "1.5"}},
    ],
)  # fmt: skip
def test_what_a_declared_column_cannot_hold_is_refused(wrong: dict[str, Any]) -> None:
    batch = took([{"id": 1}, wrong], declared=DECLARED)
    assert batch.fitting().rows == 1
    assert [one.row for one in batch.refused] == [wrong]
    assert batch.refused[0].path.startswith(next(iter(wrong)))


def test_declared_columns_come_back_as_they_were_declared() -> None:
    again = odcs.fields(odcs.columns(DECLARED))
    assert odcs.columns(again) == odcs.columns(DECLARED)


def test_the_json_form_holds_the_same_rows() -> None:
    row = {
        "i": 1, "big": 2**70, "f": float("inf"), "d": Decimal("1.10"), "b": b"\x00", "u": uuid.UUID(int=5),
        "at": datetime(2026, 1, 2, tzinfo=UTC), "day": date(2026, 1, 2), "t": time(1), "s": {"l": [1, None]},
        "len": timedelta(days=1), "none": None,
    }  # fmt: skip
    batch = took([row], with_arrow=False)
    (line,) = lines.dump(batch.columns, batch.parts, batch.rows)
    assert json.loads(line) == {
        "i": 1, "big": str(2**70), "f": "Infinity", "d": "1.10", "b": "AA==", "u": str(row["u"]),
        "at": "2026-01-02T00:00:00+00:00", "day": "2026-01-02", "t": "01:00:00", "s": {"l": [1, None]},
        "len": 86_400_000_000,
    }  # fmt: skip


def test_a_batch_that_fits_is_the_same_however_it_is_built() -> None:
    rows = [{"i": i, "s": str(i), "f": i / 3, "b": i % 2 == 0, "l": [i], "d": {"x": i, "y": None}} for i in range(100)]
    fast = took(rows[:1], rows)
    slow = took(rows, with_arrow=False)
    names = [column.name for column in slow.columns]
    assert [dict(zip(names, part, strict=True)) for part in zip(*slow.parts, strict=True)] == rows
    assert fast.arrow().to_pylist() == rows


@pytest.mark.parametrize("row", [Counter({"id": 2, "late": 7}), defaultdict(int, id=2)])
def test_a_row_that_makes_up_what_it_lacks_has_nothing_there(row: dict[str, int]) -> None:
    batch = took([{"id": 1, "count": 5}], [row])
    assert values(batch, "id") == [2]
    assert values(batch, "count") == [None]
    assert [column.name for column in batch.columns] == ["id", "count", *(["late"] if "late" in row else [])]
