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
from itertools import islice
from typing import Any, BinaryIO

_LENGTHS = struct.Struct("<II")
MOST_HEADER, MOST_BODY = 16 << 20, 256 << 20
#: Pieces that the system takes in one call.
_AT_ONCE = 1000


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
    """Writes frames whole, from whatever thread."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._lock = descriptor, threading.Lock()

    def send(self, header: dict[str, Any], body: Sequence[bytes | memoryview] = ()) -> None:
        """Writes one frame, whose body may lie in several pieces."""
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        length = sum(map(len, body))
        if len(text) > MOST_HEADER or length > MOST_BODY:
            raise ValueError(f"a frame of {len(text)} and {length} bytes is too large")
        pieces = deque(memoryview(piece) for piece in (_LENGTHS.pack(len(text), length) + text, *body))
        with self._lock:
            self._write(pieces)

    def _write(self, pieces: deque[memoryview]) -> None:
        """Writes them at once, as far as the pipe has room: one by one they would wake the worker for each."""
        while pieces:
            written = os.writev(self._descriptor, list(islice(pieces, _AT_ONCE)))
            while pieces and written >= len(pieces[0]):
                written -= len(pieces.popleft())
            if written:
                pieces[0] = pieces[0][written:]
