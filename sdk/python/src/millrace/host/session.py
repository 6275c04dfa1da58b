"""One session with the worker: each request answered by what ends it, or by an error.

In: requests. Out: frames. A failure of the plugin is an answer, after which the host may be asked again.
"""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Callable
from typing import Any

from .. import kinds
from .._version import VERSION
from ..columns import arrow, odcs
from ..columns.table import Table
from ..datasource import ABSENT
from ..errors import ConfigError, MillraceError
from ..kinds.writer import WriterKind
from ..load import Load
from ..sink import Closed
from ..writer import BaseWriter
from . import failure
from .frame_sink import FrameSink
from .frames import Frame, Writer
from .loader import load
from .requests import Requests
from .secrets import Secrets
from .writing import Writing

PROTOCOL = 1


class Session:
    """What was started, and what is going on."""

    def __init__(self, requests: Requests, out: Writer, secrets: Secrets) -> None:
        self._requests, self._out, self._secrets = requests, out, secrets
        self._kind: kinds.Kind | None = None
        self._writing: Writing | None = None
        self._sink: FrameSink | None = None
        self._config: dict[str, Any] = {}

    def run(self) -> None:
        """Answers requests until the input ends."""
        self._requests.listen(self._at_once)
        while True:
            self._answer(self._requests.next())

    def _answer(self, frame: Frame) -> None:
        try:
            answer = self._doing(frame)(frame)
        except BaseException as error:
            answer = self._secrets.deep(failure.header(error, self._batch(frame)))
        finally:
            self._sink = None
            self._requests.begun.set()
        sys.stderr.flush()
        self._out.send(answer)

    def _batch(self, frame: Frame) -> int | None:
        """The batch that a failure was on."""
        if frame.type == "read" and self._sink is not None:
            return self._sink.batch
        return self._writing.batch if frame.type == "write" and self._writing is not None else None

    def _doing(self, frame: Frame) -> Callable[[Frame], dict[str, Any]]:
        doing = {
            "start": self._start,
            "check": self._check,
            "discover": lambda _: {"type": "streams", "streams": self._reader().discover()},
            "read": self._read,
            "open": lambda frame: self._writer().open(frame),
            "write": lambda frame: self._writer().write(frame),
            "commit": lambda frame: self._writer().commit(frame),
        }
        found = doing.get(frame.type)
        if found is None:
            raise MillraceError(f"the worker asks for `{frame.type}`, which millrace {VERSION} does not know")
        return found

    def _start(self, frame: Frame) -> dict[str, Any]:
        header = frame.header
        self._config = header.get("config") or {}
        self._secrets.learn(self._config)
        if header.get("protocol") != PROTOCOL:
            raise ConfigError(
                f"the worker speaks protocol {header.get('protocol')}, millrace {VERSION} speaks {PROTOCOL}",
                advice="use the version of the package that belongs to the worker",
            )
        if header.get("role") == "writer":
            self._writing = Writing(WriterKind(load(header["plugin"], (BaseWriter,)), self._config))
            ready = self._writing.kind.ready()
        else:
            self._kind = kinds.kind_of(load(header["plugin"], kinds.BASES), self._config)
            ready = self._kind.ready()
        # What is there by now stays: no need to look through it for garbage whenever a plugin has made many objects.
        gc.collect()
        gc.freeze()
        return {"type": "ready", "protocol": PROTOCOL, **ready}

    def _reader(self) -> kinds.Kind:
        if self._kind is None:
            raise MillraceError("no reader was started")
        return self._kind

    def _writer(self) -> Writing:
        if self._writing is None:
            raise MillraceError("no writer was started")
        return self._writing

    def _check(self, _: Frame) -> dict[str, Any]:
        (self._writing.kind if self._writing is not None else self._reader()).check()
        return {"type": "ok"}

    def _read(self, frame: Frame) -> dict[str, Any]:
        kind, asked = self._reader(), Load.of(frame.header)
        sink = FrameSink(asked, self._table(asked.stream), self._out, self._secrets.masked)
        self._sink = sink
        self._requests.begun.set()
        with contextlib.suppress(Closed):
            kind.read(asked, sink)
        return {"type": "end"} if sink.last is ABSENT else {"type": "end", "position": sink.last}

    def _table(self, stream: str) -> Table:
        declared = (self._config.get("schema") or {}).get(stream) or ()
        return Table(odcs.columns(declared), with_arrow=arrow.available())

    def _at_once(self, frame: Frame) -> None:
        """Called by the thread that reads the pipe."""
        sink, kind = self._sink, self._kind
        if sink is None or kind is None:
            return
        if frame.type == "close":
            sink.closed.set()
        try:
            kind.control(frame.type, frame.header.get("position"))
        except BaseException as error:
            told = self._secrets.deep(failure.header(error))
            self._out.send({"type": "log", "level": "error", "message": f"{frame.type}: {told['message']}"})
