"""Each kind of reader through the pipe, and what is heard while it reads."""

from __future__ import annotations

import base64
import sys
import time
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from conftest import Host, positions, rows, types

Write = Callable[..., str]

READERS = {
    "lists": "yield [{'a': 1}]\n        yield [{'a': 2}]",
    "list_of_lists": "return [[{'a': 1}], [{'a': 2}]]",
    "tables": "yield pa.table({'a': [1]})\n        yield pa.table({'a': [2]})",
    "batches": "yield pa.record_batch({'a': [1, 2]})",
    "reader": "yield pa.table({'a': [1, 2]}).to_reader(1)",
    "pandas": "import pandas; yield pandas.DataFrame({'a': [1, 2]})",
    "polars": "import polars; yield polars.DataFrame({'a': [1, 2]})",
    "payloads": "yield millrace.Payload([{'a': 1}, {'a': 2}], {'from': 'here'}, {'n': 2})",
    "one list": "return [{'a': 1}, {'a': 2}]",
    "one table": "return pa.table({'a': [1, 2]})",
    "empty": "yield []\n        yield [{'a': 1}, {'a': 2}]",
}
READER = """
import pyarrow as pa, millrace
class Plugin(millrace.BaseReader):
    def get_total_records_estimate(self): return 2
    %s extract(self, state_manager=None):
        %s
"""


@pytest.mark.parametrize("form", READERS)
@pytest.mark.parametrize("way", ["def", "async def"])
def test_every_form_of_batches_is_read(host: Host, plugin: Write, form: str, way: str) -> None:
    host.start(plugin(READER % (way, READERS[form])))
    answers = host.read()
    assert types(answers)[:2] == ["estimate", "schema"]
    assert types(answers)[-1] == "end"
    assert rows(answers) == [{"a": 1}, {"a": 2}]
    if form == "payloads":
        assert answers[2][0]["metadata"] == {"from": "here"}
        assert positions(answers) == [{"n": 2}, {"n": 2}]


def test_the_state_goes_with_the_batch_that_is_yielded_after_it(host: Host, plugin: Write) -> None:
    text = """
        from millrace import BaseReader
        class Plugin(BaseReader):
            def extract(self, state_manager=None):
                for page in range(state_manager.get("page", 0), 3):
                    state_manager.set("page", page + 1)
                    yield [{"page": page, "row": row} for row in range(8193)]
    """
    host.start(plugin(text))
    answers = host.read(position={"page": 1})
    # A batch that is cut in two has its position with the last piece alone.
    assert [(h["rows"], h.get("position")) for h, _ in answers if h["type"] == "batch"] == [
        (8192, None), (1, {"page": 2}), (8192, None), (1, {"page": 3}),
    ]  # fmt: skip
    assert answers[-1][0] == {"type": "end", "position": {"page": 3}}


def test_a_state_that_is_no_json_names_the_key_and_earlier_state_stays(host: Host, plugin: Write) -> None:
    text = """
        from millrace import BaseReader
        class Plugin(BaseReader):
            def extract(self, state_manager=None):
                state_manager.set("good", [1])
                yield [{"a": 1}]
                try:
                    state_manager.set("bad", {"deep": {1, 2}})
                except TypeError as error:
                    yield [{"a": len(state_manager), "error": str(error)}]
                state_manager.set("worse", object())
    """
    host.start(plugin(text))
    answers = host.read()
    assert positions(answers) == [{"good": [1]}, {"good": [1]}]
    assert rows(answers)[-1]["error"] == "state['bad'].deep cannot be kept as state: set is not JSON"
    assert "state['worse']" in answers[-1][0]["message"]


def test_refused_rows_are_told_before_the_batch_that_has_their_keys(host: Host, plugin: Write) -> None:
    text = "yield [{'id': 1, 'a': 1}]; yield [{'id': 2, 'a': 2}, {'id': 3, 'a': 35.2}, 7]"
    host.start(plugin(READER % ("def", text)))
    answers = host.read()
    assert [header["type"] for header, _ in answers][1:] == ["schema", "batch", "refused", "batch", "end"]
    assert rows(answers)[1:] == [{"id": 2, "a": 2}, {"id": 3, "a": None}]
    (refused,) = [header["rows"] for header, _ in answers if header["type"] == "refused"]
    assert refused == [
        {"row": 7, "reason": "a row is a dictionary, not int", "kind": "type"},
        {"row": {"id": 3, "a": 35.2}, "reason": "a: 35.2 (float) does not fit int64", "kind": "type",
         "at": 1, "columns": ["a"]},
    ]  # fmt: skip


