"""What is promised of native connectors, by the very same tests, with each engine as the source.

The Sources of these tests read CSV files. Here an engine reads the same files instead; nothing else differs. By default each
test runs with one of the engines, with `--full` with all of them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

import harness
import pytest
from harness import Millrace, Spec
from kit import FileSink
from plugins import CONNECTORS
from published import duckdb_library
from test_semantics_configuration import (  # noqa: F401
    test_23_a_refused_row_keeps_its_delivered_version,
    test_23_discard_value_leaves_out_the_value_alone,
)
from test_semantics_connectors import test_a_dry_run_counts_and_writes_nothing  # noqa: F401
from test_semantics_failures import (  # noqa: F401
    test_19_a_panic_stops_the_load_and_says_where,
    test_19_a_passing_fault_is_retried_and_nothing_shows,
    test_21_memory_is_bounded,
    test_21_two_flows_on_one_source_are_independent,
)
from test_semantics_intervals_triggers import (  # noqa: F401
    test_04_a_trigger_approves_a_mass_delete,
    test_13_a_trigger_runs_once,
    test_14_a_name_that_matches_nothing_is_told,
    test_14_a_token_set_while_suspended_waits_and_shows,
    test_f41_a_trigger_survives_a_crash_of_its_load,
    test_f42_a_manifest_changed_a_hundred_times_runs_as_it_is_last,
    watching,
)
from test_semantics_loads import (  # noqa: F401
    size,
    test_01_nothing_changed_is_a_success,
    test_02_a_first_load_repeated_after_a_crash_finds_deletes,
    test_03_an_empty_file_is_not_a_missing_one,
    test_04_a_mass_delete_waits_for_approval,
    test_04_all_of_a_large_stream_never_goes_unasked,
    test_04_half_of_the_rows_may_go_unasked,
    test_05_an_update_in_append_mode_is_one_line_of_the_log,
    test_05_the_last_row_of_a_key_wins,
    test_05_the_same_row_twice_is_two_rows_where_there_is_no_key,
    test_07_a_changed_transform_is_a_change_of_every_row,
    test_07_a_row_that_no_longer_passes_the_filter_is_a_delete,
    test_07_differences_are_computed_over_what_is_delivered,
    test_08_counts_add_up,
    test_08_zero_rows_where_rows_were_expected_is_shown,
    test_one_percent_of_changes_is_delivered_exactly,
)
from test_semantics_state import (  # noqa: F401
    test_16_state_is_committed_with_the_data_or_after_it,
    test_17_damaged_state_is_told_and_nothing_is_loaded,
    test_17_missing_state_never_means_start_over,
    test_17_state_belongs_to_its_id_and_a_renamed_flow_does_not_take_it,
)
from test_semantics_watermarks import (  # noqa: F401
    test_11_a_file_that_changes_during_the_read_is_seen_next_time,
)

from conftest import program

ENGINES = ["python", "library", "airbyte", "singer", "adbc"]
# To DuckDB the columns of an empty CSV file are text, and a type that has changed is another test.
NOT_BY_ADBC = {
    "test_03_an_empty_file_is_not_a_missing_one",
    "test_04_all_of_a_large_stream_never_goes_unasked",
    "test_08_zero_rows_where_rows_were_expected_is_shown",
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    name = metafunc.function.__name__
    engines = [engine for engine in ENGINES if engine != "adbc" or name not in NOT_BY_ADBC]
    one = engines[crc32(name.encode()) % len(engines)]
    metafunc.parametrize("engine", engines if os.environ.get("MILLRACE_FULL") else [one])


@pytest.fixture
def manifest(workdir: Path, engine: str) -> Callable[..., Path]:
    """As everywhere, but that the engine reads the file."""

    def write(name: str = "lake", *, source: Spec, destination: Spec, **fields: Any) -> Path:
        settings, connection, more = reads(engine, source["connection"]["url"], source["streams"][0]["name"])
        recipe = {"type": "files", "roles": ["source"], "defaultEngine": engine, "engines": {engine: settings}}
        documents = [harness.resource("Connector", "files", recipe), *fields.pop("documents", [])]
        own = {**source, "connector": "files", "connection": connection, **more}
        return harness.write_manifest(workdir, name, own, destination, documents=documents, **fields)

    return write


@pytest.fixture
def sink(workdir: Path, millrace: Millrace) -> FileSink:
    """Files alone: who writes does not know who has read."""
    return FileSink(harness.Lake(millrace), str(workdir / "out"))


def reads(engine: str, url: str, stream: str) -> tuple[Spec, Spec, Spec]:
    """The settings of an engine that reads a file as a stream, its connection, and more fields of the Source."""
    script, config = str(CONNECTORS / "files.py"), {"path": url, "stream": stream}
    match engine:
        case "python":
            return {"reader": f"{script}:Files"}, config, {}
        case "library":
            library = os.environ.get("MILLRACE_EXAMPLE_LIBRARY", program().with_name("libexample_csv_reader.so"))
            return {"reader": f"{library}:create_reader"}, {"directory": str(Path(url).parent), "parts": 2}, {}
        case "adbc":
            query = f"select * from read_csv('{url}', header = true, allow_quoted_nulls = false)"
            driver = {"driver": str(duckdb_library()), "entrypoint": "duckdb_adbc_init"}
            return driver, {}, {"options": {"queries": {stream: query}}}
        case _:
            return {"command": [sys.executable, script]}, config, {}
