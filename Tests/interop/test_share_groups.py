# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: share groups (KIP-932).
"""Share groups with librdkafka's share consumer, and byte by byte: sessions, locks, acknowledgements, offsets, names of groups."""

from __future__ import annotations

import threading
import time
import uuid
from dataclasses import dataclass, field
from typing import Any, Callable, Iterator, Optional

import pytest
from confluent_kafka import AcknowledgeType, Consumer, Producer, ShareConsumer

import protocol
from broker import Broker, Endpoint
from rdkafka import flush
from wire import (
    TAGS, Reader, Wire, compact_array, compact_string, i8, i16, i32, i64,
)

HEARTBEAT, DESCRIBE, SHARE_FETCH, SHARE_ACKNOWLEDGE = 76, 77, 78, 79
DESCRIBE_OFFSETS, ALTER_OFFSETS, DELETE_OFFSETS = 90, 91, 92
NONE, UNKNOWN_TOPIC_OR_PARTITION, ILLEGAL_GENERATION, UNKNOWN_MEMBER_ID, INVALID_REQUEST = 0, 3, 22, 25, 42
INCONSISTENT_GROUP_PROTOCOL, NON_EMPTY_GROUP, GROUP_ID_NOT_FOUND = 23, 68, 69
UNKNOWN_TOPIC_ID, FENCED_MEMBER_EPOCH, INVALID_RECORD_STATE = 100, 110, 121
SESSION_NOT_FOUND, INVALID_SESSION_EPOCH = 122, 123
ACCEPT, RELEASE, REJECT, RENEW = 1, 2, 3, 4


def frame(api_key: int, version: int, body: bytes) -> bytes:
    """All these are flexible: request header 2."""
    header = i16(api_key) + i16(version) + i32(1) + i16(4) + b"test" + TAGS
    return i32(len(header) + len(body)) + header + body


def answer(wire: Wire, api_key: int, version: int, body: bytes) -> Reader:
    reader = Reader(wire.call(frame(api_key, version, body)))
    assert reader.i32() == 1
    reader.skip_tags()
    assert reader.i32() == 0, "throttled"
    return reader


def count(reader: Reader) -> int:
    return reader.unsigned_varint() - 1


@dataclass
class Acquired:
    error: int
    acknowledge_error: int
    records: bytes
    ranges: list[tuple[int, int, int]] = field(default_factory=list)


