"""Connectors as others have published them: where they come from, and how a test gets an installation of one."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CACHE = Path(os.environ.get("MILLRACE_CACHE", Path.home() / ".cache" / "millrace"))


def fetched(*command: str, **options: Any) -> None:
    """Runs a command that asks a package index, which may not answer each time."""
    patient = {"PIP_RETRIES": "10", "PIP_DEFAULT_TIMEOUT": "60", "UV_HTTP_TIMEOUT": "120", "npm_config_fetch_retries": "10"}
    for last in (False, False, True):
        done = subprocess.run(command, env={**os.environ, **patient}, check=last, **options)
        if done.returncode == 0:
            return
        time.sleep(5)


def kept(name: str, make: Callable[[Path], None]) -> Path:
    """The directory of that name in the cache, which `make` fills once."""
    place = CACHE / "venvs" / name
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.with_name(f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "complete").exists():
            shutil.rmtree(place, ignore_errors=True)
            make(place)
            (place / "complete").touch()
    return place


@dataclass(frozen=True)
class Package:
    """A connector of Python's package index, and its program."""

    requirement: str
    program: str
    engine: str
    # The newest version of Python that it runs on, where that is an old one.
    python: str = ""
    # What it is installed with, where the newest would not do.
    beside: tuple[str, ...] = ()

    def install(self) -> Path:
        """Its program, in an environment of its own."""
        return self.environment() / "bin" / self.program

    def environment(self) -> Path:
        """Where it is installed."""
        return kept(f"published-{self.requirement.replace('==', '-')}", self._make)

    def library(self, name: str) -> Path:
        """A shared library that it brings."""
        (found,) = self.environment().glob(f"lib/python*/site-packages/*/{name}")
        return found

    def interpreter(self) -> str | None:
        """A Python that it runs on: that of the tests, or one of its version that is installed."""
        if not self.python:
            return sys.executable
        kept = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
        every = [shutil.which(f"python{self.python}"), *map(str, kept.glob(f"{self.python}.*/bin/python"))]
        return next((one for one in every if one and runs(one)), None)

    def _make(self, place: Path) -> None:
        python = self.interpreter()
        assert python, f"{self.requirement} needs Python {self.python}, which is not here"
        interpreter = str(place / "bin" / "python")
        pip = [interpreter, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        if uv := shutil.which("uv"):
            subprocess.run([uv, "venv", "--quiet", "--python", python, str(place)], check=True)
            pip = [uv, "pip", "install", "--quiet", "--python", interpreter]
        else:
            subprocess.run([python, "-m", "venv", str(place)], check=True)
        fetched(*pip, self.requirement, *self.beside)


def runs(interpreter: str) -> bool:
    """Whether it is more than a name for what may be installed."""
    return subprocess.run([interpreter, "-c", ""], stderr=subprocess.DEVNULL).returncode == 0


DECLARATIVE = Package("airbyte-source-declarative-manifest==6.5.2", "source-declarative-manifest", "airbyte")
# A part of Python until 3.12, which packages of before it do without naming.
OLD = ("setuptools<81",)

FAKER = Package("airbyte-source-faker==7.2.1", "source-faker", "airbyte")
FILE = Package("airbyte-source-file==0.5.39", "source-file", "airbyte")
HARDCODED = Package("airbyte-source-hardcoded-records==0.0.48", "source-hardcoded-records", "airbyte")
OBJECTS = Package("airbyte-source-s3==4.14.2", "source-s3", "airbyte")
RSS = Package("airbyte-source-rss==1.0.31", "source-rss", "airbyte", python="3.10", beside=OLD)
SFTP = Package("airbyte-source-sftp-bulk==1.9.3", "source-sftp-bulk", "airbyte")
SMOKE = Package("airbyte-source-smoke-test==0.1.2", "source-smoke-test", "airbyte")

DBF = Package("tap-dbf==0.1.25", "tap-dbf", "singer")
DIMDATE = Package("tap-dimdate==0.1.0", "tap-dimdate", "singer", beside=OLD)
JSONL = Package("tap-jsonl==0.3.1", "tap-jsonl", "singer")
MYSQL = Package("pipelinewise-tap-mysql==1.6.0", "tap-mysql", "singer")
PIPELINEWISE_POSTGRES = Package("pipelinewise-tap-postgres==2.1.0", "tap-postgres", "singer")
POSTGRES = Package("meltanolabs-tap-postgres==0.10.0", "tap-postgres", "singer")
REST = Package("tap-rest-api==0.2.22", "tap-rest-api", "singer")
REST_MSDK = Package("tap-rest-api-msdk==1.4.2", "tap-rest-api-msdk", "singer", beside=OLD)
S3_CSV = Package("pipelinewise-tap-s3-csv==3.0.1", "tap-s3-csv", "singer")
SINGER_JSONL = Package("tap-singer-jsonl==0.1.0", "tap-singer-jsonl", "singer", beside=OLD)
SPREADSHEETS = Package("tap-spreadsheets==1.1.2", "tap-spreadsheets", "singer")

AILAKE = Package("airbyte-destination-ailake==0.1.16", "airbyte-destination-ailake", "airbyte")
TARGET_CSV = Package("meltanolabs-target-csv==0.5.0", "target-csv", "singer")
# What it writes is read by the DuckDB of the tests.
TARGET_DUCKDB = Package("target-duckdb==0.8.0", "target-duckdb", "singer", beside=("duckdb==2.0.0",))
TARGET_DATAMILL = Package("singer-target-postgres==0.2.4", "target-postgres", "singer", python="3.8", beside=OLD)
TARGET_JSONL = Package("target-jsonl==0.1.4", "target-jsonl", "singer")
TARGET_LOCALJSON = Package("target-localjson==0.1.1", "target-localjson", "singer", beside=OLD)
TARGET_PIPELINEWISE = Package("pipelinewise-target-postgres==2.1.2", "target-postgres", "singer")
TARGET_POSTGRES = Package("meltanolabs-target-postgres==0.8.1", "target-postgres", "singer")
TARGET_S3 = Package("plinxore-target-s3==0.1.7", "target-s3", "singer")
TARGET_S3_CSV = Package("pipelinewise-target-s3-csv==2.0.0", "target-s3-csv", "singer", python="3.10")
TARGET_SINGER_CSV = Package("target-csv==0.3.0", "target-csv", "singer", python="3.9", beside=OLD)
TARGET_SINGER_JSONL = Package("target-singer-jsonl==0.1.0", "target-singer-jsonl", "singer")
TARGET_SQLITE = Package("target-sqlite==0.2.0", "target-sqlite", "singer", python="3.9")

MELTANO = Package("meltano==4.4.1", "meltano", "meltano")

ADBC_POSTGRES = Package("adbc-driver-postgresql==1.13.0", "", "adbc")
ADBC_SQLITE = Package("adbc-driver-sqlite==1.13.0", "", "adbc")

# DuckDB's library, which is published for another language.
DUCKDB = "@duckdb/node-bindings-linux-x64@1.5.6-r.1"


def duckdb_library() -> Path:
    """`libduckdb.so` of the package."""

    def make(place: Path) -> None:
        place.mkdir()
        npm = ["npm", "pack", DUCKDB, "--silent", "--pack-destination", str(place)]
        fetched(*npm, cwd=place, stdout=subprocess.DEVNULL)
        (archive,) = place.glob("*.tgz")
        with tarfile.open(archive) as content:
            content.extract("package/libduckdb.so", place, filter="data")
        archive.unlink()

    return kept(f"published-duckdb-{DUCKDB.rpartition('@')[2]}", make) / "package" / "libduckdb.so"


# A tap with settings of the project, of its environment and of its `.env`.
PROJECT = """
project_id: 00000000-0000-0000-0000-000000000001
default_environment: dev
send_anonymous_usage_stats: false
environments:
- name: dev
  config:
    plugins:
      extractors:
      - name: tap-jsonl
        config: { primary_keys: [id] }
plugins:
  extractors:
  - name: tap-jsonl
    namespace: tap_jsonl
    pip_url: tap-jsonl==0.3.1
    executable: tap-jsonl
    settings:
    - { name: path }
    - { name: stream_name }
    - { name: primary_keys, kind: array }
    config: { path: /nowhere/at/all.jsonl, stream_name: $ITEMS }
"""


def meltano_project(name: str = "published-project", text: str = PROJECT, environment: str = "ITEMS=items\n") -> Path:
    """A Meltano project with its `.env`, whose plugins are installed."""

    def make(place: Path) -> None:
        place.mkdir()
        (place / "meltano.yml").write_text(text)
        (place / ".env").write_text(environment)
        fetched(str(MELTANO.install()), "install", cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    return kept(f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}", make)
