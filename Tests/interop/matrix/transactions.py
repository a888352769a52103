# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: the matrix, transactions.
"""What is committed is seen as a whole, what is aborted never; offsets go with the records; zombies are fenced."""

from __future__ import annotations

import asyncio
import subprocess
import threading
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka import TopicPartition as AioPartition
from aiokafka.errors import KafkaError as AioError
from confluent_kafka import KafkaException, Producer, TopicPartition
from kafka import KafkaProducer
from kafka import TopicPartition as PythonPartition
from kafka.errors import KafkaError as PythonError
from kafka.structs import OffsetAndMetadata

import protocol
from broker import wait_until
from wire import Wire

from .table import World, feature

SECTION = "Transactions"
ONE_ONLY = {"kcat": "all of its input is one transaction; no calls for offsets or a second one"}


def seen(world: World, topic: str, committed: bool = True) -> list[Any]:
    return [record.value for record in world.client.read(world.endpoint, topic, committed=committed)]


def confluent(world: World, name: str, **settings: Any) -> Producer:
    producer = Producer(world.endpoint.librdkafka(transactional_id=name, **settings))
    producer.init_transactions(30)
    return producer


def python(world: World, name: str, **settings: Any) -> KafkaProducer:
    producer = KafkaProducer(**world.endpoint.kafka_python(transactional_id=name, **settings))
    producer.init_transactions()
    return producer


def aio(world: World, name: str, **settings: Any) -> AIOKafkaProducer:
    return AIOKafkaProducer(**world.endpoint.aiokafka(transactional_id=name, **settings))


commit = feature(SECTION, "commit, seen by read_committed", tls=True)


@commit.cell("kcat")
def commit_kcat(world: World) -> None:
    topic = world.topic()
    world.client.run(world.endpoint, "-P", "-t", topic, *world.client.settings(transactional_id=world.name("tx")),
                     input=b"a\nb\n")
    assert seen(world, topic) == [b"a", b"b"]
    with Wire(world.broker.address) as connection:
        assert connection.fetch(topic, 0).high_watermark == 3, "no marker: it was no transaction"


@commit.cell("confluent-kafka")
def commit_confluent(world: World) -> None:
    topic = world.topic()
    producer = confluent(world, world.name("tx"))
    for value in (b"a", b"b"):
        producer.begin_transaction()
        producer.produce(topic, value)
        producer.commit_transaction(30)
    assert seen(world, topic) == [b"a", b"b"]


@commit.cell("kafka-python")
def commit_python(world: World) -> None:
    topic = world.topic()
    producer = python(world, world.name("tx"))
    for value in (b"a", b"b"):
        producer.begin_transaction()
        producer.send(topic, value)
        producer.commit_transaction()
    producer.close(10)
    assert seen(world, topic) == [b"a", b"b"]


@commit.cell("aiokafka")
def commit_aiokafka(world: World) -> None:
    topic = world.topic()

    async def run() -> None:
        async with aio(world, world.name("tx")) as producer:
            for value in (b"a", b"b"):
                async with producer.transaction():
                    await producer.send(topic, value)

    world.client.run(run())
    assert seen(world, topic) == [b"a", b"b"]


abort = feature(
    SECTION, "abort, not seen by read_committed",
    {"kcat": "has no abort: a run that is interrupted leaves its transaction to the time-out"})


@abort.cell("confluent-kafka")
def abort_confluent(world: World) -> None:
    topic = world.topic()
    producer = confluent(world, world.name("tx"))
    producer.begin_transaction()
    producer.produce(topic, b"never")
    producer.flush(30)
    producer.abort_transaction(30)
    producer.begin_transaction()
    producer.produce(topic, b"after")
    producer.commit_transaction(30)
    assert seen(world, topic) == [b"after"]
    assert seen(world, topic, committed=False) == [b"never", b"after"]