class Member:
    """One share consumer, by hand, on a connection of its own."""

    def __init__(self, endpoint: Endpoint, group: str):
        self.wire = Wire(endpoint.address, tls=endpoint.wire_tls())
        self.group = group
        self.id = str(uuid.uuid4())
        self.session = 0

    def heartbeat(self, epoch: int, topics: Optional[list[str]] = None) -> tuple[int, int, Optional[dict[bytes, list[int]]]]:
        names = b"\0" if topics is None else compact_array([compact_string(name) for name in topics])
        reader = answer(
            self.wire, HEARTBEAT, 1,
            compact_string(self.group) + compact_string(self.id) + i32(epoch) + compact_string(None) + names + TAGS,
        )
        error = reader.i16()
        reader.compact_string()
        reader.compact_string()
        member_epoch = reader.i32()
        assert reader.i32() == (5_000 if error == NONE else 0)
        assignment: Optional[dict[bytes, list[int]]] = None
        if reader.i8() >= 0:
            assignment = {}
            for _ in range(count(reader)):
                topic = reader.take(16)
                assignment[topic] = [reader.i32() for _ in range(count(reader))]
                reader.skip_tags()
            reader.skip_tags()
        reader.skip_tags()
        return error, member_epoch, assignment

    def _topics(self, partitions: dict[tuple[bytes, int], list[tuple[int, int, list[int]]]]) -> bytes:
        return compact_array([
            topic + compact_array([
                i32(index) + compact_array([
                    i64(first) + i64(last) + compact_array([i8(kind) for kind in kinds]) + TAGS
                    for first, last, kinds in batches
                ]) + TAGS
            ]) + TAGS
            for (topic, index), batches in partitions.items()
        ])

    def fetch(
        self, partitions: dict[tuple[bytes, int], list[tuple[int, int, list[int]]]], *, wait: int = 0, records: int = 500,
        strict: bool = False, renew: bool = False, epoch: Optional[int] = None, version: int = 2,
    ) -> tuple[int, dict[tuple[bytes, int], Acquired]]:
        epoch = self.session if epoch is None else epoch
        if renew:
            wait = records = 0
        body = compact_string(self.group) + compact_string(self.id) + i32(epoch) + i32(wait) + i32(0 if renew else 1)
        body += i32(0 if renew else 1 << 20) + i32(records) + i32(records)
        if version >= 2:
            body += i8(int(strict)) + i8(int(renew))
        reader = answer(self.wire, SHARE_FETCH, version, body + self._topics(partitions) + compact_array([]) + TAGS)
        error = reader.i16()
        reader.compact_string()
        assert error != NONE or reader.i32() == 30_000
        if error != NONE:
            return error, {}
        self.session = 0 if epoch == -1 else epoch + 1
        found = {}
        for _ in range(count(reader)):
            topic = reader.take(16)
            for _ in range(count(reader)):
                index = reader.i32()
                found[(topic, index)] = self._partition(reader)
            reader.skip_tags()
        assert count(reader) == 0
        reader.skip_tags()
        return error, found

    @staticmethod
    def _partition(reader: Reader) -> Acquired:
        error = reader.i16()
        reader.compact_string()
        acknowledge_error = reader.i16()
        reader.compact_string()
        reader.take(8)
        reader.skip_tags()
        length = count(reader)
        acquired = Acquired(error, acknowledge_error, reader.take(max(0, length)))
        for _ in range(count(reader)):
            acquired.ranges.append((reader.i64(), reader.i64(), reader.i16()))
            reader.skip_tags()
        reader.skip_tags()
        return acquired

    def acknowledge(
        self, partitions: dict[tuple[bytes, int], list[tuple[int, int, list[int]]]], *, epoch: Optional[int] = None,
        renew: bool = False,
    ) -> tuple[int, dict[tuple[bytes, int], int]]:
        epoch = self.session if epoch is None else epoch
        body = compact_string(self.group) + compact_string(self.id) + i32(epoch) + i8(int(renew))
        reader = answer(self.wire, SHARE_ACKNOWLEDGE, 2, body + self._topics(partitions) + TAGS)
        error = reader.i16()
        if error != NONE:
            return error, {}
        reader.compact_string()
        assert reader.i32() == 30_000
        self.session = 0 if epoch == -1 else epoch + 1
        found = {}
        for _ in range(count(reader)):
            topic = reader.take(16)
            for _ in range(count(reader)):
                index = reader.i32()
                found[(topic, index)] = reader.i16()
                reader.compact_string()
                reader.take(8)
                reader.skip_tags()
                reader.skip_tags()
            reader.skip_tags()
        return error, found

    def offsets(self, topic: str, partition: int = 0) -> tuple[int, int]:
        """Start and lag, as DescribeShareGroupOffsets tells them."""
        body = compact_array([
            compact_string(self.group)
            + compact_array([compact_string(topic) + compact_array([i32(partition)]) + TAGS]) + TAGS
        ])
        reader = answer(self.wire, DESCRIBE_OFFSETS, 1, body + TAGS)
        assert (count(reader), reader.compact_string(), count(reader)) == (1, self.group, 1)
        assert reader.compact_string() == topic
        reader.take(16)
        assert (count(reader), reader.i32()) == (1, partition)
        start = reader.i64()
        reader.i32()
        return start, reader.i64()

    def alter(self, topic: str, offset: int, partition: int = 0) -> tuple[int, Optional[int]]:
        """The error of the request, and that of the partition."""
        body = compact_string(self.group) + compact_array([
            compact_string(topic) + compact_array([i32(partition) + i64(offset) + TAGS]) + TAGS
        ])
        reader = answer(self.wire, ALTER_OFFSETS, 0, body + TAGS)
        error = reader.i16()
        reader.compact_string()
        if count(reader) == 0:
            return error, None
        reader.compact_string()
        reader.take(16)
        assert (count(reader), reader.i32()) == (1, partition)
        return error, reader.i16()

    def delete_offsets(self, topic: str) -> tuple[int, Optional[int]]:
        body = compact_string(self.group) + compact_array([compact_string(topic) + TAGS])
        reader = answer(self.wire, DELETE_OFFSETS, 0, body + TAGS)
        error = reader.i16()
        reader.compact_string()
        if count(reader) == 0:
            return error, None
        reader.compact_string()
        reader.take(16)
        return error, reader.i16()


