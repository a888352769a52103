# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: the matrix, classic groups and their offsets.
"""Members that share, come and go; what they commit and find again."""

from __future__ import annotations

import threading
import time

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as AioPartition
from aiokafka.structs import OffsetAndMetadata as AioOffset
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from kafka import TopicPartition as PythonPartition
from kafka.errors import CommitFailedError
from kafka.structs import OffsetAndMetadata

from broker import wait_until

from .consuming import NO_CONSUMER_CALLS
from .members import Group
from .table import World, feature

SECTION = "Classic groups"


def places(topic: str, count: int) -> set[tuple[str, int]]:
    return {(topic, number) for number in range(count)}


@feature(SECTION, "subscribe, read, and go on where the group was", tls=True, slow=True).cell()
def subscribe(world: World) -> None:
    topic = world.topic()
    first = world.records(topic)
    with Group(world, topic) as group:
        member = group.join()
        group.wait(lambda: len(member.values) == 10, "the first records")
        # Leaving commits what was read.
        group.leave(member)
        second = world.records(topic, first=10)
        again = group.join()
        group.wait(lambda: len(again.values) >= 10, "the records after the commit")
        assert (member.values, again.values) == (first, second)


@feature(SECTION, "two members share, and one takes over when the other leaves", tls=True, slow=True).cell()
def share(world: World) -> None:
    topic = world.topic(4)
    with Group(world, topic) as group:
        first = group.join()
        group.settle(places(topic, 4))
        group.join()
        group.settle(places(topic, 4))
        sent = [value for number in range(4) for value in world.records(topic, 5, number, number * 100)]
        group.wait(lambda: set(group.values()) == set(sent), "the records of all partitions")
        group.leave(first)
        group.settle(places(topic, 4))
        sent += [value for number in range(4) for value in world.records(topic, 5, number, number * 100 + 50)]
        group.wait(lambda: set(group.values()) == set(sent), "the records after one has left")


for strategy, absent in {
    "range": {}, "roundrobin": {},
    "cooperative-sticky": {"aiokafka": "no cooperative rebalancing"},
}.items():

    @feature(SECTION, f"{strategy} assignment over two topics", absent, slow=True).cell()
    def assignment(world: World, strategy: str = strategy) -> None:
        prefix = world.name("topics")
        both = [world.topic(3, name=f"{prefix}-{letter}") for letter in "ab"]
        every = places(both[0], 3) | places(both[1], 3)
        with Group(world, prefix, strategy=strategy, pattern=True) as group:
            group.join()
            group.settle(every)
            second = group.join()
            if strategy != "range":
                group.settle(every)
                group.leave(second)
                group.settle(every)
                return
            # By range each topic has a partition that does not divide: one member has four, the other two.
            group.wait(lambda: sorted(len(member.held) for member in group.members) == [2, 4], "a range of each topic")
            assert set().union(*[member.held for member in group.members]) == every


@feature(SECTION, "static members: a return within the session causes no rebalance", slow=True).cell()
def static(world: World) -> None:
    topic = world.topic(4)
    with Group(world, topic) as group:
        first, second = group.join(instance="one"), group.join(instance="two")
        group.settle(places(topic, 4))
        held, changes = first.held, second.changes
        group.leave(first)
        back = group.join(instance="one")
        group.settle(places(topic, 4))
        assert back.held == held and second.changes == changes


@feature(SECTION, "regular expressions: a new topic that matches is read", slow=True).cell()
def pattern(world: World) -> None:
    prefix = world.name("pattern")
    world.records(world.topic(name=f"{prefix}-a"))
    with Group(world, prefix, pattern=True) as group:
        group.join()
        group.settle({(f"{prefix}-a", 0)})
        world.records(world.topic(name=f"{prefix}-b"), first=100)
        group.settle({(f"{prefix}-a", 0), (f"{prefix}-b", 0)})
        group.wait(lambda: len(set(group.values())) == 20, "the records of both topics")


commits = feature(SECTION, "commit, with metadata, and committed()", NO_CONSUMER_CALLS)


@commits.cell("confluent-kafka")
def commits_confluent(world: World) -> None:
    topic, group = world.topic(), world.name("group")
    world.records(topic)
    consumer = world.client.consumer(world.endpoint, group_id=group)
    consumer.subscribe([topic])
    assert len(world.client.read_to_end(consumer)) == 10
    done = consumer.commit(offsets=[TopicPartition(topic, 0, 7, metadata="seven")], asynchronous=False)
    assert done[0].error is None
    found = consumer.committed([TopicPartition(topic, 0)], 20)[0]
    assert (found.offset, found.metadata) == (7, "seven")
    consumer.close()


@commits.cell("kafka-python")
def commits_python(world: World) -> None:
    place, group = PythonPartition(world.topic(), 0), world.name("group")
    consumer = world.client.consumer(world.endpoint, group_id=group)
    consumer.assign([place])
    consumer.commit({place: OffsetAndMetadata(7, "seven", -1)})
    assert consumer.committed(place) == 7 and consumer.committed(place, metadata=True).metadata == "seven"
    consumer.close()


@commits.cell("aiokafka")
def commits_aiokafka(world: World) -> None:
    place, group = AioPartition(world.topic(), 0), world.name("group")

    async def run() -> None:
        async with AIOKafkaConsumer(**world.endpoint.aiokafka(group_id=group, enable_auto_commit=False)) as consumer:
            consumer.assign([place])
            await consumer.commit({place: AioOffset(7, "seven")})
            assert await consumer.committed(place) == 7

    world.client.run(run())


