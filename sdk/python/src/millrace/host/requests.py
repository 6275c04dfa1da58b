"""The requests of the worker, heard while a plugin is at work.

In: frames from the pipe. Out: a queue of what is done one at a time, and at once what concerns the reading that goes
on: `pause`, `resume`, `rewind`, `acknowledge`, `close`. At the end of the input the process ends.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
from collections.abc import Callable
from typing import BinaryIO

from .frames import Broken, Frame, read

AT_ONCE = frozenset({"pause", "resume", "rewind", "acknowledge", "close"})


class Requests:
    """Reads the pipe in a thread of its own, so that plugin code has the main thread to itself: event loops, signal
    handlers and database handles that belong to one thread work as in any program."""

    def __init__(self, pipe: BinaryIO) -> None:
        self._pipe, self._waiting = pipe, queue.SimpleQueue[Frame]()
        #: What concerns the reading that goes on: a thread of its own passes it on, so that the input is always read.
        self._concerning = queue.SimpleQueue[Frame]()
        #: Whether the last `read` that was heard has begun (or has failed).
        self.begun = threading.Event()
        self.begun.set()
        self._at_once: Callable[[Frame], None] = lambda _: None

    def listen(self, at_once: Callable[[Frame], None]) -> None:
        """Begins to read; `at_once` hears what concerns the reading that goes on."""
        self._at_once = at_once
        threading.Thread(target=self._listen, name="millrace-requests", daemon=True).start()
        threading.Thread(target=self._pass_on, name="millrace-at-once", daemon=True).start()

    def next(self) -> Frame:
        """The next request; waits for it."""
        return self._waiting.get()

    def _listen(self) -> None:
        try:
            while (frame := read(self._pipe)) is not None:
                if frame.type in AT_ONCE:
                    self._concerning.put(frame)
                else:
                    if frame.type == "read":
                        self.begun.clear()
                    self._waiting.put(frame)
        except (Broken, OSError) as error:
            print(f"millrace: the worker's requests cannot be read: {error}", file=sys.stderr)
            _end(1)
        _end(0)

    def _pass_on(self) -> None:
        while True:
            frame = self._concerning.get()
            # It waits until that reading has begun.
            self.begun.wait()
            self._at_once(frame)


def _end(code: int) -> None:
    """Ends the process from this thread: the worker is gone, and a plugin that hangs must not stay behind."""
    sys.stderr.flush()
    # What the plugin has started must not outlive a worker that was killed, and it is all in this group.
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(code)