@pytest.fixture
def produce(endpoint: Endpoint) -> Iterator[Callable[..., None]]:
    producer = Producer(endpoint.librdkafka())

    def produce(topic: str, *values: bytes, **fields: Any) -> None:
        for value in values:
            producer.produce(topic, value, **fields)
        flush(producer)

    yield produce


@pytest.fixture
def made(endpoint: Endpoint, topic: str) -> tuple[str, bytes]:
    """A topic with one partition, and its id."""
    with Wire(endpoint.address, tls=endpoint.wire_tls()) as connection:
        protocol.create(connection, topic)
        found = protocol.call(connection, 3, 12, topics=[{"name": topic}], allow_auto_topic_creation=False)
        return topic, found.topics[0].topic_id.bytes


def joined(endpoint: Endpoint, group: str, *topics: str) -> Member:
    member = Member(endpoint, group)
    error, epoch, _ = member.heartbeat(0, list(topics))
    assert (error, epoch >= 1) == (NONE, True)
    return member


def share_consumer(endpoint: Endpoint, group: str, *topics: str, **settings: Any) -> ShareConsumer:
    consumer = ShareConsumer(endpoint.librdkafka(group_id=group, **settings))
    consumer.subscribe(list(topics))
    return consumer


def poll(consumer: ShareConsumer, wanted: int, seconds: float = 20) -> list[Any]:
    found: list[Any] = []
    deadline = time.monotonic() + seconds
    while len(found) < wanted:
        assert time.monotonic() < deadline, f"{len(found)} of {wanted}"
        for message in consumer.poll(0.2):
            assert message.error() is None, message.error()
            found.append(message)
    return found


def test_a_share_consumer_reads_what_comes_after_it_joined(
    endpoint: Endpoint, made: tuple[str, bytes], produce: Callable[..., None]
) -> None:
    topic, _ = made
    produce(topic, b"before")
    starter = joined(endpoint, f"{topic}-g", topic)
    consumer = share_consumer(endpoint, f"{topic}-g", topic)
    produce(topic, *[b"%d" % number for number in range(20)])
    found = poll(consumer, 20)
    assert [message.value() for message in found] == [b"%d" % number for number in range(20)]
    assert all(error is None for error in consumer.commit_sync(10).values())
    consumer.close()
    assert starter.offsets(topic) == (21, 0)


def test_release_delivers_again_and_reject_does_not(
    endpoint: Endpoint, made: tuple[str, bytes], produce: Callable[..., None]
) -> None:
    topic, _ = made
    joined(endpoint, f"{topic}-g", topic)
    consumer = share_consumer(endpoint, f"{topic}-g", topic, share_acknowledgement_mode="explicit")
    produce(topic, b"again", b"never", b"done")
    again, never, done = poll(consumer, 3)
    consumer.acknowledge(again, AcknowledgeType.RELEASE)
    consumer.acknowledge(never, AcknowledgeType.REJECT)
    consumer.acknowledge(done, AcknowledgeType.ACCEPT)
    [second] = poll(consumer, 1)
    assert second.value() == b"again"
    consumer.acknowledge(second)
    consumer.commit_sync(10)
    assert Member(endpoint, f"{topic}-g").offsets(topic) == (3, 0)
    consumer.close()


def test_records_go_to_one_of_several_consumers_of_one_partition(
    endpoint: Endpoint, made: tuple[str, bytes], produce: Callable[..., None]
) -> None:
    topic, _ = made
    starter = joined(endpoint, f"{topic}-g", topic)
    consumers = [share_consumer(endpoint, f"{topic}-g", topic) for _ in range(3)]
    seen: list[bytes] = []
    deadline = time.monotonic() + 40
    sent = 0
    while len(seen) < 60:
        assert time.monotonic() < deadline, len(seen)
        if sent < 60:
            produce(topic, *[b"%d" % number for number in range(sent, sent + 10)])
            sent += 10
        for consumer in consumers:
            seen += [message.value() for message in consumer.poll(0.2)]
    assert sorted(seen, key=int) == [b"%d" % number for number in range(60)]
    for consumer in consumers:
        consumer.commit_sync(10)
        consumer.close()
    assert starter.offsets(topic) == (60, 0)


