"""The API server by plain HTTP, one connection a thread: thousands of requests, of which many are meant to be wrong."""

from __future__ import annotations

import http.client
import json
import threading
from typing import Any
from urllib.parse import urlsplit

from cluster import GROUP, Object

JSON = "application/json"
JSON_PATCH = "application/json-patch+json"
MERGE = "application/merge-patch+json"


class Api:
    """What answers at the address of `kubectl proxy`."""

    def __init__(self, url: str) -> None:
        self.address = urlsplit(url).netloc
        self.own = threading.local()

    def __call__(self, method: str, path: str, body: Any = None, kind: str = JSON) -> tuple[int, Object]:
        """The answer's code and its object; a connection that was closed meanwhile is opened again."""
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        for attempt in (1, 2, 3):
            connection = getattr(self.own, "connection", None)
            if connection is None:
                connection = self.own.connection = http.client.HTTPConnection(self.address, timeout=60)
            try:
                connection.request(method, path, data, {"Content-Type": kind} if data is not None else {})
                answer = connection.getresponse()
                text = answer.read()
                # A sender of a body that is too large is cut off; what was said stands.
                return answer.status, parsed(text)
            except (OSError, http.client.HTTPException):
                connection.close()
                self.own.connection = None
                if attempt == 3:
                    raise
        raise AssertionError

    def ok(self, method: str, path: str, body: Any = None, kind: str = JSON) -> Object:
        code, answer = self(method, path, body, kind)
        assert code < 300, f"{method} {path}: {code} {answer.get('message')}"
        return answer

    def lines(self, path: str) -> http.client.HTTPResponse:
        """An answer that goes on: a watch."""
        connection = http.client.HTTPConnection(self.address, timeout=900)
        connection.request("GET", path)
        return connection.getresponse()


def parsed(text: bytes) -> Object:
    try:
        found = json.loads(text)
    except ValueError:
        return {"message": text.decode(errors="replace")}
    return found if isinstance(found, dict) else {"message": text.decode(errors="replace")}


def place(plural: str, namespace: str, name: str = "") -> str:
    """The path of a kind of Millrace, or of an object of it."""
    inside = "" if plural == "connectors" else f"namespaces/{namespace}/"
    return f"/apis/{GROUP}/{inside}{plural}" + (f"/{name}" if name else "")
