# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: the matrix, the admin client: groups.
"""Groups listed and described, their offsets moved and deleted, their members removed, and the groups themselves."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka import TopicPartition as AioPartition
from confluent_kafka import (
    ConsumerGroupState, ConsumerGroupTopicPartitions, ConsumerGroupType, KafkaError, KafkaException, TopicPartition,
)  # fmt: skip
from kafka import TopicPartition as PythonPartition
from kafka.admin import MemberToRemove
from kafka.admin import OffsetSpec as PythonOffsetSpec
from kafka.errors import NoError
from kafka.structs import OffsetAndMetadata

from .admin import AIO_LACKS, NO_ADMIN, admin, only
from .clients import python_admin
from .groups import places
from .members import Group
from .table import World, feature

SECTION = "Admin: groups"


groups = feature(SECTION, "list groups (by state and type where it can) and describe a group", NO_ADMIN)


@groups.cell("confluent-kafka")
def groups_confluent(world: World) -> None:
    topic = world.topic(2)
    with Group(world, topic) as group:
        group.join()
        group.settle(places(topic, 2))
        stable = admin(world).list_consumer_groups(
            states={ConsumerGroupState.STABLE}, types={ConsumerGroupType.CLASSIC}).result(20).valid
        assert group.group in [entry.group_id for entry in stable]
        empty = admin(world).list_consumer_groups(states={ConsumerGroupState.EMPTY}).result(20).valid
        assert group.group not in [entry.group_id for entry in empty]
        found = only(admin(world).describe_consumer_groups([group.group], include_authorized_operations=True))
        assert (found.state, found.partition_assignor, found.type) == (
            ConsumerGroupState.STABLE, "range", ConsumerGroupType.CLASSIC)
        assert {(place.topic, place.partition) for place in found.members[0].assignment.topic_partitions} == places(
            topic, 2)
        assert found.members[0].host.strip("/") == "127.0.0.1" and found.authorized_operations


@groups.cell("kafka-python")
def groups_python(world: World) -> None:
    topic = world.topic(2)

    def work(client: Any) -> None:
        found = client.describe_groups([group.group])[group.group]
        assert (found["group_state"], found["protocol_data"], found["error"]) == ("Stable", "range", None)
        assert len(found["members"]) == 1
        names = [entry["group_id"] for entry in client.list_groups(states_filter=["Stable"], types_filter=["classic"])]
        assert group.group in names
        assert group.group not in [entry["group_id"] for entry in client.list_groups(states_filter=["Empty"])]

    with Group(world, topic) as group:
        group.join()
        group.settle(places(topic, 2))
        python_admin(world.endpoint, work)


@groups.cell("aiokafka")
def groups_aiokafka(world: World) -> None:
    topic = world.topic(2)

    async def work(client: Any) -> None:
        assert group.group in [entry[0] for entry in await client.list_consumer_groups()]
        (answer,) = await client.describe_consumer_groups([group.group])
        (found,) = answer.groups
        assert found[:3] == (0, group.group, "Stable") and len(found[5]) == 1

    with Group(world, topic) as group:
        group.join()
        group.settle(places(topic, 2))
        world.client.admin(world.endpoint, work)


offsets = feature(SECTION, "list the offsets of a group", NO_ADMIN)


def with_offset(world: World, topic: str, offset: int = 7) -> str:
    """A group without members that has committed."""
    group = world.name("group")
    consumer_group = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0, offset)])
    only(admin(world).alter_consumer_group_offsets([consumer_group]))
    return group


def confluent_offsets(world: World, group: str) -> dict[tuple[str, int], int]:
    found = only(admin(world).list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)]))
    return {(place.topic, place.partition): place.offset for place in found.topic_partitions}


@offsets.cell("confluent-kafka")
def offsets_confluent(world: World) -> None:
    topic = world.topic()
    assert confluent_offsets(world, with_offset(world, topic)) == {(topic, 0): 7}


@offsets.cell("kafka-python")
def offsets_python(world: World) -> None:
    topic = world.topic()
    group = with_offset(world, topic)
    found = python_admin(world.endpoint, lambda client: client.list_group_offsets(group))
    assert {place: entry.offset for place, entry in found[group].items()} == {PythonPartition(topic, 0): 7}


@offsets.cell("aiokafka")
def offsets_aiokafka(world: World) -> None:
    topic = world.topic()
    group = with_offset(world, topic)

    async def work(client: Any) -> None:
        found = await client.list_consumer_group_offsets(group)
        assert {place: entry.offset for place, entry in found.items()} == {AioPartition(topic, 0): 7}

    world.client.admin(world.endpoint, work)


alter = feature(SECTION, "alter the offsets of a group", {**NO_ADMIN, **AIO_LACKS})


@alter.cell("confluent-kafka")
def alter_confluent(world: World) -> None:
    topic = world.topic()
    group = with_offset(world, topic)
    only(admin(world).alter_consumer_group_offsets(
        [ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0, 3)])]))
    assert confluent_offsets(world, group) == {(topic, 0): 3}


@alter.cell("kafka-python")
def alter_python(world: World) -> None:
    topic = world.topic()
    place, group = PythonPartition(topic, 0), with_offset(world, topic)

    def work(client: Any) -> None:
        assert client.alter_group_offsets(group, {place: OffsetAndMetadata(3, "", -1)}) == {place: NoError}
        assert client.list_group_offsets(group)[group][place].offset == 3
        world.records(topic)
        assert client.reset_group_offsets(group, {place: PythonOffsetSpec.LATEST})[place]["offset"] == 10

    python_admin(world.endpoint, work)


forget = feature(
    SECTION, "delete the offsets of a group; GROUP_SUBSCRIBED_TO_TOPIC",
    {**NO_ADMIN, **AIO_LACKS, "confluent-kafka": "no call for deleting offsets of a group"})


@forget.cell("kafka-python")
def forget_python(world: World) -> None:
    topic = world.topic()
    place, group = PythonPartition(topic, 0), with_offset(world, topic)

    def work(client: Any) -> None:
        assert client.delete_group_offsets(group, [place]) == {place: NoError}
        assert client.list_group_offsets(group)[group] == {}
        with Group(world, topic) as members:
            members.join()
            members.settle(places(topic, 1))
            (refused,) = client.delete_group_offsets(members.group, [place]).values()
            assert refused.errno == 86

    python_admin(world.endpoint, work)


remove = feature(SECTION, "delete a group; NON_EMPTY_GROUP while it has members", {**NO_ADMIN, **AIO_LACKS})


@remove.cell("confluent-kafka")
def remove_confluent(world: World) -> None:
    topic = world.topic()
    with Group(world, topic) as group:
        group.join()
        group.settle(places(topic, 1))
        with pytest.raises(KafkaException) as refused:
            only(admin(world).delete_consumer_groups([group.group]))
        assert refused.value.args[0].code() == KafkaError.NON_EMPTY_GROUP
    assert only(admin(world).delete_consumer_groups([group.group])) is None
    with pytest.raises(KafkaException) as gone:
        only(admin(world).delete_consumer_groups([group.group]))
    assert gone.value.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND


@remove.cell("kafka-python")
def remove_python(world: World) -> None:
    topic = world.topic()

    def codes(client: Any) -> str:
        return str(client.delete_groups([group.group]))

    def work(client: Any) -> None:
        with group:
            group.join()
            group.settle(places(topic, 1))
            assert "NonEmptyGroup" in codes(client)
        assert "OK" in codes(client)
        assert "GroupIdNotFound" in codes(client)

    group = Group(world, topic)
    python_admin(world.endpoint, work)


expel = feature(
    SECTION, "remove a static member from a group",
    {**NO_ADMIN, **AIO_LACKS, "confluent-kafka": "no call for removing members"})


@expel.cell("kafka-python")
def expel_python(world: World) -> None:
    topic = world.topic()

    def work(client: Any) -> None:
        with Group(world, topic) as group:
            # A static member that ends stays in the group for its session.
            member = group.join(instance="stays")
            group.settle(places(topic, 1))
            group.leave(member)
            assert len(client.describe_groups([group.group])[group.group]["members"]) == 1
            gone = client.remove_group_members(group.group, [MemberToRemove(group_instance_id="stays")])
            assert list(gone.values()) == [NoError]
            assert client.describe_groups([group.group])[group.group]["members"] == []

    python_admin(world.endpoint, work)