def test_sessions_locks_and_acknowledgements_byte_by_byte(
    endpoint: Endpoint, made: tuple[str, bytes], produce: Callable[..., None]
) -> None:
    topic, topic_id = made
    place = (topic_id, 0)
    one, two = (joined(endpoint, f"{topic}-g", topic) for _ in range(2))
    produce(topic, *[b"%d" % number for number in range(5)])
    produce(topic, *[b"%d" % number for number in range(5, 10)])
    assert one.fetch({place: []}, epoch=3)[0] == SESSION_NOT_FOUND
    assert one.fetch({place: [(0, 0, [ACCEPT])]})[0] == INVALID_REQUEST
    error, found = one.fetch({place: []}, records=3, strict=True, wait=5_000)
    assert error == NONE and found[place].ranges == [(0, 2, 1)] and found[place].records
    # Whole batches, unless the limit is strict.
    error, found = two.fetch({place: []}, records=1, version=1)
    assert found[place].ranges[0][0] == 3 and found[place].ranges[-1][1] >= 4
    held = found[place].ranges[-1][1]
    assert one.fetch({}, epoch=7)[0] == INVALID_SESSION_EPOCH
    # Not its own, not acquired, and nonsense: nothing happens, others are not touched.
    error, found = one.fetch({place: [(0, 3, [ACCEPT])]})
    assert (error, found[place].acknowledge_error) == (NONE, INVALID_RECORD_STATE)
    assert one.acknowledge({place: [(0, 1, [ACCEPT, 9])]}) == (NONE, {place: INVALID_REQUEST})
    assert one.acknowledge({place: [(0, 2, [RENEW])]}) == (NONE, {place: INVALID_REQUEST})
    assert one.acknowledge({place: [(0, 0, [RENEW])]}, renew=True) == (NONE, {place: NONE})
    assert one.acknowledge({place: [(0, 2, [ACCEPT, RELEASE, ACCEPT])]}) == (NONE, {place: NONE})
    assert one.acknowledge({place: [(0, 0, [ACCEPT])]}) == (NONE, {place: NONE}), "below the start is done with"
    assert one.offsets(topic)[0] == 1
    # The released one comes again, counted, with new ones behind what the other holds.
    error, found = one.fetch({}, records=100)
    assert found[place].ranges[0] == (1, 1, 2)
    # The end of a session gives back what was held.
    assert two.acknowledge({}, epoch=-1) == (NONE, {})
    assert two.acknowledge({place: [(3, 3, [ACCEPT])]}, epoch=4)[0] == SESSION_NOT_FOUND
    error, found = one.fetch({})
    assert found[place].ranges[0][:1] + found[place].ranges[0][2:] == (3, 2) and held >= 4
    unknown = bytes(15) + b"\7"
    error, found = one.fetch({(unknown, 0): [], (topic_id, 9): []})
    assert found[(unknown, 0)].error == UNKNOWN_TOPIC_ID and found[(topic_id, 9)].error == UNKNOWN_TOPIC_OR_PARTITION


def test_a_waiting_fetch_gets_what_another_gives_back(
    endpoint: Endpoint, made: tuple[str, bytes], produce: Callable[..., None]
) -> None:
    topic, topic_id = made
    place = (topic_id, 0)
    one, two = (joined(endpoint, f"{topic}-g", topic) for _ in range(2))
    produce(topic, b"x")
    _, found = one.fetch({place: []}, wait=5_000)
    assert found[place].ranges == [(0, 0, 1)]
    body_sent = time.monotonic()
    # The connection's end gives its session's records back, which wakes the other.
    threading.Timer(0.5, one.wire.close).start()
    _, found = two.fetch({place: []}, wait=15_000)
    assert found[place].ranges == [(0, 0, 2)]
    assert 0.4 < time.monotonic() - body_sent < 10


