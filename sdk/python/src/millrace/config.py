"""What a plugin is told of its manifest.

In: the `config` that the worker sends. Out: `SourceConfig`, `TargetConfig` and `AssetDefinition`, whose fields can
be read as attributes (`config.connection`) and as a mapping (`config["connection"]`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any


class _Readable(Mapping[str, Any]):
    """Attributes as a mapping."""

    def __getitem__(self, name: str) -> Any:
        if name in self.__dict__:
            return self.__dict__[name]
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.__dict__)

    def __len__(self) -> int:
        return len(self.__dict__)


def _engine() -> dict[str, Any]:
    return {"options": {}}


@dataclass(eq=False)
class SourceConfig(_Readable):
    """A Source, as one reader sees it."""

    #: The name of the Source.
    name: str = ""
    type: str = ""
    connector: str = ""
    #: `connection`, over the named configuration of the Connector.
    connection: dict[str, Any] = field(default_factory=dict)
    #: The credentials by name. Their values never show in a log.
    credentials: dict[str, Any] = field(default_factory=dict, repr=False)
    #: The streams to read; empty: all.
    objects: list[str] = field(default_factory=list)
    #: `engine["options"]` holds the options of the manifest.
    engine: dict[str, Any] = field(default_factory=_engine)
    #: What the manifest declares, by stream.
    schema: dict[str, Any] = field(default_factory=dict)
    primary_key: dict[str, list[str]] = field(default_factory=dict)
    cursor: dict[str, list[str]] = field(default_factory=dict)
    #: The directory of the manifest, for relative paths.
    directory: str = ""

    @property
    def options(self) -> dict[str, Any]:
        """The options of the manifest."""
        found = self.engine.get("options")
        return found if isinstance(found, dict) else {}

    def key_of(self, stream: str) -> list[str]:
        """The key columns that the manifest declares for a stream."""
        return names(self.primary_key.get(stream))

    def declared(self, stream: str) -> list[dict[str, Any]]:
        """The columns that the manifest declares for a stream."""
        return list(self.schema.get(stream) or ())


@dataclass(eq=False)
class TargetConfig(SourceConfig):
    """The destination of a Flow, as a writer sees it."""


@dataclass(eq=False)
class AssetDefinition(_Readable):
    """What is written: one stream of a Flow."""

    #: The name of the stream.
    name: str
    #: Its columns: dictionaries with `name`, `type`, `logicalType`, `required` and what narrows the type.
    schema: list[dict[str, Any]] = field(default_factory=list)
    primary_key: list[str] = field(default_factory=list)
    #: `append`, `upsert` or `overwrite`.
    write_mode: str = "append"
    #: Raised by every load that replaces what was there.
    generation: int = 0
    #: The columns as a `pyarrow.Schema`, where pyarrow is there.
    arrow_schema: Any = None


_SPELLED = {"primaryKey": "primary_key"}


def source_config(sent: Mapping[str, Any], **over: Any) -> SourceConfig:
    """The configuration of a reader."""
    return SourceConfig(**{**_known(sent, SourceConfig), **over})


def target_config(sent: Mapping[str, Any], **over: Any) -> TargetConfig:
    """The configuration of a writer."""
    return TargetConfig(**{**_known(sent, TargetConfig), **over})


def _known(sent: Mapping[str, Any], kind: type[SourceConfig]) -> dict[str, Any]:
    names = {one.name for one in fields(kind)}
    found = {_SPELLED.get(name, name): value for name, value in sent.items() if value is not None}
    engine = found.get("engine")
    if isinstance(engine, dict) and not isinstance(engine.get("options"), dict):
        found["engine"] = {**engine, "options": {}}
    return {name: value for name, value in found.items() if name in names}


def names(value: Any) -> list[str]:
    """One name or several, as a list."""
    if value is None:
        return []
    return [value] if isinstance(value, str) else [str(one) for one in value]
