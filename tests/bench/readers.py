"""The same reads as plugins of Millrace."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import reads
from millrace import BaseReader


class Arrow(BaseReader):
    """Yields record batches."""

    def extract(self, state_manager: Any = None) -> Iterator[Any]:
        yield from reads.arrow(self.connection["path"])


class Rows(BaseReader):
    """Yields dictionaries."""

    def extract(self, state_manager: Any = None) -> Iterator[Any]:
        yield from reads.rows(self.connection["path"])
