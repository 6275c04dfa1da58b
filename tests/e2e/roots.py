"""Roots of images that come from elsewhere: made once, and kept beside the other things that the tests build."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

CACHE = Path(os.environ.get("MILLRACE_CACHE", Path.home() / ".cache" / "millrace"))
FAKER = "airbyte-source-faker==7.2.1"
TAP = "meltanolabs-tap-postgres==0.10.0"
SMALL = "isodate==0.7.2"
# What the examples of plugins ask for.
EXAMPLES = ("deltalake==1.6.6", "fastavro==1.13.1", "pyarrow==26.0.1")
# Where Airbyte's images have the program of a connector; the packages lie beside it.
MAIN = "airbyte/integration_code/main.py"
PACKAGES = "airbyte/packages"
RUN = "from source_faker.run import run\n\nif __name__ == '__main__':\n    run()\n"
# What nobody needs to run a program.
USELESS = (
    "var/cache/apt/archives",
    "var/lib/apt/lists",
    "var/cache/debconf",
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
)


def kept(name: str, make: Callable[[Path], None]) -> Path:
    """A directory of the cache, whole."""
    place = CACHE / "roots" / name
    place.parent.mkdir(parents=True, exist_ok=True)
    with (place.parent / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        whole = place.parent / f"{name}.complete"
        if not whole.exists():
            shutil.rmtree(place, ignore_errors=True)
            make(place)
            whole.touch()
    return place


def debian() -> Path:
    """What the Dockerfile's image with Python has beneath the program."""

    def make(place: Path) -> None:
        program = shutil.which("debootstrap") or "/usr/sbin/debootstrap"
        assert Path(program).exists(), "please install debootstrap"
        packages = "--include=ca-certificates,python3,python3-venv"
        made = subprocess.run([program, "--variant=minbase", packages, "bookworm", str(place)], capture_output=True, text=True)
        assert made.returncode == 0, made.stdout[-2000:] + made.stderr[-2000:]
        for path in USELESS:
            shutil.rmtree(place / path, ignore_errors=True)

    return kept("debian-bookworm-python", make)


def faker() -> Path:
    """A published source for the Python of `debian`, which is that of the tests, by number."""

    def make(place: Path) -> None:
        pip("install", "--no-compile", "--python-version=3.11", "--only-binary=:all:", "--target", str(place / PACKAGES), FAKER)
        (place / MAIN).parent.mkdir(parents=True)
        (place / MAIN).write_text(RUN)

    return kept(FAKER, make)


def tap() -> Path:
    """A published tap for the same Python."""

    def make(place: Path) -> None:
        pip("install", "--no-compile", "--python-version=3.11", "--only-binary=:all:", "--target", str(place / PACKAGES), TAP)

    return kept(f"installed-{TAP}", make)


def wheels(*requirements: str) -> Path:
    """Packages and all that they need, as files."""
    name = "-".join(requirements)
    return kept(
        f"wheels-{name}",
        lambda place: pip("download", "--python-version=3.11", "--only-binary=:all:", "-d", str(place), *requirements),
    )


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"
