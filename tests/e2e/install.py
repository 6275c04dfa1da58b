"""Millrace in the cluster of the tests: images of the build at hand, and the chart."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import roots
from cluster import Cluster, started_here
from harness import ROOT

SYSTEM = "millrace-system"
RELEASE = "millrace"
CHART = ROOT / "charts" / "millrace"
WORKER = "localhost/millrace-worker:tests"
OPERATOR = "localhost/millrace-operator:tests"
# The same programs as another release of them.
NEXT = {WORKER: "localhost/millrace-worker:next", OPERATOR: "localhost/millrace-operator:next"}
# The worker with Python beside it.
PYTHON_WORKER = "localhost/millrace-worker-python:tests"
# A shell, to look around from inside a pod; the images of Millrace hold none.
SHELL = "localhost/shell:tests"
FAKER = f"localhost/airbyte/{roots.FAKER.replace('==', ':').removeprefix('airbyte-')}"
TAP = f"localhost/{roots.TAP.replace('==', ':')}"
IMAGE = ROOT / "tests" / "image"

VALUES: dict[str, Any] = {
    "watch": {"allNamespaces": True},
    "operator": {"image": {"repository": "localhost/millrace-operator", "tag": "tests"}},
    "worker": {
        "image": {"repository": "localhost/millrace-worker", "tag": "tests"},
        "pythonImage": {"repository": "localhost/millrace-worker-python", "tag": "tests"},
    },
}
# With every line of our own in the logs: a test that fails shows them, and no secret may be in any.
LOUD: dict[str, Any] = {
    **VALUES,
    "operator": {**VALUES["operator"], "log": "info,millrace=trace"},
    "worker": {**VALUES["worker"], "log": "info,millrace=trace"},
}


def once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> None:
    """Does something once for all processes of this run."""
    shared = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        shared = shared.parent
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = shared / f"{name}.done"
        if not done.exists():
            make(shared)
            done.touch()


def images(scratch: Path) -> None:
    """Gives the node the images, each under both of its names."""
    for kind, name in (("worker", WORKER), ("operator", OPERATOR)):
        bring(name, scratch, kind, "--name", name, "--name", NEXT[name], of=program(kind))


def worker_image(scratch: Path) -> None:
    bring(WORKER, scratch, "worker", "--name", WORKER, "--name", NEXT[WORKER], of=program("worker"))


def python_worker(scratch: Path) -> None:
    bring(PYTHON_WORKER, scratch, "worker", "--name", PYTHON_WORKER, "--base", str(roots.debian()), of=program("worker"))


def faker(scratch: Path) -> None:
    """The image of a published Airbyte source, laid out as Airbyte does."""
    over = roots.faker()
    environment = ("--env", f"AIRBYTE_ENTRYPOINT=python3 /{roots.MAIN}", "--env", f"PYTHONPATH=/{roots.PACKAGES}")
    what = ("--entrypoint", "/bin/false", *environment, str(roots.debian()), str(over))
    bring(FAKER, scratch, "tree", FAKER, *what, of=str(over / roots.MAIN))


def tap(scratch: Path) -> None:
    """An image of a published Singer tap, which says nowhere what is to be run."""
    over = roots.tap()
    what = ("--entrypoint", "/bin/false", "--env", f"PYTHONPATH=/{roots.PACKAGES}", str(roots.debian()), str(over))
    bring(TAP, scratch, "tree", TAP, *what, of=str(over / roots.PACKAGES / "tap_postgres" / "tap.py"))


def shell(scratch: Path) -> None:
    bash, sleep = which("bash"), which("sleep")
    bring(SHELL, scratch, "archive", SHELL, "--entrypoint", bash, "--libraries", f"{bash}:{bash}", f"{sleep}:{sleep}", of=bash)


def which(program: str) -> str:
    found = shutil.which(program)
    assert found, program
    return found


def program(kind: str) -> str:
    name = {"worker": "millrace", "operator": "millrace-operator"}[kind]
    return str(Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug" / name)


def bring(name: str, scratch: Path, kind: str, *arguments: str, of: str) -> None:
    """Makes an image and gives it to the node, unless it has had the same one before."""
    assert Path(of).is_file(), f"{of} is not built: cargo build --workspace --bins"
    stand = Path(of).stat()
    build = f"{of} {stand.st_mtime_ns} {stand.st_size}"
    brought = Path(started_here() or scratch) / f"{name.replace('/', '_')}.brought"
    if brought.exists() and brought.read_text() == build:
        return
    archive = scratch / f"{name.replace('/', '_')}.tar"
    # The name of an archive's image stands before its file.
    what = [arguments[0], str(archive), *arguments[1:]] if kind in ("archive", "tree") else [str(archive), *arguments]
    subprocess.run([sys.executable, IMAGE, kind, *what], check=True)
    importer = os.environ.get("MILLRACE_TEST_IMPORT")
    assert importer, "MILLRACE_TEST_IMPORT is not set: what gives your cluster an image? (kind load image-archive)"
    subprocess.run([*shlex.split(importer), str(archive)], check=True)
    archive.unlink()
    brought.write_text(build)


def helm(*args: str, values: object = None, timeout: float = 360, namespace: str = SYSTEM) -> str:
    done = subprocess.run(
        ["helm", "--namespace", namespace, *args],
        input=json.dumps(values) if values is not None else None,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, f"helm {' '.join(args)}\n{done.stdout}{done.stderr}"
    return done.stdout


def chart(values: Mapping[str, Any] = LOUD, *options: str) -> None:
    """Installs the release, or brings it to these values; another build under the same tag is another pod."""
    build = str(Path(program("operator")).stat().st_mtime_ns)
    values = {**values, "podAnnotations": {"millrace.dev/build": build}}
    helm(
        "upgrade",
        "--install",
        RELEASE,
        str(CHART),
        "--create-namespace",
        "--wait",
        "--timeout=300s",
        "--values=-",
        *options,
        values=values,
    )


def upgraded() -> dict[str, Any]:
    """The values of the next release."""
    tags = {"operator": {"tag": "next"}, "worker": {"tag": "next"}}
    return {
        **LOUD,
        **{part: {**LOUD[part], "image": {**LOUD[part]["image"], **tag}} for part, tag in tags.items()},
    }


def second(namespace: str) -> None:
    """Another release, with the rights of one namespace, for that namespace alone."""
    values = {**LOUD, "watch": {"namespaces": [namespace]}, "crds": {"install": False}}
    helm("install", RELEASE, str(CHART), "--wait", "--timeout=300s", "--values=-", values=values, namespace=namespace)


def remove_second(namespace: str) -> None:
    helm("uninstall", RELEASE, "--ignore-not-found", namespace=namespace)


def wait_for_operator(cluster: Cluster, seconds: int = 300) -> None:
    cluster.kubectl("--namespace", SYSTEM, "rollout", "status", "deployment", f"--timeout={seconds}s", timeout=seconds + 30)
