"""Fixtures: a database and a bucket of the ground's servers for one test."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import harness
import pytest
from harness import S3, Postgres


def ground(name: str) -> str:
    """One fact about the servers that the tests run against."""
    value = os.environ.get(name)
    if not value:
        pytest.fail(f'{name} is not set: use tests/run, or eval "$(tests/ground up)" first')
    return value


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    """A fresh database."""
    with harness.database(ground("MILLRACE_TEST_POSTGRES"), f"test_{uuid.uuid4().hex[:12]}") as fresh:
        yield fresh


@pytest.fixture
def s3() -> S3:
    """A fresh bucket; it ends with the server."""
    fresh = S3(
        bucket=f"test-{uuid.uuid4().hex[:12]}",
        endpoint=ground("MILLRACE_TEST_S3_ENDPOINT"),
        region=ground("MILLRACE_TEST_S3_REGION"),
        access_key=ground("MILLRACE_TEST_S3_ACCESS_KEY"),
        secret_key=ground("MILLRACE_TEST_S3_SECRET_KEY"),
    )
    fresh.files.create_dir(fresh.bucket)
    return fresh
