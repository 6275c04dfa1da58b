"""The API that the example `json-api` reads."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, urlparse

TOKEN = "open-sesame"


class Orders(BaseHTTPRequestHandler):
    """250 orders behind a token, in pages."""

    def do_GET(self) -> None:
        url = urlparse(self.path)
        allowed = self.headers["Authorization"] == f"Bearer {TOKEN}" and url.path == "/orders"
        self.send_response(200 if allowed else 401)
        self.end_headers()
        query = {name: int(values[0]) for name, values in parse_qs(url.query).items()}
        start, size = (query["page"] - 1) * query["page_size"], query["page_size"]
        items = [{"id": n, "price": n / 4} for n in range(start, min(start + size, 250))]
        self.wfile.write(json.dumps({"items": items, "has_next": start + size < 250, "total": 250}).encode())

    def log_message(self, *_: object) -> None:
        pass