@abort.cell("kafka-python")
def abort_python(world: World) -> None:
    topic = world.topic()
    producer = python(world, world.name("tx"))
    producer.begin_transaction()
    producer.send(topic, b"never")
    producer.flush()
    producer.abort_transaction()
    producer.begin_transaction()
    producer.send(topic, b"after")
    producer.commit_transaction()
    producer.close(10)
    assert seen(world, topic) == [b"after"]
    assert seen(world, topic, committed=False) == [b"never", b"after"]


@abort.cell("aiokafka")
def abort_aiokafka(world: World) -> None:
    topic = world.topic()

    async def run() -> None:
        async with aio(world, world.name("tx")) as producer:
            await producer.begin_transaction()
            await producer.send_and_wait(topic, b"never")
            await producer.abort_transaction()
            async with producer.transaction():
                await producer.send_and_wait(topic, b"after")

    world.client.run(run())
    assert seen(world, topic) == [b"after"]
    assert seen(world, topic, committed=False) == [b"never", b"after"]


@feature(SECTION, "read_committed stops before an open transaction").cell()
def held_back(world: World) -> None:
    topic = world.topic()
    other = Producer(world.endpoint.librdkafka(transactional_id=world.name("tx")))
    other.init_transactions(30)
    world.records(topic, 1)
    other.begin_transaction()
    other.produce(topic, b"open")
    other.flush(30)
    world.records(topic, 1, first=7)
    assert seen(world, topic) == [b"0"]
    assert seen(world, topic, committed=False) == [b"0", b"open", b"7"]
    other.commit_transaction(30)
    assert seen(world, topic) == [b"0", b"open", b"7"]


offsets = feature(SECTION, "offsets committed and aborted with the records", ONE_ONLY)


def committed_offset(world: World, group: str, topic: str) -> int:
    with Wire(world.broker.address) as connection:
        answer = protocol.call(connection, 9, 7, group_id=group, require_stable=True,
                               topics=[{"name": topic, "partition_indexes": [0]}])
    return answer.topics[0].partitions[0].committed_offset


@offsets.cell("confluent-kafka")
def offsets_confluent(world: World) -> None:
    topic, group = world.topic(), world.name("group")
    world.records(topic)
    consumer = world.client.consumer(world.endpoint, group_id=group)
    consumer.subscribe([topic])
    world.client.read_to_end(consumer)
    producer = confluent(world, world.name("tx"))
    for offset, keep in ((3, True), (6, False)):
        producer.begin_transaction()
        producer.send_offsets_to_transaction(
            [TopicPartition(topic, 0, offset)], consumer.consumer_group_metadata(), 30)
        producer.commit_transaction(30) if keep else producer.abort_transaction(30)
        assert committed_offset(world, group, topic) == 3
    consumer.close()


@offsets.cell("kafka-python")
def offsets_python(world: World) -> None:
    topic, group = world.topic(), world.name("group")
    world.records(topic)
    consumer = world.client.consumer(world.endpoint, group_id=group, auto_offset_reset="earliest")
    consumer.subscribe([topic])
    wait_until(lambda: consumer.poll(500), "the records", pause=0)
    producer = python(world, world.name("tx"))
    for offset, keep in ((3, True), (6, False)):
        producer.begin_transaction()
        producer.send_offsets_to_transaction(
            {PythonPartition(topic, 0): OffsetAndMetadata(offset, "", -1)}, consumer.group_metadata())
        producer.commit_transaction() if keep else producer.abort_transaction()
        assert committed_offset(world, group, topic) == 3
    producer.close(10)
    consumer.close(autocommit=False)


@offsets.cell("aiokafka")
def offsets_aiokafka(world: World) -> None:
    topic, group = world.topic(), world.name("group")

    async def run() -> None:
        async with aio(world, world.name("tx")) as producer:
            for offset, keep in ((3, True), (6, False)):
                await producer.begin_transaction()
                await producer.send_offsets_to_transaction({AioPartition(topic, 0): offset}, group)
                await (producer.commit_transaction() if keep else producer.abort_transaction())
                assert committed_offset(world, group, topic) == 3

    world.client.run(run())


