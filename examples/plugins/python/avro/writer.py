"""Writes Avro files with the `fastavro` package.

A batch is a file with a name that readers pass over (it begins with a dot). The commit gives all of them their names,
then notes its id. A commit that is repeated after a crash finds the files renamed, and does nothing to them.
"""

import uuid
from pathlib import Path

from fastavro import parse_schema, writer

from millrace import BaseWriter

LEDGER = ".millrace-commit"
PLAIN = {
    "string": "string",
    "integer": "long",
    "number": "double",
    "boolean": "boolean",
    "date": {"type": "int", "logicalType": "date"},
    "time": {"type": "long", "logicalType": "time-micros"},
}


class AvroWriter(BaseWriter):
    idempotent = True

    def __init__(self, asset_definition, target_config, output_base):
        super().__init__(asset_definition, target_config, output_base)
        place = self.connection["path"].replace("{stream}", asset_definition.name)
        self.folder = Path(target_config.directory) / place
        self.folder.mkdir(parents=True, exist_ok=True)
        self.schema = parse_schema(record("row", asset_definition.schema)) if asset_definition.schema else None

    def write_batch(self, records, file_counter):
        path = self.folder / f".part-{file_counter:05}-{uuid.uuid4().hex}.avro"
        with path.open("wb") as file:
            writer(file, self.schema, records, codec=self.connection.get("codec", "deflate"))
        return [{"path": str(path), "size_bytes": path.stat().st_size, "record_count": len(records)}]

    def commit_files(self, file_metadata):
        if self.last_committed() == self.commit_id:
            return {"status": "committed before"}
        before = set(self.folder.glob("part-*.avro"))
        named = {Path(file["path"]).with_name(Path(file["path"]).name[1:]) for file in file_metadata}
        for path in named:
            hidden = path.with_name(f".{path.name}")
            if hidden.exists():
                hidden.replace(path)
        if self.replace:
            for path in before - named:
                path.unlink()
        note = self.folder / f"{LEDGER}.new"
        note.write_text(self.commit_id)
        note.replace(self.folder / LEDGER)
        return {"status": "committed", "files": sorted(path.name for path in named)}

    def last_committed(self):
        ledger = self.folder / LEDGER
        return ledger.read_text() if ledger.exists() else None


def record(name, fields):
    """An Avro record of columns; every one of them may be null."""
    return {
        "type": "record",
        "name": name,
        "fields": [
            {"name": field["name"], "type": ["null", avro_type(f"{name}_{field['name']}", field)], "default": None}
            for field in fields
        ],
    }


def avro_type(name, field):
    """The Avro type of one column."""
    exact = field.get("physicalType", "")
    match field["logicalType"]:
        case "array":
            return {"type": "array", "items": ["null", avro_type(name, field["items"])]}
        case "object" if field.get("properties"):
            return record(name, field["properties"])
        case "timestamp":
            local = "" if exact.startswith("timestamptz") else "local-"
            return {"type": "long", "logicalType": f"{local}timestamp-micros"}
        case "number" if exact.startswith("decimal"):
            precision, scale = map(int, exact[len("decimal(") : -1].split(","))
            return {"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale}
        case "string" if exact.startswith("binary"):
            return "bytes"
        case logical:
            return PLAIN.get(logical, "string")