def test_a_refused_row_is_told_with_the_piece_of_the_batch_that_has_it(host: Host, plugin: Write) -> None:
    rows_ = "[{'a': 'x' * (40 << 20), 'n': 1}, {'a': 'y' * (40 << 20), 'n': 'no'}]"
    host.start(plugin(READER % ("def", f"yield {rows_}")))
    answers = [header for header, _ in host.read()]
    assert [header["type"] for header in answers][1:] == ["schema", "batch", "refused", "batch", "end"]
    (refused,) = answers[3]["rows"]
    assert (refused["at"], refused["columns"]) == (0, ["n"])


def test_a_batch_too_large_for_a_frame_is_cut(host: Host, plugin: Write) -> None:
    rows_ = "[{'a': 'x' * (40 << 20)}, {'a': 'y' * (40 << 20)}]"
    host.start(plugin(READER % ("def", f"state_manager.set('n', 1); yield {rows_}")))
    answers = host.read()
    assert [(h["rows"], h.get("position")) for h, _ in answers if h["type"] == "batch"] == [(1, None), (1, {"n": 1})]


def test_each_frame_tells_its_place_in_what_the_plugin_gave(host: Host, plugin: Write) -> None:
    text = "yield [{'a': n} for n in range(8193)]; yield []; yield pa.table({'a': [1, 2]}); yield [7, {}]"
    host.start(plugin(READER % ("def", text)))
    places = [(h["batch"], h["row"], h["rows"]) for h, _ in host.read() if h["type"] == "batch"]
    assert places == [(1, 0, 8192), (1, 8192, 1), (3, 0, 2), (4, 0, 1)]


def test_rows_without_columns_come_before_those_that_tell_them(host: Host, plugin: Write) -> None:
    text = "yield [{}, [1], {None: 2}]; state_manager.set('n', 1); yield [{3: 4}]; yield [{'a': 1}]"
    host.start(plugin(READER % ("def", text)))
    answers = host.read()
    assert types(answers)[1:] == ["refused", "batch", "refused", "batch", "schema", "batch", "end"]
    assert rows(answers) == [{"a": 1}] and positions(answers)[0] == {"n": 1}
    refused = [one["row"] for header, _ in answers if header["type"] == "refused" for one in header["rows"]]
    assert refused == [[1], {"None": 2}, {}, {"3": 4}]


def test_a_row_too_large_for_a_frame_is_told(host: Host, plugin: Write) -> None:
    host.start(plugin(READER % ("def", "yield [{'a': 1, 'b': 'x'}]; yield [{'a': 2, 'b': 'x' * (300 << 20)}]")))
    error = host.read()[-1][0]
    assert (error["kind"], error["batch"]) == ("data", 2)
    assert error["message"] == "a row of 300 MiB; 256 MiB is the most that a row can have"


def test_many_refused_rows_come_in_several_frames(host: Host, plugin: Write) -> None:
    text = "yield [{'a': 1}]; yield [{'a': 'x' * 100_000} for _ in range(250)]"
    host.start(plugin(READER % ("def", text)))
    refused = [header["rows"] for header, _ in host.read() if header["type"] == "refused"]
    assert [len(rows) for rows in refused] == [100, 100, 50]


def test_a_declared_schema_settles_the_types(host: Host, plugin: Write) -> None:
    declared = [{"name": "a", "logicalType": "number"}, {"name": "day", "logicalType": "date"}]
    host.start(plugin(READER % ("def", "yield [{'a': 1, 'day': '2026-01-02'}]")), schema={"things": declared})
    (batch,) = [body for header, body in host.read() if header["type"] == "batch"]
    assert pa.ipc.open_stream(batch).schema.types == [pa.float64(), pa.date32()]


def test_instances_know_their_share_before_they_are_made(host: Host, plugin: Write) -> None:
    text = """
        from millrace import BaseReader
        class Plugin(BaseReader):
            def __init__(self, source_config):
                self.mine = [n for n in range(10) if n % self.instances == self.instance]
            def extract(self, state_manager=None):
                yield [{"n": n, "stream": self.objects[0]} for n in self.mine]
    """
    host.start(plugin(text), objects=["a", "b"])
    found = rows(host.read("b", instance=1, instances=4))
    assert found == [{"n": n, "stream": "b"} for n in (1, 5, 9)]


