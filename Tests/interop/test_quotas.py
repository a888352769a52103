# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: quotas that clients set, and feel.
"""Rates are measured by unit tests, by the broker's clock. Here real clients are told throttle times, see them in their own
callbacks, and are served in the end."""

from __future__ import annotations

import base64
import urllib.request
from typing import Any, Callable

import grpc
import pytest
from confluent_kafka import Consumer, Producer

import protocol
from broker import Broker, Endpoint, wait_until
from grpc_client import Client, status_of
from test_sasl import PASSWORD, set_password
from wire import NONE, Record, Wire, batch, fetch_request, produce_request

DESCRIBE, ALTER, INVALID_REQUEST = 48, 49, 42


def alter(own: Broker, entity: dict[str, str | None], **limits: float | None) -> int:
    """The error code of a change; a limit that is None is removed. No Python client has a function for it."""
    with Wire(own.address) as wire:
        answer = protocol.call(
            wire, ALTER, 1, validate_only=False,
            entries=[{
                "entity": [{"entity_type": kind, "entity_name": name} for kind, name in entity.items()],
                "ops": [{"key": key, "value": value or 0.0, "remove": value is None} for key, value in limits.items()],
            }],
        )  # fmt: skip
    return answer.entries[0].error_code


def describe(own: Broker) -> dict[tuple[tuple[str, str | None], ...], dict[str, float]]:
    with Wire(own.address) as wire:
        answer = protocol.call(wire, DESCRIBE, 1, components=[], strict=False)
    assert answer.error_code == NONE
    return {
        tuple((part.entity_type, part.entity_name) for part in entry.entity): {
            value.key: value.value for value in entry.values
        }
        for entry in answer.entries
    }


def throttles(own: Broker, quota: str) -> float:
    """How often a quota made somebody wait."""
    with urllib.request.urlopen(f"http://{own.address}/metrics", timeout=20) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith(f'martlet_quota_throttle_seconds_count{{quota="{quota}"}} '):
                return float(line.split()[1])
    raise AssertionError(f"no throttles of {quota} are shown")


def test_quotas_are_kept_over_a_restart(start_broker: Callable[..., Broker]) -> None:
    own = start_broker()
    assert alter(own, {"user": "alice", "client-id": None}, producer_byte_rate=1024.0, request_percentage=12.5) == NONE
    assert alter(own, {"ip": "127.0.0.9"}, connection_creation_rate=10.0) == NONE
    assert alter(own, {"user": None}, consumer_byte_rate=5.0) == NONE
    assert alter(own, {"user": None}, consumer_byte_rate=None) == NONE
    assert alter(own, {"user": "alice"}, connection_creation_rate=1.0) == INVALID_REQUEST
    expected = {
        (("user", "alice"), ("client-id", None)): {"producer_byte_rate": 1024.0, "request_percentage": 12.5},
        (("ip", "127.0.0.9"),): {"connection_creation_rate": 10.0},
    }
    assert describe(own) == expected
    own.kill()
    own.start()
    assert describe(own) == expected


def test_librdkafka_is_told_how_long_its_producer_is_throttled(fresh_broker: Broker, topic: str) -> None:
    assert alter(fresh_broker, {"client-id": "fast"}, producer_byte_rate=20_000.0) == NONE
    told: list[Any] = []
    delivered: list[Any] = []
    producer = Producer({
        "bootstrap.servers": fresh_broker.address, "client.id": "fast", "throttle_cb": told.append, "linger.ms": 0,
        "batch.num.messages": 1,
    })  # fmt: skip
    for _ in range(25):
        producer.produce(topic, b"v" * 10_000, on_delivery=lambda error, _: delivered.append(error))

    def throttled() -> bool:
        producer.poll(0.05)
        return any(event.throttle_time > 0 for event in told)

    wait_until(throttled, "the throttle callback", 30)
    assert all(event.throttle_time <= 11 for event in told)
    # Without the quota the rest goes through at once; nothing was lost or refused meanwhile.
    assert alter(fresh_broker, {"client-id": "fast"}, producer_byte_rate=None) == NONE
    assert producer.flush(30) == 0
    assert delivered == [None] * 25
    assert throttles(fresh_broker, "producer_byte_rate") >= 1