def test_members_epochs_and_bad_heartbeats(endpoint: Endpoint, made: tuple[str, bytes]) -> None:
    topic, topic_id = made
    member = Member(endpoint, f"{topic}-g")
    assert member.heartbeat(1)[0] == GROUP_ID_NOT_FOUND
    assert member.heartbeat(0)[0] == INVALID_REQUEST, "who joins says what for"
    assert member.heartbeat(-2, [topic])[0] == INVALID_REQUEST
    assert member.heartbeat(0, [topic]) == (NONE, 1, {topic_id: [0]})
    assert member.heartbeat(1) == (NONE, 1, None)
    assert member.heartbeat(9)[0] == FENCED_MEMBER_EPOCH
    other = Member(endpoint, f"{topic}-g")
    assert other.heartbeat(4)[0] == UNKNOWN_MEMBER_ID
    assert other.heartbeat(0, [topic])[1] == 2
    assert member.heartbeat(1) == (NONE, 2, {topic_id: [0]})
    assert member.alter(topic, 0)[0] == NON_EMPTY_GROUP
    assert member.delete_offsets(topic)[0] == NON_EMPTY_GROUP
    assert member.heartbeat(-1)[:2] == (NONE, -1)
    assert other.heartbeat(-1)[:2] == (NONE, -1)
    assert member.heartbeat(2)[0] == UNKNOWN_MEMBER_ID


def test_offsets_are_altered_described_and_deleted(
    endpoint: Endpoint, made: tuple[str, bytes], produce: Callable[..., None]
) -> None:
    topic, topic_id = made
    produce(topic, *[b"%d" % number for number in range(10)])
    admin = Member(endpoint, f"{topic}-g")
    assert admin.alter(topic, 4) == (NONE, NONE)
    assert admin.alter(topic + "-none", 4) == (NONE, UNKNOWN_TOPIC_OR_PARTITION)
    assert admin.offsets(topic) == (4, 6)
    member = joined(endpoint, f"{topic}-g", topic)
    _, found = member.fetch({(topic_id, 0): []}, records=2, strict=True)
    assert found[(topic_id, 0)].ranges == [(4, 5, 1)]
    assert member.acknowledge({(topic_id, 0): [(5, 5, [ACCEPT])]}) == (NONE, {(topic_id, 0): NONE})
    assert admin.offsets(topic) == (4, 5)
    assert member.heartbeat(-1)[0] == NONE
    assert admin.delete_offsets(topic) == (NONE, NONE)
    assert admin.offsets(topic) == (-1, -1)


def test_group_ids_are_one_namespace_and_lists_tell_the_types(
    endpoint: Endpoint, made: tuple[str, bytes], produce: Callable[..., None]
) -> None:
    topic, _ = made
    share, classic = f"{topic}-share", f"{topic}-classic"
    joined(endpoint, share, topic)
    consumer = Consumer(endpoint.librdkafka(group_id=classic, enable_auto_commit=False))
    consumer.subscribe([topic])
    deadline = time.monotonic() + 20
    while not consumer.assignment():
        assert time.monotonic() < deadline
        consumer.poll(0.1)
    assert Member(endpoint, classic).heartbeat(0, [topic])[0] == GROUP_ID_NOT_FOUND
    consumer.close()
    with Wire(endpoint.address, tls=endpoint.wire_tls()) as connection:
        found = protocol.call(connection, 16, 5, states_filter=[], types_filter=["share"])
        mine = [group for group in found.groups if group.group_id == share]
        assert [(group.protocol_type, group.group_state, group.group_type) for group in mine] == [("share", "Stable", "share")]
        assert all(group.group_type == "share" for group in found.groups)
        refused = protocol.call(
            connection, 11, 5, group_id=share, session_timeout_ms=10_000, rebalance_timeout_ms=10_000, member_id="",
            group_instance_id=None, protocol_type="consumer", protocols=[{"name": "range", "metadata": b""}],
        )
        assert refused.error_code == INCONSISTENT_GROUP_PROTOCOL
        refused = protocol.call(
            connection, 8, 8, group_id=share, generation_id_or_member_epoch=-1, member_id="", group_instance_id=None,
            topics=[{"name": topic, "partitions": [
                {"partition_index": 0, "committed_offset": 0, "committed_leader_epoch": -1, "committed_metadata": None}
            ]}],
        )
        assert refused.topics[0].partitions[0].error_code == ILLEGAL_GENERATION, "what version 8 knows for it"
        deleted = protocol.call(connection, 42, 2, groups_names=[share, "no-such-group"])
        assert [result.error_code for result in deleted.results] == [NON_EMPTY_GROUP, GROUP_ID_NOT_FOUND]


