"""Manifests that are wrong: refused before anything is read, with the place, the field and what to write."""

from __future__ import annotations

import base64
import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from harness import S3, Lake, Millrace, Postgres, Result, Spec, columns, csv_source, parquet_files, resource
from kit import FileSink, Sink, customers, expect, postgres_source, s3_state, same_rows, write_table

Run = Callable[..., Result]
Manifest = Callable[..., Path]
CONFIG = 2
DELETE = object()


def base() -> list[Spec]:
    """A manifest that is right."""
    source = {
        "connector": {"name": "file"},
        "connection": {"url": "in.csv", "format": "csv"},
        "streams": [{"name": "in", "primaryKey": ["id"]}],
    }
    destination = {**parquet_files("out"), "connector": {"name": "file"}}
    return [
        resource("Source", "shop", source),
        resource("Flow", "lake", {"source": {"name": "shop"}, "destination": destination}),
    ]


def put(documents: list[Spec], path: str, value: Any) -> list[Spec]:
    """Sets one field: `Flow.spec.state.id`, `Source.spec.streams.0.name`."""
    kind, *keys = path.split(".")
    node: Any = next(document for document in documents if document["kind"] == kind)
    for key, following in zip(keys, [*keys[1:], ""], strict=True):
        at: Any = int(key) if isinstance(node, list) else key
        if following:
            if isinstance(node, dict):
                node.setdefault(at, [] if following.isdigit() else {})
            elif len(node) <= at:
                node.append({})
            node = node[at]
        elif value is DELETE:
            del node[at]
        elif isinstance(node, list) and len(node) <= at:
            node.append(value)
        else:
            node[at] = value
    return documents


@pytest.fixture
def refused(millrace: Millrace, workdir: Path) -> Callable[..., str]:
    """Validates documents, and gives what was said; checks that it names the file, a line, and these words."""

    def check(documents: list[Spec] | str, *words: str, line: str = "", env: dict[str, str] | None = None) -> str:
        path = workdir / "lake.yaml"
        text = documents if isinstance(documents, str) else dump(documents)
        path.write_text(text)
        write_table(customers(3), workdir / "in.csv")
        result = millrace("validate", path, check=False, env=env)
        said = result.stdout + result.stderr
        assert result.returncode == CONFIG, str(result)
        places = re.findall(r"lake\.yaml:(\d+)", said)
        assert places, said
        assert all(word in said for word in words), (words, said)
        if line:
            told = [text.splitlines()[int(place) - 1] for place in places]
            assert any(line in shown for shown in told), (line, told)
        # What cannot be validated cannot be run either, and does nothing.
        ran = millrace("run", path, check=False, env=env)
        assert ran.returncode == CONFIG, str(ran)
        assert not (workdir / "out").exists()
        return said

    return check


def dump(documents: list[Spec]) -> str:
    return yaml.safe_dump_all(copy.deepcopy(documents), sort_keys=False, allow_unicode=True)


def case(path: str, value: Any, *words: str, id: str = "") -> Any:
    shown = "none" if value is DELETE else str(value)[:20]
    return pytest.param(path, value, words, id=id or f"{path.split('.')[-1]}={shown}")


