# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: consumer groups of three client libraries that outlive the broker's failures.
"""Group consumers that read, commit and go on, whatever becomes of the broker.

Each remembers what it was given by offset, and the highest offset whose commit was confirmed. A record may be given
again (at least once); what is given for one offset must always be the same.
"""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any, Optional

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError as AioKafkaError
from confluent_kafka import Consumer, KafkaException, TopicPartition
from kafka import KafkaConsumer
from kafka.errors import KafkaError as PythonKafkaError

from broker import Endpoint


class Reader(threading.Thread):
    """One member of a group of its own."""

    def __init__(self, name: str, endpoint: Endpoint, topic: str, group: str, session_ms: int = 6000):
        super().__init__(name=name, daemon=True)
        self.endpoint, self.topic, self.group, self.session_ms = endpoint, topic, group, session_ms
        self.stopping = threading.Event()
        self.seen: dict[tuple[int, int], bytes] = {}
        self.ends: dict[int, int] = {}
        self.committed: dict[int, int] = {}
        self.failures: list[str] = []
        # Assignments after the first: how often it had to join again.
        self.assignments = 0
        self.again = 0
        self.remade = 0

    def run(self) -> None:
        try:
            self.read()
        except BaseException as error:  # noqa: BLE001 - reported by the test
            self.failures.append(f"{self.name}: {error!r}")

    def read(self) -> None:
        raise NotImplementedError

    def given(self, partition: int, offset: int, value: bytes) -> None:
        before = self.seen.setdefault((partition, offset), value)
        if before != value:
            self.failures.append(f"{self.name}: {partition}@{offset} was {before!r} and then {value!r}")
        self.again += before is not value
        self.ends[partition] = max(self.ends.get(partition, 0), offset + 1)

    def confirmed(self, partition: int, offset: int) -> None:
        before = self.committed.get(partition, -1)
        if offset < before:
            self.failures.append(f"{self.name}: {partition} was committed at {before} and then at {offset}")
        self.committed[partition] = offset

    def stop(self, seconds: float = 30) -> None:
        self.stopping.set()
        self.join(seconds)
        if self.is_alive():
            self.failures.append(f"{self.name} did not end")


class LibrdkafkaReader(Reader):
    def read(self) -> None:
        consumer = Consumer(
            self.endpoint.librdkafka(
                group_id=self.group, auto_offset_reset="earliest", enable_auto_commit=False,
                session_timeout_ms=self.session_ms, heartbeat_interval_ms=500)
            | {"log_level": 0}
        )  # fmt: skip

        def assigned(*_: Any) -> None:
            self.assignments += 1

        consumer.subscribe([self.topic], on_assign=assigned)
        while not self.stopping.is_set():
            ends: dict[int, int] = {}
            for message in consumer.consume(500, 0.1):
                if message.error() is None:
                    self.given(message.partition(), message.offset(), message.value())
                    ends[message.partition()] = message.offset() + 1
            if not ends:
                continue
            try:
                done = consumer.commit(
                    offsets=[TopicPartition(self.topic, partition, end) for partition, end in ends.items()],
                    asynchronous=False)  # fmt: skip
            except KafkaException:
                continue
            for place in done or []:
                if place.error is None:
                    self.confirmed(place.partition, place.offset)
        consumer.close()


class KafkaPythonReader(Reader):
    """kafka-python 3.0 can fall silent when a broker goes away while it joins for the first time: its connection idles, and
    poll returns nothing for ever. A user restarts such a process, and so does this after a while; `remade` counts."""

    PATIENCE_SECONDS = 20

    def read(self) -> None:
        consumer = self.make()
        held: Optional[Any] = None
        heard = time.monotonic()
        while not self.stopping.is_set():
            try:
                batches = consumer.poll(timeout_ms=100)
                now = consumer.assignment()
                if now and now != held:
                    self.assignments += 1
                held = now
                if not batches:
                    if time.monotonic() > heard + self.PATIENCE_SECONDS:
                        consumer.close(autocommit=False)
                        consumer, heard = self.make(), time.monotonic()
                        self.remade += 1
                    continue
                heard = time.monotonic()
                for place, records in batches.items():
                    for record in records:
                        self.given(place.partition, record.offset, record.value)
                ends = {place: records[-1].offset + 1 for place, records in batches.items()}
                self.commit(consumer, ends)
            except PythonKafkaError:
                self.stopping.wait(0.05)
        consumer.close(autocommit=False)

    def make(self) -> KafkaConsumer:
        return KafkaConsumer(
            self.topic,
            **self.endpoint.kafka_python(
                group_id=self.group, auto_offset_reset="earliest", enable_auto_commit=False,
                session_timeout_ms=self.session_ms, heartbeat_interval_ms=500, reconnect_backoff_max_ms=200,
                retry_backoff_ms=50, request_timeout_ms=self.session_ms + 5000, bootstrap_timeout_ms=120_000),
        )  # fmt: skip

    def commit(self, consumer: KafkaConsumer, ends: dict[Any, int]) -> None:
        from kafka.structs import OffsetAndMetadata

        consumer.commit({place: OffsetAndMetadata(end, "", -1) for place, end in ends.items()}, timeout_ms=5000)
        for place, end in ends.items():
            self.confirmed(place.partition, end)


class AiokafkaReader(Reader):
    def read(self) -> None:
        asyncio.run(self.inside())

    async def inside(self) -> None:
        consumer = AIOKafkaConsumer(
            self.topic,
            **self.endpoint.aiokafka(
                group_id=self.group, auto_offset_reset="earliest", enable_auto_commit=False,
                session_timeout_ms=self.session_ms, heartbeat_interval_ms=500, request_timeout_ms=20_000),
        )  # fmt: skip
        while not self.stopping.is_set():
            try:
                await consumer.start()
                break
            except AioKafkaError:
                await asyncio.sleep(0.1)
        try:
            while not self.stopping.is_set():
                try:
                    batches = await consumer.getmany(timeout_ms=100)
                    ends = {}
                    for place, records in batches.items():
                        for record in records:
                            self.given(place.partition, record.offset, record.value)
                        ends[place] = records[-1].offset + 1
                    if ends:
                        await consumer.commit(ends)
                        for place, end in ends.items():
                            self.confirmed(place.partition, end)
                except AioKafkaError:
                    await asyncio.sleep(0.05)
        finally:
            await consumer.stop()
