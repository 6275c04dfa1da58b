"""`BaseReader`: what `extract` yields, with the state as it stands at each yield."""

from __future__ import annotations

import sys
from collections.abc import Generator, Mapping
from contextlib import closing
from typing import Any

from ..columns import arrow
from ..datasource import ABSENT, Payload
from ..iterate import items, result
from ..load import Load
from ..reader import BaseReader
from ..sink import Sink
from ..state import State, copied
from .base import Kind, told


class ReaderKind(Kind):
    """Reads a `BaseReader`."""

    word = "reader"
    base = BaseReader

    def discover(self) -> list[dict[str, Any]]:
        reader = self.made(Load())
        return [told(stream, reader.source_config) for stream in items(result(reader.discover()))]

    def read(self, load: Load, sink: Sink) -> None:
        reader: BaseReader = self.begun(load)
        rows = _estimate(reader)
        if rows is not None:
            sink.estimate(rows)
        state = State(load.position)
        given = result(reader.extract(state))
        forward(items([given] if _one_batch(given) else given), state, sink)


def _estimate(reader: BaseReader) -> int | None:
    """How many rows there may be. It is for people to look at: a failure here fails nothing."""
    try:
        rows = result(reader.get_total_records_estimate())
    except Exception as error:
        print(f"the number of rows is not known: {type(error).__name__}: {error}", file=sys.stderr)
        return None
    return rows if isinstance(rows, int) and rows >= 0 else None


def _one_batch(given: Any) -> bool:
    """Whether `extract` returned a batch itself, rather than batches."""
    if isinstance(given, Payload) or arrow.is_arrow(given):
        return True
    return isinstance(given, list) and bool(given) and isinstance(given[0], Mapping)


def forward(yielded: Generator[Any, None, None], state: State, sink: Sink, *, ambient: bool = True) -> None:
    """Sends what is yielded.

    The `ambient` state is what it is when a batch is yielded: what is kept after the yield may belong to rows that
    have not been sent, so it goes with the next batch, or with the end. Without it the payloads alone have states.
    """
    with closing(yielded):
        for given in yielded:
            data, metadata, after = given, None, ABSENT
            if isinstance(given, Payload):
                data, metadata = given.data, copied(given.metadata or {}, "metadata")
                if given.state is not ABSENT:
                    state.replace(given.state)
                    after = state.value
            if ambient and state.known:
                after = state.value
            sink.send(data, after, metadata)
            if sink.closed.is_set():
                return
    sink.finish(state.value if state.known else ABSENT)
