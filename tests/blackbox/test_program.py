"""The program as a whole."""

import tomllib
from harness import ROOT, Millrace


def test_the_program_prints_its_version(millrace: Millrace) -> None:
    workspace = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]
    assert millrace("--version").stdout == f"millrace {workspace['package']['version']}\n"
