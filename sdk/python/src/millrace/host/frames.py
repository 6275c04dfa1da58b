"""The frames of the protocol on a pipe.

In: bytes from the worker. Out: `Frame`s; and the other way round. A frame is two lengths, a header in JSON and a body.
"""

from __future__ import annotations

import json
import os
import struct
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

_LENGTHS = struct.Struct("<II")
MOST_HEADER, MOST_BODY = 16 << 20, 256 << 20
#: Bytes of frames that may wait for the worker.
_MOST_WAITING = 32 << 20
#: Bytes of a frame that is worth a thread, and memory to keep.
_LARGE = 1 << 20


class Broken(Exception):
    """What came is no frame."""


@dataclass(frozen=True)
class Frame:
    """A header with a `type`, and a body."""

    header: dict[str, Any]
    body: bytes = b""

    @property
    def type(self) -> str:
        """What the frame is."""
        return str(self.header.get("type", ""))


def read(pipe: BinaryIO) -> Frame | None:
    """The next frame; `None` at the end of the input."""
    lengths = pipe.read(_LENGTHS.size)
    if not lengths:
        return None
    if len(lengths) < _LENGTHS.size:
        raise Broken("the input ends within a frame")
    header_length, body_length = _LENGTHS.unpack(lengths)
    if header_length > MOST_HEADER or body_length > MOST_BODY:
        raise Broken(f"a frame of {header_length} and {body_length} bytes is too large")
    header, body = pipe.read(header_length), pipe.read(body_length)
    if len(header) < header_length or len(body) < body_length:
        raise Broken("the input ends within a frame")
    try:
        found = json.loads(header)
    except ValueError as error:
        raise Broken(f"a header is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise Broken("a header is not an object")
    return Frame(found, body)


class Writer:
    """Writes frames whole and in order, from whatever thread.

    A small frame is written at once. A large one is copied, and a thread of its own writes it: meanwhile a plugin makes
    its next batch, and does with its memory what it likes. What waits is bounded.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._turn = threading.Condition()
        self._waiting: deque[tuple[bytearray, int]] = deque()
        #: Bytes of the frames that wait, and of the one that the thread is writing.
        self._held = 0
        #: Memory of frames that were written: cheaper to fill again than to ask the system for more.
        self._spare: list[bytearray] = []
        self._gone: OSError | None = None
        threading.Thread(target=self._work, name="millrace-answers", daemon=True).start()

    def send(self, header: dict[str, Any], body: Sequence[bytes | memoryview] = ()) -> None:
        """Takes one frame, whose body may lie in several pieces. Raises `OSError` where nobody reads them any more."""
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        length = sum(map(len, body))
        if len(text) > MOST_HEADER or length > MOST_BODY:
            raise ValueError(f"a frame of {len(text)} and {length} bytes is too large")
        pieces = [_LENGTHS.pack(len(text), length) + text, *body]
        length += len(pieces[0])
        with self._turn:
            self._turn.wait_for(lambda: self._gone or not self._held or self._held + length <= _MOST_WAITING)
            if self._gone:
                raise self._gone
            if length < _LARGE and not self._held:
                self._write(memoryview(b"".join(pieces)))
                return
            room = self._room(length)
            rest = memoryview(room)
            for piece in pieces:
                rest[: len(piece)] = piece
                rest = rest[len(piece) :]
            self._held += length
            self._waiting.append((room, length))
            self._turn.notify_all()

    def let_go(self) -> None:
        """In a child that a plugin forks: it has neither the pipe nor the thread."""
        self._turn, self._gone = threading.Condition(), BrokenPipeError("a forked process has no pipe to the worker")
        os.close(self._descriptor)

    def _room(self, length: int) -> bytearray:
        """Memory for a frame."""
        spare = self._spare.pop() if length >= _LARGE and self._spare else bytearray()
        return spare if len(spare) >= length else bytearray(length)

    def _work(self) -> None:
        try:
            while True:
                with self._turn:
                    self._turn.wait_for(lambda: self._waiting)
                    room, length = self._waiting.popleft()
                self._write(memoryview(room)[:length])
                with self._turn:
                    self._held -= length
                    if len(room) >= _LARGE and sum(map(len, self._spare)) + len(room) <= _MOST_WAITING:
                        self._spare.append(room)
                    self._turn.notify_all()
        except OSError as error:
            # What comes after half a frame is no frame.
            with self._turn:
                self._gone = error
                self._turn.notify_all()

    def _write(self, frame: memoryview) -> None:
        while frame:
            frame = frame[os.write(self._descriptor, frame) :]
