# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: transactions, with librdkafka, aiokafka and kafka-python.
"""What a client commits is seen as a whole, what it aborts never, over restarts and kill -9 as well."""

from __future__ import annotations

import asyncio
from typing import Any, Callable

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka import TopicPartition as AioPartition
from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, ListOffsetsResultInfo, NewTopic, OffsetSpec
from kafka import KafkaConsumer, KafkaProducer
from kafka import TopicPartition as PythonPartition
from kafka.structs import OffsetAndMetadata

from broker import Broker, Endpoint
from rdkafka import take, wait_created


def transactional(endpoint: Endpoint, transactional_id: str, **extra: Any) -> Producer:
    producer = Producer(endpoint.librdkafka(transactional_id=transactional_id, **extra))
    producer.init_transactions(30)
    return producer


def committed(endpoint: Endpoint, topic: str, partitions: int = 1, **extra: Any) -> list[bytes]:
    """Everything a reader of committed records sees up to the last stable offset, by partition and offset."""
    settings = {"group_id": "reads-without-group", "auto_offset_reset": "earliest", "enable_auto_commit": False,
                "isolation_level": "read_committed", "enable_partition_eof": True} | extra
    consumer = Consumer(endpoint.librdkafka(**settings))
    consumer.assign([TopicPartition(topic, number, 0) for number in range(partitions)])
    values: list[tuple[int, int, bytes]] = []
    ended: set[int] = set()
    try:
        while len(ended) < partitions:
            message = consumer.poll(30)
            assert message is not None, f"no end of {topic} within 30 s; seen {values}"
            if message.error() is None:
                values.append((message.partition(), message.offset(), message.value()))
            else:
                assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
                ended.add(message.partition())
    finally:
        consumer.close()
    return [value for _, _, value in sorted(values)]


@pytest.fixture
def pair(plaintext: Endpoint, topic: str) -> str:
    """A topic of two partitions."""
    wait_created(AdminClient(plaintext.librdkafka()), NewTopic(topic, 2, 1))
    return topic


def test_librdkafka_commits_and_aborts(endpoint: Endpoint, pair: str, unique: Callable[[str], str]) -> None:
    producer = transactional(endpoint, unique("tx"))
    for number in range(6):
        producer.begin_transaction()
        for partition in range(2):
            producer.produce(pair, b"%d" % number, partition=partition)
        if number % 3 == 1:
            producer.abort_transaction(30)
        else:
            producer.commit_transaction(30)
    assert committed(endpoint, pair, 2) == [b"0", b"2", b"3", b"5"] * 2


def test_an_open_transaction_holds_readers_back(plaintext: Endpoint, pair: str, unique: Callable[[str], str]) -> None:
    producer = transactional(plaintext, unique("tx"))
    producer.begin_transaction()
    producer.produce(pair, b"open", partition=0)
    producer.flush(30)
    plain = Producer(plaintext.librdkafka())
    plain.produce(pair, b"plain", partition=0)
    plain.flush(30)
    assert committed(plaintext, pair, 2) == []
    assert committed(plaintext, pair, 2, isolation_level="read_uncommitted") == [b"open", b"plain"]
    admin = AdminClient(plaintext.librdkafka())

    def end(isolation: IsolationLevel) -> int:
        place = TopicPartition(pair, 0)
        found = admin.list_offsets({place: OffsetSpec.latest()}, isolation_level=isolation)
        result: ListOffsetsResultInfo = found[place].result(30)
        return result.offset

    assert end(IsolationLevel.READ_COMMITTED) == 0
    assert end(IsolationLevel.READ_UNCOMMITTED) == 2
    producer.commit_transaction(30)
    assert committed(plaintext, pair, 2) == [b"open", b"plain"]
    assert end(IsolationLevel.READ_COMMITTED) == 3


def test_a_second_producer_fences_the_first(endpoint: Endpoint, pair: str, unique: Callable[[str], str]) -> None:
    name = unique("tx")
    first = transactional(endpoint, name)
    first.begin_transaction()
    first.produce(pair, b"zombie", partition=0)
    first.flush(30)
    second = transactional(endpoint, name)
    with pytest.raises(KafkaException) as refused:
        first.commit_transaction(30)
    assert refused.value.args[0].code() in (KafkaError._FENCED, KafkaError.PRODUCER_FENCED)
    assert refused.value.args[0].fatal()
    second.begin_transaction()
    second.produce(pair, b"alive", partition=0)
    second.commit_transaction(30)
    assert committed(endpoint, pair, 2) == [b"alive"]