NAMES = [
    case("Flow.metadata.name", "", "metadata.name"),
    case("Flow.metadata.name", "Lake", "metadata.name", "Lake"),
    case("Flow.metadata.name", "lake-", "metadata.name"),
    case("Flow.metadata.name", "sjö", "metadata.name"),
    case("Flow.metadata.name", "l" * 254, "metadata.name", id="254 letters"),
    case("Flow.metadata.name", "../lake", "metadata.name"),
    case("Flow.metadata.name", DELETE, "metadata.name", id="no name"),
    case("Flow.metadata.namespace", "A_B", "metadata.namespace"),
    case("Flow.spec.source.name", "Shop", "spec.source.name", "lower-case"),
    case("Flow.spec.source.name", "shopp", "spec.source.name", "shop"),
    case("Flow.spec.source.name", "", "spec.source.name"),
]
INTEGERS = [
    case(f"Source.spec.{name}", value, f"spec.{name}")
    for name in ("concurrency", "bufferLength")
    for value in (0, -1, 2**31, 2**63, 10**30, 5.5, "5", "many", True, [1])
] + [
    case("Source.spec.streams.0.partitions", 0, "spec.streams[0].partitions"),
    case("Source.spec.streams.0.partitions", 10_001, "spec.streams[0].partitions"),
    case("Flow.spec.maxDeleteFraction", -0.1, "spec.maxDeleteFraction"),
    case("Flow.spec.maxDeleteFraction", 1.1, "spec.maxDeleteFraction"),
    case("Flow.spec.maxDeleteFraction", "half", "spec.maxDeleteFraction"),
    case("Flow.spec.destination.connection.rowGroupRows", 0, "rowGroupRows"),
    case("Flow.spec.destination.connection.fileBytes", -1, "fileBytes"),
    case("Flow.spec.destination.connection.compressionLevel", 99, "compressionLevel"),
]
DURATIONS = [
    case(f"Source.spec.{name}", value, f"spec.{name}")
    for name in ("fullLoadInterval", "deltaLoadInterval")
    for value in ("0s", "-1s", "1", 30, "P1D", "", "soon", "1 h", "1e9h")
] + [
    case("Flow.spec.schedule", "@every 5m", "spec.schedule"),
    case("Flow.spec.schedule", "0 0 3 * * *", "spec.schedule", "6"),
    case("Flow.spec.schedule", "*/0 * * * *", "spec.schedule"),
    case("Flow.spec.schedule", "61 * * * *", "spec.schedule"),
    case("Flow.spec.schedule", "* * * *", "spec.schedule"),
    case("Flow.spec.schedule", "0 3 * * " + "1," * 500 + "1", "spec.schedule", id="schedule of 1000 letters"),
    case("Flow.spec.timeZone", "Europe/Stockholm", "timeZone", "schedule", id="a zone without a schedule"),
    case("Flow.spec.scheduleLoad", "Full", "scheduleLoad", "schedule", id="a load without a schedule"),
]
QUANTITIES = [
    case("Flow.spec.pod.resources.limits.memory", value, "spec.pod.resources.limits")
    for value in ("INVALID", "-1Gi", "1e100", "")
]
STRINGS = [
    case("Source.spec.connection.url", "${NOT_SET}", "spec.connection.url", "NOT_SET"),
    case("Flow.spec.deadLetter.url", "out/{nope}", "spec.deadLetter.url", "nope"),
    case("Flow.spec.deadLetter.url", "out/{label:team}", "spec.deadLetter.url", "team"),
    case("Flow.spec.state.id", "../../etc", "spec.state.id"),
    case("Flow.spec.state.id", "a b", "spec.state.id"),
    case("Flow.spec.state.id", "", "spec.state.id"),
    case("Flow.spec.state.s3", {"bucket": "b", "prefix": "../up"}, "spec.state.s3.prefix", id="prefix=../up"),
    case("Flow.spec.state.s3", {"bucket": "b", "prefix": "/root"}, "spec.state.s3.prefix", id="prefix=/root"),
    case("Flow.spec.transforms", [{"sql": ""}], "spec.transforms[0].sql", id="sql="),
    case("Flow.spec.transforms", [{"sql": "x" * 70_000}], "spec.transforms[0].sql", id="70000 letters of sql"),
]
ENUMS = [
    case("Flow.spec.destination.writeMode", "Upsert", "spec.destination.writeMode", "upsert"),
    case("Flow.spec.destination.writeMode", "merge", "spec.destination.writeMode", "append"),
    case("Flow.spec.mode", "batch", "spec.mode", "Batch"),
    case("Flow.spec.concurrencyPolicy", "Skip", "spec.concurrencyPolicy", "Forbid"),
    case("Flow.spec.schemaContract.columns", "evolv", "spec.schemaContract.columns", "evolve"),
    case("Flow.spec.delivery.require", "AtMostOnce", "spec.delivery.require", "AtLeastOnce"),
    case("Flow.spec.deletionPolicy", "Keep", "spec.deletionPolicy", "Retain"),
    case("Source.spec.connection.format", "xlsx", "spec.connection.format", "csv"),
    case("Flow.spec.destination.connection.format", "orc", "connection.format", "parquet"),
    case("Source.spec.streams.0.schema", [{"name": "id", "logicalType": "int"}], "logicalType", "integer", id="logicalType"),
    case("Source.spec.streams.0.match", "in.*", "spec.streams[0]", "match", id="name and match"),
    case("Source.spec.streams.0.name", DELETE, "spec.streams[0]", "name", id="neither name nor match"),
    case("Flow.spec.state", {"directory": "x", "s3": {"bucket": "b"}}, "spec.state", "at most one", id="two stores"),
    case("Source.spec.connector", DELETE, "connector", id="neither connector nor reader"),
    case("Source.spec.streams.0.cursorFields", [], "cursorFields"),
]
LISTS = [
    case("Source.spec.streams.1", {"name": "in"}, "spec.streams", "in", id="a stream twice"),
    case("Flow.spec.source.streams", ["in", "in"], "spec.source.streams", "in", id="a stream of the Flow twice"),
    case("Flow.spec.source.streams", ["In"], "spec.source.streams", "In", id="another case"),
    case(
        "Flow.spec.transforms", [{"streams": ["other"], "sql": "select * from input"}], "other", id="a transform of no stream"
    ),
    case("Source.spec.streams.0", {"match": "("}, "spec.streams[0].match", id="no regular expression"),
    case("Source.spec.streams.0.primaryKey", ["id"] * 65, "primaryKey", id="65 keys"),
    case("Source.spec.streams", "in", "spec.streams", id="a text for a list"),
]
MAPS = [
    case("Source.spec.connection.formt", "csv", "spec.connection", "formt", "format"),
    case("Source.spec.connection.password", "hunter2hunter2", "password", "credentials"),
    case("Source.spec.options.secretAccessKey", "hunter2hunter2", "secretAccessKey", "credentials"),
    case(
        "Source.spec.connection.url",
        "https://me:hunter2hunter2@host/x.csv",
        "spec.connection.url",
        "credentials",
        id="a password in a url",
    ),
    case("Flow.spec.destination.connection.compresion", "zstd", "compresion", "compression"),
]
REFERENCES = [
    case("Flow.spec.source.name", "shopp", "spec.source.name", "shop"),
    case("Source.spec.connector.name", "fil", "spec.connector.name", "file"),
    case("Source.spec.connector.config", "bulk", "spec.connector.config", "bulk"),
    case("Source.spec.connector.engine", "native2", "spec.connector.engine"),
    case("Source.kind", "Sauce", "Sauce", id="kind=Sauce"),
    case("Source.apiVersion", "millrace.dev/v2", "apiVersion", "millrace.dev/v1alpha1", id="apiVersion"),
    case("Source.spec.connector.name", "null", "null", id="a destination as a source"),
    case(
        "Source.spec.credentials",
        [{"name": "passwrd", "env": "X"}],
        "spec.credentials[0]",
        "passwrd",
        id="a credential nobody asks for",
    ),
    case(
        "Source.spec.credentials", [{"name": "secretAccessKey", "env": "NOT_SET"}], "NOT_SET", id="a credential that is not set"
    ),
    case(
        "Source.spec.credentials",
        [{"name": "secretAccessKey", "secret": {"name": "s", "key": "k"}}],
        "Secret s",
        id="no such Secret",
    ),
]
TYPES = [
    case("Source.spec.connection", "in.csv", "spec.connection", id="a text for an object"),
    case("Source.spec.streams", {"name": "in"}, "spec.streams", id="an object for a list"),
    case("Source.spec.streams.0.primaryKey", "id", "spec.streams[0].primaryKey", id="a text for a list of texts"),
    case("Flow.spec.suspend", 1, "spec.suspend", id="a number for a boolean"),
    case("Flow.spec.suspend", "yes", "spec.suspend", id="a text for a boolean"),
    case("Flow.spec.destination.wirteMode", "upsert", "spec.destination", "wirteMode", "writeMode"),
    case("Flow.spec.trasforms", [], "trasforms", "transforms"),
    case("Flow.sepc", {}, "sepc", "spec"),
    case("Flow.spec", DELETE, "spec", id="no spec"),
]


