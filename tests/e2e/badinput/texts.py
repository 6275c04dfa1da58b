"""Texts that mean something: identifiers, SQL, schedules, places in a bucket."""

from __future__ import annotations

from collections.abc import Iterator

from badinput.change import change
from badinput.mutations import CONNECTOR
from badinput.operations import ACCEPTED, ANYTHING, NEVER_VALID, ONLY_REJECTED, ONLY_VALID, Operation
from badinput.seeds import seed
from badinput.values import LITERAL


def identifiers() -> Iterator[Operation]:
    row = "Identifiers"
    one = seed("Source", CONNECTOR)["spec"]["streams"][0]
    texts = {
        "quotes": 'a"b',
        "dots": "a.b.c.d",
        "a backtick": "a`b",
        "a reserved word": "public.select",
        "63 bytes": "x" * 63,
        "64 bytes": "x" * 64,
        "300 letters": "x" * 300,
        "a blank": " ",
        "climbing": "../../x",
        "a slash at its start": "/etc/passwd",
        "braces": "{stream}",
        "a letter composed": "caf\u00e9",
        "a letter decomposed": "cafe\u0301",
        "a percent sign": "%2e%2e",
        "a dollar sign": "$1",
        "a colon": "a:b",
    }
    for what, text in texts.items():
        yield change("Source", row, f"a stream with {what}", ("spec/streams", [{**one, "name": text}]))
        column = {**one["schema"][0], "name": text}
        yield change(
            "Source",
            row,
            f"a column with {what}",
            ("spec/streams/0/schema", [column, *one["schema"][1:]]),
            ("spec/streams/0/primaryKey", [text]),
        )
    pair = [{**one["schema"][0], "name": name, "primaryKey": False} for name in ("caf\u00e9", "cafe\u0301")]
    yield change("Source", row, "two columns of one normal form", ("spec/streams/0/schema", one["schema"] + pair))
    pair = [{**one["schema"][0], "name": name, "primaryKey": False} for name in ("a", "A")]
    yield change("Source", row, "two columns that differ in case", ("spec/streams/0/schema", one["schema"] + pair))
    yield change(
        "Source", row, "the same column twice", ("spec/streams/0/schema", one["schema"] * 2), expect=NEVER_VALID
    )
    yield change("Source", row, "a key that is no column", ("spec/streams/0/primaryKey", ["nothing"]))
    yield change("Source", row, "a cursor that is no column", ("spec/streams/0/cursorField", "nothing"))
    for what, sql in {
        "no select": "delete from input",
        "two statements": "select id from input; drop table input",
        "another table": "select * from users",
        "a function that is not the same each time": "select random() as id from input",
        "an aggregate": "select count(*) as n from input",
        "a join": "select a.id from input a join input b on a.id = b.id",
        "a file": "select * from read_csv('/etc/passwd')",
        "nonsense": "((((",
        "a deep expression": "select " + "(" * 300 + "id" + ")" * 300 + " as id from input",
    }.items():
        yield change("Flow", "Strings", f"SQL: {what}", ("spec/transforms", [{"sql": sql}]))


SCHEDULES = {
    "* * * * *": ONLY_VALID,
    "@every 1m": NEVER_VALID,
    "0 0 3 * * *": NEVER_VALID,
    "0 0 31 2 *": ACCEPTED,
    "*/0 * * * *": NEVER_VALID,
    "60 * * * *": NEVER_VALID,
    "0 24 * * *": NEVER_VALID,
    "0 3 * * 8": NEVER_VALID,
    "a b c d e": NEVER_VALID,
    "0 3 * * MON-FRI": ANYTHING,
    "0 3 * * *\n": ANYTHING,
    "0  3  *  *  *": ANYTHING,
    "0 3 * *": NEVER_VALID,
    "@daily hourly": NEVER_VALID,
    "0 3 * * * ": ANYTHING,
    "1-0 * * * *": NEVER_VALID,
    "0 3 * * *; reboot": NEVER_VALID,
    "L * * * *": NEVER_VALID,
    "99999999999999999999 * * * *": NEVER_VALID,
}


def schedules() -> Iterator[Operation]:
    row = "Durations and schedules"
    for text, expect in SCHEDULES.items():
        yield change("Flow", row, f"the schedule {text!r}", ("spec/schedule", text), expect=expect)
    yield change(
        "Flow", row, "a thousand characters", ("spec/schedule", "0," * 500 + "0 3 * * *"), expect=ONLY_REJECTED
    )
    yield change("Flow", row, "256 characters", ("spec/schedule", "0" + ",1" * 123 + " 3 * * *"))
    for zone in ("Mars/Phobos", "europe/stockholm", "UTC+25", "Local", "../../etc/passwd", "", "CET", "Etc/GMT+14"):
        yield change("Flow", row, f"the time zone {zone!r}", ("spec/timeZone", zone), ("spec/schedule", "0 3 * * *"))
    yield change(
        "Flow",
        row,
        "the hour that does not come",
        ("spec/timeZone", "Europe/Stockholm"),
        ("spec/schedule", "30 2 * * *"),
        expect=ONLY_VALID,
    )
    for policy in ("Allow", "Replace"):
        yield change(
            "Flow",
            row,
            f"{policy} in place of Forbid",
            ("spec/concurrencyPolicy", policy),
            ("spec/schedule", "0 3 * * *"),
            expect=ONLY_VALID,
        )


def storage() -> Iterator[Operation]:
    row = "Storage"
    for what, bucket in {
        "dots": "a.b",
        "upper case": "Bucket",
        "a slash": "a/b",
        "climbing": "..",
        "one letter": "b",
        "a URL": "s3://b",
        "64 letters": "b" * 64,
        "an address": "192.168.0.1",
    }.items():
        yield change("Flow", row, f"a bucket with {what}", ("spec/state", {"s3": {"bucket": bucket}}))
    for what, prefix in {
        "a slash first": "/x",
        "climbing": "../x",
        "two slashes": "a//b",
        "a line end": "a\nb",
        "900 letters": "x" * 900,
        "a blank": " ",
    }.items():
        yield change(
            "Flow", row, f"a prefix with {what}", ("spec/state", {"s3": {"bucket": "bucket", "prefix": prefix}})
        )
    for what, url in {
        "no scheme": "db.example",
        "a file": "file:///etc",
        "the metadata server": "http://169.254.169.254",
        "nonsense": "http://[",
        "a password": f"http://u:{LITERAL}@h",
    }.items():
        yield change(
            "Flow", row, f"an endpoint with {what}", ("spec/state", {"s3": {"bucket": "bucket", "endpoint": url}})
        )
    for what, url in {
        "climbing": "s3://b/../../x",
        "a password": f"https://u:{LITERAL}@h/x",
        "an unknown word": "s3://b/{nothing}",
        "no scheme": "x",
        "a file": "file:///etc/passwd",
    }.items():
        yield change("Flow", row, f"a dead letter with {what}", ("spec/deadLetter", {"url": url}))