def test_read_committed_and_read_uncommitted_pass_markers_over(
    endpoint: Endpoint, made: tuple[str, bytes], produce: Callable[..., None]
) -> None:
    topic, _ = made
    starter = joined(endpoint, f"{topic}-g", topic)
    transactional = Producer(endpoint.librdkafka(transactional_id=f"{topic}-t"))
    transactional.init_transactions(20)
    transactional.begin_transaction()
    transactional.produce(topic, b"in a transaction")
    transactional.commit_transaction(20)
    produce(topic, b"after")
    consumer = share_consumer(endpoint, f"{topic}-g", topic)
    assert [message.value() for message in poll(consumer, 2)] == [b"in a transaction", b"after"]
    consumer.commit_sync(10)
    consumer.close()
    assert starter.offsets(topic) == (3, 0), "the marker is done with as well"


def test_a_restart_keeps_what_was_acknowledged(start_broker: Callable[..., Broker]) -> None:
    own = start_broker()
    endpoint = Endpoint(own, False)
    with Wire(endpoint.address) as connection:
        protocol.create(connection, "t")
        topic_id = protocol.call(connection, 3, 12, topics=[{"name": "t"}]).topics[0].topic_id.bytes
    member = joined(endpoint, "g", "t")
    producer = Producer(endpoint.librdkafka())
    for number in range(10):
        producer.produce("t", b"%d" % number)
    flush(producer)
    _, found = member.fetch({(topic_id, 0): []}, wait=5_000)
    assert sum(last - first + 1 for first, last, _ in found[(topic_id, 0)].ranges) == 10
    kinds = [ACCEPT, ACCEPT, RELEASE, ACCEPT, REJECT]
    assert member.acknowledge({(topic_id, 0): [(0, 4, kinds)]}) == (NONE, {(topic_id, 0): NONE})
    own.kill()
    own.start()
    endpoint = Endpoint(own, False)
    member = Member(endpoint, "g")
    assert member.offsets("t") == (2, 6)
    assert member.heartbeat(3)[0] == UNKNOWN_MEMBER_ID
    assert member.heartbeat(0, ["t"])[0] == NONE
    _, found = member.fetch({(topic_id, 0): []}, wait=5_000)
    assert found[(topic_id, 0)].ranges[0] == (2, 2, 2), "the delivery that was spoken of is counted"
    assert [(first, last) for first, last, _ in found[(topic_id, 0)].ranges[1:]] == [(5, 9)]


def test_at_the_bound_of_locks_only_what_was_given_back_is_delivered(start_broker: Callable[..., Broker]) -> None:
    own = start_broker(arguments=["--group-share-partition-max-record-locks", "100"])
    endpoint = Endpoint(own, False)
    with Wire(endpoint.address) as connection:
        protocol.create(connection, "t")
        topic_id = protocol.call(connection, 3, 12, topics=[{"name": "t"}]).topics[0].topic_id.bytes
    place = (topic_id, 0)
    one, two = (joined(endpoint, "g", "t") for _ in range(2))
    producer = Producer(endpoint.librdkafka(linger_ms=500))
    for number in range(150):
        producer.produce("t", b"%d" % number)
    flush(producer)
    _, found = one.fetch({place: []}, strict=True, wait=5_000)
    assert [found[place].ranges[0][0], found[place].ranges[-1][1]] == [0, 99], "of one batch, what may be locked"
    assert two.fetch({place: []}, strict=True)[1][place].ranges == []
    assert one.acknowledge({place: [(10, 11, [RELEASE, RELEASE])]}) == (NONE, {place: NONE})
    assert two.fetch({}, strict=True)[1][place].ranges == [(10, 11, 2)]
    assert one.acknowledge({place: [(0, 4, [ACCEPT] * 5), (20, 21, [RELEASE, RELEASE])]}) == (NONE, {place: NONE})
    # What comes back is first; beyond it there is room for as many as were done with.
    assert two.fetch({}, strict=True)[1][place].ranges == [(20, 21, 2), (100, 104, 1)]
    # Who takes whole batches gets the rest of one.
    assert one.acknowledge({place: [(5, 5, [ACCEPT])]}) == (NONE, {place: NONE})
    assert two.fetch({})[1][place].ranges == [(105, 149, 1)]