@pytest.mark.parametrize(
    ("path", "value", "words"),
    NAMES + INTEGERS + DURATIONS + QUANTITIES + STRINGS + ENUMS + LISTS + MAPS + REFERENCES + TYPES,
)
def test_a_wrong_field_is_refused_with_its_place(
    path: str, value: Any, words: tuple[str, ...], refused: Callable[..., str]
) -> None:
    said = refused(put(base(), path, value), *words)
    assert "hunter2" not in said


@pytest.mark.parametrize("word", ["no", "on", "off", "yes", "true", "1.5", "2026-01-01T00:00:00Z"])
def test_words_that_yaml_takes_for_something_else_are_no_text_without_quotes(
    word: str, refused: Callable[..., str], run: Run, workdir: Path
) -> None:
    text = dump(base()).replace("    primaryKey:\n    - id", f"    primaryKey:\n    - {word}")
    assert word in text
    if word.startswith("2026"):
        # YAML 1.2 and kubectl have no times: this is text, and a column that is not there.
        (workdir / "lake.yaml").write_text(text)
        write_table(customers(3), workdir / "in.csv")
        assert word in run(workdir / "lake.yaml", check=False).stderr
    else:
        refused(text, "spec.streams[0].primaryKey[0]", "quotes", line=f"- {word}")


