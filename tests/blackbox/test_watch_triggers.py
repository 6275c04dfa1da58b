"""`run --watch`: files that change, intervals, schedules, and triggers that are each handled once."""

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from harness import S3, Lake, Millrace, Postgres, Spec, csv_source, parquet_files, resource
from kit import LONGEST, postgres_source, s3_state, ticks

Write = Callable[..., Path]
ROWS = [{"id": n, "n": 1} for n in range(1, 4)]


def until(check: Callable[[], Any], seconds: float = LONGEST) -> Any:
    """Waits until something is true."""
    end = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.1)
    return found


class Watch:
    """A watch at work, with what it has told so far in JSON."""

    def __init__(
        self, millrace: Millrace, path: Path, *args: str, env: Mapping[str, str] | None = None
    ) -> None:
        self.out = path.parent / f"watch-{time.monotonic_ns()}.jsonl"
        self.path, self.millrace, self.env = path, millrace, env or {}
        with self.out.open("w") as out, self.out.with_suffix(".err").open("w") as err:
            self.process = subprocess.Popen(
                [millrace.binary, "run", "--watch", "--output", "json", str(path), *args],
                cwd=millrace.cwd,
                env=millrace.environment(self.env),
                stdout=out,
                stderr=err,
                text=True,
            )

    @property
    def told(self) -> str:
        return self.out.with_suffix(".err").read_text()

    def reports(self) -> list[dict[str, Any]]:
        """The report of each run; a line that is still being written is none yet."""
        lines = self.out.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def loads(self, stream: str | None = None) -> list[dict[str, Any]]:
        streams = [s for report in self.reports() for flow in report["flows"] for s in flow["streams"]]
        return [s for s in streams if stream in (None, s["name"])]

    def wait(self, loads: int, stream: str | None = None) -> list[dict[str, Any]]:
        try:
            return until(lambda: len(self.loads(stream)) >= loads and self.loads(stream))
        except AssertionError:
            raise AssertionError(f"{loads} loads were awaited: {self.loads()}\n{self.told}") from None

    def stop(self, how: int = signal.SIGINT) -> int:
        self.process.send_signal(how)
        return self.process.wait(600)

    def triggers(self) -> list[dict[str, Any]]:
        status = self.millrace("status", self.path, "--output", "json", env=self.env).json
        return [t for flow in status["flows"] for t in flow["triggers"]]


@pytest.fixture
def watch(millrace: Millrace) -> Iterator[Callable[..., Watch]]:
    started: list[Watch] = []

    def start(path: Path, *args: str, **how: Any) -> Watch:
        started.append(Watch(millrace, path, *args, **how))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()


def slow(seconds: int, workdir: Path) -> dict[str, Any]:
    """A Source and a destination whose full load takes so long, on whatever machine: 30,000 rows by the clock."""
    limit = {"requestsPerSecond": 30 / seconds, "burst": 1}
    recipe: Spec = resource("Connector", "slow", {"type": "generator", "roles": ["source"], "rateLimit": limit})
    return {
        "source": {"connector": "slow", "connection": {"rows": 30_000, "batchRows": 1000}},
        "destination": parquet_files(workdir / "out", "append"),
        "documents": [recipe],
    }


def change(path: Path, text: str) -> None:
    """Replaces the file as editors do: whoever reads it sees the old or the new."""
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    new.replace(path)


def seen(running: Watch) -> None:
    """Waits until it has seen its Flow: a token that is there before is noted and not run."""
    state = running.path.parent / ".millrace" / "state"
    until(lambda: list(state.rglob("HEAD.json")))


def annotate(path: Path, kind: str, name: str, value: str) -> None:
    """Sets an annotation, as a person would in an editor."""
    documents = list(yaml.safe_load_all(path.read_text()))
    for document in documents:
        if document["kind"] == kind:
            document["metadata"].setdefault("annotations", {})[f"millrace.dev/{name}"] = value
    change(path, yaml.safe_dump_all(documents, sort_keys=False))


