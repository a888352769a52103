# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: aiokafka.
"""aiokafka 0.14, which sends older versions than the other clients (Fetch ≤ 11, Metadata ≤ 5)."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from typing import Any, Callable, Optional

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import MessageSizeTooLargeError, TopicAlreadyExistsError
from aiokafka.structs import OffsetAndMetadata

from broker import Broker, Endpoint

COMPRESSIONS = [None, "gzip", "snappy", "lz4", "zstd"]


async def produce_all(endpoint: Endpoint, topic: str, values: list[Optional[bytes]], **settings: Any) -> list[Any]:
    async with AIOKafkaProducer(**endpoint.aiokafka(**settings)) as producer:
        futures = [await producer.send(topic, value, partition=0) for value in values]
        return await asyncio.gather(*futures)


async def take(consumer: AIOKafkaConsumer, count: int, seconds: float = 30) -> list[Any]:
    records: list[Any] = []
    async with asyncio.timeout(seconds):
        while len(records) < count:
            for batch in (await consumer.getmany(timeout_ms=200)).values():
                records.extend(batch)
    assert len(records) == count
    return records


async def read_topic(endpoint: Endpoint, topic: str, count: int) -> list[Any]:
    consumer = AIOKafkaConsumer(**endpoint.aiokafka())
    await consumer.start()
    try:
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        consumer.seek(partition, 0)
        return await take(consumer, count)
    finally:
        await consumer.stop()


async def create(endpoint: Endpoint, topic: str, partitions: int, configs: Optional[dict[str, str]] = None) -> None:
    admin = AIOKafkaAdminClient(**endpoint.aiokafka())
    await admin.start()
    try:
        answer = await admin.create_topics([NewTopic(topic, partitions, 1, topic_configs=configs)])
        assert [entry[1] for entry in answer.topic_errors] == [0], answer
    finally:
        await admin.close()


@pytest.mark.parametrize("acks", [0, 1, "all"])
def test_every_ack_level_delivers(endpoint: Endpoint, topic: str, acks: Any) -> None:
    async def run() -> None:
        values = [b"value %d" % number for number in range(500)]
        metadata = await produce_all(endpoint, topic, values, acks=acks)
        if acks != 0:
            assert [entry.offset for entry in metadata] == list(range(500))
        assert [record.value for record in await read_topic(endpoint, topic, 500)] == values

    asyncio.run(run())


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("idempotent", [False, True])
def test_every_compression_makes_the_round_trip(
    endpoint: Endpoint, topic: str, compression: Optional[str], idempotent: bool
) -> None:
    async def run() -> None:
        values = [b"value %d " % number + b"abcdefgh" * 40 for number in range(300)]
        await produce_all(
            endpoint, topic, values, compression_type=compression, enable_idempotence=idempotent, linger_ms=10
        )
        assert [record.value for record in await read_topic(endpoint, topic, 300)] == values

    asyncio.run(run())


def test_keys_headers_nulls_and_timestamps_survive(endpoint: Endpoint, topic: str) -> None:
    async def run() -> None:
        headers = [("a", b"1"), ("a", b"2"), ("empty", b""), ("ünï", os.urandom(8))]
        async with AIOKafkaProducer(**endpoint.aiokafka()) as producer:
            await producer.send_and_wait(topic, b"v", key=b"k", headers=headers, timestamp_ms=1_600_000_000_123)
            await producer.send_and_wait(topic, b"no key")
            await producer.send_and_wait(topic, None, key=b"tombstone")
        first, second, third = await read_topic(endpoint, topic, 3)
        assert (first.key, first.value, list(first.headers)) == (b"k", b"v", headers)
        assert first.timestamp == 1_600_000_000_123
        assert (second.key, second.value) == (None, b"no key")
        assert (third.key, third.value) == (b"tombstone", None)

    asyncio.run(run())


def test_records_of_one_mebibyte_make_the_round_trip(endpoint: Endpoint, topic: str) -> None:
    async def run() -> None:
        await create(endpoint, topic, 1, {"max.message.bytes": str(2 * 1024 * 1024)})
        values = [os.urandom(1024 * 1024) for _ in range(3)]
        await produce_all(endpoint, topic, values, max_request_size=2 * 1024 * 1024)
        assert [record.value for record in await read_topic(endpoint, topic, 3)] == values

    asyncio.run(run())


def test_a_record_above_the_topics_limit_is_refused(endpoint: Endpoint, topic: str) -> None:
    async def run() -> None:
        await create(endpoint, topic, 1, {"max.message.bytes": "10000"})
        with pytest.raises(MessageSizeTooLargeError):
            await produce_all(endpoint, topic, [b"x" * 20_000], max_request_size=1_000_000)
        await produce_all(endpoint, topic, [b"small"])
        assert [record.value for record in await read_topic(endpoint, topic, 1)] == [b"small"]

    asyncio.run(run())


def test_a_topic_is_created_once_listed_and_deleted(endpoint: Endpoint, topic: str) -> None:
    async def run() -> None:
        admin = AIOKafkaAdminClient(**endpoint.aiokafka())
        await admin.start()
        try:
            answer = await admin.create_topics([NewTopic(topic, 3, 1)])
            assert [entry[1] for entry in answer.topic_errors] == [0]
            answer = await admin.create_topics([NewTopic(topic, 3, 1)])
            assert [entry[1] for entry in answer.topic_errors] == [TopicAlreadyExistsError.errno]
            described = await admin.describe_topics([topic])
            assert len(described[0]["partitions"]) == 3
            await admin.delete_topics([topic])
            assert topic not in await admin.list_topics()
        finally:
            await admin.close()

    asyncio.run(run())


def test_offsets_are_found_by_time_and_position(endpoint: Endpoint, topic: str) -> None:
    async def run() -> None:
        async with AIOKafkaProducer(**endpoint.aiokafka()) as producer:
            for number in range(10):
                await producer.send_and_wait(topic, b"%d" % number, timestamp_ms=1_700_000_000_000 + number * 1000)
        partition = TopicPartition(topic, 0)
        consumer = AIOKafkaConsumer(**endpoint.aiokafka())
        await consumer.start()
        try:
            assert await consumer.beginning_offsets([partition]) == {partition: 0}
            assert await consumer.end_offsets([partition]) == {partition: 10}
            found = (await consumer.offsets_for_times({partition: 1_700_000_004_500}))[partition]
            assert (found.offset, found.timestamp) == (5, 1_700_000_005_000)
            assert (await consumer.offsets_for_times({partition: 1_800_000_000_000}))[partition] is None
        finally:
            await consumer.stop()

    asyncio.run(run())


class Listener(ConsumerRebalanceListener):
    def __init__(self) -> None:
        self.held: set[int] = set()
        self.consumer: Optional[AIOKafkaConsumer] = None
        self.polled = False

    async def on_partitions_revoked(self, revoked: Any) -> None:
        if self.polled and self.consumer is not None:
            await self.consumer.commit()
        self.held -= {partition.partition for partition in revoked}

    async def on_partitions_assigned(self, assigned: Any) -> None:
        self.held |= {partition.partition for partition in assigned}


class Member:
    def __init__(self, endpoint: Endpoint, group: str, topic: str):
        self.listener = Listener()
        self.records: list[Any] = []
        self.consumer = AIOKafkaConsumer(
            **endpoint.aiokafka(
                group_id=group,
                auto_offset_reset="earliest",
                enable_auto_commit=False,
                heartbeat_interval_ms=200,
                session_timeout_ms=10_000,
            )
        )
        self.listener.consumer = self.consumer
        self.consumer.subscribe([topic], listener=self.listener)

    async def poll(self) -> None:
        for batch in (await self.consumer.getmany(timeout_ms=30)).values():
            self.records.extend(batch)
            self.listener.polled = True

    async def leave(self) -> None:
        if self.records:
            await self.consumer.commit()
        await self.consumer.stop()


async def settle(members: list[Member], partitions: int) -> None:
    async with asyncio.timeout(40):
        while True:
            for member in members:
                await member.poll()
            sizes = [len(member.listener.held) for member in members]
            union = set().union(*[member.listener.held for member in members])
            if sum(sizes) == partitions and max(sizes) - min(sizes) <= 1 and union == set(range(partitions)):
                return


@pytest.mark.deadline(120)
def test_three_members_share_a_topic_while_they_come_and_go(endpoint: Endpoint, topic: str, group: str) -> None:
    async def run() -> None:
        await create(endpoint, topic, 6)
        sent: list[bytes] = []
        members: list[Member] = []
        gone: list[Member] = []

        async def join() -> None:
            member = Member(endpoint, group, topic)
            members.append(member)
            await member.consumer.start()

        async with AIOKafkaProducer(**endpoint.aiokafka()) as producer:

            async def send(count: int) -> None:
                for _ in range(count):
                    sent.append(b"%d" % len(sent))
                    await producer.send(topic, sent[-1], partition=len(sent) % 6)
                await producer.flush()

            try:
                await send(60)
                await join()
                await settle(members, 6)
                await asyncio.gather(join(), join())
                await settle(members, 6)
                await send(60)
                leaver = members.pop(0)
                await leaver.leave()
                gone.append(leaver)
                await settle(members, 6)
                await send(60)
                async with asyncio.timeout(40):
                    while sum(len(member.records) for member in members + gone) < len(sent):
                        for member in members:
                            await member.poll()
            finally:
                for member in members:
                    await member.leave()
        assert Counter(record.value for member in members + gone for record in member.records) == Counter(sent)

    asyncio.run(run())


def test_committed_offsets_resume(endpoint: Endpoint, topic: str, group: str) -> None:
    async def run() -> None:
        await produce_all(endpoint, topic, [b"%d" % number for number in range(20)])
        partition = TopicPartition(topic, 0)
        settings = {"group_id": group, "auto_offset_reset": "earliest", "enable_auto_commit": False}
        async with AIOKafkaConsumer(topic, **endpoint.aiokafka(**settings)) as first:
            await take(first, 20)
            await first.commit({partition: OffsetAndMetadata(12, "up to twelve")})
        async with AIOKafkaConsumer(topic, **endpoint.aiokafka(**settings)) as second:
            assert await second.committed(partition) == 12
            assert [record.offset for record in await take(second, 8)] == list(range(12, 20))

    asyncio.run(run())


@pytest.mark.deadline(120)
@pytest.mark.parametrize("tls", [False, True], ids=["plaintext", "mtls"])
def test_producer_and_consumer_carry_on_through_a_kill(
    start_broker: Callable[..., Broker], topic: str, tls: bool
) -> None:
    broker = start_broker(stable=True)
    endpoint = Endpoint(broker, tls)
    values = [b"%d" % number for number in range(300)]

    async def run() -> None:
        partition = TopicPartition(topic, 0)
        consumer = AIOKafkaConsumer(**endpoint.aiokafka())
        async with AIOKafkaProducer(**endpoint.aiokafka(enable_idempotence=True)) as producer:
            futures = [await producer.send(topic, value) for value in values[:100]]
            await producer.flush()
            await consumer.start()
            consumer.assign([partition])
            consumer.seek(partition, 0)
            records = await take(consumer, 100)
            broker.kill()
            futures += [await producer.send(topic, value) for value in values[100:]]
            broker.start()
            async with asyncio.timeout(60):
                metadata = await asyncio.gather(*futures)
        assert [entry.offset for entry in metadata] == list(range(300))
        records += await take(consumer, 200, 60)
        await consumer.stop()
        assert [record.value for record in records] == values

    asyncio.run(run())
