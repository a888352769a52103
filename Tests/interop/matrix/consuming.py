# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: the matrix, consuming without a group.
"""Where reading starts, how a reader moves, and what it can ask about offsets."""

from __future__ import annotations

from confluent_kafka import TopicPartition
from kafka import TopicPartition as PythonPartition
from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as AioPartition

from broker import wait_until

from .clients import Sent, values_of
from .table import World, feature

SECTION = "Consume"
NO_CONSUMER_CALLS = {"kcat": "a command line: one start, no calls while it reads"}


@feature(SECTION, "from the earliest offset, assigned without a group", tls=True).cell()
def earliest(world: World) -> None:
    topic = world.topic()
    values = world.records(topic)
    assert values_of(world.client.read(world.endpoint, topic, start="earliest")) == values


@feature(SECTION, "from an offset, also within a batch").cell()
def from_offset(world: World) -> None:
    topic = world.topic()
    values = world.records(topic) + world.records(topic, first=10)
    for start in (10, 13, 20):
        read = world.client.read(world.endpoint, topic, start=start)
        assert values_of(read) == values[start:] and [record.offset for record in read] == list(range(start, 20))


latest = feature(SECTION, "from the latest offset")


@latest.cell("kcat")
def latest_kcat(world: World) -> None:
    topic = world.topic()
    world.records(topic)
    assert world.client.read(world.endpoint, topic, start="end") == []
    assert values_of(world.client.read(world.endpoint, topic, start=-3)) == [b"7", b"8", b"9"]


@latest.cell("confluent-kafka")
def latest_confluent(world: World) -> None:
    topic = world.topic()
    world.records(topic)
    consumer = world.client.consumer(world.endpoint)
    consumer.assign([TopicPartition(topic, 0, -1)])
    assert world.client.read_to_end(consumer) == []
    later = world.records(topic, 3, first=10)
    seen: list[bytes] = []
    while len(seen) < 3:
        seen += values_of(world.client.read_to_end(consumer))
    assert seen == later
    consumer.close()


@latest.cell("kafka-python")
def latest_python(world: World) -> None:
    topic = world.topic()
    world.records(topic)
    consumer, place = world.client.consumer(world.endpoint), PythonPartition(topic, 0)
    consumer.assign([place])
    consumer.seek_to_end(place)
    assert consumer.position(place) == 10
    later = world.records(topic, 3, first=10)
    assert values_of(world.client.read_to_end(consumer, place)) == later
    consumer.close()


@latest.cell("aiokafka")
def latest_aiokafka(world: World) -> None:
    topic = world.topic()
    world.records(topic)

    async def run() -> None:
        place = AioPartition(topic, 0)
        async with AIOKafkaConsumer(**world.endpoint.aiokafka()) as consumer:
            consumer.assign([place])
            await consumer.seek_to_end(place)
            assert await consumer.position(place) == 10
            later = world.records(topic, 3, first=10)
            assert values_of(await world.client.read_to_end(consumer, place)) == later

    world.client.run(run())


@feature(SECTION, "from a timestamp").cell()
def from_timestamp(world: World) -> None:
    topic = world.topic()
    start = 1_700_000_000_000
    from .clients import BY_NAME

    BY_NAME["confluent-kafka"].produce(
        world.endpoint, topic, [Sent(b"%d" % number, timestamp=start + number * 1000) for number in range(10)])
    read = world.client.read(world.endpoint, topic, start=("time", start + 4500))
    assert values_of(read) == [b"5", b"6", b"7", b"8", b"9"]


seek = feature(SECTION, "seek back and forth", NO_CONSUMER_CALLS)


@seek.cell("confluent-kafka")
def seek_confluent(world: World) -> None:
    topic = world.topic()
    values = world.records(topic)
    consumer = world.client.consumer(world.endpoint)
    consumer.assign([TopicPartition(topic, 0, 0)])
    assert values_of(world.client.read_to_end(consumer)) == values
    for offset in (2, 8):
        consumer.seek(TopicPartition(topic, 0, offset))
        assert values_of(world.client.read_to_end(consumer)) == values[offset:]
    assert consumer.position([TopicPartition(topic, 0)])[0].offset == 10
    consumer.close()