@pytest.fixture
def two_tables(workdir: Path, write_csv: Write) -> Path:
    """A Source of two tables, and a Flow of both."""
    for name in ("orders", "users"):
        write_csv(f"in/{name}.csv", ROWS)
    documents = [
        {
            "apiVersion": "millrace.dev/v1alpha1",
            "kind": "Source",
            "metadata": {"name": "shop"},
            "spec": {
                "connector": {"name": "file"},
                "connection": {"url": "in/{stream}.csv", "format": "csv"},
                "streams": [{"name": name, "primaryKey": ["id"]} for name in ("orders", "users")],
            },
        },
        {
            "apiVersion": "millrace.dev/v1alpha1",
            "kind": "Flow",
            "metadata": {"name": "lake"},
            "spec": {
                "source": {"name": "shop"},
                "destination": {**parquet_files("out"), "connector": {"name": "file"}},
            },
        },
    ]
    path = workdir / "lake.yaml"
    path.write_text(yaml.safe_dump_all(documents, sort_keys=False))
    return path


def test_each_of_the_four_triggers_loads_what_it_names(two_tables: Path, watch: Callable[..., Watch]) -> None:
    running = watch(two_tables)
    running.wait(2)
    annotate(two_tables, "Source", "full_load", "1")
    assert {(s["name"], s["load"]) for s in running.wait(4)[2:]} == {("orders", "full"), ("users", "full")}
    annotate(two_tables, "Flow", "delta_load", "1")
    assert {(s["name"], s["load"]) for s in running.wait(6)[4:]} == {("orders", "delta"), ("users", "delta")}
    annotate(two_tables, "Source", "full_load_orders", "1")
    assert [(s["name"], s["load"]) for s in running.wait(7)[6:]] == [("orders", "full")]
    annotate(two_tables, "Flow", "delta_load_users", "1")
    assert [(s["name"], s["load"]) for s in running.wait(8)[7:]] == [("users", "delta")]
    annotate(two_tables, "Flow", "full_load", "2;tables=users")
    assert [(s["name"], s["load"]) for s in running.wait(9)[8:]] == [("users", "full")]
    assert [t["state"] for t in running.triggers()] == ["Succeeded"] * 5
    assert running.stop() == 0


def test_a_token_is_handled_once_also_after_a_restart(two_tables: Path, watch: Callable[..., Watch]) -> None:
    annotate(two_tables, "Flow", "full_load", "0")
    running = watch(two_tables)
    running.wait(2)
    assert [t["state"] for t in running.triggers()] == ["Initial"]
    annotate(two_tables, "Flow", "full_load", "1")
    running.wait(4)
    assert running.stop() == 0
    annotate(two_tables, "Flow", "delta_load", "while it was away")
    running = watch(two_tables)
    # The start itself loads both once, since the Flow has no interval; then comes the token.
    loads = running.wait(4)
    assert sorted(s["load"] for s in loads) == ["delta", "delta", "full", "full"]
    time.sleep(1)
    assert len(running.loads()) == 4
    annotate(two_tables, "Flow", "full_load", "1")
    time.sleep(1.5)
    assert len(running.loads()) == 4
    assert [t["token"] for t in running.triggers()] == ["0", "1", "while it was away"]


def test_a_token_whose_load_was_killed_goes_on_under_the_same_run(
    workdir: Path, millrace: Millrace, manifest: Write, watch: Callable[..., Watch], lake: Lake
) -> None:
    path = manifest(**slow(6, workdir))
    running = watch(path)
    running.wait(1)
    annotate(path, "Flow", "full_load", "1")
    # Of its own log: to ask for the status takes time, in which the load could end.
    until(lambda: running.told.count("begins") >= 2)
    running.stop(signal.SIGKILL)
    before = millrace("status", path, "--output", "json").json["flows"][0]["triggers"]
    running = watch(path)
    until(lambda: [t["state"] for t in running.triggers()] == ["Succeeded"])
    assert [t["job"] for t in running.triggers()] == [t["job"] for t in before]
    assert running.stop() == 0
    assert lake.table(path).num_rows == 30_000


