# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: the matrix, the admin client: topics and records.
"""Topics made, grown, described and deleted; records deleted; offsets listed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiokafka import TopicPartition as AioPartition
from aiokafka.admin import NewPartitions as AioNewPartitions
from aiokafka.admin import NewTopic as AioNewTopic
from aiokafka.admin import RecordsToDelete
from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic, OffsetSpec
from kafka import TopicPartition as PythonPartition
from kafka.errors import TopicAlreadyExistsError, UnknownTopicOrPartitionError
from kafka.admin import OffsetSpec as PythonOffsetSpec

from .clients import python_admin
from .table import World, feature

SECTION = "Admin: topics"
NO_ADMIN = {"kcat": "no admin calls but metadata (-L) and offsets of timestamps (-Q)"}
AIO_LACKS = {"aiokafka": "its admin client has no such call"}


def admin(world: World) -> AdminClient:
    """The world's one admin client: a client that is let go of takes its futures with it."""
    if world.admin is None:
        world.admin = AdminClient(world.endpoint.librdkafka())
    return world.admin


def only(futures: dict[Any, Any]) -> Any:
    """The result of the one future of an admin call."""
    (future,) = futures.values()
    return future.result(20)


create = feature(SECTION, "create a topic, with configuration; TOPIC_ALREADY_EXISTS", NO_ADMIN, tls=True)


@create.cell("confluent-kafka")
def create_confluent(world: World) -> None:
    name = world.name("made")
    topic = NewTopic(name, 3, 1, config={"retention.ms": "3600000"})
    assert only(admin(world).create_topics([topic])) is None
    assert len(admin(world).list_topics(name, timeout=20).topics[name].partitions) == 3
    with pytest.raises(KafkaException) as again:
        only(admin(world).create_topics([topic]))
    assert again.value.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS


@create.cell("kafka-python")
def create_python(world: World) -> None:
    topic = {world.name("made"): {"num_partitions": 3, "replication_factor": 1, "configs": {"retention.ms": "1"}}}

    def work(client: Any) -> None:
        client.create_topics(topic)
        with pytest.raises(TopicAlreadyExistsError):
            client.create_topics(topic)

    python_admin(world.endpoint, work)


@create.cell("aiokafka")
def create_aiokafka(world: World) -> None:
    topic = AioNewTopic(world.name("made"), 3, 1, topic_configs={"retention.ms": "3600000"})

    async def work(client: Any) -> None:
        assert [entry[1] for entry in (await client.create_topics([topic])).topic_errors] == [0]
        assert [entry[1] for entry in (await client.create_topics([topic])).topic_errors] == [36]

    world.client.admin(world.endpoint, work)


validate = feature(SECTION, "create a topic, validate only", NO_ADMIN)


@validate.cell("confluent-kafka")
def validate_confluent(world: World) -> None:
    name = world.name("unmade")
    assert only(admin(world).create_topics([NewTopic(name, 3, 1)], validate_only=True)) is None
    assert name not in admin(world).list_topics(timeout=20).topics


@validate.cell("kafka-python")
def validate_python(world: World) -> None:
    name = world.name("unmade")

    def work(client: Any) -> None:
        client.create_topics({name: {"num_partitions": 3, "replication_factor": 1}}, validate_only=True)
        assert name not in client.list_topics()

    python_admin(world.endpoint, work)


@validate.cell("aiokafka")
def validate_aiokafka(world: World) -> None:
    name = world.name("unmade")

    async def work(client: Any) -> None:
        answer = await client.create_topics([AioNewTopic(name, 3, 1)], validate_only=True)
        assert [entry[1] for entry in answer.topic_errors] == [0]
        assert name not in await client.list_topics()

    world.client.admin(world.endpoint, work)


delete = feature(SECTION, "delete a topic; UNKNOWN_TOPIC_OR_PARTITION", NO_ADMIN)


@delete.cell("confluent-kafka")
def delete_confluent(world: World) -> None:
    name = world.topic()
    assert only(admin(world).delete_topics([name])) is None
    with pytest.raises(KafkaException) as gone:
        only(admin(world).delete_topics([name]))
    assert gone.value.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART


@delete.cell("kafka-python")
def delete_python(world: World) -> None:
    name = world.topic()

    def work(client: Any) -> None:
        client.delete_topics([name])
        assert name not in client.list_topics()
        with pytest.raises(UnknownTopicOrPartitionError):
            client.delete_topics([name])

    python_admin(world.endpoint, work)


@delete.cell("aiokafka")
def delete_aiokafka(world: World) -> None:
    name = world.topic()

    async def work(client: Any) -> None:
        assert [entry[1] for entry in (await client.delete_topics([name])).topic_error_codes] == [0]
        assert name not in await client.list_topics()
        assert [entry[1] for entry in (await client.delete_topics([name])).topic_error_codes] == [3]

    world.client.admin(world.endpoint, work)


grow = feature(SECTION, "create partitions; INVALID_PARTITIONS for fewer", NO_ADMIN)


@grow.cell("confluent-kafka")
def grow_confluent(world: World) -> None:
    name = world.topic(2)
    assert only(admin(world).create_partitions([NewPartitions(name, 5)])) is None
    assert len(admin(world).list_topics(name, timeout=20).topics[name].partitions) == 5
    with pytest.raises(KafkaException) as refused:
        only(admin(world).create_partitions([NewPartitions(name, 4)]))
    assert refused.value.args[0].code() == KafkaError.INVALID_PARTITIONS


