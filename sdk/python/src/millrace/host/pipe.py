"""The pipe to the worker, kept out of reach of plugin code.

In: descriptors 0 and 1 as the worker opened them. Out: the same two under other numbers, while 0 becomes `/dev/null`
and 1 the standard error, so that what a plugin prints is a line of the log. Python's own streams mask secrets; what a
library in C or a child process writes goes to the log as it is, and is masked by the worker.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import sys
import threading
from typing import BinaryIO, TextIO, cast

from .frames import Writer
from .secrets import Secrets

#: A batch is larger than the 64 KiB that a pipe holds by default.
_PIPE_SIZE = 1 << 20
_F_SETPIPE_SZ = 1031


def keep(secrets: Secrets) -> tuple[BinaryIO, Writer]:
    """Takes the pipe; from here on nothing else of this process can read or write it."""
    requests, answers = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - a descriptor, for good
    sys.stderr = _masked(2, secrets)
    sys.stdout = sys.stderr
    for pipe in (requests, answers):
        with contextlib.suppress(OSError):
            fcntl.fcntl(pipe, _F_SETPIPE_SZ, _PIPE_SIZE)
    # A child that a plugin forks must not hold the pipe open, or the worker would never see the end of it.
    writer = Writer(answers)
    os.register_at_fork(after_in_child=lambda: _let_go(requests, writer))
    return os.fdopen(requests, "rb"), writer


def _let_go(requests: int, answers: Writer) -> None:
    with contextlib.suppress(OSError):
        os.close(requests)
    with contextlib.suppress(OSError):
        answers.let_go()


def _masked(descriptor: int, secrets: Secrets) -> TextIO:
    raw = open(descriptor, "wb", buffering=0, closefd=False)  # noqa: SIM115 - a descriptor, for good
    return cast("TextIO", MaskedStream(raw, secrets))


class MaskedStream(io.TextIOBase):
    """A text stream that writes whole lines, without secrets."""

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, raw: io.RawIOBase, secrets: Secrets) -> None:
        self._raw, self._secrets = raw, secrets
        self._rest, self._lock = "", threading.RLock()
        self.buffer = _Bytes(self)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._raw.fileno()

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        with self._lock:
            lines, end, rest = (self._rest + text).rpartition("\n")
            self._rest = rest
            if end:
                self._emit(lines + end)
            if len(self._rest) > _PIPE_SIZE:
                self.flush()
        return len(text)

    def flush(self) -> None:
        """Writes an unfinished line too, but for an end that may be the first half of a secret."""
        with self._lock:
            held = self._secrets.tail(self._rest)
            ready, self._rest = self._rest[: len(self._rest) - held], self._rest[len(self._rest) - held :]
            if ready:
                self._emit(ready)

    def _emit(self, text: str) -> None:
        content = self._secrets.masked(text).encode("utf-8", "backslashreplace")
        with contextlib.suppress(OSError):  # the worker is gone, and the end of the input will tell
            while content:
                content = content[self._raw.write(content) or 0 :]


class _Bytes(io.RawIOBase):
    """`sys.stdout.buffer`, for plugins that print bytes."""

    def __init__(self, text: MaskedStream) -> None:
        self._text = text

    def writable(self) -> bool:
        return True

    def write(self, content: object) -> int:
        data = bytes(content)  # type: ignore[call-overload]
        self._text.write(data.decode("utf-8", "backslashreplace"))
        return len(data)

    def flush(self) -> None:
        self._text.flush()