def test_streams_are_discovered_with_what_is_known_of_them(host: Host, plugin: Write) -> None:
    text = """
        from millrace import BaseReader
        class Plugin(BaseReader):
            def discover(self):
                yield "plain"
                yield {"name": "full", "primaryKey": ["id"], "cursors": ["at"], "rows": 5, "partitions": 2,
                       "schema": [{"name": "id", "logicalType": "integer"}]}
    """
    host.start(plugin(text), primaryKey={"plain": ["k"]})
    plain, full = host.one("discover")["streams"]
    assert plain == {
        "name": "plain", "primaryKey": ["k"], "cursors": [], "rows": None, "partitions": 1, "schema": None,
    }  # fmt: skip
    assert pa.ipc.open_stream(base64.b64decode(full.pop("schema"))).schema.names == ["id"]
    assert full == {"name": "full", "primaryKey": ["id"], "cursors": ["at"], "rows": 5, "partitions": 2}


def test_an_async_generator_is_closed_when_a_reading_ends_early(host: Host, plugin: Write) -> None:
    text = """
        import asyncio
        from millrace import BaseReader
        class Plugin(BaseReader):
            async def extract(self, state_manager=None):
                try:
                    while True:
                        await asyncio.sleep(0.01)
                        yield [{"a": 1}]
                finally:
                    await asyncio.sleep(0)
                    print("closed in order")
    """
    host.start(plugin(text))
    host.send("read", stream="a", range={"full": True}, position=None)
    host.next(), host.next()
    host.send("close")
    assert list(host.answers())[-1][0] == {"type": "end"}
    host.end()
    assert "closed in order" in host.said


def test_a_looping_source_stops_when_it_is_told(host: Host, plugin: Write) -> None:
    text = """
        import time
        from millrace import StatefulSource
        class Plugin(StatefulSource):
            def run(self):
                n = self.state.get("n", 0)
                while self.running:
                    n += 1
                    self.state.set("n", n)
                    message = self.serialize(key="k", value={"n": n})
                    self.produce(key=message.key, value=message.value)
                    if n % 3 == 0:
                        self.flush()
                    time.sleep(0.01)
    """
    ready = host.start(plugin(text))
    assert (ready["kind"], ready["replayable"]) == ("stateful", True)
    host.send("read", stream="a", range={"full": True}, position={"n": 3})
    first = [host.next(), host.next()]
    host.send("close")
    answers = first + list(host.answers())
    found = rows(answers)
    assert found == [{"key": "k", "n": n} for n in range(4, 4 + len(found))]
    assert positions(answers)[0] == {"n": 6}
    assert answers[-1][0]["position"] == {"n": 3 + len(found)}


PUSH = """
import time
from millrace import PushSource
class Plugin(PushSource):
    at, log = 0, []
    def configure(self, datasource, props):
        self.topic, self.rate = datasource, props["rate"]
    def open(self, emit):
        print("open")
        self.closed = False
        while not self.closed:
            self.at += 1
            emit({"n": self.at, "topic": self.topic}, {"offset": self.at})
            time.sleep(self.rate)
    def rewind(self, position):
        self.at = position["offset"]
    def pause(self): print("paused")
    def resume(self): print("resumed")
    def acknowledge(self, position): print("safe", position)
    def close(self): self.closed = True
"""


def _until(host: Host, type_: str) -> list[Any]:
    found = []
    while not found or found[-1][0]["type"] != type_:
        found.append(host.next())
    return found


def test_a_pushing_source_is_rewound_and_sends_again_what_follows(host: Host, plugin: Write) -> None:
    ready = host.start(plugin(PUSH), connection={"rate": 0.001})
    assert (ready["kind"], ready["push"], ready["replayable"]) == ("push", True, True)
    host.send("read", stream="t", range={"full": True}, position={"offset": 10})
    first = _until(host, "batch") + _until(host, "batch")
    assert rows(first)[0] == {"n": 11, "topic": "t"}
    host.send("acknowledge", position={"offset": 11})
    host.send("rewind", position={"offset": 12})
    _until(host, "rewound")
    after = rows(_until(host, "batch"))
    assert [row["n"] for row in after] == list(range(13, 13 + len(after)))
    host.send("close")
    list(host.answers())
    host.end()
    assert "safe {'offset': 11}" in host.said