def test_a_muted_connection_is_not_answered_and_others_are(fresh_broker: Broker, topic: str) -> None:
    records = batch([Record(value=b"v" * 50_000)])
    with Wire(fresh_broker.address) as wire, Wire(fresh_broker.address) as other:
        protocol.create(wire, topic)
        assert alter(fresh_broker, {"client-id": "wire"}, producer_byte_rate=1000.0) == NONE
        answer = protocol.decode(0, 9, wire.call(produce_request(topic, 0, records, version=9, acks=-1)))
        assert answer.responses[0].partition_responses[0].error_code == NONE
        # 50 seconds' worth; no longer than is remembered.
        assert 10_000 <= answer.throttle_time_ms <= 11_000
        # It was muted when its answer was sent: what it asks now waits behind what others ask later.
        wire.send(protocol.encode(3, 9, topics=[], allow_auto_topic_creation=False,
                                  include_cluster_authorized_operations=False, include_topic_authorized_operations=False))
        assert describe(fresh_broker)
        assert protocol.call(other, 3, 9, topics=[], allow_auto_topic_creation=False,
                             include_cluster_authorized_operations=False, include_topic_authorized_operations=False)
        wire.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            wire.socket.recv(1)
        wire.socket.settimeout(30)
        assert wire.read_frame()


def test_librdkafka_consumes_everything_although_throttled(fresh_broker: Broker, topic: str, group: str) -> None:
    with Wire(fresh_broker.address) as wire:
        protocol.create(wire, topic)
        for number in range(12):
            records = batch([Record(value=b"%d" % number + b"v" * 20_000)])
            assert wire.produce(topic, records).error == NONE
    assert alter(fresh_broker, {"client-id": "slow"}, consumer_byte_rate=20_000.0) == NONE
    told: list[Any] = []
    consumer = Consumer({
        "bootstrap.servers": fresh_broker.address, "client.id": "slow", "group.id": group, "auto.offset.reset": "earliest",
        "throttle_cb": told.append,
    })  # fmt: skip
    consumer.subscribe([topic])
    seen: list[int] = []

    def all_there() -> bool:
        message = consumer.poll(0.1)
        if message is not None and message.error() is None:
            seen.append(message.offset())
        return len(seen) == 12

    wait_until(all_there, "all records", 50)
    consumer.close()
    assert seen == list(range(12))
    assert any(event.throttle_time > 0 for event in told)
    assert throttles(fresh_broker, "consumer_byte_rate") >= 1


def test_a_fetch_over_the_quota_is_empty_and_says_when_to_come_back(fresh_broker: Broker, topic: str) -> None:
    with Wire(fresh_broker.address) as wire:
        protocol.create(wire, topic)
        for _ in range(3):
            assert wire.produce(topic, batch([Record(value=b"v" * 6000)])).error == NONE
    assert alter(fresh_broker, {"client-id": "wire"}, consumer_byte_rate=1000.0) == NONE
    with Wire(fresh_broker.address) as wire:
        first = protocol.decode(1, 11, wire.call(fetch_request(topic, 0, 0, version=11)))
        assert first.throttle_time_ms == 0 and first.responses[0].partitions[0].records
        second = protocol.decode(1, 11, wire.call(fetch_request(topic, 0, 1, version=11)))
        assert second.throttle_time_ms > 0 and second.responses == [] and second.error_code == NONE


