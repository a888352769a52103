# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: the matrix, groups of the consumer protocol (KIP-848).
"""`group.protocol=consumer`: the broker assigns. Only librdkafka speaks it among these clients."""

from __future__ import annotations

from confluent_kafka import ConsumerGroupState, ConsumerGroupType, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from .groups import places
from .members import Group
from .table import World, feature

SECTION = "Consumer groups (KIP-848)"
CLASSIC_ONLY = {
    "kcat": "librdkafka 2.0 knows classic groups only",
    "kafka-python": "classic groups only",
    "aiokafka": "classic groups only",
}


@feature(SECTION, "subscribe, read, and go on where the group was", CLASSIC_ONLY, tls=True, slow=True).cell()
def subscribe(world: World) -> None:
    topic = world.topic()
    first = world.records(topic)
    with Group(world, topic, protocol="consumer") as group:
        member = group.join()
        group.wait(lambda: len(member.values) == 10, "the first records")
        group.leave(member)
        second = world.records(topic, first=10)
        again = group.join()
        group.wait(lambda: len(again.values) >= 10, "the records after the commit")
        assert (member.values, again.values) == (first, second)


for assignor in ("uniform", "range"):

    @feature(
        SECTION, f"{assignor} assignor: three members share, and take over when one leaves", CLASSIC_ONLY, slow=True
    ).cell()
    def share(world: World, assignor: str = assignor) -> None:
        topic = world.topic(6)
        with Group(world, topic, protocol="consumer", assignor=assignor) as group:
            first = group.join()
            group.settle(places(topic, 6))
            group.join()
            group.join()
            group.settle(places(topic, 6))
            sent = [value for number in range(6) for value in world.records(topic, 5, number, number * 100)]
            group.wait(lambda: set(group.values()) == set(sent), "the records of all partitions")
            group.leave(first)
            group.settle(places(topic, 6))
            sent += [value for number in range(6) for value in world.records(topic, 5, number, number * 100 + 50)]
            group.wait(lambda: set(group.values()) == set(sent), "the records after one has left")


@feature(SECTION, "regular expressions, evaluated by the broker", CLASSIC_ONLY, slow=True).cell()
def pattern(world: World) -> None:
    prefix = world.name("pattern")
    world.records(world.topic(name=f"{prefix}-a"))
    with Group(world, prefix, protocol="consumer", pattern=True) as group:
        group.join()
        group.settle({(f"{prefix}-a", 0)})
        world.records(world.topic(name=f"{prefix}-b"), first=100)
        group.settle({(f"{prefix}-a", 0), (f"{prefix}-b", 0)})
        group.wait(lambda: len(set(group.values())) == 20, "the records of both topics")


@feature(SECTION, "static members: a return causes no rebalance", CLASSIC_ONLY, slow=True).cell()
def static(world: World) -> None:
    topic = world.topic(4)
    with Group(world, topic, protocol="consumer") as group:
        first, second = group.join(instance="one"), group.join(instance="two")
        group.settle(places(topic, 4))
        held, changes = first.held, second.changes
        group.leave(first)
        back = group.join(instance="one")
        group.settle(places(topic, 4))
        assert back.held == held and second.changes == changes


@feature(SECTION, "a classic group becomes a consumer group while it runs, and back", CLASSIC_ONLY, slow=True).cell()
def migrates(world: World) -> None:
    topic = world.topic(4)
    with Group(world, topic) as group:
        old = group.join(strategy="cooperative-sticky")
        group.settle(places(topic, 4))
        new = group.join(protocol="consumer")
        group.settle(places(topic, 4))
        group.leave(old)
        group.settle(places(topic, 4))
        group.join(strategy="cooperative-sticky")
        group.settle(places(topic, 4))
        group.leave(new)
        group.settle(places(topic, 4))


@feature(SECTION, "commit, and committed()", CLASSIC_ONLY).cell()
def commits(world: World) -> None:
    topic, group = world.topic(), world.name("group")
    world.records(topic)
    consumer = world.client.consumer(world.endpoint, group_id=group, group_protocol="consumer")
    consumer.subscribe([topic])
    assert len(world.client.read_to_end(consumer)) == 10
    consumer.commit(offsets=[TopicPartition(topic, 0, 7, metadata="seven")], asynchronous=False)
    found = consumer.committed([TopicPartition(topic, 0)], 20)[0]
    assert (found.offset, found.metadata) == (7, "seven")
    consumer.close()


@feature(SECTION, "listed by type and state, and described", CLASSIC_ONLY, slow=True).cell()
def described(world: World) -> None:
    topic = world.topic(2)
    admin = AdminClient(world.endpoint.librdkafka())
    with Group(world, topic, protocol="consumer") as group:
        member = group.join()
        group.settle(places(topic, 2))
        listed = admin.list_consumer_groups(types={ConsumerGroupType.CONSUMER}).result(20).valid
        assert [entry.state for entry in listed if entry.group_id == group.group] == [ConsumerGroupState.STABLE]
        classic = admin.list_consumer_groups(types={ConsumerGroupType.CLASSIC}).result(20).valid
        assert group.group not in [entry.group_id for entry in classic]
        found = admin.describe_consumer_groups([group.group])[group.group].result(20)
        assert (found.state, found.type) == (ConsumerGroupState.STABLE, ConsumerGroupType.CONSUMER)
        assert [{(place.topic, place.partition) for place in entry.assignment.topic_partitions}
                for entry in found.members] == [places(topic, 2)]
        group.leave(member)
        empty = admin.describe_consumer_groups([group.group])[group.group].result(20)
        assert (empty.state, empty.members) == (ConsumerGroupState.EMPTY, [])
    assert admin.delete_consumer_groups([group.group])[group.group].result(20) is None


@feature(SECTION, "an assignor that is not there is refused (UNSUPPORTED_ASSIGNOR)", CLASSIC_ONLY).cell()
def unknown_assignor(world: World) -> None:
    consumer = world.client.consumer(
        world.endpoint, group_id=world.name("group"), group_protocol="consumer", group_remote_assignor="none-such")
    consumer.subscribe([world.topic()])
    try:
        message = consumer.poll(20)
        assert message is not None, "no error within 20 s"
        code = message.error().code()
    except KafkaException as error:
        code = error.args[0].code()
    assert code in (KafkaError.UNSUPPORTED_ASSIGNOR, KafkaError._FATAL), code
    consumer.close()
