"""Readers and writers for Millrace, written in Python.

A reader extends `BaseReader`, `DataSource`, `GenericSource`, `Source`, `StatefulSource` or `PushSource`; a writer
extends `BaseWriter`. `millrace.testing` runs them under pytest with no Millrace process.
"""

from ._version import VERSION as __version__
from .config import AssetDefinition, SourceConfig, TargetConfig
from .datasource import DataSource, Payload, Stream
from .errors import ConfigError, DataError, MillraceError, TransientError
from .generic import GenericSource
from .load import Load
from .push import PushSource
from .reader import BaseReader
from .source import Message, Source, StatefulSource
from .state import State, StateError
from .writer import BaseWriter

__all__ = [
    "AssetDefinition",
    "BaseReader",
    "BaseWriter",
    "ConfigError",
    "DataError",
    "DataSource",
    "GenericSource",
    "Load",
    "Message",
    "MillraceError",
    "Payload",
    "PushSource",
    "Source",
    "SourceConfig",
    "State",
    "StateError",
    "StatefulSource",
    "Stream",
    "TargetConfig",
    "TransientError",
    "__version__",
]
