"""Writes a Delta Lake table with the `deltalake` package.

Batches are staged as Arrow files; the commit is one transaction of the table, which carries the commit's id. A commit
that is repeated after a crash finds its id in the table's history and does nothing.
"""

from pathlib import Path

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, write_deltalake

from millrace import BaseWriter, ConfigError

COMMIT = "millrace.commit"
OPERATION = "_millrace_op"


class DeltaLakeWriter(BaseWriter):
    arrow = True
    idempotent = True

    def __init__(self, asset_definition, target_config, output_base):
        super().__init__(asset_definition, target_config, output_base)
        if "url" not in self.connection:
            raise ConfigError("the table's place is missing", advice="write connection: { url: ... }")
        self.url = self.connection["url"].replace("{stream}", asset_definition.name)
        if "://" not in self.url:
            self.url = str(Path(target_config.directory) / self.url)
            Path(self.url).mkdir(parents=True, exist_ok=True)
        self.storage = {**self.connection.get("storageOptions", {}), **self.credentials}

    def write_batch(self, records, file_counter):
        path = Path(self.output_base) / f"{self.asset_definition.name}-{file_counter:05}.arrow"
        with pa.ipc.new_stream(path, records.schema) as file:
            file.write_batch(records)
        return [{"path": str(path), "size_bytes": path.stat().st_size, "record_count": records.num_rows}]

    def commit_files(self, file_metadata):
        if self.last_committed() == self.commit_id:
            return {"status": "committed before"}
        mark = CommitProperties(custom_metadata={COMMIT: self.commit_id})
        rows = sum(file["record_count"] for file in file_metadata)
        key = self.asset_definition.primary_key
        if self.asset_definition.write_mode == "upsert" and key and self.table() and not self.replace:
            self.merge(staged(file_metadata), key, mark)
        else:
            mode = "overwrite" if self.replace else "append"
            write_deltalake(
                self.url,
                without_deletes(staged(file_metadata))
                if self.asset_definition.write_mode == "upsert"
                else staged(file_metadata),
                mode=mode,
                schema_mode="overwrite" if self.replace else "merge",
                storage_options=self.storage,
                commit_properties=mark,
            )
        for file in file_metadata:
            Path(file["path"]).unlink(missing_ok=True)
        return {"status": "committed", "version": self.table().version(), "records": rows}

    def merge(self, source, key, mark):
        """Updates, inserts and deletes rows by their key, in one transaction."""
        columns = {name: f"s.`{name}`" for name in source.schema.names if name != OPERATION}
        deletes = OPERATION in source.schema.names
        merge = self.table().merge(
            source,
            predicate=" and ".join(f"t.`{name}` = s.`{name}`" for name in key),
            source_alias="s",
            target_alias="t",
            commit_properties=mark,
        )
        is_delete = f"s.{OPERATION} = 'delete'"
        if deletes:
            merge = merge.when_matched_delete(is_delete)
        kept = f"s.{OPERATION} <> 'delete'" if deletes else None
        merge.when_matched_update(columns, kept).when_not_matched_insert(columns, kept).execute()

    def last_committed(self):
        table = self.table()
        return next((entry[COMMIT] for entry in table.history() if COMMIT in entry), None) if table else None

    def table(self):
        if not DeltaTable.is_deltatable(self.url, storage_options=self.storage):
            return None
        return DeltaTable(self.url, storage_options=self.storage)


def staged(files):
    """The staged batches, one after another: the load is never whole in memory."""
    first = pa.ipc.open_stream(files[0]["path"]).schema
    return pa.RecordBatchReader.from_batches(first, (batch for file in files for batch in read(file["path"], first)))


def read(path, schema):
    with pa.ipc.open_stream(path) as reader:
        for batch in reader:
            yield batch.cast(schema)


def without_deletes(source):
    """A first load by key: what was deleted since is simply not there."""
    if OPERATION not in source.schema.names:
        return source
    at = source.schema.get_field_index(OPERATION)
    kept = (batch.filter(pa.compute.not_equal(batch.column(at), "delete")) for batch in source)
    return pa.RecordBatchReader.from_batches(
        source.schema.remove(at), (batch.drop_columns([OPERATION]) for batch in kept)
    )