def test_a_ledger_in_a_bucket_hears_each_token_once_also_after_a_kill(
    millrace: Millrace, workdir: Path, write_csv: Write, manifest: Write, watch: Callable[..., Watch], s3: S3
) -> None:
    orders = write_csv("orders.csv", ROWS)
    path = manifest(
        source=csv_source(orders, primary_key=["id"]),
        destination=parquet_files(f"{s3.url}/out", **s3.spec),
        state=s3_state(s3),
    )
    running = watch(path, env=s3.env)
    running.wait(1)
    millrace("trigger", "flow/lake", "full_load", path, env=s3.env)
    until(lambda: [t["state"] for t in running.triggers()] == ["Succeeded"])
    running.stop(signal.SIGKILL)

    running = watch(path, env=s3.env)
    running.wait(1)
    millrace("trigger", "source/lake", "delta_load_orders", path, env=s3.env)
    until(lambda: [t["state"] for t in running.triggers()] == ["Succeeded"] * 2)
    # A load is told after the ledger knows of it.
    assert running.stop() == 0
    # One as it started, and one by the second token; the first was not heard again.
    assert [load["load"] for load in running.loads()] == ["full", "delta"]
    assert len(s3.keys("state")) == 2, "of the stream, and of the ledger"
    assert not (workdir / ".millrace").exists()


def test_a_name_that_matches_no_table_is_told(two_tables: Path, watch: Callable[..., Watch]) -> None:
    running = watch(two_tables)
    running.wait(2)
    annotate(two_tables, "Source", "full_load_Orders", "1")
    (trigger,) = until(lambda: [t for t in running.triggers() if t["state"] == "Failed"])
    assert "`Orders`" in trigger["message"] and "orders, users" in trigger["message"]
    until(lambda: "`Orders`" in running.told)
    assert len(running.loads()) == 2
    annotate(two_tables, "Flow", "full_laod", "1")
    until(lambda: "full_laod" in running.told)


def test_of_the_tables_that_a_trigger_names_those_that_exist_are_loaded(
    two_tables: Path, watch: Callable[..., Watch]
) -> None:
    running = watch(two_tables)
    running.wait(2)
    annotate(two_tables, "Flow", "full_load", "1;tables=users,nope")
    assert [(s["name"], s["load"]) for s in running.wait(3)[2:]] == [("users", "full")]
    (trigger,) = until(lambda: [t for t in running.triggers() if t["state"] == "Failed"])
    assert "`nope`" in trigger["message"] and "users" in trigger["message"]
    until(lambda: "`nope`" in running.told)


def test_a_token_set_while_suspended_waits(two_tables: Path, watch: Callable[..., Watch]) -> None:
    text = two_tables.read_text()
    two_tables.write_text(text.replace("  source:\n", "  suspend: true\n  source:\n"))
    running = watch(two_tables)
    seen(running)
    annotate(two_tables, "Flow", "full_load", "1")
    until(lambda: [t["state"] for t in running.triggers()] == ["Waiting"])
    assert running.loads() == []
    change(two_tables, two_tables.read_text().replace("suspend: true", "suspend: false"))
    until(lambda: [t["state"] for t in running.triggers()] == ["Succeeded"])


def test_the_trigger_command_keeps_comments_and_is_taken_by_the_next_watch(
    millrace: Millrace, workdir: Path, watch: Callable[..., Watch]
) -> None:
    millrace("init")
    path = workdir / "flow.yaml"
    before = path.read_text()
    millrace("trigger", "flow/orders", "full_load", path, "--tables", "orders", "--allow-deletes")
    after = path.read_text()
    assert after.count("#") == before.count("#") and after.splitlines()[0] == before.splitlines()[0]
    _, flow = yaml.safe_load_all(after)
    assert flow["metadata"]["annotations"]["millrace.dev/full_load"].endswith(";tables=orders;allow-deletes")
    running = watch(path)
    until(lambda: [t["state"] for t in running.triggers()] == ["Succeeded"])
    millrace("trigger", "source/shop", "delta_load_orders", path)
    until(lambda: [t["state"] for t in running.triggers()] == ["Succeeded"] * 2)
    unknown = millrace("trigger", "flow/nope", "full_load", path, check=False)
    assert unknown.returncode == 2 and "flow/orders, source/shop" in unknown.stderr
    wrong = millrace("trigger", "flow/orders", "full_laod", path, check=False)
    assert wrong.returncode == 2 and "full_load" in wrong.stderr