@pytest.mark.parametrize(("word", "suspended"), [("on", True), ("yes", True), ("off", False), ("no", False)])
def test_words_for_booleans_mean_what_they_mean_to_kubectl(
    word: str, suspended: bool, millrace: Millrace, workdir: Path
) -> None:
    text = dump(base()).replace("  source:\n    name: shop", f"  suspend: {word}\n  source:\n    name: shop")
    (workdir / "lake.yaml").write_text(text)
    write_table(customers(3), workdir / "in.csv")
    assert ("suspended" in millrace("validate", workdir / "lake.yaml").stderr) == suspended


@pytest.mark.parametrize(
    ("name", "column"),
    [("no", "no"), ("on", "on"), ("null", "null"), ("1e3", "1e3"), ("0x1F", "0x1F"), ("2026-01-01", "2026-01-01")],
)
def test_a_quoted_name_stays_text(name: str, column: str, run: Run, workdir: Path, manifest: Manifest, files: FileSink) -> None:
    (workdir / "in.csv").write_text(f"{column},v\nx,1\n")
    flow = manifest(source=csv_source(workdir / "in.csv", primary_key=["QUOTED"]), destination=files.spec())
    flow.write_text(flow.read_text().replace("QUOTED", f'"{name}"'))
    run(flow)
    assert files.table(flow, "in").column_names == [column, "v"]


def test_the_line_is_that_of_the_field(refused: Callable[..., str]) -> None:
    refused(put(base(), "Source.spec.streams.0.partitions", 0), line="partitions: 0")
    refused(put(base(), "Flow.spec.destination.writeMode", "merge"), line="writeMode: merge")
    refused(put(base(), "Flow.spec.source.name", "shopp"), line="name: shopp")


def test_all_mistakes_are_told_at_once(refused: Callable[..., str]) -> None:
    documents = put(base(), "Source.spec.concurrency", 0)
    put(documents, "Flow.spec.mode", "batch")
    put(documents, "Flow.spec.timeZone", "Mars/Phobos")
    refused(documents, "spec.concurrency", "spec.mode")


