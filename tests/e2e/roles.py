"""Roles of PostgreSQL that a test has made for its pods, and takes away while some of these may still be connected."""

from __future__ import annotations

import psycopg
from cluster import until
from harness import Postgres


def drop(postgres: Postgres, name: str) -> None:
    """Drops a role and what it owns. Pods outlive the test by a moment, and would hold or make something meanwhile."""
    postgres.execute(f"alter role {name} nologin")

    def gone() -> bool:
        postgres.rows("select pg_terminate_backend(pid) from pg_stat_activity where usename = %s", name)
        if postgres.rows("select 1 from pg_stat_activity where usename = %s", name):
            return False
        try:
            postgres.execute(f"drop owned by {name}; drop role {name}")
        except (psycopg.OperationalError, psycopg.InternalError):
            # One that is just ending holds a lock, or has made something meanwhile.
            return False
        return True

    until(gone, 60, f"role {name} is dropped")
