# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: what administrators do, with the admin clients of three libraries.
"""Admin clients: configuration at run time, topics, groups, the cluster, and what is refused in Kafka's words.

Configuration of the broker itself is changed on brokers of a test's own.
"""

from __future__ import annotations

import asyncio
import urllib.request
from typing import Any, Callable, Iterator

import kafka.errors
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin import NewTopic as AioNewTopic
from aiokafka.admin.config_resource import ConfigResource as AioConfigResource
from aiokafka.admin.config_resource import ConfigResourceType as AioConfigResourceType
from confluent_kafka import (
    Consumer,
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    ElectionType,
    KafkaError,
    KafkaException,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)
from kafka import KafkaAdminClient
from kafka import TopicPartition as PythonTopicPartition
from kafka.admin import ConfigResource as PythonConfigResource

import wire
from broker import Broker, Endpoint, wait_until

Start = Callable[..., Broker]


@pytest.fixture
def own(start_broker: Start) -> Broker:
    return start_broker()


def confluent(broker: Broker) -> AdminClient:
    return AdminClient(Endpoint(broker, tls=False).librdkafka())


def only(futures: dict[Any, Any]) -> Any:
    assert len(futures) == 1
    return next(iter(futures.values())).result(20)


def code_of(call: Callable[[], Any]) -> int:
    with pytest.raises(KafkaException) as refused:
        call()
    return refused.value.args[0].code()


def described(admin: AdminClient, kind: ResourceType, name: str) -> dict[str, ConfigEntry]:
    return only(admin.describe_configs([ConfigResource(kind, name)]))


def alter(
    admin: AdminClient,
    kind: ResourceType,
    name: str,
    *changes: tuple[str, AlterConfigOpType, str | None],
    validate_only: bool = False,
) -> None:
    resource = ConfigResource(kind, name)
    for key, operation, value in changes:
        resource.add_incremental_config(ConfigEntry(key, value, incremental_operation=operation))
    only(admin.incremental_alter_configs([resource], validate_only=validate_only))


SET, DELETE, APPEND, SUBTRACT = (
    AlterConfigOpType.SET,
    AlterConfigOpType.DELETE,
    AlterConfigOpType.APPEND,
    AlterConfigOpType.SUBTRACT,
)


def produce(broker: Broker, topic: str, count: int = 1, size: int = 10) -> None:
    producer = Producer(Endpoint(broker, tls=False).librdkafka())
    failures: list[KafkaError] = []
    for number in range(count):
        producer.produce(
            topic, b"x" * size, key=b"%d" % number, on_delivery=lambda error, _: error and failures.append(error)
        )
    assert producer.flush(20) == 0
    if failures:
        raise KafkaException(failures[0])


# confluent-kafka


def alter_all_brokers(broker: Broker, changes: dict[str, str | None]) -> list[int]:
    """By bytes, because these clients take no empty name, which means all brokers. None deletes."""
    configs = [
        wire.string(key) + wire.i8(0 if value is not None else 1) + wire.string(value) for key, value in changes.items()
    ]
    body = wire.array([wire.i8(4) + wire.string("") + wire.array(configs)]) + b"\0"
    with wire.Wire(broker.address) as connection:
        connection.send(wire.request(44, 0, 1, body, flexible=False))
        reader = wire.Reader(connection.read_frame())
    assert (reader.i32(), reader.i32()) == (1, 0)
    codes = []
    for _ in range(reader.i32()):
        codes.append(reader.i16())
        reader.string(), reader.i8(), reader.string()
    return codes


def test_a_brokers_configuration_is_in_force_at_once_and_after_a_restart(own: Broker, topic: str) -> None:
    admin = confluent(own)
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(20)
    produce(own, topic, size=5000)
    assert alter_all_brokers(own, {"message.max.bytes": "3000", "log.retention.ms": "77"}) == [0]
    assert code_of(lambda: produce(own, topic, size=5000)) == KafkaError.MSG_SIZE_TOO_LARGE
    alter(admin, ResourceType.BROKER, "1", ("message.max.bytes", SET, "9000"))
    produce(own, topic, size=5000)
    own.stop()
    own.start()
    admin = confluent(own)
    entry = described(admin, ResourceType.TOPIC, topic)["max.message.bytes"]
    assert (entry.value, entry.source) == ("9000", ConfigSource.DYNAMIC_BROKER_CONFIG.value)
    assert set(entry.synonyms) == {"message.max.bytes"}
    assert described(admin, ResourceType.TOPIC, topic)["retention.ms"].value == "77"
    alter(admin, ResourceType.BROKER, "1", ("message.max.bytes", DELETE, None))
    assert alter_all_brokers(own, {"message.max.bytes": None, "log.retention.ms": None}) == [0]
    assert described(admin, ResourceType.TOPIC, topic)["max.message.bytes"].is_default


