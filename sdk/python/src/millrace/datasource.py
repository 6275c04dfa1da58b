"""A source of many streams that are read in parallel, and what a stream yields.

In: a `SourceConfig`. Out: `Stream`s, each of which yields `Payload`s from a state.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from .reader import Batches, Plugin
from .state import State


class _Absent:
    """No state given, which is not the state `None`."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Any = _Absent()


@dataclass
class Payload:
    """Rows, what is known about them, and the state after them. Without a state they are committed with the next
    payload that has one."""

    data: Any
    metadata: dict[str, Any] = field(default_factory=dict)
    state: Any = ABSENT


class Stream:
    """One stream of a data source."""

    #: The name by which manifests and the destination know it.
    name: Any = ""
    primary_key: Any = None
    cursors: Any = ()
    #: The state of the last commit, for `read` methods that take no argument.
    state: Any = None

    def __init__(self, name: str = "") -> None:
        if name:
            self.name = name

    def read(self, state: Any = None) -> Batches:
        """Yields payloads, beginning after `state` (`None`: from the beginning); plain or async."""
        raise NotImplementedError(f"{type(self).__name__} has no method `read`")


class DataSource(Plugin):
    """A connection, and the streams behind it. Each stream is read by an instance of its own."""

    def connect(self, state: State | None = None) -> Any:
        """Opens the connection; called once, before `streams`."""

    def disconnect(self) -> Any:
        """Closes the connection; called in the end, after a failure too."""

    def streams(self) -> Iterable[Stream]:
        """The streams that there are."""
        raise NotImplementedError(f"{type(self).__name__} has no method `streams`")
