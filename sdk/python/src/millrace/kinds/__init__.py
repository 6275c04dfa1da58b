"""How each kind of class is read: what the base classes promise, kept.

In: a class, its configuration and a load. Out: what it yields, put into a `Sink`. The host and the test kit share this.
"""

from __future__ import annotations

from ..reader import Plugin
from .base import Kind
from .datasource import DataSourceKind
from .generic import GenericKind
from .push import PushKind
from .reader import ReaderKind
from .source import SourceKind

__all__ = ["BASES", "KINDS", "Kind", "kind_of"]

KINDS: tuple[type[Kind], ...] = (ReaderKind, DataSourceKind, GenericKind, SourceKind, PushKind)

#: The classes that a reader may extend.
BASES: tuple[type, ...] = tuple(kind.base for kind in KINDS)


def kind_of(plugin: type[Plugin], config: dict[str, object]) -> Kind:
    """The way to read a class."""
    found = next(kind for kind in KINDS if issubclass(plugin, kind.base))
    return found(plugin, config)
