"""A server that repeats what it is told."""

from __future__ import annotations

import socket
import struct
import threading

# What a client of PostgreSQL asks first, where it would like to encrypt.
ENCRYPT = 80877103


class Parrot:
    """`with Parrot(host) as parrot:` a server that asks for the password in clear text, and repeats it in its error."""

    def __init__(self, host: str) -> None:
        self.listener = socket.create_server((host, 0))
        self.port: int = self.listener.getsockname()[1]
        self.heard: list[bytes] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self) -> Parrot:
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            with client:
                try:
                    self._talk(client)
                except (OSError, struct.error):
                    continue

    def _talk(self, client: socket.socket) -> None:
        length, code = struct.unpack("!II", client.recv(8))
        if code == ENCRYPT:
            client.sendall(b"N")
            length, code = struct.unpack("!II", client.recv(8))
        client.recv(length - 8)
        client.sendall(b"R" + struct.pack("!II", 8, 3))
        kind, length = struct.unpack("!cI", client.recv(5))
        said = client.recv(length - 4).rstrip(b"\0")
        self.heard.append(kind + said)
        fields = b"SFATAL\0VFATAL\0C28P01\0Mno such password: " + said + b"\0Htry another than " + said + b"\0\0"
        client.sendall(b"E" + struct.pack("!I", len(fields) + 4) + fields)