fenced = feature(SECTION, "a second producer with the same id fences the first", ONE_ONLY)


@fenced.cell("confluent-kafka")
def fenced_confluent(world: World) -> None:
    topic, name = world.topic(), world.name("tx")
    first = confluent(world, name)
    first.begin_transaction()
    first.produce(topic, b"zombie")
    first.flush(30)
    second = confluent(world, name)
    with pytest.raises(KafkaException) as refused:
        first.commit_transaction(30)
    assert refused.value.args[0].fatal()
    second.begin_transaction()
    second.produce(topic, b"alive")
    second.commit_transaction(30)
    assert seen(world, topic) == [b"alive"]


@fenced.cell("kafka-python")
def fenced_python(world: World) -> None:
    topic, name = world.topic(), world.name("tx")
    first = python(world, name)
    first.begin_transaction()
    first.send(topic, b"zombie").get(20)
    second = python(world, name)
    with pytest.raises(PythonError, match="(?i)fenced|epoch"):
        first.commit_transaction()
    second.begin_transaction()
    second.send(topic, b"alive")
    second.commit_transaction()
    first.close(5)
    second.close(5)
    assert seen(world, topic) == [b"alive"]


@fenced.cell("aiokafka")
def fenced_aiokafka(world: World) -> None:
    topic, name = world.topic(), world.name("tx")

    async def run() -> None:
        first, second = aio(world, name), aio(world, name)
        await first.start()
        await first.begin_transaction()
        await first.send_and_wait(topic, b"zombie")
        await second.start()
        with pytest.raises(AioError, match="(?i)fenced|newer producer|epoch"):
            await first.commit_transaction()
        async with second.transaction():
            await second.send_and_wait(topic, b"alive")
        await second.stop()
        try:
            await first.stop()
        except AioError:
            pass

    world.client.run(run())
    assert seen(world, topic) == [b"alive"]


timeout = feature(SECTION, "transaction timeout: aborted by the broker", slow=True)


def wait_aborted(world: World, topic: str) -> None:
    """The broker gives the partition free without the producer."""
    wait_until(lambda: seen(world, topic, committed=False), "the open record")
    world.records(topic, 1, first=5)
    wait_until(lambda: seen(world, topic) == [b"5"], "the broker's abort", 30, pause=0.2)


@timeout.cell("kcat")
def timeout_kcat(world: World) -> None:
    topic = world.topic()
    process = subprocess.Popen(
        ["kcat", *world.endpoint.kcat(), "-P", "-t", topic,
         *world.client.settings(transactional_id=world.name("tx"), transaction_timeout_ms=1000, linger_ms=0)],
        # It reads a kibibyte at a time.
        stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdin
    try:
        process.stdin.write(b"late\n" * 500)
        process.stdin.flush()
        wait_aborted(world, topic)
    finally:
        process.kill()
        process.wait()
        process.stdin.close()


@timeout.cell("confluent-kafka")
def timeout_confluent(world: World) -> None:
    topic = world.topic()
    producer = confluent(world, world.name("tx"), transaction_timeout_ms=1000)
    producer.begin_transaction()
    producer.produce(topic, b"late")
    producer.flush(30)
    wait_aborted(world, topic)
    with pytest.raises(KafkaException):
        producer.commit_transaction(30)


@timeout.cell("kafka-python")
def timeout_python(world: World) -> None:
    topic = world.topic()
    producer = python(world, world.name("tx"), transaction_timeout_ms=1000, delivery_timeout_ms=40_000)
    producer.begin_transaction()
    producer.send(topic, b"late").get(20)
    wait_aborted(world, topic)
    with pytest.raises(PythonError):
        producer.commit_transaction()
    producer.close(5)


@timeout.cell("aiokafka")
def timeout_aiokafka(world: World) -> None:
    topic = world.topic()

    async def run() -> None:
        producer = aio(world, world.name("tx"), transaction_timeout_ms=1000)
        await producer.start()
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"late")
        waiting = threading.Thread(target=wait_and_note)
        waiting.start()
        await asyncio.to_thread(waiting.join)
        assert not failures, failures
        with pytest.raises(AioError):
            await producer.commit_transaction()
        try:
            await producer.stop()
        except AioError:
            pass

    failures: list[BaseException] = []

    def wait_and_note() -> None:
        try:
            wait_aborted(world, topic)
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    world.client.run(run())


