"""A program in a pod that is driven as if it ran here: with its directory, its streams, its signals and its end.

    inside.py serve SOCKET             the first process of the pod's container
    inside.py call SOCKET [ARG]...     what is started here in place of the program

Both see the socket, and the directory that the program works in, at the same path. The streams themselves are handed over. All
that the caller sees of the program is its own: it stops where that stops, and ends as that ends.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, NoReturn

PROGRAM = "/usr/local/bin/millrace"
# Who the program is in its pod.
USER = 65532
# What the operator gives a worker for its work, and what is of no use to it there.
KEPT, DROPPED = ("MILLRACE_MEMORY_LIMIT", "MILLRACE_SCRATCH_DIR"), ("TMPDIR",)
RELAYED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCONT)
LENGTH = 8


def serve(path: str) -> NoReturn:
    """Starts what it is asked to, each call under a process of its own."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    os.chmod(path, 0o666)
    server.listen(16)
    # The orphans of the container come to its first process, and are none of its business.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    while True:
        caller, _ = server.accept()
        if os.fork() == 0:
            server.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            attend(caller)
            os._exit(0)
        caller.close()


def attend(caller: socket.socket) -> None:
    """One call: it has the caller's streams, and does not outlive the caller."""
    start, streams, _, _ = socket.recv_fds(caller, LENGTH, 3)
    text = caller.makefile("rb")
    asked = json.loads(text.read(int(start)))
    own = {name: os.environ[name] for name in KEPT if name in os.environ}
    given = {name: value for name, value in asked["env"].items() if name not in DROPPED}
    program = subprocess.Popen(
        [PROGRAM, *asked["args"]],
        cwd=asked["cwd"],
        env={**own, **given},
        stdin=streams[0],
        stdout=streams[1],
        stderr=streams[2],
    )
    for stream in streams:
        os.close(stream)
    ended = threading.Event()
    threading.Thread(target=watch, args=(program.pid, caller, ended), daemon=True).start()
    for line in text:
        os.kill(program.pid, int(line))
    if not ended.is_set():
        os.kill(program.pid, signal.SIGKILL)


def watch(pid: int, caller: socket.socket, ended: threading.Event) -> None:
    """Tells each time that it stops, and how it ends."""
    while True:
        _, status = os.waitpid(pid, os.WUNTRACED)
        stopped = os.WIFSTOPPED(status)
        if not stopped:
            ended.set()
        said = {"stopped": True} if stopped else {"ended": os.waitstatus_to_exitcode(status)}
        try:
            caller.sendall(f"{json.dumps(said)}\n".encode())
            if not stopped:
                caller.shutdown(socket.SHUT_RDWR)
        except OSError:
            # The caller was killed.
            return
        if not stopped:
            return


def call(path: str, args: list[str]) -> NoReturn:
    """Has the program started there, and is what it is."""
    hand_over(Path.cwd(), Path(path).parent)
    server = socket.socket(socket.AF_UNIX)
    server.connect(path)
    asked = json.dumps({"args": args, "cwd": os.getcwd(), "env": dict(os.environ)}).encode()
    socket.send_fds(server, [str(len(asked)).rjust(LENGTH).encode()], [0, 1, 2])
    server.sendall(asked)

    def relay(number: int, _: Any) -> None:
        server.sendall(f"{number}\n".encode())

    for number in RELAYED:
        signal.signal(number, relay)
    # While the program writes, this process must not hold its streams open.
    for stream in (0, 1):
        os.close(stream)
    for line in server.makefile("rb"):
        said = json.loads(line)
        if "ended" in said:
            end(said["ended"])
        os.kill(os.getpid(), signal.SIGSTOP)
    print("the pod is gone", file=sys.stderr)
    end(1)


def end(code: int) -> NoReturn:
    """Ends as the program did, be it by a signal."""
    if code < 0:
        if code not in (-signal.SIGKILL, -signal.SIGSTOP):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def hand_over(directory: Path, shared: Path) -> None:
    """Gives a directory to the program's user, who can then come to it."""
    for parent in directory.parents:
        if parent == shared or shared not in parent.parents:
            break
        parent.chmod(stat.S_IMODE(parent.stat().st_mode) | 0o011)
    for place, names, files in os.walk(directory):
        for path in (place, *(os.path.join(place, name) for name in (*names, *files))):
            os.chown(path, USER, USER, follow_symlinks=False)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    call(sys.argv[2], sys.argv[3:])