def test_grpc_publishes_are_paced_and_all_succeed(fresh_broker: Broker, api: Any, topic: str) -> None:
    client = Client(Endpoint(fresh_broker, tls=False), api)
    client.create(topic, 1)
    assert alter(fresh_broker, {"user": "ANONYMOUS"}, producer_byte_rate=100_000.0) == NONE

    def requests() -> Any:
        for number in range(14):
            yield api.PublishStreamRequest(topic=topic, records=[api.PublishRecord(value=b"v" * 100_000)])

    results = [result for response in client.streams.PublishStream(requests(), timeout=50) for result in response.results]
    assert [result.batches[0].base_offset for result in results] == list(range(14))
    paced = throttles(fresh_broker, "producer_byte_rate")
    assert paced >= 1
    # A single one waits too, and a deadline that passes meanwhile leaves nothing behind.
    request = api.PublishRequest(topic=topic, records=[api.PublishRecord(value=b"w" * 1_000_000)])
    assert status_of(lambda: client.streams.Publish(request, timeout=0.3))[0] == grpc.StatusCode.DEADLINE_EXCEEDED
    assert alter(fresh_broker, {"user": "ANONYMOUS"}, producer_byte_rate=None) == NONE
    assert client.publish(topic, b"after").batches[0].base_offset == 14
    client.channel.close()


def test_a_grpc_call_says_its_client_id_and_quotas_of_that_hold(fresh_broker: Broker, api: Any, topic: str) -> None:
    client = Client(Endpoint(fresh_broker, tls=False), api)
    client.create(topic, 1)
    assert alter(fresh_broker, {"client-id": "batch"}, producer_byte_rate=1_000.0) == NONE
    request = api.PublishRequest(topic=topic, records=[api.PublishRecord(value=b"v" * 50_000)])

    def publish(*metadata: tuple[str, str], timeout: float = 20) -> Any:
        return client.streams.Publish(request, timeout=timeout, metadata=metadata).batches[0].base_offset

    assert publish() == 0 and publish(("client-id", "other")) == 1
    assert throttles(fresh_broker, "producer_byte_rate") == 0
    # It would have to wait for all windows to pass, and does not live so long.
    assert status_of(lambda: publish(("client-id", "batch"), timeout=0.3))[0] == grpc.StatusCode.DEADLINE_EXCEEDED
    assert throttles(fresh_broker, "producer_byte_rate") == 1
    assert publish() == 2, "the one that waited left nothing behind"
    code, message = status_of(lambda: publish(("client-id", "x" * 256)))
    assert code == grpc.StatusCode.INVALID_ARGUMENT and "client-id has 256 bytes; the limit is 255" in message
    assert alter(fresh_broker, {"client-id": "batch"}, producer_byte_rate=None) == NONE
    client.channel.close()


def test_a_user_over_its_quota_of_time_waits_and_another_one_of_the_same_connection_does_not(
    start_broker: Callable[..., Broker], api: Any, topic: str
) -> None:
    own = start_broker()

    def named(user: str) -> list[tuple[str, str]]:
        return [("authorization", "Basic " + base64.b64encode(f"{user}:{PASSWORD}".encode()).decode())]

    # Less of it than any call takes, so that the first one uses up all there is.
    assert alter(own, {"user": "busy"}, request_percentage=0.000001) == NONE
    for user in ("busy", "calm"):
        set_password(own, user)
    own.kill()
    own.arguments += ["--sasl-enabled-mechanisms", "SCRAM-SHA-256,PLAIN"]
    own.start()
    client = Client(Endpoint(own, tls=False), api)
    client.admin.CreateTopic(
        api.CreateTopicRequest(name=topic, partition_count=1), timeout=20, metadata=named("busy"), wait_for_ready=True
    )
    assert throttles(own, "request_percentage") == 0
    request = api.PublishRequest(topic=topic, records=[api.PublishRecord(value=b"v")])
    # It waits for what was used to be forgotten, eleven seconds; the other one is served meanwhile, many times.
    held = client.streams.Publish.future(request, timeout=60, metadata=named("busy"))
    late = client.streams.Publish.future(request, timeout=1, metadata=named("busy"))
    offsets = [
        client.streams.Publish(request, timeout=20, metadata=named("calm")).batches[0].base_offset for _ in range(20)
    ]
    assert late.exception(timeout=20).code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert throttles(own, "request_percentage") >= 2
    offsets.append(held.result(timeout=60).batches[0].base_offset)
    # Nothing came of the one whose deadline has passed.
    assert sorted(offsets) == list(range(21))
    client.channel.close()
