"""Two ways to read a CSV file in Python, which a plugin and a plain program share."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Any

# Rows of a list of dictionaries.
ROWS = 10_000


def arrow(path: str) -> Iterator[Any]:
    """Record batches, as pyarrow reads them."""
    from pyarrow import csv

    yield from csv.open_csv(path, read_options=csv.ReadOptions(block_size=16 << 20))


def rows(path: str) -> Iterator[list[dict[str, str]]]:
    """Lists of dictionaries."""
    with open(path, newline="") as file:
        batch = []
        for row in csv.DictReader(file):
            batch.append(row)
            if len(batch) == ROWS:
                yield batch
                batch = []
        if batch:
            yield batch
