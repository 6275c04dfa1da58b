"""Faults of the object store, through a proxy that breaks what passes between the program and a real S3 server."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from faultproxy import CONDITIONS, Fault, HttpProxy, Request
from harness import S3, Lake, Millrace, Result, csv_source
from kit import (
    FENCED,
    FileSink,
    adds_up,
    customers,
    edited,
    expect,
    s3_state,
    same_rows,
    wait_until,
    write_table,
)

Run = Callable[..., Result]
Manifest = Callable[..., Path]
FULL = bool(os.environ.get("MILLRACE_FULL"))
HEAD = r"/HEAD\.json"
DATA = r"\.parquet"
CONFIG, FAILED, STATE = 2, 1, 3


class Bucket:
    """A Flow from a file into a bucket, data and state, both behind a proxy."""

    def __init__(self, s3: S3, millrace: Millrace, run: Run, workdir: Path, manifest: Manifest) -> None:
        self.s3, self.run_program, self.workdir, self.manifest = s3, run, workdir, manifest
        self.sink = FileSink(Lake(millrace, s3), f"{s3.url}/out", dict(s3.spec))
        self.source = workdir / "customers.csv"
        self.flow = self.write(s3)

    def write(self, near: S3, **connection: object) -> Path:
        """The manifest, for a server that answers there."""
        destination = self.sink.spec()
        destination["connection"] |= {**near.spec, **connection}
        source = csv_source(self.source, primary_key=["id"])
        return self.manifest(source=source, destination=destination, state=s3_state(near))

    def load(self, rows: pa.Table, *faults: Fault, check: bool = True, seed: int = 1, **connection: object) -> Result:
        """Loads these rows with faults on the way."""
        write_table(rows, self.source)
        with HttpProxy(self.s3.endpoint, faults, seed) as proxy:
            near = replace(self.s3, endpoint=proxy.url)
            self.write(near, **connection)
            result = self.run_program(self.flow, env=near.env, check=check)
        self.requests = proxy.requests
        self.write(self.s3)
        return result

    def table(self) -> pa.Table:
        return self.sink.table(self.flow, "customers")

    def holds(self, rows: pa.Table) -> None:
        """These rows are there, and a plain run finds nothing to do."""
        same_rows(self.table(), rows)
        write_table(rows, self.source)
        expect(self.run_program(self.flow).stream("customers"), read=rows.num_rows, unchanged=rows.num_rows)


@pytest.fixture
def bucket(s3: S3, millrace: Millrace, run: Run, workdir: Path, manifest: Manifest) -> Bucket:
    return Bucket(s3, millrace, run, workdir, manifest)


def conditional(request: Request) -> bool:
    return request.conditional


def create(request: Request) -> bool:
    return "if-none-match" in request.headers


def swap(request: Request) -> bool:
    return "if-match" in request.headers


def test_f10_a_write_that_arrives_after_another_worker_took_over_is_refused(
    bucket: Bucket, millrace: Millrace, environment: dict[str, str]
) -> None:
    late_write_is_refused(bucket, millrace, environment)


def late_write_is_refused(bucket: Bucket, millrace: Millrace, env: dict[str, str]) -> None:
    """The commit of an older worker is on the wire while another one commits."""
    rows = customers(300)
    bucket.load(rows)
    older, newer = edited(rows, 10)[0], edited(rows, 20)[0]
    gate = threading.Event()
    # Of its own: the fence is the first swap of this head, the commit the second. All that follow wait as well: on a busy
    # machine the worker may ask again before the other one has done.
    commit = Fault("delay", "PUT", r"/out/customers/HEAD\.json", nth=2, times=None, gate=gate, where=swap)
    with HttpProxy(bucket.s3.endpoint, [commit]) as proxy:
        write_table(older, bucket.source)
        near = replace(bucket.s3, endpoint=proxy.url)
        program = millrace.start("run", bucket.write(near), "--output", "json", env={**env, **near.env})
        try:
            wait_until(lambda: commit.done or program.poll() is not None)
            assert program.poll() is None, program.communicate()
            bucket.write(bucket.s3)
            write_table(newer, bucket.source)
            assert bucket.run_program(bucket.flow).returncode == 0
        finally:
            gate.set()
        _, stderr = program.communicate(timeout=600)

    assert program.returncode == FENCED, stderr
    bucket.holds(newer)


@pytest.mark.parametrize("round", range(30 if FULL else 4))
def test_f11_of_workers_that_begin_together_one_owns_each_epoch(
    bucket: Bucket, round: int, millrace: Millrace, s3: S3, environment: dict[str, str]
) -> None:
    rows = customers(300)
    if round % 2:
        bucket.load(rows)
        rows, _ = edited(rows, 10)
    write_table(rows, bucket.source)
    flow = bucket.write(s3)
    env = {**environment, **s3.env}
    workers = [millrace.start("run", flow, "--output", "json", env=env) for _ in range(3)]
    ended = [(worker.communicate(timeout=600), worker.returncode) for worker in workers]

    # Overtaken, or given up after having been overtaken again and again; and never an error of another kind.
    assert {code for _, code in ended} <= {0, FAILED, FENCED}, ended
    assert bucket.run_program(flow).returncode == 0
    bucket.holds(rows)
    assert bucket.sink.committed(flow, "customers")["seq"] == 1 + round % 2


# The writes of a head that a load has: those of the state and of the data, to acquire and to commit.
NTHS = (1, 2, 3, 4)


@pytest.mark.parametrize("load", ["first", "second"])
@pytest.mark.parametrize("nth", NTHS)
def test_f17_a_lost_answer_to_the_head_is_settled_by_reading_back(bucket: Bucket, nth: int, load: str) -> None:
    lost_answer_is_settled(bucket, nth, load)


def lost_answer_is_settled(bucket: Bucket, nth: int, load: str) -> None:
    rows = customers(300)
    if load == "second":
        bucket.load(rows)
        rows, _ = edited(rows, 10)
    fault = Fault("lose_response", "PUT", HEAD, nth=nth, where=conditional)

    counts = bucket.load(rows, fault).stream("customers")

    adds_up(counts)
    # It was delivered by this very load, not by one that was tried again.
    assert counts["inserted"] == (300 if load == "first" else 30), counts
    bucket.holds(rows)
    assert bucket.sink.committed(bucket.flow, "customers")["seq"] == (1 if load == "first" else 2)
    # Each load passes the head of the state and that of the data, once to acquire and once to commit.
    assert fault.done == 1


@pytest.mark.parametrize("status", [500, 503])
@pytest.mark.parametrize("nth", NTHS)
def test_f18_an_error_after_the_write_is_not_taken_for_fencing(bucket: Bucket, nth: int, status: int) -> None:
    bucket.load(customers(300))
    rows, _ = edited(customers(300), 10)
    fault = Fault("fail_after", "PUT", HEAD, nth=nth, status=status, where=conditional)

    result = bucket.load(rows, fault)

    assert result.returncode != FENCED and fault.done == 1
    bucket.holds(rows)


@pytest.mark.parametrize("times", [1, 3])
def test_f19_a_conflict_on_a_create_of_an_absent_key_is_tried_again(bucket: Bucket, times: int) -> None:
    faults = [Fault("fail_before", "PUT", HEAD, status=409, times=times, where=kind) for kind in (create, swap)]

    expect(bucket.load(customers(300), *faults).stream("customers"), read=300, inserted=300)

    assert [fault.done for fault in faults] == [times, times]
    bucket.holds(customers(300))


@pytest.mark.parametrize("which", ["out/customers", "state"])
def test_f20_a_deleted_head_stops_the_flow(bucket: Bucket, s3: S3, which: str) -> None:
    bucket.load(customers(300))
    (key,) = [key for key in s3.keys() if key.startswith(which) and key.endswith("HEAD.json")]
    s3.delete(key)
    before = s3.keys("out")

    lost = bucket.load(customers(310), check=False)

    assert lost.returncode == STATE, str(lost)
    assert re.search("StateLost|StateDiverged", str(lost))
    assert [key for key in s3.keys("out") if key.endswith(".parquet")] == [k for k in before if k.endswith(".parquet")]


def test_f20_a_head_that_is_gone_in_mid_run_stops_the_flow(bucket: Bucket) -> None:
    bucket.load(customers(300))
    fault = Fault("fail_before", "PUT", HEAD, status=404, nth=3, times=None, where=swap)

    lost = bucket.load(customers(310), fault, check=False)

    assert lost.returncode in (STATE, FAILED), str(lost)
    same_rows(bucket.table(), customers(300))
    bucket.load(customers(310))
    bucket.holds(customers(310))


def test_f21_an_older_head_is_noticed(bucket: Bucket, s3: S3) -> None:
    bucket.load(customers(300))
    older = s3.get("out/customers/HEAD.json")
    bucket.load(customers(310))
    s3.put("out/customers/HEAD.json", older)

    regressed = bucket.load(customers(320), check=False)

    assert regressed.returncode == STATE, str(regressed)
    assert "StateDiverged" in str(regressed) or "StateRegressed" in str(regressed)


def large() -> pa.Table:
    """Enough for an upload in parts, which no compression makes smaller."""
    texts = [os.urandom(48).hex() for _ in range(200_000)]
    return pa.table({"id": pa.array(range(len(texts)), pa.int64()), "text": texts})


ERROR_IN_200 = b'<?xml version="1.0"?><Error><Code>InternalError</Code><Message>try again</Message></Error>'


@pytest.mark.parametrize(
    "fault",
    [
        Fault("fail_before", "POST", "uploadId=", status=200, body=ERROR_IN_200),
        Fault("lose_response", "POST", "uploadId="),
        Fault("lose_response", "PUT", "partNumber=2"),
        Fault("truncate_body", "PUT", "partNumber=1"),
        Fault("fail_after", "PUT", "partNumber=1", status=500),
    ],
    ids=["an error inside a 200", "a lost answer to the end", "a lost answer to a part", "half a part", "500 after a part"],
)
def test_f22_uploads_in_parts_survive_their_faults(bucket: Bucket, fault: Fault) -> None:
    rows = large()

    done = bucket.load(rows, replace(fault, seen=0, done=0), check=False, compression="none")

    assert any("partNumber" in request.path for request in bucket.requests), "the file was not large enough"
    # A store that says two things at once may end the run, in the open; the next one then does it.
    assert done.returncode in (0, FAILED), str(done)
    if done.returncode:
        assert bucket.load(rows).returncode == 0
    bucket.holds(rows)


def test_f22_a_crash_before_the_parts_are_joined_shows_nothing(bucket: Bucket, s3: S3) -> None:
    rows = large()
    hang = Fault("fail_before", "POST", "uploadId=", status=503, times=None)

    failed = bucket.load(rows, hang, check=False, compression="none")

    assert failed.returncode == FAILED, str(failed)
    assert not [key for key in s3.keys("out") if key.endswith(".parquet")]
    bucket.load(rows)
    bucket.holds(rows)


def key_of(request: Request) -> str:
    return request.path.split("?")[0].split("/", 2)[2]


def test_f23_a_data_file_that_arrives_cut_short_is_not_committed(bucket: Bucket, s3: S3) -> None:
    bucket.load(customers(300))

    def damage(request: Request) -> None:
        key = key_of(request)
        s3.put(key, s3.get(key)[:-100])

    fault = Fault("pass", "PUT", DATA, then=damage, times=None)
    refused = bucket.load(customers(400), fault, check=False)

    assert fault.done and refused.returncode == FAILED, str(refused)
    same_rows(bucket.table(), customers(300))
    bucket.load(customers(400))
    bucket.holds(customers(400))


def test_f23_half_a_request_is_sent_again(bucket: Bucket) -> None:
    fault = Fault("truncate_body", "PUT", DATA)

    bucket.load(customers(300), fault)

    assert fault.done == 1
    bucket.holds(customers(300))


@pytest.mark.parametrize(
    "faults",
    [
        [Fault("fail_before", status=503, times=6)],
        [Fault("fail_before", status=500, times=None, chance=0.1)],
        [Fault("refuse", times=None, chance=0.1)],
        [Fault("lose_response", times=None, chance=0.1)],
        [Fault("truncate_response", "GET", times=None, chance=0.2)],
        [Fault("delay", times=None, chance=0.3, seconds=0.5)],
        [Fault("duplicate", "PUT", times=None, chance=0.5, where=lambda request: not request.conditional)],
    ],
    ids=["throttled", "one error in ten", "connections refused", "answers lost", "answers cut", "slow", "repeated"],
)
@pytest.mark.parametrize("seed", range(10) if FULL else (1,))
def test_f25_faults_for_a_long_time_end_in_a_retry_or_a_clear_stop(
    bucket: Bucket, faults: list[Fault], seed: int
) -> None:
    rows = customers(300)
    for round in range(3):
        fresh = [replace(fault, seen=0, done=0) for fault in faults]
        # In time: the run ends before the harness ends it.
        result = bucket.load(rows, *fresh, check=False, seed=seed * 10 + round)
        assert result.returncode in (0, FAILED), str(result)
        assert len(bucket.requests) < 1000
        if result.returncode == 0:
            same_rows(bucket.table(), rows)
        rows, _ = edited(rows, 10)
    bucket.load(rows)
    bucket.holds(rows)


def test_f25_a_server_that_does_not_exist_is_told_in_time(bucket: Bucket, s3: S3, run: Run) -> None:
    write_table(customers(10), bucket.source)
    # Where no server of names answers, the system's own patience is not what is tested.
    impatient = {"RES_OPTIONS": "timeout:1 attempts:1"}
    for endpoint in ("http://127.0.0.1:1", "http://no-such-host.invalid:9000"):
        near = replace(s3, endpoint=endpoint)
        bucket.write(near)
        failed = run(bucket.flow, env={**near.env, **impatient}, check=False)
        assert failed.returncode == FAILED, str(failed)
        assert endpoint.split("//")[1].split(":")[0] in failed.stderr


def test_f26_rights_that_are_taken_away_are_told_and_come_back(bucket: Bucket, s3: S3) -> None:
    bucket.load(customers(300))
    denied = Fault("fail_before", "PUT", DATA, status=403, times=None)

    refused = bucket.load(customers(310), denied, check=False)

    assert refused.returncode in (FAILED, CONFIG), str(refused)
    assert denied.done < 20
    assert s3.secret_key not in str(refused) and s3.access_key not in refused.stderr
    bucket.load(customers(310))
    bucket.holds(customers(310))


@pytest.mark.parametrize("place", ["state", "destination"])
def test_f28_a_store_that_ignores_conditions_is_found_out(bucket: Bucket, s3: S3, place: str, run: Run) -> None:
    write_table(customers(10), bucket.source)
    every = Fault("ignore_conditions", times=None)
    with HttpProxy(s3.endpoint, [every]) as proxy:
        near = replace(s3, endpoint=proxy.url)
        flow = bucket.write(near if place == "destination" else s3)
        if place == "state":
            source, sink = (
                csv_source(bucket.source, primary_key=["id"]),
                FileSink(bucket.sink.lake, str(bucket.workdir / "out")),
            )
            flow = bucket.manifest(source=source, destination=sink.spec(), state=s3_state(near))
        refused = run(flow, env=near.env, check=False)

    assert refused.returncode == CONFIG, str(refused)
    assert "ConditionalWritesIgnored" in str(refused) and "conditional" in str(refused)
    assert not [key for key in s3.keys() if key.endswith(".parquet")]


def test_f24_no_listing_decides(bucket: Bucket) -> None:
    rows = customers(300)
    bucket.load(rows)
    rows, _ = edited(rows, 10)
    empty = b'<?xml version="1.0"?><ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>'
    listing = Fault("fail_before", "GET", "list-type=2", status=200, body=empty, times=None)

    bucket.load(rows, listing)

    bucket.holds(rows)
    assert all(name in CONDITIONS for name in ("if-match", "if-none-match"))


def test_a_data_file_that_was_deleted_is_told_by_its_name(bucket: Bucket) -> None:
    rows = customers(300)
    bucket.load(rows)
    (key,) = [key for key in bucket.s3.keys("out/customers/data") if key.endswith(".parquet")]
    content = bucket.s3.get(key)
    bucket.s3.delete(key)

    stopped = bucket.load(rows, check=False)

    assert stopped.returncode == STATE and "DataMissing" in stopped.stderr and key in stopped.stderr, str(stopped)
    bucket.s3.put(key, content)
    bucket.holds(rows)