@pytest.mark.parametrize("mode", ["Batch", "Continuous"])
def test_an_interval_loads_again_and_a_restart_makes_no_full_load(
    mode: str, workdir: Path, write_csv: Write, manifest: Write, watch: Callable[..., Watch], lake: Lake
) -> None:
    orders = write_csv("orders.csv", ROWS)
    source = {**csv_source(orders, primary_key=["id"]), "fullLoadInterval": "1h", "deltaLoadInterval": "1s"}
    path = manifest(source=source, destination=parquet_files(workdir / "out"), mode=mode)
    running = watch(path)
    running.wait(2)
    write_csv("orders.csv", [*ROWS, {"id": 4, "n": 1}])
    until(lambda: any(s["inserted"] == 1 for s in running.loads()))
    loads = running.loads()
    assert [s["load"] for s in loads] == ["full"] + ["delta"] * (len(loads) - 1)
    assert running.stop() == 0
    running = watch(path)
    assert {s["load"] for s in running.wait(2)} == {"delta"}
    assert running.stop(signal.SIGTERM) == 0
    assert sorted(row["id"] for row in lake.rows(path)) == [1, 2, 3, 4]


def test_a_continuous_flow_of_a_source_that_is_read_takes_triggers_and_runs_once_without_watch(
    millrace: Millrace, workdir: Path, write_csv: Write, manifest: Write, watch: Callable[..., Watch], lake: Lake
) -> None:
    orders = write_csv("orders.csv", ROWS)
    source = csv_source(orders, primary_key=["id"])
    path = manifest(source=source, destination=parquet_files(workdir / "out"), mode="Continuous")
    assert millrace("run", path).returncode == 0
    assert len(lake.rows(path)) == len(ROWS)
    running = watch(path)
    running.wait(1)
    write_csv("orders.csv", [*ROWS, {"id": 4, "n": 1}])
    annotate(path, "Flow", "delta_load", "1")
    until(lambda: [t["state"] for t in running.triggers()] == ["Succeeded"])
    # A load is told after the ledger knows of it.
    assert running.stop() == 0
    assert [s["inserted"] for s in running.loads()][-1] == 1
    assert len(lake.rows(path)) == len(ROWS) + 1


def test_changed_manifests_are_read_again_and_wrong_ones_leave_all_as_it_was(
    millrace: Millrace, workdir: Path, two_tables: Path, watch: Callable[..., Watch]
) -> None:
    running = watch(two_tables)
    running.wait(2)
    good = two_tables.read_text()
    change(two_tables, good.replace("writeMode: upsert", "writeMode: upsrt"))
    until(lambda: "stays in force" in running.told)
    assert "upsrt" in running.told or "writeMode" in running.told
    change(two_tables, good.replace("name: lake\n", "name: pond\n").replace("out/", "pond/"))
    until(lambda: "default/lake is gone from the manifests" in running.told)
    running.wait(4)
    assert {report["flows"][0]["name"] for report in running.reports()} == {"lake", "pond"}
    assert running.stop() == 0


def test_a_job_that_appears_is_run_once(two_tables: Path, watch: Callable[..., Watch]) -> None:
    running = watch(two_tables)
    running.wait(2)
    job = (
        "---\napiVersion: millrace.dev/v1alpha1\nkind: Job\nmetadata: { name: again }\n"
        "spec: { flow: { name: lake }, load: Full, streams: [users] }\n"
    )
    change(two_tables, two_tables.read_text() + job)
    assert [s["name"] for s in running.wait(3)[2:]] == ["users"]
    assert running.stop() == 0
    running = watch(two_tables)
    running.wait(2)
    time.sleep(1)
    assert len(running.loads()) == 2


def test_a_signal_drains_and_commits(
    workdir: Path, manifest: Write, watch: Callable[..., Watch], lake: Lake
) -> None:
    path = manifest(
        source={"connector": "generator", "connection": {"rows": 500_000}},
        destination=parquet_files(workdir / "out", "append"),
    )
    running = watch(path)
    until(lambda: "begins" in running.told)
    assert running.stop() == 0
    assert "stopping" in running.told
    assert lake.table(path).num_rows == 500_000


