"""The proxies themselves: a fault test is worth no more than the fault."""

from __future__ import annotations

import time
from dataclasses import replace

import psycopg
import pytest
from faultproxy import Fault, HttpProxy, PostgresProxy
from harness import S3, Postgres


def through(s3: S3, proxy: HttpProxy) -> S3:
    return replace(s3, endpoint=proxy.url)


def test_what_is_not_asked_for_passes(s3: S3) -> None:
    with HttpProxy(s3.endpoint) as proxy:
        near = through(s3, proxy)
        near.put("a/b.bin", b"\x00" * 100_000)
        assert (near.get("a/b.bin"), near.keys()) == (b"\x00" * 100_000, ["a/b.bin"])
        near.delete("a/b.bin")
        assert near.keys() == []
        assert {"PUT", "GET", "DELETE"} <= {request.method for request in proxy.requests}


def test_a_failure_before_changes_nothing_and_is_told(s3: S3) -> None:
    fault = Fault("fail_before", "PUT", r"/x\.bin", status=403, times=None)
    with HttpProxy(s3.endpoint, [fault]) as proxy, pytest.raises(OSError, match=r"x\.bin"):
        through(s3, proxy).put("x.bin", b"1")
    assert s3.keys() == [] and fault.done >= 1


def test_a_lost_answer_comes_after_the_write(s3: S3) -> None:
    fault = Fault("lose_response", "PUT", r"/x\.bin")
    with HttpProxy(s3.endpoint, [fault]) as proxy:
        # The client tries again by itself, and the second answer reaches it.
        through(s3, proxy).put("x.bin", b"1")
        puts = [request for request in proxy.requests if request.method == "PUT"]
    assert s3.get("x.bin") == b"1" and fault.done == 1 and len(puts) >= 2


@pytest.mark.parametrize("action", ["fail_after", "duplicate", "delay"])
def test_a_write_is_applied_when_its_answer_is_late_repeated_or_wrong(s3: S3, action: str) -> None:
    fault = Fault(action, "PUT", r"/x\.bin", seconds=0.3, status=500)  # type: ignore[arg-type]
    started = time.monotonic()
    with HttpProxy(s3.endpoint, [fault]) as proxy:
        through(s3, proxy).put("x.bin", b"1")
    assert s3.get("x.bin") == b"1" and fault.done == 1
    assert action != "delay" or time.monotonic() - started > 0.3


def test_half_a_body_is_no_object(s3: S3) -> None:
    fault = Fault("truncate_body", "PUT", r"/x\.bin", times=None)
    with HttpProxy(s3.endpoint, [fault]) as proxy, pytest.raises(OSError):
        through(s3, proxy).put("x.bin", b"1" * 10_000)
    assert s3.keys() == []


def test_the_nth_request_alone_is_taken(s3: S3) -> None:
    s3.put("x.bin", b"1")
    fault = Fault("fail_before", "GET", r"/x\.bin", nth=2, status=403)
    with HttpProxy(s3.endpoint, [fault]) as proxy:
        near = through(s3, proxy)
        assert near.get("x.bin") == b"1"
        with pytest.raises(OSError):
            near.get("x.bin")
        assert near.get("x.bin") == b"1"


@pytest.mark.parametrize("moment", ["before", "after", "never"])
@pytest.mark.parametrize("prepared", [False, True])
def test_a_connection_is_cut_at_its_commit(postgres: Postgres, moment: str, prepared: bool) -> None:
    postgres.execute("create table t (n int)")
    info = postgres.connection.info
    with PostgresProxy(info.host, info.port, moment) as proxy:  # type: ignore[arg-type]
        address = f"host=127.0.0.1 port={proxy.port} user={info.user} password={info.password}"
        connection = psycopg.connect(f"{address} dbname={info.dbname}", autocommit=True)

        def commit() -> None:
            connection.execute("begin")
            connection.execute("insert into t values (1)")
            connection.execute("commit", prepare=prepared)

        if moment == "never":
            commit()
        else:
            with pytest.raises(psycopg.OperationalError):
                commit()
        connection.close()
        assert (proxy.commits, proxy.cuts) == (1, int(moment != "never"))
    assert postgres.rows("select count(*) from t") == [(0 if moment == "before" else 1,)]
