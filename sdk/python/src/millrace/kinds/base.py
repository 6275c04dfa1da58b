"""What every kind of reader does in the same way.

In: the class and the worker's configuration. Out: instances that know their stream and their share of it, streams as
the protocol tells them, and what a class says of itself.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from base64 import b64encode
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from ..columns import arrow, odcs
from ..config import SourceConfig, names, source_config
from ..errors import ConfigError
from ..iterate import result
from ..load import Load
from ..reader import Plugin
from ..sink import Sink


class Kind(ABC):
    """A class, and how it is read."""

    #: The word of the protocol.
    word: ClassVar[str]
    #: What the class extends.
    base: ClassVar[type[Plugin]]
    #: Whether it sends by itself, and can be paused and rewound.
    push: ClassVar[bool] = False
    #: The instance that reads.
    reading: Plugin | None = None

    def __init__(self, plugin: type[Plugin], config: dict[str, Any]) -> None:
        self.plugin, self.config = plugin, config

    @property
    def replayable(self) -> bool:
        """Whether it can begin again from a position."""
        return True

    @property
    def intervals(self) -> tuple[float | None, float | None]:
        """Seconds between full loads and between delta loads, where the class says so."""
        return None, None

    def ready(self) -> dict[str, Any]:
        """What the worker is told once the class is loaded."""
        full, delta = self.intervals
        return {
            "kind": self.word,
            "push": self.push,
            "replayable": self.replayable,
            "declaresKeys": bool(names(self.plugin.primary_key)),
            "fullLoadInterval": full,
            "deltaLoadInterval": delta,
        }

    def discover(self) -> list[dict[str, Any]]:
        """The streams that there are; where the class cannot tell, those of the manifest, or one with its name."""
        config = self.configured()
        return [told(stream, config) for stream in config.objects or [config.name]]

    @abstractmethod
    def read(self, load: Load, sink: Sink) -> None:
        """Reads one stream into the sink, until the end or until the sink is closed."""

    def check(self) -> None:
        """Makes an instance and lets it try its connection."""
        result(self.made(Load()).check())

    def control(self, word: str, position: Any) -> None:
        """`pause`, `resume`, `rewind`, `acknowledge` or `close`, while a reading is going on in another thread.

        What a kind has no use for is no error: a worker asks all of them.
        """
        if word == "acknowledge" and self.reading is not None:
            self.reading.acknowledge(position)

    def begun(self, load: Load) -> Any:
        """The instance that reads from now on, and hears what is safe."""
        self.reading = self.made(load, [load.stream] if load.stream else None)
        return self.reading

    def made(self, load: Load, objects: list[str] | None = None) -> Any:
        """An instance. What it is to read is known to it before its `__init__` runs, and even if that forgets
        `super().__init__`."""
        config = self.configured(objects)
        instance = self.plugin.__new__(self.plugin)
        instance.instance, instance.instances, instance.load = load.instance, load.instances, load
        instance.source_config = config
        arguments = inspect.signature(self.plugin.__init__)
        try:
            arguments.bind(instance, config)
        except TypeError as error:
            raise ConfigError(
                f"{self.plugin.__name__}.__init__{arguments} cannot be called with a source_config: {error}",
                advice="write `def __init__(self, source_config)`; settings are in source_config.connection",
            ) from None
        instance.__init__(config)  # type: ignore[misc]
        return instance

    def configured(self, objects: list[str] | None = None) -> SourceConfig:
        """The configuration, for these streams alone."""
        over = {} if objects is None else {"objects": objects}
        return source_config(self.config, **over)


def told(stream: Any, config: SourceConfig) -> dict[str, Any]:
    """A stream as the protocol tells it, from a name, a dictionary or an object with attributes."""
    if isinstance(stream, str):
        stream = {"name": stream}
    known = stream if isinstance(stream, Mapping) else _Attributes(stream)
    name = known.get("name")
    if not isinstance(name, str) or not name:
        raise ConfigError(f"a stream that was discovered has no name: {stream!r}")
    rows, partitions = known.get("rows"), known.get("partitions")
    return {
        "name": name,
        "primaryKey": names(known.get("primaryKey") or known.get("primary_key")) or config.key_of(name),
        "cursors": names(known.get("cursors") or known.get("cursor")),
        "rows": rows if isinstance(rows, int) else None,
        "partitions": partitions if isinstance(partitions, int) else 1,
        "schema": _schema(known.get("schema"), config.declared(name)),
    }


class _Attributes:
    """Attributes read like a mapping; a method without arguments counts as the attribute that it gives."""

    def __init__(self, holder: Any) -> None:
        self._holder = holder

    def get(self, name: str) -> Any:
        found = getattr(self._holder, name, None)
        return found() if callable(found) else found


def _schema(schema: Any, declared: Iterable[Mapping[str, Any]]) -> str | None:
    """The columns as an Arrow stream in base64; `None` where they are not known yet."""
    if not arrow.available():
        return None
    if schema is None and not (declared := list(declared)):
        return None
    if schema is None:
        schema = arrow.schema_of(odcs.columns(declared))
    elif isinstance(schema, (list, tuple)):
        schema = arrow.schema_of(odcs.columns(schema))
    return b64encode(arrow.stream_bytes(schema)).decode()