def test_a_stream_that_pushes_makes_way_for_a_trigger_and_goes_on(
    workdir: Path, manifest: Write, watch: Callable[..., Watch], lake: Lake
) -> None:
    connection = {"mode": "push", "ratePerSecond": 200, "streams": ["messages"]}
    path = manifest(
        source={"connector": "generator", "connection": connection},
        destination=parquet_files(workdir / "out", "append"),
        mode="Continuous",
    )
    running = watch(path)
    until(lambda: (workdir / "out" / "messages" / "HEAD.json").exists())
    annotate(path, "Flow", "delta_load", "1")
    until(lambda: [t["state"] for t in running.triggers()] == ["Succeeded"])
    before = lake.table(path).num_rows
    until(lambda: lake.table(path).num_rows > before)
    assert running.stop() == 0
    numbers = lake.table(path).column("seq").to_pylist()
    assert sorted(numbers) == list(range(1, len(numbers) + 1))
    assert sum(load["inserted"] for load in running.loads()) == len(numbers)


def test_a_trigger_approves_a_mass_delete(
    workdir: Path, write_csv: Write, manifest: Write, watch: Callable[..., Watch], lake: Lake
) -> None:
    write_csv("orders.csv", [{"id": n} for n in range(200)])
    source = csv_source(workdir / "orders.csv", primary_key=["id"])
    path = manifest(source=source, destination=parquet_files(workdir / "out"))
    running = watch(path)
    running.wait(1)
    write_csv("orders.csv", [{"id": n} for n in range(50)])
    annotate(path, "Flow", "full_load", "1")
    (refused,) = until(lambda: [t for t in running.triggers() if t["state"] == "Failed"])
    assert "allow-deletes" in refused["message"] and len(lake.rows(path)) == 200
    annotate(path, "Flow", "full_load", "2;allow-deletes")
    assert running.wait(3)[2]["deleted"] == 150
    assert len(lake.rows(path)) == 50
    assert running.stop() == 0


def test_tokens_that_come_during_a_load_share_one_run_after_it(
    workdir: Path, manifest: Write, watch: Callable[..., Watch], postgres: Postgres
) -> None:
    postgres.execute("create table items (id bigint primary key, version bigint not null)")
    patient = {"lockTimeout": "600s"}
    source = postgres_source(postgres, "public.items", cursorField="version", connection=patient)
    path = manifest(source=source, destination=parquet_files(workdir / "out"))
    running = watch(path, env=postgres.env)
    running.wait(1)
    with postgres.connect() as lock:
        # A load is at work for as long as the table is locked, however long the test takes to look at it.
        lock.execute("lock table items in access exclusive mode")
        annotate(path, "Flow", "full_load", "0")
        until(lambda: [t["state"] for t in running.triggers()] == ["Running"])
        for count, (kind, load) in enumerate([("Flow", "full"), ("Source", "full"), ("Flow", "delta")], 1):
            annotate(path, kind, f"{load}_load", str(count))
            until(lambda count=count: len(running.triggers()) == count + 1)  # type: ignore[misc]
        states = {t["token"]: t["state"] for t in running.triggers()}
        assert states == {"0": "Running", "1": "Waiting", "2": "Waiting", "3": "Waiting"}
        assert len(running.loads()) == 1
        lock.commit()
    running.wait(4)
    until(lambda: [t["state"] for t in running.triggers()] == ["Succeeded"] * 4)
    jobs = {t["token"]: t["job"] for t in running.triggers()}
    assert jobs["0"] != jobs["1"] == jobs["2"] != jobs["3"]
    time.sleep(0.5)
    assert len(running.loads()) == 4


def test_a_trigger_of_a_source_is_for_all_flows_that_take_the_table(
    two_tables: Path, watch: Callable[..., Watch]
) -> None:
    documents = list(yaml.safe_load_all(two_tables.read_text()))
    other = yaml.safe_load(yaml.safe_dump(documents[1]))
    other["metadata"]["name"] = "users-only"
    other["spec"]["source"]["streams"] = ["users"]
    other["spec"]["destination"]["connection"]["url"] = "other/{stream}"
    two_tables.write_text(yaml.safe_dump_all([*documents, other], sort_keys=False))
    running = watch(two_tables)
    running.wait(3)
    annotate(two_tables, "Source", "full_load_orders", "1")
    assert running.wait(4)[3]["name"] == "orders"
    annotate(two_tables, "Source", "full_load_users", "1")
    assert [s["name"] for s in running.wait(6)[4:]] == ["users", "users"]
    until(lambda: [t["state"] for t in running.triggers()] == ["Succeeded"] * 4)


