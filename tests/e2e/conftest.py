"""The fixtures of the end-to-end tests: the cluster, Millrace in it, a namespace for each test.

`tests/run` gives them their ground and their cluster; by hand, `eval "$(tests/ground up)"; eval "$(tests/cluster up)"`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path
from urllib.parse import urlsplit

import install
import leaks
import pytest
from audit import Audit
from cluster import Cluster, Namespace, server, started_here, until
from forward import Forward
from guests import claim, faker_image, index, look, python_image, tap_image
from harness import ROOT, S3, Millrace, Postgres
from install import once
from manifests import Bucket, Shop
from servers import ground, postgres, s3

__all__ = ["claim", "faker_image", "index", "look", "postgres", "python_image", "s3", "tap_image"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long begins first, each with another process, which is given two tests to begin with."""
    long = [item for item in items if item.get_closest_marker("long")]
    rest = [item for item in items if item not in long]
    pairs = zip_longest(long, rest[: len(long)])
    items[:] = [item for pair in pairs for item in pair if item] + rest[len(long) :]


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    if not os.environ.get("KUBECONFIG"):
        pytest.fail('KUBECONFIG is not set: use tests/run, or eval "$(tests/cluster up)" first')
    found = Cluster()
    yield found
    found.close()


@pytest.fixture(scope="session")
def shell_image(tmp_path_factory: pytest.TempPathFactory) -> str:
    once(tmp_path_factory, "shell", install.shell)
    return install.SHELL


@pytest.fixture(scope="session")
def worker_image(tmp_path_factory: pytest.TempPathFactory) -> str:
    once(tmp_path_factory, "worker", install.worker_image)
    return install.WORKER


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> None:
    once(tmp_path_factory, "images", install.images)


@pytest.fixture(scope="session")
def operator(cluster: Cluster, images: None, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The chart, installed with the images of this build; it stays."""
    once(tmp_path_factory, "chart", lambda _: install.chart())
    install.wait_for_operator(cluster)


@pytest.fixture
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Namespace]:
    """A namespace of its own; what is in it is told where the test fails. Whatever was tested, no Secret got out."""
    made = Namespace.make(cluster, request.node.name)
    yield made
    failed = getattr(request.node, "failed", False)
    if failed and not getattr(request.node, "dumped", False):
        print(made.dump(getattr(request.node, "reason", "")))
    found = leaks.found(made)
    if not (failed and os.environ.get("MILLRACE_KEEP")):
        made.remove()
    assert not found, found


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """So that fixtures know, as they end, how the test did. What is in its namespace is told at once: a fixture that ends
    may change it (another chart makes preflights of Continuous Flows), and servers of the test are gone then."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.when in ("setup", "call") and report.failed and call.excinfo is not None:
        item.failed = True  # type: ignore[attr-defined]
        item.reason = reason_of(item, call.excinfo)  # type: ignore[attr-defined]
        made = getattr(item, "funcargs", {}).get("namespace")
        # Without an API server there is nothing to be seen: then it is told as the namespace ends.
        with suppress(Exception):
            if isinstance(made, Namespace):
                told = made.dump(item.reason)  # type: ignore[attr-defined]
                report.sections.append((f"What is in {made.name}", told))
                item.dumped = True  # type: ignore[attr-defined]


def reason_of(item: pytest.Item, found: pytest.ExceptionInfo[BaseException]) -> str:
    """A failure in one line: the test, the line of its file that it was at, the exception, the start of its message."""
    lines = [entry.lineno + 1 for entry in found.traceback if str(entry.path) == str(item.path)]
    message = " ".join(str(found.value)[:500].split())
    return f"FAILED {item.nodeid} at line {lines[-1] if lines else '?'}: {found.type.__name__}: {message}"


@pytest.fixture(scope="session")
def host() -> str:
    """This machine's address, as pods know it."""
    return ground("MILLRACE_TEST_HOST_ADDRESS")


@pytest.fixture
def postgres_server(host: str) -> Iterator[Forward]:
    address = urlsplit(ground("MILLRACE_TEST_POSTGRES"))
    assert address.hostname and address.port
    with Forward(host, (address.hostname, address.port)) as server:
        yield server


@pytest.fixture
def s3_server(host: str) -> Iterator[Forward]:
    address = urlsplit(ground("MILLRACE_TEST_S3_ENDPOINT"))
    assert address.hostname and address.port
    with Forward(host, (address.hostname, address.port)) as server:
        yield server


@pytest.fixture
def shop(postgres: Postgres, postgres_server: Forward) -> Shop:
    return Shop(postgres, postgres_server)


@pytest.fixture
def bucket(s3: S3, s3_server: Forward) -> Bucket:
    return Bucket(s3, f"http://{s3_server.host}:{s3_server.port}")


@pytest.fixture(scope="session")
def full() -> bool:
    """Whether sweeps are to be run whole (`tests/run --full`) or sampled."""
    return bool(os.environ.get("MILLRACE_FULL"))


@pytest.fixture
def audit() -> Audit:
    return Audit()


@pytest.fixture
def servers(cluster: Cluster) -> Iterator[Callable[..., None]]:
    """`servers("stop", "apiserver")`: stops and starts servers of the cluster itself; none stays stopped after the test."""
    if not started_here():
        pytest.skip("this cluster's servers are out of reach: tests/cluster up, without KUBECONFIG")
    stopped: set[str] = set()

    def act(action: str, *names: str) -> None:
        server(action, *names)
        stopped.difference_update(names) if action == "start" else stopped.update(names)

    yield act
    server("start", *stopped)
    until(lambda: cluster.raw("/readyz") == b"ok", 180, "the API server is back")


@pytest.fixture
def millrace(tmp_path: Path) -> Iterator[Millrace]:
    """The program on this machine."""
    binary = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"), "debug", "millrace")
    started = Millrace(Path(os.environ.get("MILLRACE_BIN", binary)), tmp_path)
    yield started
    started.end()
