"""Each engine keeps the promises of the native connectors in a pod as well: the very same tests, with the program in there.

The pod is one that the operator has made for a Flow, with the first process alone replaced: its user, its rights, its memory
and its root are those of every worker. It has the directory that the tests work in at the path that it has here. The memory of
the program is bounded by its container: what a test of it reads here is that of the process which stands in for the program.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import install
import published
import pytest
from cluster import Namespace, Object, until
from forward import Forward
from guests import volume
from harness import ROOT
from manifests import flow, resource

ENGINES = ["python", "library", "airbyte", "singer", "adbc"]
# A sample: a crash, a stop, refusals, a difference, a trigger, whichever engine does it.
SAMPLE = "test_f41 or test_11 or test_23 or test_07_diff or test_17_missing"
INSIDE = ROOT / "tests" / "e2e" / "inside.py"
READER = """
from millrace import BaseReader

class Rows(BaseReader):
    def extract(self, state_manager=None):
        yield [{"id": 1}]
"""

Semantics = Callable[..., int]


@pytest.fixture
def place(tmp_path: Path, namespace: Namespace) -> Path:
    """A directory of this machine that pods of the namespace have as the claim `place`."""
    volume(namespace, "place", tmp_path / "place", "ReadWriteMany")
    return tmp_path / "place"


@pytest.fixture
def worker(namespace: Namespace, operator: None, python_image: None, place: Path) -> Object:
    """A pod as the operator has made one for a Flow with an engine, in which something else is begun."""
    namespace.kubectl("create", "configmap", "readers", f"--from-literal=reader.py={READER}")
    streams = [{"name": "rows", "primaryKey": ["id"]}]
    namespace.apply(
        resource("Source", "rows", {"reader": "configmap:readers/reader.py:Rows", "streams": streams}),
        flow("lake", "rows", {"connector": {"name": "stdout"}, "writeMode": "append"}),
    )
    namespace.wait_for("LastRunSucceeded", "flow/lake", 180)
    made = namespace.pods("lake")[0]
    spec = {name: value for name, value in made["spec"].items() if name != "nodeName"}
    (container,) = spec["containers"]
    kept = {name: value for name, value in container.items() if not name.endswith("Probe")}
    kept |= {"command": ["/usr/bin/python3", str(place / INSIDE.name)], "args": ["serve", str(place / "socket")]}
    kept["volumeMounts"] = [*container["volumeMounts"], {"name": "place", "mountPath": str(place)}]
    spec |= {"containers": [kept], "restartPolicy": "Never", "terminationGracePeriodSeconds": 1}
    spec["volumes"] = [*spec["volumes"], {"name": "place", "persistentVolumeClaim": {"claimName": "place"}}]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "worker"}, "spec": spec}


@pytest.fixture
def semantics(namespace: Namespace, worker: Object, place: Path, s3_server: Forward) -> Semantics:
    """`semantics(only)` runs the tests with the program in the pod; gives how many have passed."""
    tests = ROOT / "tests"
    shutil.copytree(tests / "blackbox", place / "tests" / "blackbox", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(tests / "pytest.ini", place / "tests")
    shutil.copy(INSIDE, place)
    shutil.copy(Path(install.program("worker")).with_name("libexample_csv_reader.so"), place)
    duckdb = published.duckdb_library().parents[1]
    shutil.copytree(duckdb, place / duckdb.relative_to(published.CACHE))
    # What the tests take for their own interpreter is that of the pod, there.
    (place / "python").symlink_to("/usr/bin/python3")
    call = place / "millrace"
    call.write_text(f'#!/bin/sh\nexec {sys.executable} -S -E {place / INSIDE.name} call {place / "socket"} "$@"\n')
    call.chmod(0o755)
    namespace.apply(worker)
    namespace.wait_for("Ready", "pod/worker", 180)
    until((place / "socket").exists, 120, "the pod listens")

    def run(only: str) -> int:
        program = "import sys, pytest; sys.executable = sys.argv.pop(1); sys.exit(pytest.main(sys.argv[1:]))"
        wanted = ["-q", "-n0", f"--basetemp={place / 'made'}", "-k", only, "blackbox/test_engine_semantics.py"]
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
            "MILLRACE_BIN": str(call),
            "MILLRACE_EXAMPLE_LIBRARY": str(place / "libexample_csv_reader.so"),
            "MILLRACE_CACHE": str(place),
            # An address that is the same for the pod and for who looks from here.
            "MILLRACE_TEST_S3_ENDPOINT": f"http://{s3_server.host}:{s3_server.port}",
        }
        command = [sys.executable, "-c", program, str(place / "python"), *wanted]
        done = subprocess.run(command, cwd=place / "tests", env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-30_000:] + done.stderr[-3000:]
        print(done.stdout.splitlines()[-1])
        (passed,) = re.findall(r"(\d+) passed", done.stdout)
        assert "skipped" not in done.stdout.splitlines()[-1], done.stdout
        return int(passed)

    return run


@pytest.fixture
def whole(full: bool) -> None:
    if not full:
        pytest.skip("a sample does without it: tests/run --full")


@pytest.fixture
def sample(full: bool) -> None:
    if full:
        pytest.skip("all of them are tried")


def test_a_sample_of_the_promises_holds_in_a_pod(sample: None, semantics: Semantics) -> None:
    assert semantics(SAMPLE) >= 7


@pytest.mark.long
@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_keeps_the_promises_in_a_pod(whole: None, engine: str, semantics: Semantics) -> None:
    assert semantics(engine) >= 40
