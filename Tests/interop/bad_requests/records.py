# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: bad requests about records and their offsets.
from __future__ import annotations

import wire
from wire import Record

from .table import ABSENT, ABSENT_ID, ILLEGAL, LONG_NAME, Scene, Values, row

GOOD = wire.batch([Record(b"v")])
TWICE = GOOD + GOOD
MISCOUNTED = wire.batch([Record(b"v")], count=7)
BROKEN = GOOD[:-1] + b"\xff"


def produce(scene: Scene, version: int) -> Values:
    return {
        "Acks": -1, "TimeoutMs": 1000, "TransactionalId": None,
        "TopicData": [{"Name": scene.SCRATCH, "PartitionData": [{"Index": 0, "Records": GOOD}]}],
    }


(
    row(0, produce, first=3)
    .fault("unknown topic", {"TopicData.0.Name": ABSENT}, 3)
    .fault("illegal topic name", {"TopicData.0.Name": ILLEGAL}, 3)
    .fault("empty topic name", {"TopicData.0.Name": ""}, 3)
    .fault("long topic name", {"TopicData.0.Name": LONG_NAME}, 3)
    .fault("unknown partition", {"TopicData.0.PartitionData.0.Index": 9}, 3)
    .fault("negative partition", {"TopicData.0.PartitionData.0.Index": -1}, 3)
    .fault("acks that there are not", {"Acks": 2}, 21)
    .fault("no batch", {"TopicData.0.PartitionData.0.Records": b""}, 87)
    .fault("two batches", {"TopicData.0.PartitionData.0.Records": TWICE}, 87)
    .fault("a wrong checksum", {"TopicData.0.PartitionData.0.Records": BROKEN}, 2)
    .fault("a batch cut short", {"TopicData.0.PartitionData.0.Records": GOOD[:-3]}, 2)
    .fault("a batch that counts wrong", {"TopicData.0.PartitionData.0.Records": MISCOUNTED}, 87)
)


def fetch(scene: Scene, version: int) -> Values:
    return {
        "MaxWaitMs": 0, "MinBytes": 0, "MaxBytes": 1 << 20, "SessionId": 0, "SessionEpoch": -1,
        "Topics": [{
            "Topic": scene.TOPIC, "TopicId": scene.topic_id,
            "Partitions": [{"Partition": 0, "CurrentLeaderEpoch": -1, "FetchOffset": 0, "LastFetchedEpoch": -1,
                            "LogStartOffset": -1, "PartitionMaxBytes": 1 << 20}],
        }],
    }


(
    row(1, fetch)
    .fault("unknown topic", {"Topics.0.Topic": ABSENT}, 3, "4-12")
    .fault("illegal topic name", {"Topics.0.Topic": ILLEGAL}, 3, "4-12")
    .fault("empty topic name", {"Topics.0.Topic": ""}, 3, "4-12")
    .fault("unknown topic id", {"Topics.0.TopicId": ABSENT_ID}, 100, "13+")
    .fault("unknown partition", {"Topics.0.Partitions.0.Partition": 9}, 3)
    .fault("negative partition", {"Topics.0.Partitions.0.Partition": -1}, 3)
    .fault("beyond the end", {"Topics.0.Partitions.0.FetchOffset": 100}, 1)
    .fault("negative offset", {"Topics.0.Partitions.0.FetchOffset": -5}, 1)
    .fault("an epoch to come", {"Topics.0.Partitions.0.CurrentLeaderEpoch": 99}, 75, "9+")
    .fault("unknown session", {"SessionId": 12_345, "SessionEpoch": 5}, 70, "7+")
)


def list_offsets(scene: Scene, version: int) -> Values:
    return {
        "ReplicaId": -1, "TimeoutMs": 1000,
        "Topics": [{
            "Name": scene.TOPIC,
            "Partitions": [{"PartitionIndex": 0, "CurrentLeaderEpoch": -1, "Timestamp": -1}],
        }],
    }


(
    row(2, list_offsets)
    .fault("unknown topic", {"Topics.0.Name": ABSENT}, 3)
    .fault("illegal topic name", {"Topics.0.Name": ILLEGAL}, 3)
    .fault("empty topic name", {"Topics.0.Name": ""}, 3)
    .fault("unknown partition", {"Topics.0.Partitions.0.PartitionIndex": 9}, 3)
    .fault("negative partition", {"Topics.0.Partitions.0.PartitionIndex": -1}, 3)
    .fault("an epoch to come", {"Topics.0.Partitions.0.CurrentLeaderEpoch": 99}, 75, "4+")
    .fault("a partition twice", lambda scene, version: {
        "Topics.0.Partitions": list_offsets(scene, version)["Topics"][0]["Partitions"] * 2}, 42)
)


def metadata(scene: Scene, version: int) -> Values:
    return {"Topics": [{"Name": scene.TOPIC}], "AllowAutoTopicCreation": False}


(
    row(3, metadata)
    .fault("unknown topic", {"Topics.0.Name": ABSENT}, 3, "4+")
    .fault("illegal topic name", {"Topics.0.Name": ILLEGAL}, 17)
    .fault("empty topic name", {"Topics.0.Name": ""}, 17)
    .fault("long topic name", {"Topics.0.Name": LONG_NAME}, 17)
    .fault("two dots for a name", {"Topics.0.Name": ".."}, 17)
    .fault("unknown topic id", {"Topics.0.Name": None, "Topics.0.TopicId": ABSENT_ID}, 100, "12+")
)


def delete_records(scene: Scene, version: int) -> Values:
    return {
        "TimeoutMs": 1000,
        "Topics": [{"Name": scene.SCRATCH, "Partitions": [{"PartitionIndex": 0, "Offset": 1}]}],
    }


(
    row(21, delete_records)
    .fault("unknown topic", {"Topics.0.Name": ABSENT}, 3)
    .fault("illegal topic name", {"Topics.0.Name": ILLEGAL}, 3)
    .fault("unknown partition", {"Topics.0.Partitions.0.PartitionIndex": 9}, 3)
    .fault("beyond the end", {"Topics.0.Name": Scene.TOPIC, "Topics.0.Partitions.0.Offset": 100_000}, 1)
    .fault("negative offset", {"Topics.0.Name": Scene.TOPIC, "Topics.0.Partitions.0.Offset": -5}, 1)
)


def leader_epochs(scene: Scene, version: int) -> Values:
    return {
        "ReplicaId": -1,
        "Topics": [{
            "Topic": scene.TOPIC, "Partitions": [{"Partition": 0, "CurrentLeaderEpoch": -1, "LeaderEpoch": 0}]}],
    }


(
    row(23, leader_epochs)
    .fault("unknown topic", {"Topics.0.Topic": ABSENT}, 3)
    .fault("unknown partition", {"Topics.0.Partitions.0.Partition": 9}, 3)
    .fault("an epoch to come", {"Topics.0.Partitions.0.CurrentLeaderEpoch": 99}, 75)
)
