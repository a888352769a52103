# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: grpcio, blocking.
"""The gRPC contract with grpcio and stubs generated from proto/: calls, statuses, deadlines, streams, back-pressure."""

from __future__ import annotations

import threading
import time
from concurrent import futures
from typing import Any, Callable, Iterator

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from kafka.partitioner.default import murmur2

from broker import Broker, Endpoint
from grpc_client import CALL_SECONDS, Client, status_of

@pytest.fixture
def client(endpoint: Endpoint, api: Any) -> Iterator[Client]:
    opened = Client(endpoint, api)
    yield opened
    opened.channel.close()


@pytest.fixture
def plain_client(plaintext: Endpoint, api: Any) -> Iterator[Client]:
    opened = Client(plaintext, api)
    yield opened
    opened.channel.close()


# Publish.


def test_published_records_have_consecutive_offsets(client: Client, topic: str) -> None:
    first = client.publish(topic, b"a", b"b", b"c")
    assert [(entry.partition, entry.base_offset, list(entry.record_positions)) for entry in first.batches] == [
        (0, 0, [0, 1, 2])
    ]
    assert client.publish(topic, b"d").batches[0].base_offset == 3
    assert [record.value for record in client.records(topic)] == [b"a", b"b", b"c", b"d"]


def test_keys_headers_nulls_and_timestamps_survive(client: Client, topic: str) -> None:
    api = client.api
    headers = [
        api.Header(key="a", value=b"1"), api.Header(key="a", value=b"2"), api.Header(key="null"),
        api.Header(key="empty", value=b""), api.Header(key="ünï", value=bytes(range(256))),
    ]  # fmt: skip
    client.publish(topic, b"v", key=b"k", headers=headers, timestamp_ms=1_600_000_000_123)
    client.publish(topic, None, key=b"tombstone")
    client.publish(topic, b"", key=b"")
    before = int(time.time() * 1000) - 60_000
    first, second, third = client.records(topic)
    assert (first.key, first.value, first.timestamp_ms) == (b"k", b"v", 1_600_000_000_123)
    assert list(first.headers) == headers
    assert second.key == b"tombstone" and not second.HasField("value")
    assert third.HasField("key") and third.HasField("value") and (third.key, third.value) == (b"", b"")
    assert second.timestamp_ms > before


def test_a_record_without_a_key_is_told_from_one_with_an_empty_key(client: Client, topic: str) -> None:
    client.publish(topic, b"none")
    client.publish(topic, b"empty", key=b"")
    assert [record.HasField("key") for record in client.records(topic)] == [False, True]


def test_keys_choose_the_partition_that_kafkas_partitioner_chooses(client: Client, topic: str) -> None:
    client.create(topic, 7)
    api = client.api
    keys = [b"key-%d" % number for number in range(100)]
    response = client.streams.Publish(
        api.PublishRequest(topic=topic, records=[api.PublishRecord(key=key, value=b"") for key in keys]),
        timeout=CALL_SECONDS,
    )
    chosen = {position: entry.partition for entry in response.batches for position in entry.record_positions}
    assert sorted(chosen) == list(range(100))
    expected = [(murmur2(key) & 0x7FFFFFFF) % 7 for key in keys]
    assert [chosen[number] for number in range(100)] == expected
    for partition, record in client.placed(topic):
        assert partition == (murmur2(record.key) & 0x7FFFFFFF) % 7


def test_a_named_partition_is_used(client: Client, topic: str) -> None:
    client.create(topic, 4)
    assert client.publish(topic, b"x", partition=3).batches[0].partition == 3
    code, details = status_of(lambda: client.publish(topic, b"x", partition=4))
    assert code == grpc.StatusCode.NOT_FOUND and "4" in details


def test_a_thousand_publishes_in_flight_over_one_connection(client: Client, topic: str) -> None:
    api = client.api
    calls = [
        client.streams.Publish.future(
            api.PublishRequest(topic=topic, records=[api.PublishRecord(value=b"%d" % number)]), timeout=CALL_SECONDS
        )
        for number in range(1000)
    ]
    offsets = [call.result().batches[0].base_offset for call in calls]
    assert sorted(offsets) == list(range(1000))
    stored = client.records(topic)
    assert [int(stored[offset].value) for offset in offsets] == list(range(1000))


