"""What went wrong, for the worker.

In: any exception of plugin code, however odd. Out: the header of an `error` frame: who must act, what happened, what
to do about it, the traceback with the frames of the plugin alone, and the batch it was on.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import traceback
from pathlib import Path
from traceback import TracebackException
from typing import Any

from ..errors import MillraceError, kind_of

#: Where the frames around those of a plugin come from.
_FOLDERS = (Path(__file__).parent.parent, Path(asyncio.__file__).parent, Path(importlib.__file__).parent)
_MACHINERY = (*(f"{folder}{os.sep}" for folder in _FOLDERS), "<frozen importlib")
#: Enough to see what happened, and little enough for a status.
_MOST_MESSAGE, _MOST_TRACEBACK = 4_000, 64_000


def header(error: BaseException, batch: int | None = None) -> dict[str, Any]:
    """The header of the `error` frame."""
    kind, message, advice = _told(error)
    found: dict[str, Any] = {"type": "error", "kind": kind, "message": _cut(message, _MOST_MESSAGE)}
    if advice:
        found["advice"] = advice
    # One that says who must act says enough, unless another is behind it.
    enough = isinstance(error, MillraceError) and kind != "bug" and error.__cause__ is None
    if not enough and (shown := _traceback(error)) is not None:
        found["traceback"] = _cut(shown, _MOST_TRACEBACK)
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


def said(error: BaseException) -> str:
    """The text of an exception, also of one whose text cannot be had."""
    try:
        return str(error)
    except BaseException as second:
        return f"(its text cannot be had: {type(second).__name__} in its __str__)"


def _traceback(error: BaseException) -> str | None:
    """`None`: an error of this package that concerns no line of the plugin."""
    try:
        told = _own(TracebackException.from_exception(error))
        if told is None and not isinstance(error, MillraceError):
            # A bug of this package: all of it counts.
            told = TracebackException.from_exception(error)
        return None if told is None else "".join(told.format())
    except BaseException as second:
        # An exception with attributes that raise; the frames alone can be told.
        frames = "".join(traceback.format_tb(error.__traceback__))
        return f"{frames}{type(error).__name__} (not printable: {type(second).__name__})\n"


def _own(told: TracebackException) -> TracebackException | None:
    """The frames of the plugin alone; what was made of an exception outside of the plugin is left out."""
    links = [told]
    for one in links:
        one.stack[:] = [frame for frame in one.stack if not frame.filename.startswith(_MACHINERY)]
        behind = (one.__cause__, one.__context__, *(getattr(one, "exceptions", None) or ()))
        links += [link for link in behind if link is not None]
    while not told.stack and told.__cause__ is not None:
        told = told.__cause__
    return told if told.stack else None


def _cut(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    return f"{text[: most // 2]}\n[… {len(text) - most} characters left out …]\n{text[-most // 2 :]}"
