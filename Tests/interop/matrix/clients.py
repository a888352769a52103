# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: four clients behind one interface, for the features that all of them have.
"""`produce` and `read` with each client's own calls. What only some clients can do is written in the cells."""

from __future__ import annotations

import asyncio
import json
import subprocess
from dataclasses import dataclass
from typing import Any, Callable, Optional, Sequence

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka import TopicPartition as AioPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import MessageSizeTooLargeError as AioTooLarge
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka import TopicPartition as PythonPartition
from kafka.errors import MessageSizeTooLargeError as PythonTooLarge

from broker import Endpoint, wait_until

SECONDS = 30


class TooLarge(Exception):
    """The broker answered MESSAGE_TOO_LARGE."""


@dataclass(frozen=True)
class Sent:
    value: Optional[bytes]
    key: Optional[bytes] = None
    headers: tuple[tuple[str, bytes], ...] = ()
    partition: Optional[int] = None
    timestamp: Optional[int] = None


@dataclass(frozen=True)
class Read:
    partition: int
    offset: int
    key: Optional[bytes]
    value: Optional[bytes]
    headers: tuple[tuple[str, bytes], ...]
    timestamp: int


def values_of(records: Sequence[Read]) -> list[Optional[bytes]]:
    return [record.value for record in records]


class Kcat:
    name = "kcat"

    @staticmethod
    def run(endpoint: Endpoint, *arguments: str, input: bytes = b"", seconds: float = SECONDS) -> str:
        done = subprocess.run(["kcat", *endpoint.kcat(), *arguments], input=input, capture_output=True, timeout=seconds)
        said = done.stderr.decode()
        if "Message size too large" in said:
            raise TooLarge(said)
        assert done.returncode == 0, f"kcat {' '.join(arguments)}: {said}"
        return done.stdout.decode()

    @staticmethod
    def settings(**settings: Any) -> list[str]:
        """Properties of librdkafka; underscores stand for dots."""
        return [word for name, value in settings.items() for word in ("-X", f"{name.replace('_', '.')}={value}")]

    def produce(
        self, endpoint: Endpoint, topic: str, records: Sequence[Sent], *, acks: str = "all", compression: str = "none",
        idempotence: bool = False, largest: int = 1_000_000,
    ) -> None:  # fmt: skip
        # One run of kcat has one set of headers and one partition for all of its lines.
        runs: dict[Any, list[Sent]] = {}
        for record in records:
            assert record.timestamp is None, "kcat cannot set timestamps"
            runs.setdefault((record.headers, record.partition), []).append(record)
        for (headers, partition), group in runs.items():
            arguments = ["-P", "-t", topic, "-K:", "-z", compression]
            arguments += self.settings(
                acks=acks, message_max_bytes=largest, enable_idempotence=str(idempotence).lower())
            arguments += [word for name, value in headers for word in ("-H", f"{name}={value.decode()}")]
            arguments += [] if partition is None else ["-p", str(partition)]
            # -Z makes an empty key or value a null.
            lines = b"".join(b"%s:%s\n" % (record.key or b"", record.value or b"") for record in group)
            self.run(endpoint, *arguments, "-Z", input=lines)

    def read(
        self, endpoint: Endpoint, topic: str, *, partition: int = 0, start: Any = 0, committed: bool = False
    ) -> list[Read]:
        offset = f"s@{start[1]}" if isinstance(start, tuple) else {"earliest": "beginning"}.get(start, str(start))
        isolation = "read_committed" if committed else "read_uncommitted"
        out = self.run(endpoint, "-C", "-t", topic, "-p", str(partition), "-o", offset, "-e", "-q", "-J",
                       *self.settings(isolation_level=isolation, fetch_wait_max_ms=50))
        return [self._record(json.loads(line)) for line in out.splitlines()]

    @staticmethod
    def _record(found: dict[str, Any]) -> Read:
        flat = found.get("headers", [])
        return Read(
            found["partition"], found["offset"],
            None if found["key"] is None else found["key"].encode(),
            None if found["payload"] is None else found["payload"].encode(),
            tuple((name, value.encode()) for name, value in zip(flat[::2], flat[1::2])), found["ts"],
        )


