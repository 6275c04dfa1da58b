"""One operation: a change of one sound object, and what may come of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from cluster import Object

# What may come of it.
REJECTED = "rejected"
CONDITION = "condition"
VALID = "valid"
ACCEPTED = frozenset({CONDITION, VALID})
ANYTHING = frozenset({REJECTED, CONDITION, VALID})
NEVER_VALID = frozenset({REJECTED, CONDITION})
ONLY_REJECTED = frozenset({REJECTED})
ONLY_CONDITION = frozenset({CONDITION})
ONLY_VALID = frozenset({VALID})


@dataclass(frozen=True)
class Operation:
    """A change of the seed of a kind; `body` is the whole object as somebody would apply it."""

    kind: str
    # The class of fields in tests/faults.md.
    row: str
    # The field, and what is done to it.
    field: str
    what: str
    body: Object = field(repr=False)
    expect: frozenset[str] = ANYTHING
    # Which seed it changes.
    seed: str = "Flow"
    # Made anew beside the seed, in place of being put over it.
    create: bool = False
    # To the status.
    status: bool = False
    # Bytes that are sent as they are.
    raw: bytes | None = field(default=None, repr=False)
    # Fields that a person does not know of: refused (Strict), as kubectl asks for, or left out (Ignore).
    validation: str = "Strict"
    # Words of which the message must have one; without any, the field's name or a place in the spec.
    words: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.seed} {self.field}: {self.what}"

    @property
    def starts(self) -> bool:
        """Whether a run begins by it, which goes on by design when it is undone."""
        spec = self.body.get("spec")
        return self.seed == "Flow" and isinstance(spec, dict) and spec.get("suspend") is not True

    @property
    def place(self) -> str:
        """A number that depends on the name alone, to choose by."""
        return hashlib.sha256(self.name.encode()).hexdigest()


def chosen(operations: list[Operation], count: int) -> list[Operation]:
    """So many of them, the same ones each time, and from each row at least one."""
    ordered = sorted(operations, key=lambda one: one.place)
    first: dict[tuple[str, str], Operation] = {}
    for one in ordered:
        first.setdefault((one.row, one.seed), one)
    kept = list(first.values())
    kept += [one for one in ordered if one not in kept][: max(0, count - len(kept))]
    return sorted(kept, key=lambda one: one.place)
