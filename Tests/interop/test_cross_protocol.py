# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: one log, two protocols.
"""What Kafka clients wrote, gRPC subscribers read, and the other way round; offsets of groups are shared."""

from __future__ import annotations

from typing import Any, Callable, Iterator, Optional

import grpc
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from kafka import KafkaProducer

from broker import Broker, Endpoint
from grpc_client import CALL_SECONDS, Client, status_of
from rdkafka import Reports, flush, read_topic, reader, take

COMPRESSIONS = ["none", "gzip", "snappy", "lz4", "zstd"]


@pytest.fixture
def client(endpoint: Endpoint, api: Any) -> Iterator[Client]:
    opened = Client(endpoint, api)
    yield opened
    opened.channel.close()


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_grpc_subscriber_reads_what_librdkafka_compressed(
    endpoint: Endpoint, client: Client, topic: str, compression: str
) -> None:
    producer = Producer(endpoint.librdkafka(compression_type=compression, linger_ms=20))
    for number in range(500):
        producer.produce(
            topic, b"value %d " % number + b"abcdefgh" * 20, key=b"key %d" % number,
            headers=[("n", b"%d" % number), ("null", None)], timestamp=1_700_000_000_000 + number,
        )
    flush(producer)
    records = client.records(topic)
    assert [record.offset for record in records] == list(range(500))
    for number, record in enumerate(records):
        assert record.key == b"key %d" % number
        assert record.value == b"value %d " % number + b"abcdefgh" * 20
        assert record.timestamp_ms == 1_700_000_000_000 + number
        assert [header.key for header in record.headers] == ["n", "null"]
        assert record.headers[0].value == b"%d" % number and not record.headers[1].HasField("value")


@pytest.mark.parametrize("compression", [None, "gzip", "snappy", "lz4", "zstd"])
def test_a_grpc_subscriber_reads_what_kafka_python_compressed(
    endpoint: Endpoint, client: Client, topic: str, compression: Optional[str]
) -> None:
    """Another implementation of the codecs: framed lz4 and xerial snappy differ between clients."""
    producer = KafkaProducer(**endpoint.kafka_python(compression_type=compression, linger_ms=20))
    values = [b"value %d " % number + b"abcdefgh" * 200 for number in range(300)]
    for value in values:
        producer.send(topic, value)
    producer.flush(20)
    producer.close(10)
    assert [record.value for record in client.records(topic)] == values


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_grpc_subscriber_may_start_in_the_middle_of_a_compressed_batch(
    plaintext: Endpoint, client: Client, topic: str, compression: str
) -> None:
    producer = Producer(plaintext.librdkafka(compression_type=compression, linger_ms=200))
    for number in range(100):
        producer.produce(topic, b"%d" % number)
    flush(producer)
    for offset in (1, 37, 99):
        assert [record.offset for record in client.records(topic, offset=offset)] == list(range(offset, 100))


def test_large_compressed_batches_are_delivered_whole(endpoint: Endpoint, client: Client, topic: str) -> None:
    """Megabytes that compress to kilobytes are delivered in messages a client accepts (4 MiB)."""
    producer = Producer(
        endpoint.librdkafka(
            compression_type="zstd", linger_ms=200, batch_num_messages=10_000, batch_size=50_000_000,
            message_max_bytes=100_000_000,
        )
    )
    for number in range(5000):
        producer.produce(topic, b"%d " % number + b"z" * 10_000)
    flush(producer)
    numbers = [int(record.value.split(b" ")[0]) for record in client.records(topic)]
    assert numbers == list(range(5000))


def test_kafka_clients_read_what_was_published(endpoint: Endpoint, client: Client, topic: str) -> None:
    api = client.api
    headers = [api.Header(key="a", value=b"1"), api.Header(key="null")]
    client.publish(topic, b"v", key=b"k", headers=headers, timestamp_ms=1_600_000_000_123)
    client.publish(topic, None, key=b"tombstone")
    client.publish(topic, *[b"%d" % number for number in range(100)])
    messages = read_topic(endpoint, topic, 102)
    assert (messages[0].key(), messages[0].value()) == (b"k", b"v")
    assert messages[0].headers() == [("a", b"1"), ("null", None)]
    assert messages[0].timestamp()[1] == 1_600_000_000_123
    assert (messages[1].key(), messages[1].value()) == (b"tombstone", None)
    assert [message.value() for message in messages[2:]] == [b"%d" % number for number in range(100)]
    assert [message.offset() for message in messages] == list(range(102))


