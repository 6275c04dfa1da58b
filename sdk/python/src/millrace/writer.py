"""The writer of one stream.

In: batches of rows. Out: metadata of the files (or whatever else a batch became), and one commit of all of them.
"""

from __future__ import annotations

from typing import Any, ClassVar

from .config import AssetDefinition, TargetConfig


class BaseWriter:
    """Writes one stream. What `write_batch` wrote must not be seen before `commit_files` makes it so."""

    #: Whether a repeated commit of the same id is harmless: `self.commit_id` is the same for it.
    idempotent: ClassVar[bool] = False
    #: Whether `write_batch` takes a `pyarrow.RecordBatch` rather than a list of dictionaries.
    arrow: ClassVar[bool] = False
    #: The id of the commit that is being made, known in `commit_files` alone. No other commit has it, and the same
    #: commit has it again when it is repeated. It is no name of a file (it has `/` and `:` in it):
    #: `urllib.parse.quote(self.commit_id, safe="")` is one.
    commit_id: str | None = None
    #: Whether the commit takes the place of everything that was there.
    replace: bool = False

    def __init__(self, asset_definition: AssetDefinition, target_config: TargetConfig, output_base: str) -> None:
        self.asset_definition = asset_definition
        self.target_config = target_config
        self.output_base = output_base

    @property
    def connection(self) -> dict[str, Any]:
        """`connection` of the destination."""
        return self.target_config.connection

    @property
    def credentials(self) -> dict[str, Any]:
        """The credentials by name."""
        return self.target_config.credentials

    def write_batch(self, records: Any, file_counter: int) -> list[dict[str, Any]]:
        """Writes a batch, and tells of each file at least its `path`, `size_bytes` and `record_count`.

        No other batch of the commit has the same `file_counter`, in this instance of the writer or another. The
        numbers have gaps and no order, and begin anew with each commit, also with one that is tried again.
        """
        raise NotImplementedError(f"{type(self).__name__} has no method `write_batch`")

    def commit_files(self, file_metadata: list[dict[str, Any]]) -> dict[str, Any] | None:
        """Makes everything that was written seen at once. Without this method it is seen as it is written."""
        return None

    def last_committed(self) -> str | None:
        """The id of the last commit that the destination knows of; `None` where it knows none."""
        return None

    def check(self) -> Any:
        """Tries the connection; raises what is wrong."""

    def close(self) -> Any:
        """Lets go of what the writer holds."""
