"""Running operations: on several lanes at once, each operation on the next lane that is free.

In: operations. Out: what became of each, and the figures to publish.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from badinput.api import Api
from badinput.lane import Lane, Result
from badinput.mirror import Mirror
from badinput.mutations import all_fields
from badinput.operations import CONDITION, REJECTED, VALID, Operation

LANES = {"Batch": 10, "Continuous": 2}
SEEDS = {"Batch": ("Connector", "Source", "Flow"), "Continuous": ("Connector", "Source", "Continuous")}


def road(operation: Operation) -> str:
    return "Continuous" if operation.seed == "Continuous" else "Batch"


@dataclass
class Sweep:
    """All results, as they come."""

    api: Api
    mirror: Mirror
    results: list[Result] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    seconds: float = 0.0
    namespaces: list[str] = field(default_factory=list)
    # What is done with a result as it comes.
    told: Callable[[Result], object] = lambda result: None

    def run(self, operations: Sequence[Operation]) -> None:
        began = time.monotonic()
        threads = []
        for name, count in LANES.items():
            waiting: queue.SimpleQueue[Operation] = queue.SimpleQueue()
            own = [one for one in operations if road(one) == name]
            for one in own:
                waiting.put(one)
            for _ in range(min(count, len(own))):
                threads.append(threading.Thread(target=self._drive, args=(SEEDS[name], waiting)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.seconds = time.monotonic() - began

    def _drive(self, seeds: tuple[str, ...], waiting: queue.SimpleQueue[Operation]) -> None:
        left: list[Lane] = []
        lane = self._open(lambda: Lane(self.api, self.mirror, seeds))
        while lane:
            try:
                operation = waiting.get_nowait()
            except queue.Empty:
                break
            try:
                result = lane.run(operation)
            except Exception as error:
                result = Result(operation, "broken", [f"{type(error).__name__}: {error}"])
            self.results.append(result)
            self.told(result)
            if result.wrong or result.used_up:
                # What is left of one fault must not be taken for another.
                left.append(lane)
                lane = self._open(lambda: Lane(self.api, self.mirror, seeds))
        if lane:
            left.append(lane)
        # Not before: the operator would be busy with what is going.
        for one in left:
            one.remove()

    def _open(self, make: Callable[[], Lane]) -> Lane | None:
        try:
            lane = make()
        except Exception as error:
            self.errors.append(f"{type(error).__name__}: {error}")
            return None
        self.namespaces.append(lane.namespace)
        return lane

    def wrong(self) -> list[str]:
        found = [f"{one.operation.name}: {why}" for one in self.results for why in one.wrong]
        return sorted(found) + self.errors

    def figures(self) -> str:
        """What is published: fields touched, operations, what became of them."""
        touched = {(one.operation.kind, one.operation.field) for one in self.results}
        fields = all_fields()
        covered = sum((field.kind, field.name) in touched for field in fields)
        verdicts = Counter(one.verdict for one in self.results)
        rows = Counter(one.operation.row for one in self.results)
        slowest = sorted(self.results, key=lambda one: -one.seconds)[:3]
        return "\n".join(
            (
                f"bad input: {len(self.results)} operations in {self.seconds:.0f} s; fields {covered} of {len(fields)}",
                ", ".join(f"{name} {verdicts[name]}" for name in (REJECTED, CONDITION, VALID))
                + "".join(
                    f", {name} {count}" for name, count in verdicts.items() if name not in (REJECTED, CONDITION, VALID)
                ),
                ", ".join(f"{row} {count}" for row, count in sorted(rows.items())),
                "slowest: " + ", ".join(f"{one.operation.name} {one.seconds:.1f} s" for one in slowest),
            )
        )