@pytest.mark.parametrize(
    "text",
    ["{", "a: b: c", "- 1\n- 2\n", "just text", "a: 1\na: 2\n", "&a [*a]", "\x00", "a: \t- b", "%YAML 3.0\n---\n- x"],
)
def test_what_is_no_manifest_is_told(text: str, millrace: Millrace, workdir: Path) -> None:
    path = workdir / "lake.yaml"
    path.write_text(text)
    result = millrace("validate", path, check=False)
    assert result.returncode == CONFIG and "lake.yaml" in str(result), str(result)
    assert "panicked" not in result.stderr


def test_a_bomb_of_aliases_is_refused_in_time(millrace: Millrace, workdir: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    path = workdir / "lake.yaml"
    path.write_text("\n".join(lines))
    assert millrace("validate", path, check=False).returncode == CONFIG


def test_a_day_that_never_comes_is_a_warning(millrace: Millrace, workdir: Path) -> None:
    path = workdir / "lake.yaml"
    path.write_text(dump(put(base(), "Flow.spec.schedule", "0 0 31 2 *")))
    write_table(customers(3), workdir / "in.csv")
    result = millrace("validate", path)
    assert "never" in str(result) and "spec.schedule" in str(result)


@pytest.mark.parametrize("name", ["a", "0a", "a.b", "l" * 63, "l" * 253], ids=["1", "digit", "dots", "63", "253"])
def test_names_at_their_limits_work(name: str, run: Run, workdir: Path, manifest: Manifest, files: FileSink) -> None:
    source = write_table(customers(3), workdir / "in.csv")
    flow = manifest("lake", source=csv_source(source, primary_key=["id"]), destination=files.spec())
    documents = list(yaml.safe_load_all(flow.read_text()))
    documents[-1]["metadata"]["name"] = name
    flow.write_text(dump(documents))
    expect(run(flow).stream("in"), read=3, inserted=3)
    expect(run(flow).stream("in"), read=3, unchanged=3)


def test_names_with_one_beginning_do_not_meet(run: Run, workdir: Path, manifest: Manifest, millrace: Millrace) -> None:
    source = write_table(customers(3), workdir / "in.csv")
    spec = csv_source(source, primary_key=["id"])
    flows = [
        manifest("l" * 120 + end, source=spec, destination=parquet_files(workdir / end)) for end in ("-one", "-two")
    ]
    for flow in flows:
        expect(run(flow).stream("in"), read=3, inserted=3)
    for flow in flows:
        expect(run(flow).stream("in"), read=3, unchanged=3)


def test_two_resources_of_one_name_are_refused(refused: Callable[..., str]) -> None:
    documents = base()
    refused([*documents, copy.deepcopy(documents[1])], "lake", "Flow")


@pytest.mark.parametrize("modes", [("upsert", "upsert"), ("overwrite", "upsert")])
def test_two_flows_into_one_table_are_refused(modes: tuple[str, str], millrace: Millrace, workdir: Path) -> None:
    write_table(customers(3), workdir / "in.csv")
    first, second = base(), base()
    first[1]["spec"]["destination"]["writeMode"], second[1]["spec"]["destination"]["writeMode"] = modes
    second[1]["metadata"]["name"] = "lake2"
    path = workdir / "lake.yaml"
    path.write_text(dump([*first, second[1]]))
    result = millrace("run", path, check=False)
    assert result.returncode != 0, str(result)
    assert "lake2" in str(result) and "out" in str(result)


ODD_NAMES = ["select", 'say "x"', "a.b", "a`b", "naïve", "with space", "percent%s", "semi;colon", "x" * 63, "1st", "$1"]


def test_column_names_are_carried_as_they_are(run: Run, workdir: Path, manifest: Manifest, sink: Sink) -> None:
    source = workdir / "in.csv"
    quoted = [f'"{name.replace(chr(34), chr(34) * 2)}"' for name in ["id", *ODD_NAMES]]
    source.write_text(",".join(quoted) + "\n" + ",".join(["1", *(f"v{n}" for n in range(len(ODD_NAMES)))]) + "\n")
    flow = manifest(source=csv_source(source, primary_key=["id"]), destination=sink.spec())
    run(flow)
    (row,) = sink.table(flow, "in").to_pylist()
    assert row == {"id": 1, **{name: f"v{n}" for n, name in enumerate(ODD_NAMES)}}
    expect(run(flow).stream("in"), read=1, unchanged=1)


@pytest.mark.parametrize(
    "names", [("x" * 63 + "a", "x" * 63 + "b"), ("a", "A"), ("é", "e\u0301")], ids=["cut at 63", "case", "normal form"]
)
def test_names_that_a_system_would_merge_are_kept_apart_or_refused(
    names: tuple[str, str], run: Run, workdir: Path, manifest: Manifest, sink: Sink
) -> None:
    source = workdir / "in.csv"
    source.write_text(f"id,{names[0]},{names[1]}\n1,one,two\n")
    flow = manifest(source=csv_source(source, primary_key=["id"]), destination=sink.spec())
    result = run(flow, check=False)
    if result.returncode == 0:
        (row,) = sink.table(flow, "in").to_pylist()
        # Where a name is too long for the system, it gets one of its own.
        assert set(row.values()) == {1, "one", "two"} and len(row) == 3
    else:
        assert all(name in result.stderr for name in names), str(result)


def test_shell_and_template_syntax_is_text(run: Run, workdir: Path, manifest: Manifest, millrace: Millrace) -> None:
    names = ["$(touch pwned)", "`touch pwned`", "{{ 7 * 7 }}", "%n%s", "'; drop table x;--"]
    rows = [{"id": n, "v": name} for n, name in enumerate(names)]
    source = workdir / "in dir; touch pwned" / "in.csv"
    source.parent.mkdir()
    source.write_text("id,v\n" + "".join(f'{row["id"]},"{row["v"]}"\n' for row in rows))
    sink = FileSink(Lake(millrace), str(workdir / "out $(touch pwned)"))
    flow = manifest(source=csv_source(source, primary_key=["id"]), destination=sink.spec())
    run(flow)
    same_rows(sink.table(flow, "in"), rows)
    assert not (workdir / "pwned").exists()


def test_a_stream_name_cannot_climb_out_of_its_place(
    run: Run, manifest: Manifest, postgres: Postgres, workdir: Path, files: FileSink
) -> None:
    postgres.execute('create table "../../up" as select 1 as id')
    flow = manifest(source=postgres_source(postgres, "public.../../up"), destination=files.spec("overwrite"))
    result = run(flow, check=False)
    outside = [path for path in workdir.parent.rglob("*.parquet") if workdir / "out" not in path.parents]
    assert not outside
    if result.returncode == 0:
        assert all("/.." not in path for path in files.lake.files(flow))


def secret(**data: str | bytes) -> Spec:
    values = {k: base64.b64encode(v if isinstance(v, bytes) else v.encode()).decode() for k, v in data.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db"}, "data": values}


def with_secret(postgres: Postgres, files: FileSink, manifest: Manifest, *documents: Spec, key: str = "password") -> Path:
    source = postgres_source(postgres, "public.items")
    source["credentials"] = [{"name": "password", "secret": {"name": "db", "key": key}}]
    return manifest(source=source, destination=files.spec("overwrite"), documents=documents)


def test_a_password_comes_from_a_secret_with_or_without_a_line_end(
    millrace: Millrace, manifest: Manifest, postgres: Postgres, files: FileSink
) -> None:
    postgres.execute("create table items as select 1 as id")
    password = postgres.env["PGPASSWORD"]
    for value in (password, password + "\n"):
        flow = with_secret(postgres, files, manifest, secret(password=value))
        assert millrace("run", flow, check=False).returncode == 0
    assert files.table(flow, "public.items").num_rows == 1


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (None, ["Secret db", "credentials"]),
        (secret(other="x"), ["Secret db", "password"]),
        (secret(password=""), ["password"]),
        (secret(password=b"\xff\xfe\x00"), ["password"]),
        ({**secret(), "data": {"password": "not base64!"}}, ["password"]),
        ({**secret(password="x"), "kind": "ConfigMap"}, ["Secret db"]),
    ],
    ids=["no Secret", "no key", "empty", "binary", "no base64", "a ConfigMap"],
)
def test_a_secret_that_cannot_serve_is_told(
    document: Spec | None, words: list[str], millrace: Millrace, manifest: Manifest, postgres: Postgres, files: FileSink
) -> None:
    postgres.execute("create table items as select 1 as id")
    flow = with_secret(postgres, files, manifest, *([document] if document else []))
    result = millrace("run", flow, check=False)
    assert result.returncode in (1, CONFIG), str(result)
    assert all(word in result.stderr for word in words), str(result)
    assert not Path(files.root, "public.items").exists()