def test_a_configuration_survives_kill_9(own: Broker, topic: str) -> None:
    admin = confluent(own)
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(20)
    alter(admin, ResourceType.TOPIC, topic, ("retention.ms", SET, "5"))
    alter(admin, ResourceType.BROKER, "1", ("log.segment.bytes", SET, "4321"))
    own.kill()
    own.start()
    entries = described(confluent(own), ResourceType.TOPIC, topic)
    assert (entries["retention.ms"].value, entries["segment.bytes"].value) == ("5", "4321")


@pytest.mark.parametrize(
    ("kind", "name", "key", "value", "code"),
    [
        (ResourceType.BROKER, "1", "num.partitions", "3", KafkaError.INVALID_REQUEST),
        (ResourceType.BROKER, "1", "log.retention.ms", "soon", KafkaError.INVALID_REQUEST),
        (ResourceType.TOPIC, "no-such-topic", "retention.ms", "1", KafkaError.UNKNOWN_TOPIC_OR_PART),
        (ResourceType.GROUP, "g", "consumer.session.timeout.ms", "x", KafkaError.INVALID_CONFIG),
        (ResourceType.GROUP, "g", "no.such.key", "x", KafkaError.INVALID_CONFIG),
    ],
)
def test_what_cannot_be_configured_is_refused(
    own: Broker, kind: ResourceType, name: str, key: str, value: str, code: int
) -> None:
    admin = confluent(own)
    assert code_of(lambda: alter(admin, kind, name, (key, SET, value))) == code


def test_one_bad_key_of_three_changes_nothing(plaintext: Endpoint, topic: str) -> None:
    admin = AdminClient(plaintext.librdkafka())
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(20)
    changes = (("retention.ms", SET, "5"), ("retention.mss", SET, "5"), ("segment.ms", SET, "6"))
    assert code_of(lambda: alter(admin, ResourceType.TOPIC, topic, *changes)) == KafkaError.INVALID_CONFIG
    append = ("retention.ms", APPEND, "5")
    assert code_of(lambda: alter(admin, ResourceType.TOPIC, topic, append)) == KafkaError.INVALID_CONFIG
    assert described(admin, ResourceType.TOPIC, topic)["retention.ms"].is_default
    alter(admin, ResourceType.TOPIC, topic, ("retention.ms", SET, "5"), validate_only=True)
    assert described(admin, ResourceType.TOPIC, topic)["retention.ms"].is_default
    alter(admin, ResourceType.TOPIC, topic, ("retention.ms", SET, "5"))
    assert described(admin, ResourceType.TOPIC, topic)["retention.ms"].value == "5"


def test_alter_configs_replaces_what_was_set(plaintext: Endpoint, topic: str) -> None:
    admin = AdminClient(plaintext.librdkafka())
    admin.create_topics([NewTopic(topic, 1, 1, config={"segment.ms": "7"})])[topic].result(20)
    with pytest.warns(DeprecationWarning):
        only(admin.alter_configs([ConfigResource(ResourceType.TOPIC, topic, set_config={"retention.ms": "5"})]))
    entries = described(admin, ResourceType.TOPIC, topic)
    assert entries["retention.ms"].value == "5" and entries["segment.ms"].is_default


def test_a_group_has_a_configuration_of_its_own(own: Broker, group: str) -> None:
    admin = confluent(own)
    assert described(admin, ResourceType.GROUP, group)["consumer.session.timeout.ms"].is_default
    alter(admin, ResourceType.GROUP, group, ("consumer.session.timeout.ms", SET, "46000"))
    own.stop()
    own.start()
    entry = described(confluent(own), ResourceType.GROUP, group)["consumer.session.timeout.ms"]
    assert (entry.value, entry.is_default) == ("46000", False)


