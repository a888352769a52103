# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: bad requests about groups.
from __future__ import annotations

from .table import ABSENT, ABSENT_ID, LONGEST_STRING, Scene, Values, row

BIG_METADATA = "m" * 5000


def offset_commit(scene: Scene, version: int) -> Values:
    return {
        "GroupId": scene.name(), "GenerationIdOrMemberEpoch": -1, "MemberId": "",
        "Topics": [{
            "Name": scene.TOPIC, "TopicId": scene.topic_id,
            "Partitions": [{"PartitionIndex": 0, "CommittedOffset": 3, "CommittedMetadata": "m"}],
        }],
    }


def of_a_member(scene: Scene, version: int) -> Values:
    group, member, generation = scene.joined()
    return {"GroupId": group, "GenerationIdOrMemberEpoch": generation, "MemberId": member}


(
    row(8, offset_commit)
    .fault("unknown topic", {"Topics.0.Name": ABSENT}, 3, "0-9")
    .fault("unknown topic id", {"Topics.0.TopicId": ABSENT_ID}, 100, "10+")
    .fault("unknown partition", {"Topics.0.Partitions.0.PartitionIndex": 9}, 3)
    .fault("negative partition", {"Topics.0.Partitions.0.PartitionIndex": -1}, 3)
    .fault("a generation of an unknown group", {"GenerationIdOrMemberEpoch": 5, "MemberId": "m"}, 22, "0-8")
    .fault("a generation of an unknown group ", {"GenerationIdOrMemberEpoch": 5, "MemberId": "m"}, 69, "9+")
    .fault("the wrong generation", lambda scene, version: {
        **of_a_member(scene, version), "GenerationIdOrMemberEpoch": 99}, 22)
    .fault("unknown member", lambda scene, version: {**of_a_member(scene, version), "MemberId": "nobody"}, 25)
    .fault("no member in a group with members", lambda scene, version: {"GroupId": scene.joined()[0]}, 25)
    .fault("too much metadata", {"Topics.0.Partitions.0.CommittedMetadata": BIG_METADATA}, 12)
)


def offset_fetch(scene: Scene, version: int) -> Values:
    wanted = [{"Name": scene.TOPIC, "PartitionIndexes": [0, 9]}]
    more = [{**wanted[0], "TopicId": scene.topic_id}] if version >= 10 else wanted
    return {"GroupId": scene.GROUP, "Topics": wanted,
            "Groups": [{"GroupId": scene.GROUP, "MemberEpoch": -1, "Topics": more}]}


row(9, offset_fetch)


def find_coordinator(scene: Scene, version: int) -> Values:
    return {"Key": scene.GROUP, "KeyType": 0, "CoordinatorKeys": [scene.GROUP]}


(
    row(10, find_coordinator)
    .fault("unknown type", {"KeyType": 9}, 42, "1+")
    .fault("negative type", {"KeyType": -1}, 42, "1+")
)


def join_group(scene: Scene, version: int) -> Values:
    return {
        "GroupId": scene.name(), "SessionTimeoutMs": 10_000, "RebalanceTimeoutMs": 10_000, "MemberId": "",
        "ProtocolType": "consumer", "Protocols": [{"Name": "range", "Metadata": b"m"}],
    }


(
    # From version 4 on a member is told its id first (KIP-394).
    row(11, join_group, lambda version: {79} if version >= 4 else set())
    .fault("no group", {"GroupId": ""}, 24)
    .fault("no time for a session", {"SessionTimeoutMs": 0}, 26)
    .fault("negative time for a session", {"SessionTimeoutMs": -1}, 26)
    .fault("too long a session", {"SessionTimeoutMs": 2**31 - 1}, 26)
    .fault("no protocols", {"Protocols": []}, 23)
    .fault("no protocol type", {"ProtocolType": ""}, 23)
    .fault("unknown member", {"MemberId": "nobody"}, 25)
    .fault("a protocol that the others have not", lambda scene, version: {
        "GroupId": scene.joined()[0], "Protocols.0.Name": "other"}, 23)
    .fault("another type of protocol", lambda scene, version: {
        "GroupId": scene.joined()[0], "ProtocolType": "connect"}, 23)
)


def heartbeat(scene: Scene, version: int) -> Values:
    group, member, generation = scene.joined()
    return {"GroupId": group, "GenerationId": generation, "MemberId": member}


(
    row(12, heartbeat)
    .fault("no group", {"GroupId": ""}, 24)
    .fault("unknown group", {"GroupId": ABSENT}, 25)
    .fault("unknown member", {"MemberId": "nobody"}, 25)
    .fault("no member", {"MemberId": ""}, 25)
    .fault("long member", {"MemberId": LONGEST_STRING}, 25)
    .fault("a generation to come", {"GenerationId": 99}, 22)
    .fault("negative generation", {"GenerationId": -1}, 22)
    .fault("unknown static member", {"GroupInstanceId": "nobody"}, 25, "3+")
)


