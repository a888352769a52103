# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: bad requests about producers and transactions.
from __future__ import annotations

from .table import ABSENT, ILLEGAL, Scene, Values, row

UNKNOWN_ID = 123_456_789


def init_producer_id(scene: Scene, version: int) -> Values:
    return {"TransactionalId": scene.name(), "TransactionTimeoutMs": 10_000, "ProducerId": -1, "ProducerEpoch": -1}


(
    row(22, init_producer_id)
    .fault("an empty transactional id", {"TransactionalId": ""}, 42)
    .fault("no time", {"TransactionTimeoutMs": 0}, 50)
    .fault("negative time", {"TransactionTimeoutMs": -1}, 50)
    .fault("too much time", {"TransactionTimeoutMs": 2**31 - 1}, 50)
    .fault("an id without an epoch", {"ProducerId": 5}, 42, "3+")
    .fault("an epoch without an id", {"ProducerEpoch": 5}, 42, "3+")
    .fault("another's id", {"TransactionalId": Scene.PRODUCER, "ProducerId": UNKNOWN_ID, "ProducerEpoch": 0}, 47, "3-3")
    .fault("another's id ", {"TransactionalId": Scene.PRODUCER, "ProducerId": UNKNOWN_ID, "ProducerEpoch": 0}, 90, "4+")
)


def add_partitions(scene: Scene, version: int) -> Values:
    name = scene.name()
    producer, epoch = scene.producer(name)
    topics = [{"Name": scene.SCRATCH, "Partitions": [1]}]
    return {
        "V3AndBelowTransactionalId": name, "V3AndBelowProducerId": producer, "V3AndBelowProducerEpoch": epoch,
        "V3AndBelowTopics": topics,
        "Transactions": [{"TransactionalId": name, "ProducerId": producer, "ProducerEpoch": epoch, "Topics": topics}],
    }


def both(name: str, value: object) -> dict[str, object]:
    return {f"V3AndBelow{name}": value, f"Transactions.0.{name}": value}


(
    row(24, add_partitions)
    .fault("unknown transactional id", both("TransactionalId", ABSENT), 49)
    .fault("empty transactional id", both("TransactionalId", ""), 42)
    .fault("another's producer", both("ProducerId", UNKNOWN_ID), 49)
    .fault("an epoch to come", both("ProducerEpoch", 99), 47, "0-1")
    .fault("an epoch to come ", both("ProducerEpoch", 99), 90, "2+")
    .fault("unknown topic", both("Topics", [{"Name": ABSENT, "Partitions": [0]}]), 3)
    .fault("illegal topic", both("Topics", [{"Name": ILLEGAL, "Partitions": [0]}]), 3)
    .fault("unknown partition", both("Topics", [{"Name": Scene.SCRATCH, "Partitions": [9]}]), 3)
)


def add_offsets(scene: Scene, version: int) -> Values:
    name = scene.name()
    return {**scene.of(name, scene.producer(name)), "GroupId": scene.name()}


(
    row(25, add_offsets)
    .fault("unknown transactional id", {"TransactionalId": ABSENT}, 49)
    .fault("empty transactional id", {"TransactionalId": ""}, 42)
    .fault("another's producer", {"ProducerId": UNKNOWN_ID}, 49)
    .fault("an epoch to come", {"ProducerEpoch": 99}, 47, "0-1")
    .fault("an epoch to come ", {"ProducerEpoch": 99}, 90, "2+")
)


def end_transaction(scene: Scene, version: int) -> Values:
    return {**scene.of(*scene.transaction()), "Committed": False}


def nothing_begun(scene: Scene, version: int) -> Values:
    name = scene.name()
    return scene.of(name, scene.producer(name))


(
    row(26, end_transaction)
    .fault("unknown transactional id", {"TransactionalId": ABSENT}, 49)
    .fault("empty transactional id", {"TransactionalId": ""}, 42)
    .fault("another's producer", {"ProducerId": UNKNOWN_ID}, 49)
    .fault("an epoch to come", {"ProducerEpoch": 99}, 47, "0-1")
    .fault("an epoch to come ", {"ProducerEpoch": 99}, 90, "2+")
    .fault("nothing begun", nothing_begun, 48, "0-4")
)


def markers(scene: Scene, version: int) -> Values:
    _, (producer, epoch) = scene.transaction()
    return {"Markers": [{
        "ProducerId": producer, "ProducerEpoch": epoch, "TransactionResult": False, "CoordinatorEpoch": 0,
        "Topics": [{"Name": scene.SCRATCH, "PartitionIndexes": [0]}],
    }]}


(
    row(27, markers)
    .fault("unknown topic", {"Markers.0.Topics.0.Name": ABSENT}, 3)
    .fault("unknown partition", {"Markers.0.Topics.0.PartitionIndexes": [9]}, 3)
)


def offset_commit(scene: Scene, version: int) -> Values:
    group = scene.name()
    name = scene.name()
    producer = scene.producer(name)
    added = scene.call(25, 2, {**scene.of(name, producer), "GroupId": group})
    assert added["ErrorCode"] == 0, added
    return {
        **scene.of(name, producer), "GroupId": group, "GenerationId": -1, "MemberId": "",
        "Topics": [{
            "Name": scene.SCRATCH,
            "Partitions": [{"PartitionIndex": 0, "CommittedOffset": 3, "CommittedLeaderEpoch": -1,
                            "CommittedMetadata": "m"}],
        }],
    }


(
    row(28, offset_commit)
    .fault("no group", {"GroupId": ""}, 24)
    .fault("unknown topic", {"Topics.0.Name": ABSENT}, 3)
    .fault("unknown partition", {"Topics.0.Partitions.0.PartitionIndex": 9}, 3)
    .fault("too much metadata", {"Topics.0.Partitions.0.CommittedMetadata": "m" * 5000}, 12)
    .fault("a generation of an unknown group", {"GenerationId": 5, "MemberId": "m"}, 22, "3+")
)


(
    row(61, lambda scene, version: {"Topics": [{"Name": scene.TOPIC, "PartitionIndexes": [0]}]})
    .fault("unknown topic", {"Topics.0.Name": ABSENT}, 3)
    .fault("unknown partition", {"Topics.0.PartitionIndexes": [9]}, 3)
    .fault("negative partition", {"Topics.0.PartitionIndexes": [-1]}, 3)
)

(
    row(65, lambda scene, version: {"TransactionalIds": [scene.PRODUCER]})
    .fault("unknown transactional id", {"TransactionalIds.0": ABSENT}, 105)
)

row(66, lambda scene, version: {"StateFilters": ["Ongoing", "NoSuchState"], "DurationFilter": -1})
