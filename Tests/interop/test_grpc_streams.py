# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: what grpcio sees of PublishStream and of Subscribe's options.
"""Streaming publishes, patterns, filters, progress, resume tokens and rich errors, as grpcio sees them."""

from __future__ import annotations

import threading
import time
from typing import Any, Callable, Iterator

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import status_pb2

from broker import Broker, Endpoint
from grpc_client import CALL_SECONDS, Client, details_of, status_of


@pytest.fixture
def client(endpoint: Endpoint, api: Any) -> Iterator[Client]:
    client = Client(endpoint, api)
    yield client
    client.channel.close()


def requests(api: Any, topic: str, values: list[bytes], **fields: Any) -> Iterator[Any]:
    for index, value in enumerate(values):
        name = topic if index == 0 else ""
        yield api.PublishStreamRequest(topic=name, records=[api.PublishRecord(value=value)], **fields)


def results_of(client: Client, stream: Iterator[Any]) -> list[Any]:
    responses = client.streams.PublishStream(stream, timeout=CALL_SECONDS)
    return [result for response in responses for result in response.results]


def test_every_request_of_a_stream_is_answered_in_order(client: Client, topic: str) -> None:
    client.create(topic, 1)
    values = [b"%d" % number for number in range(5000)]
    results = results_of(client, requests(client.api, topic, values))
    assert [result.request for result in results] == list(range(5000))
    assert [result.batches[0].base_offset for result in results] == list(range(5000))
    assert [record.value for record in client.records(topic)] == values


def test_a_caller_may_wait_for_each_answer(client: Client, topic: str) -> None:
    """Ping-pong: the next request leaves when the answer to the one before is there."""
    answered = threading.Semaphore(1)

    def paced() -> Iterator[Any]:
        for number in range(50):
            assert answered.acquire(timeout=CALL_SECONDS)
            yield client.api.PublishStreamRequest(
                topic=topic, partition=0, records=[client.api.PublishRecord(value=b"%d" % number)]
            )

    seen = []
    for response in client.streams.PublishStream(paced(), timeout=CALL_SECONDS):
        for result in response.results:
            seen.append(result.batches[0].base_offset)
            answered.release()
    assert seen == list(range(50))


def test_a_bad_request_in_a_stream_leaves_the_others_alone(client: Client, topic: str) -> None:
    api = client.api
    client.create(topic, 1)
    good = api.PublishStreamRequest(topic=topic, records=[api.PublishRecord(value=b"x")])
    results = results_of(
        client,
        iter([good, api.PublishStreamRequest(topic=topic), api.PublishStreamRequest(topic=topic, partition=9,
              records=[api.PublishRecord()]), good]),
    )  # fmt: skip
    assert [result.error.code for result in results] == [0, 3, 5, 0]
    assert [result.batches[0].base_offset for result in (results[0], results[3])] == [0, 1]


def test_a_stream_that_is_cancelled_costs_nothing(client: Client, topic: str) -> None:
    for _ in range(20):
        hold = threading.Event()

        def some() -> Iterator[Any]:
            yield from requests(client.api, topic, [b"x"])
            hold.wait(CALL_SECONDS)

        stream = client.streams.PublishStream(some(), timeout=CALL_SECONDS)
        next(stream)
        stream.cancel()
        hold.set()
    assert client.publish(topic, b"y").batches[0].base_offset == 20


def test_a_deadline_ends_a_publish_stream(client: Client, topic: str) -> None:
    hold = threading.Event()

    def some() -> Iterator[Any]:
        yield from requests(client.api, topic, [b"x"])
        hold.wait(CALL_SECONDS)

    code, _ = status_of(lambda: client.streams.PublishStream(some(), timeout=0.5))
    hold.set()
    assert code == grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_stream_may_be_compressed(client: Client, topic: str) -> None:
    values = [b"a" * 10_000] * 20
    responses = client.streams.PublishStream(
        requests(client.api, topic, values), timeout=CALL_SECONDS, compression=grpc.Compression.Gzip
    )
    assert sum(len(response.results) for response in responses) == 20
    assert [record.value for record in client.records(topic)] == values


# Subscribe.


def test_a_pattern_picks_up_topics_that_come_later(client: Client, unique: Callable[[str], str]) -> None:
    api = client.api
    base = unique("pattern")
    client.publish(base + ".a", b"first")
    request = api.SubscribeRequest(topic_pattern=base + ".*", origin=api.ORIGIN_EARLIEST)
    stream = client.streams.Subscribe(request, timeout=CALL_SECONDS)
    assert next(stream).batches[0].topic == base + ".a"
    client.publish(base + ".b", b"second")
    client.publish(base + "-not", b"third")
    client.publish(base + ".c", b"fourth")
    seen: list[bytes] = []
    while len(seen) < 2:
        seen += [record.value for batch in next(stream).batches for record in batch.records]
    assert seen == [b"second", b"fourth"]
    stream.cancel()


