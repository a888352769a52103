# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: confluent-kafka (librdkafka 2.16).
"""librdkafka through confluent-kafka: producers, groups through rebalances, admin, a broker that restarts."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any, Callable

import pytest
from confluent_kafka import (
    Consumer,
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from broker import Broker, Endpoint, wait_until
from rdkafka import Reports, flush, produce_all, read_topic, reader, take, wait_created

COMPRESSIONS = ["none", "gzip", "snappy", "lz4", "zstd"]


@pytest.mark.parametrize("acks", ["0", "1", "all"])
def test_every_ack_level_delivers_and_reports(endpoint: Endpoint, topic: str, acks: str) -> None:
    values = [b"value %d" % number for number in range(1000)]
    reports = produce_all(endpoint, topic, values, acks=acks)
    assert not reports.errors
    assert [value for _, _, value in reports.acked] == values
    if acks != "0":
        assert [offset for _, offset, _ in reports.acked] == list(range(1000))
    assert [message.value() for message in read_topic(endpoint, topic, 1000)] == values


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("idempotent", [False, True])
def test_every_compression_makes_the_round_trip(
    endpoint: Endpoint, topic: str, compression: str, idempotent: bool
) -> None:
    values = [b"value %d " % number + b"abcdefgh" * 40 for number in range(500)]
    reports = produce_all(
        endpoint, topic, values, compression_type=compression, enable_idempotence=idempotent, linger_ms=20
    )
    assert not reports.errors
    assert [message.value() for message in read_topic(endpoint, topic, 500)] == values


def test_keys_headers_nulls_and_timestamps_survive(endpoint: Endpoint, topic: str) -> None:
    reports = Reports()
    producer = Producer(endpoint.librdkafka())
    headers = [("a", b"1"), ("a", b"2"), ("null", None), ("empty", b""), ("ünï", os.urandom(8))]
    producer.produce(topic, b"v", key=b"k", headers=headers, timestamp=1_600_000_000_123, on_delivery=reports)
    producer.produce(topic, b"no key", on_delivery=reports)
    producer.produce(topic, None, key=b"tombstone", on_delivery=reports)
    producer.produce(topic, b"", key=b"", on_delivery=reports)
    flush(producer)
    assert not reports.errors
    first, second, third, fourth = read_topic(endpoint, topic, 4)
    assert (first.key(), first.value(), first.headers()) == (b"k", b"v", headers)
    assert first.timestamp()[1] == 1_600_000_000_123
    assert (second.key(), second.value(), second.headers()) == (None, b"no key", None)
    assert (third.key(), third.value()) == (b"tombstone", None)
    assert (fourth.key(), fourth.value()) == (b"", b"")


def test_records_of_one_mebibyte_make_the_round_trip(endpoint: Endpoint, topic: str) -> None:
    values = [os.urandom(1024 * 1024) for _ in range(3)]
    admin = AdminClient(endpoint.librdkafka())
    wait_created(admin, NewTopic(topic, 1, 1, config={"max.message.bytes": str(2 * 1024 * 1024)}))
    reports = produce_all(endpoint, topic, values, message_max_bytes=2 * 1024 * 1024)
    assert not reports.errors
    assert [message.value() for message in read_topic(endpoint, topic, 3)] == values


def test_a_record_above_the_topics_limit_is_refused_and_the_next_is_taken(endpoint: Endpoint, topic: str) -> None:
    admin = AdminClient(endpoint.librdkafka())
    wait_created(admin, NewTopic(topic, 1, 1, config={"max.message.bytes": "10000"}))
    reports = Reports()
    producer = Producer(endpoint.librdkafka(linger_ms=0))
    producer.produce(topic, b"x" * 20_000, on_delivery=reports)
    flush(producer)
    assert [error.code() for error in reports.errors] == [KafkaError.MSG_SIZE_TOO_LARGE]
    producer.produce(topic, b"small", on_delivery=reports)
    flush(producer)
    assert [value for _, _, value in reports.acked] == [b"small"]
    assert [message.value() for message in read_topic(endpoint, topic, 1)] == [b"small"]


def test_admin_creates_describes_and_deletes_topics(endpoint: Endpoint, unique: Callable[[str], str]) -> None:
    admin = AdminClient(endpoint.librdkafka())
    name = unique("made")
    wait_created(admin, NewTopic(name, 5, 1))
    with pytest.raises(KafkaException) as again:
        admin.create_topics([NewTopic(name, 5, 1)])[name].result(20)
    assert again.value.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS
    listed = admin.list_topics(name, timeout=20).topics[name]
    assert sorted(listed.partitions) == [0, 1, 2, 3, 4]
    assert admin.delete_topics([name])[name].result(20) is None
    wait_until(lambda: name not in admin.list_topics(timeout=20).topics, "the topic to be gone")
    with pytest.raises(KafkaException) as gone:
        admin.delete_topics([name])[name].result(20)
    assert gone.value.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART


@pytest.mark.parametrize(
    ("name", "partitions", "replication", "config", "code"),
    [
        ("bad/name", 1, 1, {}, KafkaError.TOPIC_EXCEPTION),
        ("x" * 250, 1, 1, {}, KafkaError.TOPIC_EXCEPTION),
        ("good-name", 0, 1, {}, KafkaError.INVALID_PARTITIONS),
        ("good-name", 1, 3, {}, KafkaError.INVALID_REPLICATION_FACTOR),
        ("good-name", 1, 1, {"no.such.key": "1"}, KafkaError.INVALID_CONFIG),
        ("good-name", 1, 1, {"retention.ms": "soon"}, KafkaError.INVALID_CONFIG),
    ],
)
def test_a_topic_that_cannot_be_is_refused_with_kafkas_code(
    plaintext: Endpoint, name: str, partitions: int, replication: int, config: dict[str, str], code: int
) -> None:
    admin = AdminClient(plaintext.librdkafka())
    with pytest.raises(KafkaException) as refused:
        admin.create_topics([NewTopic(name, partitions, replication, config=config)])[name].result(20)
    assert refused.value.args[0].code() == code, refused.value


def test_validate_only_creates_nothing(plaintext: Endpoint, topic: str) -> None:
    admin = AdminClient(plaintext.librdkafka())
    assert admin.create_topics([NewTopic(topic, 2, 1)], validate_only=True)[topic].result(20) is None
    assert topic not in admin.list_topics(timeout=20).topics


def test_configs_are_described_and_altered(endpoint: Endpoint, topic: str) -> None:
    admin = AdminClient(endpoint.librdkafka())
    wait_created(admin, NewTopic(topic, 1, 1, config={"retention.ms": "3600000"}))
    resource = ConfigResource(ResourceType.TOPIC, topic)

    def described() -> dict[str, ConfigEntry]:
        return next(iter(admin.describe_configs([resource]).values())).result(20)

    before = described()
    assert before["retention.ms"].value == "3600000"
    assert not before["retention.ms"].is_default
    assert before["cleanup.policy"].value == "delete" and before["cleanup.policy"].is_default
    assert int(before["max.message.bytes"].value) > 0
    resource.add_incremental_config(ConfigEntry("retention.ms", "7200000", incremental_operation=AlterConfigOpType.SET))
    resource.add_incremental_config(
        ConfigEntry("max.message.bytes", "5000", incremental_operation=AlterConfigOpType.SET)
    )
    next(iter(admin.incremental_alter_configs([resource]).values())).result(20)
    after = described()
    assert (after["retention.ms"].value, after["max.message.bytes"].value) == ("7200000", "5000")
    undo = ConfigResource(ResourceType.TOPIC, topic)
    undo.add_incremental_config(ConfigEntry("retention.ms", None, incremental_operation=AlterConfigOpType.DELETE))
    next(iter(admin.incremental_alter_configs([undo]).values())).result(20)
    assert described()["retention.ms"].is_default


def test_appending_to_and_subtracting_from_a_list_config_disturbs_nothing(plaintext: Endpoint, topic: str) -> None:
    """Another broker panicked here and poisoned a lock, after which every request failed."""
    admin = AdminClient(plaintext.librdkafka())
    wait_created(admin, NewTopic(topic, 1, 1))

    def alter(operation: AlterConfigOpType, value: str) -> str:
        change = ConfigResource(ResourceType.TOPIC, topic)
        change.add_incremental_config(ConfigEntry("cleanup.policy", value, incremental_operation=operation))
        next(iter(admin.incremental_alter_configs([change]).values())).result(20)
        resource = ConfigResource(ResourceType.TOPIC, topic)
        return next(iter(admin.describe_configs([resource]).values())).result(20)["cleanup.policy"].value

    assert alter(AlterConfigOpType.APPEND, "delete") == "delete"
    assert alter(AlterConfigOpType.SUBTRACT, "compact") == "delete"
    assert alter(AlterConfigOpType.APPEND, "compact") == "delete,compact"
    assert alter(AlterConfigOpType.SUBTRACT, "delete") == "compact"
    with pytest.raises(KafkaException) as refusal:
        alter(AlterConfigOpType.APPEND, "compacted")
    assert refusal.value.args[0].code() == KafkaError.INVALID_CONFIG
    assert "cleanup.policy" in refusal.value.args[0].str()
    assert alter(AlterConfigOpType.SUBTRACT, "none") == "compact"


def test_broker_configs_are_described(plaintext: Endpoint) -> None:
    admin = AdminClient(plaintext.librdkafka())
    broker_id = next(iter(admin.list_topics(timeout=20).brokers))
    resource = ConfigResource(ResourceType.BROKER, str(broker_id))
    described = next(iter(admin.describe_configs([resource]).values())).result(20)
    assert described, "no broker configuration at all"


def test_offsets_are_listed_by_position_and_time(endpoint: Endpoint, topic: str) -> None:
    producer = Producer(endpoint.librdkafka())
    for number in range(10):
        producer.produce(topic, b"%d" % number, timestamp=1_700_000_000_000 + number * 1000)
    flush(producer)
    admin = AdminClient(endpoint.librdkafka())
    partition = TopicPartition(topic, 0)

    def listed(spec: OffsetSpec) -> Any:
        future = admin.list_offsets({partition: spec}, isolation_level=IsolationLevel.READ_UNCOMMITTED)[partition]
        return future.result(20)

    assert listed(OffsetSpec.earliest()).offset == 0
    assert listed(OffsetSpec.latest()).offset == 10
    newest = listed(OffsetSpec.max_timestamp())
    assert (newest.offset, newest.timestamp) == (9, 1_700_000_009_000)
    middle = listed(OffsetSpec.for_timestamp(1_700_000_004_500))
    assert (middle.offset, middle.timestamp) == (5, 1_700_000_005_000)
    assert listed(OffsetSpec.for_timestamp(1_800_000_000_000)).offset == -1


def test_describing_the_cluster_names_this_broker(endpoint: Endpoint) -> None:
    admin = AdminClient(endpoint.librdkafka())
    described = admin.describe_cluster().result(20)
    assert described.cluster_id
    assert [f"{node.host}:{node.port}" for node in described.nodes] == [endpoint.address]
    assert described.controller.id == described.nodes[0].id


class Member:
    """A consumer of a group, polled by the test, that knows which partitions it holds."""

    def __init__(self, endpoint: Endpoint, group: str, topic: str, **settings: Any):
        self.held: set[int] = set()
        self.revocations = 0
        self.messages: list[Message] = []
        self.leaving = False
        self.consumer = Consumer(
            endpoint.librdkafka(
                group_id=group,
                auto_offset_reset="earliest",
                enable_auto_commit=False,
                session_timeout_ms=10_000,
                heartbeat_interval_ms=200,
                **settings,
            )
        )
        self.consumer.subscribe([topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked)

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.held |= {partition.partition for partition in partitions}

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.revocations += 1
        # leave() has committed, and a commit within a close() that meets a rebalance can abort librdkafka 2.16.
        if not self.leaving:
            self.commit()
        self.held -= {partition.partition for partition in partitions}

    def poll(self) -> None:
        message = self.consumer.poll(0.02)
        if message is not None:
            assert message.error() is None, message.error()
            self.messages.append(message)

    def commit(self) -> None:
        try:
            self.consumer.commit(asynchronous=False)
        except KafkaException as error:
            # Nothing was consumed since the last commit, or since these partitions were assigned. And a close() that
            # meets a rebalance in flight ends librdkafka's group before it calls back: leave() has committed by then.
            harmless = {KafkaError._NO_OFFSET} | ({KafkaError._DESTROY} if self.leaving else set())
            if error.args[0].code() not in harmless:
                raise

    def leave(self) -> None:
        self.commit()
        self.leaving = True
        self.consumer.close()
        self.held.clear()


def settle(members: list[Member], partitions: int) -> None:
    """Polls until the partitions are split over all the members."""

    def split() -> bool:
        for member in members:
            member.poll()
        sizes = [len(member.held) for member in members]
        return sum(sizes) == partitions and max(sizes) - min(sizes) <= 1 and set.union(
            *[member.held for member in members]
        ) == set(range(partitions))

    wait_until(split, f"{partitions} partitions split over {len(members)} members", 40, pause=0)


def calm(endpoint: Endpoint, group: str, members: list[Member]) -> None:
    """Polls until no rebalance is in flight: a close() that meets one may never return (librdkafka 2.16, cooperative)."""
    admin = AdminClient(endpoint.librdkafka())

    def is_stable() -> bool:
        for member in members:
            member.poll()
        return admin.describe_consumer_groups([group])[group].result(20).state == ConsumerGroupState.STABLE

    wait_until(is_stable, "the group to be stable", 40, pause=0)


@pytest.mark.parametrize("strategy", ["range", "roundrobin", "cooperative-sticky"])
@pytest.mark.deadline(120)
def test_three_members_share_a_topic_while_they_come_and_go(
    endpoint: Endpoint, topic: str, group: str, strategy: str
) -> None:
    wait_created(AdminClient(endpoint.librdkafka()), NewTopic(topic, 6, 1))
    producer = Producer(endpoint.librdkafka())
    sent: list[bytes] = []

    def send(count: int) -> None:
        for _ in range(count):
            value = b"%d" % len(sent)
            producer.produce(topic, value, partition=len(sent) % 6)
            sent.append(value)
        flush(producer)

    settings = {"partition_assignment_strategy": strategy}
    members = [Member(endpoint, group, topic, **settings)]
    gone: list[Member] = []
    try:
        send(120)
        settle(members, 6)
        members.append(Member(endpoint, group, topic, **settings))
        settle(members, 6)
        send(120)
        members.append(Member(endpoint, group, topic, **settings))
        settle(members, 6)
        send(120)
        calm(endpoint, group, members)
        leaver = members.pop(0)
        leaver.leave()
        gone.append(leaver)
        settle(members, 6)
        send(120)

        def everything() -> bool:
            for member in members:
                member.poll()
            return {message.value() for member in members + gone for message in member.messages} >= set(sent)

        wait_until(everything, "every record to be consumed", 40, pause=0)
    finally:
        while members:
            calm(endpoint, group, members)
            gone.append(members.pop(0))
            gone[-1].leave()
    seen = Counter(message.value() for member in gone for message in member.messages)
    # Nothing is lost. A member that is assigned a partition and loses it at once may start it from the front
    # (the client drops the late answer to a question it asked before), so records may come twice.
    assert set(seen) == set(sent)


def test_committed_offsets_resume_with_their_metadata(endpoint: Endpoint, topic: str, group: str) -> None:
    produce_all(endpoint, topic, [b"%d" % number for number in range(20)])
    first = reader(endpoint, group, topic)
    take(first, 20)
    first.commit(offsets=[TopicPartition(topic, 0, 12, metadata="up to twelve")], asynchronous=False)
    first.close()
    second = reader(endpoint, group, topic)
    committed = second.committed([TopicPartition(topic, 0)], timeout=20)
    assert (committed[0].offset, committed[0].metadata) == (12, "up to twelve")
    assert [message.offset() for message in take(second, 8)] == list(range(12, 20))
    second.close()
    admin = AdminClient(endpoint.librdkafka())
    listed = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group].result(20)
    assert [(entry.topic, entry.offset) for entry in listed.topic_partitions] == [(topic, 12)]


def test_a_static_member_that_returns_keeps_its_partitions(endpoint: Endpoint, topic: str, group: str) -> None:
    wait_created(AdminClient(endpoint.librdkafka()), NewTopic(topic, 4, 1))
    members = [Member(endpoint, group, topic, group_instance_id=f"static-{number}") for number in range(2)]
    settle(members, 4)
    held = set(members[0].held)
    revocations = members[1].revocations
    members[0].consumer.close()
    members[0] = Member(endpoint, group, topic, group_instance_id="static-0")
    settle(members, 4)
    assert members[0].held == held
    assert members[1].revocations == revocations, "the return of a static member caused a rebalance"
    for member in members:
        member.leave()


def test_an_offset_beyond_the_log_goes_where_the_reset_says(endpoint: Endpoint, topic: str, group: str) -> None:
    produce_all(endpoint, topic, [b"a", b"b"])
    consumer = Consumer(
        endpoint.librdkafka(group_id=group, auto_offset_reset="earliest", enable_auto_commit=False)
    )
    consumer.assign([TopicPartition(topic, 0, 1000)])
    assert [message.value() for message in take(consumer, 2)] == [b"a", b"b"]
    consumer.close()


def test_records_of_many_partitions_arrive_in_the_order_of_each(endpoint: Endpoint, topic: str) -> None:
    wait_created(AdminClient(endpoint.librdkafka()), NewTopic(topic, 12, 1))
    producer = Producer(endpoint.librdkafka(linger_ms=5))
    for number in range(6000):
        producer.produce(topic, b"%d" % number, partition=number % 12)
        producer.poll(0)
    flush(producer)
    consumer = Consumer(endpoint.librdkafka(group_id="many", enable_auto_commit=False))
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(12)])
    per_partition: dict[int, list[int]] = {}
    for message in take(consumer, 6000):
        per_partition.setdefault(message.partition(), []).append(int(message.value()))
    consumer.close()
    assert per_partition == {partition: list(range(partition, 6000, 12)) for partition in range(12)}


@pytest.mark.deadline(120)
@pytest.mark.parametrize("tls", [False, True], ids=["plaintext", "mtls"])
@pytest.mark.parametrize("end", ["SIGTERM", "SIGKILL"])
def test_producer_and_group_carry_on_through_a_restart(
    start_broker: Callable[..., Broker], topic: str, group: str, tls: bool, end: str
) -> None:
    broker = start_broker(stable=True)
    endpoint = Endpoint(broker, tls)
    reports = Reports()
    producer = Producer(endpoint.librdkafka(enable_idempotence=True, acks="all", message_timeout_ms=60_000))
    wait_created(AdminClient(endpoint.librdkafka()), NewTopic(topic, 1, 1))
    consumer = reader(endpoint, group, topic, session_timeout_ms=30_000, topic_metadata_refresh_interval_ms=500)
    values = [b"%d" % number for number in range(600)]
    for value in values[:200]:
        producer.produce(topic, value, on_delivery=reports)
    flush(producer)
    messages = take(consumer, 200)
    consumer.commit(asynchronous=False)
    for value in values[200:400]:
        producer.produce(topic, value, on_delivery=reports)
        producer.poll(0)
    broker.stop() if end == "SIGTERM" else broker.kill()
    for value in values[400:]:
        producer.produce(topic, value, on_delivery=reports)
    broker.start()
    flush(producer, 60)
    seen = {message.offset(): message.value() for message in messages}

    def all_seen() -> bool:
        # A member that must join anew reads again from its last commit; nothing else may come twice.
        for message in consumer.consume(500, 0.2):
            assert message.error() is None, message.error()
            assert seen.setdefault(message.offset(), message.value()) == message.value()
        return len(seen) == 600

    def committed() -> bool:
        """Members are not remembered over a restart: until it has joined again, the member's commits are refused."""
        try:
            consumer.commit(asynchronous=False)
        except KafkaException as error:
            again = (KafkaError.UNKNOWN_MEMBER_ID, KafkaError.ILLEGAL_GENERATION, KafkaError._NO_OFFSET)
            assert error.args[0].code() in again, error
            all_seen()
            return False
        return True

    wait_until(all_seen, "all 600 records to be consumed", 60, pause=0)
    wait_until(committed, "the positions to be committed", 30, pause=0)
    consumer.close()
    assert not reports.errors
    assert sorted(offset for _, offset, _ in reports.acked) == list(range(600))
    assert [seen[offset] for offset in sorted(seen)] == values
