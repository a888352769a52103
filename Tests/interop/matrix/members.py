# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: one member of a group, for each client.
"""A member runs in a thread (kcat in a process), reads all the time and says which partitions it holds.

Members of a group poll at the same time, as members do; the test watches `held` and `values`.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import threading
from typing import Any, Optional

from aiokafka import AIOKafkaConsumer
from aiokafka.coordinator.assignors.range import RangePartitionAssignor as AioRange
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor as AioRoundRobin
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor as AioSticky
from confluent_kafka import Consumer, TopicPartition
from kafka import KafkaConsumer
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor as PythonCooperative
from kafka.coordinator.assignors.range import RangePartitionAssignor as PythonRange
from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor as PythonRoundRobin

from broker import Endpoint, wait_until

from .table import World

PYTHON_STRATEGIES = {"range": PythonRange, "roundrobin": PythonRoundRobin, "cooperative-sticky": PythonCooperative}
AIO_STRATEGIES = {"range": AioRange, "roundrobin": AioRoundRobin, "sticky": AioSticky}


class Member:
    """`strategy`, `instance` (a static member), `protocol` ("consumer": KIP-848) and `pattern` (a regular expression)
    are spelled as each client wants them; commits are automatic, on leaving at the latest."""

    def __init__(
        self, endpoint: Endpoint, group: str, topic: str, *, strategy: str = "range", instance: Optional[str] = None,
        protocol: Optional[str] = None, pattern: bool = False, assignor: Optional[str] = None,
    ):  # fmt: skip
        self.endpoint, self.group, self.topic = endpoint, group, topic
        self.strategy, self.instance, self.protocol, self.pattern = strategy, instance, protocol, pattern
        self.assignor = assignor
        self.held: frozenset[tuple[str, int]] = frozenset()
        self.changes = 0
        self.values: list[bytes] = []
        self.failure: Optional[BaseException] = None
        self.ending = threading.Event()
        self.thread = threading.Thread(target=self._guard, daemon=True)
        self.thread.start()

    def _guard(self) -> None:
        try:
            self.run()
        except BaseException as error:  # noqa: BLE001 - raised again in the test's thread
            self.failure = error

    def run(self) -> None:
        raise NotImplementedError

    def holds(self, held: Any) -> None:
        now = frozenset(held)
        if now != self.held:
            self.changes += 1
            self.held = now

    def leave(self) -> None:
        self.ending.set()
        self.thread.join(30)
        if self.failure is not None:
            raise self.failure
        assert not self.thread.is_alive(), "a member did not end"
        self.held = frozenset()


class LibrdkafkaMember(Member):
    def settings(self) -> dict[str, Any]:
        settings: dict[str, Any] = {
            "group.id": self.group, "auto.offset.reset": "earliest", "topic.metadata.refresh.interval.ms": 500,
            "fetch.wait.max.ms": 100,
        }
        if self.protocol:
            settings["group.protocol"] = self.protocol
            if self.assignor:
                settings["group.remote.assignor"] = self.assignor
        else:
            settings |= {"partition.assignment.strategy": self.strategy, "heartbeat.interval.ms": 200,
                         "session.timeout.ms": 10_000}
        if self.instance:
            settings["group.instance.id"] = self.instance
        return settings


class ConfluentMember(LibrdkafkaMember):
    def run(self) -> None:
        consumer = Consumer(self.endpoint.librdkafka() | self.settings())

        def assigned(_: Consumer, partitions: list[TopicPartition]) -> None:
            new = {(place.topic, place.partition) for place in partitions}
            self.holds(self.held | new if self.strategy == "cooperative-sticky" or self.protocol else new)

        def revoked(_: Consumer, partitions: list[TopicPartition]) -> None:
            self.holds(self.held - {(place.topic, place.partition) for place in partitions})

        name = f"^{self.topic}.*" if self.pattern else self.topic
        consumer.subscribe([name], on_assign=assigned, on_revoke=revoked, on_lost=revoked)
        while not self.ending.is_set():
            for message in consumer.consume(100, 0.05):
                assert message.error() is None, message.error()
                self.values.append(message.value())
        consumer.close()


class KcatMember(LibrdkafkaMember):
    def run(self) -> None:
        settings = [word for name, value in self.settings().items() for word in ("-X", f"{name}={value}")]
        name = f"^{self.topic}.*" if self.pattern else self.topic
        process = subprocess.Popen(
            ["kcat", *self.endpoint.kcat(), *settings, "-u", "-G", self.group, name],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out = threading.Thread(target=self._read_values, args=(process,), daemon=True)
        said = threading.Thread(target=self._read_assignments, args=(process,), daemon=True)
        out.start()
        said.start()
        self.ending.wait()
        process.terminate()
        try:
            assert process.wait(20) == 0
        finally:
            process.kill()
            for thread in (out, said):
                thread.join(10)
            process.stdout.close()  # type: ignore[union-attr]
            process.stderr.close()  # type: ignore[union-attr]

    def _read_values(self, process: "subprocess.Popen[bytes]") -> None:
        for line in process.stdout:  # type: ignore[union-attr]
            self.values.append(line.rstrip(b"\n"))

    def _read_assignments(self, process: "subprocess.Popen[bytes]") -> None:
        incremental = self.strategy == "cooperative-sticky"
        for line in process.stderr:  # type: ignore[union-attr]
            text = line.decode()
            if " rebalanced" not in text:
                continue
            named = {(topic, int(number)) for topic, number in re.findall(r"([\w.-]+) \[(\d+)\]", text)}
            if "revoke" in text:
                self.holds(self.held - named)
            else:
                self.holds(self.held | named if incremental else named)


class KafkaPythonMember(Member):
    def run(self) -> None:
        consumer = KafkaConsumer(**self.endpoint.kafka_python(
            group_id=self.group, auto_offset_reset="earliest", heartbeat_interval_ms=200, session_timeout_ms=10_000,
            group_instance_id=self.instance, partition_assignment_strategy=[PYTHON_STRATEGIES[self.strategy]],
            metadata_max_age_ms=500 if self.pattern else 300_000, fetch_max_wait_ms=100))
        consumer.subscribe(**({"pattern": f"^{self.topic}.*"} if self.pattern else {"topics": [self.topic]}))
        while not self.ending.is_set():
            # Short polls make this client (3.0) forget an assignment that arrives just as one ends.
            batches = consumer.poll(500)
            self.holds((place.topic, place.partition) for place in consumer.assignment())
            for records in batches.values():
                self.values += [record.value for record in records]
        consumer.close()


class AiokafkaMember(Member):
    def run(self) -> None:
        asyncio.run(self._inside())

    async def _inside(self) -> None:
        settings = self.endpoint.aiokafka(
            group_id=self.group, auto_offset_reset="earliest", heartbeat_interval_ms=200, session_timeout_ms=10_000,
            group_instance_id=self.instance, partition_assignment_strategy=(AIO_STRATEGIES[self.strategy],),
            metadata_max_age_ms=500 if self.pattern else 300_000, fetch_max_wait_ms=100)
        consumer = AIOKafkaConsumer(**settings)
        consumer.subscribe(**({"pattern": f"^{self.topic}.*"} if self.pattern else {"topics": [self.topic]}))
        await consumer.start()
        try:
            while not self.ending.is_set():
                batches = await consumer.getmany(timeout_ms=50)
                self.holds((place.topic, place.partition) for place in consumer.assignment())
                for records in batches.values():
                    self.values += [record.value for record in records]
        finally:
            await consumer.stop()


MEMBERS: dict[str, type[Member]] = {
    "kcat": KcatMember, "confluent-kafka": ConfluentMember, "kafka-python": KafkaPythonMember,
    "aiokafka": AiokafkaMember,
}


class Group:
    """The members of one group, which all leave at the end."""

    def __init__(self, world: World, topic: str, **options: Any):
        self.world, self.topic, self.options = world, topic, options
        self.group = world.name("group")
        self.members: list[Member] = []
        self.left: list[Member] = []

    def __enter__(self) -> "Group":
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        for member in list(self.members):
            try:
                self.leave(member)
            except BaseException:
                if kind is None:
                    raise

    def join(self, **options: Any) -> Member:
        made = MEMBERS[self.world.client.name]
        member = made(self.world.endpoint, self.group, self.topic, **{**self.options, **options})
        self.members.append(member)
        return member

    def leave(self, member: Member) -> None:
        self.members.remove(member)
        self.left.append(member)
        member.leave()

    def check(self) -> None:
        for member in self.members:
            if member.failure is not None:
                raise member.failure

    def wait(self, condition: Any, what: str, seconds: float = 40) -> None:
        def holds() -> bool:
            self.check()
            return bool(condition())

        try:
            wait_until(holds, what, seconds, pause=0.01)
        except AssertionError as error:
            held = [sorted(member.held) for member in self.members]
            raise AssertionError(f"{error}; held: {held}; {len(self.values())} values") from error

    def settle(self, partitions: set[tuple[str, int]]) -> None:
        """Waits until exactly these partitions are split evenly over the members."""

        def split() -> bool:
            sizes = [len(member.held) for member in self.members]
            return (
                sum(sizes) == len(partitions) and max(sizes) - min(sizes) <= 1
                and set().union(*[member.held for member in self.members]) == partitions
            )

        self.wait(split, f"{len(partitions)} partitions split over {len(self.members)} members")

    def values(self) -> list[bytes]:
        return [value for member in self.members + self.left for value in member.values]