later = feature(SECTION, "asynchronous commit", {**NO_CONSUMER_CALLS, "aiokafka": "one commit, which is awaited"})


@later.cell("confluent-kafka")
def later_confluent(world: World) -> None:
    topic, told = world.topic(), []
    consumer = Consumer(world.endpoint.librdkafka(group_id=world.name("group"), enable_auto_commit=False) | {
        "on_commit": lambda error, offsets: told.append((error, offsets))})
    consumer.assign([TopicPartition(topic, 0, 0)])
    # The client says nothing of a commit before it knows the coordinator.
    consumer.committed([TopicPartition(topic, 0)], 20)
    consumer.commit(offsets=[TopicPartition(topic, 0, 5)], asynchronous=True)
    wait_until(lambda: (consumer.poll(0.05), told)[1], "the answer to the commit", pause=0)
    assert told[0][0] is None and told[0][1][0].offset == 5
    consumer.close()


@later.cell("kafka-python")
def later_python(world: World) -> None:
    place, told = PythonPartition(world.topic(), 0), []
    consumer = world.client.consumer(world.endpoint, group_id=world.name("group"))
    consumer.assign([place])
    consumer.commit_async({place: OffsetAndMetadata(5, "", -1)}, lambda offsets, answer: told.append(answer))
    wait_until(lambda: (consumer.poll(50), told)[1], "the answer to the commit", pause=0)
    assert not isinstance(told[0], Exception) and consumer.committed(place) == 5
    consumer.close()


automatic = feature(SECTION, "automatic commit")


@automatic.cell()
def automatic_all(world: World) -> None:
    topic = world.topic()
    world.records(topic)
    with Group(world, topic) as group:
        member = group.join()
        group.wait(lambda: len(member.values) == 10, "the records")
        group.leave(member)
    import protocol
    from wire import Wire

    with Wire(world.broker.address) as connection:
        answer = protocol.call(connection, 9, 7, group_id=group.group, require_stable=False,
                               topics=[{"name": topic, "partition_indexes": [0]}])
    assert answer.topics[0].partitions[0].committed_offset == 10


exceeded = feature(
    SECTION, "max.poll.interval exceeded: out of the group, and back with the next poll", NO_CONSUMER_CALLS, slow=True)


@exceeded.cell("confluent-kafka")
def exceeded_confluent(world: World) -> None:
    topic = world.topic()
    world.records(topic)
    consumer = world.client.consumer(
        world.endpoint, group_id=world.name("group"), max_poll_interval_ms=1000, session_timeout_ms=1000,
        heartbeat_interval_ms=100, enable_partition_eof=False)
    consumer.subscribe([topic])
    messages = wait_until(lambda: consumer.consume(10, 0.2), "the records", pause=0)
    threading.Event().wait(1.6)
    try:
        consumer.commit(message=messages[-1], asynchronous=False)
        raise AssertionError("a member that was too slow could commit")
    except KafkaException as error:
        assert error.args[0].code() in (KafkaError._MAX_POLL_EXCEEDED, KafkaError.UNKNOWN_MEMBER_ID,
                                        KafkaError.ILLEGAL_GENERATION, KafkaError._NO_OFFSET), error
    seen: list[bytes] = []

    def back() -> bool:
        for message in consumer.consume(10, 0.2):
            if message.error() is None:
                seen.append(message.value())
            else:
                assert message.error().code() == KafkaError._MAX_POLL_EXCEEDED
        return len(seen) >= 10

    wait_until(back, "the records again", pause=0)
    consumer.close()


@exceeded.cell("kafka-python")
def exceeded_python(world: World) -> None:
    topic = world.topic()
    world.records(topic)
    consumer = world.client.consumer(
        world.endpoint, group_id=world.name("group"), max_poll_interval_ms=1000, session_timeout_ms=1000,
        heartbeat_interval_ms=100, auto_offset_reset="earliest", request_timeout_ms=5000)
    consumer.subscribe([topic])
    wait_until(lambda: consumer.poll(500), "the records", pause=0)
    threading.Event().wait(1.8)
    try:
        consumer.commit()
        raise AssertionError("a member that was too slow could commit")
    except CommitFailedError:
        pass
    wait_until(lambda: consumer.poll(500), "the records again", pause=0)
    consumer.close(autocommit=False)


@exceeded.cell("aiokafka")
def exceeded_aiokafka(world: World) -> None:
    topic = world.topic(2)
    world.records(topic)

    async def run() -> None:
        import asyncio

        settings = world.endpoint.aiokafka(
            group_id=world.name("group"), max_poll_interval_ms=1000, session_timeout_ms=1000, rebalance_timeout_ms=1000,
            heartbeat_interval_ms=100, auto_offset_reset="earliest", enable_auto_commit=False)
        async with AIOKafkaConsumer(topic, **settings) as slow, AIOKafkaConsumer(topic, **settings) as other:
            async def held(consumer: AIOKafkaConsumer, count: int) -> None:
                while len(consumer.assignment()) != count:
                    await consumer.getmany(timeout_ms=50)

            # While one does not poll, the other takes over all; then they share again.
            await asyncio.wait_for(held(other, 2), 20)
            both = [asyncio.ensure_future(held(consumer, 1)) for consumer in (slow, other)]

            async def keep_polling() -> None:
                while not all(future.done() for future in both):
                    for consumer in (slow, other):
                        await consumer.getmany(timeout_ms=20)

            await asyncio.wait_for(keep_polling(), 20)

    world.client.run(run())
