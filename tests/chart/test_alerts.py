"""Each alert of the chart fires where it should and is silent where it should be, by Prometheus' own `promtool`."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
import yaml

from rendered import one

PROMTOOL = os.environ.get("MILLRACE_TEST_PROMTOOL") or shutil.which("promtool")
FLOW = 'namespace="shop",flow="lake"'
LEADER = 'millrace_operator_leader{job="millrace-metrics",namespace="millrace"}'
# When to look, and what was measured each minute.
FIRES = {
    "MillraceRunsFail": ("15m", {f"millrace_flow_last_run_succeeded{{{FLOW}}}": "1 1 0x60"}),
    # The last load was at the very beginning.
    "MillraceLags": ("26h", {f"millrace_flow_oldest_load_timestamp_seconds{{{FLOW}}}": "0x2000"}),
    "MillraceFlowIsNotReady": ("10m", {f"millrace_flow_ready{{{FLOW}}}": "0x60"}),
    # One is there and waits; none works.
    "MillraceOperatorIsGone": ("10m", {LEADER: "0x60"}),
}
SILENT = {
    "MillraceRunsFail": ("15m", {f"millrace_flow_last_run_succeeded{{{FLOW}}}": "0 0 0 1x60"}),
    "MillraceLags": ("26h", {f"millrace_flow_oldest_load_timestamp_seconds{{{FLOW}}}": "0+60x2000"}),
    "MillraceFlowIsNotReady": ("10m", {f"millrace_flow_ready{{{FLOW}}}": "0 0 0 1x60"}),
    "MillraceOperatorIsGone": ("10m", {LEADER: "1x60"}),
}


@pytest.fixture(scope="module")
def rules(render):
    return one(render({"metrics": {"rules": {"enabled": True}}}), "PrometheusRule")["spec"]


def firing(rules, tmp_path, at, series):
    """The alerts that fire at that time, as promtool tells them by refusing that there are none."""
    if not PROMTOOL:
        pytest.fail("promtool is not on the PATH; tests/run puts it there")
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules))
    names = [rule["alert"] for group in rules["groups"] for rule in group["rules"]]
    test = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "alert_rule_test": [{"eval_time": at, "alertname": name, "exp_alerts": []} for name in names],
            }
        ],
    }
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(test))
    ended = subprocess.run(
        [PROMTOOL, "test", "rules", "test.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    told = ended.stdout + ended.stderr
    assert ("SUCCESS" in told) == (ended.returncode == 0), told
    return {name for name in names if f'alertname: {name},' in told or f'alertname:{name},' in told}, told


def test_promtool_accepts_the_rules(rules, tmp_path):
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules))
    ended = subprocess.run([PROMTOOL, "check", "rules", "rules.yaml"], cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert {rule["alert"] for group in rules["groups"] for rule in group["rules"]} == set(FIRES)


@pytest.mark.parametrize("alert", FIRES)
def test_it_fires(rules, tmp_path, alert):
    found, told = firing(rules, tmp_path, *FIRES[alert])
    assert alert in found, told


@pytest.mark.parametrize("alert", SILENT)
def test_it_is_silent_when_all_is_well(rules, tmp_path, alert):
    found, told = firing(rules, tmp_path, *SILENT[alert])
    assert alert not in found, told
