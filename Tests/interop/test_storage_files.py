# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: the files that the broker writes.
"""Log files read by kafka-python's record classes; damage done to them between two starts."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any, Callable, Optional

import pytest
from confluent_kafka import Producer
from kafka import KafkaProducer
from kafka.record import MemoryRecords

import protocol
import segments
import wire
from broker import Broker, Endpoint, wait_until
from grpc_client import Client
from protocol import create
from rdkafka import Reports, flush
from wire import Record, Wire, batch

CODECS = {None: 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}


@pytest.mark.parametrize("compression", CODECS)
def test_an_independent_reader_finds_what_was_produced(
    broker: Broker, plaintext: Endpoint, topic: str, compression: Optional[str]
) -> None:
    producer = KafkaProducer(**plaintext.kafka_python(compression_type=compression, linger_ms=20, acks="all"))
    sent = []
    for number in range(300):
        entry = (b"key %d" % number, b"value " * 50, [("n", b"%d" % number)], 1_700_000_000_000 + number)
        producer.send(topic, entry[1], key=entry[0], headers=entry[2], timestamp_ms=entry[3], partition=0)
        sent.append(entry)
    producer.flush(20)
    producer.close(10)
    stored = list(segments.records(broker.data, topic))
    assert [record.offset for record in stored] == list(range(300))
    assert [(record.key, record.value, list(record.headers), record.timestamp) for record in stored] == sent
    codecs = {header.attributes & 7 for _, header, _ in segments.segments(broker.data, topic)[0].batches()}
    assert codecs == {CODECS[compression]}, "batches are not stored as they came"


def test_batches_are_stored_as_they_came_apart_from_offset_and_epoch(broker: Broker, topic: str) -> None:
    data = batch([Record(b"a", b"k", [("h", None)]), Record(None)], timestamp=77)
    with Wire(broker.address) as connection:
        create(connection, topic)
        for _ in range(3):
            connection.produce(topic, data)
        fetched = connection.fetch(topic, 0).records
    log = segments.segments(broker.data, topic)[0].log.read_bytes()
    assert log == fetched
    size = len(data)
    for number in range(3):
        stored = log[number * size : (number + 1) * size]
        assert stored[8:12] == data[8:12] and stored[16:] == data[16:]
        assert int.from_bytes(stored[:8], "big") == number * 2


def test_what_grpc_published_is_stored_in_the_same_format(broker: Broker, mtls: Endpoint, api: Any, topic: str) -> None:
    client = Client(mtls, api)
    client.publish(topic, b"a", b"b", key=b"k", headers=[api.Header(key="h", value=b"1"), api.Header(key="n")])
    client.channel.close()
    stored = [(record.key, record.value, list(record.headers)) for record in segments.records(broker.data, topic)]
    assert stored == [(b"k", value, [("h", b"1"), ("n", None)]) for value in (b"a", b"b")]


def fill(own: Broker, topic: str, count: int = 400, **configs: str) -> list[bytes]:
    """Records of about 500 bytes over several segments."""
    values = [b"%d " % number + b"x" * 500 for number in range(count)]
    with Wire(own.address) as connection:
        create(connection, topic, **configs)
        for first in range(0, count, 4):
            items = [
                Record(value, timestamp_delta=first + number) for number, value in enumerate(values[first : first + 4])
            ]
            assert connection.produce(topic, batch(items, timestamp=1_700_000_000_000)).error == wire.NONE
    return values


def read_all(own: Broker, topic: str, start: int = 0, end: Optional[int] = None) -> dict[int, bytes]:
    """Every record from `start` to the end of the log, by way of Fetch."""
    found: dict[int, bytes] = {}
    offset = start
    with Wire(own.address) as connection:
        while True:
            if end is not None and offset >= end:
                return found
            fetched = connection.fetch(topic, offset, max_wait_ms=0)
            assert fetched.error == wire.NONE, f"offset {offset}: error {fetched.error}"
            if end is None and offset >= fetched.high_watermark:
                return found
            advanced = offset
            for parsed in MemoryRecords(fetched.records):
                for record in parsed:
                    if record.offset >= offset:
                        found[record.offset] = record.value
                        advanced = record.offset + 1
            assert advanced > offset, f"no records at offset {offset} below {fetched.high_watermark}"
            offset = advanced


def test_segments_roll_by_size_and_their_indexes_point_into_them(fresh_broker: Broker, topic: str) -> None:
    values = fill(fresh_broker, topic, segment_bytes="30000", index_interval_bytes="2000")
    assert fresh_broker.stop() == 0
    parts = segments.segments(fresh_broker.data, topic)
    assert len(parts) >= 5
    assert all(part.log.stat().st_size <= 30000 for part in parts)
    assert [record.value for record in segments.records(fresh_broker.data, topic)] == values
    counts = [segments.check_indexes(part) for part in parts]
    assert sum(offsets for offsets, _ in counts) > len(parts), f"the offset indexes are nearly empty: {counts}"
    assert all(times >= 1 for _, times in counts[:-1]), f"a closed segment has no time index: {counts}"


def test_the_default_index_interval_gives_sparse_indexes(fresh_broker: Broker, topic: str) -> None:
    fill(fresh_broker, topic, 800)
    assert fresh_broker.stop() == 0
    part = segments.segments(fresh_broker.data, topic)[0]
    offsets, times = segments.check_indexes(part)
    size = part.log.stat().st_size
    # One entry for each 4,096 bytes or so (index.interval.bytes).
    assert size / 4096 / 4 <= offsets <= size / 4096 * 2
    assert 1 <= times <= offsets + 1


@pytest.mark.parametrize("suffix", ["index", "timeindex"])
@pytest.mark.parametrize("damage", ["removed", "emptied", "random", "cut"])
def test_a_bad_index_is_rebuilt(fresh_broker: Broker, topic: str, suffix: str, damage: str) -> None:
    values = fill(fresh_broker, topic, segment_bytes="60000", index_interval_bytes="1000")
    fresh_broker.kill()
    noise = random.Random(7)
    for part in segments.segments(fresh_broker.data, topic):
        path: Path = getattr(part, suffix)
        content = path.read_bytes() if path.exists() else b""
        if damage == "removed":
            path.unlink(missing_ok=True)
        else:
            path.write_bytes({"emptied": b"", "random": noise.randbytes(len(content)), "cut": content[:-5]}[damage])
    fresh_broker.start()
    assert list(read_all(fresh_broker, topic).values()) == values
    with Wire(fresh_broker.address) as connection:
        for number in (0, 1, 57, 200, 399):
            answer = protocol.call(
                connection, 2, 5, replica_id=-1, isolation_level=0,
                topics=[{"name": topic, "partitions": [{
                    "partition_index": 0, "current_leader_epoch": -1, "timestamp": 1_700_000_000_000 + number}]}],
            )
            assert answer.topics[0].partitions[0].offset == number
    assert fresh_broker.stop() == 0
    for part in segments.segments(fresh_broker.data, topic):
        segments.check_indexes(part)


@pytest.mark.parametrize("cut", [1, 30, 61, 400])
def test_a_torn_tail_is_cut_and_the_log_goes_on_there(fresh_broker: Broker, topic: str, cut: int) -> None:
    values = fill(fresh_broker, topic, 40)
    fresh_broker.kill()
    log = segments.segments(fresh_broker.data, topic)[-1].log
    os.truncate(log, log.stat().st_size - cut)
    position = fresh_broker.log_size()
    fresh_broker.start()
    assert list(read_all(fresh_broker, topic).values()) == values[:36]
    fresh_broker.wait_log(rf"{topic}", since=position)
    with Wire(fresh_broker.address) as connection:
        assert connection.produce(topic, batch([Record(b"next")])).base_offset == 36


def test_garbage_after_the_last_batch_is_cut(fresh_broker: Broker, topic: str) -> None:
    values = fill(fresh_broker, topic, 40)
    fresh_broker.kill()
    with open(segments.segments(fresh_broker.data, topic)[-1].log, "ab") as log:
        log.write(random.Random(3).randbytes(5000))
    fresh_broker.start()
    assert list(read_all(fresh_broker, topic).values()) == values


def test_damage_in_the_middle_is_reported_by_offset_and_the_rest_is_served(fresh_broker: Broker, topic: str) -> None:
    """Quarantined by offset range: an error where the damage is, never a silent gap, and all else readable."""
    values = fill(fresh_broker, topic, 400, segment_bytes="60000")
    fresh_broker.kill()
    parts = segments.segments(fresh_broker.data, topic)
    victim = parts[1]
    batches = list(victim.batches())
    position, header, _ = batches[len(batches) // 2]
    with open(victim.log, "r+b") as log:
        log.seek(position + 100)
        log.write(b"DAMAGED!")
    fresh_broker.start()
    before = read_all(fresh_broker, topic, 0, header.base_offset)
    assert [before[offset] for offset in range(header.base_offset)] == values[: header.base_offset]
    after = read_all(fresh_broker, topic, header.last_offset + 1)
    assert [after[offset] for offset in sorted(after)] == values[header.last_offset + 1 :]
    with Wire(fresh_broker.address) as connection:
        fetched = connection.fetch(topic, header.base_offset, max_wait_ms=0)
        damaged_bytes_served = b"DAMAGED!" in fetched.records
        first = wire.batch_header(fetched.records).base_offset if fetched.records else None
        # Kafka itself would hand out the damaged bytes, whose CRC the client checks; an error is better.
        # What may not be is an answer that goes on behind the damage as if nothing had been there.
        assert fetched.error != wire.NONE or damaged_bytes_served or first is not None and first <= header.base_offset
        assert fetched.error != wire.NONE or not damaged_bytes_served, "damaged bytes were served as good"
    assert str(header.base_offset) in fresh_broker.log(), "the log does not name the damaged offsets"


def test_a_clean_start_after_sigterm_finds_everything(fresh_broker: Broker, topic: str) -> None:
    values = fill(fresh_broker, topic, segment_bytes="60000")
    assert fresh_broker.stop() == 0
    assert not fresh_broker.ready_file.exists(), "the ready file outlived the broker"
    fresh_broker.start()
    assert list(read_all(fresh_broker, topic).values()) == values


def test_retention_by_size_deletes_whole_segments_from_the_front(
    start_broker: Callable[..., Broker], topic: str
) -> None:
    own = start_broker(arguments=["--log-retention-check-interval-ms", "100"])
    values = fill(own, topic, 400, segment_bytes="20000", retention_bytes="60000", retention_ms="-1")

    def start_offset() -> int:
        with Wire(own.address) as connection:
            return connection.fetch(topic, 399).log_start_offset

    first = wait_until(start_offset, "retention to delete segments")

    def are_files_gone() -> bool:
        try:
            return sum(part.log.stat().st_size for part in segments.segments(own.data, topic)) <= 80_000 + 20_000
        except FileNotFoundError:
            return False  # one of them went between the two looks

    wait_until(are_files_gone, "the files to be gone")
    first = start_offset()
    kept = read_all(own, topic, first)
    assert [kept[offset] for offset in sorted(kept)] == values[first:]
    with Wire(own.address) as connection:
        assert connection.fetch(topic, first - 1).error == wire.OFFSET_OUT_OF_RANGE
    own.kill()
    own.start()
    assert start_offset() >= first


def test_retention_by_time_deletes_what_is_old(start_broker: Callable[..., Broker], topic: str) -> None:
    own = start_broker(arguments=["--log-retention-check-interval-ms", "100"])
    # The records' timestamps lie in 2023, so that everything but the active segment is too old.
    fill(own, topic, 200, segment_bytes="20000", retention_ms="3600000")

    def gone() -> bool:
        with Wire(own.address) as connection:
            return connection.fetch(topic, 200, max_wait_ms=0).log_start_offset > 100

    wait_until(gone, "old segments to be deleted")


def test_the_files_of_a_deleted_topic_disappear(broker: Broker, topic: str) -> None:
    with Wire(broker.address) as connection:
        create(connection, topic)
        connection.produce(topic, batch([Record(b"x")]))
        assert segments.segments(broker.data, topic)
        protocol.delete(connection, topic)
    wait_until(lambda: not [path for path in broker.data.iterdir() if topic in path.name], "the files to be deleted")


def test_an_ephemeral_broker_leaves_nothing_behind(start_broker: Callable[..., Broker], topic: str) -> None:
    own = start_broker(ephemeral=True)
    reports = Reports()
    producer = Producer(Endpoint(own, False).librdkafka())
    for number in range(100):
        producer.produce(topic, b"%d" % number, on_delivery=reports)
    flush(producer)
    assert not reports.errors and own.ready["durability"] == "memory"
    assert own.stop() == 0
    left = {path.name for path in own.directory.iterdir()} - {"broker.log", "certs"}
    assert not left, left


def memory_files(own: Broker, topic: str) -> list[str]:
    """The broker's files of this topic, which a broker without a disk has as anonymous ones."""
    assert own.process is not None
    folder = Path(f"/proc/{own.process.pid}/fd")
    found = []
    for descriptor in folder.iterdir():
        try:
            target = os.readlink(descriptor)
        except FileNotFoundError:
            continue  # closed between the two looks
        if f"/memfd:{topic}-0" in target and ".log" in target:
            found.append(target)
    return found


def test_an_ephemeral_broker_gives_back_the_memory_of_what_it_deletes(start_broker: Callable[..., Broker], topic: str) -> None:
    own = start_broker(arguments=["--log-retention-check-interval-ms", "100"], ephemeral=True)
    fill(own, topic, 400, segment_bytes="20000", retention_bytes="50000")
    wait_until(lambda: 1 <= len(memory_files(own, topic)) <= 5, "the segments that retention dropped to be closed")
    with Wire(own.address) as connection:
        protocol.delete(connection, topic)
    wait_until(lambda: not memory_files(own, topic), "the files of the deleted topic to be closed")
