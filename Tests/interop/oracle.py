# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: what was acked, by every client library, and whether it is there.
"""The oracle of the tests that break things: writers of every client library, what they were told, and the check.

A writer produces values `<name>/<partition>/<number>`, each once; its library may retry. What is acked goes into the
`Oracle`, and `check_against` compares that with what is stored: every acked record at its offset, no gaps. Writers
that are idempotent (or do not retry) are stored at most once and in order; one that retries without
idempotence may be stored again for a try that was never answered, as Kafka promises no more.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
from typing import Any, Optional

import grpc
from aiokafka import AIOKafkaProducer
from confluent_kafka import KafkaError, Message, Producer
from kafka import KafkaProducer
from kafka.record import MemoryRecords

import wire
from broker import Endpoint
from grpc_client import Client
from wire import Wire

SEED = int(os.environ.get("MARTLET_SEED", "20240229"))
PARTITIONS = 3
# Connections come back soon after a kill.
RECONNECT = (
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 200),
)


class Oracle:
    """What clients were told: (topic, partition, offset) → value, and which values were ever tried."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.acked: dict[tuple[str, int, int], bytes] = {}
        self.per_writer: dict[str, int] = {}
        self.failures: list[str] = []
        # Told to be stored, but not where: (topic, partition) → values.
        self.delivered: dict[tuple[str, int], set[bytes]] = {}
        # Writers that retry without idempotence.
        self.may_repeat: set[str] = set()

    def ack(self, writer: str, topic: str, partition: int, offset: int, value: bytes) -> None:
        with self.lock:
            place = (topic, partition, offset)
            if place in self.acked:
                self.failures.append(f"{place} was acked for {self.acked[place]!r} and for {value!r}")
            self.acked[place] = value
            self.per_writer[writer] = self.per_writer.get(writer, 0) + 1

    def deliver(self, writer: str, topic: str, partition: int, values: list[bytes]) -> None:
        with self.lock:
            self.delivered.setdefault((topic, partition), set()).update(values)
            self.per_writer[writer] = self.per_writer.get(writer, 0) + len(values)

    def fail(self, text: str) -> None:
        with self.lock:
            self.failures.append(text)

    def count(self) -> int:
        with self.lock:
            return sum(self.per_writer.values())


class Writer(threading.Thread):
    """Writes values `<name>/<partition>/<number>`, each tried once by the test (clients may retry)."""

    def __init__(self, name: str, endpoint: Endpoint, topic: str, oracle: Oracle):
        super().__init__(name=name, daemon=True)
        self.endpoint = endpoint
        self.topic = topic
        self.oracle = oracle
        self.stopping = threading.Event()
        self.numbers = [0] * PARTITIONS

    def next_value(self, partition: int) -> bytes:
        self.numbers[partition] += 1
        return b"%s/%d/%d" % (self.name.encode(), partition, self.numbers[partition])

    def run(self) -> None:
        try:
            self.write()
        except BaseException as error:  # noqa: BLE001 - reported by the test
            self.oracle.fail(f"{self.name}: {error!r}")

    def write(self) -> None:
        raise NotImplementedError


class LibrdkafkaWriter(Writer):
    def __init__(self, *arguments: Any, **settings: Any):
        super().__init__(*arguments)
        self.settings = settings

    def write(self) -> None:
        producer = Producer(
            self.endpoint.librdkafka(message_timeout_ms=120_000, linger_ms=1, queue_buffering_max_messages=2000)
            | {"log_level": 0}
            | self.settings
        )
        idempotent = self.settings.get("enable.idempotence")
        may_fail = not idempotent and self.settings.get("retries") == 0
        if not idempotent and not may_fail:
            self.oracle.may_repeat.add(self.name)

        def report(error: Optional[KafkaError], message: Message) -> None:
            if error is None:
                self.oracle.ack(self.name, message.topic(), message.partition(), message.offset(), message.value())
            elif not may_fail:
                self.oracle.fail(f"{self.name}: {error}")

        turn = 0
        while not self.stopping.is_set():
            for _ in range(5):
                partition = turn % PARTITIONS
                turn += 1
                try:
                    producer.produce(self.topic, self.next_value(partition), partition=partition, on_delivery=report)
                except BufferError:
                    break
            producer.poll(0.003)
        if producer.flush(90):
            self.oracle.fail(f"{self.name}: records were never delivered")


