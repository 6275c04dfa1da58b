"""A page of the documents as a person follows it: each console block is typed, in order, into a shell of its own.

In: a page, what the tests put in place of addresses and passwords, and what is done or looked at besides, by heading.
Out: nothing; a command that fails tells itself and what it has printed. Files that the page shows (`# file: NAME`) lie in
the directory in which the commands run.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness import ROOT, Millrace

# What is in the documents and is not typed, by how it begins; each with the reason.
NOT_RUN = {
    "tests/run": "it is what runs the tests",
    "docker build": "the tests have no builder of images; tests/chart/test_image.py lays out the same root and runs it",
}


@dataclass
class Block:
    """A fenced block, with the heading that it stands under."""

    heading: str
    language: str
    text: str

    @property
    def commands(self) -> list[str]:
        """Each command in one piece; lines without a prompt are what it prints or go on from the line before."""
        found: list[str] = []
        for line in self.text.splitlines():
            if line.startswith("$ "):
                found.append(line[2:])
            elif found and found[-1].endswith("\\"):
                found[-1] += "\n" + line
        return found


def blocks(page: Path, *under: str) -> Iterator[Block]:
    """Those of a page, or of some headings of second rank of it."""
    lines: list[str] = []
    heading, section, language = "", "", None
    for line in page.read_text().splitlines():
        fence = re.match(r"```(\S*)", line)
        if language is None and fence:
            language, lines = fence[1], []
        elif language is not None and fence:
            if not under or section in under:
                yield Block(heading, language, "\n".join(lines) + "\n")
            language = None
        elif language is not None:
            lines.append(line)
        elif found := re.match(r"(#+) (.*)", line):
            heading = found[2]
            section = heading if found[1] == "##" else section


def commands(page: Path, *under: str) -> list[str]:
    return [command for block in blocks(page, *under) if block.language == "console" for command in block.commands]


def is_run(command: str) -> bool:
    return not any(command.startswith(start) for start in NOT_RUN)


Hook = Callable[[], None]


@dataclass
class Walk:
    """One walk, in a directory of its own that holds the repository's charts and a copy of its examples."""

    directory: Path
    environment: Mapping[str, str]
    # What stands in the page, and what is typed instead.
    instead: dict[str, Callable[[], str]] = field(default_factory=dict)
    # Done before the first command of a heading, and after its last.
    before: dict[str, Hook] = field(default_factory=dict)
    after: dict[str, Hook] = field(default_factory=dict)
    # A file that the page shows, as the tests need it.
    shown: Callable[[str], str] = str
    typed: list[str] = field(default_factory=list)
    printed: str = ""

    def __post_init__(self) -> None:
        self.directory.mkdir()
        (self.directory / "charts").symlink_to(ROOT / "charts")
        shutil.copytree(ROOT / "examples", self.directory / "examples", ignore=shutil.ignore_patterns("out", ".millrace"))

    def through(self, page: Path, *under: str) -> None:
        everything = list(blocks(page, *under))
        headings = [block.heading for block in everything]
        unknown = {*self.before, *self.after} - {*headings}
        assert not unknown, f"{page.name} has no commands under {unknown}"
        for number, block in enumerate(everything):
            first = block.heading not in headings[:number]
            if first and block.heading in self.before:
                self.before[block.heading]()
            if file := re.match(r"# file: (\S+)\n", block.text):
                (self.directory / file[1]).write_text(self.shown(block.text))
            elif block.language == "console":
                self.type(block)
            if block.heading not in headings[number + 1 :] and block.heading in self.after:
                self.after[block.heading]()

    def type(self, block: Block) -> None:
        wanted = [command for command in block.commands if is_run(command)]
        if not wanted:
            return
        # Each is printed as it begins, so that a failure shows whose it is.
        script = "set -euo pipefail\n"
        for command in wanted:
            typed = command
            for text, other in self.instead.items():
                if text in typed:
                    typed = typed.replace(text, other())
            script += f"cat <<'COMMAND'\n$ {typed}\nCOMMAND\n{typed}\n"
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.directory,
            env={**os.environ, **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=1800,
        )
        print(done.stdout)
        self.printed += done.stdout
        assert done.returncode == 0, f"under {block.heading}:\n{done.stdout}"
        self.typed += wanted


def desk(millrace: Millrace, directory: Path) -> Walk:
    """A shell that knows `millrace`, and DuckDB's and pytest's programs by way of their Python packages."""
    programs = directory / "bin"
    programs.mkdir()
    (programs / "millrace").symlink_to(millrace.binary)
    for name, text in {
        "duckdb": "import sys, duckdb\nprint(duckdb.sql(sys.argv[2]))\n",
        "pytest": "import sys, pytest\nsys.exit(pytest.main())\n",
    }.items():
        (programs / name).write_text(f"#!{sys.executable}\n{text}")
        (programs / name).chmod(0o755)
    path = {"PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin", "MILLRACE_LOG_FORMAT": "json"}
    # Environments of plugins are filled from a package index, which may not answer each time.
    patient = {"PIP_RETRIES": "10", "PIP_DEFAULT_TIMEOUT": "60"}
    return Walk(directory / "home", {**path, **patient})
