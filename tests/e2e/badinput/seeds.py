"""The sound objects that operations change: with as many fields as make sense together, and no work to do.

A Source that declares its streams is not asked for them; a suspended Flow has no pods.
"""

from __future__ import annotations

from typing import Any

from cluster import Object
from manifests import resource

FIELDS = [
    {"name": "id", "logicalType": "integer", "physicalType": "int64", "required": True, "primaryKey": True},
    {"name": "tags", "logicalType": "array", "items": {"logicalType": "string"}},
    {
        "name": "address",
        "logicalType": "object",
        "properties": [
            {"name": "street", "logicalType": "string", "description": "Where it is."},
            {
                "name": "places",
                "logicalType": "array",
                "items": {
                    "logicalType": "object",
                    "properties": [
                        {"name": "number", "logicalType": "integer", "logicalTypeOptions": {"format": "i32"}}
                    ],
                },
            },
        ],
    },
    {"name": "updated_at", "logicalType": "timestamp"},
]


def by_secret(*names: str) -> list[Object]:
    return [{"name": name, "secret": {"name": "nowhere", "key": name}} for name in names]


def connector(name: str) -> Object:
    """A recipe with every engine; those that are there natively are PostgreSQL's."""
    digest = "registry.example/x@sha256:" + "0" * 64
    return resource(
        "Connector",
        name,
        {
            "type": "postgres",
            "description": "For tests",
            "roles": ["source", "destination"],
            "defaultEngine": "native",
            "engines": {
                "native": {},
                "python": {"reader": "reader.py:Reader", "requirements": ["psycopg==3"], "sha256": "0" * 64},
                "library": {"reader": "lib.so:create", "sha256": "0" * 64},
                "airbyte": {"command": ["source"], "image": digest},
                "singer": {"command": ["tap"], "requirements": ["tap==1"], "image": digest},
                "meltano": {"project": "project", "plugin": "tap"},
                "adbc": {"driver": "lib.so"},
            },
            "configs": {"default": {"connectTimeout": "5s"}, "bulk": {"connectTimeout": "9s"}},
            "credentials": [{"name": "password", "fromEnv": "PGPASSWORD", "required": False, "description": "It."}],
            "rateLimit": {"requestsPerSecond": 50, "burst": 100},
        },
    )


def source(connector: str) -> Object:
    return resource(
        "Source",
        "shop",
        {
            "connector": {"name": connector, "config": "bulk", "engine": "native"},
            "connection": {"host": "db.example", "database": "shop", "user": "reader"},
            "credentials": by_secret("password"),
            "fullLoadInterval": "24h",
            "deltaLoadInterval": "5m",
            "concurrency": 4,
            "bufferLength": 102400,
            "streams": [
                {"name": "public.users", "primaryKey": ["id"], "cursorField": "updated_at", "schema": FIELDS},
                {"name": "public.orders", "primaryKey": ["id"], "cursorField": "updated_at", "schema": FIELDS},
            ],
        },
    )


def flow_spec(connector: str, **over: Any) -> Object:
    return {
        "source": {"name": "shop", "streams": ["public.users"]},
        "destination": {
            "connector": {"name": connector},
            "connection": {"host": "db.example", "database": "shop", "user": "writer", "schema": "copy"},
            "credentials": by_secret("password"),
            "writeMode": "upsert",
        },
        "transforms": [{"streams": ["public.users"], "sql": "select id, updated_at from input"}],
        "schemaContract": {"tables": "evolve", "columns": "evolve", "dataType": "freeze"},
        "concurrencyPolicy": "Forbid",
        "suspend": True,
        "state": {"configMap": {}},
        "delivery": {"require": "AtLeastOnce"},
        "maxDeleteFraction": 0.5,
        "deletionPolicy": "Retain",
        "pod": {
            "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
            "nodeSelector": {"kubernetes.io/os": "linux"},
            "tolerations": [
                {"key": "only", "operator": "Equal", "value": "data", "effect": "NoExecute", "tolerationSeconds": 60}
            ],
            "imagePullSecrets": [{"name": "registry"}],
        },
        **over,
    }


def flow(connector: str) -> Object:
    return resource("Flow", "lake", flow_spec(connector))


def following(connector: str) -> Object:
    """It is not suspended: what is said to it reaches its workers."""
    return resource("Flow", "follow", flow_spec(connector, mode="Continuous", suspend=False))


def job() -> Object:
    return resource(
        "Job", "again", {"flow": {"name": "lake"}, "load": "Full", "streams": ["public.users"], "ttl": "24h"}
    )


def job_alone(connector: str) -> Object:
    spec = {"flowTemplate": {"spec": flow_spec(connector)}, "load": "Full", "deadline": "1h"}
    return resource("Job", "alone", spec)


# By the name that operations call them: the kind, and how it is made.
PLURALS = {"Connector": "connectors", "Source": "sources", "Flow": "flows", "Job": "jobs"}


def seed(name: str, connector_name: str) -> Object:
    match name:
        case "Connector":
            return connector(connector_name)
        case "Source":
            return source(connector_name)
        case "Flow":
            return flow(connector_name)
        case "Continuous":
            return following(connector_name)
        case "Job":
            return job()
        case "JobAlone":
            return job_alone(connector_name)
    raise KeyError(name)
