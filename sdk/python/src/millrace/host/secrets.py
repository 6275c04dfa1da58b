"""Keeps secrets out of everything that is written.

In: the credentials of the manifest, and texts on their way to the log or into an error. Out: the same texts with
`***` where a credential stood, also as it looks in a URL, in JSON or between quotes.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, quote_plus

MASK = "***"
#: A shorter value would be found in the middle of ordinary words, and make the log unreadable.
SHORTEST = 4
_SECRET_NAME = re.compile(r"password|passwd|passphrase|secret|token|api_?key|access_?key|private_?key|credential", re.I)


class Secrets:
    """The values to hide."""

    def __init__(self) -> None:
        self._values: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def learn(self, config: Any) -> None:
        """Takes every credential, and what `connection` holds under the name of a secret."""
        if not isinstance(config, dict):
            return
        found = [*_texts(config.get("credentials")), *_named(config.get("connection"))]
        for value in found:
            self._values.update(form for form in _forms(value) if len(form) >= SHORTEST)
        # The longest first, so that no rest of a secret is left where another one is its beginning.
        ordered = sorted(self._values, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def masked(self, text: str) -> str:
        """The text without secrets."""
        return text if self._pattern is None else self._pattern.sub(MASK, text)

    def deep(self, value: Any) -> Any:
        """A JSON value without secrets in its texts."""
        if isinstance(value, str):
            return self.masked(value)
        if isinstance(value, list):
            return [self.deep(part) for part in value]
        if isinstance(value, dict):
            return {self.masked(key): self.deep(part) for key, part in value.items()}
        return value

    def tail(self, text: str) -> int:
        """How many characters at the end might be the beginning of a secret whose rest is still to come."""
        longest = max(map(len, self._values), default=1) - 1
        for length in range(min(longest, len(text)), 0, -1):
            end = text[-length:]
            if any(value.startswith(end) for value in self._values):
                return length
        return 0


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, (dict, list)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part)
    elif isinstance(value, (str, int, float)) and not isinstance(value, bool):
        yield str(value)


def _named(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _texts(part) if _SECRET_NAME.search(str(name)) else _named(part)
    elif isinstance(value, list):
        for part in value:
            yield from _named(part)


def _forms(value: str) -> Iterator[str]:
    """A secret as it may be written."""
    yield from (value, value.strip(), quote(value, safe=""), quote(value), quote_plus(value))
    yield from (repr(value)[1:-1], json.dumps(value)[1:-1], b64encode(value.encode()).decode())
    lines = [line.strip() for line in value.splitlines()]
    if len(lines) > 1:
        # A key in several lines is printed line by line; its first and last one are the same in every key.
        yield from (line for line in lines if len(line) >= 16 and not line.startswith("-----"))
