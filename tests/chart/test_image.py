"""What the Dockerfile puts into an image runs there: alone, without rights, on a root that it cannot write."""

from __future__ import annotations

import fnmatch
import os
import shutil
import subprocess
from pathlib import Path, PurePosixPath

import pytest
import tomllib

from rendered import ROOT

TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
PROGRAM = Path(os.environ.get("MILLRACE_BIN", TARGET / "debug" / "millrace"))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    place = tmp_path_factory.mktemp("image")
    subprocess.run([ROOT / "image" / "root", PROGRAM, place], check=True)
    return place


def test_it_holds_the_program_and_little_else(root):
    files = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    rest = {file for file in files if not file.startswith("usr/share/zoneinfo/")}
    libraries = {file for file in rest if ".so" in Path(file).name}
    assert rest - libraries == {
        f"usr/local/bin/{PROGRAM.name}",
        "etc/ssl/certs/ca-certificates.crt",
        "etc/passwd",
        "etc/group",
    }
    assert len(libraries) <= 10 and any("ld-linux" in file for file in libraries)
    # What a library of a plugin asks for wherever it was built.
    assert {"libpthread.so.0", "libdl.so.2", "libstdc++.so.6"} <= {Path(file).name for file in libraries}
    assert "usr/share/zoneinfo/Europe/Stockholm" in files


CHROOT = shutil.which("chroot")


@pytest.mark.skipif(os.geteuid() != 0 or not CHROOT, reason="another root directory needs root")
def test_the_program_runs_there_as_nobody(root):
    command = [str(CHROOT), "--userspec=65532:65532", str(root), f"/usr/local/bin/{PROGRAM.name}"]
    ended = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False, env={})
    assert ended.returncode == 0 and ended.stdout.startswith("millrace "), ended.stderr


def test_a_program_that_is_no_program_is_refused(tmp_path):
    (tmp_path / "text").write_text("no program")
    ended = subprocess.run([ROOT / "image" / "root", tmp_path / "text", tmp_path / "root"], capture_output=True)
    assert ended.returncode != 0


def test_every_member_of_the_workspace_reaches_the_build():
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    members = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["members"]
    for path in ["Cargo.toml", "Cargo.lock", "image", *members]:
        parts = PurePosixPath(path).parts
        above = {"/".join(parts[:length]) for length in range(1, len(parts) + 1)}
        assert any(fnmatch.fnmatch(directory, pattern) for directory in above for pattern in kept), path


def test_what_runs_in_an_image_has_no_rights():
    text = (ROOT / "Dockerfile").read_text()
    stages = text.split("\nFROM ")[1:]
    images = [stage for stage in stages if not stage.startswith("rust:")]
    assert len(images) == 3
    for stage in images:
        assert "\nUSER 65532:65532\n" in stage and "ENTRYPOINT" in stage


def test_the_python_image_is_of_the_same_debian_as_the_build():
    """A program that was linked on a newer one would not start."""
    text = (ROOT / "Dockerfile").read_text()
    assert "FROM rust:1.95-bookworm AS build" in text and "FROM debian:bookworm-slim AS python" in text
