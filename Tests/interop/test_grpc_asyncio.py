# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: grpcio, asyncio.
"""The same contract through grpc.aio, whose flow control and cancellation differ from the blocking API's."""

from __future__ import annotations

import asyncio
from typing import Any, Callable

import grpc
import pytest

from broker import Broker, Endpoint

CALL_SECONDS = 20


def run(endpoint: Endpoint, api: Any, body: Callable[..., Any]) -> None:
    async def inside() -> None:
        async with endpoint.grpc_aio_channel() as channel:
            await body(api.StreamsStub(channel), api.AdminStub(channel))

    asyncio.run(inside())


def publish_request(api: Any, topic: str, *values: bytes) -> Any:
    return api.PublishRequest(topic=topic, records=[api.PublishRecord(value=value) for value in values])


def subscribe_request(api: Any, topic: str, **fields: Any) -> Any:
    return api.SubscribeRequest(topics=[api.TopicSelection(topic=topic)], origin=api.ORIGIN_EARLIEST, **fields)


async def values_of(stream: Any) -> list[bytes]:
    return [
        record.value async for response in stream for batch in response.batches for record in batch.records
    ]


def test_publish_and_subscribe(endpoint: Endpoint, api: Any, topic: str) -> None:
    async def body(streams: Any, admin: Any) -> None:
        values = [b"%d" % number for number in range(500)]
        answers = await asyncio.gather(
            *[streams.Publish(publish_request(api, topic, value), timeout=CALL_SECONDS) for value in values]
        )
        offsets = [answer.batches[0].base_offset for answer in answers]
        assert sorted(offsets) == list(range(500))
        stream = streams.Subscribe(subscribe_request(api, topic, until_end=True), timeout=CALL_SECONDS)
        stored = await values_of(stream)
        assert [stored[offset] for offset in offsets] == values
        assert await stream.code() == grpc.StatusCode.OK

    run(endpoint, api, body)


def test_a_subscriber_keeps_up_with_a_publisher(endpoint: Endpoint, api: Any, topic: str) -> None:
    async def body(streams: Any, admin: Any) -> None:
        await admin.CreateTopic(api.CreateTopicRequest(name=topic), timeout=CALL_SECONDS)
        stream = streams.Subscribe(subscribe_request(api, topic, max_records=2000), timeout=CALL_SECONDS)
        reading = asyncio.create_task(values_of(stream))
        for number in range(200):
            await streams.Publish(
                publish_request(api, topic, *[b"%d" % (number * 10 + index) for index in range(10)]),
                timeout=CALL_SECONDS,
            )
        assert await reading == [b"%d" % number for number in range(2000)]

    run(endpoint, api, body)


def test_a_deadline_and_a_cancellation_end_a_subscription(endpoint: Endpoint, api: Any, topic: str) -> None:
    async def body(streams: Any, admin: Any) -> None:
        await streams.Publish(publish_request(api, topic, b"x"), timeout=CALL_SECONDS)
        stream = streams.Subscribe(subscribe_request(api, topic), timeout=0.3)
        with pytest.raises(grpc.aio.AioRpcError) as late:
            await values_of(stream)
        assert late.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        stream = streams.Subscribe(subscribe_request(api, topic))
        assert (await stream.read()).batches[0].records[0].value == b"x"
        stream.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stream.read()
        answer = await streams.Publish(publish_request(api, topic, b"y"), timeout=CALL_SECONDS)
        assert answer.batches[0].base_offset == 1

    run(endpoint, api, body)


def test_an_error_has_its_status_and_a_message(endpoint: Endpoint, api: Any, topic: str) -> None:
    async def body(streams: Any, admin: Any) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as missing:
            await admin.DescribeTopic(api.DescribeTopicRequest(name=topic), timeout=CALL_SECONDS)
        assert missing.value.code() == grpc.StatusCode.NOT_FOUND
        assert topic in missing.value.details()

    run(endpoint, api, body)


def test_a_hundred_subscriptions_share_one_connection(endpoint: Endpoint, api: Any, topic: str) -> None:
    async def body(streams: Any, admin: Any) -> None:
        await admin.CreateTopic(api.CreateTopicRequest(name=topic), timeout=CALL_SECONDS)
        readers = [
            asyncio.create_task(
                values_of(streams.Subscribe(subscribe_request(api, topic, max_records=50), timeout=CALL_SECONDS))
            )
            for _ in range(100)
        ]
        values = [b"%d" % number for number in range(50)]
        for value in values:
            await streams.Publish(publish_request(api, topic, value), timeout=CALL_SECONDS)
        assert await asyncio.gather(*readers) == [values] * 100

    run(endpoint, api, body)


def test_sigterm_ends_a_subscription_as_unavailable(start_broker: Callable[..., Broker], api: Any, topic: str) -> None:
    own = start_broker()

    async def body(streams: Any, admin: Any) -> None:
        await streams.Publish(publish_request(api, topic, b"x"), timeout=CALL_SECONDS)
        stream = streams.Subscribe(subscribe_request(api, topic), timeout=CALL_SECONDS)
        await stream.read()
        own.terminate()
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await stream.read()
        assert ended.value.code() == grpc.StatusCode.UNAVAILABLE

    run(Endpoint(own, True), api, body)
    assert own.wait() == 0
