# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: the matrix, producing.
"""Everything that is a property of a produced record or of a producer."""

from __future__ import annotations

import os
import time

import pytest

import protocol
from wire import Wire

from .clients import Read, Sent, TooLarge, values_of
from .table import World, feature

SECTION = "Produce"


def round_trip(world: World, sent: list[Sent], **settings: object) -> list[Read]:
    """Sends the records to one partition with the client and reads them again with the same client."""
    topic = world.topic()
    world.client.produce(world.endpoint, topic, sent, **settings)
    read = world.client.read(world.endpoint, topic)
    assert [record.offset for record in read] == list(range(len(sent)))
    assert values_of(read) == [record.value for record in sent]
    return read


for level in ("0", "1", "all"):

    @feature(SECTION, f"acks={level}", tls=level == "all").cell()
    def acks(world: World, level: str = level) -> None:
        topic = world.topic()
        sent = [Sent(b"value %d" % number) for number in range(200)]
        world.client.produce(world.endpoint, topic, sent, acks=level)
        deadline = time.monotonic() + 10
        # Nobody says when a record of acks=0 has arrived.
        while len(read := world.client.read(world.endpoint, topic)) < 200 and level == "0":
            assert time.monotonic() < deadline
        assert values_of(read) == [record.value for record in sent]


for codec in ("none", "gzip", "snappy", "lz4", "zstd"):

    @feature(SECTION, f"compression {codec}", tls=codec == "zstd").cell()
    def compression(world: World, codec: str = codec) -> None:
        round_trip(world, [Sent(b"value %d " % number + b"abcdefgh" * 40) for number in range(100)], compression=codec)


@feature(SECTION, "headers").cell()
def headers(world: World) -> None:
    sent = (("trace", b"abc"), ("trace", b"def"), ("empty", b""))
    assert round_trip(world, [Sent(b"v", headers=sent)])[0].headers == sent


@feature(SECTION, "null key").cell()
def null_key(world: World) -> None:
    read = round_trip(world, [Sent(b"with", b"key"), Sent(b"without")])
    assert [record.key for record in read] == [b"key", None]


@feature(SECTION, "null value").cell()
def null_value(world: World) -> None:
    assert round_trip(world, [Sent(None, b"key"), Sent(b"v", b"key")])[0].value is None


@feature(SECTION, "timestamp of the producer", {"kcat": "no option for the timestamp of a record"}).cell()
def own_timestamp(world: World) -> None:
    assert round_trip(world, [Sent(b"v", timestamp=1_600_000_000_123)])[0].timestamp == 1_600_000_000_123


@feature(SECTION, "timestamp of the broker (LogAppendTime)").cell()
def broker_timestamp(world: World) -> None:
    topic = world.topic(message_timestamp_type="LogAppendTime")
    before = int(time.time() * 1000)
    timestamp = None if world.client.name == "kcat" else 1000
    world.client.produce(world.endpoint, topic, [Sent(b"v", timestamp=timestamp)])
    assert before <= world.client.read(world.endpoint, topic)[0].timestamp <= int(time.time() * 1000)


@feature(SECTION, "idempotence", tls=True).cell()
def idempotence(world: World) -> None:
    round_trip(world, [Sent(b"%d" % number) for number in range(500)], idempotence=True)
    # The batches really carry a producer.
    topic = world.topic()
    world.client.produce(world.endpoint, topic, [Sent(b"x")], idempotence=True)
    with Wire(world.broker.address) as connection:
        import wire

        assert wire.batch_header(connection.fetch(topic, 0).records).producer_id >= 0


def large(size: int) -> bytes:
    return os.urandom(size // 2).hex().encode()


@feature(SECTION, "large records, up to the topic's limit").cell()
def large_records(world: World) -> None:
    topic = world.topic(max_message_bytes=str(3 << 20))
    sent = [Sent(large(size)) for size in (1 << 20, (3 << 20) - 2000)]
    world.client.produce(world.endpoint, topic, sent, largest=4 << 20)
    assert values_of(world.client.read(world.endpoint, topic)) == [record.value for record in sent]


@feature(SECTION, "MESSAGE_TOO_LARGE beyond the topic's limit").cell()
def too_large(world: World) -> None:
    topic = world.topic(max_message_bytes="10000")
    with pytest.raises(TooLarge):
        world.client.produce(world.endpoint, topic, [Sent(large(20_000))])
    world.client.produce(world.endpoint, topic, [Sent(b"small")])
    assert values_of(world.client.read(world.endpoint, topic)) == [b"small"]


@feature(SECTION, "a topic made by producing to it").cell()
def auto_created(world: World) -> None:
    topic = world.name("auto")
    world.client.produce(world.endpoint, topic, [Sent(b"first")])
    assert values_of(world.client.read(world.endpoint, topic)) == [b"first"]


@feature(SECTION, "to a chosen partition").cell()
def chosen_partition(world: World) -> None:
    topic = world.topic(3)
    world.client.produce(world.endpoint, topic, [Sent(b"%d" % number, partition=number) for number in range(3)])
    for number in range(3):
        assert values_of(world.client.read(world.endpoint, topic, partition=number)) == [b"%d" % number]


@feature(SECTION, "partitioned by key").cell()
def partitioned(world: World) -> None:
    topic = world.topic(4)
    world.client.produce(world.endpoint, topic, [Sent(b"v", b"key-%d" % (number % 20)) for number in range(60)])
    per_partition = [{record.key for record in world.client.read(world.endpoint, topic, partition=number)}
                     for number in range(4)]
    assert sum(len(keys) for keys in per_partition) == 20, "a key went to two partitions"
    assert sum(bool(keys) for keys in per_partition) > 1, "all keys went to one partition"


@feature(SECTION, "a record without a key is refused on a compacted topic (INVALID_RECORD)").cell()
def compacted_needs_keys(world: World) -> None:
    topic = world.topic(cleanup_policy="compact")
    with pytest.raises(Exception, match="(?i)invalid.?record|unable to validate|failed to validate"):
        world.client.produce(world.endpoint, topic, [Sent(b"no key")])
    world.client.produce(world.endpoint, topic, [Sent(b"v", b"key")])
    assert values_of(world.client.read(world.endpoint, topic)) == [b"v"]


@feature(SECTION, "to a topic that was deleted and made again").cell()
def recreated(world: World) -> None:
    topic = world.topic()
    world.client.produce(world.endpoint, topic, [Sent(b"old")])
    with Wire(world.broker.address) as connection:
        protocol.delete(connection, topic)
    world.topic(name=topic)
    world.client.produce(world.endpoint, topic, [Sent(b"new")])
    assert values_of(world.client.read(world.endpoint, topic)) == [b"new"]
