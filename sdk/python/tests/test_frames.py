"""Frames from several threads, and when memory or the pipe runs out."""

from __future__ import annotations

import io
import os
import threading
from collections import defaultdict

import pytest

from millrace.host import frames

LARGE = 3 << 20


def read_all(descriptor: int) -> list[frames.Frame]:
    with os.fdopen(descriptor, "rb") as pipe:
        return list(iter(lambda: frames.read(pipe), None))


def written(writer: frames.Writer) -> None:
    """Waits until nothing waits."""
    with writer._turn:
        writer._turn.wait_for(lambda: not writer._held)


def test_frames_of_each_thread_arrive_whole_and_in_order_and_memory_may_change_after_they_are_taken() -> None:
    there, here = os.pipe()
    writer = frames.Writer(here)

    def work(name: int) -> None:
        memory = bytearray(LARGE)
        for at in range(12):
            size = (0, 7, LARGE)[at % 3]
            memory[:size] = bytes([name * 12 + at]) * size
            writer.send({"type": "batch", "of": name, "at": at}, [memoryview(memory)[:size]])
            memory[:size] = bytes(size)

    workers = [threading.Thread(target=work, args=(name,)) for name in range(3)]
    found: list[frames.Frame] = []
    reader = threading.Thread(target=lambda: found.extend(read_all(there)))
    for thread in (reader, *workers):
        thread.start()
    for thread in workers:
        thread.join()
    writer.send({"type": "end"})
    written(writer)
    os.close(here)
    reader.join()

    assert found.pop().type == "end"
    order = defaultdict(list)
    for frame in found:
        name, at = frame.header["of"], frame.header["at"]
        order[name].append(at)
        assert frame.body == bytes([name * 12 + at]) * (0, 7, LARGE)[at % 3]
    assert order == {name: list(range(12)) for name in range(3)}


def test_a_frame_for_which_there_is_no_memory_does_not_hold_up_the_error_that_tells_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there, here = os.pipe()
    writer = frames.Writer(here)
    with monkeypatch.context() as short:

        def room(_: frames.Writer, length: int) -> bytearray:
            raise MemoryError(length)

        short.setattr(frames.Writer, "_room", room)
        with pytest.raises(MemoryError):
            writer.send({"type": "batch"}, [bytes(frames._MOST_WAITING)])

    telling = threading.Thread(target=writer.send, args=({"type": "error"},), daemon=True)
    telling.start()
    telling.join(10)
    assert not telling.is_alive()
    os.close(here)
    assert [frame.type for frame in read_all(there)] == ["error"]


def test_memory_that_is_kept_for_frames_to_come_is_bounded() -> None:
    there, here = os.pipe()
    writer = frames.Writer(here)
    reader = threading.Thread(target=read_all, args=(there,))
    reader.start()
    for _ in range(3):
        writer.send({"type": "batch"}, [bytes(2 * frames._MOST_WAITING)])
        for _ in range(20):
            writer.send({"type": "batch"}, [bytes(frames._LARGE)])
    written(writer)
    assert 0 < sum(map(len, writer._spare)) <= frames._MOST_WAITING
    os.close(here)
    reader.join()


def test_nothing_follows_half_a_frame_that_nobody_reads_any_more() -> None:
    there, here = os.pipe()
    writer = frames.Writer(here)
    writer.send({"type": "batch"}, [bytes(LARGE)])
    assert os.read(there, 8)
    os.close(there)
    with pytest.raises(BrokenPipeError):
        for _ in range(100):
            writer.send({"type": "batch"}, [bytes(LARGE)])
    os.close(here)


def test_half_a_frame_is_none() -> None:
    with pytest.raises(frames.Broken, match="within a frame"):
        frames.read(io.BytesIO(b"\x02\0\0\0\0\0\0\0{"))
