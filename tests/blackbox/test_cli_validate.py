"""`millrace validate`: what is wrong is told with its place, before anything runs."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from harness import ROOT, Millrace, columns, csv_source, parquet_files, resource

Write = Callable[..., Path]
ROWS = [{"id": n, "email": f"{n}@x"} for n in range(1, 4)]


@pytest.fixture
def flow(workdir: Path, write_csv: Write, manifest: Write) -> Callable[..., Path]:
    """`flow("select ...", ...)`: a Flow with this transform, of a file with the columns id and email."""

    def write(sql: str, stream: dict[str, object] | None = None, **fields: object) -> Path:
        return manifest(
            source=csv_source(write_csv("orders.csv", ROWS), primary_key=["id"], **(stream or {})),
            destination=parquet_files(workdir / "out"),
            transforms=[{"sql": sql}],
            **fields,
        )

    return write


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("select count(*) as n from input", "looks at many rows"),
        ("select id, uper(email) as email from input", "there is no function `uper`"),
        ("select id frm input", "from input"),
        ("select id from input group by id", "`group by`"),
        ("select id from input where (", "not SQL"),
    ],
)
def test_a_transform_that_can_be_none_is_refused_without_the_source(
    millrace: Millrace, flow: Callable[..., Path], sql: str, message: str
) -> None:
    path = flow(sql)
    refused = millrace("validate", path, check=False)
    assert refused.returncode == 2 and message in refused.stderr, str(refused)
    line = next(n for n, text in enumerate(path.read_text().splitlines(), 1) if "sql:" in text)
    assert f"{path.name}:{line}: Flow/lake: spec.transforms[0].sql: " in refused.stderr, str(refused)


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("select id, emial from input", "there is no column `emial`; did you mean email?"),
        ("select email from input", "leaves out the key column `id`"),
    ],
)
def test_with_the_source_at_hand_columns_and_the_key_are_looked_at(
    millrace: Millrace, flow: Callable[..., Path], sql: str, message: str
) -> None:
    assert millrace("validate", flow(sql)).returncode == 0
    refused = millrace("validate", flow(sql), "--connect", check=False)
    assert refused.returncode == 2 and message in refused.stderr, str(refused)
    assert "spec.transforms[0].sql" in refused.stderr, str(refused)
    assert millrace("validate", flow("select * from input"), "--connect").returncode == 0


@pytest.mark.parametrize("sql", ["select id, emial from input", "select email from input"])
def test_declared_columns_do_without_the_source(
    millrace: Millrace, flow: Callable[..., Path], sql: str
) -> None:
    schema = {"schema": columns(id="integer", email="string")}
    # By default the source may have more columns than are declared.
    warned = millrace("validate", flow(sql, schema))
    assert "spec.transforms[0].sql" in warned.stderr and "warning" in warned.stderr, str(warned)
    refused = millrace(
        "validate", flow(sql, schema, schemaContract={"columns": "freeze"}), check=False
    )
    assert refused.returncode == 2 and "spec.transforms[0].sql" in refused.stderr, str(refused)
    fits = flow("select id, upper(email) as email from input", schema, schemaContract={"columns": "freeze"})
    assert "transform" not in millrace("validate", fits).stderr


def test_a_flow_within_a_job_is_looked_at_like_any_other(
    millrace: Millrace, flow: Callable[..., Path], workdir: Path
) -> None:
    path = flow("select * from input")
    destination = {**parquet_files(workdir / "own"), "connector": {"name": "file"}}
    own = {"source": {"name": "lake"}, "destination": destination, "transforms": [{"sql": "select id frm input"}]}
    documents = [
        *yaml.safe_load_all(path.read_text()),
        resource("Job", "alone", {"flowTemplate": {"spec": own}, "load": "Full"}),
    ]
    path.write_text(yaml.safe_dump_all(documents, sort_keys=False))
    refused = millrace("validate", path, check=False)
    assert refused.returncode == 2, str(refused)
    assert "Job/alone: spec.flowTemplate.spec.transforms[0].sql: " in refused.stderr, str(refused)
    own["transforms"] = []
    destination["connection"] = {**destination["connection"], "format": "csv", "compression": "lz4"}
    path.write_text(yaml.safe_dump_all(documents, sort_keys=False))
    refused = millrace("validate", path, check=False)
    assert refused.returncode == 2, str(refused)
    assert "Job/alone: spec.flowTemplate.spec.destination.connection.compression: " in refused.stderr, str(refused)
    destination["connection"] = {**destination["connection"], "format": "parquet"}
    path.write_text(yaml.safe_dump_all(documents, sort_keys=False))
    assert "default/alone: ExactlyOnce" in millrace("validate", path).stdout


@pytest.mark.parametrize("format_", ["csv", "ndjson"])
def test_upserts_into_text_files_are_refused_before_a_run(
    format_: str, millrace: Millrace, workdir: Path, write_csv: Write, manifest: Write
) -> None:
    destination = parquet_files(workdir / "out", format=format_)
    path = manifest(source=csv_source(write_csv("orders.csv", ROWS), primary_key=["id"]), destination=destination)

    refused = millrace("validate", path, check=False)

    assert refused.returncode == 2, str(refused)
    assert "spec.destination.connection.format: `writeMode: upsert` rewrites" in refused.stderr, str(refused)
    assert "choose parquet, or writeMode append or overwrite" in refused.stderr, str(refused)


def test_a_setting_that_nothing_would_use_is_refused(
    millrace: Millrace, flow: Callable[..., Path], workdir: Path
) -> None:
    path = flow("select * from input", state={"directory": str(workdir / "state"), "hashCursor": True})
    refused = millrace("validate", path, check=False)
    assert refused.returncode == 2 and "hashCursor" in refused.stderr, str(refused)


def printed_manifests(page: str) -> list[tuple[bool, str]]:
    """The manifests on the page of a connector, and whether each of them writes to it."""
    parts = re.split(r"^A manifest that (reads from|writes to) it:\n", page, flags=re.MULTILINE)[1:]
    return [(which == "writes to", text) for which, text in zip(parts[::2], parts[1::2], strict=True)]


def test_the_manifests_that_connectors_print_are_valid_and_run(millrace: Millrace, workdir: Path) -> None:
    for connector in millrace("connectors", "--output", "json").json:
        printed = printed_manifests(millrace("connectors", connector["name"]).stdout)
        assert [writes for writes, _ in printed] == [role == "destination" for role in connector["roles"]]
        for writes, text in printed:
            path = workdir / f"{connector['name']}-{'to' if writes else 'from'}.yaml"
            path.write_text(text)
            millrace("validate", path)
            # The others need files or a server that are not here.
            if writes and connector["name"] != "postgres":
                assert millrace("run", path, "--state", workdir / path.stem, "--dry-run").returncode == 0


def test_only_streams_without_any_key_are_warned_of(
    millrace: Millrace, workdir: Path, write_csv: Write, manifest: Write
) -> None:
    keyed = {"connector": "generator", "connection": {"rows": 10}}
    keyless = csv_source(write_csv("orders.csv", ROWS))
    for source, warned in [(keyed, False), (keyless, True)]:
        path = manifest(source=source, destination=parquet_files(workdir / "out", "append"))
        for options in ([], ["--connect"]):
            told = millrace("validate", path, *options).stderr
            assert ("without a primaryKey (orders)" in told) == warned, told


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "tests/bench/manifests").glob("*.yaml")))
def test_the_manifests_of_the_benchmarks_are_valid(name: str, millrace: Millrace) -> None:
    env = {"CSV": "in.csv", "OUT": "out", "PGHOST": "localhost", "PGPORT": "5432", "PGDATABASE": "bench"}
    env |= {"PGUSER": "bench", "PGPASSWORD": "bench"}
    millrace("validate", ROOT / "tests" / "bench" / "manifests" / f"{name}.yaml", env=env)