@pytest.mark.parametrize(
    ("fields", "code", "word"),
    [
        ({"topic": "", "records": 1}, grpc.StatusCode.INVALID_ARGUMENT, "topic"),
        ({"topic": "no/slash", "records": 1}, grpc.StatusCode.INVALID_ARGUMENT, "no/slash"),
        ({"topic": "x" * 250, "records": 1}, grpc.StatusCode.INVALID_ARGUMENT, "249"),
        ({"topic": "fine", "records": 0}, grpc.StatusCode.INVALID_ARGUMENT, "records"),
        ({"topic": "fine", "records": 1, "partition": -1}, grpc.StatusCode.INVALID_ARGUMENT, "partition"),
        ({"topic": "fine", "records": 1, "headers": 1001}, grpc.StatusCode.INVALID_ARGUMENT, "header"),
    ],
)
def test_a_wrong_publish_names_what_is_wrong(
    plain_client: Client, fields: dict[str, Any], code: grpc.StatusCode, word: str
) -> None:
    api = plain_client.api
    headers = [api.Header(key=str(number)) for number in range(fields.pop("headers", 0))]
    records = [api.PublishRecord(value=b"x", headers=headers)] * fields.pop("records")
    found, details = status_of(
        lambda: plain_client.streams.Publish(api.PublishRequest(records=records, **fields), timeout=CALL_SECONDS)
    )
    assert found == code and word in details, details


def test_a_record_above_the_topics_limit_is_refused(client: Client, topic: str) -> None:
    client.create(topic, max_message_bytes="10000")
    code, details = status_of(lambda: client.publish(topic, b"x" * 20_000))
    assert code in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INVALID_ARGUMENT)
    assert "max.message.bytes" in details, details
    client.publish(topic, b"small")


def test_a_message_above_the_limit_is_refused_and_the_connection_lives(client: Client, topic: str) -> None:
    client.publish(topic, b"before")
    code, details = status_of(lambda: client.publish(topic, b"x" * (5 << 20)))
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED, details
    assert client.publish(topic, b"after").batches[0].base_offset == 1


def test_records_of_one_mebibyte_make_the_round_trip(client: Client, topic: str) -> None:
    client.create(topic, max_message_bytes=str(2 << 20))
    values = [bytes([number]) * (1 << 20) for number in range(3)]
    for value in values:
        client.publish(topic, value)
    assert [record.value for record in client.records(topic)] == values


def test_log_append_time_is_answered(client: Client, topic: str) -> None:
    client.create(topic, message_timestamp_type="LogAppendTime")
    answered = client.publish(topic, b"x", timestamp_ms=5).batches[0].log_append_time_ms
    assert abs(answered - time.time() * 1000) < 60_000
    assert client.records(topic)[0].timestamp_ms == answered


def test_gzip_from_the_client_is_understood(client: Client, topic: str) -> None:
    api = client.api
    value = b"compressible " * 1000
    client.streams.Publish(
        api.PublishRequest(topic=topic, records=[api.PublishRecord(value=value)]),
        timeout=CALL_SECONDS, compression=grpc.Compression.Gzip,
    )  # fmt: skip
    assert client.records(topic)[0].value == value


# Subscribe.


def test_a_subscription_follows_what_is_published_later(client: Client, topic: str) -> None:
    client.publish(topic, b"0")
    stream = client.subscribe(topic)
    seen: list[bytes] = []
    number = 0
    for response in stream:
        for batch in response.batches:
            seen += [record.value for record in batch.records]
        if len(seen) == 20:
            break
        number += 1
        client.publish(topic, b"%d" % len(seen))
    stream.cancel()
    assert seen == [b"%d" % number for number in range(20)]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, range(10)),
        ({"offset": 4}, range(4, 10)),
        ({"offset": 10}, range(0)),
        ({"timestamp_ms": 1_700_000_004_500}, range(5, 10)),
        ({"timestamp_ms": 1_800_000_000_000}, range(0)),
        ({"offset": 3, "max_records": 4}, range(3, 7)),
    ],
)
def test_a_subscription_starts_where_it_was_asked_to(
    plain_client: Client, topic: str, fields: dict[str, Any], expected: range
) -> None:
    for number in range(10):
        plain_client.publish(topic, b"%d" % number, timestamp_ms=1_700_000_000_000 + number * 1000)
    assert [record.offset for record in plain_client.records(topic, **fields)] == list(expected)


