"""Names of objects, and what leads from one object to another."""

from __future__ import annotations

from collections.abc import Iterator

from badinput.change import KINDS, change
from badinput.mutations import CONNECTOR
from badinput.operations import ACCEPTED, NEVER_VALID, ONLY_CONDITION, ONLY_REJECTED, Operation
from badinput.samples import DELETE
from badinput.seeds import seed
from badinput.values import LITERAL

NAMES = {
    "one letter": ("x", ACCEPTED),
    "52 letters": ("x" * 52, ACCEPTED),
    "53 letters": ("x" * 53, ACCEPTED),
    "63 letters": ("x" * 63, ACCEPTED),
    "64 letters": ("x" * 64, ACCEPTED),
    "253 letters": (".".join(["x" * 61] * 4) + ".xxxxx", ACCEPTED),
    "254 letters": ("x" * 254, ONLY_REJECTED),
    "dots": ("a.b.c", ACCEPTED),
    "a digit first": ("0x", ACCEPTED),
    "a beginning of fifty letters": ("y" * 50 + "1", ACCEPTED),
    "the same beginning of fifty letters": ("y" * 50 + "2", ACCEPTED),
    "upper case": ("Shop", ONLY_REJECTED),
    "a letter that is not of ASCII": ("caf\u00e9", ONLY_REJECTED),
    "empty": ("", ONLY_REJECTED),
    "a dash at the end": ("shop-", ONLY_REJECTED),
    "a line end": ("shop\n", ONLY_REJECTED),
    "a slash": ("a/b", ONLY_REJECTED),
    "climbing": ("..", ONLY_REJECTED),
}


def names() -> Iterator[Operation]:
    for name in ("Connector", "Source", "Flow", "Continuous", "Job", "JobAlone"):
        for what, (text, expect) in NAMES.items():
            whole = seed(name, CONNECTOR)
            # A Connector is of the whole cluster: its name has the lane's in it, where it can.
            fits = name != "Connector" or expect == ONLY_REJECTED
            whole["metadata"]["name"] = text if fits else f"{CONNECTOR}{text[: 253 - 20]}"
            yield Operation(
                KINDS[name], "Names", "metadata.name", what, whole, expect, name, create=True, words=("name",)
            )


def references() -> Iterator[Operation]:
    row = "Cross references"
    yield change(
        "Flow",
        row,
        "a Source that is not there",
        ("spec/source/name", "nobody"),
        expect=ONLY_CONDITION,
        words=("nobody",),
    )
    yield change("Flow", row, "a Source in other letters", ("spec/source/name", "Shop"), expect=NEVER_VALID)
    yield change("Flow", row, "a Flow in place of a Source", ("spec/source/name", "lake"), expect=ONLY_CONDITION)
    yield change("Flow", row, "a Source of another namespace", ("spec/source/name", "other/shop"), expect=NEVER_VALID)
    yield change("Flow", row, "a namespace beside it", ("spec/source/namespace", "other"), expect=ONLY_REJECTED)
    yield change("Flow", row, "a stream that is not there", ("spec/source/streams", ["public.nothing"]))
    yield change(
        "Flow",
        row,
        "a Connector that is not there",
        ("spec/destination/connector/name", "nobody"),
        expect=ONLY_CONDITION,
    )
    yield change(
        "Flow",
        row,
        "a Connector that cannot be written",
        ("spec/destination/connector/name", "generator"),
        expect=ONLY_CONDITION,
    )
    yield change(
        "Flow",
        row,
        "a configuration that is not there",
        ("spec/destination/connector/config", "nobody"),
        expect=ONLY_CONDITION,
    )
    yield change(
        "Source", row, "a Connector that is not there", ("spec/connector/name", "nobody"), expect=ONLY_CONDITION
    )
    yield change(
        "Source", row, "a Connector that cannot be read", ("spec/connector/name", "null"), expect=ONLY_CONDITION
    )
    yield change(
        "Source", row, "a configuration that is not there", ("spec/connector/config", "nobody"), expect=ONLY_CONDITION
    )
    yield change(
        "Source",
        row,
        "a contract that is not there",
        ("spec/streams/0/schemaRef", "configmap:nobody/key"),
        ("spec/streams/0/schema", DELETE),
        expect=ONLY_CONDITION,
    )
    yield change(
        "Source",
        row,
        "a contract of another namespace",
        ("spec/streams/0/schemaRef", "configmap:a/b/c"),
        ("spec/streams/0/schema", DELETE),
        expect=ONLY_CONDITION,
    )
    yield change(
        "Source",
        row,
        "a contract in a file",
        ("spec/streams/0/schemaRef", "../contract.yaml"),
        ("spec/streams/0/schema", DELETE),
        expect=ONLY_CONDITION,
    )
    yield change("Job", row, "a Flow that is not there", ("spec/flow/name", "nobody"), expect=ONLY_CONDITION)
    yield change("Job", row, "a Source in place of a Flow", ("spec/flow/name", "shop"), expect=ONLY_CONDITION)
    yield change("Job", row, "a stream that is not there", ("spec/streams", ["public.nothing"]))
    yield change(
        "JobAlone",
        row,
        "a Source that is not there",
        ("spec/flowTemplate/spec/source/name", "nobody"),
        expect=ONLY_CONDITION,
    )
    for engine in ("airbyte", "singer", "meltano", "python", "library", "adbc"):
        yield change("Source", row, f"the engine {engine}", ("spec/connector/engine", engine), expect=ACCEPTED)


def secrets() -> Iterator[Operation]:
    row = "Secret and ConfigMap references"
    for what, (secret, key) in {
        "a Secret that is no name": ("No Body", "key"),
        "a Secret of another namespace": ("other/name", "key"),
        "a key that climbs": ("name", "../key"),
        "a key with a slash": ("name", "a/b"),
        "a key with a blank": ("name", "a b"),
        "a dot for a key": ("name", "."),
        "two dots for a key": ("name", ".."),
    }.items():
        for name in ("Source", "Continuous"):
            place = "spec/credentials" if name == "Source" else "spec/destination/credentials"
            yield change(
                name,
                row,
                what,
                (place, [{"name": "password", "secret": {"name": secret, "key": key}}]),
                expect=NEVER_VALID,
            )
    yield change(
        "Source", row, "a namespace beside it", ("spec/credentials/0/secret/namespace", "other"), expect=ONLY_REJECTED
    )
    yield change(
        "Source",
        row,
        "the same credential twice",
        ("spec/credentials", seed("Source", CONNECTOR)["spec"]["credentials"] * 2),
        expect=ONLY_REJECTED,
    )
    yield change("Source", row, "a credential that nobody asks for", ("spec/credentials/0/name", "nothing"))
    for key in ("password", "PASSWORD", "passwd", "secretAccessKey", "token", "apiKey", "privateKey"):
        for name, place in (("Source", "spec/connection"), ("Flow", "spec/destination/connection")):
            yield change(name, "Maps", f"a literal {key}", (f"{place}/{key}", LITERAL), expect=NEVER_VALID)
    yield change("Source", "Maps", "a password within a host", ("spec/connection/host", f"postgres://u:{LITERAL}@h/db"))