def test_topics_are_described_and_changed(plaintext: Endpoint, broker: Broker, topic: str, unique: Callable[[str], str]) -> None:
    admin = AdminClient(plaintext.librdkafka())
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(20)
    admin.create_partitions([NewPartitions(topic, 3)])[topic].result(20)
    description = admin.describe_topics(TopicCollection([topic]), include_authorized_operations=True)[topic].result(20)
    assert [partition.id for partition in description.partitions] == [0, 1, 2]
    assert {operation.name for operation in description.authorized_operations} == {
        "READ", "WRITE", "CREATE", "DELETE", "ALTER", "DESCRIBE", "DESCRIBE_CONFIGS", "ALTER_CONFIGS",
    }
    missing = admin.describe_topics(TopicCollection([unique("no")]))
    assert code_of(lambda: only(missing)) == KafkaError.UNKNOWN_TOPIC_OR_PART
    for number in range(3):
        admin.list_topics(topic, timeout=20)
        producer = Producer(plaintext.librdkafka())
        producer.produce(topic, b"%d" % number, partition=0)
        assert producer.flush(20) == 0
    partition = TopicPartition(topic, 0, 2)
    assert admin.delete_records([partition])[partition].result(20).low_watermark == 2
    assert admin.list_offsets({TopicPartition(topic, 0): OffsetSpec.earliest()})[TopicPartition(topic, 0)].result(20).offset == 2


def test_names_that_differ_in_dots_collide(plaintext: Endpoint, unique: Callable[[str], str]) -> None:
    admin = AdminClient(plaintext.librdkafka())
    name = unique("a.b")
    admin.create_topics([NewTopic(name, 1, 1)])[name].result(20)
    twin = name.replace(".", "_")
    assert code_of(lambda: admin.create_topics([NewTopic(twin, 1, 1)])[twin].result(20)) == KafkaError.TOPIC_EXCEPTION


def test_groups_are_listed_described_and_deleted(plaintext: Endpoint, topic: str, group: str) -> None:
    admin = AdminClient(plaintext.librdkafka())
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(20)
    consumer = Consumer(plaintext.librdkafka(**{"group.id": group, "auto.offset.reset": "earliest"}))
    consumer.commit(offsets=[TopicPartition(topic, 0, 5)], asynchronous=False)
    consumer.close()
    listed = admin.list_consumer_groups(states={ConsumerGroupState.EMPTY}).result(20)
    assert group in {entry.group_id for entry in listed.valid}
    description = only(admin.describe_consumer_groups([group], include_authorized_operations=True))
    assert description.state == ConsumerGroupState.EMPTY
    assert {operation.name for operation in description.authorized_operations} == {
        "READ", "DELETE", "DESCRIBE", "DESCRIBE_CONFIGS", "ALTER_CONFIGS",
    }
    offsets = only(admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)]))
    assert offsets.topic_partitions[0].offset == 5
    only(admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0, 1)])]))
    only(admin.delete_consumer_groups([group]))
    assert group not in {entry.group_id for entry in admin.list_consumer_groups().result(20).valid}


def test_the_cluster_says_what_may_be_done(plaintext: Endpoint) -> None:
    admin = AdminClient(plaintext.librdkafka())
    cluster = admin.describe_cluster(include_authorized_operations=True).result(20)
    assert {operation.name for operation in cluster.authorized_operations} == {
        "CREATE", "ALTER", "DESCRIBE", "CLUSTER_ACTION", "DESCRIBE_CONFIGS", "ALTER_CONFIGS", "IDEMPOTENT_WRITE",
    }


def test_no_election_is_needed(plaintext: Endpoint, topic: str) -> None:
    admin = AdminClient(plaintext.librdkafka())
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(20)
    partitions = [TopicPartition(topic, 0), TopicPartition(topic, 9)]
    results = admin.elect_leaders(ElectionType.PREFERRED, partitions).result(20)
    codes = {partition.partition: error.code() for partition, error in results.items()}
    assert codes == {0: KafkaError.ELECTION_NOT_NEEDED, 9: KafkaError.UNKNOWN_TOPIC_OR_PART}
    assert admin.elect_leaders(ElectionType.PREFERRED).result(20) == {}


def test_a_client_pushes_the_metrics_that_are_configured(own: Broker, topic: str) -> None:
    python = KafkaAdminClient(**Endpoint(own, tls=False).kafka_python())
    try:
        changes = {"metrics": "*", "interval.ms": "100", "match": "client_software_name=.*(python|librdkafka).*"}
        python.alter_configs([PythonConfigResource("client_metrics", "all", configs=changes)], raise_on_unknown=False)
        assert python.list_config_resources(["client_metrics"]) == {"client_metrics": ["all"]}
    finally:
        python.close()
    producer = Producer(Endpoint(own, tls=False).librdkafka())

    def pushed() -> bool:
        producer.produce(topic, b"x")
        producer.poll(0.05)
        line = next(line for line in metrics(own).splitlines() if line.startswith("martlet_kafka_telemetry_pushes_total"))
        return int(line.split()[1]) > 1

    wait_until(pushed, "the client to push its metrics")
    assert producer.flush(20) == 0


