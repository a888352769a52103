# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: any Kafka message at any version, by kafka-python's schemas.
"""Requests and answers at chosen versions, encoded and decoded by kafka-python's own codec.

kafka-python 3 carries Kafka's message definitions, so this is a second opinion on every layout. A test
names all fields it cares about; those that a version does not have are left out. An answer must be decoded
to its last byte.
"""

from __future__ import annotations

import io
from typing import Any

from kafka.protocol import admin, consumer, metadata, producer
from kafka.protocol.api_header import ResponseClassRegistry

from wire import CREATE_TOPICS, DELETE_TOPICS, NONE, Wire


def _find_requests() -> dict[int, Any]:
    found = {}
    for module in (metadata, producer, consumer, admin):
        for name in dir(module):
            candidate = getattr(module, name)
            if name.endswith("Request") and hasattr(candidate, "API_KEY"):
                found[candidate.API_KEY] = candidate
    return found


REQUESTS = _find_requests()


def _build(container: Any, version: int, fields: dict[str, Any]) -> Any:
    values = {}
    for name, value in fields.items():
        field = container._struct.fields[name]
        if not field.for_version_q(version):
            continue
        if isinstance(value, list) and field.is_struct_array():
            value = [_build(field.data_class, version, item) for item in value]
        values[name] = value
    return container(version=version, **values)


def encode(api_key: int, version: int, /, *, correlation: int = 1, **fields: Any) -> bytes:
    """A whole frame."""
    request = _build(REQUESTS[api_key], version, fields)
    request.with_header(correlation_id=correlation, client_id="protocol")
    return bytes(request.encode(header=True, framed=True))


def decode(api_key: int, version: int, payload: bytes) -> Any:
    """The answer; `payload` starts with the correlation id. Bytes left over are a failure."""
    answer_class = ResponseClassRegistry._response_class_registry[api_key]
    header = io.BytesIO(payload)
    answer_class.parse_header(header, version=version)
    flexible = answer_class.flexible_version_q(version)
    read = answer_class._struct.compiled_decode_from(
        version, compact=flexible, tagged=flexible, data_class=answer_class[None]
    )
    answer, end = read(memoryview(payload), header.tell())
    assert end == len(payload), f"{len(payload) - end} bytes left over in an answer to {api_key} v{version}"
    return answer


def call(wire: Wire, api_key: int, version: int, /, **fields: Any) -> Any:
    return decode(api_key, version, wire.call(encode(api_key, version, **fields)))


def create(connection: Wire, topic: str, partitions: int = 1, **configs: str) -> None:
    """Makes a topic; underscores in the names of configurations stand for dots."""
    answer = call(
        connection, CREATE_TOPICS, 7, timeout_ms=10_000, validate_only=False,
        topics=[{
            "name": topic, "num_partitions": partitions, "replication_factor": 1, "assignments": [],
            "configs": [{"name": name.replace("_", "."), "value": value} for name, value in configs.items()],
        }],
    )
    assert answer.topics[0].error_code == NONE, answer


def delete(connection: Wire, topic: str) -> None:
    answer = call(connection, DELETE_TOPICS, 4, topic_names=[topic], timeout_ms=10_000)
    assert answer.responses[0].error_code == NONE, answer


def newest(api_key: int) -> int:
    """The newest version that this codec knows."""
    return REQUESTS[api_key].max_version
