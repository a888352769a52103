# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: what tests with librdkafka share.
"""Producers with delivery reports, consumers that read an exact number of records; every wait has a deadline."""

from __future__ import annotations

import time
from typing import Any, Optional

from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from broker import Endpoint


class Reports:
    """Delivery reports of a producer: what was acked where, and what failed."""

    def __init__(self) -> None:
        self.acked: list[tuple[int, int, Optional[bytes]]] = []
        self.errors: list[KafkaError] = []

    def __call__(self, error: Optional[KafkaError], message: Message) -> None:
        if error is not None:
            self.errors.append(error)
        else:
            self.acked.append((message.partition(), message.offset(), message.value()))


def flush(producer: Producer, seconds: float = 30) -> None:
    assert producer.flush(seconds) == 0, "records are still undelivered"


def produce_all(endpoint: Endpoint, topic: str, values: list[bytes], **settings: Any) -> Reports:
    reports = Reports()
    producer = Producer(endpoint.librdkafka(**settings))
    for value in values:
        producer.produce(topic, value, on_delivery=reports)
        producer.poll(0)
    flush(producer)
    return reports


def take(consumer: Consumer, count: int, seconds: float = 30) -> list[Message]:
    """Exactly `count` messages, or a failure."""
    messages: list[Message] = []
    deadline = time.monotonic() + seconds
    while len(messages) < count:
        assert time.monotonic() < deadline, f"{len(messages)} of {count} messages within {seconds} s"
        for message in consumer.consume(min(500, count - len(messages)), 0.2):
            assert message.error() is None, message.error()
            messages.append(message)
    return messages


def reader(endpoint: Endpoint, group: str, *topics: str, **settings: Any) -> Consumer:
    settings = {"auto_offset_reset": "earliest", "enable_auto_commit": False, **settings}
    consumer = Consumer(endpoint.librdkafka(group_id=group, **settings))
    consumer.subscribe(list(topics))
    return consumer


def read_topic(endpoint: Endpoint, topic: str, count: int, group: str = "reads-without-group") -> list[Message]:
    """`count` messages of partition 0 from its start, without joining a group."""
    consumer = Consumer(endpoint.librdkafka(group_id=group, enable_auto_commit=False))
    consumer.assign([TopicPartition(topic, 0, 0)])
    try:
        return take(consumer, count)
    finally:
        consumer.close()


def wait_created(admin: AdminClient, *topics: NewTopic) -> None:
    for name, future in admin.create_topics(list(topics)).items():
        assert future.result(20) is None, name
