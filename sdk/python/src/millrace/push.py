"""Sources that are sent to: a broker, a webhook, a device.

In: messages whenever they come. Out: rows, each with the position after it where the system has one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .reader import Plugin

if TYPE_CHECKING:
    from .kinds.push import Emitter


class PushSource(Plugin):
    """Opens a connection and emits what comes. `open` returns when there is no more, or when `close` was called."""

    #: Whether `open` returns at once, and messages come on threads of a client library.
    background: bool = False

    def configure(self, datasource: str, props: dict[str, Any]) -> None:
        """Called once, with the name of the stream and the settings: `connection` over the named configuration, and
        the options."""

    def open(self, emit: Emitter) -> Any:
        """Connects and calls `emit(row, position)` for each message; blocks while the worker is behind. May be
        `async`."""
        raise NotImplementedError(f"{type(self).__name__} has no method `open`")

    def close(self) -> Any:
        """Makes `open` return, and lets go of the connection. Called from another thread."""

    def rewind(self, position: Any) -> None:
        """Begins the next `open` after this position. Called while nothing is open."""
        raise NotImplementedError(f"{type(self).__name__} has no method `rewind`")

    def pause(self) -> None:
        """The worker wants no rows for now: `emit` blocks anyway. Called from another thread."""

    def resume(self) -> None:
        """The worker wants rows again. Called from another thread."""

    def get_offset(self) -> Any:
        """The position after the row that is being emitted, for an `emit` without one; `None`: there is none."""
        return None
