"""What a plugin may raise to say who must act, and what any other exception means.

In: an exception. Out: its kind: `config` (a person changes something; never tried again), `transient` (tried again,
later), `data` (a row or file is not what it should be) or `bug` (stops, with the traceback).
"""

from __future__ import annotations

import socket
import ssl
import sys
import urllib.error
from typing import Literal

Kind = Literal["config", "transient", "data", "bug"]


class MillraceError(Exception):
    """An error with a kind, and with advice for the person who reads it."""

    kind: Kind = "bug"

    def __init__(self, message: object = "", *, advice: str | None = None) -> None:
        super().__init__(message)
        self.advice = advice


class ConfigError(MillraceError):
    """A person must change a manifest, a right or a credential. Never tried again."""

    kind: Kind = "config"


class TransientError(MillraceError):
    """The system was busy or out of reach. Tried again, later each time."""

    kind: Kind = "transient"


class DataError(MillraceError):
    """A row or a file is not what it should be."""

    kind: Kind = "data"


def to_install(package: str) -> str:
    """The advice where a package is missing: a reader without a Connector has no place for requirements."""
    return (
        f'add it to the Connector, engines.python.requirements: ["{package}"], or install it where plugins run: '
        f"{sys.executable} -m pip install {package}"
    )


#: HTTP statuses after which another try makes sense; 401, 403 and 404 are for a person.
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
_REFUSED = frozenset({401, 403, 404, 407})
#: Network errors of libraries that are not imported here, by the first part of their module and their name.
_NETWORK = {
    ("requests", "ConnectionError"), ("requests", "Timeout"), ("requests", "ConnectTimeout"),
    ("requests", "ReadTimeout"), ("requests", "ChunkedEncodingError"), ("urllib3", "HTTPError"),
    ("httpx", "TransportError"), ("aiohttp", "ClientConnectionError"), ("aiohttp", "ServerTimeoutError"),
    ("botocore", "EndpointConnectionError"), ("botocore", "ConnectTimeoutError"),
    ("botocore", "ReadTimeoutError"), ("psycopg", "OperationalError"), ("psycopg2", "OperationalError"),
    ("http", "IncompleteRead"), ("http", "RemoteDisconnected"),
}  # fmt: skip


def kind_of(error: BaseException) -> Kind:
    """Who must act."""
    if isinstance(error, MillraceError):
        return error.kind if error.kind in ("config", "transient", "data", "bug") else "bug"
    status = _http_status(error)
    if status is not None:
        return "transient" if status in _BUSY else "config" if status in _REFUSED else "bug"
    if isinstance(error, ssl.SSLCertVerificationError):
        return "config"
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, BaseException):
        return kind_of(error.reason)
    if isinstance(error, (ConnectionError, TimeoutError, socket.gaierror, ssl.SSLError)):
        return "transient"
    known = {(base.__module__.partition(".")[0], base.__name__) for base in type(error).__mro__}
    return "transient" if known & _NETWORK else "bug"


def _http_status(error: BaseException) -> int | None:
    """The status of an HTTP error of urllib, requests, httpx or aiohttp."""
    try:
        for holder in (error, getattr(error, "response", None)):
            for name in ("code", "status_code", "status"):
                status = getattr(holder, name, None)
                if isinstance(status, int) and not isinstance(status, bool) and 400 <= status < 600:
                    return status
    except Exception:
        return None
    return None
