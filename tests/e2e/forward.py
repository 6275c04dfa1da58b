"""A server of the tests, as pods reach it: connections to an address of this machine, passed on to one that is local.

What passes can be slowed, so that a load is still at work when a test looks, or cut.
"""

from __future__ import annotations

import socket
import threading
import time

from faultproxy import reset

CHUNK = 1 << 16


class Forward:
    """`with Forward(host, ("127.0.0.1", 5432)) as server:`; pods connect to `server.host`, `server.port`."""

    def __init__(self, host: str, upstream: tuple[str, int]) -> None:
        self.upstream = upstream
        self.listener = socket.create_server((host, 0))
        self.host = host
        self.port: int = self.listener.getsockname()[1]
        # Bytes a second from the server to each client; None: as many as come.
        self.bytes_per_second: float | None = None
        self.refuses = False
        self.accepted = 0
        self.open: set[socket.socket] = set()

    def __enter__(self) -> Forward:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        # Closing alone would leave the thread that accepts waiting.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.cut()

    def cut(self) -> None:
        """Ends every connection that is open now."""
        for connection in list(self.open):
            reset(connection)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            self.accepted += 1
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        if self.refuses:
            return reset(client)
        try:
            server = socket.create_connection(self.upstream, timeout=30)
        except OSError:
            return reset(client)
        server.settimeout(None)
        for connection in (client, server):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pair = {client, server}
        self.open |= pair
        back = threading.Thread(target=self._pass, args=(server, client, True), daemon=True)
        back.start()
        self._pass(client, server, False)
        back.join()
        self.open -= pair
        for connection in pair:
            connection.close()

    def _pass(self, source: socket.socket, target: socket.socket, slowed: bool) -> None:
        try:
            while data := source.recv(CHUNK if not self.bytes_per_second else 4096):
                target.sendall(data)
                if slowed and (rate := self.bytes_per_second):
                    time.sleep(len(data) / rate)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            reset(target)
