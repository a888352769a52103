# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: bad requests about access, quotas, credentials and telemetry.
from __future__ import annotations

import uuid

from .table import NO_ID, Scene, Values, row

TOPIC, CLUSTER, ANY, LITERAL = 2, 4, 1, 3


def filters(scene: Scene, version: int) -> Values:
    return {
        "ResourceTypeFilter": TOPIC, "ResourceNameFilter": scene.name(), "PatternTypeFilter": LITERAL, "Operation": ANY,
        "PermissionType": ANY}


def creations(scene: Scene, version: int) -> Values:
    return {"Creations": [{
        "ResourceType": TOPIC, "ResourceName": scene.name(), "ResourcePatternType": LITERAL, "Principal": "User:a",
        "Host": "*", "Operation": 3, "PermissionType": 3}]}


row(29, filters)
(
    row(30, creations)
    .fault("no name", {"Creations.0.ResourceName": ""}, 42)
    .fault("another cluster", {"Creations.0.ResourceType": CLUSTER, "Creations.0.ResourceName": "other"}, 42)
    .fault("every kind of pattern", {"Creations.0.ResourcePatternType": ANY}, 42)
    .fault("every kind of resource", {"Creations.0.ResourceType": ANY}, 42)
    .fault("every operation", {"Creations.0.Operation": ANY}, 42)
    .fault("every permission", {"Creations.0.PermissionType": ANY}, 42)
)
row(31, lambda scene, version: {"Filters": [filters(scene, version)]})

(
    row(48, lambda scene, version: {"Components": [{"EntityType": "user", "MatchType": 0, "Match": "a"}]})
    .fault("unknown kind of match", {"Components.0.MatchType": 9}, 42)
    .fault("a kind twice", {"Components": [{"EntityType": "user", "MatchType": 0, "Match": "a"}] * 2}, 42)
    .fault("an entity of another kind", {"Components.0.EntityType": "planet"}, 35)
    .fault("an empty kind", {"Components.0.EntityType": ""}, 42)
)

(
    row(49, lambda scene, version: {"ValidateOnly": True, "Entries": [{
        "Entity": [{"EntityType": "user", "EntityName": "a"}],
        "Ops": [{"Key": "consumer_byte_rate", "Value": 1000.0}]}]})
    .fault("no entity", {"Entries.0.Entity": []}, 42)
    .fault("an unknown key", {"Entries.0.Ops.0.Key": "no_such_key"}, 42)
    .fault("an empty kind", {"Entries.0.Entity.0.EntityType": ""}, 42)
)

(
    row(50, lambda scene, version: {"Users": None})
    .fault("unknown user", {"Users": [{"Name": "nobody"}]}, 91)
    .fault("a user twice", {"Users": [{"Name": "nobody"}, {"Name": "nobody"}]}, 92)
)

(
    row(51, lambda scene, version: {"Deletions": [{"Name": "nobody", "Mechanism": 1}]}, {91})
    .fault("unknown mechanism", {"Deletions.0.Mechanism": 9}, 33)
    .fault("an empty name", {"Deletions.0.Name": ""}, 93)
)

# A listener without SASL has nothing to shake hands about.
row(17, lambda scene, version: {"Mechanism": "PLAIN"}, {34})
row(36, lambda scene, version: {"AuthBytes": b"\0a\0b"}, {34})

row(71, lambda scene, version: {"ClientInstanceId": NO_ID})

(
    row(72, lambda scene, version: {"ClientInstanceId": uuid.uuid4(), "SubscriptionId": 7, "Metrics": b""}, {117})
    .fault("no client", {"ClientInstanceId": NO_ID}, 42)
)
