# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: gRPC subscribers and Kafka consumers in one consumer group.
"""Members of one KIP-848 group over both protocols: they share partitions and commits."""

from __future__ import annotations

import threading
import time
from typing import Any, Iterator

import grpc
import pytest
from confluent_kafka import Consumer

from broker import Broker, Endpoint, wait_until
from grpc_client import CALL_SECONDS, Client, status_of

pytestmark = pytest.mark.deadline(120)


@pytest.fixture
def client(plaintext: Endpoint, api: Any) -> Iterator[Client]:
    opened = Client(plaintext, api)
    yield opened
    opened.channel.close()


class Member:
    """A subscription as a member, read in a thread of its own."""

    def __init__(self, client: Client, group: str, topic: str):
        api = client.api
        self.records: list[tuple[int, int]] = []
        self.partitions: set[int] = set()
        self.assignment: Any = None
        self.failure: grpc.RpcError | None = None
        self.stream = client.streams.Subscribe(
            api.SubscribeRequest(
                topics=[api.TopicSelection(topic=topic)], origin=api.ORIGIN_EARLIEST,
                member=api.GroupMembership(group=group),
            ),
            timeout=100,
        )  # fmt: skip
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self) -> None:
        try:
            for response in self.stream:
                if response.HasField("assignment"):
                    self.assignment = response.assignment
                    self.partitions = {entry.partition for entry in response.assignment.partitions}
                for batch in response.batches:
                    self.records += [(batch.partition, record.offset) for record in batch.records]
        except grpc.RpcError as error:
            self.failure = error

    def leave(self) -> None:
        self.stream.cancel()
        self.thread.join(10)


def test_a_member_gets_everything_and_goes_on_from_its_commits(client: Client, topic: str, group: str) -> None:
    api = client.api
    client.create(topic, 3)
    for partition in range(3):
        client.publish(topic, b"a", b"b", partition=partition)
    member = Member(client, group, topic)
    wait_until(lambda: len(member.records) == 6, "all records", 30)
    assert member.partitions == {0, 1, 2}
    offsets = [api.PartitionOffset(topic=topic, partition=partition, offset=2) for partition in range(3)]
    code, _ = status_of(lambda: client.streams.Commit(api.CommitRequest(group=group, offsets=offsets), timeout=CALL_SECONDS))
    assert code == grpc.StatusCode.FAILED_PRECONDITION, "somebody who is no member commits beside the members"
    client.streams.Commit(
        api.CommitRequest(group=group, offsets=offsets, member_id=member.assignment.member_id,
                          member_epoch=member.assignment.member_epoch), timeout=CALL_SECONDS,
    )  # fmt: skip
    member.leave()
    client.publish(topic, b"c", partition=1)
    again = Member(client, group, topic)
    wait_until(lambda: again.records == [(1, 2)], "the record after the commits", 30)
    again.leave()


def test_two_members_share_the_partitions(client: Client, topic: str, group: str) -> None:
    client.create(topic, 4)
    first = Member(client, group, topic)
    wait_until(lambda: first.partitions == {0, 1, 2, 3}, "all partitions", 30)
    second = Member(client, group, topic)
    wait_until(lambda: len(first.partitions) == 2 and len(second.partitions) == 2, "two partitions each", 60)
    assert first.partitions | second.partitions == {0, 1, 2, 3}
    second.leave()
    wait_until(lambda: first.partitions == {0, 1, 2, 3}, "all partitions again", 60)
    first.leave()


def test_a_member_that_does_not_read_loses_its_partitions(client: Client, topic: str, group: str) -> None:
    api = client.api
    client.create(topic, 4)
    for partition in range(4):
        for _ in range(8):
            client.publish(topic, bytes(1_000_000), partition=partition)
    stalled = client.streams.Subscribe(
        api.SubscribeRequest(
            topics=[api.TopicSelection(topic=topic)], origin=api.ORIGIN_EARLIEST, max_records_per_message=1,
            member=api.GroupMembership(group=group, max_poll_interval_ms=1000),
        ),
        timeout=100,
    )  # fmt: skip
    epochs = [next(stalled).assignment.member_epoch]
    reader = Member(client, group, topic)
    wait_until(lambda: reader.partitions == {0, 1, 2, 3}, "all partitions", 60)
    # It reads again: it is told that it has nothing, and then what it has as a member anew.
    partitions: set[int] = {0}
    while not (epochs[-1] > 0 and 0 in epochs and partitions):
        response = next(stalled)
        if response.HasField("assignment"):
            epochs.append(response.assignment.member_epoch)
            partitions = {entry.partition for entry in response.assignment.partitions}
    wait_until(lambda: len(reader.partitions) == 2, "two partitions each", 60)
    assert len(partitions) == 2
    stalled.cancel()
    reader.leave()


def test_a_kafka_consumer_and_a_grpc_subscriber_share_one_group(
    broker: Broker, client: Client, plaintext: Endpoint, topic: str, group: str
) -> None:
    client.create(topic, 4)
    consumer = Consumer(
        {"bootstrap.servers": plaintext.address, "group.id": group, "group.protocol": "consumer",
         "auto.offset.reset": "earliest", "enable.auto.commit": False}
    )  # fmt: skip
    consumer.subscribe([topic])
    member = Member(client, group, topic)
    kafka: list[tuple[int, int]] = []

    def poll() -> bool:
        message = consumer.poll(0.1)
        if message is not None and message.error() is None:
            kafka.append((message.partition(), message.offset()))
        return len(member.partitions) == 2 and len(consumer.assignment()) == 2

    wait_until(poll, "two partitions each", 60)
    for partition in range(4):
        client.publish(topic, b"x", partition=partition)
    wait_until(lambda: poll() and len(kafka) + len(member.records) == 4, "every record once", 30)
    assert {partition for partition, _ in member.records} == member.partitions
    assert sorted(kafka + member.records) == [(partition, 0) for partition in range(4)]
    consumer.close()
    wait_until(lambda: member.partitions == {0, 1, 2, 3}, "all partitions", 60)
    member.leave()