def test_a_paused_source_sends_nothing_until_it_is_resumed(host: Host, plugin: Write) -> None:
    host.start(plugin(PUSH), connection={"rate": 0.001})
    begun = time.monotonic()
    host.send("read", stream="t", range={"full": True}, position=None)
    _until(host, "batch")
    host.send("pause")
    time.sleep(0.5)
    host.send("acknowledge", position={"offset": 0})
    time.sleep(0.5)
    host.send("resume")
    host.send("close")
    sent = rows(list(host.answers()))
    # What can have been sent by the clock, at a row a millisecond, leaves out at least the second half second.
    most = (time.monotonic() - begun - 0.5) * 1000
    host.end()
    assert "paused" in host.said and "resumed" in host.said
    assert len(sent) < most


def test_a_rewind_before_anything_was_sent_is_answered(host: Host, plugin: Write) -> None:
    host.start(plugin(PUSH), connection={"rate": 0.2})
    host.send("read", stream="t", range={"full": True}, position=None)
    host.send("rewind", position={"offset": 100})
    _until(host, "rewound")
    assert rows(_until(host, "batch"))[0]["n"] == 101
    host.send("close")
    assert list(host.answers())[-1][0]["type"] == "end"


def test_a_source_that_comes_to_its_end_is_closed_and_sends_nothing_after(host: Host, plugin: Write) -> None:
    text = """
        from millrace import PushSource
        class Plugin(PushSource):
            def open(self, emit):
                self.emit = emit
                emit([{"n": 1}, {"n": 2}], 2)
                emit({"n": 3})
            def close(self):
                print("closed")
                try:
                    self.emit({"n": 4})
                except BaseException as error:
                    print("refused", type(error).__name__)
    """
    host.start(plugin(text))
    answers = host.read()
    assert rows(answers) == [{"n": 1}, {"n": 2}, {"n": 3}]
    assert positions(answers) == [2]
    host.end()
    assert "closed" in host.said and "refused Closed" in host.said


def test_an_error_of_a_pushing_source_is_told(host: Host, plugin: Write) -> None:
    text = """
        import threading
        from millrace import PushSource
        class Plugin(PushSource):
            background = True
            def open(self, emit):
                threading.Thread(target=lambda: emit.fail(ConnectionError("gone"))).start()
    """
    host.start(plugin(text))
    assert host.read()[-1][0]["kind"] == "transient"


def test_without_pyarrow_batches_are_json_with_columns(plugin: Write) -> None:
    blocked = "import sys; sys.modules['pyarrow'] = None; from millrace.host.__main__ import main; main()"
    host = Host("-c", blocked)
    text = """
        from millrace import BaseReader
        import datetime, decimal
        class Plugin(BaseReader):
            def extract(self, state_manager=None):
                yield [{"a": 1, "d": decimal.Decimal("1.10"), "t": datetime.date(2026, 1, 2)}, {"a": None}]
                yield [{"a": "no"}, {"b": 2}]
                yield [{"text": "x" * (40 << 20)}, {"text": "y" * (40 << 20)}]
    """
    try:
        host.start(plugin(text))
        first, refused, second, large, larger, end = host.read()
        assert first[0]["format"] == "json"
        assert first[1].decode().splitlines() == ['{"a":1,"d":"1.10","t":"2026-01-02"}', "{}"]
        assert [(c["name"], c["logicalType"]) for c in first[0]["columns"]] == [
            ("a", "integer"), ("d", "number"), ("t", "date"),
        ]  # fmt: skip
        assert refused[0]["rows"][0]["columns"] == ["a"]
        assert [column["name"] for column in second[0]["columns"]] == ["a", "d", "t", "b"]
        assert [header["rows"] for header, _ in (large, larger)] == [1, 1]
        assert end[0]["type"] == "end"
    finally:
        host.end()


def test_nothing_of_the_host_needs_pyarrow_to_be_imported() -> None:
    import subprocess

    check = "import sys, millrace, millrace.host.session, millrace.testing; sys.exit('pyarrow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check]).returncode == 0
