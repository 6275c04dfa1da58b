"""What a Flow says of its pods. One that is Continuous and not suspended makes them, and is refused, at once."""

from __future__ import annotations

from collections.abc import Iterator

from badinput.change import change
from badinput.mutations import CONNECTOR
from badinput.operations import ACCEPTED, NEVER_VALID, ONLY_REJECTED, ONLY_VALID, Operation
from badinput.seeds import seed
from badinput.values import LITERAL


def pods() -> Iterator[Operation]:
    row = "Pod overrides"
    for what, (field, value) in {
        "root": ("securityContext", {"runAsUser": 0}),
        "privileges": ("privileged", True),
        "a host path": ("volumes", [{"name": "x", "hostPath": {"path": "/"}}]),
        "the host's network": ("hostNetwork", True),
        "one more container": ("containers", [{"name": "x", "image": "x"}]),
        "another account": ("serviceAccountName", "default"),
        "a literal secret": ("env", [{"name": "X", "value": LITERAL}]),
        "an affinity": ("affinity", {"nodeAffinity": {}}),
        "a probe": ("livenessProbe", {}),
        "another image": ("image", "x:latest"),
    }.items():
        for name in ("Flow", "Continuous"):
            yield change(name, row, what, (f"spec/pod/{field}", value), expect=ONLY_REJECTED)
    for replicas, expect in {
        0: ONLY_REJECTED,
        -1: ONLY_REJECTED,
        1: ONLY_VALID,
        2: ONLY_VALID,
        100: ONLY_VALID,
        101: ONLY_REJECTED,
        1000: ONLY_REJECTED,
    }.items():
        yield change("Continuous", row, f"{replicas} replicas", ("spec/pod/replicas", replicas), expect=expect)
    toleration = seed("Flow", CONNECTOR)["spec"]["pod"]["tolerations"][0]
    wrong = {
        "an unknown operator": {"operator": "Sometimes"},
        "an unknown effect": {"effect": "Perhaps"},
        "seconds with no NoExecute": {"effect": "NoSchedule"},
        "a value of Exists": {"operator": "Exists"},
        "a key that is none": {"key": "a b"},
        "no key and Equal": {"key": ""},
    }
    for what, change_ in wrong.items():
        yield change("Continuous", row, what, ("spec/pod/tolerations", [{**toleration, **change_}]), expect=NEVER_VALID)
    for what, labels in {"no node has": {"no": "node"}}.items():
        yield change("Continuous", row, f"a label that {what}", ("spec/pod/nodeSelector", labels), expect=ONLY_VALID)
    for what, labels in {
        "a key with a blank": {"a b": "c"},
        "a value with a blank": {"a": "b c"},
        "a value of 64 letters": {"a": "x" * 64},
        "an empty key": {"": "x"},
    }.items():
        yield change("Continuous", row, what, ("spec/pod/nodeSelector", labels), expect=NEVER_VALID)
    yield change(
        "Continuous",
        row,
        "a priority class that is not there",
        ("spec/pod/priorityClassName", "nobody"),
        expect=ACCEPTED,
    )
    yield change(
        "Continuous",
        row,
        "a priority class that is no name",
        ("spec/pod/priorityClassName", "No Body"),
        expect=NEVER_VALID,
    )
    yield change(
        "Continuous", row, "a pull secret that is no name", ("spec/pod/imagePullSecrets", [{"name": "No Body"}])
    )
    amounts = {
        "a limit below the request": ({"memory": "1Gi"}, {"memory": "64Mi"}, NEVER_VALID),
        "twice as much": ({"memory": "128Mi"}, {"memory": "512Mi"}, ONLY_VALID),
        "half as much": ({"memory": "32Mi"}, {"memory": "128Mi"}, ONLY_VALID),
        "a thousand processors": ({"cpu": "1000"}, {}, ONLY_VALID),
        "what there is not": ({"example.com/thing": "1"}, {}, NEVER_VALID),
        "a resource of no name": ({"": "1"}, {}, NEVER_VALID),
        "a resource that is no name": ({"a b": "1"}, {}, NEVER_VALID),
        "next to no memory": ({}, {"memory": "1"}, ACCEPTED),
        "nothing": ({}, {"memory": "0"}, ACCEPTED),
    }
    for what, (requests, limits, expect) in amounts.items():
        yield change(
            "Continuous", row, what, ("spec/pod/resources", {"requests": requests, "limits": limits}), expect=expect
        )
