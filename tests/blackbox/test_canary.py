"""No byte of a secret leaves the place it belongs to, whatever goes wrong, with every log line switched on."""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pytest
from faultproxy import Fault, HttpProxy
from harness import S3, Millrace, Postgres, Result, Spec, csv_source, parquet_files
from kit import customers, letters, postgres_source, s3_state, write_table
from parrot import Parrot
from spellings import CANARY, spellings

Manifest = Callable[..., Path]
LEVELS = {"MILLRACE_LOG": "trace", "RUST_LOG": "trace", "RUST_BACKTRACE": "full"}


def test_the_search_finds_every_spelling() -> None:
    for text in (CANARY, quote(CANARY), CANARY.encode().hex(), base64.b64encode(b"user:" + CANARY.encode()).decode()):
        assert any(form in f"before {text} after".encode() for form in spellings(CANARY)), text


@dataclass
class Watcher:
    """Looks at the arguments of the program while it runs, and at all that it left."""

    millrace: Millrace
    secrets: list[str]
    arguments: list[bytes] = field(default_factory=list)

    def run(self, *args: str | Path, env: dict[str, str], timeout: float = 600) -> Result:
        done = threading.Event()
        eye = threading.Thread(target=self._look, args=(done,))
        eye.start()
        try:
            return self.millrace(*args, env={**env, **LEVELS}, check=False, timeout=timeout)
        finally:
            done.set()
            eye.join()

    def _look(self, done: threading.Event) -> None:
        while not done.wait(0.02):
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    if (process / "cwd").resolve() == self.millrace.cwd.resolve():
                        self.arguments.append((process / "cmdline").read_bytes())
                except OSError:
                    continue

    def finds_nothing(self, result: Result, but: Path | None = None) -> None:
        """Checks standard output and error, all files in the directory, and the arguments."""
        assert result.stderr, "nothing was logged, so nothing was tested"
        found = {"stdout": result.stdout.encode(), "stderr": result.stderr.encode()}
        found |= {"arguments": b"\n".join(self.arguments)}
        for path in self.millrace.cwd.rglob("*"):
            if path.is_file() and path != but:
                found[str(path)] = path.read_bytes()
        for place, content in found.items():
            for secret in self.secrets:
                for form in spellings(secret):
                    at = content.find(form)
                    assert at < 0, f"{place}: {content[max(0, at - 100) : at + 100]!r}"


def v1_secret(**values: str) -> Spec:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "canary"}, "stringData": values}


def by_secret(name: str) -> list[Spec]:
    return [{"name": name, "secret": {"name": "canary", "key": name}}]


@pytest.fixture
def watcher(millrace: Millrace) -> Watcher:
    return Watcher(millrace, [CANARY])


@pytest.fixture
def role(postgres: Postgres) -> Iterator[str]:
    """A role whose password is the canary."""
    name = f"canary_{postgres.spec['database']}"
    escaped = CANARY.replace("'", "''")
    postgres.execute(f"create role {name} login password '{escaped}'")
    yield name
    postgres.execute(f"drop owned by {name}; drop role {name}")


CASES = ["well", "wrong password", "unreachable", "no such database", "no encryption there", "no right", "panic", "killed"]


@pytest.mark.parametrize("way", ["env", "secret", "file"])
@pytest.mark.parametrize("what", CASES)
def test_i12_a_password_stays_where_it_belongs(
    what: str, way: str, watcher: Watcher, workdir: Path, manifest: Manifest, postgres: Postgres, role: str
) -> None:
    postgres.execute("create table items as select n as id from generate_series(1, 10) n")
    if what != "no right":
        postgres.execute(f"grant select on items to {role}")
    if what == "wrong password":
        postgres.execute(f"alter role {role} password 'another'")
    connection: Spec = {"user": role}
    of_cases: dict[str, Spec] = {
        "unreachable": {"port": 1},
        "no such database": {"database": CANARY[-10:] + "x"},
        "no encryption there": {"sslMode": "verify-full"},
    }
    connection |= of_cases.get(what, {})
    source = postgres_source(postgres, "public.items", primaryKey=["id"], connection=connection)
    documents, env, keep = [], {}, workdir / "lake.yaml"
    match way:
        case "env":
            source["credentials"] = [{"name": "password", "env": "THE_PASSWORD"}]
            env["THE_PASSWORD"] = CANARY
        case "secret":
            source["credentials"] = by_secret("password")
            documents.append(v1_secret(password=CANARY))
        case _:
            keep = workdir / "password"
            keep.write_text(CANARY)
            source["credentials"] = [{"name": "password", "file": "password"}]
    if what in ("panic", "killed"):
        env["MILLRACE_FAILPOINT"] = "stage.write=panic" if what == "panic" else "commit.before"
    flow = manifest(source=source, destination=parquet_files(workdir / "out"), documents=documents)

    result = watcher.run("run", flow, "--output", "json", env=env)

    assert (result.returncode == 0) == (what == "well"), str(result)
    watcher.finds_nothing(result, but=keep)


