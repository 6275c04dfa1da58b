"""One operation written by hand: a seed with values put at places."""

from __future__ import annotations

from typing import Any

from badinput.mutations import CONNECTOR
from badinput.operations import ANYTHING, Operation
from badinput.samples import set_at
from badinput.seeds import seed

KINDS = {
    "Connector": "Connector",
    "Source": "Source",
    "Flow": "Flow",
    "Continuous": "Flow",
    "Job": "Job",
    "JobAlone": "Job",
}


def change(
    name: str, row: str, what: str, *puts: tuple[str, Any], expect: frozenset[str] = ANYTHING, **more: Any
) -> Operation:
    """The seed with values put at `spec/a/0/b` (a `~` is a slash of a key). A message must name the first."""
    whole = seed(name, CONNECTOR)
    for path, value in puts:
        node: Any = whole
        *parents, last = [int(part) if part.isdigit() else part.replace("~", "/") for part in path.split("/")]
        for part in parents:
            node = node.setdefault(part, {}) if isinstance(part, str) else node[part]
        set_at(node, last, value)
    field = puts[0][0].replace("/", ".").replace("~", "/")
    return Operation(
        kind=KINDS[name],
        row=row,
        field=field,
        what=what,
        body=whole,
        expect=expect,
        seed=name,
        create=KINDS[name] == "Job",
        **more,
    )
