"""The frames of the protocol on a pipe.

In: bytes from the worker. Out: `Frame`s; and the other way round. A frame is two lengths, a header in JSON and a body.
"""

from __future__ import annotations

import json
import os
import struct
import threading
from dataclasses import dataclass
from typing import Any, BinaryIO

_LENGTHS = struct.Struct("<II")
MOST_HEADER, MOST_BODY = 16 << 20, 256 << 20
#: A longer body is written while the plugin makes the next one.
_LONG = 256 << 10


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
        self._under_way: threading.Thread | None = None
        self._failure: OSError | None = None

    def send(self, header: dict[str, Any], body: Any = b"") -> None:
        """Writes one frame; `body` is bytes or anything with the buffer interface, which nobody changes any more.

        What keeps a long one from being written is raised by the next call.
        """
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")
        content = memoryview(body).cast("B") if len(body) else memoryview(b"")
        if len(text) > MOST_HEADER or len(content) > MOST_BODY:
            raise ValueError(f"a frame of {len(text)} and {len(content)} bytes is too large")
        start = memoryview(_LENGTHS.pack(len(text), len(content)) + text)
        with self._lock:
            if self._under_way is not None:
                self._under_way.join()
                self._under_way = None
            if self._failure is not None:
                raise self._failure
            if len(content) < _LONG:
                self._write(start, content)
            else:
                self._under_way = threading.Thread(target=self._write_aside, args=(start, content))
                self._under_way.start()

    def _write_aside(self, *parts: memoryview) -> None:
        try:
            self._write(*parts)
        except OSError as error:
            self._failure = error

    def _write(self, *parts: memoryview) -> None:
        for part in parts:
            while part:
                part = part[os.write(self._descriptor, part) :]
