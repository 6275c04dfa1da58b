"""examples/postgres: from CSV into PostgreSQL and on into Parquet, edits and deletes included."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import ROOT, Millrace, Postgres

COUNTS = ("inserted", "updated", "deleted", "unchanged")


@pytest.fixture
def example(workdir: Path) -> Path:
    """A copy of the example to run in."""
    shutil.copytree(ROOT / "examples" / "postgres", workdir, dirs_exist_ok=True)
    return workdir


@pytest.fixture
def load(millrace: Millrace, postgres: Postgres) -> Iterator[Callable[..., dict[str, int]]]:
    """`load("into.yaml", "orders")`: runs a manifest and gives the counts of its stream."""
    spec = postgres.spec
    env = {
        **postgres.env,
        "PGHOST": spec["host"],
        "PGPORT": str(spec["port"]),
        "PGDATABASE": spec["database"],
        "PGUSER": spec["user"],
    }

    def run(manifest: str, stream: str, **more: Any) -> dict[str, int]:
        counts = millrace("run", manifest, "--output", "json", env={**env, **more}).stream(stream)
        return {name: counts[name] for name in COUNTS if counts[name]}

    yield run


def orders(postgres: Postgres) -> list[tuple[Any, ...]]:
    return postgres.rows("select id, customer, amount::text from shop.orders order by id")


def test_orders_go_into_postgres_and_out_of_it_and_only_changes_follow(
    example: Path, load: Callable[..., dict[str, int]], postgres: Postgres
) -> None:
    assert load("into.yaml", "orders") == {"inserted": 5}
    assert load("out-of.yaml", "shop.orders") == {"inserted": 5}
    assert load("into.yaml", "orders") == {"unchanged": 5}
    assert load("out-of.yaml", "shop.orders") == {"unchanged": 5}

    csv = example / "data" / "orders.csv"
    kept = [line for line in csv.read_text().splitlines() if not line.startswith("2,")]
    csv.write_text("\n".join([*kept, "6,Frida,0.10,2026-09-05T00:00:00Z"]).replace("17.25", "18.25") + "\n")
    changes = {"inserted": 1, "updated": 1, "deleted": 1, "unchanged": 3}
    assert load("into.yaml", "orders") == changes
    assert load("out-of.yaml", "shop.orders") == changes

    assert orders(postgres) == [
        (1, "Astrid", "120.50"),
        (3, "Carl, Jr.", "1045.99"),
        (4, "Disa", None),
        (5, "Ebba", "18.25"),
        (6, "Frida", "0.10"),
    ]
    files = list((example / "out").rglob("*.parquet"))
    assert files, "nothing was delivered"


PLACES = ["fence.after", "stage.write", "stage.finish", "commit.before", "commit.after", "state.after"]


@pytest.mark.parametrize("place", PLACES)
def test_a_load_that_was_killed_is_finished_by_the_next(
    place: str, example: Path, load: Callable[..., dict[str, int]], millrace: Millrace, postgres: Postgres
) -> None:
    load("into.yaml", "orders")
    before = orders(postgres)
    csv = example / "data" / "orders.csv"
    csv.write_text(csv.read_text().replace("Astrid", "Åsa").replace("5,Ebba", "7,Ebba"))
    with pytest.raises(AssertionError, match="exit code -9"):
        load("into.yaml", "orders", MILLRACE_FAILPOINT=place)
    if place not in ("commit.after", "state.after"):
        assert orders(postgres) == before
    load("into.yaml", "orders")
    assert [row[:2] for row in orders(postgres)] == [
        (1, "Åsa"),
        (2, "Björn"),
        (3, "Carl, Jr."),
        (4, "Disa"),
        (7, "Ebba"),
    ]
    assert load("into.yaml", "orders") == {"unchanged": 5}
    left = "select count(*) from pg_class where relname like 'millrace\\_staging%%'"
    assert postgres.rows(left) == [(0,)]