class AiokafkaWriter(Writer):
    def write(self) -> None:
        asyncio.run(self.inside())

    async def inside(self) -> None:
        async with AIOKafkaProducer(
            **self.endpoint.aiokafka(enable_idempotence=True, acks="all", request_timeout_ms=120_000)
        ) as producer:
            pending: set[asyncio.Task[None]] = set()

            async def send(partition: int, value: bytes) -> None:
                metadata = await producer.send_and_wait(self.topic, value, partition=partition)
                self.oracle.ack(self.name, self.topic, partition, metadata.offset, value)

            turn = 0
            while not self.stopping.is_set():
                while len(pending) < 20:
                    partition = turn % PARTITIONS
                    turn += 1
                    pending.add(asyncio.create_task(send(partition, self.next_value(partition))))
                done, pending = await asyncio.wait(pending, timeout=0.01, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
                await asyncio.sleep(0.002)
            async with asyncio.timeout(90):
                await asyncio.gather(*pending)


class GrpcWriter(Writer):
    def __init__(self, *arguments: Any, api: Any):
        super().__init__(*arguments)
        self.api = api

    def write(self) -> None:
        client = Client(self.endpoint, self.api, RECONNECT)
        turn = 0
        while not self.stopping.is_set():
            partition = turn % PARTITIONS
            turn += 1
            values = [self.next_value(partition) for _ in range(1 + turn % 3)]
            try:
                answer = client.publish(self.topic, *values, partition=partition)
            except grpc.RpcError as error:
                if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
                    self.oracle.fail(f"{self.name}: {error.code()} {error.details()}")
                self.stopping.wait(0.02)
                continue
            offset = answer.batches[0].base_offset
            for number, value in enumerate(values):
                self.oracle.ack(self.name, self.topic, partition, offset + number, value)
        client.channel.close()


class KafkaPythonWriter(Writer):
    """Idempotent and acks=all, as kafka-python is by default."""

    def write(self) -> None:
        producer = KafkaProducer(
            **self.endpoint.kafka_python(
                reconnect_backoff_max_ms=200, retry_backoff_ms=50, delivery_timeout_ms=300_000, max_block_ms=120_000,
                bootstrap_timeout_ms=120_000)
        )  # fmt: skip
        pending: list[tuple[int, bytes, Any]] = []
        turn = 0
        while not self.stopping.is_set():
            for _ in range(4):
                partition = turn % PARTITIONS
                turn += 1
                value = self.next_value(partition)
                pending.append((partition, value, producer.send(self.topic, value, partition=partition)))
            pending = self.collect(pending)
            self.stopping.wait(0.02)
            while len(pending) > 200 and not self.stopping.wait(0.02):
                pending = self.collect(pending)
        for partition, value, future in pending:
            self.note(partition, value, future.get(timeout=90))
        producer.close(timeout=30)

    def collect(self, pending: list[tuple[int, bytes, Any]]) -> list[tuple[int, bytes, Any]]:
        open_still = []
        for partition, value, future in pending:
            if future.is_done:
                self.note(partition, value, future.get(timeout=0))
            else:
                open_still.append((partition, value, future))
        return open_still

    def note(self, partition: int, value: bytes, metadata: Any) -> None:
        self.oracle.ack(self.name, self.topic, partition, metadata.offset, value)


class KcatWriter(Writer):
    """One process after the other. kcat says only that all of its lines were delivered, not where."""

    def write(self) -> None:
        turn = 0
        while not self.stopping.is_set():
            partition = turn % PARTITIONS
            turn += 1
            values = [self.next_value(partition) for _ in range(5)]
            command = ["kcat", *self.endpoint.kcat(), "-P", "-t", self.topic, "-p", str(partition),
                       "-X", "enable.idempotence=true", "-X", "reconnect.backoff.max.ms=200",
                       "-X", "message.timeout.ms=60000"]  # fmt: skip
            done = subprocess.run(command, input=b"\n".join(values) + b"\n", capture_output=True, timeout=100)
            if done.returncode == 0:
                self.oracle.deliver(self.name, self.topic, partition, values)
            self.stopping.wait(0.05)


def check_against(oracle: Oracle, stored: dict[tuple[str, int], list[tuple[int, bytes]]], where: str) -> None:
    """Every acked record once at its offset; no value twice; the values of a writer in their order.

    Only writers in `may_repeat` may be stored twice."""
    at: dict[tuple[str, int, int], bytes] = {}
    for (topic, partition), found in stored.items():
        offsets = [offset for offset, _ in found]
        assert offsets == list(range(len(offsets))), f"{where}: {topic}-{partition} has gaps"
        missing = oracle.delivered.get((topic, partition), set()) - {value for _, value in found}
        assert not missing, f"{where}: {topic}-{partition} lost {len(missing)} delivered records: {list(missing)[:5]}"
        values = [value for _, value in found if value.split(b"/")[0].decode() not in oracle.may_repeat]
        assert len(set(values)) == len(values), f"{where}: {topic}-{partition} has a record twice"
        last: dict[bytes, int] = {}
        for value in values:
            writer, _, number = value.split(b"/")
            assert last.get(writer, 0) < int(number), f"{where}: {value!r} came after a later one"
            last[writer] = int(number)
        at |= {(topic, partition, offset): value for offset, value in found}
    lost = {place: value for place, value in oracle.acked.items() if at.get(place) != value}
    few = list(lost.items())[:5]
    assert not lost, f"{where}: {len(lost)} of {len(oracle.acked)} acked records are lost or moved: {few}"


def read_by_fetch(endpoint: Endpoint, topic: str) -> dict[tuple[str, int], list[tuple[int, bytes]]]:
    stored: dict[tuple[str, int], list[tuple[int, bytes]]] = {}
    with Wire(endpoint.address) as connection:
        for partition in range(PARTITIONS):
            found: list[tuple[int, bytes]] = []
            while True:
                fetched = connection.fetch(topic, len(found), partition=partition, max_wait_ms=0)
                assert fetched.error == wire.NONE
                if len(found) >= fetched.high_watermark:
                    break
                before = len(found)
                for parsed in MemoryRecords(fetched.records):
                    found += [(record.offset, record.value) for record in parsed if record.offset >= before]
                assert len(found) > before, "no progress"
            stored[topic, partition] = found
    return stored