def leave_group(scene: Scene, version: int) -> Values:
    group, member, _ = scene.joined()
    return {"GroupId": group, "MemberId": member, "Members": [{"MemberId": member}]}


(
    row(13, leave_group)
    .fault("no group", {"GroupId": ""}, 24)
    .fault("unknown group", {"GroupId": ABSENT}, 25)
    .fault("unknown member", {"MemberId": "nobody", "Members.0.MemberId": "nobody"}, 25)
    .fault("unknown static member", {"Members.0": {"MemberId": "", "GroupInstanceId": "nobody"}}, 25, "3+")
)


def sync_group(scene: Scene, version: int) -> Values:
    group, member, generation = scene.joined()
    return {
        "GroupId": group, "GenerationId": generation, "MemberId": member, "ProtocolType": "consumer",
        "ProtocolName": "range", "Assignments": [{"MemberId": member, "Assignment": b"a"}],
    }


(
    row(14, sync_group)
    .fault("no group", {"GroupId": ""}, 24)
    .fault("unknown group", {"GroupId": ABSENT}, 25)
    .fault("unknown member", {"MemberId": "nobody"}, 25)
    .fault("a generation to come", {"GenerationId": 99}, 22)
    .fault("another protocol", {"ProtocolName": "other"}, 23, "5+")
    .fault("another type of protocol", {"ProtocolType": "connect"}, 23, "5+")
    .fault("no protocol", {"ProtocolName": None}, 23, "5+")
)


(
    row(15, lambda scene, version: {"Groups": [scene.GROUP]})
    .fault("unknown group", {"Groups.0": ABSENT}, 69, "6+")
)

row(16, lambda scene, version: {"StatesFilter": ["Stable", "NoSuchState"], "TypesFilter": ["classic"]})


(
    row(42, lambda scene, version: {"GroupsNames": [scene.commit(scene.name(), scene.SCRATCH)]})
    .fault("unknown group", {"GroupsNames.0": ABSENT}, 69)
    .fault("a group with members", lambda scene, version: {"GroupsNames.0": scene.joined()[0]}, 68)
)


def offset_delete(scene: Scene, version: int) -> Values:
    group = scene.commit(scene.name(), scene.SCRATCH)
    return {"GroupId": group, "Topics": [{"Name": scene.SCRATCH, "Partitions": [{"PartitionIndex": 0}]}]}


(
    row(47, offset_delete)
    .fault("unknown group", {"GroupId": ABSENT}, 69)
    .fault("unknown topic", {"Topics.0.Name": ABSENT}, 3)
    .fault("unknown partition", {"Topics.0.Partitions.0.PartitionIndex": 9}, 3)
)


def consumer_heartbeat(scene: Scene, version: int) -> Values:
    return {
        "GroupId": scene.name(), "MemberId": "scratch-member" if version >= 1 else "", "MemberEpoch": 0,
        "RebalanceTimeoutMs": 10_000, "SubscribedTopicNames": [scene.SCRATCH], "TopicPartitions": [],
    }


(
    row(68, consumer_heartbeat)
    .fault("no group", {"GroupId": ""}, 42)
    .fault("no member", {"MemberId": ""}, 42, "1+")
    .fault("no time for rebalancing", {"RebalanceTimeoutMs": -1}, 42)
    .fault("nothing subscribed", {"SubscribedTopicNames": None}, 42)
    .fault("partitions before joining", lambda scene, version: {
        "TopicPartitions": [{"TopicId": scene.scratch_id, "Partitions": [0]}]}, 42)
    .fault("an epoch that there is not", {"MemberEpoch": -5}, 42)
    .fault("a static member without a name", {"MemberEpoch": -2}, 42)
    .fault("an empty instance", {"InstanceId": ""}, 42)
    .fault("an empty rack", {"RackId": ""}, 42)
    .fault("unknown assignor", {"ServerAssignor": "none-such"}, 112)
    .fault("an epoch of an unknown group", {"MemberId": "m", "MemberEpoch": 5}, 69)
    .fault("a broken pattern", {"SubscribedTopicNames": None, "SubscribedTopicRegex": "(["}, 128, "1+")
)

(
    row(69, lambda scene, version: {"GroupIds": [consumer_group(scene)]})
    .fault("unknown group", {"GroupIds.0": ABSENT}, 69)
    .fault("a classic group", lambda scene, version: {"GroupIds.0": scene.joined()[0]}, 69)
    .fault("no group", {"GroupIds.0": ""}, 24)
)


def consumer_group(scene: Scene) -> str:
    values = consumer_heartbeat(scene, 0)
    answer = scene.call(68, 0, values)
    assert answer["ErrorCode"] == 0, answer
    return values["GroupId"]
