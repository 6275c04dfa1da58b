"""Operations that no schema tells of: what fields mean together, and what is around the spec.

In: nothing. Out: operations; each function that is named here makes those of a class of fields in tests/faults.md, or
of a part of one.
"""

from __future__ import annotations

from collections import Counter

from badinput import around, names, pods, texts, unions
from badinput.operations import Operation

ROWS = (
    names.names,
    names.references,
    names.secrets,
    unions.unions,
    unions.rules,
    unions.immutable,
    unions.streams,
    texts.identifiers,
    texts.schedules,
    texts.storage,
    pods.pods,
    around.annotations,
    around.statuses,
    around.sizes,
    around.unknown,
    around.raw,
)


def rows() -> list[Operation]:
    """All of them."""
    made = [one for row in ROWS for one in row()]
    repeated = [name for name, count in Counter(one.name for one in made).items() if count > 1]
    assert not repeated, f"operations of one name: {repeated}"
    return made
