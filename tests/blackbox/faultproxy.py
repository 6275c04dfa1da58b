"""Servers between the program and its systems that break what passes, by a plan.

`HttpProxy` stands before an S3 server: it sees whole requests, and a `Fault` says for which of them, and how often, it
fails, loses the answer, waits, repeats or damages. `PostgresProxy` stands before PostgreSQL and reads its protocol
just as far as to know a COMMIT when it passes. Neither knows a credential: requests are passed on as they were signed.
"""

from __future__ import annotations

import contextlib
import http.client
import random
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import urlsplit

Action = Literal[
    "fail_before",  # answers `status` and passes nothing on
    "refuse",  # cuts the connection and passes nothing on
    "lose_response",  # passes it on, then cuts the connection in place of an answer
    "fail_after",  # passes it on, then answers `status`
    "delay",  # waits `seconds`, or until `gate` is set, then passes it on
    "duplicate",  # passes it on twice, and gives the first answer
    "truncate_body",  # passes on half of the body and cuts both connections
    "truncate_response",  # gives half of the answer's body and cuts the connection
    "confirm_only",  # answers 200 and passes nothing on
    "ignore_conditions",  # answers 200 where a condition did not hold, as servers do that ignore conditions
    "pass",  # only calls `then`
]

ERROR = """<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>{code}</Code><Message>asked for by the test</Message></Error>"""
CODES = {404: "NoSuchKey", 409: "ConditionalRequestConflict", 412: "PreconditionFailed", 503: "SlowDown"}
CONDITIONS = ("if-match", "if-none-match")


