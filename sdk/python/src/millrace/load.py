"""What is asked of a reader: which rows, from where, and which part of them.

In: the worker's `read` request. Out: `Load`, which a reader that cares finds as `self.load`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Load:
    """One reading of one stream."""

    stream: str = ""
    kind: Literal["full", "delta", "backfill"] = "full"
    #: Where the last commit stood; `None`: at the beginning.
    position: Any = None
    #: A backfill reads what is from `begin` (included) to `end` (not included).
    begin: Any = None
    end: Any = None
    #: Which of how many instances this one is, counted from 0.
    instance: int = 0
    instances: int = 1
    #: The rows that a batch should have at most; one of Arrow data may have four times as many.
    batch_rows: int = 8192

    @classmethod
    def of(cls, request: Mapping[str, Any]) -> Load:
        """The load that a request asks for."""
        range_ = request.get("range") or {}
        position = request.get("position")
        kind: Literal["full", "delta", "backfill"] = "full"
        span: Mapping[str, Any] = {}
        if "delta" in range_:
            kind = "delta"
            if position is None:
                position = (range_["delta"] or {}).get("after")
        elif "backfill" in range_:
            kind, span = "backfill", range_["backfill"] or {}
        return cls(
            stream=str(request.get("stream") or ""),
            kind=kind,
            position=position,
            begin=span.get("from"),
            end=span.get("to"),
            instance=int(request.get("instance") or 0),
            instances=max(1, int(request.get("instances") or 1)),
        )
