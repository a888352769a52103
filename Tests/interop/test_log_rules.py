# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: what the log takes and how it is read, at byte level.
"""Batches that are wrong in one way each, sequences of idempotent producers, long polls, limits of a Fetch."""

from __future__ import annotations

import gzip
import threading
import time
from typing import Any, Iterator

import pytest

import protocol
import wire
from broker import Broker
from protocol import create
from wire import Record, Wire, batch

INVALID_PRODUCER_EPOCH = 47
RECORD = Record(b"value", b"key")


@pytest.fixture
def connection(broker: Broker) -> Iterator[Wire]:
    with Wire(broker.address) as opened:
        yield opened


BROKEN = {
    "a CRC that does not match": (batch([RECORD], crc=1), {wire.CORRUPT_MESSAGE}),
    "an old magic": (batch([RECORD], magic=1), {wire.INVALID_RECORD, 43}),
    "a magic of the future": (batch([RECORD], magic=3), {wire.INVALID_RECORD, wire.CORRUPT_MESSAGE, 43}),
    "more records announced than there are": (batch([RECORD], count=2, last_offset_delta=1), {wire.INVALID_RECORD, 2}),
    "fewer records announced than there are": (
        batch([RECORD, RECORD], count=1, last_offset_delta=0), {wire.INVALID_RECORD, 2}),
    "a count that contradicts the last offset": (batch([RECORD], last_offset_delta=5), {wire.INVALID_RECORD, 2}),
    "a negative count": (batch([RECORD], count=-1), {wire.INVALID_RECORD, 2}),
    "an absurd count": (batch([RECORD], count=2**31 - 1, last_offset_delta=2**31 - 2), {wire.INVALID_RECORD, 2}),
    "no records at all": (batch([], count=0), {wire.INVALID_RECORD, 2}),
    "a length beyond the bytes": (batch([RECORD], length=10_000), {wire.INVALID_RECORD, 2}),
    "a negative length": (batch([RECORD], length=-1), {wire.INVALID_RECORD, 2}),
    "half a header": (batch([RECORD])[:40], {wire.INVALID_RECORD, 2}),
    "no bytes": (b"", {wire.INVALID_RECORD, 2}),
    "two batches": (batch([RECORD]) + batch([RECORD]), {wire.INVALID_RECORD}),
    "an unknown compression": (batch([RECORD], attributes=6), {wire.INVALID_RECORD, 2, 76}),
    "a control batch from a client": (batch([RECORD], attributes=0x20), {wire.INVALID_RECORD}),
    "gzip that is none": (batch([RECORD], attributes=1, body=b"not gzip at all"), {wire.INVALID_RECORD, 2}),
    "lz4 that is none": (batch([RECORD], attributes=3, body=b"\x04\x22\x4d\x18garbage"), {wire.INVALID_RECORD, 2}),
    "snappy that is none": (batch([RECORD], attributes=2, body=b"\xff\xff\xff\xff\xff"), {wire.INVALID_RECORD, 2}),
    "zstd that is none": (batch([RECORD], attributes=4, body=b"\x28\xb5\x2f\xfdgarbage"), {wire.INVALID_RECORD, 2}),
    "a compressed batch with another count": (
        batch([RECORD], attributes=1, body=gzip.compress(wire.record(RECORD, 0) * 2)), {wire.INVALID_RECORD, 2}),
    "a record whose length is a lie": (
        batch([RECORD], body=wire.varint(5000) + b"\0" * 10), {wire.INVALID_RECORD, 2}),
    "offset deltas that do not count up": (
        batch([RECORD, RECORD], body=wire.record(RECORD, 0) + wire.record(RECORD, 0)), {wire.INVALID_RECORD, 2}),
}


@pytest.mark.parametrize("case", BROKEN, ids=lambda case: case)
def test_a_broken_batch_is_refused_with_a_code_and_nothing_is_appended(
    connection: Wire, topic: str, case: str
) -> None:
    create(connection, topic)
    data, codes = BROKEN[case]
    answer = connection.produce(topic, data)
    assert answer.error in codes, f"{case}: answered {answer}"
    assert answer.base_offset == -1
    # Neither the log nor the connection suffers.
    assert connection.produce(topic, batch([Record(b"good")])).base_offset == 0