def metrics(broker: Broker) -> str:
    with urllib.request.urlopen(f"http://{broker.address}/metrics", timeout=20) as page:
        return page.read().decode()


# kafka-python


@pytest.fixture
def python(plaintext: Endpoint) -> Iterator[KafkaAdminClient]:
    admin = KafkaAdminClient(**plaintext.kafka_python())
    yield admin
    admin.close()


def test_kafka_python_alters_and_resets_configs(python: KafkaAdminClient, topic: str) -> None:
    python.create_topics({topic: {"num_partitions": 1, "replication_factor": 1}}, wait_for_metadata=True)
    python.alter_configs([PythonConfigResource("topic", topic, configs={"retention.ms": "5", "segment.ms": "6"})])

    def modified() -> dict[str, Any]:
        return python.describe_configs([PythonConfigResource("topic", topic)])["topic"][topic]

    assert set(modified()) == {"retention.ms", "segment.ms"}
    python.reset_configs([PythonConfigResource("topic", topic, configs={"retention.ms": None})])
    assert set(modified()) == {"segment.ms"}
    python.alter_configs([PythonConfigResource("topic", topic, configs={"retention.ms": "9"})], incremental=False)
    assert modified()["retention.ms"]["value"] == "9"
    refused = python.alter_configs([PythonConfigResource("topic", topic, configs={"retention.ms": "soon"})])
    assert "InvalidConfigurationError" in refused["topic"][topic]
    assert modified()["retention.ms"]["value"] == "9"


def test_kafka_python_asks_about_replicas_and_the_quorum(python: KafkaAdminClient, topic: str) -> None:
    python.create_topics({topic: {"num_partitions": 3, "replication_factor": 1}}, wait_for_metadata=True)
    node = python.describe_cluster()["brokers"][0]["broker_id"]
    partition = PythonTopicPartition(topic, 0)
    assert python.list_partition_reassignments() == {}
    assert python.alter_partition_reassignments({partition: [node]}) == {partition: None}
    assert python.alter_partition_reassignments({partition: None})[partition] is kafka.errors.NoReassignmentInProgressError
    assert python.alter_partition_reassignments({partition: [99]})[partition] is kafka.errors.InvalidReplicationAssignmentError
    quorum = python.describe_metadata_quorum()
    assert quorum["topics"][0]["partitions"][0]["leader_id"] == node
    page = python.describe_topic_partitions([topic], response_partition_limit=2)
    assert len(page["topics"][0]["partitions"]) == 2
    rest = python.describe_topic_partitions([topic], cursor=page["next_cursor"])
    assert [entry["partition_index"] for entry in rest["topics"][0]["partitions"]] == [2]
    assert rest["next_cursor"] is None
    assert topic in python.list_config_resources(["topic"])["topic"]


# aiokafka


def test_aiokafka_creates_configures_and_deletes(plaintext: Endpoint, topic: str) -> None:
    async def run() -> None:
        admin = AIOKafkaAdminClient(**plaintext.aiokafka())
        await admin.start()
        try:
            made = await admin.create_topics([AioNewTopic(topic, 2, 1, topic_configs={"segment.ms": "6"})])
            assert [entry[1] for entry in made.topic_errors] == [0]
            resource = AioConfigResource(AioConfigResourceType.TOPIC, topic, configs={"retention.ms": "5"})
            altered = await admin.alter_configs([resource])
            assert [entry[0] for entry in altered[0].resources] == [0]
            answers = await admin.describe_configs([AioConfigResource(AioConfigResourceType.TOPIC, topic)])
            values = {entry[0]: entry[1] for entry in answers[0].resources[0][4]}
            # AlterConfigs replaces what was set.
            assert (values["retention.ms"], values["segment.ms"]) == ("5", "604800000")
            assert (await admin.describe_cluster())["brokers"]
            described = await admin.describe_topics([topic])
            assert len(described[0]["partitions"]) == 2
            deleted = await admin.delete_topics([topic])
            assert [entry[1] for entry in deleted.topic_error_codes] == [0]
        finally:
            await admin.close()

    asyncio.run(run())