def test_offsets_are_committed_with_the_records(
    endpoint: Endpoint, pair: str, unique: Callable[[str], str], group: str
) -> None:
    """Read, transform, write: the loop that exactly-once is for, with an abort in the middle."""
    source = unique("source")
    feed = Producer(endpoint.librdkafka())
    for number in range(30):
        feed.produce(source, b"%02d" % number)
    feed.flush(30)
    producer = transactional(endpoint, unique("tx"))
    settings = endpoint.librdkafka(
        group_id=group, auto_offset_reset="earliest", enable_auto_commit=False, isolation_level="read_committed")
    consumer = Consumer(settings)
    consumer.subscribe([source])
    for attempt in range(4):
        messages = take(consumer, 10)
        producer.begin_transaction()
        for message in messages:
            producer.produce(pair, b"out " + message.value(), partition=0)
        position = consumer.position(consumer.assignment())
        producer.send_offsets_to_transaction(position, consumer.consumer_group_metadata(), 30)
        if attempt == 1:
            producer.abort_transaction(30)
            # What was read has to be read again, from the committed offset.
            where = consumer.committed([TopicPartition(source, 0)], 30)[0]
            assert where.offset == 10
            consumer.seek(TopicPartition(source, 0, where.offset))
        else:
            producer.commit_transaction(30)
    assert consumer.committed([TopicPartition(source, 0)], 30)[0].offset == 30
    consumer.close()
    assert committed(endpoint, pair, 2) == [b"out %02d" % number for number in range(30)]


def test_a_transaction_times_out_and_is_aborted(
    start_broker: Callable[..., Broker], topic: str, unique: Callable[[str], str]
) -> None:
    endpoint = Endpoint(start_broker(), tls=False)
    producer = transactional(endpoint, unique("tx"), transaction_timeout_ms=1_000)
    producer.begin_transaction()
    producer.produce(topic, b"too slow", partition=0)
    producer.flush(30)
    # A record after it becomes readable once the broker has given the transaction up.
    plain = Producer(endpoint.librdkafka())
    plain.produce(topic, b"behind it", partition=0)
    plain.flush(30)
    consumer = Consumer(
        endpoint.librdkafka(
            group_id="g", auto_offset_reset="earliest", isolation_level="read_committed"))
    consumer.assign([TopicPartition(topic, 0, 0)])
    assert [message.value() for message in take(consumer, 1)] == [b"behind it"]
    consumer.close()
    with pytest.raises(KafkaException):
        producer.commit_transaction(30)


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_transactions_survive_a_restart(
    start_broker: Callable[..., Broker], topic: str, unique: Callable[[str], str], how: str
) -> None:
    own = start_broker(stable=True)
    endpoint = Endpoint(own, tls=False)
    producer = transactional(endpoint, unique("tx"))
    producer.begin_transaction()
    producer.produce(topic, b"first", partition=0)
    producer.commit_transaction(30)
    producer.begin_transaction()
    producer.produce(topic, b"dropped", partition=0)
    producer.abort_transaction(30)
    producer.begin_transaction()
    producer.produce(topic, b"over the restart", partition=0)
    producer.flush(30)
    if how == "stop":
        own.stop()
    else:
        own.kill()
    own.start()
    producer.commit_transaction(30)
    assert committed(endpoint, topic) == [b"first", b"over the restart"]


def test_many_producers_at_once(endpoint: Endpoint, pair: str, unique: Callable[[str], str]) -> None:
    """Interleaved transactions: the aborted ones of some lie between the committed ones of others."""
    producers = [transactional(endpoint, unique("tx")) for _ in range(5)]
    for round_ in range(8):
        for number, producer in enumerate(producers):
            producer.begin_transaction()
            for step in range(3):
                producer.produce(pair, b"%d/%d/%d" % (number, round_, step), partition=step % 2)
            producer.flush(30)
        for number, producer in enumerate(producers):
            if (number + round_) % 2:
                producer.abort_transaction(30)
            else:
                producer.commit_transaction(30)
    expected = sorted(
        b"%d/%d/%d" % (number, round_, step)
        for number in range(5) for round_ in range(8) for step in range(3) if (number + round_) % 2 == 0
    )
    assert sorted(committed(endpoint, pair, 2)) == expected


