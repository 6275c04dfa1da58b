"""The simplest source: everything there is, and what changed since a watermark.

In: the last watermark. Out: `(key, row, watermark)` for each row; a row that is `None` was deleted.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable
from datetime import timedelta
from typing import Any

from .reader import Plugin

#: `(key, row, watermark)`; the watermark may be left out.
Rows = Iterable[tuple[Any, ...]] | AsyncIterable[tuple[Any, ...]]


class GenericSource(Plugin):
    """Millrace computes the difference of a full load to what was delivered; a delta load tells it itself."""

    #: How often each load is run, unless the manifest says otherwise; a timedelta or seconds.
    full_load_interval: timedelta | float | None = None
    delta_load_interval: timedelta | float | None = None
    #: Whether a delta load yields its rows by rising watermark: then it can go on in the middle after a crash.
    ordered: bool = False

    def full_load(self) -> Rows:
        """Yields every row. Fetch page by page: what is yielded is not kept in memory."""
        raise NotImplementedError(f"{type(self).__name__} has no method `full_load`")

    def delta_load(self, last_watermark: Any) -> Rows:
        """Yields what changed since `last_watermark` (`None`: nothing was ever read). The same row twice does no
        harm; a deleted row is `(key, None, watermark)`."""
        raise NotImplementedError(f"{type(self).__name__} has no method `delta_load`")

    def current_watermark(self) -> Any:
        """The watermark of this moment, asked before a full load. With it a row that changes while the full load
        goes on is found by the next delta load; without it the greatest watermark of the rows has to do."""
        return None

    def discover(self) -> Iterable[Any]:
        """The streams that there are. Without this method the manifest names them."""
        return list(self.source_config.objects)
