# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: a broker that stands still.
"""SIGSTOP for longer than the session timeout, then SIGCONT: a debugger, a frozen container, a machine that slept."""

from __future__ import annotations

import os
import signal
import struct
import time
from typing import Any, Callable

import pytest

import protocol
import wire
from broker import Broker, Endpoint, wait_until
from groups import AiokafkaReader, KafkaPythonReader, LibrdkafkaReader, Reader
from oracle import (
    PARTITIONS, AiokafkaWriter, GrpcWriter, KafkaPythonWriter, LibrdkafkaWriter, Oracle, Writer, check_against,
    read_by_fetch,
)
from wire import HEARTBEAT, JOIN_GROUP, SYNC_GROUP, Wire

SESSION_MS = 1500


class Member:
    """A member of a group that speaks only when it is told to."""

    def __init__(self, address: str, group: str, session_ms: int = SESSION_MS):
        self.connection = Wire(address, timeout=30)
        self.group, self.session_ms = group, session_ms
        self.id = ""

    def ask_to_join(self) -> None:
        metadata = struct.pack(">hii", 0, 0, -1)
        self.connection.send(
            protocol.encode(
                JOIN_GROUP, 3, group_id=self.group, session_timeout_ms=self.session_ms, rebalance_timeout_ms=10_000,
                member_id=self.id, protocol_type="consumer", protocols=[{"name": "range", "metadata": metadata}])
        )  # fmt: skip

    def joined(self) -> bool:
        """Whether it leads."""
        answer = protocol.decode(JOIN_GROUP, 3, self.connection.read_frame())
        assert answer.error_code == wire.NONE, answer
        self.id, self.generation = answer.member_id, answer.generation_id
        return bool(answer.leader == self.id)

    def sync(self, assignments: list[dict[str, Any]]) -> None:
        answer = protocol.call(
            self.connection, SYNC_GROUP, 1, group_id=self.group, generation_id=self.generation, member_id=self.id,
            assignments=assignments)  # fmt: skip
        assert answer.error_code == wire.NONE, answer

    def beat(self) -> None:
        self.connection.send(
            protocol.encode(HEARTBEAT, 1, group_id=self.group, generation_id=self.generation, member_id=self.id))

    def answer(self) -> int:
        return int(protocol.decode(HEARTBEAT, 1, self.connection.read_frame()).error_code)


def test_members_are_not_thrown_out_for_a_pause_of_the_broker(start_broker: Callable[..., Broker], group: str) -> None:
    own = start_broker(arguments=["--group-initial-rebalance-delay-ms", "500"])
    members = [Member(own.address, group) for _ in range(8)]
    for member in members:
        member.ask_to_join()
    leaders = [member for member in members if member.joined()]
    assert len(leaders) == 1
    leaders[0].sync([{"member_id": member.id, "assignment": b""} for member in members])
    for member in members:
        if member is not leaders[0]:
            member.sync([])
    for _ in range(2):
        os.kill(own.pid, signal.SIGSTOP)
        try:
            # They are alive and say so, but nobody hears them.
            for member in members:
                member.beat()
            time.sleep(2 * SESSION_MS / 1000)
        finally:
            os.kill(own.pid, signal.SIGCONT)
        assert [member.answer() for member in members] == [wire.NONE] * len(members)
    own.wait_log("stood still for")
    # Whoever is really gone is noticed as ever.
    for member in members[1:]:
        member.connection.close()

    def is_noticed() -> bool:
        members[0].beat()
        return members[0].answer() == 27  # REBALANCE_IN_PROGRESS

    wait_until(is_noticed, "the others to be missed", pause=0.1)
    members[0].connection.close()


@pytest.mark.deadline(120)
def test_clients_of_every_library_carry_on_after_a_pause(
    start_broker: Callable[..., Broker], api: Any, topic: str, unique: Callable[[str], str]
) -> None:
    own = start_broker()
    secure, plain = Endpoint(own, True), Endpoint(own, False)
    with Wire(own.address) as connection:
        protocol.create(connection, topic, PARTITIONS)
    oracle = Oracle()
    writers: list[Writer] = [
        LibrdkafkaWriter("rdkafka", secure, topic, oracle, **{"acks": "all", "enable.idempotence": True}),
        AiokafkaWriter("aiokafka", plain, topic, oracle),
        KafkaPythonWriter("kafka-python", plain, topic, oracle),
        GrpcWriter("grpc", plain, topic, oracle, api=api),
    ]
    readers: list[Reader] = [
        LibrdkafkaReader("reads-rdkafka", secure, topic, unique("group"), 3000),
        KafkaPythonReader("reads-kafka-python", plain, topic, unique("group"), 3000),
        AiokafkaReader("reads-aiokafka", plain, topic, unique("group"), 3000),
    ]
    for thread in [*writers, *readers]:
        thread.start()
    try:
        wait_until(lambda: all(reader.seen and reader.committed for reader in readers), "everybody to be at work", 30)
        os.kill(own.pid, signal.SIGSTOP)
        try:
            time.sleep(4.5)
        finally:
            os.kill(own.pid, signal.SIGCONT)
        before = dict(oracle.per_writer)
        wait_until(
            lambda: oracle.failures or all(oracle.per_writer[name] > count + 20 for name, count in before.items()),
            "every writer to be acked again", 30)  # fmt: skip
    finally:
        for writer in writers:
            writer.stopping.set()
        for writer in writers:
            writer.join(60)
        stored = read_by_fetch(plain, topic)
        ends = {partition: len(found) for (_, partition), found in stored.items()}
        try:
            wait_until(
                lambda: all(reader.ends == ends or reader.failures for reader in readers),
                f"all to read up to {ends}; they are at {[reader.ends for reader in readers]}", 40)
        finally:
            for reader in readers:
                reader.stop()
    failures = oracle.failures + [text for reader in readers for text in reader.failures]
    assert not failures, failures
    check_against(oracle, stored, "Fetch")
    for reader in readers:
        assert reader.ends == ends and reader.committed == ends, reader.name