def test_aiokafka_commits_aborts_and_sends_offsets(
    endpoint: Endpoint, pair: str, unique: Callable[[str], str], group: str
) -> None:
    async def run() -> list[bytes]:
        producer = AIOKafkaProducer(**endpoint.aiokafka(transactional_id=unique("tx")))
        await producer.start()
        try:
            for number in range(4):
                try:
                    async with producer.transaction():
                        await producer.send_and_wait(pair, b"%d" % number, partition=0)
                        await producer.send_offsets_to_transaction({AioPartition(pair, 1): number + 1}, group)
                        if number == 2:
                            raise ValueError("abort this one")
                except ValueError:
                    pass
        finally:
            await producer.stop()
        consumer = AIOKafkaConsumer(
            **endpoint.aiokafka(
                group_id=group, isolation_level="read_committed", enable_auto_commit=False))
        await consumer.start()
        try:
            consumer.assign([AioPartition(pair, 0)])
            consumer.seek(AioPartition(pair, 0), 0)
            assert await consumer.committed(AioPartition(pair, 1)) == 4
            values: list[bytes] = []
            while len(values) < 3:
                values.append((await asyncio.wait_for(consumer.getone(), 30)).value)
            return values
        finally:
            await consumer.stop()

    assert asyncio.run(run()) == [b"0", b"1", b"3"]


def test_kafka_python_commits_and_aborts(endpoint: Endpoint, pair: str, unique: Callable[[str], str]) -> None:
    producer = KafkaProducer(**endpoint.kafka_python(transactional_id=unique("tx")))
    try:
        producer.init_transactions()
        for number in range(4):
            producer.begin_transaction()
            producer.send(pair, b"%d" % number, partition=0).get(30)
            if number == 1:
                producer.abort_transaction()
            else:
                producer.commit_transaction()
    finally:
        producer.close()
    assert committed(endpoint, pair, 2) == [b"0", b"2", b"3"]


@pytest.mark.parametrize("kills", [False, True])
def test_kafka_python_reads_transforms_and_writes(
    start_broker: Callable[..., Broker], unique: Callable[[str], str], group: str, kills: bool
) -> None:
    """Exactly once, also when the broker is killed between two transactions and in the middle of one."""
    own = start_broker(stable=True)
    endpoint = Endpoint(own, tls=False)
    source, target, name = unique("source"), unique("target"), unique("tx")
    wait_created(AdminClient(endpoint.librdkafka()), NewTopic(source, 1, 1), NewTopic(target, 2, 1))
    feed = Producer(endpoint.librdkafka())
    for number in range(20):
        feed.produce(source, b"%02d" % number, partition=0)
    feed.flush(30)
    place = PythonPartition(source, 0)

    def run(start: int, ends: str) -> None:
        """One life of the application: ten records from where its group is, in one transaction."""
        consumer = KafkaConsumer(**endpoint.kafka_python(
            group_id=group, auto_offset_reset="earliest", enable_auto_commit=False, isolation_level="read_committed"))
        producer = KafkaProducer(**endpoint.kafka_python(transactional_id=name))
        try:
            # Ends what an earlier life has left open; until then the group's offset is not stable.
            producer.init_transactions()
            consumer.assign([place])
            assert (consumer.committed(place) or 0) == start
            records = []
            while len(records) < 10:
                records += next(iter(consumer.poll(1_000, max_records=10 - len(records)).values()), [])
            producer.begin_transaction()
            for record in records:
                producer.send(target, b"out " + record.value, partition=0).get(30)
            producer.send_offsets_to_transaction(
                {place: OffsetAndMetadata(records[-1].offset + 1, "", -1)}, group)
            if ends == "killed":
                own.kill()
                own.start()
            elif ends == "aborted":
                producer.abort_transaction()
            else:
                producer.commit_transaction()
        finally:
            consumer.close()
            producer.close(timeout=0 if ends == "killed" else None)

    for attempt in range(2):
        run(attempt * 10, "killed" if kills else "aborted")
        run(attempt * 10, "committed")
        if kills:
            own.kill()
            own.start()
    assert committed(endpoint, target, 2) == [b"out %02d" % number for number in range(20)]
