"""The state of one stream, as a plugin keeps it.

In: the position of the last commit. Out: the position after each batch: a copy, as JSON, of what the plugin put here.
What JSON cannot hold is refused at once, naming the key, and what was there stays.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, MutableMapping
from typing import Any

from .errors import DataError, MillraceError


class StateError(MillraceError, TypeError):
    """A value that cannot be kept as state."""


def copied(value: Any, key: str = "state") -> Any:
    """A deep copy of a value, as JSON would give it back; the value that is in the way is named."""
    try:
        return json.loads(json.dumps(_strict(value, key), allow_nan=False))
    except (ValueError, RecursionError) as error:
        raise StateError(f"{key} cannot be kept as state: {error}", advice=_ADVICE) from None


_ADVICE = "keep text, numbers, true, false, null, lists and dictionaries; a date as its isoformat()"


def _strict(value: Any, key: str) -> Any:
    """Refuses what JSON would change on the way, such as keys that are numbers."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_strict(part, f"{key}[{at}]") for at, part in enumerate(value)]
    if isinstance(value, dict):
        odd = next((name for name in value if not isinstance(name, str)), None)
        if odd is not None:
            raise StateError(f"{key} cannot be kept as state: its key {odd!r} is not a text", advice=_ADVICE)
        return {name: _strict(part, f"{key}.{name}") for name, part in value.items()}
    raise StateError(f"{key} cannot be kept as state: {type(value).__name__} is not JSON", advice=_ADVICE)


class State(MutableMapping[str, Any]):
    """State by key. What `get` gives is a copy: only `set` changes the state."""

    def __init__(self, position: Any = None) -> None:
        self._position = copied(position)
        self._given = position is not None

    @property
    def value(self) -> Any:
        """The whole state; `None` where nothing was ever kept."""
        return copied(self._position)

    @property
    def known(self) -> bool:
        """Whether anything was ever kept."""
        return self._given

    def replace(self, position: Any) -> None:
        """Puts another state in the place of the whole."""
        self._position, self._given = copied(position), True

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key."""
        found = self._entries()
        return copied(found[key], key) if key in found else default

    def set(self, key: str, value: Any) -> None:
        """Keeps a value."""
        if not isinstance(key, str):
            raise StateError(f"the key {key!r} of the state is not a text")
        value = copied(value, f"state[{key!r}]")
        self._position = {**self._entries(), key: value}
        self._given = True

    def delete(self, key: str) -> None:
        """Forgets a key; one that is not there is no error."""
        self.pop(key, None)

    def exists(self, key: str) -> bool:
        """Whether a key has a value."""
        return key in self._entries()

    def get_state(self, stream: str | None = None) -> dict[str, Any]:
        """The whole state of the stream that is read. There is one stream, so its name is not needed."""
        return dict(copied(self._entries()))

    def set_state(self, state: Any, stream: str | None = None) -> None:
        """Puts another state in the place of the whole."""
        self.replace(state)

    update_state = set_state

    def __getitem__(self, key: str) -> Any:
        return copied(self._entries()[key], key)

    def __setitem__(self, key: str, value: Any) -> None:
        self.set(key, value)

    def __delitem__(self, key: str) -> None:
        entries = dict(self._entries())
        del entries[key]
        self._position = entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries())

    def __bool__(self) -> bool:
        """It is there, also where nothing is kept yet: `if state_manager:` asks just that."""
        return True

    def __len__(self) -> int:
        return len(self._entries())

    def __contains__(self, key: object) -> bool:
        return key in self._entries()

    def __repr__(self) -> str:
        return f"State({self._position!r})"

    def _entries(self) -> dict[str, Any]:
        if self._position is None:
            return {}
        if isinstance(self._position, dict):
            return self._position
        raise DataError(
            f"the state is {type(self._position).__name__}, and has no keys",
            advice="read `state.value`, or keep a dictionary",
        )
