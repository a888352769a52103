# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: kafka-python 3.
"""kafka-python 3, which negotiates the newest versions (topic ids in Produce v13 and Fetch v13 and later)."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Optional

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.consumer.subscription_state import ConsumerRebalanceListener
from kafka.errors import (
    InvalidReplicationFactorError,
    InvalidTopicError,
    MessageSizeTooLargeError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
)
from kafka.structs import OffsetAndMetadata

from broker import Broker, Endpoint, wait_until

COMPRESSIONS = [None, "gzip", "snappy", "lz4", "zstd"]


def produce_all(endpoint: Endpoint, topic: str, values: list[Optional[bytes]], **settings: Any) -> list[Any]:
    producer = KafkaProducer(**endpoint.kafka_python(**settings))
    try:
        futures = [producer.send(topic, value, partition=0) for value in values]
        producer.flush(30)
        return [future.get(10) for future in futures]
    finally:
        producer.close(10)


def take(consumer: KafkaConsumer, count: int, seconds: float = 30) -> list[Any]:
    records: list[Any] = []

    def enough() -> bool:
        # A poll that ends in the very moment in which a join does makes this client (3.0) forget the assignment:
        # polls are long, they return as soon as there are records.
        for batch in consumer.poll(3000).values():
            records.extend(batch)
        return len(records) >= count

    wait_until(enough, f"{count} records", seconds, pause=0)
    assert len(records) == count
    return records


def read_topic(endpoint: Endpoint, topic: str, count: int, **settings: Any) -> list[Any]:
    consumer = KafkaConsumer(**endpoint.kafka_python(**settings))
    try:
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        consumer.seek(partition, 0)
        return take(consumer, count)
    finally:
        consumer.close()


def create(endpoint: Endpoint, topic: str, partitions: int = 1, **configs: str) -> None:
    admin = KafkaAdminClient(**endpoint.kafka_python())
    try:
        admin.create_topics(
            {
                topic: {
                    "num_partitions": partitions,
                    "replication_factor": 1,
                    "configs": {name.replace("_", "."): value for name, value in configs.items()},
                }
            }
        )
    finally:
        admin.close()


@pytest.mark.parametrize("acks", [0, 1, "all"])
def test_every_ack_level_delivers(endpoint: Endpoint, topic: str, acks: Any) -> None:
    values = [b"value %d" % number for number in range(500)]
    metadata = produce_all(endpoint, topic, values, acks=acks, enable_idempotence=False)
    if acks != 0:
        assert [entry.offset for entry in metadata] == list(range(500))
    assert [record.value for record in read_topic(endpoint, topic, 500)] == values


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_every_compression_makes_the_round_trip(
    endpoint: Endpoint, topic: str, compression: Optional[str]
) -> None:
    values = [b"value %d " % number + b"abcdefgh" * 40 for number in range(300)]
    produce_all(endpoint, topic, values, compression_type=compression, linger_ms=20)
    assert [record.value for record in read_topic(endpoint, topic, 300)] == values


def test_an_idempotent_producer_is_acked_in_order(endpoint: Endpoint, topic: str) -> None:
    values = [b"%d" % number for number in range(2000)]
    metadata = produce_all(endpoint, topic, values, enable_idempotence=True, batch_size=512)
    assert [entry.offset for entry in metadata] == list(range(2000))
    assert [record.value for record in read_topic(endpoint, topic, 2000)] == values


def test_keys_headers_nulls_and_timestamps_survive(endpoint: Endpoint, topic: str) -> None:
    producer = KafkaProducer(**endpoint.kafka_python())
    headers = [("a", b"1"), ("a", b"2"), ("empty", b""), ("ünï", os.urandom(8))]
    producer.send(topic, b"v", key=b"k", headers=headers, timestamp_ms=1_600_000_000_123)
    producer.send(topic, b"no key")
    producer.send(topic, None, key=b"tombstone")
    producer.flush(20)
    producer.close(10)
    first, second, third = read_topic(endpoint, topic, 3)
    assert (first.key, first.value, list(first.headers)) == (b"k", b"v", headers)
    assert first.timestamp == 1_600_000_000_123
    assert (second.key, second.value) == (None, b"no key")
    assert (third.key, third.value) == (b"tombstone", None)


def test_records_of_one_mebibyte_make_the_round_trip(endpoint: Endpoint, topic: str) -> None:
    create(endpoint, topic, max_message_bytes=str(2 * 1024 * 1024))
    values = [os.urandom(1024 * 1024) for _ in range(3)]
    produce_all(endpoint, topic, values, max_request_size=2 * 1024 * 1024)
    assert [record.value for record in read_topic(endpoint, topic, 3)] == values


def test_a_record_above_the_topics_limit_is_refused(endpoint: Endpoint, topic: str) -> None:
    create(endpoint, topic, max_message_bytes="10000")
    with pytest.raises(MessageSizeTooLargeError):
        produce_all(endpoint, topic, [b"x" * 20_000], max_request_size=1_000_000)
    produce_all(endpoint, topic, [b"small"])
    assert [record.value for record in read_topic(endpoint, topic, 1)] == [b"small"]


def test_log_append_time_replaces_the_producers(endpoint: Endpoint, topic: str) -> None:
    create(endpoint, topic, message_timestamp_type="LogAppendTime")
    producer = KafkaProducer(**endpoint.kafka_python())
    sent = producer.send(topic, b"v", timestamp_ms=1_000).get(20)
    producer.close(10)
    record = read_topic(endpoint, topic, 1)[0]
    assert record.timestamp_type == 1
    assert record.timestamp == sent.timestamp > 1_600_000_000_000


def test_offsets_are_found_by_time_and_position(endpoint: Endpoint, topic: str) -> None:
    producer = KafkaProducer(**endpoint.kafka_python())
    for number in range(10):
        producer.send(topic, b"%d" % number, timestamp_ms=1_700_000_000_000 + number * 1000)
    producer.flush(20)
    producer.close(10)
    partition = TopicPartition(topic, 0)
    consumer = KafkaConsumer(**endpoint.kafka_python())
    try:
        assert consumer.beginning_offsets([partition]) == {partition: 0}
        assert consumer.end_offsets([partition]) == {partition: 10}
        found = consumer.offsets_for_times({partition: 1_700_000_004_500})[partition]
        assert (found.offset, found.timestamp) == (5, 1_700_000_005_000)
        beyond = consumer.offsets_for_times({partition: 1_800_000_000_000})[partition]
        assert beyond is None or beyond.offset == -1
    finally:
        consumer.close()


def test_fetching_with_and_without_sessions_gives_the_same(endpoint: Endpoint, topic: str) -> None:
    values = [os.urandom(2000) for _ in range(1500)]
    produce_all(endpoint, topic, values)
    for sessions in (True, False):
        records = read_topic(endpoint, topic, 1500, enable_incremental_fetch_sessions=sessions)
        assert [record.value for record in records] == values


def test_admin_creates_describes_and_deletes_topics(endpoint: Endpoint, unique: Callable[[str], str]) -> None:
    admin = KafkaAdminClient(**endpoint.kafka_python())
    name = unique("made")
    try:
        admin.create_topics({name: {"num_partitions": 4, "replication_factor": 1}}, wait_for_metadata=True)
        described = admin.describe_topics([name])[0]
        assert sorted(entry["partition_index"] for entry in described["partitions"]) == [0, 1, 2, 3]
        with pytest.raises(TopicAlreadyExistsError):
            admin.create_topics({name: {"num_partitions": 4, "replication_factor": 1}})
        with pytest.raises(InvalidReplicationFactorError):
            admin.create_topics({unique("r"): {"num_partitions": 1, "replication_factor": 2}})
        with pytest.raises(InvalidTopicError):
            admin.create_topics({"no/slashes": {"num_partitions": 1, "replication_factor": 1}})
        admin.delete_topics([name])
        assert name not in admin.list_topics()
        with pytest.raises(UnknownTopicOrPartitionError):
            admin.delete_topics([name])
        # The same name again is another topic.
        admin.create_topics({name: {"num_partitions": 1, "replication_factor": 1}}, wait_for_metadata=True)
        assert admin.describe_topics([name])[0]["topic_id"] != described["topic_id"]
    finally:
        admin.close()


def test_configs_are_described_and_altered(endpoint: Endpoint, topic: str) -> None:
    create(endpoint, topic, retention_ms="3600000")
    admin = KafkaAdminClient(**endpoint.kafka_python())
    resource = ConfigResource(ConfigResourceType.TOPIC, topic)

    def value_of(name: str) -> str:
        described = admin.describe_configs([resource], config_filter="all")
        return _find_config(described, topic, name)

    try:
        assert value_of("retention.ms") == "3600000"
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {"retention.ms": "60000"})])
        assert value_of("retention.ms") == "60000"
    finally:
        admin.close()


def _find_config(described: Any, topic: str, name: str) -> str:
    """The value of a configuration key in whatever nesting the client answers with."""
    stack = [described]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            if name in node:
                found = node[name]
                return found["value"] if isinstance(found, dict) else found
            if node.get("name") == name and "value" in node:
                return node["value"]
            stack.extend(node.values())
        elif isinstance(node, (list, tuple)):
            stack.extend(node)
    raise AssertionError(f"{topic} has no {name} in {described}")


def test_the_cluster_has_this_one_broker(endpoint: Endpoint) -> None:
    admin = KafkaAdminClient(**endpoint.kafka_python())
    try:
        described = admin.describe_cluster()
    finally:
        admin.close()
    assert [f"{node['host']}:{node['port']}" for node in described["brokers"]] == [endpoint.address]
    assert described["cluster_id"]


class Listener(ConsumerRebalanceListener):
    """This client's listeners run on its network thread, where committing is not allowed."""

    def __init__(self) -> None:
        self.held: set[int] = set()

    def on_partitions_revoked(self, revoked: Any) -> None:
        self.held -= {partition.partition for partition in revoked}

    def on_partitions_assigned(self, assigned: Any) -> None:
        self.held |= {partition.partition for partition in assigned}