class Confluent:
    name = "confluent-kafka"

    def produce(
        self, endpoint: Endpoint, topic: str, records: Sequence[Sent], *, acks: str = "all", compression: str = "none",
        idempotence: bool = False, largest: int = 1_000_000,
    ) -> None:  # fmt: skip
        failed: list[KafkaError] = []
        producer = Producer(endpoint.librdkafka(
            acks=acks, compression_type=compression, enable_idempotence=idempotence, message_max_bytes=largest,
            linger_ms=5))
        for record in records:
            options: dict[str, Any] = {"partition": record.partition} if record.partition is not None else {}
            if record.timestamp is not None:
                options["timestamp"] = record.timestamp
            producer.produce(topic, record.value, record.key, headers=list(record.headers),
                             on_delivery=lambda error, _: failed.append(error) if error else None, **options)
        assert producer.flush(SECONDS) == 0, "records are still undelivered"
        if failed and failed[0].code() == KafkaError.MSG_SIZE_TOO_LARGE:
            raise TooLarge(failed[0])
        assert not failed, failed

    def consumer(self, endpoint: Endpoint, **settings: Any) -> Consumer:
        return Consumer(endpoint.librdkafka(
            **{"group_id": "reads-without-group", "enable_auto_commit": False, "enable_partition_eof": True,
               "auto_offset_reset": "earliest", "fetch_wait_max_ms": 50} | settings))

    def read(
        self, endpoint: Endpoint, topic: str, *, partition: int = 0, start: Any = 0, committed: bool = False
    ) -> list[Read]:
        consumer = self.consumer(endpoint, isolation_level="read_committed" if committed else "read_uncommitted")
        try:
            if isinstance(start, tuple):
                start = consumer.offsets_for_times([TopicPartition(topic, partition, start[1])], SECONDS)[0].offset
            consumer.assign([TopicPartition(topic, partition, {"earliest": -2}.get(start, start))])
            return self.read_to_end(consumer)
        finally:
            consumer.close()

    def read_to_end(self, consumer: Consumer) -> list[Read]:
        """What an assigned consumer of one partition still gets before its end."""
        records: list[Read] = []
        while True:
            message = consumer.poll(SECONDS)
            assert message is not None, f"no end within {SECONDS} s; seen {records}"
            if message.error() is not None:
                assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
                return records
            records.append(Read(
                message.partition(), message.offset(), message.key(), message.value(),
                tuple(message.headers() or ()), message.timestamp()[1]))


class KafkaPython:
    name = "kafka-python"

    def produce(
        self, endpoint: Endpoint, topic: str, records: Sequence[Sent], *, acks: str = "all", compression: str = "none",
        idempotence: bool = False, largest: int = 1_000_000,
    ) -> None:  # fmt: skip
        producer = KafkaProducer(**endpoint.kafka_python(
            acks=acks if acks == "all" else int(acks), enable_idempotence=idempotence, max_request_size=largest,
            compression_type=None if compression == "none" else compression, linger_ms=5))
        try:
            futures = [
                producer.send(topic, record.value, record.key, list(record.headers), record.partition, record.timestamp)
                for record in records
            ]
            producer.flush(SECONDS)
            for future in futures:
                future.get(SECONDS)
        except PythonTooLarge as error:
            raise TooLarge(error) from error
        finally:
            producer.close(10)

    def consumer(self, endpoint: Endpoint, **settings: Any) -> KafkaConsumer:
        defaults = {"enable_auto_commit": False, "fetch_max_wait_ms": 50}
        return KafkaConsumer(**endpoint.kafka_python(**defaults | settings))

    def read(
        self, endpoint: Endpoint, topic: str, *, partition: int = 0, start: Any = 0, committed: bool = False
    ) -> list[Read]:
        consumer = self.consumer(endpoint, isolation_level="read_committed" if committed else "read_uncommitted")
        place = PythonPartition(topic, partition)
        try:
            consumer.assign([place])
            if isinstance(start, tuple):
                consumer.seek(place, consumer.offsets_for_times({place: start[1]})[place].offset)
            elif start == "earliest":
                consumer.seek_to_beginning(place)
            else:
                consumer.seek(place, start)
            return self.read_to_end(consumer, place)
        finally:
            consumer.close(autocommit=False)

    def read_to_end(self, consumer: KafkaConsumer, place: PythonPartition) -> list[Read]:
        end = consumer.end_offsets([place])[place]
        records: list[Read] = []

        def ended() -> bool:
            if consumer.position(place) >= end:
                return True
            for found in consumer.poll(100).get(place, []):
                records.append(Read(found.partition, found.offset, found.key, found.value, tuple(found.headers),
                                    found.timestamp))
            return consumer.position(place) >= end

        wait_until(ended, f"the end of {place} at {end}; seen {records}", SECONDS, pause=0)
        return records


