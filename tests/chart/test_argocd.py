"""Argo CD's health rule and actions."""

from __future__ import annotations

import datetime
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from argo import FOLDER, customizations, health, run

# Statuses by the contract of the kinds; a file a case, each a resource with `expect: [status, words of the message]`.
CASES = sorted((Path(__file__).parent / "statuses").glob("*.yaml"))
KINDS = ("Connector", "Source", "Flow", "Job")


def test_the_patch_is_made_of_the_scripts():
    made = subprocess.run([sys.executable, Path(__file__).parent / "argocd"], capture_output=True, text=True, check=True)
    assert made.stdout == (FOLDER / "argocd-cm.yaml").read_text(), "stale; run tests/chart/argocd --write"


def test_every_kind_has_the_one_rule():
    rule = (FOLDER / "health.lua").read_text()
    assert {key: value for key, value in customizations().items() if key.startswith("health.")} == {
        f"health.millrace.dev_{kind}": rule for kind in KINDS
    }


def test_there_are_cases_of_every_kind_and_health():
    told = [yaml.safe_load(case.read_text()) for case in CASES]
    assert {case["kind"] for case in told} == set(KINDS)
    assert {case["expect"]["status"] for case in told} == {"Healthy", "Progressing", "Degraded", "Suspended"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_health(case):
    resource = yaml.safe_load(case.read_text())
    expected = resource.pop("expect")
    told = health(resource)
    assert told["status"] == expected["status"], told
    assert expected["message"] in told["message"]


def actions(kind: str) -> dict[str, Any]:
    return yaml.safe_load(customizations()[f"actions.millrace.dev_{kind}"])


def offered(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    return run(actions(kind)["discovery.lua"], {"kind": kind, "metadata": {"name": "a"}, "spec": spec})


def act(kind: str, name: str, obj: dict[str, Any]) -> Any:
    script = next(one["action.lua"] for one in actions(kind)["definitions"] if one["name"] == name)
    return run(script, {"kind": kind, "metadata": {"name": "a"}, "spec": {}} | obj)


@pytest.mark.parametrize("kind", ["Connector", "Source", "Flow"])
def test_what_is_offered_is_defined(kind):
    assert set(offered(kind, {})) == {one["name"] for one in actions(kind)["definitions"]}


def test_a_job_is_one_run_and_offers_nothing():
    assert "actions.millrace.dev_Job" not in customizations()


def test_suspend_and_resume_take_turns():
    working, suspended = offered("Flow", {}), offered("Flow", {"suspend": True})
    assert working["suspend"]["disabled"] is False and working["resume"]["disabled"] is True
    assert suspended["suspend"]["disabled"] is True and suspended["resume"]["disabled"] is False
    assert act("Flow", "suspend", {})["spec"]["suspend"] is True
    assert act("Flow", "resume", {"spec": {"suspend": True}})["spec"]["suspend"] is False


@pytest.mark.parametrize("kind", ["Connector", "Source", "Flow"])
@pytest.mark.parametrize("load", ["full", "delta"])
def test_a_load_is_asked_for_by_a_new_token(kind, load):
    key = f"millrace.dev/{load}_load"
    for before in ({}, {key: "old", "team": "data"}):
        done = act(kind, f"{load}-load", {"metadata": {"name": "a", "annotations": before}})["metadata"]["annotations"]
        asked = datetime.datetime.strptime(done[key], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=datetime.UTC)
        assert abs((datetime.datetime.now(datetime.UTC) - asked).total_seconds()) < 600
        assert {name: value for name, value in done.items() if name != key} == {
            name: value for name, value in before.items() if name != key
        }
    assert key in act(kind, f"{load}-load", {})["metadata"]["annotations"]