class Member:
    def __init__(self, endpoint: Endpoint, group: str, topic: str):
        self.listener = Listener()
        self.records: list[Any] = []
        self.consumer = KafkaConsumer(
            **endpoint.kafka_python(
                group_id=group,
                auto_offset_reset="earliest",
                enable_auto_commit=False,
                heartbeat_interval_ms=200,
                session_timeout_ms=10_000,
            )
        )
        self.consumer.subscribe([topic], listener=self.listener)

    def poll(self) -> None:
        for batch in self.consumer.poll(1_000).values():
            self.records.extend(batch)

    def leave(self) -> None:
        if self.records and self.listener.held:
            self.consumer.commit()
        self.consumer.close(autocommit=False)


def poll_all(members: list[Member]) -> None:
    """Each in a thread, as members of a group are: one after the other, a poll may end just before the others' answer
    that it waits for, and this client then joins again, round after round."""
    with ThreadPoolExecutor(len(members)) as pool:
        list(pool.map(Member.poll, members))


def settle(members: list[Member], partitions: int) -> None:
    def split() -> bool:
        poll_all(members)
        sizes = [len(member.listener.held) for member in members]
        union = set().union(*[member.listener.held for member in members])
        return sum(sizes) == partitions and max(sizes) - min(sizes) <= 1 and union == set(range(partitions))

    wait_until(split, f"{partitions} partitions split over {len(members)} members", 40, pause=0)