loop = feature(SECTION, "read, transform, write exactly once over an abort", ONE_ONLY)


@loop.cell("confluent-kafka")
def loop_confluent(world: World) -> None:
    source, target, group = world.topic(), world.topic(), world.name("group")
    for start in range(0, 40, 10):
        world.records(source, first=start)
    producer = confluent(world, world.name("tx"))
    consumer = world.client.consumer(world.endpoint, group_id=group, enable_partition_eof=False)
    consumer.subscribe([source])
    for attempt in range(5):
        messages = []
        while len(messages) < 8:
            messages += consumer.consume(8 - len(messages), 1)
        producer.begin_transaction()
        for message in messages:
            producer.produce(target, message.value())
        producer.send_offsets_to_transaction(
            consumer.position(consumer.assignment()), consumer.consumer_group_metadata(), 30)
        if attempt == 2:
            producer.abort_transaction(30)
            consumer.seek(TopicPartition(source, 0, 16))
        else:
            producer.commit_transaction(30)
    consumer.close()
    assert seen(world, target) == [b"%d" % number for number in range(32)]
    assert committed_offset(world, group, source) == 32


@loop.cell("kafka-python")
def loop_python(world: World) -> None:
    source, target, group = world.topic(), world.topic(), world.name("group")
    for start in range(0, 40, 10):
        world.records(source, first=start)
    producer = python(world, world.name("tx"))
    consumer = world.client.consumer(world.endpoint, group_id=group, auto_offset_reset="earliest", max_poll_records=8)
    consumer.subscribe([source])
    place = PythonPartition(source, 0)
    done, attempt = 0, 0
    while done < 32:
        records = wait_until(lambda: consumer.poll(1000).get(place), "records", pause=0)
        attempt += 1
        producer.begin_transaction()
        for record in records:
            producer.send(target, record.value)
        end = records[-1].offset + 1
        producer.send_offsets_to_transaction({place: OffsetAndMetadata(end, "", -1)}, consumer.group_metadata())
        if attempt == 2:
            producer.abort_transaction()
            consumer.seek(place, done)
        else:
            producer.commit_transaction()
            done = end
    producer.close(10)
    consumer.close(autocommit=False)
    assert seen(world, target) == [b"%d" % number for number in range(done)]
    assert committed_offset(world, group, source) == done


@loop.cell("aiokafka")
def loop_aiokafka(world: World) -> None:
    source, target, group = world.topic(), world.topic(), world.name("group")
    for start in range(0, 40, 10):
        world.records(source, first=start)

    async def run() -> None:
        settings = world.endpoint.aiokafka(
            group_id=group, auto_offset_reset="earliest", enable_auto_commit=False, isolation_level="read_committed")
        place = AioPartition(source, 0)
        async with AIOKafkaConsumer(source, **settings) as consumer, aio(world, world.name("tx")) as producer:
            for attempt in range(5):
                records = []
                while len(records) < 8:
                    found = await consumer.getmany(timeout_ms=500, max_records=8 - len(records))
                    records += found.get(place, [])
                await producer.begin_transaction()
                for record in records:
                    await producer.send(target, record.value)
                await producer.send_offsets_to_transaction({place: records[-1].offset + 1}, group)
                if attempt == 2:
                    await producer.abort_transaction()
                    consumer.seek(place, 16)
                else:
                    await producer.commit_transaction()

    world.client.run(run())
    assert seen(world, target) == [b"%d" % number for number in range(32)]
    assert committed_offset(world, group, source) == 32