def test_latest_delivers_only_what_comes_after(client: Client, topic: str) -> None:
    client.publish(topic, b"old")
    stream = client.subscribe(topic, origin=client.api.ORIGIN_LATEST)
    # The broker has placed its cursor when the headers of the answer are here.
    stream.initial_metadata()
    client.publish(topic, b"new")
    assert [record.value for record in next(stream).batches[0].records] == [b"new"]
    stream.cancel()


def test_one_subscription_reads_several_topics_and_chosen_partitions(
    client: Client, unique: Callable[[str], str]
) -> None:
    api = client.api
    first, second = unique("first"), unique("second")
    for name in (first, second):
        client.create(name, 3)
        for partition in range(3):
            client.publish(name, b"%d a" % partition, b"%d b" % partition, partition=partition)
    selections = [
        api.TopicSelection(topic=first),
        api.TopicSelection(
            topic=second,
            partitions=[api.PartitionSelection(partition=2), api.PartitionSelection(partition=1, offset=1)],
        ),
    ]
    seen: dict[tuple[str, int], list[bytes]] = {}
    for response in client.subscribe("", topics=selections, until_end=True):
        for batch in response.batches:
            seen.setdefault((batch.topic, batch.partition), []).extend(record.value for record in batch.records)
            assert batch.high_watermark == 2
    expected = {(first, partition): [b"%d a" % partition, b"%d b" % partition] for partition in range(3)}
    assert seen == expected | {(second, 2): [b"2 a", b"2 b"], (second, 1): [b"1 b"]}


def test_records_come_many_to_a_message_and_within_the_limits_asked_for(client: Client, topic: str) -> None:
    client.publish(topic, *[b"x" * 100] * 2000)
    messages = list(client.subscribe(topic, until_end=True))
    assert len(messages) < 20, "records are not batched"
    limited = list(client.subscribe(topic, until_end=True, max_records_per_message=7))
    sizes = [sum(len(batch.records) for batch in message.batches) for message in limited]
    assert max(sizes) <= 7 and sum(sizes) == 2000
    small = list(client.subscribe(topic, until_end=True, max_bytes_per_message=1000))
    assert max(message.ByteSize() for message in small) < 3000


@pytest.mark.parametrize(
    ("build", "code", "word"),
    [
        (lambda api, topic: {"topics": []}, grpc.StatusCode.INVALID_ARGUMENT, "topic"),
        (lambda api, topic: {"topics": [api.TopicSelection(topic=topic + "-absent")]}, grpc.StatusCode.NOT_FOUND,
         "absent"),
        (lambda api, topic: {"topics": [api.TopicSelection(
            topic=topic, partitions=[api.PartitionSelection(partition=9)])]}, grpc.StatusCode.NOT_FOUND, "9"),
        (lambda api, topic: {"topics": [api.TopicSelection(topic=topic)], "offset": 1000},
         grpc.StatusCode.OUT_OF_RANGE, "1000"),
        (lambda api, topic: {"topics": [api.TopicSelection(topic=topic)], "offset": -5},
         grpc.StatusCode.INVALID_ARGUMENT, "offset"),
        (lambda api, topic: {"topics": [api.TopicSelection(topic=topic)] * 2},
         grpc.StatusCode.INVALID_ARGUMENT, "twice"),
    ],
    ids=["no topic", "unknown topic", "unknown partition", "offset beyond", "negative offset", "twice"],
)
def test_a_wrong_subscription_names_what_is_wrong(
    plain_client: Client, topic: str, build: Callable[[Any, str], dict[str, Any]], code: grpc.StatusCode, word: str
) -> None:
    plain_client.publish(topic, b"x")
    request = plain_client.api.SubscribeRequest(**build(plain_client.api, topic))
    found, details = status_of(lambda: plain_client.streams.Subscribe(request, timeout=CALL_SECONDS))
    assert found == code, details
    assert word in details