@seek.cell("kafka-python")
def seek_python(world: World) -> None:
    topic = world.topic()
    values = world.records(topic)
    consumer, place = world.client.consumer(world.endpoint), PythonPartition(topic, 0)
    consumer.assign([place])
    for offset in (0, 2, 8):
        consumer.seek(place, offset)
        assert values_of(world.client.read_to_end(consumer, place)) == values[offset:]
    consumer.close()


@seek.cell("aiokafka")
def seek_aiokafka(world: World) -> None:
    topic = world.topic()
    values = world.records(topic)

    async def run() -> None:
        place = AioPartition(topic, 0)
        async with AIOKafkaConsumer(**world.endpoint.aiokafka()) as consumer:
            consumer.assign([place])
            for offset in (0, 2, 8):
                consumer.seek(place, offset)
                assert values_of(await world.client.read_to_end(consumer, place)) == values[offset:]

    world.client.run(run())


pause = feature(SECTION, "pause and resume a partition", NO_CONSUMER_CALLS)


@pause.cell("confluent-kafka")
def pause_confluent(world: World) -> None:
    topic = world.topic(2)
    values = world.records(topic), world.records(topic, partition=1, first=100)
    consumer = world.client.consumer(world.endpoint, enable_partition_eof=False)
    both = [TopicPartition(topic, number, 0) for number in range(2)]
    consumer.assign(both)
    consumer.pause(both[:1])
    seen: list[bytes] = []
    while len(seen) < 10:
        seen += [message.value() for message in consumer.consume(10, 0.2)]
    assert seen == values[1] and not consumer.consume(1, 0.2), "a paused partition was read"
    consumer.resume(both[:1])
    while len(seen) < 20:
        seen += [message.value() for message in consumer.consume(10, 0.2)]
    assert seen == values[1] + values[0]
    consumer.close()


@pause.cell("kafka-python")
def pause_python(world: World) -> None:
    topic = world.topic(2)
    values = world.records(topic), world.records(topic, partition=1, first=100)
    consumer = world.client.consumer(world.endpoint)
    both = [PythonPartition(topic, number) for number in range(2)]
    consumer.assign(both)
    consumer.seek_to_beginning()
    consumer.pause(both[0])
    assert values_of(world.client.read_to_end(consumer, both[1])) == values[1]
    assert consumer.paused() == {both[0]} and not consumer.poll(200)
    consumer.resume(both[0])
    assert values_of(world.client.read_to_end(consumer, both[0])) == values[0]
    consumer.close()


@pause.cell("aiokafka")
def pause_aiokafka(world: World) -> None:
    topic = world.topic(2)
    values = world.records(topic), world.records(topic, partition=1, first=100)

    async def run() -> None:
        both = [AioPartition(topic, number) for number in range(2)]
        async with AIOKafkaConsumer(**world.endpoint.aiokafka()) as consumer:
            consumer.assign(both)
            await consumer.seek_to_beginning()
            consumer.pause(both[0])
            seen: list[bytes] = []
            while len(seen) < 10:
                for found in (await consumer.getmany(timeout_ms=200)).values():
                    seen += [record.value for record in found]
            assert seen == values[1] and not await consumer.getmany(timeout_ms=200)
            consumer.resume(both[0])
            assert values_of(await world.client.read_to_end(consumer, both[0])) == values[0]

    world.client.run(run())


watermarks = feature(
    SECTION, "watermarks (earliest and latest offset)", {"kcat": "shows no offsets but those of timestamps (-Q)"})


@watermarks.cell("confluent-kafka")
def watermarks_confluent(world: World) -> None:
    topic = world.topic()
    world.records(topic)
    consumer = world.client.consumer(world.endpoint)
    assert consumer.get_watermark_offsets(TopicPartition(topic, 0), 20) == (0, 10)
    consumer.close()


@watermarks.cell("kafka-python")
def watermarks_python(world: World) -> None:
    topic = world.topic()
    world.records(topic)
    consumer, place = world.client.consumer(world.endpoint), PythonPartition(topic, 0)
    assert consumer.beginning_offsets([place]) == {place: 0} and consumer.end_offsets([place]) == {place: 10}
    consumer.close()