def test_a_compression_bomb_is_refused_or_stored_without_being_inflated_whole(broker: Broker, topic: str) -> None:
    """100 KB of gzip that inflate to 100 MB: whatever the answer, the broker's memory does not show it."""
    bomb = gzip.compress(wire.varint(100_000_000) + b"\0" * 100_000_000, 9)
    before = broker.resident_kib()
    with Wire(broker.address) as connection:
        create(connection, topic)
        answer = connection.produce(topic, batch([RECORD], attributes=1, body=bomb))
        assert answer.error != wire.NONE
    assert broker.resident_kib() - before < 64 * 1024


def test_zstd_needs_Produce_version_7(connection: Wire, topic: str) -> None:
    zstandard = pytest.importorskip("zstandard")
    create(connection, topic)
    body = zstandard.ZstdCompressor().compress(wire.record(RECORD, 0))
    data = batch([RECORD], attributes=4, body=body)
    assert connection.produce(topic, data, version=6).error == wire.UNSUPPORTED_COMPRESSION_TYPE
    assert connection.produce(topic, data, version=7).error == wire.NONE


def test_a_batch_above_max_message_bytes_is_too_large_and_one_at_the_limit_is_not(
    connection: Wire, topic: str
) -> None:
    exact = batch([Record(b"x" * 5000)])
    create(connection, topic, max_message_bytes=str(len(exact)))
    assert connection.produce(topic, batch([Record(b"x" * 5001)])).error == wire.MESSAGE_TOO_LARGE
    assert connection.produce(topic, exact).error == wire.NONE


def test_a_policy_that_is_none_is_refused_by_name(connection: Wire, topic: str) -> None:
    with pytest.raises(AssertionError, match="cleanup.policy"):
        create(connection, topic, cleanup_policy="compacted")


def test_LogAppendTime_is_answered_and_stored(connection: Wire, topic: str) -> None:
    create(connection, topic, message_timestamp_type="LogAppendTime")
    answer = connection.produce(topic, batch([RECORD], timestamp=1000))
    assert abs(answer.log_append_time - time.time() * 1000) < 60_000
    header = wire.batch_header(connection.fetch(topic, 0).records)
    assert header.max_timestamp == answer.log_append_time
    assert header.attributes & 0x08, "the batch does not say that its time is the broker's"


def test_an_unknown_partition_or_topic_is_named_as_such(connection: Wire, topic: str, unique: Any) -> None:
    create(connection, topic)
    assert connection.produce(topic, batch([RECORD]), partition=1).error == wire.UNKNOWN_TOPIC_OR_PARTITION
    assert connection.produce(unique("none"), batch([RECORD])).error == wire.UNKNOWN_TOPIC_OR_PARTITION
    assert connection.fetch(unique("none"), 0).error == wire.UNKNOWN_TOPIC_OR_PARTITION


def test_acks_of_another_number_are_refused(connection: Wire, topic: str) -> None:
    create(connection, topic)
    assert connection.produce(topic, batch([RECORD]), acks=2).error == 21  # INVALID_REQUIRED_ACKS


def test_acks_0_is_never_answered(connection: Wire, topic: str) -> None:
    create(connection, topic)
    connection.send(wire.produce_request(topic, 0, batch([RECORD]), acks=0, correlation=1))
    connection.send(wire.api_versions_request(0, correlation=2))
    assert wire.Reader(connection.read_frame()).i32() == 2
    assert connection.fetch(topic, 0).high_watermark == 1


# Idempotent producers.


def producer_id(connection: Wire) -> int:
    answer = protocol.call(
        connection, 22, 4, transactional_id=None, transaction_timeout_ms=1000, producer_id=-1, producer_epoch=-1
    )
    assert answer.error_code == wire.NONE
    return answer.producer_id


def sequenced(producer: int, sequence: int, count: int = 1, epoch: int = 0) -> bytes:
    return batch([RECORD] * count, producer_id=producer, producer_epoch=epoch, base_sequence=sequence)