def test_a_rotated_password_is_read_again_at_the_next_connection(
    run: Run, manifest: Manifest, postgres: Postgres, files: FileSink, workdir: Path, millrace: Millrace
) -> None:
    postgres.execute("create table items as select 1 as id")
    role = f"reader_{postgres.spec['database']}"
    postgres.execute(f"create role {role} login password 'first-password'")
    postgres.execute(f"grant select on items to {role}")
    place = workdir / "password"
    place.write_text("first-password")
    source = postgres_source(postgres, "public.items", primaryKey=["id"])
    source["connection"]["user"] = role
    source["credentials"] = [{"name": "password", "file": str(place)}]
    flow = manifest(source=source, destination=files.spec(), mode="Batch")
    try:
        assert millrace("run", flow).returncode == 0
        postgres.execute(f"alter role {role} password 'second-password'")
        refused = millrace("run", flow, check=False)
        assert refused.returncode in (1, CONFIG) and "second-password" not in str(refused)
        place.write_text("second-password\n")
        assert millrace("run", flow).returncode == 0
    finally:
        postgres.execute(f"drop owned by {role}; drop role {role}")


@pytest.mark.parametrize("bucket", ["no-such-bucket-here", "Not_A_Bucket", "a/b"])
def test_a_bucket_that_is_not_there_is_told(
    bucket: str, run: Run, workdir: Path, manifest: Manifest, s3: S3
) -> None:
    source = write_table(customers(3), workdir / "in.csv")
    destination = parquet_files(f"s3://{bucket}/out", **s3.spec)
    result = run(manifest(source=csv_source(source, primary_key=["id"]), destination=destination), check=False)
    assert result.returncode in (1, CONFIG), str(result)
    assert bucket.split("/")[0] in result.stderr


