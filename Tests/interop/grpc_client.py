# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: the stubs over one channel.
"""A gRPC client for the tests: a channel, both stubs, and a deadline on every call."""

from __future__ import annotations

from typing import Any, Callable, Optional

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from broker import Endpoint

CALL_SECONDS = 20


class Client:
    """The stubs over one channel, with a deadline on every call."""

    def __init__(self, endpoint: Endpoint, api: Any, options: tuple[tuple[str, Any], ...] = ()):
        self.api = api
        self.channel = endpoint.grpc_channel(options)
        self.streams = api.StreamsStub(self.channel)
        self.admin = api.AdminStub(self.channel)

    def publish(self, topic: str, *values: Optional[bytes], partition: Optional[int] = None, **fields: Any) -> Any:
        records = [self.api.PublishRecord(value=value, **fields) for value in values]
        request = self.api.PublishRequest(topic=topic, partition=partition, records=records)
        return self.streams.Publish(request, timeout=CALL_SECONDS)

    def subscribe(self, topic: str, seconds: float = CALL_SECONDS, **fields: Any) -> Any:
        if not {"offset", "timestamp_ms", "group", "origin"} & fields.keys():
            fields["origin"] = self.api.ORIGIN_EARLIEST
        topics = fields.pop("topics", None) or [self.api.TopicSelection(topic=topic)]
        return self.streams.Subscribe(self.api.SubscribeRequest(topics=topics, **fields), timeout=seconds)

    def records(self, topic: str, **fields: Any) -> list[Any]:
        """All records of a subscription that ends."""
        return [record for _, record in self.placed(topic, **fields)]

    def placed(self, topic: str, **fields: Any) -> list[tuple[int, Any]]:
        """Partition and record, of a subscription that ends."""
        if "max_records" not in fields:
            fields["until_end"] = True
        return [
            (batch.partition, record)
            for response in self.subscribe(topic, **fields)
            for batch in response.batches
            for record in batch.records
        ]

    def create(self, topic: str, partitions: int = 1, **configs: str) -> Any:
        configs = {name.replace("_", "."): value for name, value in configs.items()}
        return self.admin.CreateTopic(
            self.api.CreateTopicRequest(name=topic, partition_count=partitions, configs=configs), timeout=CALL_SECONDS
        )


def details_of(error: grpc.RpcError) -> tuple[status_pb2.Status, dict[str, Message]]:
    """The `google.rpc.Status` that comes with an error, and its details by the names of their types."""
    trailers = dict(error.trailing_metadata())
    assert "grpc-status-details-bin" in trailers, (error.code(), error.details())
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    found: dict[str, Message] = {}
    for entry in status.details:
        for kind in (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, error_details_pb2.RetryInfo):
            message = kind()
            if entry.Unpack(message):
                found[kind.__name__] = message
    return status, found


def status_of(call: Callable[[], Any]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as failure:
        result = call()
        if hasattr(result, "__next__"):
            list(result)
    return failure.value.code(), failure.value.details()
