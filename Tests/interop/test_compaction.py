# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: compacted topics.
"""Real clients on compacted topics: the newest value of every key is there at its offset, whatever happens to the broker."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Optional

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from broker import Broker, Endpoint, wait_until

CONFIG = {
    "cleanup.policy": "compact", "segment.bytes": "2000", "min.cleanable.dirty.ratio": "0.01", "delete.retention.ms": "0",
}


@pytest.fixture
def cleaner(start_broker: Callable[..., Broker]) -> Broker:
    return start_broker("cleaner", arguments=["--log-cleaner-backoff-ms", "50"])


def create(endpoint: Endpoint, topic: str, **config: str) -> None:
    new = NewTopic(topic, 1, 1, config={**CONFIG, **config})
    # Kept by name: with the client its answers go.
    admin = AdminClient(endpoint.librdkafka())
    admin.create_topics([new])[topic].result(20)


def write(endpoint: Endpoint, topic: str, records: list[tuple[Optional[str], Optional[str]]], **config: Any) -> dict[str, tuple[int, Optional[str]]]:
    """Sends each record in a batch of its own; returns the newest offset and value of each key."""
    newest: dict[str, tuple[int, Optional[str]]] = {}
    producer = Producer(endpoint.librdkafka(**{"linger.ms": 0, "acks": "all", **config}))
    for key, value in records:
        acked: list[Any] = []
        producer.produce(topic, key=key, value=value, on_delivery=lambda error, message: acked.append((error, message)))
        producer.flush(20)
        error, message = acked[0]
        if error is not None:
            raise KafkaException(error)
        if key is not None:
            newest[key] = (message.offset(), value)
    return newest


def read(endpoint: Endpoint, topic: str) -> list[tuple[int, str, Optional[str]]]:
    consumer = Consumer(endpoint.librdkafka(**{"group.id": f"{topic}-readers", "enable.partition.eof": True}))
    consumer.assign([TopicPartition(topic, 0, 0)])
    found = []
    try:
        while True:
            message = consumer.poll(20)
            assert message is not None, "the end of the topic was not reached"
            if message.error():
                assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
                return found
            value = message.value()
            found.append((message.offset(), message.key().decode(), None if value is None else value.decode()))
    finally:
        consumer.close()


def test_consumers_see_the_newest_value_of_every_key_at_its_offset(cleaner: Broker, topic: str) -> None:
    endpoint = Endpoint(cleaner, tls=False)
    create(endpoint, topic)
    newest = write(endpoint, topic, [(f"k{n % 5}", f"{n}-{'x' * 100}") for n in range(100)])
    cleaner.wait_log("compacted a log")
    wait_until(lambda: len(read(endpoint, topic)) < 40, "old values to go")
    found = read(endpoint, topic)
    assert [offset for offset, _, _ in found] == sorted({offset for offset, _, _ in found})
    for key, (offset, value) in newest.items():
        assert (offset, key, value) in found


def test_a_tombstone_takes_its_key_out(cleaner: Broker, topic: str) -> None:
    endpoint = Endpoint(cleaner, tls=False)
    create(endpoint, topic)
    filling = [(f"f{n}", "x" * 100) for n in range(60)]
    write(endpoint, topic, [("gone", "value"), ("gone", None)] + filling)
    wait_until(lambda: all(key != "gone" or value is None for _, key, value in read(endpoint, topic)), "the value to go")
    # The tombstone goes with a later cleaning.
    write(endpoint, topic, filling)
    wait_until(lambda: all(key != "gone" for _, key, _ in read(endpoint, topic)), "the tombstone to go")


def test_a_record_without_a_key_is_refused(cleaner: Broker, topic: str) -> None:
    endpoint = Endpoint(cleaner, tls=False)
    create(endpoint, topic)
    with pytest.raises(KafkaException) as refusal:
        write(endpoint, topic, [(None, "value")])
    assert refusal.value.args[0].code() == KafkaError.INVALID_RECORD
    write(endpoint, topic, [("k", "v")])
    assert read(endpoint, topic) == [(0, "k", "v")]


def test_what_is_newest_outlives_kill_9_while_it_cleans(cleaner: Broker, topic: str) -> None:
    endpoint = Endpoint(cleaner, tls=False)
    create(endpoint, topic)
    newest: dict[str, tuple[int, Optional[str]]] = {}
    for life in range(5):
        newest |= write(endpoint, topic, [(f"k{n % 7}", f"{life}-{n}-{'x' * 150}") for n in range(60)])
        if life == 2:
            cleaner.stop()
        else:
            cleaner.kill()
        cleaner.start()
        endpoint = Endpoint(cleaner, tls=False)
        found = read(endpoint, topic)
        assert [offset for offset, _, _ in found] == sorted({offset for offset, _, _ in found})
        for key, (offset, value) in newest.items():
            assert (offset, key, value) in found, f"life {life}"
    assert "damage in a log" not in cleaner.log()


@pytest.mark.parametrize("codec, number", [("uncompressed", 0), ("gzip", 1), ("snappy", 2), ("lz4", 3), ("zstd", 4)])
def test_a_topic_stores_batches_in_its_own_codec(cleaner: Broker, topic: str, codec: str, number: int) -> None:
    import wire

    endpoint = Endpoint(cleaner, tls=False)
    create(endpoint, topic, **{"compression.type": codec, "cleanup.policy": "delete"})
    sent = "zstd" if codec != "zstd" else "gzip"
    write(endpoint, topic, [("k", "v" * 500)], **{"compression.type": sent})
    assert read(endpoint, topic) == [(0, "k", "v" * 500)]
    files = sorted(Path(cleaner.data).glob(f"{topic}-0/*.log"))
    assert wire.batch_header(files[0].read_bytes()).attributes & 7 == number
