"""A table of a SQLite file, whole or by what changed: `changed` grows with every change, and a deleted user stays
behind as a row with `deleted` set, until it is purged. Purged rows are found by the next full load."""

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from millrace import GenericSource


class UserSource(GenericSource):
    primary_key = "id"
    full_load_interval = timedelta(hours=1)
    delta_load_interval = timedelta(seconds=10)
    #: `delta_load` yields by rising watermark, so that after a crash it goes on in the middle.
    ordered = True

    def full_load(self):
        for row in self.rows("where not deleted order by id"):
            key, changed, _ = row.pop("id"), row.pop("changed"), row.pop("deleted")
            yield key, row, changed

    def delta_load(self, last_watermark):
        for row in self.rows("where changed > ? order by changed", last_watermark or 0):
            key, changed, deleted = row.pop("id"), row.pop("changed"), row.pop("deleted")
            yield key, None if deleted else row, changed

    def current_watermark(self):
        return next(iter(self.rows(select="max(changed) as changed")))["changed"]

    def rows(self, clause="", *parameters, select="id, name, email, changed, deleted"):
        path = Path(self.source_config.directory) / self.connection["path"]
        with closing(sqlite3.connect(path)) as database:
            database.row_factory = sqlite3.Row
            for row in database.execute(f"select {select} from users {clause}", parameters):
                yield dict(row)
