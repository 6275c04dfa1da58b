"""What each base class promises, through the test kit."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from millrace import (
    BaseReader,
    ConfigError,
    DataError,
    DataSource,
    GenericSource,
    Load,
    MillraceError,
    Payload,
    Source,
    StatefulSource,
    Stream,
)
from millrace.columns.table import Table
from millrace.kinds import kind_of
from millrace.sink import Sink
from millrace.testing import assert_resumes, discover, read, read_with_crashes


class Users(GenericSource):
    full_load_interval = timedelta(hours=1)
    delta_load_interval = 2
    primary_key = "id"

    def full_load(self) -> Iterator[Any]:
        yield 1, {"name": "a"}, datetime(2026, 1, 1)
        yield 2, {"id": 2, "name": "b"}, datetime(2026, 1, 3)
        yield 3, None, datetime(2026, 1, 2)

    async def delta_load(self, last_watermark: Any) -> AsyncIterator[Any]:
        assert last_watermark == datetime(2026, 1, 3)
        yield 2, None, datetime(2026, 1, 5)
        yield 3, {"name": "c"}, datetime(2026, 1, 4)


def test_a_generic_source_tells_rows_deletes_and_the_greatest_watermark() -> None:
    full = read(Users)
    assert [(row["id"], row["name"]) for row in full.rows] == [(1, "a"), (2, "b")]
    assert "_millrace_op" not in full.rows[0]
    delta = read(Users, load="delta", state=full.state)
    assert [(row["id"], row["_millrace_op"], row.get("name")) for row in delta.rows] == [
        (2, "delete", None),
        (3, "update", "c"),
    ]
    assert delta.state == {"watermark": {"$datetime": "2026-01-05T00:00:00"}}
    # Unordered watermarks: none of them is safe before the end.
    assert delta.states == [None]


class Odd(GenericSource):
    def full_load(self) -> Iterator[Any]:
        yield 1, {"name": "a"}, 1
        yield 2, ["no", "row"], 2
        yield 3, {"name": "c", None: 1}, 3


def test_a_row_of_a_generic_source_that_is_none_is_refused_alone() -> None:
    found = read(Odd)
    assert [row["name"] for row in found.rows] == ["a"]
    assert [one.row for one in found.refused] == [
        ["no", "row"],
        {"_key": 3, "name": "c", None: 1, "_millrace_watermark": 3},
    ]


def test_a_generic_source_without_deltas_has_full_loads_alone() -> None:
    # With a state the next load would be a delta.
    assert read(Odd).state is None
    with pytest.raises(ConfigError, match="Odd has no method `delta_load`") as found:
        read(Odd, load="delta")
    assert "write `delta_load(self, last_watermark)`" in str(found.value.advice)
    assert "millrace run --full" in str(found.value.advice)


def test_a_generic_source_tells_its_intervals() -> None:
    ready = kind_of(Users, {}).ready()
    assert (ready["fullLoadInterval"], ready["deltaLoadInterval"]) == (3600, 2)

    class Configured(Users):
        @property
        def delta_load_interval(self) -> Any:
            return self.options["every"]

    class Heir(Configured):
        pass

    ready = kind_of(Heir, {"engine": {"options": {"every": 5}}}).ready()
    assert (ready["fullLoadInterval"], ready["deltaLoadInterval"]) == (3600, 5)


def test_a_full_load_keeps_the_watermark_of_its_beginning() -> None:
    class Careful(Users):
        def current_watermark(self) -> Any:
            return datetime(2026, 1, 2)

    assert read(Careful).state == {"watermark": {"$datetime": "2026-01-02T00:00:00"}}


def test_a_key_of_several_columns_and_one_that_nobody_named() -> None:
    class Pairs(GenericSource):
        primary_key = ("a", "b")

        def full_load(self) -> Iterator[Any]:
            yield (1, 2), {"c": 3}

    class Nameless(GenericSource):
        def full_load(self) -> Iterator[Any]:
            yield "k", {"c": 3}

    assert read(Pairs).rows == [{"a": 1, "b": 2, "c": 3}]
    assert read(Nameless).rows == [{"_key": "k", "c": 3}]
    assert read(Nameless, primary_key=["id"]).rows == [{"id": "k", "c": 3}]
    with pytest.raises(ConfigError, match="delta_load"):
        read(Nameless, load="delta")


class Ties(GenericSource):
    ordered = True
    marks = (1, 2, 2, 2, 3, 3, 4)

    def delta_load(self, last_watermark: Any) -> Iterator[Any]:
        for key, mark in enumerate(self.marks):
            if last_watermark is None or mark > last_watermark:
                yield key, {}, mark


def test_rows_of_one_watermark_are_not_parted_by_a_position() -> None:
    found = read(Ties, load="delta", batch_rows=3)
    assert [[row["_key"] for row in batch] for batch in found.batches] == [[0], [1, 2, 3], [4, 5], [6]]
    assert found.states == [{"watermark": 1}, None, {"watermark": 3}, None]
    assert_resumes(Ties, load="delta", batch_rows=3)
    assert_resumes(Ties, load="delta", batch_rows=1)


def test_a_source_that_is_not_as_ordered_as_it_says_is_told() -> None:
    class Wrong(Ties):
        marks = (2, 1)

    with pytest.raises(DataError, match="comes after"):
        read(Wrong, load="delta")


def test_a_watermark_that_is_not_a_time_is_none() -> None:
    class Gaps(GenericSource):
        def full_load(self) -> Iterator[Any]:
            yield 1, {}, np.datetime64("NaT")
            yield 2, {}, np.datetime64("2026-01-02", "s")
            yield 3, {}, pd.NaT

        def delta_load(self, last_watermark: Any) -> Iterator[Any]:
            yield from ()

    found = read(Gaps)
    assert [row.get("_millrace_watermark") for row in found.rows] == [None, datetime(2026, 1, 2), None]
    assert found.state == {"watermark": {"$datetime": "2026-01-02T00:00:00"}}


def test_watermarks_without_an_order_are_refused() -> None:
    class Mixed(GenericSource):
        def full_load(self) -> Iterator[Any]:
            yield 1, {}, 5
            yield 2, {}, "x"

    with pytest.raises(DataError, match="no order"):
        read(Mixed)


class Numbers(Stream):
    def __init__(self, name: str, count: int) -> None:
        super().__init__(name)
        self.count = count

    def read(self, state: Any = None) -> Iterator[Payload]:
        for n in range((state or {}).get("n", 0), self.count):
            yield Payload([{"n": n}], {"source": self.name}, {"n": n + 1})


class Many(DataSource):
    log: list[str] = []

    def connect(self, state: Any = None) -> None:
        self.log.append("connect")

    def streams(self) -> list[Stream]:
        return [Numbers("small", 2), Numbers("large", 5)]

    def disconnect(self) -> None:
        self.log.append("disconnect")


def test_a_data_source_reads_the_stream_that_was_asked_for() -> None:
    Many.log.clear()
    found = read(Many, stream="large", state={"n": 2})
    assert [row["n"] for row in found.rows] == [2, 3, 4]
    assert found.states == [{"n": 3}, {"n": 4}, {"n": 5}]
    assert found.metadata[0] == {"source": "large"}
    assert Many.log == ["connect", "disconnect"]
    assert [stream["name"] for stream in discover(Many)] == ["small", "large"]
    with pytest.raises(ConfigError, match="no stream `smal`"):
        read(Many, stream="smal")
    assert Many.log.count("connect") == Many.log.count("disconnect")


def test_a_payload_without_a_state_is_committed_with_the_next() -> None:
    class Halves(DataSource):
        def streams(self) -> list[Stream]:
            class Half(Stream):
                name = "half"

                def read(self) -> Iterator[Payload]:  # type: ignore[override]
                    yield Payload([{"n": 1}])
                    yield Payload([{"n": 2}], state=7)

            return [Half()]

    assert read(Halves, stream="half", state=3).states == [None, 7]
    assert read(Halves, stream="half", stop_after=1).committed == 0


class Range(StatefulSource):
    def run(self) -> None:
        start = self.state.get("current", 0) + 1
        for i in range(start, 11):
            if not self.running:
                return
            self.state.set("current", i)
            self.produce(key="range", value=i)
            if i % 4 == 0:
                self.flush()


def test_a_flush_commits_state_and_rows_together() -> None:
    found = read(Range)
    assert found.rows[0] == {"key": "range", "value": 1}
    assert [len(batch) for batch in found.batches] == [4, 4, 2]
    assert found.states == [{"current": 4}, {"current": 8}, {"current": 10}]
    assert_resumes(Range)


def test_rows_since_the_last_flush_go_out_in_pieces_of_which_the_last_has_the_state() -> None:
    found = read(Range, batch_rows=3)
    assert found.states == [None, {"current": 4}, None, {"current": 8}, {"current": 10}]
    assert_resumes(Range, batch_rows=3)


def test_a_failed_run_commits_nothing_since_the_last_flush() -> None:
    class Breaks(Range):
        def produce(self, *args: Any, **kwargs: Any) -> None:
            if kwargs["value"] == 7:
                raise ValueError("seven")
            super().produce(*args, **kwargs)

    with pytest.raises(ValueError, match="seven"):
        read(Breaks)


def test_a_source_tells_whether_it_could_connect() -> None:
    told: list[Any] = []

    class Client(Source):
        broken = False

        def __init__(self, config: Any) -> None:
            super().__init__(
                config,
                on_client_connect_success=lambda: told.append("connected"),
                on_client_connect_failure=lambda error: told.append(str(error)),
            )

        def setup(self) -> None:
            if self.broken:
                raise ConnectionError("refused")

        async def run(self) -> None:
            self.produce({"a": 1}, key="k", headers={"h": "1"}, timestamp=5)

    class Broken(Client):
        broken = True

    assert read(Client).rows == [{"key": "k", "headers": {"h": "1"}, "timestamp": 5, "a": 1}]
    with pytest.raises(ConnectionError):
        read(Broken)
    assert told == ["connected", "refused"]


def test_rows_are_produced_in_run_alone() -> None:
    class Early(Source):
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.produce({"a": 1})

    with pytest.raises(MillraceError, match="in `run` alone"):
        read(Early)


class Late(BaseReader):
    """Keeps its state after the yield."""

    def extract(self, state_manager: Any = None) -> Iterator[Any]:
        for n in range(state_manager.get("n", 0), 4):
            yield [{"n": n}]
            state_manager.set("n", n + 1)


class Hasty(BaseReader):
    """Keeps a state that is ahead of its rows."""

    def extract(self, state_manager: Any = None) -> Iterator[Any]:
        for n in range(state_manager.get("n", 0), 4):
            state_manager.set("n", n + 2)
            yield [{"n": n}]


class Right(BaseReader):
    def extract(self, state_manager: Any = None) -> Iterator[Any]:
        for n in range(state_manager.get("n", 0), 4):
            state_manager["n"] = n + 1
            yield [{"n": n}]


def test_the_kit_finds_a_state_that_is_behind_or_ahead() -> None:
    assert_resumes(Right)
    with pytest.raises(AssertionError, match="rows come twice"):
        assert_resumes(Late)
    with pytest.raises(AssertionError, match="rows are lost"):
        assert_resumes(Hasty)


def test_a_reader_without_state_begins_again() -> None:
    class Plain(BaseReader):
        def extract(self, state_manager: Any = None) -> Iterator[Any]:
            for n in range(5):
                yield [{"n": n}]

    assert read(Plain, stop_after=3).committed == 0
    assert_resumes(Plain)
    assert [row["n"] for row in read_with_crashes(Plain).rows] == [0, 1, 2, 3, 4]
    assert [row["n"] for row in read_with_crashes(Right).rows] == [0, 1, 2, 3]


class Heard:
    safe: list[Any] = []

    def acknowledge(self, position: Any) -> None:
        self.safe.append((position, self.load.stream))  # type: ignore[attr-defined]


class HeardReader(Heard, BaseReader):
    def extract(self, state_manager: Any = None) -> Iterator[Any]:
        yield [{"a": 1}]


class HeardGeneric(Heard, Users):
    pass


class HeardSource(Heard, Source):
    def run(self) -> None:
        self.produce({"a": 1})


class HeardData(Heard, DataSource):
    def streams(self) -> list[Any]:
        class Things(Stream):
            def read(self, state: Any = None) -> Iterator[Any]:
                yield Payload([{"a": 1}])

        return [Things("things")]


@pytest.mark.parametrize("plugin", [HeardReader, HeardGeneric, HeardSource, HeardData])
def test_every_kind_hears_what_is_safe(plugin: Any) -> None:
    Heard.safe.clear()
    kind = kind_of(plugin, {})
    kind.control("acknowledge", 1)
    kind.read(Load("things"), Nowhere(Load("things"), Table(())))
    kind.control("acknowledge", 2)
    assert Heard.safe == [(2, "things")]


class Nowhere(Sink):
    def _take(self, piece: Any, state: Any, metadata: Any) -> None:
        pass