@pytest.mark.deadline(120)
def test_three_members_share_a_topic_while_they_come_and_go(endpoint: Endpoint, topic: str, group: str) -> None:
    create(endpoint, topic, 6)
    producer = KafkaProducer(**endpoint.kafka_python())
    sent: list[bytes] = []

    def send(count: int) -> None:
        for _ in range(count):
            sent.append(b"%d" % len(sent))
            producer.send(topic, sent[-1], partition=len(sent) % 6)
        producer.flush(20)

    members = [Member(endpoint, group, topic)]
    gone: list[Member] = []
    try:
        send(60)
        settle(members, 6)
        members.append(Member(endpoint, group, topic))
        members.append(Member(endpoint, group, topic))
        settle(members, 6)
        send(60)
        leaver = members.pop(0)
        leaver.leave()
        gone.append(leaver)
        settle(members, 6)
        send(60)

        def everything() -> bool:
            poll_all(members)
            return {record.value for member in members + gone for record in member.records} >= set(sent)

        wait_until(everything, "every record to be consumed", 40, pause=0)
    finally:
        producer.close(10)
        for member in members:
            member.leave()
    # Positions are not committed before a revocation: records may come twice, and none may be missing.
    assert {record.value for member in members + gone for record in member.records} == set(sent)


def test_committed_offsets_resume(endpoint: Endpoint, topic: str, group: str) -> None:
    produce_all(endpoint, topic, [b"%d" % number for number in range(20)])
    partition = TopicPartition(topic, 0)
    settings = {"group_id": group, "auto_offset_reset": "earliest", "enable_auto_commit": False}
    first = KafkaConsumer(topic, **endpoint.kafka_python(**settings))
    take(first, 20)
    first.commit({partition: OffsetAndMetadata(12, "up to twelve", -1)})
    first.close()
    second = KafkaConsumer(topic, **endpoint.kafka_python(**settings))
    try:
        assert second.committed(partition) == 12
        assert second.committed(partition, metadata=True).metadata == "up to twelve"
        assert [record.offset for record in take(second, 8)] == list(range(12, 20))
    finally:
        second.close()


@pytest.mark.deadline(120)
@pytest.mark.parametrize("tls", [False, True], ids=["plaintext", "mtls"])
def test_producer_and_consumer_carry_on_through_a_kill(
    start_broker: Callable[..., Broker], topic: str, tls: bool
) -> None:
    broker = start_broker(stable=True)
    endpoint = Endpoint(broker, tls)
    values = [b"%d" % number for number in range(300)]
    backoff = {"reconnect_backoff_max_ms": 200}
    producer = KafkaProducer(**endpoint.kafka_python(acks="all", **backoff))
    consumer = KafkaConsumer(**endpoint.kafka_python(**backoff))
    partition = TopicPartition(topic, 0)
    futures = [producer.send(topic, value) for value in values[:100]]
    producer.flush(20)
    consumer.assign([partition])
    consumer.seek(partition, 0)
    records = take(consumer, 100)
    broker.kill()
    futures += [producer.send(topic, value) for value in values[100:]]
    broker.start()
    producer.flush(60)
    assert [future.get(1).offset for future in futures] == list(range(300))
    records += take(consumer, 200, 60)
    assert [record.value for record in records] == values
    producer.close(10)
    consumer.close()