def test_an_offset_out_of_range_goes_to_the_origin_when_one_is_given(plain_client: Client, topic: str) -> None:
    plain_client.publish(topic, b"a", b"b")
    api = plain_client.api
    records = plain_client.records(topic, offset=1000, origin=api.ORIGIN_EARLIEST)
    assert [record.value for record in records] == [b"a", b"b"]


def test_a_deadline_ends_a_subscription(client: Client, topic: str) -> None:
    client.publish(topic, b"x")
    code, _ = status_of(lambda: client.subscribe(topic, seconds=0.5))
    assert code == grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_cancelled_subscription_is_given_up_by_the_broker(broker: Broker, client: Client, topic: str) -> None:
    client.publish(topic, b"x")
    for _ in range(100):
        stream = client.subscribe(topic)
        next(stream)
        stream.cancel()
    # The same connection carries as many again, which it would not if streams were kept open.
    for _ in range(100):
        stream = client.subscribe(topic)
        next(stream)
        stream.cancel()
    assert client.publish(topic, b"y").batches[0].base_offset == 1


def test_deleting_a_topic_ends_its_subscriptions(client: Client, topic: str) -> None:
    client.publish(topic, b"x")
    stream = client.subscribe(topic)
    next(stream)
    client.admin.DeleteTopic(client.api.DeleteTopicRequest(name=topic), timeout=CALL_SECONDS)
    code, _ = status_of(lambda: stream)
    assert code == grpc.StatusCode.NOT_FOUND


def test_fifty_subscribers_all_see_everything(client: Client, topic: str) -> None:
    client.publish(topic, *[b"%d" % number for number in range(100)])
    streams = [client.subscribe(topic, max_records=200) for _ in range(50)]
    client.publish(topic, *[b"%d" % number for number in range(100, 200)])
    expected = [b"%d" % number for number in range(200)]
    with futures.ThreadPoolExecutor(50) as pool:
        for seen in pool.map(
            lambda stream: [r.value for response in stream for b in response.batches for r in b.records], streams
        ):
            assert seen == expected


@pytest.mark.deadline(120)
def test_a_stalled_subscriber_costs_no_memory_that_grows(
    broker: Broker, endpoint: Endpoint, api: Any, topic: str
) -> None:
    """HTTP/2 flow control is the only back-pressure: 200 MB wait in the log, not in the broker's memory."""
    writer = Client(endpoint, api)
    writer.create(topic)
    value = b"x" * 100_000
    writer.publish(topic, *[value] * 8)
    readers = [Client(endpoint, api, (("grpc.http2.bdp_probe", 0),)) for _ in range(5)]
    streams = [reader.subscribe(topic, seconds=100) for reader in readers]
    for stream in streams:
        next(stream)
    before = broker.resident_kib()
    for _ in range(250):
        writer.publish(topic, *[value] * 8)
    grown = broker.resident_kib() - before
    assert grown < 48 * 1024, f"five stalled subscribers cost {grown} KiB"
    # And none of it is lost to them.
    seen = 0
    for response in streams[0]:
        seen += sum(len(batch.records) for batch in response.batches)
        if seen >= 500:
            break
    for stream in streams:
        stream.cancel()
    for client in [writer, *readers]:
        client.channel.close()


# Commit, Committed.


def test_commits_are_kept_and_answered_in_order(client: Client, topic: str, group: str) -> None:
    api = client.api
    client.create(topic, 3)
    offsets = [
        api.PartitionOffset(topic=topic, partition=partition, offset=partition * 10, metadata=f"m{partition}")
        for partition in (2, 0)
    ]
    client.streams.Commit(api.CommitRequest(group=group, offsets=offsets), timeout=CALL_SECONDS)
    answer = client.streams.Committed(api.CommittedRequest(group=group), timeout=CALL_SECONDS)
    assert [(entry.partition, entry.offset, entry.metadata) for entry in answer.offsets] == [
        (0, 0, "m0"), (2, 20, "m2"),
    ]  # fmt: skip
    of_others = client.streams.Committed(
        api.CommittedRequest(group=group, topics=["another"]), timeout=CALL_SECONDS
    )
    assert not of_others.offsets
    unknown = client.streams.Committed(api.CommittedRequest(group=group + "-unknown"), timeout=CALL_SECONDS)
    assert not unknown.offsets