def test_a_batch_sent_again_is_answered_with_its_first_offset(connection: Wire, topic: str) -> None:
    create(connection, topic)
    producer = producer_id(connection)
    offsets = [connection.produce(topic, sequenced(producer, number * 2, 2)).base_offset for number in range(5)]
    assert offsets == [0, 2, 4, 6, 8]
    # The last five batches of a producer are remembered.
    for number in range(5):
        again = connection.produce(topic, sequenced(producer, number * 2, 2))
        assert (again.error, again.base_offset) == (wire.NONE, number * 2)
    assert connection.fetch(topic, 0).high_watermark == 10


def test_a_gap_in_the_sequence_is_refused(connection: Wire, topic: str) -> None:
    create(connection, topic)
    producer = producer_id(connection)
    assert connection.produce(topic, sequenced(producer, 0)).error == wire.NONE
    assert connection.produce(topic, sequenced(producer, 2)).error == wire.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert connection.produce(topic, sequenced(producer, 1)).error == wire.NONE


def test_an_older_epoch_is_fenced_and_a_newer_one_begins_at_0(connection: Wire, topic: str) -> None:
    create(connection, topic)
    producer = producer_id(connection)
    assert connection.produce(topic, sequenced(producer, 0)).error == wire.NONE
    assert connection.produce(topic, sequenced(producer, 0, epoch=1)).error == wire.NONE
    assert connection.produce(topic, sequenced(producer, 1, epoch=0)).error == INVALID_PRODUCER_EPOCH
    assert connection.produce(topic, sequenced(producer, 5, epoch=2)).error == wire.OUT_OF_ORDER_SEQUENCE_NUMBER


def test_the_sequence_of_a_producer_wraps(connection: Wire, topic: str) -> None:
    create(connection, topic)
    producer = producer_id(connection)
    # Nothing is known of this producer yet, so that it may begin anywhere.
    start = connection.produce(topic, sequenced(producer, 2**31 - 1))
    if start.error == wire.OUT_OF_ORDER_SEQUENCE_NUMBER:
        pytest.skip("a new producer must begin at 0")
    assert start.error == wire.NONE
    assert connection.produce(topic, sequenced(producer, 0)).error == wire.NONE


def test_sequences_survive_a_restart(start_broker: Any, topic: str) -> None:
    own = start_broker()
    with Wire(own.address) as connection:
        create(connection, topic)
        producer = producer_id(connection)
        assert connection.produce(topic, sequenced(producer, 0, 3)).base_offset == 0
    own.kill()
    own.start()
    with Wire(own.address) as connection:
        assert connection.produce(topic, sequenced(producer, 0, 3)).base_offset == 0, "the duplicate was not known"
        assert connection.produce(topic, sequenced(producer, 4)).error == wire.OUT_OF_ORDER_SEQUENCE_NUMBER
        assert connection.produce(topic, sequenced(producer, 3)).base_offset == 3
        assert producer_id(connection) != producer


# Fetch.


def test_a_long_poll_is_answered_when_records_arrive(broker: Broker, connection: Wire, topic: str) -> None:
    create(connection, topic)
    connection.send(wire.fetch_request(topic, 0, 0, max_wait_ms=20_000))
    with Wire(broker.address) as other:
        assert other.produce(topic, batch([RECORD])).error == wire.NONE
    started = time.monotonic()
    fetched = wire.fetch_response(connection.read_frame())
    assert fetched is not None and fetched.high_watermark == 1 and fetched.records
    assert time.monotonic() - started < 10


def test_a_long_poll_waits_for_min_bytes(broker: Broker, connection: Wire, topic: str) -> None:
    create(connection, topic)
    piece = batch([Record(b"x" * 1000)])
    connection.send(wire.fetch_request(topic, 0, 0, max_wait_ms=20_000, min_bytes=3 * len(piece)))
    with Wire(broker.address) as other:
        for _ in range(3):
            assert other.produce(topic, piece).error == wire.NONE
    fetched = wire.fetch_response(connection.read_frame())
    assert fetched is not None and len(fetched.records) == 3 * len(piece)


def test_a_long_poll_without_records_ends_empty_after_max_wait(connection: Wire, topic: str) -> None:
    create(connection, topic)
    started = time.monotonic()
    fetched = connection.fetch(topic, 0, max_wait_ms=200)
    assert time.monotonic() - started >= 0.19
    assert (fetched.error, fetched.high_watermark, fetched.records) == (wire.NONE, 0, b"")


