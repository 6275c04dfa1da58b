"""Operations of every field: what `values` has for its class, put into a seed that has the field, or could."""

from __future__ import annotations

from cluster import Object

from badinput.fields import Field, Schema, definitions, fields
from badinput.operations import Operation
from badinput.samples import put
from badinput.seeds import seed
from badinput.values import values

# Stands for the Connector of the lane on which an operation comes to run.
CONNECTOR = "bad-input-lane"

# Of what is there more than once, so many times fewer.
REPEATED = 6

ROWS = {
    "string": "Strings",
    "integer": "Integers",
    "number": "Integers",
    "boolean": "Types",
    "array": "Lists",
    "object": "Maps",
    "quantity": "Quantities",
}


def all_fields() -> list[Field]:
    """Those that people write."""
    return [field for kind, schema in definitions().items() for field in fields(kind, schema)]


def mutations() -> list[Operation]:
    """Of every field of every kind, each once."""
    schemas = definitions()
    made: dict[str, Operation] = {}
    for rotation, field in enumerate(all_fields()):
        kept = of_field(field, schemas[field.kind], rotation)
        if is_repeated(field):
            kept = sorted(kept, key=lambda one: one.place)[: max(2, len(kept) // REPEATED)]
        for one in kept:
            made.setdefault(one.name, one)
    return list(made.values())


def is_repeated(field: Field) -> bool:
    """Whether its schema is that of another field, which has all of its operations: a column within a column, a Flow
    within a Job, a place of credentials, an engine of a kind that is there."""
    nested = sum(part in ("items", "properties") for part in field.path)
    return nested > 0 or "flowTemplate" in field.path or ("s3" in field.path and "credentials" in field.path)


def of_field(field: Field, schema: Schema, rotation: int) -> list[Operation]:
    name = seed_of(field)
    whole = seed(name, CONNECTOR)
    row = row_of(field)
    return [
        Operation(
            kind=field.kind,
            row=row,
            field=field.name,
            what=what,
            body=whole | put(only_spec(whole), schema, field.path, value),
            expect=expect,
            seed=name,
            create=field.kind == "Job",
        )
        for what, value, expect in values(field, rotation)
    ]


def only_spec(whole: Object) -> Object:
    return {"spec": whole["spec"]}


def seed_of(field: Field) -> str:
    """A Job that stands alone has the fields that one by reference has not."""
    if field.kind == "Job" and "flowTemplate" in field.path:
        return "JobAlone"
    return field.kind


def row_of(field: Field) -> str:
    leaf = str(field.path[-1])
    if field.type == "string":
        if "enum" in field.schema:
            return "Enums and unions"
        if leaf in ("fullLoadInterval", "deltaLoadInterval", "deadline", "ttl", "schedule", "timeZone"):
            return "Durations and schedules"
        if "image" in field.path or leaf in ("reader", "writer", "sha256", "driver", "entrypoint"):
            return "Images and plugins"
        if "s3" in field.path:
            return "Storage"
        if leaf == "name" or field.path[-2:] == ("flow", "name"):
            return "Names"
        if "secret" in field.path:
            return "Secret and ConfigMap references"
    if "pod" in field.path:
        return "Pod overrides"
    return ROWS[field.type]
