"""Writing without a worker.

In: a writer's class and batches of rows. Out: a `Writing`: the files that it told of, and what its commit gave.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count
from os import PathLike
from typing import Any, Literal

from ..columns import arrow, odcs
from ..columns.table import Table
from ..kinds.writer import WriterKind, asset
from .settings import configured


@dataclass
class Writing:
    """What a writer did."""

    files: list[dict[str, Any]] = field(default_factory=list)
    #: What `commit_files` gave, `{}` for nothing.
    committed: dict[str, Any] = field(default_factory=dict)
    #: What `last_committed` says afterwards.
    last_committed: str | None = None


def write(
    plugin: type[Any],
    batches: Iterable[Any],
    *,
    output_base: str | PathLike[str],
    stream: str = "stream",
    connection: dict[str, Any] | None = None,
    credentials: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
    schema: list[dict[str, Any]] | None = None,
    primary_key: list[str] | None = None,
    mode: Literal["append", "upsert", "overwrite"] = "append",
    generation: int = 0,
    commit_id: str = "default/flow:stream:1.1",
    commits: int = 1,
    replace: bool = False,
) -> Writing:
    """Writes batches and commits them; `commits=2` repeats the commit, as it is after a crash in the middle of it.

    Numbers of batches and the id of the commit look as those of a worker do.
    """
    kind = WriterKind(plugin, configured(stream, connection, credentials, options))
    table = Table(odcs.columns(schema or ()), with_arrow=arrow.available())
    given = [_batch(table, one) for one in batches]
    arrow_schema = given[0].schema if given and hasattr(given[0], "schema") else None
    columns = tuple(map(arrow.column_of, arrow_schema)) if arrow_schema is not None else tuple(table.columns.values())
    header = {"stream": stream, "mode": mode, "primaryKey": primary_key or [], "generation": generation}
    kind.open(asset(header, columns, arrow_schema), str(output_base))
    found = Writing()
    for counter, batch in zip(count(step=1024), given, strict=False):
        as_arrow = plugin.arrow or isinstance(batch, list)
        found.files += kind.write(batch if as_arrow else batch.to_pylist(), counter)
    for _ in range(commits):
        found.committed = kind.commit(commit_id, found.files, replace)
    found.last_committed = kind.last_committed()
    kind.close()
    return found


def _batch(table: Table, given: Any) -> Any:
    if arrow.is_arrow(given):
        return given
    batch = table.take(given)
    if batch.refused:
        raise ValueError(f"a row does not fit: {batch.refused[0].path}: {batch.refused[0].reason}")
    if arrow.available():
        return batch.arrow()
    names = [column.name for column in batch.columns]
    return [dict(zip(names, values, strict=True)) for values in zip(*batch.parts, strict=True)]