@dataclass(frozen=True)
class Request:
    """One request of the program, whole."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def conditional(self) -> bool:
        return any(name in self.headers for name in CONDITIONS)


@dataclass
class Fault:
    """What happens to which requests: those of a method whose path and query the pattern finds.

    `nth`: from which match on, the first being 1. `times`: for how many; None for all. `chance`: one in so many.
    """

    action: Action
    method: str = ""
    path: str = ""
    nth: int = 1
    times: int | None = 1
    chance: float = 1.0
    status: int = 503
    seconds: float = 0.0
    gate: threading.Event | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    where: Callable[[Request], bool] | None = None
    then: Callable[[Request], None] | None = None
    seen: int = 0
    done: int = 0

    def takes(self, request: Request, chance: random.Random) -> bool:
        """Whether this request is one of those; counts it."""
        if (self.method and request.method != self.method) or not re.search(self.path, request.path):
            return False
        if self.where is not None and not self.where(request):
            return False
        self.seen += 1
        due = self.seen >= self.nth and (self.times is None or self.done < self.times)
        if not due or chance.random() >= self.chance:
            return False
        self.done += 1
        return True


class Listener(ThreadingHTTPServer):
    """A server whose queue is long enough for all that a busy machine lets it take late."""

    daemon_threads = True
    request_queue_size = 128


class HttpProxy:
    """`with HttpProxy("http://127.0.0.1:9000", [Fault(...)]) as proxy:`; the program talks to `proxy.url`."""

    def __init__(
        self, upstream: str, faults: Sequence[Fault] = (), seed: int = 1, host: str = "127.0.0.1"
    ) -> None:
        address = urlsplit(upstream)
        assert address.scheme == "http" and address.hostname and address.port, upstream
        self.upstream = (address.hostname, address.port)
        self.faults = list(faults)
        self.requests: list[Request] = []
        self.chance = random.Random(seed)
        self.lock = threading.Lock()
        self.server = Listener((host, 0), self._handler())
        self.url = f"http://{host}:{self.server.server_port}"

    def __enter__(self) -> HttpProxy:
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def fault(self, request: Request) -> Fault | None:
        """The first fault that takes this request."""
        with self.lock:
            self.requests.append(request)
            return next((fault for fault in self.faults if fault.takes(request, self.chance)), None)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do(self) -> None:
                request = Request(self.command, self.path, lower(dict(self.headers)), read_body(self))
                fault = proxy.fault(request)
                try:
                    proxy.serve(self, request, fault)
                except (ConnectionError, http.client.HTTPException, TimeoutError):
                    cut(self)

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = do

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def serve(self, client: BaseHTTPRequestHandler, request: Request, fault: Fault | None) -> None:
        """Plays the fault, if there is one."""
        action = fault.action if fault else "pass"
        match action:
            case "fail_before":
                return answer(client, *self._error(fault))
            case "refuse":
                return cut(client)
            case "confirm_only":
                return answer(client, 200, {"ETag": '"d41d8cd98f00b204e9800998ecf8427e"'}, b"")
            case "truncate_body":
                self._send_half(request)
                return cut(client)
            case "delay":
                assert fault
                fault.gate.wait(600) if fault.gate else time.sleep(fault.seconds)
        answered = self.forward(request)
        if action == "ignore_conditions" and answered[0] == 412:
            # The conditions are signed: without them the server would refuse the request.
            answered = 200, {"ETag": '"00000000000000000000000000000000"'}, b""
        if action == "duplicate":
            self.forward(request)
        if fault and fault.then:
            fault.then(request)
        match action:
            case "lose_response":
                return cut(client)
            case "fail_after":
                return answer(client, *self._error(fault))
            case "truncate_response":
                answer(client, *answered, half=True)
                return cut(client)
        answer(client, *answered)

    @staticmethod
    def _error(fault: Fault | None) -> tuple[int, Mapping[str, str], bytes]:
        assert fault
        code = CODES.get(fault.status, "InternalError")
        body = ERROR.format(code=code).encode() if fault.body is None else fault.body
        return fault.status, {"Content-Type": "application/xml", **fault.headers}, body

    def forward(self, request: Request) -> tuple[int, Mapping[str, str], bytes]:
        """Sends it on as it came, signature and all."""
        upstream = http.client.HTTPConnection(*self.upstream, timeout=60)
        try:
            self._send_head(upstream, request)
            upstream.send(request.body)
            got = upstream.getresponse()
            return got.status, dict(got.getheaders()), got.read()
        finally:
            upstream.close()

    def _send_half(self, request: Request) -> None:
        upstream = http.client.HTTPConnection(*self.upstream, timeout=60)
        self._send_head(upstream, request)
        upstream.send(request.body[: len(request.body) // 2])
        upstream.close()

    @staticmethod
    def _send_head(upstream: http.client.HTTPConnection, request: Request) -> None:
        upstream.putrequest(request.method, request.path, skip_host=True, skip_accept_encoding=True)
        for name, value in request.headers.items():
            if name not in ("transfer-encoding", "content-length", "connection", "expect"):
                upstream.putheader(name, value)
        if request.body or request.method in ("PUT", "POST"):
            upstream.putheader("content-length", str(len(request.body)))
        upstream.endheaders()


def lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def read_body(client: BaseHTTPRequestHandler) -> bytes:
    """The body of a request, by its length or in chunks."""
    if "chunked" in client.headers.get("transfer-encoding", ""):
        parts = []
        while size := int(client.rfile.readline().split(b";")[0], 16):
            parts.append(client.rfile.read(size))
            client.rfile.readline()
        client.rfile.readline()
        return b"".join(parts)
    return client.rfile.read(int(client.headers.get("content-length") or 0))


def answer(
    client: BaseHTTPRequestHandler, status: int, headers: Mapping[str, str], body: bytes, half: bool = False
) -> None:
    client.send_response_only(status)
    head = client.command == "HEAD"
    for name, value in headers.items():
        if name.lower() not in ("transfer-encoding", "connection") and (
            head or name.lower() != "content-length"
        ):
            client.send_header(name, value)
    if not head:
        client.send_header("Content-Length", str(len(body)))
    client.end_headers()
    if not head:
        client.wfile.write(body[: len(body) // 2] if half else body)
    client.wfile.flush()


def cut(client: BaseHTTPRequestHandler) -> None:
    """Ends the connection with a reset, so that nothing more is waited for."""
    client.close_connection = True
    reset(client.connection)


def reset(connection: socket.socket) -> None:
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    connection.close()


Moment = Literal["before", "after", "never"]


class PostgresProxy:
    """Cuts a connection at its COMMIT: `before` it is passed on, or `after` the server has answered it.

    `nth`: at which COMMIT of all connections together. `commits` counts those that passed or were cut.
    """

    def __init__(self, host: str, port: int, moment: Moment = "never", nth: int = 1, times: int = 1) -> None:
        self.upstream = (host, port)
        self.moment = moment
        self.nth = nth
        self.times = times
        self.commits = 0
        self.cuts = 0
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]

    def __enter__(self) -> PostgresProxy:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self.upstream, timeout=60)
        except OSError:
            return reset(client)
        server.settimeout(None)
        muted = threading.Event()
        threading.Thread(target=self._answers, args=(server, client, muted), daemon=True).start()
        with contextlib.suppress(OSError):
            self._requests(client, server, muted)
        reset(client)
        reset(server)

    @staticmethod
    def _answers(server: socket.socket, client: socket.socket, muted: threading.Event) -> None:
        """From the server to the client; once muted, the first answer ends both connections."""
        try:
            while data := server.recv(1 << 16):
                if muted.is_set():
                    break
                client.sendall(data)
        except OSError:
            pass
        reset(client)
        reset(server)

    def _requests(self, client: socket.socket, server: socket.socket, muted: threading.Event) -> None:
        messages = Messages()
        while data := client.recv(1 << 16):
            for message, commits in messages.split(data):
                if commits and self._due():
                    if self.moment == "before":
                        return
                    # Its answer is the server's word that it is done; nobody hears it.
                    muted.set()
                server.sendall(message)

    def _due(self) -> bool:
        with self.lock:
            self.commits += 1
            due = self.moment != "never" and self.commits >= self.nth and self.cuts < self.times
            self.cuts += due
            return due


class Messages:
    """The client's side of the protocol, cut into messages; knows which of them commits."""

    def __init__(self) -> None:
        self.rest = b""
        self.started = False
        self.statements: dict[bytes, bytes] = {}
        self.portals: dict[bytes, bytes] = {}

    def split(self, data: bytes) -> list[tuple[bytes, bool]]:
        self.rest += data
        found = []
        while (message := self._next()) is not None:
            found.append((message, self._commits(message)))
        return found

    def _next(self) -> bytes | None:
        at = 1 if self.started else 0
        if len(self.rest) < at + 4:
            return None
        (length,) = struct.unpack_from("!I", self.rest, at)
        if len(self.rest) < at + length:
            return None
        message, self.rest = self.rest[: at + length], self.rest[at + length :]
        # A request for encryption has no type, like the start that follows it.
        if not self.started and struct.unpack_from("!I", message, 4)[0] not in (80877103, 80877104):
            self.started = True
            return message
        return message

    def _commits(self, message: bytes) -> bool:
        body = message[5:]
        match message[:1]:
            case b"Q":
                return is_commit(body)
            case b"P":
                name, query, _ = body.split(b"\0", 2)
                self.statements[name] = query
            case b"B":
                portal, name, _ = body.split(b"\0", 2)
                self.portals[portal] = self.statements.get(name, b"")
            case b"E":
                return is_commit(self.portals.get(body.split(b"\0", 1)[0], b""))
        return False


def is_commit(query: bytes) -> bool:
    return re.match(rb"\s*(commit|end)\b", query, re.IGNORECASE) is not None