@grow.cell("kafka-python")
def grow_python(world: World) -> None:
    name = world.topic(2)

    def work(client: Any) -> None:
        client.create_partitions({name: 5})
        assert len(client.describe_topics([name])[0]["partitions"]) == 5
        refused = client.create_partitions({name: 4}, raise_errors=False)
        assert refused.results[0].error_code == 37

    python_admin(world.endpoint, work)


@grow.cell("aiokafka")
def grow_aiokafka(world: World) -> None:
    name = world.topic(2)

    async def work(client: Any) -> None:
        await client.create_partitions({name: AioNewPartitions(5)})
        assert len((await client.describe_topics([name]))[0]["partitions"]) == 5
        with pytest.raises(Exception, match="(?i)InvalidPartitions|Could not create"):
            await client.create_partitions({name: AioNewPartitions(4)})

    world.client.admin(world.endpoint, work)


describe = feature(SECTION, "list and describe topics")


@describe.cell("kcat")
def describe_kcat(world: World) -> None:
    name = world.topic(3)
    found = json.loads(world.client.run(world.endpoint, "-L", "-J", "-t", name))["topics"]
    assert [(topic["topic"], len(topic["partitions"])) for topic in found] == [(name, 3)]
    assert name in [topic["topic"] for topic in json.loads(world.client.run(world.endpoint, "-L", "-J"))["topics"]]


@describe.cell("confluent-kafka")
def describe_confluent(world: World) -> None:
    name = world.topic(3)
    found = only(admin(world).describe_topics(TopicCollection([name]), include_authorized_operations=True))
    assert (found.name, len(found.partitions), found.is_internal) == (name, 3, False)
    assert str(found.topic_id) and found.authorized_operations
    assert all(partition.leader.id == partition.isr[0].id for partition in found.partitions)
    with pytest.raises(KafkaException) as absent:
        only(admin(world).describe_topics(TopicCollection([world.name("absent")])))
    assert absent.value.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART
    assert name in admin(world).list_topics(timeout=20).topics


@describe.cell("kafka-python")
def describe_python(world: World) -> None:
    name = world.topic(3)

    def work(client: Any) -> None:
        (found,) = client.describe_topics([name])
        assert sorted(partition["partition_index"] for partition in found["partitions"]) == [0, 1, 2]
        assert name in client.list_topics()

    python_admin(world.endpoint, work)


@describe.cell("aiokafka")
def describe_aiokafka(world: World) -> None:
    name = world.topic(3)

    async def work(client: Any) -> None:
        assert len((await client.describe_topics([name]))[0]["partitions"]) == 3
        assert name in await client.list_topics()

    world.client.admin(world.endpoint, work)


records = feature(SECTION, "delete records before an offset", NO_ADMIN)


def kept(world: World, topic: str) -> list[int]:
    return [record.offset for record in world.client.read(world.endpoint, topic, start="earliest")]


@records.cell("confluent-kafka")
def records_confluent(world: World) -> None:
    topic = world.topic()
    world.records(topic)
    assert only(admin(world).delete_records([TopicPartition(topic, 0, 6)])).low_watermark == 6
    assert kept(world, topic) == [6, 7, 8, 9]


@records.cell("kafka-python")
def records_python(world: World) -> None:
    topic = world.topic()
    world.records(topic)
    place = PythonPartition(topic, 0)
    answer = python_admin(world.endpoint, lambda client: client.delete_records({place: 6}))
    assert answer[place]["low_watermark"] == 6
    assert kept(world, topic) == [6, 7, 8, 9]


@records.cell("aiokafka")
def records_aiokafka(world: World) -> None:
    topic = world.topic()
    world.records(topic)
    place = AioPartition(topic, 0)

    async def work(client: Any) -> None:
        assert await client.delete_records({place: RecordsToDelete(6)}) == {place: 6}

    world.client.admin(world.endpoint, work)
    assert kept(world, topic) == [6, 7, 8, 9]


listed = feature(SECTION, "list offsets: earliest, latest, largest timestamp", {**NO_ADMIN, **AIO_LACKS})


@listed.cell("confluent-kafka")
def listed_confluent(world: World) -> None:
    topic = world.topic()
    world.records(topic)
    place = TopicPartition(topic, 0)

    def offset(spec: OffsetSpec) -> int:
        return only(admin(world).list_offsets({place: spec}, isolation_level=IsolationLevel.READ_COMMITTED)).offset

    assert (offset(OffsetSpec.earliest()), offset(OffsetSpec.latest())) == (0, 10)
    assert 0 <= offset(OffsetSpec.max_timestamp()) <= 9


@listed.cell("kafka-python")
def listed_python(world: World) -> None:
    topic = world.topic()
    world.records(topic)
    place = PythonPartition(topic, 0)

    def work(client: Any) -> None:
        for spec, offset in ((PythonOffsetSpec.EARLIEST, 0), (PythonOffsetSpec.LATEST, 10)):
            assert client.list_partition_offsets({place: spec})[place].offset == offset
        assert 0 <= client.list_partition_offsets({place: PythonOffsetSpec.MAX_TIMESTAMP})[place].offset <= 9

    python_admin(world.endpoint, work)
