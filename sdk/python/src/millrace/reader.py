"""The reader of one stream: the class that most people write.

In: a `SourceConfig`, and the state of the last commit. Out: batches of rows, and the state after each.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable
from typing import Any, ClassVar

from .config import SourceConfig
from .load import Load
from .state import State

#: What `extract` may give: lists of dictionaries, Arrow data, or a `Payload`; one after another, or in a list.
Batches = Iterable[Any] | AsyncIterable[Any]


class Plugin:
    """What every class that reads has in common."""

    #: The key columns, where the class knows them better than the manifest.
    primary_key: ClassVar[str | tuple[str, ...] | list[str] | None] = None
    #: Which of how many instances this one is; with `partitions: 4` there are four, numbered from 0.
    instance: int = 0
    instances: int = 1
    #: What is being read.
    load: Load = Load()

    def __init__(self, source_config: SourceConfig) -> None:
        self.source_config = source_config

    @property
    def connection(self) -> dict[str, Any]:
        """`connection` of the manifest, over the Connector's named configuration."""
        return self.source_config.connection

    @property
    def credentials(self) -> dict[str, Any]:
        """The credentials by name."""
        return self.source_config.credentials

    @property
    def objects(self) -> list[str]:
        """The streams to read; while one is read, that one alone."""
        return self.source_config.objects

    @property
    def engine(self) -> dict[str, Any]:
        """`engine["options"]` holds the options of the manifest."""
        return self.source_config.engine

    @property
    def options(self) -> dict[str, Any]:
        """The options of the manifest."""
        return self.source_config.options

    def check(self) -> Any:
        """Tries the connection; raises what is wrong. Nothing is tried where a class has no such method."""

    def acknowledge(self, position: Any) -> None:
        """What came up to this position is safe at the destination. Called from another thread."""


class BaseReader(Plugin):
    """Reads one stream.

    One instance reads one stream: `self.objects[0]` is its name.
    """

    def extract(self, state_manager: State | None = None) -> Batches:
        """Yields batches: lists of dictionaries, pyarrow tables, batches or readers, anything with
        `__arrow_c_stream__` (pandas, polars), or a `Payload`. A plain or an async generator, or a list of batches.

        Keep in `state_manager` where the next run should begin, before the batch is yielded: what it holds when a
        batch is yielded is committed with that batch.
        """
        raise NotImplementedError(f"{type(self).__name__} has no method `extract`")

    def get_total_records_estimate(self) -> int | None:
        """How many rows there are, for the display of progress; `None` where nobody knows."""
        return None

    def discover(self) -> Iterable[Any]:
        """The streams that there are: names, or dictionaries with `name`, `primaryKey`, `cursors`, `rows`,
        `partitions`, `schema`. Without this method the manifest names them."""
        return list(self.source_config.objects)
