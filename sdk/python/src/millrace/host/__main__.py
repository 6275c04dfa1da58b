"""`python -m millrace.host`: what the worker starts."""

from __future__ import annotations

import faulthandler
import os

from .pipe import keep
from .requests import Requests
from .secrets import Secrets
from .session import Session


def main() -> None:
    """Takes the pipe before any plugin code can run, then answers."""
    secrets = Secrets()
    pipe, out = keep(secrets)
    # A crash in a C library leaves the Python stack in the log.
    faulthandler.enable(file=2)
    try:
        Session(Requests(pipe), out, secrets).run()
    except KeyboardInterrupt:
        os._exit(130)


if __name__ == "__main__":
    main()
