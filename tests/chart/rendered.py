"""Where the chart is, the values that switch everything on, and how to find a manifest among many."""

from __future__ import annotations

from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "millrace"
# The Kubernetes against whose API the manifests are held; that of the test cluster.
KUBERNETES = "1.34.4"

Manifest = dict[str, Any]

# Everything that can be switched on, and every list filled.
EVERYTHING: dict[str, Any] = {
    "commonLabels": {"owner": "data"},
    "podAnnotations": {"example.com/scrape": "true"},
    "podLabels": {"zone": "a"},
    "watch": {"namespaces": ["shop", "lake"]},
    "serviceAccount": {"annotations": {"example.com/role": "millrace"}},
    "operator": {
        "replicas": 3,
        "image": {"digest": "sha256:" + "ab" * 32},
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "data", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [
                        {"matchExpressions": [{"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]}]}
                    ]
                }
            },
            "podAntiAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [
                    {
                        "topologyKey": "kubernetes.io/hostname",
                        "labelSelector": {"matchLabels": {"app.kubernetes.io/component": "operator"}},
                    }
                ]
            }
        },
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "topology.kubernetes.io/zone",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {"app.kubernetes.io/component": "operator"}},
            }
        ],
        "priorityClassName": "system-cluster-critical",
        "userNamespaces": True,
    },
    "worker": {
        "image": {"digest": "sha256:" + "cd" * 32, "pullPolicy": "Always"},
        "pythonImage": {"repository": "registry.example.com/python", "tag": "1"},
        "pluginCache": "plugins",
        "log": "debug",
        "imagePullSecrets": ["registry"],
        "userNamespaces": True,
    },
    "imagePullSecrets": [{"name": "registry"}],
    "podDisruptionBudget": {"enabled": True},
    "metrics": {
        "monitors": {"enabled": True, "labels": {"release": "prometheus"}},
        "rules": {"enabled": True, "labels": {"release": "prometheus"}},
    },
    "networkPolicy": {
        "enabled": True,
        "apiServer": {"cidrs": ["10.0.0.1/32"], "ports": [6443]},
        "metricsFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
        "workers": {"egress": [{"ports": [{"port": 5432, "protocol": "TCP"}]}]},
    },
}


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def one(manifests: list[Manifest], kind: str, name: str | None = None) -> Manifest:
    found = [found for found in of_kind(manifests, kind) if name in (None, found["metadata"]["name"])]
    assert len(found) == 1, f"{len(found)} of {kind} {name or ''}"
    return found[0]
