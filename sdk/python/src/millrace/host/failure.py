"""What went wrong, for the worker.

In: any exception of plugin code, however odd. Out: the header of an `error` frame: who must act, what happened, what
to do about it, the traceback without the frames of this package, and the batch it was on.
"""

from __future__ import annotations

import asyncio
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any

from ..errors import MillraceError, kind_of

#: Where the frames above those of a plugin come from.
_MACHINERY = (
    str(Path(__file__).resolve().parent.parent),
    str(Path(asyncio.__file__).resolve().parent),
    "<frozen importlib",
)
#: Enough to see what happened, and little enough for a status.
_MOST_MESSAGE, _MOST_TRACEBACK = 4_000, 64_000


def header(error: BaseException, batch: int | None = None) -> dict[str, Any]:
    """The header of the `error` frame."""
    kind, message, advice = _told(error)
    found: dict[str, Any] = {"type": "error", "kind": kind, "message": _cut(message, _MOST_MESSAGE)}
    if advice:
        found["advice"] = advice
    if not isinstance(error, MillraceError) or error.__cause__ is not None or _raised_by_plugin(error):
        found["traceback"] = _cut(_traceback(error), _MOST_TRACEBACK)
    if batch is not None:
        found["batch"] = batch
    return found


def _told(error: BaseException) -> tuple[str, str, str | None]:
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, (int, str, type(None))) else type(error.code).__name__
        return "bug", f"the plugin called sys.exit({code!r})", "raise an exception, or return, instead"
    if isinstance(error, KeyboardInterrupt):
        return "transient", "the plugin was interrupted", None
    if isinstance(error, asyncio.CancelledError):
        return "bug", "the plugin cancelled the task that it was run in", None
    if isinstance(error, MillraceError):
        return kind_of(error), said(error) or type(error).__name__, error.advice
    return kind_of(error), f"{type(error).__name__}: {said(error)}".removesuffix(": "), None


def _raised_by_plugin(error: MillraceError) -> bool:
    """Whether a bug that has a kind of its own was raised in plugin code; this package's own frames tell nothing."""
    found = error.__traceback__
    return error.kind == "bug" and found is not None and _own(found) is not found


def said(error: BaseException) -> str:
    """The text of an exception, also of one whose text cannot be had."""
    try:
        return str(error)
    except BaseException as second:
        return f"(its text cannot be had: {type(second).__name__} in its __str__)"


def _traceback(error: BaseException) -> str:
    try:
        lines = traceback.format_exception(type(error), error, _own(error.__traceback__))
        return "".join(lines)
    except BaseException as second:
        # An exception with attributes that raise; the frames alone can be told.
        frames = "".join(traceback.format_tb(error.__traceback__))
        return f"{frames}{type(error).__name__} (not printable: {type(second).__name__})\n"


def _own(found: TracebackType | None) -> TracebackType | None:
    """The traceback from the first frame of the plugin on; all of it where none is the plugin's."""
    at = found
    while at is not None and at.tb_frame.f_code.co_filename.startswith(_MACHINERY):
        at = at.tb_next
    return at or found


def _cut(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    return f"{text[: most // 2]}\n[… {len(text) - most} characters left out …]\n{text[-most // 2 :]}"
