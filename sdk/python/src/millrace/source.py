"""Sources with a loop of their own: `run` produces rows for as long as `self.running` is true.

In: a `SourceConfig`; for a `StatefulSource` the state of the last flush. Out: rows; state and rows together by `flush`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .config import SourceConfig
from .datasource import ABSENT
from .errors import MillraceError
from .outbox import Outbox
from .reader import Plugin
from .state import State


@dataclass
class Message:
    """What `serialize` gives, for `produce`. Values stay what they are: columns have types, and need no bytes."""

    key: Any = None
    value: Any = None
    headers: Any = None
    timestamp: Any = None


class Source(Plugin):
    """Has no state: after a restart it begins wherever its `run` begins."""

    #: The column that a message's key becomes, and the one for a value that is no dictionary.
    key_column: str = "key"
    value_column: str = "value"
    on_client_connect_success: Callable[[], None] | None = None
    on_client_connect_failure: Callable[[Exception], None] | None = None
    _outbox: Outbox | None = None
    _stopped: bool = False

    def __init__(
        self,
        source_config: SourceConfig,
        *,
        on_client_connect_success: Callable[[], None] | None = None,
        on_client_connect_failure: Callable[[Exception], None] | None = None,
    ) -> None:
        super().__init__(source_config)
        if on_client_connect_success is not None:
            self.on_client_connect_success = on_client_connect_success
        if on_client_connect_failure is not None:
            self.on_client_connect_failure = on_client_connect_failure

    @property
    def name(self) -> str:
        """The name of the Source in the manifest."""
        return self.source_config.name

    @property
    def running(self) -> bool:
        """Whether to go on; false once the worker wants no more."""
        return self._outbox is not None and not self._stopped and not self._outbox.sink.closed.is_set()

    def setup(self) -> Any:
        """Connects. The callbacks tell whether it worked."""

    def run(self) -> Any:
        """Produces rows while `self.running`, or until there are no more. May be `async`."""
        raise NotImplementedError(f"{type(self).__name__} has no method `run`")

    def stop(self) -> None:
        """Makes `self.running` false."""
        self._stopped = True

    def serialize(self, key: Any = None, value: Any = None, headers: Any = None, timestamp_ms: Any = None) -> Message:
        """Puts together what `produce` takes."""
        return Message(key, value, headers, timestamp_ms)

    def produce(self, value: Any = None, key: Any = None, headers: Any = None, timestamp: Any = None) -> None:
        """Sends one row: a dictionary, or a value that becomes a column of its own beside its key."""
        self._out.put([self._row(value, key, headers, timestamp)])

    def flush(self, timeout: float | None = None) -> None:
        """Sends what was produced at once."""
        self._out.flush()

    @property
    def _out(self) -> Outbox:
        if self._outbox is None:
            raise MillraceError(f"{type(self).__name__} can produce rows in `run` alone")
        return self._outbox

    def _row(self, value: Any, key: Any, headers: Any, timestamp: Any) -> dict[str, Any]:
        row = dict(value) if isinstance(value, Mapping) else {self.value_column: value}
        extra = {self.key_column: key, "headers": headers, "timestamp": timestamp}
        return {**{name: part for name, part in extra.items() if part is not None and name not in row}, **row}


class StatefulSource(Source):
    """Keeps its state with the rows: what was set before a `flush` is committed with the rows before it."""

    _state: State | None = None

    @property
    def state(self) -> State:
        """The state, as it will be committed by the next `flush`."""
        if self._state is None:
            raise MillraceError(f"{type(self).__name__} has its state in `setup` and `run` alone")
        return self._state

    def flush(self, timeout: float | None = None) -> None:
        """Commits the state, and with it the rows since the last flush: both or neither."""
        self._out.flush(self.state.value if self.state.known else ABSENT)
