"""What fields mean together: one of several, one that needs another, one that cannot change; and lists of streams."""

from __future__ import annotations

from collections.abc import Iterator

from cluster import Object

from badinput.change import change
from badinput.mutations import CONNECTOR
from badinput.operations import NEVER_VALID, ONLY_CONDITION, ONLY_REJECTED, ONLY_VALID, Operation
from badinput.samples import DELETE
from badinput.seeds import seed


def unions() -> Iterator[Operation]:
    row = "Enums and unions"
    refused = {"expect": ONLY_REJECTED}
    credential: Object = {"name": "password", "secret": {"name": "a", "key": "b"}}
    for name, place in (("Source", "spec/credentials"), ("Flow", "spec/destination/credentials")):
        yield change(name, row, "a credential of two places", (place, [{**credential, "env": "X"}]), **refused)
        yield change(
            name, row, "a credential of three places", (place, [{**credential, "env": "X", "file": "x"}]), **refused
        )
        yield change(name, row, "a credential of no place", (place, [{"name": "password"}]), **refused)
        yield change(
            name,
            row,
            "a credential of the environment",
            (place, [{"name": "password", "env": "X"}]),
            expect=ONLY_CONDITION,
        )
        yield change(
            name, row, "a credential of a file", (place, [{"name": "password", "file": "x"}]), expect=ONLY_CONDITION
        )
    yield change("Source", row, "neither connector nor reader", ("spec/connector", DELETE), **refused)
    yield change("Source", row, "name and match", ("spec/streams/0/match", ".*"), **refused)
    yield change("Source", row, "neither name nor match", ("spec/streams/0/name", DELETE), **refused)
    yield change("Source", row, "schema and schemaRef", ("spec/streams/0/schemaRef", "configmap:a/b"), **refused)
    yield change("Source", row, "cursorField and cursorFields", ("spec/streams/0/cursorFields", ["id"]), **refused)
    yield change("Flow", row, "neither connector nor writer", ("spec/destination/connector", DELETE), **refused)
    yield change(
        "Flow", row, "two places of state", ("spec/state", {"configMap": {}, "s3": {"bucket": "b"}}), **refused
    )
    yield change(
        "Flow",
        row,
        "three places of state",
        ("spec/state", {"configMap": {}, "s3": {"bucket": "b"}, "directory": "x"}),
        **refused,
    )
    yield change(
        "Flow", row, "a directory of this machine", ("spec/state", {"directory": "/tmp/x"}), expect=ONLY_CONDITION
    )
    yield change(
        "Job",
        row,
        "both flow and flowTemplate",
        ("spec/flowTemplate", seed("JobAlone", CONNECTOR)["spec"]["flowTemplate"]),
        **refused,
    )
    yield change("Job", row, "neither flow nor flowTemplate", ("spec/flow", DELETE), **refused)
    yield change(
        "Connector",
        row,
        "a default engine that it has not",
        ("spec/defaultEngine", "adbc"),
        ("spec/engines", {"native": {}}),
        **refused,
    )
    yield change("Connector", row, "no engine", ("spec/engines", {}), ("spec/defaultEngine", DELETE))
    yield change("Connector", row, "an engine that nobody knows", ("spec/engines/fortran", {}), **refused)


def rules() -> Iterator[Operation]:
    row, refused = "Enums and unions", {"expect": ONLY_REJECTED}
    yield change(
        "Flow",
        row,
        "a schedule of a Continuous flow",
        ("spec/schedule", "0 3 * * *"),
        ("spec/mode", "Continuous"),
        **refused,
    )
    yield change("Flow", row, "scheduleLoad with no schedule", ("spec/scheduleLoad", "Full"), **refused)
    yield change("Flow", row, "timeZone with no schedule", ("spec/timeZone", "Europe/Stockholm"), **refused)
    yield change("Job", row, "Backfill with no range", ("spec/load", "Backfill"), **refused)
    yield change("Job", row, "a range with no Backfill", ("spec/backfill", {"from": "1", "to": "2"}))
    yield change(
        "Job",
        row,
        "a range that is turned round",
        ("spec/backfill", {"from": "2", "to": "1"}),
        ("spec/load", "Backfill"),
    )
    yield change(
        "Job",
        row,
        "a Continuous flow within it",
        ("spec/flowTemplate", {"spec": seed("Continuous", CONNECTOR)["spec"]}),
        ("spec/flow", DELETE),
    )
    yield change("Job", "Integers", "several pods and no S3", ("spec/parallelism", 4), expect=ONLY_CONDITION)
    yield change("Flow", row, "continuous, and back", ("spec/mode", "Continuous"), expect=ONLY_VALID)
    yield change("Flow", row, "another guarantee than there can be", ("spec/delivery/require", "ExactlyOnce"))


def immutable() -> Iterator[Operation]:
    row = "Immutable fields"
    yield change("Flow", row, "an id that was not there", ("spec/state/id", "other"), expect=ONLY_REJECTED)
    yield change("Flow", row, "an id, with the state made anew", ("spec/state", {"id": "other"}), expect=ONLY_REJECTED)
    yield change("Continuous", row, "an id, while it is at work", ("spec/state/id", "other"), expect=ONLY_REJECTED)


def streams() -> Iterator[Operation]:
    row = "Lists"
    one, two = seed("Source", CONNECTOR)["spec"]["streams"]
    other = {**two, "name": "public.things"}
    yield change("Source", row, "streams in another order", ("spec/streams", [two, one]), expect=ONLY_VALID)
    yield change("Source", row, "a stream more", ("spec/streams", [one, two, other]), expect=ONLY_VALID)
    yield change("Source", row, "the stream that a Flow takes is gone", ("spec/streams", [two]), expect=ONLY_VALID)
    yield change("Source", row, "the same stream twice", ("spec/streams", [one, one]), expect=NEVER_VALID)
    yield change(
        "Source", row, "streams that differ in case alone", ("spec/streams", [one, {**one, "name": "PUBLIC.USERS"}])
    )
    yield change(
        "Source",
        row,
        "a thousand streams",
        (
            "spec/streams",
            [
                {**one, "name": f"public.t{number}", "schema": one["schema"][:1], "cursorField": "id"}
                for number in range(1000)
            ],
        ),
    )
    yield change(
        "Source", row, "two expressions over the same", ("spec/streams", [{"match": "public.*"}, {"match": ".*users"}])
    )
    for what, text in (
        ("an expression that is none", "("),
        ("an expression that backtracks", "(a+)+$"),
        ("one that looks back", r"(?<=a)b"),
        ("a huge repetition", "a{1000}{1000}"),
    ):
        yield change("Source", row, what, ("spec/streams", [{"match": text}]))