@pytest.mark.parametrize("spec", [{"bucket": "no-such-bucket-here"}, {"region": "mars-1"}], ids=["bucket", "region"])
def test_a_state_store_that_is_not_there_is_told(
    spec: Spec, run: Run, workdir: Path, manifest: Manifest, s3: S3, files: FileSink
) -> None:
    source = write_table(customers(3), workdir / "in.csv")
    state = s3_state(s3)
    state["s3"] |= spec
    flow = manifest(source=csv_source(source, primary_key=["id"]), destination=files.spec(), state=state)
    result = run(flow, check=False)
    assert result.returncode in (0, 1, CONFIG) if "region" in spec else result.returncode in (1, CONFIG), str(result)
    if result.returncode:
        assert next(iter(spec.values())) in result.stderr or s3.bucket in result.stderr
        assert not list(Path(files.root).rglob("*.parquet"))


def test_a_place_that_is_a_file_is_told(run: Run, workdir: Path, manifest: Manifest, files: FileSink) -> None:
    source = write_table(customers(3), workdir / "in.csv")
    (workdir / "out").write_text("in the way")
    result = run(manifest(source=csv_source(source, primary_key=["id"]), destination=files.spec()), check=False)
    assert result.returncode in (1, CONFIG) and str(workdir / "out") in result.stderr, str(result)