def test_filters_are_applied_by_the_broker(client: Client, topic: str) -> None:
    api = client.api
    client.create(topic)
    for number in range(100):
        header = api.Header(key="parity", value=b"even" if number % 2 == 0 else b"odd")
        client.publish(topic, b"%d" % number, key=b"k%d" % (number % 10), headers=[header])
    found = client.records(topic, filters=[api.RecordFilter(key=b"k3")])
    assert [record.offset for record in found] == list(range(3, 100, 10))
    even = api.RecordFilter(headers=[api.HeaderFilter(key="parity", value=b"even")], value_prefix=b"4")
    assert [record.value for record in client.records(topic, filters=[even])] == [b"4", b"40", b"42", b"44", b"46", b"48"]


def test_progress_and_its_token(client: Client, topic: str) -> None:
    client.publish(topic, *[b"%d" % number for number in range(10)])
    responses = list(client.subscribe(topic, max_records=6, progress_interval_ms=1000))
    token = responses[-1].progress.resume_token
    assert token
    api = client.api
    rest = client.streams.Subscribe(api.SubscribeRequest(resume_token=token, until_end=True), timeout=CALL_SECONDS)
    assert [r.offset for response in rest for b in response.batches for r in b.records] == [6, 7, 8, 9]
    stream = client.subscribe(topic, progress_interval_ms=100)
    caught_up = next(response.progress for response in stream if response.progress.caught_up)
    assert caught_up.caught_up
    again = next(response.progress for response in stream if response.HasField("progress"))
    assert again.caught_up and not again.partitions, "an idle stream is kept alive, and nothing has changed"
    stream.cancel()


# Rich errors.


def details_when(call: Callable[[], Any]) -> tuple[status_pb2.Status, dict[str, Message]]:
    with pytest.raises(grpc.RpcError) as failure:
        result = call()
        if hasattr(result, "__next__"):
            list(result)
    status, found = details_of(failure.value)
    assert status.code == failure.value.code().value[0]
    return status, found


def test_errors_have_details_for_programs(client: Client, topic: str) -> None:
    client.publish(topic, b"x")
    _, details = details_when(lambda: client.subscribe(topic, offset=99))
    assert details["ErrorInfo"].reason == "OFFSET_OUT_OF_RANGE" and details["ErrorInfo"].domain == "martlet"
    assert details["ErrorInfo"].metadata["topic"] == topic and details["ErrorInfo"].metadata["offset"] == "99"
    _, details = details_when(lambda: client.subscribe(topic, filters=[client.api.RecordFilter()]))
    assert details["BadRequest"].field_violations[0].field == "filters[0]"
    _, details = details_when(lambda: client.create(topic))
    assert details["ErrorInfo"].reason == "TOPIC_EXISTS"


def test_what_is_wrong_is_named_for_programs(client: Client, topic: str) -> None:
    api = client.api
    client.publish(topic, b"x")

    def publish(topic: str = topic, *records: Any, **fields: Any) -> Callable[[], Any]:
        request = api.PublishRequest(topic=topic, records=records or [api.PublishRecord(value=b"x")], **fields)
        return lambda: client.streams.Publish(request, timeout=10)

    def commit(**fields: Any) -> Callable[[], Any]:
        return lambda: client.streams.Commit(api.CommitRequest(**fields), timeout=10)

    for call, field in (
        (publish(""), "topic"),
        (publish(partition=-1), "partition"),
        (publish(topic, api.PublishRecord(), api.PublishRecord(timestamp_ms=-1)), "records[1].timestamp_ms"),
        (publish("__consumer_offsets"), "topic"),
        (commit(), "group"),
        (commit(group="g"), "offsets"),
        (lambda: client.create(topic, partitions=-1), "partition_count"),
        (lambda: client.subscribe(topic, progress_interval_ms=1), "progress_interval_ms"),
    ):
        status, details = details_when(call)
        assert status.code == grpc.StatusCode.INVALID_ARGUMENT.value[0], status
        assert details["BadRequest"].field_violations[0].field == field, status
    offset = api.PartitionOffset(topic=topic, partition=7, offset=0)
    for call, reason, metadata in (
        (publish(partition=7), "UNKNOWN_PARTITION", {"topic": topic, "partition": "7"}),
        (commit(group="g", offsets=[offset]), "UNKNOWN_PARTITION", {"topic": topic, "partition": "7"}),
        (lambda: client.subscribe(f"{topic}-none"), "UNKNOWN_TOPIC", {"topic": f"{topic}-none"}),
    ):
        status, details = details_when(call)
        assert status.code == grpc.StatusCode.NOT_FOUND.value[0], status
        assert (details["ErrorInfo"].reason, dict(details["ErrorInfo"].metadata)) == (reason, metadata)