def test_a_subscription_goes_on_from_a_groups_commits(client: Client, topic: str, group: str) -> None:
    api = client.api
    client.publish(topic, *[b"%d" % number for number in range(10)])
    fresh = client.records(topic, group=group, origin=api.ORIGIN_EARLIEST)
    assert len(fresh) == 10
    offsets = [api.PartitionOffset(topic=topic, partition=0, offset=6)]
    client.streams.Commit(api.CommitRequest(group=group, offsets=offsets), timeout=CALL_SECONDS)
    assert [record.offset for record in client.records(topic, group=group)] == [6, 7, 8, 9]


@pytest.mark.parametrize(
    ("build", "code"),
    [
        (lambda api, topic: {"group": ""}, grpc.StatusCode.INVALID_ARGUMENT),
        (lambda api, topic: {"group": "g", "offsets": []}, grpc.StatusCode.INVALID_ARGUMENT),
        (lambda api, topic: {"group": "g", "offsets": [
            api.PartitionOffset(topic=topic, partition=0, offset=-3)]}, grpc.StatusCode.INVALID_ARGUMENT),
        (lambda api, topic: {"group": "g", "offsets": [
            api.PartitionOffset(topic=topic, partition=0, offset=1, metadata="m" * 5000)]},
         grpc.StatusCode.INVALID_ARGUMENT),
        (lambda api, topic: {"group": "g", "offsets": [
            api.PartitionOffset(topic=topic + "x", partition=0, offset=1)]}, grpc.StatusCode.NOT_FOUND),
    ],
    ids=["no group", "no offsets", "negative offset", "much metadata", "unknown topic"],
)
def test_a_wrong_commit_is_refused(
    plain_client: Client, topic: str, build: Callable[[Any, str], dict[str, Any]], code: grpc.StatusCode
) -> None:
    plain_client.publish(topic, b"x")
    request = plain_client.api.CommitRequest(**build(plain_client.api, topic))
    found, details = status_of(lambda: plain_client.streams.Commit(request, timeout=CALL_SECONDS))
    assert found == code, details


# Admin.


def test_topics_are_created_listed_described_and_deleted(client: Client, topic: str) -> None:
    api, admin = client.api, client.admin
    made = client.create(topic, 3, retention_ms="1000").topic
    assert (made.name, made.partition_count) == (topic, 3) and made.id
    code, _ = status_of(lambda: client.create(topic))
    assert code == grpc.StatusCode.ALREADY_EXISTS
    client.publish(topic, b"a", b"b", partition=1)
    described = admin.DescribeTopic(api.DescribeTopicRequest(name=topic), timeout=CALL_SECONDS)
    assert described.topic == made
    assert [(entry.partition, entry.start_offset, entry.end_offset) for entry in described.partitions] == [
        (0, 0, 0), (1, 0, 2), (2, 0, 0),
    ]  # fmt: skip
    assert described.partitions[1].size_bytes > 0
    configs = {entry.name: (entry.value, entry.is_override) for entry in described.configs}
    assert configs["retention.ms"] == ("1000", True)
    assert configs["cleanup.policy"] == ("delete", False)
    assert list(configs) == sorted(configs)
    names = [entry.name for entry in admin.ListTopics(api.ListTopicsRequest(), timeout=CALL_SECONDS).topics]
    assert topic in names and names == sorted(names)
    admin.DeleteTopic(api.DeleteTopicRequest(name=topic), timeout=CALL_SECONDS)
    for call in (
        lambda: admin.DeleteTopic(api.DeleteTopicRequest(name=topic), timeout=CALL_SECONDS),
        lambda: admin.DescribeTopic(api.DescribeTopicRequest(name=topic), timeout=CALL_SECONDS),
    ):
        assert status_of(call)[0] == grpc.StatusCode.NOT_FOUND
    again = client.create(topic)
    assert again.topic.id != made.id, "a topic made anew has the old identity"


