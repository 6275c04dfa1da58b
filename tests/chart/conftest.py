"""What the tests of the chart share: Helm, and what it makes of the chart."""

from __future__ import annotations

import copy
import functools
import json
import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from rendered import CHART, KUBERNETES, Manifest

Ended = subprocess.CompletedProcess[str]


@pytest.fixture(scope="session")
def helm() -> Callable[..., Ended]:
    program = shutil.which("helm")
    if not program:
        pytest.fail("helm is not on the PATH; tests/run puts it there")

    def run(*arguments: str, values: dict[str, Any] | None = None) -> Ended:
        given = ["--values", "-"] if values is not None else []
        return subprocess.run(
            [program, *arguments, *given], input=json.dumps(values or {}), capture_output=True, text=True, check=False
        )

    return run


@pytest.fixture(scope="session")
def template(helm: Callable[..., Ended]) -> Callable[..., Ended]:
    """`helm template` with these values."""

    def run(values: dict[str, Any] | None = None) -> Ended:
        place = ["--namespace", "millrace", "--kube-version", KUBERNETES]
        return helm("template", "millrace", str(CHART), *place, values=values or {})

    return run


@pytest.fixture(scope="session")
def render(template: Callable[..., Ended]) -> Callable[..., list[Manifest]]:
    """The manifests that the chart makes with these values."""

    @functools.cache
    def rendered(values: str) -> list[Manifest]:
        ended = template(json.loads(values))
        assert ended.returncode == 0, ended.stderr
        # The definitions are long, and the loader in C reads them many times faster.
        return [manifest for manifest in yaml.load_all(ended.stdout, yaml.CSafeLoader) if manifest]

    return lambda values=None: copy.deepcopy(rendered(json.dumps(values or {})))