class Aiokafka:
    name = "aiokafka"

    @staticmethod
    def run(coroutine: Any) -> Any:
        async def within() -> Any:
            async with asyncio.timeout(SECONDS * 2):
                return await coroutine

        return asyncio.run(within())

    def produce(
        self, endpoint: Endpoint, topic: str, records: Sequence[Sent], *, acks: str = "all", compression: str = "none",
        idempotence: bool = False, largest: int = 1_000_000,
    ) -> None:  # fmt: skip
        async def send() -> None:
            settings = endpoint.aiokafka(
                acks=acks if acks == "all" else int(acks), enable_idempotence=idempotence, max_request_size=largest,
                compression_type=None if compression == "none" else compression, linger_ms=5)
            async with AIOKafkaProducer(**settings) as producer:
                futures = [
                    await producer.send(topic, record.value, record.key, record.partition, record.timestamp,
                                        list(record.headers))
                    for record in records
                ]
                await asyncio.gather(*futures)

        try:
            self.run(send())
        except AioTooLarge as error:
            raise TooLarge(error) from error

    def read(
        self, endpoint: Endpoint, topic: str, *, partition: int = 0, start: Any = 0, committed: bool = False
    ) -> list[Read]:
        async def read() -> list[Read]:
            settings = endpoint.aiokafka(
                isolation_level="read_committed" if committed else "read_uncommitted", fetch_max_wait_ms=50)
            place = AioPartition(topic, partition)
            async with AIOKafkaConsumer(**settings) as consumer:
                consumer.assign([place])
                if isinstance(start, tuple):
                    consumer.seek(place, (await consumer.offsets_for_times({place: start[1]}))[place].offset)
                elif start == "earliest":
                    await consumer.seek_to_beginning(place)
                else:
                    consumer.seek(place, start)
                return await self.read_to_end(consumer, place)

        return self.run(read())

    async def read_to_end(self, consumer: AIOKafkaConsumer, place: AioPartition) -> list[Read]:
        end = (await consumer.end_offsets([place]))[place]
        records: list[Read] = []
        while await consumer.position(place) < end:
            for found in (await consumer.getmany(place, timeout_ms=100)).get(place, []):
                records.append(Read(found.partition, found.offset, found.key, found.value, tuple(found.headers),
                                    found.timestamp))
        return records

    def admin(self, endpoint: Endpoint, work: Callable[[AIOKafkaAdminClient], Any]) -> Any:
        """Runs `work` with a started admin client."""

        async def run() -> Any:
            admin = AIOKafkaAdminClient(**endpoint.aiokafka())
            await admin.start()
            try:
                return await work(admin)
            finally:
                await admin.close()

        return self.run(run())


def python_admin(endpoint: Endpoint, work: Callable[[KafkaAdminClient], Any]) -> Any:
    """Runs `work` with kafka-python's admin client."""
    admin = KafkaAdminClient(**endpoint.kafka_python())
    try:
        return work(admin)
    finally:
        admin.close()


BY_NAME: dict[str, Any] = {client.name: client for client in (Kcat(), Confluent(), KafkaPython(), Aiokafka())}