def test_a_source_that_fails_is_tried_again_an_interval_later_and_never_piles_up(
    workdir: Path, write_csv: Write, manifest: Write, watch: Callable[..., Watch]
) -> None:
    orders = write_csv("orders.csv", ROWS)
    source = {**csv_source(orders, primary_key=["id"]), "deltaLoadInterval": "2s"}
    path = manifest(source=source, destination=parquet_files(workdir / "out"))
    running = watch(path)
    running.wait(1)
    begun = time.monotonic()
    orders.rename(workdir / "away.csv")
    until(lambda: running.told.count("error: default/lake") >= 4)
    assert running.told.count("error: default/lake") <= ticks(begun, 2), running.told
    (workdir / "away.csv").rename(orders)
    loads = len(running.loads("orders"))
    until(lambda: len(running.loads("orders")) > loads and running.loads("orders")[-1]["outcome"] != "failed")
    assert running.stop() == 0


def test_a_schedule_says_when_it_comes_next_and_does_not_load_at_the_start(
    millrace: Millrace, workdir: Path, write_csv: Write, manifest: Write, watch: Callable[..., Watch]
) -> None:
    path = manifest(
        source=csv_source(write_csv("orders.csv", ROWS), primary_key=["id"]),
        destination=parquet_files(workdir / "out"),
        schedule="30 3 29 2 *",
        timeZone="Europe/Stockholm",
    )
    status = millrace("status", path, "--output", "json").json["flows"][0]
    assert status["nextRun"] == "2028-02-29T02:30:00Z"
    running = watch(path)
    seen(running)
    time.sleep(1)
    assert running.loads() == []
    annotate(path, "Flow", "full_load", "1")
    running.wait(1)
    assert running.stop() == 0


def test_a_schedule_loads_each_minute(
    workdir: Path, write_csv: Write, manifest: Write, watch: Callable[..., Watch], full: bool
) -> None:
    if not full:
        pytest.skip("it takes a minute: `tests/run --full` runs it")
    path = manifest(
        source=csv_source(write_csv("orders.csv", ROWS), primary_key=["id"]),
        destination=parquet_files(workdir / "out"),
        schedule="* * * * *",
        scheduleLoad="Full",
    )
    begun = time.time()
    running = watch(path)
    running.wait(1)
    # In another minute than that of the start.
    assert running.loads()[0]["inserted"] == 3 and time.time() // 60 > begun // 60
    assert running.stop() == 0


def test_named_streams_alone_are_watched(
    millrace: Millrace, two_tables: Path, watch: Callable[..., Watch]
) -> None:
    unknown = millrace("run", two_tables, "--watch", "--stream", "nope", check=False)
    assert unknown.returncode == 2 and "`nope`" in unknown.stderr
    running = watch(two_tables, "--stream", "users")
    running.wait(1)
    annotate(two_tables, "Flow", "full_load", "1")
    assert [s["name"] for s in running.wait(2)] == ["users", "users"]
    assert running.stop() == 0


def test_a_newer_worker_is_never_fought(
    millrace: Millrace, workdir: Path, manifest: Write, watch: Callable[..., Watch], lake: Lake
) -> None:
    path = manifest(**slow(5, workdir))
    older = watch(path)
    until(lambda: "begins" in older.told)
    older.process.send_signal(signal.SIGSTOP)
    millrace("run", path)
    older.process.send_signal(signal.SIGCONT)
    assert older.process.wait(600) == 77, older.told
    assert lake.table(path).num_rows == 30_000


def test_a_run_of_the_schedule_takes_the_place_of_the_one_before(
    full: bool, workdir: Path, manifest: Write, watch: Callable[..., Watch], lake: Lake
) -> None:
    if not full:
        pytest.skip("a schedule has no shorter interval than a minute: two of them pass here")
    limit = {"requestsPerSecond": 0.05, "burst": 1}
    slow = resource("Connector", "slow", {"type": "generator", "roles": ["source"], "rateLimit": limit})
    path = manifest(
        source={"connector": "slow", "connection": {"rows": 1_000_000}},
        destination=parquet_files(workdir / "out", "append"),
        documents=[slow],
        schedule="* * * * *",
        concurrencyPolicy="Replace",
    )
    running = watch(path)
    until(lambda: "took its place" in running.told, 400)
    until(lambda: running.told.count(" begins ") >= 2)
    assert running.told.count("took its place") == 1
    # What was replaced has delivered nothing.
    assert lake.files(path) == []