@pytest.mark.parametrize(
    ("name", "partitions", "configs", "word"),
    [
        ("", 1, {}, "name"),
        ("no slash/here", 1, {}, "no slash/here"),
        ("fine", -1, {}, "partition"),
        ("fine", 1, {"no.such.key": "1"}, "no.such.key"),
        ("fine", 1, {"retention.ms": "soon"}, "retention.ms"),
    ],
)
def test_a_topic_that_cannot_be_is_refused(
    plain_client: Client, name: str, partitions: int, configs: dict[str, str], word: str
) -> None:
    api = plain_client.api
    request = api.CreateTopicRequest(name=name, partition_count=partitions, configs=configs)
    code, details = status_of(lambda: plain_client.admin.CreateTopic(request, timeout=CALL_SECONDS))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert word in details


# Health, reflection, unknown things.


def test_health_is_checked_and_watched(client: Client) -> None:
    stub = health_pb2_grpc.HealthStub(client.channel)
    for service in ("", "martlet.v1.Streams", "martlet.v1.Admin", "martlet.v1.Work"):
        answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=CALL_SECONDS)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    unknown = health_pb2.HealthCheckRequest(service="no.such.Service")
    assert status_of(lambda: stub.Check(unknown, timeout=CALL_SECONDS))[0] == grpc.StatusCode.NOT_FOUND
    watch = stub.Watch(unknown, timeout=CALL_SECONDS)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    watch.cancel()
    watch = stub.Watch(health_pb2.HealthCheckRequest(), timeout=CALL_SECONDS)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    watch.cancel()


def test_reflection_v1alpha_describes_all_services(client: Client, api: Any) -> None:
    database = ProtoReflectionDescriptorDatabase(client.channel)
    services = set(database.get_services())
    assert {"martlet.v1.Streams", "martlet.v1.Admin", "martlet.v1.Work", "grpc.health.v1.Health"} <= services
    assert any(name.startswith("grpc.reflection.v1") for name in services)
    file = database.FindFileContainingSymbol("martlet.v1.Streams")
    assert [method.name for service in file.service for method in service.method] == [
        method.name for method in api.DESCRIPTOR.pool.FindServiceByName("martlet.v1.Streams").methods
    ]
    assert database.FindFileByName(file.name) == file
    with pytest.raises(KeyError):
        database.FindFileContainingSymbol("martlet.v1.NoSuchThing")


def test_reflection_v1_speaks_the_same_messages_under_its_own_name(client: Client) -> None:
    from grpc_reflection.v1alpha import reflection_pb2

    call = client.channel.stream_stream(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="martlet.v1.Admin"),
        reflection_pb2.ServerReflectionRequest(file_by_filename="no/such.proto"),
    ]
    services, file, missing = call(iter(requests), timeout=CALL_SECONDS)
    assert "martlet.v1.Streams" in [service.name for service in services.list_services_response.service]
    assert file.file_descriptor_response.file_descriptor_proto
    assert missing.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


def test_a_client_built_from_reflection_alone_can_publish(client: Client, topic: str) -> None:
    from google.protobuf import descriptor_pool, json_format, message_factory

    pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(client.channel))
    method = pool.FindServiceByName("martlet.v1.Streams").FindMethodByName("Publish")
    request_class = message_factory.GetMessageClass(method.input_type)
    answer_class = message_factory.GetMessageClass(method.output_type)
    request = json_format.ParseDict({"topic": topic, "records": [{"value": "aGVsbG8="}]}, request_class())
    call = client.channel.unary_unary(
        "/martlet.v1.Streams/Publish",
        request_serializer=request_class.SerializeToString,
        response_deserializer=answer_class.FromString,
    )
    assert call(request, timeout=CALL_SECONDS).batches[0].base_offset == 0
    assert client.records(topic)[0].value == b"hello"


