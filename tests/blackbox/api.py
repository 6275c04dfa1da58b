"""A JSON API of pages on this machine, for connectors that read one."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from harness import Row


class Api(AbstractContextManager["Api"]):
    """Answers `GET /STREAM?since=...&page=1&size=100` with `{"items": [...], "next": 2}`, by `updated_at`; notes requests."""

    def __init__(self, **streams: list[Row]) -> None:
        self.streams = streams
        self.requests: list[dict[str, str]] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> Api:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def page(self, stream: str, asked: dict[str, str]) -> list[Row]:
        """The rows that a request asks for."""
        # Those of the same second too, as such programs do.
        since = asked.get("since", "")
        rows = [row for row in self.streams[stream] if row["updated_at"] >= since]
        rows.sort(key=lambda row: (row["updated_at"], row["id"]))
        page, size = int(asked.get("page", 1)), int(asked["size"])
        return rows[(page - 1) * size : page * size]

    def take(self) -> list[dict[str, str]]:
        """The requests since this was asked last."""
        taken, self.requests = self.requests, []
        return taken

    def _handler(self) -> Callable[..., BaseHTTPRequestHandler]:
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                stream, asked = parts.path.strip("/"), dict(parse_qsl(parts.query))
                if stream not in api.streams:
                    return self.answer(404, {"error": f"there is no {stream}"})
                api.requests.append(asked)
                page = api.page(stream, asked)
                more = int(asked.get("page", 1)) + 1 if len(page) == int(asked["size"]) else None
                self.answer(200, {"items": page, "next": more})

            def answer(self, status: int, body: Any) -> None:
                content = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        return Handler
