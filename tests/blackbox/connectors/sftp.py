"""An SFTP server of one directory, for one user, to be run by an interpreter that has paramiko.

`sftp.py DIRECTORY USER PASSWORD`: it takes a port of the loopback, writes its number, and serves until its standard input ends.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from typing import Any

import paramiko


class Login(paramiko.ServerInterface):  # type: ignore[misc]
    """Lets one user in."""

    def check_auth_password(self, username: str, password: str) -> int:
        good = [username, password] == sys.argv[2:4]
        return int(paramiko.AUTH_SUCCESSFUL if good else paramiko.AUTH_FAILED)

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return int(paramiko.OPEN_SUCCEEDED)

    def get_allowed_auths(self, username: str) -> str:
        return "password"


class Files(paramiko.SFTPServerInterface):  # type: ignore[misc]
    """The directory, which nobody can write."""

    def place(self, path: str) -> str:
        return sys.argv[1] + self.canonicalize(path)

    def list_folder(self, path: str) -> Any:
        names = sorted(os.listdir(self.place(path)))
        return [paramiko.SFTPAttributes.from_stat(os.stat(f"{self.place(path)}/{name}"), name) for name in names]

    def stat(self, path: str) -> Any:
        try:
            return paramiko.SFTPAttributes.from_stat(os.stat(self.place(path)))
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno)

    lstat = stat

    def open(self, path: str, flags: int, attr: Any) -> Any:
        try:
            file = open(self.place(path), "rb")  # noqa: SIM115 (the handle closes it)
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno)
        handle = paramiko.SFTPHandle(flags)
        handle.readfile = file
        handle.stat = lambda: paramiko.SFTPAttributes.from_stat(os.fstat(file.fileno()))
        return handle


def serve(client: socket.socket, key: paramiko.PKey) -> None:
    """Speaks with one client."""
    transport = paramiko.Transport(client)
    transport.add_server_key(key)
    transport.set_subsystem_handler("sftp", paramiko.SFTPServer, Files)
    transport.start_server(event=threading.Event(), server=Login())


def main() -> None:
    key = paramiko.ECDSAKey.generate()
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)

    def accept() -> None:
        while True:
            serve(listener.accept()[0], key)

    threading.Thread(target=accept, daemon=True).start()
    sys.stdin.read()
    os._exit(0)


main()