@pytest.mark.parametrize("path", ["/martlet.v1.Streams/Nothing", "/no.such.Service/Call", "/x"])
def test_an_unknown_method_is_unimplemented(plain_client: Client, path: str) -> None:
    call = plain_client.channel.unary_unary(path)
    code, details = status_of(lambda: call(b"", timeout=CALL_SECONDS))
    assert code == grpc.StatusCode.UNIMPLEMENTED
    assert details


def test_a_message_that_is_no_protobuf_is_refused(plain_client: Client, topic: str) -> None:
    call = plain_client.channel.unary_unary("/martlet.v1.Streams/Publish")
    code, _ = status_of(lambda: call(b"\xff\xff\xff\xff", timeout=CALL_SECONDS))
    assert code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL)
    plain_client.publish(topic, b"the connection lives")


def test_two_requests_to_a_unary_method_are_refused(plain_client: Client, topic: str) -> None:
    api = plain_client.api
    call = plain_client.channel.stream_unary(
        "/martlet.v1.Streams/Publish", request_serializer=api.PublishRequest.SerializeToString
    )
    request = api.PublishRequest(topic=topic, records=[api.PublishRecord(value=b"x")])
    code, _ = status_of(lambda: call(iter([request, request]), timeout=CALL_SECONDS))
    assert code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.INVALID_ARGUMENT)


def test_no_request_to_a_unary_method_is_refused(plain_client: Client) -> None:
    call = plain_client.channel.stream_unary("/martlet.v1.Streams/Publish")
    code, _ = status_of(lambda: call(iter([]), timeout=CALL_SECONDS))
    assert code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.INVALID_ARGUMENT)


def test_keepalive_pings_are_answered(endpoint: Endpoint, api: Any, topic: str) -> None:
    options = (("grpc.keepalive_time_ms", 1000), ("grpc.keepalive_timeout_ms", 2000),
               ("grpc.http2.max_pings_without_data", 0))  # fmt: skip
    client = Client(endpoint, api, options)
    client.publish(topic, b"x")
    stream = client.subscribe(topic, seconds=4)
    next(stream)
    # Silence for longer than the pings would tolerate; the deadline, not the transport, ends the call.
    assert status_of(lambda: stream)[0] == grpc.StatusCode.DEADLINE_EXCEEDED
    client.channel.close()


# Shutdown.


@pytest.mark.parametrize("tls", [False, True], ids=["plaintext", "mtls"])
def test_sigterm_drains_calls_and_sends_goaway(
    start_broker: Callable[..., Broker], api: Any, topic: str, tls: bool
) -> None:
    own = start_broker()
    client = Client(Endpoint(own, tls), api)
    client.publish(topic, b"x")
    stream = client.subscribe(topic)
    next(stream)
    started = time.monotonic()
    own.terminate()
    code, details = status_of(lambda: stream)
    assert code == grpc.StatusCode.UNAVAILABLE, details
    assert own.wait() == 0
    assert time.monotonic() - started < 15
    client.channel.close()


def test_publishers_see_every_ack_that_sigterm_let_through(
    start_broker: Callable[..., Broker], api: Any, topic: str
) -> None:
    """Whatever was acked while the broker shut down is there afterwards; what was not is UNAVAILABLE."""
    own = start_broker(stable=True)
    client = Client(Endpoint(own, False), api)
    client.create(topic)
    acked: dict[int, bytes] = {}
    codes: set[grpc.StatusCode] = set()
    enough = threading.Event()

    def work(worker: int) -> None:
        for number in range(100_000):
            value = b"%d/%d" % (worker, number)
            try:
                acked[client.publish(topic, value).batches[0].base_offset] = value
            except grpc.RpcError as error:
                codes.add(error.code())
                return
            if len(acked) > 200:
                enough.set()

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    assert enough.wait(30)
    assert own.stop() == 0
    for thread in threads:
        thread.join()
    client.channel.close()
    assert codes <= {grpc.StatusCode.UNAVAILABLE}, codes
    own.start()
    again = Client(Endpoint(own, False), api)
    stored = {record.offset: record.value for record in again.records(topic)}
    again.channel.close()
    assert {offset: stored.get(offset) for offset in acked} == acked
