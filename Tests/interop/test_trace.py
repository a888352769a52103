# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: the trace of a request in the lines about it.
"""`traceparent` comes as gRPC metadata, as an HTTP header and as a header of Kafka records; a bad one is as good as none."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any, Callable

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from broker import Broker, Endpoint

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"


def entry(broker: Broker, pattern: str, since: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(broker.wait_log(pattern, since=since))
    return found


@pytest.fixture
def talkative(start_broker: Callable[..., Broker]) -> Broker:
    return start_broker(arguments=["--log-level", "debug", "--log-format", "json"])


def test_a_call_and_its_line(talkative: Broker) -> None:
    def check(metadata: list[tuple[str, str]]) -> dict[str, Any]:
        position = talkative.log_size()
        with grpc.insecure_channel(talkative.address) as channel:
            health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), metadata=metadata, timeout=10)
        return entry(talkative, "call ended", position)

    line = check([("traceparent", PARENT)])
    assert line["trace_id"] == TRACE and line["span_id"] == SPAN and line["method"].endswith("/Check")
    for bad in ("00-" + "0" * 32 + f"-{SPAN}-01", PARENT.upper(), PARENT[:-1], "x" * 2000):
        assert "trace_id" not in check([("traceparent", bad)])


def test_a_call_of_a_browser(talkative: Broker) -> None:
    position = talkative.log_size()
    request = urllib.request.Request(
        f"http://{talkative.address}/grpc.health.v1.Health/Check", data=b"{}",
        headers={"content-type": "application/json", "traceparent": PARENT},
    )  # fmt: skip
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200
    assert entry(talkative, "call ended", position)["trace_id"] == TRACE


def test_records_that_are_refused(talkative: Broker) -> None:
    from confluent_kafka import Producer

    assert talkative.run("topic", "create", "small", "--config", "max.message.bytes=200", "--bootstrap", talkative.address).returncode == 0
    for codec in ("none", "zstd"):
        position = talkative.log_size()
        producer = Producer(Endpoint(talkative, False).librdkafka(compression_type=codec))
        producer.produce("small", bytes(range(256)) * 4, headers=[("other", b"x"), ("traceparent", PARENT.encode())])
        producer.flush(10)
        line = entry(talkative, "a record batch was refused", position)
        assert line["trace_id"] == TRACE and line["topic"] == "small"


def test_records_that_are_denied(start_broker: Callable[..., Broker]) -> None:
    from confluent_kafka import Producer
    from confluent_kafka.admin import (
        AclBinding, AclOperation, AclPermissionType, AdminClient, ResourcePatternType, ResourceType,
    )  # fmt: skip

    broker = start_broker(arguments=["--log-format", "json"])
    assert broker.run("topic", "create", "closed", "--bootstrap", broker.address).returncode == 0
    admin = AdminClient(Endpoint(broker, False).librdkafka())
    rules = [
        AclBinding(ResourceType.TOPIC, "closed", ResourcePatternType.LITERAL, "User:ANONYMOUS", "*", operation, permission)
        for operation, permission in (
            (AclOperation.WRITE, AclPermissionType.DENY), (AclOperation.DESCRIBE, AclPermissionType.ALLOW)
        )
    ]  # fmt: skip
    for future in admin.create_acls(rules).values():
        future.result(10)
    position = broker.log_size()
    producer = Producer(Endpoint(broker, False).librdkafka())
    producer.produce("closed", b"x", headers=[("traceparent", PARENT.encode())])
    producer.flush(10)
    line = entry(broker, "records were denied", position)
    assert line["trace_id"] == TRACE and line["topic"] == "closed" and line["level"] == "info"
