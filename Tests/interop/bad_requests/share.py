# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: bad requests about share groups.
from __future__ import annotations

import uuid

from .table import ABSENT, Scene, Values, row


def heartbeat(scene: Scene, version: int) -> Values:
    return {"GroupId": scene.name(), "MemberId": str(uuid.uuid4()), "MemberEpoch": 0,
            "SubscribedTopicNames": [scene.SCRATCH]}


def group(scene: Scene) -> str:
    values = heartbeat(scene, 1)
    assert scene.call(76, 1, values)["ErrorCode"] == 0
    return values["GroupId"]


(
    row(76, heartbeat)
    .fault("no group", {"GroupId": ""}, 42)
    .fault("no member", {"MemberId": ""}, 42)
    .fault("nothing subscribed", {"SubscribedTopicNames": None}, 42)
    .fault("an epoch of an unknown group", {"MemberEpoch": 5}, 69)
)

(
    row(77, lambda scene, version: {"GroupIds": [group(scene)]})
    .fault("unknown group", {"GroupIds.0": ABSENT}, 69)
)


def places(scene: Scene) -> list[Values]:
    return [{"TopicId": scene.scratch_id, "Partitions": [{"PartitionIndex": 0}]}]


(
    row(78, lambda scene, version: {
        "GroupId": scene.name(), "MemberId": str(uuid.uuid4()), "MaxBytes": 1 << 20, "MaxRecords": 10, "BatchSize": 10,
        "Topics": places(scene)})
    .fault("an epoch of an unknown session", {"ShareSessionEpoch": 5}, 122)
)

row(79, lambda scene, version: {
    "GroupId": group(scene), "MemberId": str(uuid.uuid4()), "ShareSessionEpoch": 5, "Topics": places(scene)}, {122})

row(90, lambda scene, version: {"Groups": [{
    "GroupId": group(scene), "Topics": [{"TopicName": scene.SCRATCH, "Partitions": [0]}]}]})

row(91, lambda scene, version: {"GroupId": group(scene), "Topics": [{
    "TopicName": scene.SCRATCH, "Partitions": [{"PartitionIndex": 0, "StartOffset": 0}]}]}, {68})

(
    row(92, lambda scene, version: {"GroupId": group(scene), "Topics": [{"TopicName": scene.SCRATCH}]}, {68})
    .fault("unknown group", {"GroupId": ABSENT}, 69)
)
