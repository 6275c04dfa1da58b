"""`tests/faults.md` is a promise: what it names must exist, and what must be covered must be in it."""

import re
from collections import Counter

from harness import ROOT

BAD_INPUT = [
    "Names",
    "Integers",
    "Durations and schedules",
    "Quantities",
    "Strings",
    "Enums and unions",
    "Lists",
    "Maps",
    "Identifiers",
    "Secret and ConfigMap references",
    "Cross references",
    "Images and plugins",
    "Storage",
    "Immutable fields",
    "Pod overrides",
    "Types",
    "Life cycle",
    "Status",
    "Annotations",
    "Size",
    "Connector capabilities",
]
REQUIRED = [f"F{n}" for n in range(1, 63)] + [f"m{n}" for n in range(1, 14)] + BAD_INPUT
RUST = ("crds", "worker", "operator", "sdk", "tests")


def rows() -> list[tuple[str, str]]:
    """The first and the last cell of each row of each table."""
    lines = (ROOT / "tests" / "faults.md").read_text().splitlines()
    cells = [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("| ")
    ]
    return [(row[0].strip(), row[-1].strip()) for row in cells if row[-1].strip() != "test"]


def test_the_fault_table_holds_every_row_once() -> None:
    counted = Counter(name for name, _ in rows())
    assert counted == Counter(REQUIRED)


def test_the_fault_table_names_tests_that_exist() -> None:
    known = rust_tests() | python_tests()
    wrong = []
    for row, test in rows():
        if test.startswith("none:"):
            if not test.removeprefix("none:").strip():
                wrong.append(f"{row}: `none:` without a reason")
            continue
        names = [name.strip(" `") for name in test.split(",")]
        wrong += [f"{row}: there is no test {name!r}" for name in names if name not in known]
    assert not wrong, "\n".join(wrong)


def rust_tests() -> set[str]:
    """The functions under a test attribute (`#[test]`, `#[tokio::test(...)]`, ...), other attributes between."""
    pattern = re.compile(
        r"#\[(?:\w+::)*test\b[^\n]*\n(?:\s*(?:#\[[^\n]*|//[^\n]*)\n)*\s*(?:async\s+)?fn\s+(\w+)"
    )
    files = [path for folder in RUST for path in (ROOT / folder).rglob("*.rs")]
    return {name for path in files for name in pattern.findall(path.read_text())}


def python_tests() -> set[str]:
    pattern = re.compile(r"^\s*(?:async\s+)?def\s+(test_\w+)", re.MULTILINE)
    files = (ROOT / "tests").rglob("test_*.py")
    return {name for path in files for name in pattern.findall(path.read_text())}