def test_another_state_id_does_not_start_over_in_silence(
    run: Run, workdir: Path, manifest: Manifest, sink: Sink
) -> None:
    source = write_table(customers(3), workdir / "in.csv")
    spec = csv_source(source, primary_key=["id"])
    flow = manifest(source=spec, destination=sink.spec(), state={"id": "one"})
    run(flow)
    before = sink.fingerprint(flow, "in") if sink.name == "file" else None
    manifest(source=spec, destination=sink.spec(), state={"id": "two"})
    result = run(flow, check=False)
    assert result.returncode in (CONFIG, 3), str(result)
    if before:
        assert sink.fingerprint(flow, "in") == before


def test_an_unknown_trigger_is_told(millrace: Millrace, workdir: Path) -> None:
    documents = base()
    documents[1]["metadata"]["annotations"] = {"millrace.dev/ful_load": "1"}
    write_table(customers(3), workdir / "in.csv")
    path = workdir / "lake.yaml"
    path.write_text(dump(documents))
    result = millrace("validate", path, check=False)
    assert "ful_load" in str(result) and "full_load" in str(result), str(result)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hostNetwork", True),
        ("containers", [{"name": "other", "image": "x"}]),
        ("securityContext", {"runAsUser": 0}),
        ("volumes", [{"name": "root", "hostPath": {"path": "/"}}]),
        ("serviceAccountName", "admin"),
        ("env", [{"name": "TOKEN", "value": "hunter2hunter2"}]),
    ],
)
def test_a_pod_field_outside_the_safe_subset_is_refused(field: str, value: Any, refused: Callable[..., str]) -> None:
    said = refused(put(base(), f"Flow.spec.pod.{field}", value), "spec.pod", field)
    assert "hunter2" not in said


def test_ten_thousand_streams_are_validated_in_time(millrace: Millrace, workdir: Path) -> None:
    documents = base()
    documents[0]["spec"]["streams"] = [{"name": f"t{n}", "primaryKey": ["id"]} for n in range(10_000)]
    path = workdir / "lake.yaml"
    path.write_text(dump(documents))
    millrace("validate", path)
    documents[0]["spec"]["streams"].append({"name": "one-more"})
    path.write_text(dump(documents))
    refused = millrace("validate", path, check=False)
    assert refused.returncode == CONFIG and "spec.streams" in str(refused)


def test_columns_of_a_declared_schema_must_be_there_or_fit(
    run: Run, workdir: Path, manifest: Manifest, files: FileSink
) -> None:
    source = write_table(customers(3), workdir / "in.csv")
    schema = columns(id="integer", nmae="string")
    result = run(
        manifest(source=csv_source(source, primary_key=["id"], schema=schema), destination=files.spec()), check=False
    )
    if result.returncode == 0:
        assert "nmae" in result.stderr, str(result)
    else:
        assert "nmae" in result.stderr and "name" in result.stderr, str(result)


def test_a_key_that_is_not_there_is_told(run: Run, workdir: Path, manifest: Manifest, files: FileSink) -> None:
    source = write_table(customers(3), workdir / "in.csv")
    result = run(manifest(source=csv_source(source, primary_key=["idd"]), destination=files.spec()), check=False)
    assert result.returncode == CONFIG and "idd" in result.stderr and "did you mean" in result.stderr, str(result)


@pytest.mark.parametrize(
    "sql",
    [
        "select random() as r, id from input",
        "select count(*) as n from input",
        "select a.id from input a join input b on a.id = b.id",
        "select id from other",
        "delete from input",
        "select nme from input",
        "select id from input limit 3",
        "select id from read_csv('/etc/passwd')",
    ],
)
def test_a_transform_that_is_no_transform_of_rows_is_refused(
    sql: str, run: Run, workdir: Path, manifest: Manifest, files: FileSink
) -> None:
    source = write_table(customers(3), workdir / "in.csv")
    flow = manifest(source=csv_source(source, primary_key=["id"]), destination=files.spec(), transforms=[{"sql": sql}])
    result = run(flow, check=False)
    assert result.returncode == CONFIG, str(result)
    assert "transform" in result.stderr
    assert not list(Path(files.root).rglob("*.parquet"))