def test_i12_a_password_of_the_destination_stays_where_it_belongs(
    watcher: Watcher, workdir: Path, manifest: Manifest, postgres: Postgres, role: str
) -> None:
    source = write_table(customers(10), workdir / "customers.csv")
    destination = {
        "connector": "postgres",
        "connection": {**postgres.spec, "user": role},
        "credentials": by_secret("password"),
        "writeMode": "upsert",
    }
    documents = [v1_secret(password=CANARY)]
    flow = manifest(source=csv_source(source, primary_key=["id"]), destination=destination, documents=documents)
    # It may not make a table.
    refused = watcher.run("run", flow, env={})
    assert refused.returncode != 0
    watcher.finds_nothing(refused, but=flow)
    postgres.execute(f"grant create on schema public to {role}")
    done = watcher.run("run", flow, env={})
    assert done.returncode == 0, str(done)
    watcher.finds_nothing(done, but=flow)


def test_i12_a_server_that_repeats_the_password_is_not_quoted(
    watcher: Watcher, workdir: Path, manifest: Manifest
) -> None:
    with Parrot("127.0.0.1") as parrot:
        source: Spec = {
            "connector": "postgres",
            "connection": {"host": "127.0.0.1", "port": parrot.port, "user": "u", "database": "d"},
            "credentials": by_secret("password"),
        }
        documents = [v1_secret(password=CANARY)]
        flow = manifest(source=source, destination=parquet_files(workdir / "out"), documents=documents)
        result = watcher.run("run", flow, env={})
    assert result.returncode != 0 and parrot.heard, str(result)
    assert "no such password" in result.stderr
    watcher.finds_nothing(result, but=flow)


@pytest.mark.parametrize("what", ["well", "403", "wrong key", "unreachable", "no bucket", "500", "panic"])
def test_i12_keys_of_a_bucket_stay_where_they_belong(
    what: str, watcher: Watcher, workdir: Path, manifest: Manifest, s3: S3
) -> None:
    source = write_table(customers(10), workdir / "customers.csv")
    key = CANARY if what == "wrong key" else s3.secret_key
    watcher.secrets.append(s3.secret_key)
    documents = [v1_secret(secretAccessKey=key, accessKeyId=s3.access_key)]
    credentials = [*by_secret("secretAccessKey"), *by_secret("accessKeyId")]
    faults = {
        "403": [Fault("fail_before", status=403, times=None)],
        "500": [Fault("fail_before", status=500, times=30)],  # which passes
    }
    with HttpProxy(s3.endpoint, faults.get(what, [])) as proxy:
        endpoint = "http://127.0.0.1:1" if what == "unreachable" else proxy.url
        bucket = "no-such-bucket" if what == "no bucket" else s3.bucket
        place = {"endpoint": endpoint, "region": s3.region}
        destination = parquet_files(f"s3://{bucket}/out", **place)
        destination["credentials"] = credentials
        state = s3_state(s3)
        state["s3"] |= {**place, "bucket": bucket, "credentials": credentials}
        flow = manifest(
            source=csv_source(source, primary_key=["id"]), destination=destination, state=state, documents=documents
        )
        env = {"MILLRACE_FAILPOINT": "stage.write=panic"} if what == "panic" else {}
        result = watcher.run("run", flow, env=env)
    assert (result.returncode == 0) == (what in ("well", "500")), str(result)
    watcher.finds_nothing(result, but=flow)
    for stored in s3.keys():
        assert not any(form in s3.get(stored) for form in spellings(s3.secret_key)), stored


@pytest.mark.parametrize("command", ["validate", "discover", "preview", "state", "status", "schema"])
def test_i12_no_command_prints_a_secret(
    command: str, watcher: Watcher, workdir: Path, manifest: Manifest, postgres: Postgres, role: str
) -> None:
    postgres.execute("create table items as select n as id from generate_series(1, 10) n")
    source = postgres_source(postgres, "public.items", primaryKey=["id"], connection={"user": role})
    source["credentials"] = by_secret("password")
    documents = [v1_secret(password=CANARY)]
    flow = manifest(source=source, destination=parquet_files(workdir / "out"), documents=documents)
    commands: dict[str, list[str | Path]] = {
        "validate": ["validate", flow, "--connect"],
        "discover": ["discover", "lake", flow],
        "preview": ["preview", "lake", flow],
        "state": ["state", "list", flow],
        "status": ["status", flow],
        "schema": ["schema"],
    }
    result = watcher.run(*commands[command], env={})
    said = (result.stdout + result.stderr).encode()
    assert not any(form in said for form in spellings(CANARY)), said


def test_i12_a_secret_in_a_row_goes_only_where_rows_go(watcher: Watcher, workdir: Path, manifest: Manifest) -> None:
    # What stands in the data is for the destination and the dead letter, not for logs.
    (workdir / "in.csv").write_text(f'id,v\n1,"{CANARY.replace(chr(34), chr(34) * 2)}"\n,"{"x" * 20}-{CANARY[-12:]}"\n')
    schema = [{"name": "id", "logicalType": "integer"}, {"name": "v", "logicalType": "string"}]
    source = csv_source(workdir / "in.csv", primary_key=["id"], schema=schema)
    flow = manifest(source=source, destination=parquet_files(workdir / "out"))
    result = watcher.run("run", flow, env={})
    assert result.returncode == 0 and len(letters(workdir)) == 1, str(result)
    said = (result.stdout + result.stderr).encode()
    assert CANARY[-12:].encode() not in said
    assert not re.search(rb"Canary\+", said)