def test_deleting_a_topic_ends_its_long_polls(broker: Broker, connection: Wire, topic: str) -> None:
    create(connection, topic)
    connection.send(wire.fetch_request(topic, 0, 0, max_wait_ms=30_000))
    with Wire(broker.address) as other:
        protocol.delete(other, topic)
    started = time.monotonic()
    fetched = wire.fetch_response(connection.read_frame())
    assert time.monotonic() - started < 15
    assert fetched is not None and fetched.error == wire.UNKNOWN_TOPIC_OR_PARTITION


def test_the_first_batch_is_served_even_above_the_limits(connection: Wire, topic: str) -> None:
    """KIP-74: a consumer with a small limit must still get on."""
    create(connection, topic)
    big = batch([Record(b"x" * 100_000)])
    connection.produce(topic, big)
    connection.produce(topic, batch([RECORD]))
    fetched = connection.fetch(topic, 0, partition_max_bytes=1000, max_bytes=1000)
    assert wire.batch_header(fetched.records).size == len(big) <= len(fetched.records)


def test_max_bytes_holds_over_all_partitions(connection: Wire, topic: str) -> None:
    create(connection, topic, partitions=8)
    piece = batch([Record(b"x" * 50_000)])
    for partition in range(8):
        assert connection.produce(topic, piece, partition=partition).error == wire.NONE
    answer = protocol.call(
        connection, 1, 11, replica_id=-1, max_wait_ms=100, min_bytes=1, max_bytes=2 * len(piece) + 100,
        isolation_level=0, session_id=0, session_epoch=-1, forgotten_topics_data=[], rack_id="",
        topics=[{
            "topic": topic,
            "partitions": [{
                "partition": partition, "current_leader_epoch": -1, "fetch_offset": 0, "log_start_offset": -1,
                "partition_max_bytes": 1 << 20,
            } for partition in range(8)],
        }],
    )
    partitions = answer.responses[0].partitions
    assert [partition.error_code for partition in partitions] == [wire.NONE] * 8
    served = sum(len(partition.records or b"") for partition in partitions)
    assert len(piece) <= served <= 3 * len(piece)


def test_a_fetch_reads_over_the_border_of_segments(connection: Wire, topic: str) -> None:
    create(connection, topic, segment_bytes="20000")
    for number in range(60):
        assert connection.produce(topic, batch([Record(b"%03d" % number * 1000)])).base_offset == number
    offset, seen = 0, []
    while offset < 60:
        records = connection.fetch(topic, offset).records
        at = 0
        while at + 61 <= len(records):
            header = wire.batch_header(records, at)
            if at + header.size > len(records):
                break
            seen.append(header.base_offset)
            offset = header.last_offset + 1
            at += header.size
        assert at > 0, f"no whole batch at offset {offset}"
    assert seen == list(range(60))


def test_every_offset_inside_large_batches_can_be_fetched(connection: Wire, topic: str) -> None:
    create(connection, topic)
    for _ in range(5):
        connection.produce(topic, batch([Record(b"x" * 200)] * 100))
    for offset in range(0, 500, 7):
        header = wire.batch_header(connection.fetch(topic, offset).records)
        assert header.base_offset <= offset <= header.last_offset


def test_long_polls_of_clients_that_went_away_cost_nothing(broker: Broker, topic: str) -> None:
    with Wire(broker.address) as connection:
        create(connection, topic)
        for _ in range(200):
            with Wire(broker.address) as waiting:
                waiting.send(wire.fetch_request(topic, 0, 0, max_wait_ms=60_000))
        started = time.monotonic()
        assert connection.produce(topic, batch([RECORD])).error == wire.NONE
        assert time.monotonic() - started < 5


def test_many_connections_produce_to_one_partition_at_once(broker: Broker, connection: Wire, topic: str) -> None:
    create(connection, topic)
    offsets: list[int] = []
    lock = threading.Lock()

    def work() -> None:
        with Wire(broker.address) as own:
            mine = [own.produce(topic, batch([RECORD])).base_offset for _ in range(50)]
        assert mine == sorted(mine)
        with lock:
            offsets.extend(mine)

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(offsets) == list(range(800))