def test_both_protocols_write_one_order(endpoint: Endpoint, client: Client, topic: str) -> None:
    producer = Producer(endpoint.librdkafka(linger_ms=0))
    reports = Reports()
    expected = []
    for number in range(60):
        value = b"%d" % number
        expected.append(value)
        if number % 2:
            assert client.publish(topic, value).batches[0].base_offset == number
        else:
            producer.produce(topic, value, on_delivery=reports)
            flush(producer)
    assert not reports.errors
    assert [record.value for record in client.records(topic)] == expected
    assert [message.value() for message in read_topic(endpoint, topic, 60)] == expected


def test_a_kafka_groups_commits_are_where_a_subscription_goes_on(
    endpoint: Endpoint, client: Client, topic: str, group: str
) -> None:
    client.publish(topic, *[b"%d" % number for number in range(20)])
    consumer = reader(endpoint, group, topic)
    take(consumer, 20)
    consumer.commit(offsets=[TopicPartition(topic, 0, 15)], asynchronous=False)
    consumer.close()
    answer = client.streams.Committed(client.api.CommittedRequest(group=group), timeout=CALL_SECONDS)
    assert [(entry.topic, entry.partition, entry.offset) for entry in answer.offsets] == [(topic, 0, 15)]
    assert [record.offset for record in client.records(topic, group=group)] == list(range(15, 20))


def test_a_commit_over_grpc_is_where_a_kafka_consumer_goes_on(
    endpoint: Endpoint, client: Client, topic: str, group: str
) -> None:
    api = client.api
    client.publish(topic, *[b"%d" % number for number in range(20)])
    offsets = [api.PartitionOffset(topic=topic, partition=0, offset=12, metadata="by grpc")]
    client.streams.Commit(api.CommitRequest(group=group, offsets=offsets), timeout=CALL_SECONDS)
    consumer = reader(endpoint, group, topic)
    committed = consumer.committed([TopicPartition(topic, 0)], timeout=20)[0]
    assert (committed.offset, committed.metadata) == (12, "by grpc")
    assert [message.offset() for message in take(consumer, 8)] == list(range(12, 20))
    consumer.close()


def test_a_group_with_active_members_takes_no_commits_from_outside(
    endpoint: Endpoint, client: Client, topic: str, group: str
) -> None:
    api = client.api
    client.publish(topic, b"x", b"y")
    consumer = reader(endpoint, group, topic)
    take(consumer, 2)
    request = api.CommitRequest(group=group, offsets=[api.PartitionOffset(topic=topic, partition=0, offset=1)])
    code, _ = status_of(lambda: client.streams.Commit(request, timeout=CALL_SECONDS))
    assert code == grpc.StatusCode.FAILED_PRECONDITION
    consumer.close()
    client.streams.Commit(request, timeout=CALL_SECONDS)


def test_offsets_and_topics_survive_a_restart_for_both_protocols(
    start_broker: Callable[..., Broker], api: Any, topic: str, group: str
) -> None:
    own = start_broker(stable=True)
    endpoint = Endpoint(own, True)
    client = Client(endpoint, api)
    made = client.create(topic, 2, retention_ms="99999999").topic
    client.publish(topic, b"a", b"b", b"c", partition=1)
    offsets = [api.PartitionOffset(topic=topic, partition=1, offset=2, metadata="kept")]
    client.streams.Commit(api.CommitRequest(group=group, offsets=offsets), timeout=CALL_SECONDS)
    client.channel.close()
    for end in (own.stop, own.kill):
        end()
        own.start()
        client = Client(endpoint, api)
        described = client.admin.DescribeTopic(api.DescribeTopicRequest(name=topic), timeout=CALL_SECONDS)
        assert described.topic == made
        assert {"retention.ms": "99999999"}.items() <= {
            entry.name: entry.value for entry in described.configs if entry.is_override
        }.items()
        answer = client.streams.Committed(api.CommittedRequest(group=group), timeout=CALL_SECONDS)
        assert [(entry.partition, entry.offset, entry.metadata) for entry in answer.offsets] == [(1, 2, "kept")]
        consumer = Consumer(endpoint.librdkafka(group_id=group, enable_auto_commit=False))
        consumer.assign([TopicPartition(topic, 1)])
        assert [message.value() for message in take(consumer, 1)] == [b"c"]
        consumer.close()
        client.channel.close()