@watermarks.cell("aiokafka")
def watermarks_aiokafka(world: World) -> None:
    topic = world.topic()
    world.records(topic)

    async def run() -> None:
        place = AioPartition(topic, 0)
        async with AIOKafkaConsumer(**world.endpoint.aiokafka()) as consumer:
            assert await consumer.beginning_offsets([place]) == {place: 0}
            assert await consumer.end_offsets([place]) == {place: 10}

    world.client.run(run())


times = feature(SECTION, "offsets of timestamps")
START = 1_700_000_000_000


def timed(world: World) -> str:
    topic = world.topic()
    from .clients import BY_NAME

    BY_NAME["confluent-kafka"].produce(
        world.endpoint, topic, [Sent(b"%d" % number, timestamp=START + number * 1000) for number in range(3)])
    return topic


@times.cell("kcat")
def times_kcat(world: World) -> None:
    topic = timed(world)
    for stamp, offset in ((START + 500, 1), (START + 60_000, -1)):
        said = world.client.run(world.endpoint, "-Q", "-t", f"{topic}:0:{stamp}")
        assert said.strip() == f"{topic} [0] offset {offset}"


@times.cell("confluent-kafka")
def times_confluent(world: World) -> None:
    topic = timed(world)
    consumer = world.client.consumer(world.endpoint)
    for stamp, offset in ((START + 500, 1), (START + 60_000, -1)):
        assert consumer.offsets_for_times([TopicPartition(topic, 0, stamp)], 20)[0].offset == offset
    consumer.close()


@times.cell("kafka-python")
def times_python(world: World) -> None:
    place = PythonPartition(timed(world), 0)
    consumer = world.client.consumer(world.endpoint)
    assert consumer.offsets_for_times({place: START + 500})[place].offset == 1
    beyond = consumer.offsets_for_times({place: START + 60_000})[place]
    assert beyond is None or beyond.offset == -1
    consumer.close()


@times.cell("aiokafka")
def times_aiokafka(world: World) -> None:
    place = AioPartition(timed(world), 0)

    async def run() -> None:
        async with AIOKafkaConsumer(**world.endpoint.aiokafka()) as consumer:
            assert (await consumer.offsets_for_times({place: START + 500}))[place].offset == 1
            assert (await consumer.offsets_for_times({place: START + 60_000}))[place] is None

    world.client.run(run())


reset = feature(SECTION, "an offset beyond the log goes where auto.offset.reset says")


@reset.cell("kcat")
def reset_kcat(world: World) -> None:
    topic = world.topic()
    values = world.records(topic)
    out = world.client.run(world.endpoint, "-C", "-t", topic, "-p", "0", "-o", "1000", "-e", "-q",
                           *world.client.settings(auto_offset_reset="earliest"))
    assert out.encode().split() == values


@reset.cell("confluent-kafka")
def reset_confluent(world: World) -> None:
    topic = world.topic()
    values = world.records(topic)
    assert values_of(world.client.read(world.endpoint, topic, start=1000)) == values


@reset.cell("kafka-python")
def reset_python(world: World) -> None:
    topic = world.topic()
    values = world.records(topic)
    consumer, place = world.client.consumer(world.endpoint, auto_offset_reset="earliest"), PythonPartition(topic, 0)
    consumer.assign([place])
    consumer.seek(place, 1000)
    seen: list[bytes] = []

    def all_seen() -> bool:
        seen.extend(record.value for record in consumer.poll(200).get(place, []))
        return len(seen) >= 10

    wait_until(all_seen, "the records from the start", pause=0)
    assert seen == values
    consumer.close()


@reset.cell("aiokafka")
def reset_aiokafka(world: World) -> None:
    topic = world.topic()
    values = world.records(topic)

    async def run() -> None:
        place = AioPartition(topic, 0)
        async with AIOKafkaConsumer(**world.endpoint.aiokafka(auto_offset_reset="earliest")) as consumer:
            consumer.assign([place])
            consumer.seek(place, 1000)
            assert [(await consumer.getone()).value for _ in range(10)] == values

    world.client.run(run())
