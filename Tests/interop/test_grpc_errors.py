# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: what every error of every method tells programs.
"""One table: a call that fails, and what its status has to say: a code, a constant reason, the field or the thing that it is
about, and a message with what to do. Over grpcio, whose rich status any client of gRPC reads alike."""

from __future__ import annotations

import base64
import gzip
import struct
from typing import Any, Callable, Iterator, NamedTuple, Optional

import grpc
import pytest
from confluent_kafka.admin import AclBinding, AclOperation, AclPermissionType, AdminClient, ResourcePatternType, ResourceType
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode

import http2
import secrecy
from broker import Broker, Endpoint
from grpc_client import CALL_SECONDS, Client, details_of
from test_quotas import alter
from test_sasl import set_password
from workers import Worker

PASSWORD = "password of the refused"
secrecy.keep(PASSWORD, "password of test_grpc_errors")


class Setting(NamedTuple):
    """What a row may use."""

    client: Client
    endpoint: Endpoint
    topic: str
    group: str

    @property
    def api(self) -> Any:
        return self.client.api


Action = Callable[[Setting], Any]


class Row(NamedTuple):
    name: str
    call: Action
    code: StatusCode
    reason: str
    #: The field in BadRequest.
    field: Optional[str] = None
    #: What ErrorInfo's metadata has to have, `%t` and `%g` for topic and group.
    metadata: dict[str, str] = {}
    #: Words of the message.
    words: tuple[str, ...] = ()


def unary(service: str, method: str, request: str, **fields: Any) -> Action:
    def call(setting: Setting) -> Any:
        made = {name: value(setting) if callable(value) else value for name, value in fields.items()}
        stub = getattr(setting.api, f"{service}Stub")(setting.client.channel)
        return getattr(stub, method)(getattr(setting.api, request)(**made), timeout=CALL_SECONDS)

    return call


def publish(**fields: Any) -> Action:
    fields.setdefault("topic", topic)
    fields.setdefault("records", lambda setting: [setting.api.PublishRecord(value=b"x")])
    return unary("Streams", "Publish", "PublishRequest", **fields)


def subscribe(**fields: Any) -> Action:
    def call(setting: Setting) -> Any:
        made = {name: value(setting) if callable(value) else value for name, value in fields.items()}
        if "resume_token" not in made and "topic_pattern" not in made:
            made.setdefault("topics", [setting.api.TopicSelection(topic=setting.topic)])
        return list(setting.client.streams.Subscribe(setting.api.SubscribeRequest(**made), timeout=CALL_SECONDS))

    return call


def stream(*requests: dict[str, Any]) -> Action:
    """A PublishStream; what ends it is its error."""

    def call(setting: Setting) -> Any:
        made = [
            setting.api.PublishStreamRequest(
                **{name: value(setting) if callable(value) else value for name, value in each.items()})
            for each in requests
        ]  # fmt: skip
        return list(setting.client.streams.PublishStream(iter(made), timeout=CALL_SECONDS))

    return call


def work(*requests: dict[str, Any], **fields: Any) -> Action:
    """A worker that opens, unless fields is empty, and then asks for more."""

    def call(setting: Setting) -> Any:
        made = {name: value(setting) if callable(value) else value for name, value in fields.items()}
        asked = [setting.api.ReceiveRequest(open=setting.api.WorkOpen(**made))] if made else []
        asked += [setting.api.ReceiveRequest(**{name: value(setting) for name, value in each.items()}) for each in requests]
        return list(setting.api.WorkStub(setting.client.channel).Receive(iter(asked), timeout=CALL_SECONDS))

    return call


def raw(path: str, *messages: bytes, streams: bool = False, **options: Any) -> Action:
    """Bytes as they are, as many messages as there are."""

    def call(setting: Setting) -> Any:
        name = "stream_stream" if streams else "stream_unary"
        answer = getattr(setting.client.channel, name)(path)(iter(messages), timeout=CALL_SECONDS, **options)
        return list(answer) if streams else answer

    return call


def topic(setting: Setting) -> str:
    return setting.topic


def group(setting: Setting) -> str:
    return setting.group


def missing(setting: Setting) -> str:
    return f"{setting.topic}-none"


def dead_letters(setting: Setting) -> str:
    return f"dlq.{setting.topic}"


def offsets(**fields: Any) -> Callable[[Setting], list[Any]]:
    def make(setting: Setting) -> list[Any]:
        return [setting.api.PartitionOffset(**{"topic": setting.topic, **fields})]

    return make


def token(setting: Setting) -> bytes:
    for answer in setting.client.subscribe(setting.topic, until_end=True, progress_interval_ms=100):
        if answer.HasField("progress"):
            return bytes(answer.progress.resume_token)
    raise AssertionError("no progress")


def deleted_token(setting: Setting) -> bytes:
    found = token(setting)
    setting.client.admin.DeleteTopic(setting.api.DeleteTopicRequest(name=setting.topic), timeout=CALL_SECONDS)
    return found


def commit_by_an_outsider(setting: Setting) -> Any:
    """Of a group that has a member."""
    member = setting.client.streams.Subscribe(
        setting.api.SubscribeRequest(
            topics=[setting.api.TopicSelection(topic=setting.topic)],
            member=setting.api.GroupMembership(group=setting.group)),
        timeout=CALL_SECONDS,
    )  # fmt: skip
    try:
        while not next(member).assignment.partitions:
            pass
        request = setting.api.CommitRequest(group=setting.group, offsets=offsets(offset=0)(setting))
        return setting.client.streams.Commit(request, timeout=CALL_SECONDS)
    finally:
        member.cancel()


def a_record_too_large(setting: Setting) -> Any:
    setting.client.create(f"{setting.topic}-small", max_message_bytes="2000")
    return setting.client.publish(f"{setting.topic}-small", b"x" * 4000)


def health(method: str, service: str) -> Action:
    field = service.encode()
    return raw(f"/grpc.health.v1.Health/{method}", b"\x0a" + bytes([len(field)]) + field, streams=method == "Watch")


INVALID = StatusCode.INVALID_ARGUMENT
T, G = {"topic": "%t"}, {"group": "%g"}
NOTHING = b"\xff\xff\xff\xff"
UNARY = {
    "martlet.v1.Streams": ["Publish", "Commit", "Committed"],
    "martlet.v1.Admin": ["CreateTopic", "DescribeTopic", "DeleteTopic"],
    "martlet.v1.Work": ["Redrive", "DescribeDeadLetters"],
}
STREAMING = ["martlet.v1.Streams/PublishStream", "martlet.v1.Streams/Subscribe", "martlet.v1.Work/Receive"]

TABLE = [
    # Bytes and frames.
    *(Row(f"no message: {method}", raw(f"/{service}/{method}", NOTHING), INVALID, "INVALID_MESSAGE",
          metadata={"message": f"{service.rsplit('.', 1)[0]}.{method}Request"}, words=(f"{method}Request", "reflection"))
      for service, methods in UNARY.items() for method in methods),
    *(Row(f"no message: {path}", raw(f"/{path}", NOTHING, streams=True), INVALID, "INVALID_MESSAGE",
          metadata={"message": f"martlet.v1.{path.rsplit('/', 1)[1]}Request"}, words=("Request",))
      for path in STREAMING),
    Row("no record", raw("/martlet.v1.Streams/Publish", b"\x0a\x01t\x1a\x02\xff\xff"), INVALID, "INVALID_MESSAGE",
        field="records[0]", metadata={"message": "martlet.v1.PublishRecord"}),
    Row("no method", raw("/martlet.v1.Streams/Nothing", b""), StatusCode.UNIMPLEMENTED, "UNKNOWN_METHOD",
        metadata={"method": "/martlet.v1.Streams/Nothing"}, words=("/martlet.v1.Streams/Nothing", "reflection")),
    Row("no service", raw("/nothing.v1.Nothing/Nothing", b""), StatusCode.UNIMPLEMENTED, "UNKNOWN_METHOD"),
    Row("no request", raw("/martlet.v1.Admin/ListTopics"), StatusCode.UNIMPLEMENTED, "WRONG_MESSAGE_COUNT"),
    Row("two requests", raw("/martlet.v1.Admin/ListTopics", b"", b""), StatusCode.UNIMPLEMENTED, "WRONG_MESSAGE_COUNT"),
    Row("an unknown compression", raw("/martlet.v1.Admin/ListTopics", b"", compression=grpc.Compression.Deflate),
        StatusCode.UNIMPLEMENTED, "UNSUPPORTED_COMPRESSION", metadata={"accepted": "identity,gzip"}),
    Row("a message over the limit", publish(records=lambda setting: [setting.api.PublishRecord(value=bytes(5 << 20))]),
        StatusCode.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE", metadata={"limit": "4194304"}, words=("4194304",)),
    Row("headers over the limit", raw("/martlet.v1.Admin/ListTopics", b"", metadata=[("x-long", "x" * 20_000)]),
        StatusCode.RESOURCE_EXHAUSTED, "HEADERS_TOO_LARGE"),
    # Publish.
    Row("publish: no topic", publish(topic=""), INVALID, "INVALID_FIELD", "topic"),
    Row("publish: an impossible topic", publish(topic="no/slash"), INVALID, "INVALID_TOPIC_NAME", "topic", {"topic": "no/slash"}),
    Row("publish: the broker's topic", publish(topic="__consumer_offsets"), INVALID, "INVALID_FIELD", "topic",
        {"topic": "__consumer_offsets"}),
    Row("publish: no records", publish(records=[]), INVALID, "INVALID_FIELD", "records"),
    Row("publish: a negative partition", publish(partition=-1), INVALID, "INVALID_FIELD", "partition"),
    Row("publish: a negative time", publish(records=lambda setting: [setting.api.PublishRecord(timestamp_ms=-1)]), INVALID,
        "INVALID_FIELD", "records[0].timestamp_ms", T),
    Row("publish: no such partition", publish(partition=7), StatusCode.NOT_FOUND, "UNKNOWN_PARTITION",
        metadata={**T, "partition": "7"}, words=("0 to 0",)),
    Row("publish: a record over the topic's limit", a_record_too_large, StatusCode.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE",
        "records", {"topic": "%t-small", "partition": "0"}, ("max.message.bytes",)),
    # PublishStream: what ends it.
    Row("stream: bytes after good requests",
        lambda setting: raw("/martlet.v1.Streams/PublishStream", setting.api.PublishStreamRequest(
            topic=setting.topic, records=[setting.api.PublishRecord()]).SerializeToString(), NOTHING, streams=True)(setting),
        INVALID, "INVALID_MESSAGE", metadata={"request": "1"}, words=("PublishStreamRequest",)),
    # Subscribe.
    Row("subscribe: nothing", subscribe(topics=[]), INVALID, "INVALID_FIELD", "topics"),
    Row("subscribe: no such topic", subscribe(topics=lambda s: [s.api.TopicSelection(topic=missing(s))]),
        StatusCode.NOT_FOUND, "UNKNOWN_TOPIC", metadata={"topic": "%t-none"}, words=("create it",)),
    Row("subscribe: no such partition", subscribe(topics=lambda s: [
        s.api.TopicSelection(topic=s.topic, partitions=[s.api.PartitionSelection(partition=3)])]),
        StatusCode.NOT_FOUND, "UNKNOWN_PARTITION", metadata={**T, "partition": "3"}),
    Row("subscribe: a partition twice", subscribe(topics=lambda s: [
        s.api.TopicSelection(topic=s.topic, partitions=[s.api.PartitionSelection()] * 2)]), INVALID, "INVALID_FIELD",
        "topics", T),
    Row("subscribe: a negative offset", subscribe(offset=-1), INVALID, "INVALID_FIELD", "offset", T),
    Row("subscribe: an offset beyond the end", subscribe(offset=99), StatusCode.OUT_OF_RANGE, "OFFSET_OUT_OF_RANGE",
        metadata={**T, "partition": "0", "offset": "99", "start_offset": "0", "end_offset": "1"}, words=("set origin",)),
    Row("subscribe: a negative time", subscribe(timestamp_ms=-1), INVALID, "INVALID_FIELD", "timestamp_ms", words=("origin",)),
    Row("subscribe: no group", subscribe(group=""), INVALID, "INVALID_FIELD", "group"),
    Row("subscribe: an unknown origin", subscribe(origin=77), INVALID, "INVALID_FIELD", "origin"),
    Row("subscribe: an unknown isolation", subscribe(isolation=77), INVALID, "INVALID_FIELD", "isolation"),
    Row("subscribe: no pattern", subscribe(topic_pattern="[a-z]"), INVALID, "INVALID_FIELD", "topic_pattern"),
    Row("subscribe: an empty filter", subscribe(filters=lambda s: [s.api.RecordFilter()]), INVALID, "INVALID_FIELD", "filters[0]"),
    Row("subscribe: filters over the limit", subscribe(filters=lambda s: [s.api.RecordFilter(key=bytes(65_537))]), INVALID,
        "INVALID_FIELD", "filters", words=("65536",)),
    Row("subscribe: messages over the limit", subscribe(max_bytes_per_message=5 << 20), INVALID, "INVALID_FIELD",
        "max_bytes_per_message"),
    Row("subscribe: progress too often", subscribe(progress_interval_ms=1), INVALID, "INVALID_FIELD", "progress_interval_ms"),
    Row("subscribe: no token", subscribe(resume_token=b"x"), INVALID, "INVALID_FIELD", "resume_token"),
    Row("subscribe: a token and a start", subscribe(resume_token=token, offset=0), INVALID, "INVALID_FIELD", "resume_token"),
    Row("subscribe: a deleted topic's token", subscribe(resume_token=deleted_token), StatusCode.NOT_FOUND, "UNKNOWN_TOPIC_ID",
        metadata=T),
    Row("subscribe: a member of nothing", subscribe(member=lambda s: s.api.GroupMembership()), INVALID, "INVALID_FIELD",
        "member.group"),
    Row("subscribe: a member with a start", subscribe(offset=0, member=lambda s: s.api.GroupMembership(group=s.group)), INVALID,
        "INVALID_FIELD", "member"),
    # Groups.
    Row("commit: no group", unary("Streams", "Commit", "CommitRequest"), INVALID, "INVALID_FIELD", "group"),
    Row("commit: nothing", unary("Streams", "Commit", "CommitRequest", group=group), INVALID, "INVALID_FIELD", "offsets", G),
    Row("commit: a negative offset", unary("Streams", "Commit", "CommitRequest", group=group, offsets=offsets(offset=-1)),
        INVALID, "INVALID_FIELD", "offsets", {**T, "partition": "0"}),
    Row("commit: long metadata",
        unary("Streams", "Commit", "CommitRequest", group=group, offsets=offsets(metadata="x" * 4097)), INVALID,
        "INVALID_FIELD", "offsets", T, ("4096",)),
    Row("commit: no such partition", unary("Streams", "Commit", "CommitRequest", group=group, offsets=offsets(partition=9)),
        StatusCode.NOT_FOUND, "UNKNOWN_PARTITION", metadata={**T, "partition": "9"}),
    Row("commit: no member", unary("Streams", "Commit", "CommitRequest", group=group, offsets=offsets(), member_id="nobody",
                                   member_epoch=1), StatusCode.NOT_FOUND, "GROUP_ID_NOT_FOUND", metadata=G),
    Row("commit: of a group with members", commit_by_an_outsider, StatusCode.FAILED_PRECONDITION, "UNKNOWN_MEMBER_ID", metadata=G),
    Row("committed: no group", unary("Streams", "Committed", "CommittedRequest"), INVALID, "INVALID_FIELD", "group"),
    # Topics.
    Row("create: no name", unary("Admin", "CreateTopic", "CreateTopicRequest"), INVALID, "INVALID_TOPIC_NAME", "name"),
    Row("create: an impossible name", unary("Admin", "CreateTopic", "CreateTopicRequest", name="a b"), INVALID,
        "INVALID_TOPIC_NAME", "name", {"topic": "a b"}),
    Row("create: the broker's topic", unary("Admin", "CreateTopic", "CreateTopicRequest", name="__share_group_state"), INVALID,
        "INVALID_FIELD", "name", {"topic": "__share_group_state"}),
    Row("create: partitions below 0", unary("Admin", "CreateTopic", "CreateTopicRequest", name=topic, partition_count=-1),
        INVALID, "INVALID_FIELD", "partition_count", T),
    Row("create: too many partitions", unary("Admin", "CreateTopic", "CreateTopicRequest", name=missing,
                                             partition_count=2**31 - 1), INVALID, "INVALID_PARTITION_COUNT", "partition_count",
        {"topic": "%t-none"}),
    Row("create: an unknown setting", unary("Admin", "CreateTopic", "CreateTopicRequest", name=missing,
                                            configs={"no.such": "1"}), INVALID, "INVALID_CONFIGURATION", "configs",
        {"topic": "%t-none"}, ("no.such",)),
    Row("create: there already", unary("Admin", "CreateTopic", "CreateTopicRequest", name=topic), StatusCode.ALREADY_EXISTS,
        "TOPIC_EXISTS", metadata=T),
    Row("describe: no name", unary("Admin", "DescribeTopic", "DescribeTopicRequest"), INVALID, "INVALID_FIELD", "name"),
    Row("describe: no such topic", unary("Admin", "DescribeTopic", "DescribeTopicRequest", name=missing),
        StatusCode.NOT_FOUND, "UNKNOWN_TOPIC", metadata={"topic": "%t-none"}),
    Row("delete: no such topic", unary("Admin", "DeleteTopic", "DeleteTopicRequest", name=missing), StatusCode.NOT_FOUND,
        "UNKNOWN_TOPIC", metadata={"topic": "%t-none"}),
    Row("delete: the broker's topic", unary("Admin", "DeleteTopic", "DeleteTopicRequest", name="__consumer_offsets"), INVALID,
        "INVALID_FIELD", "name"),
    # Work.
    Row("work: not open", work({"ack": lambda s: s.api.WorkAck(delivery_ids=[1])}), StatusCode.FAILED_PRECONDITION, "NOT_OPEN",
        words=("open",)),
    Row("work: open twice", work({"open": lambda s: s.api.WorkOpen(group=s.group, topics=[s.topic])}, group=group,
                                 topics=lambda s: [s.topic]), StatusCode.FAILED_PRECONDITION, "OPEN_TWICE", metadata=G),
    Row("work: nothing asked", lambda s: list(s.api.WorkStub(s.client.channel).Receive(
        iter([s.api.ReceiveRequest()]), timeout=CALL_SECONDS)), INVALID, "INVALID_FIELD", "kind"),
    Row("work: no group", work(group="", topics=lambda s: [s.topic]), INVALID, "INVALID_FIELD", "open.group"),
    Row("work: a long group", work(group="g" * 1025, topics=lambda s: [s.topic]), INVALID, "INVALID_GROUP_ID", "open.group"),
    Row("work: no topics", work(group=group), INVALID, "INVALID_FIELD", "open.topics"),
    Row("work: no such topic", work(group=group, topics=lambda s: [missing(s)]), StatusCode.NOT_FOUND, "UNKNOWN_TOPIC",
        metadata={"topic": "%t-none"}),
    Row("work: too much", work(group=group, topics=lambda s: [s.topic], max_in_flight=10_001), INVALID, "INVALID_FIELD",
        "open.max_in_flight"),
    Row("work: a short lease", work(group=group, topics=lambda s: [s.topic], lease_ms=1), INVALID, "INVALID_FIELD",
        "open.lease_ms"),
    Row("work: settles nothing", work({"ack": lambda s: s.api.WorkAck()}, group=group, topics=lambda s: [s.topic]), INVALID,
        "INVALID_FIELD", "ack.delivery_ids"),
    Row("work: a long delay",
        work({"nack": lambda s: s.api.WorkNack(delivery_ids=[1], delay_ms=2**40)}, group=group, topics=lambda s: [s.topic]),
        INVALID, "INVALID_FIELD", "nack.delay_ms"),
    Row("work: a group of another kind", lambda s: commit_and_work(s), StatusCode.NOT_FOUND, "GROUP_ID_NOT_FOUND", metadata=G),
    *(Row(f"{method}: no such topic", unary("Work", method, f"{method}Request", dead_letter_topic=dead_letters),
          StatusCode.NOT_FOUND, "UNKNOWN_TOPIC", metadata={"topic": "dlq.%t"})
      for method in ("Redrive", "DescribeDeadLetters")),
    *(Row(f"{method}: no dead letters", unary("Work", method, f"{method}Request", dead_letter_topic=topic), INVALID,
          "INVALID_FIELD", "dead_letter_topic", T)
      for method in ("Redrive", "DescribeDeadLetters")),
    # Health.
    Row("health: no such service", health("Check", "nothing"), StatusCode.NOT_FOUND, "UNKNOWN_SERVICE",
        metadata={"service": "nothing"}),
]  # fmt: skip


def commit_and_work(setting: Setting) -> Any:
    request = setting.api.CommitRequest(group=setting.group, offsets=offsets(offset=0)(setting))
    setting.client.streams.Commit(request, timeout=CALL_SECONDS)
    return work(group=group, topics=lambda s: [s.topic])(setting)


def check(setting: Setting, row: Row) -> dict[str, Message]:
    with pytest.raises(grpc.RpcError) as failure:
        row.call(setting)
    error = failure.value
    assert error.code() == row.code, error.details()
    status, found = details_of(error)
    assert status.code == row.code.value[0] and status.message == error.details()
    # Not only what is wrong, in more than a word.
    assert len(status.message) > 15 and "Error" not in status.message, status.message
    info = found["ErrorInfo"]
    assert (info.domain, info.reason) == ("martlet", row.reason), status.message
    wanted = {
        name: value.replace("%t", setting.topic).replace("%g", setting.group) for name, value in row.metadata.items()
    }
    assert wanted.items() <= dict(info.metadata).items(), dict(info.metadata)
    if row.field is None:
        assert "BadRequest" not in found, found["BadRequest"]
    else:
        (violation,) = found["BadRequest"].field_violations
        assert violation.field == row.field and violation.description == status.message
    assert all(word in status.message for word in row.words), status.message
    return found


@pytest.fixture
def setting(plaintext: Endpoint, api: Any, topic: str, group: str) -> Iterator[Setting]:
    opened = Client(plaintext, api)
    opened.publish(topic, b"x")
    yield Setting(opened, plaintext, topic, group)
    opened.channel.close()


@pytest.mark.parametrize("row", [pytest.param(row, id=row.name) for row in TABLE])
def test_an_error_says_what_where_and_what_to_do(setting: Setting, row: Row) -> None:
    check(setting, row)
    setting.client.publish(setting.topic, b"the connection lives")


def test_the_errors_of_a_streams_requests_say_as_much_as_those_of_calls(setting: Setting) -> None:
    api, topic = setting.api, setting.topic
    record = api.PublishRecord(value=b"x")
    setting.client.create(f"{topic}-small", max_message_bytes="2000")
    rows = [
        (dict(records=[record]), INVALID, "INVALID_FIELD", "topic", {}),
        (dict(topic=topic), INVALID, "INVALID_FIELD", "records", {}),
        (dict(topic=topic, records=[record], partition=-1), INVALID, "INVALID_FIELD", "partition", {}),
        (dict(topic=topic, records=[record], partition=9), StatusCode.NOT_FOUND, "UNKNOWN_PARTITION", "",
         {"topic": topic, "partition": "9"}),
        (dict(topic="a b", records=[record]), INVALID, "INVALID_TOPIC_NAME", "topic", {"topic": "a b"}),
        (dict(topic="__consumer_offsets", records=[record]), INVALID, "INVALID_FIELD", "topic", {"topic": "__consumer_offsets"}),
        (dict(topic=topic, records=[record, api.PublishRecord(timestamp_ms=-1)]), INVALID, "INVALID_FIELD",
         "records[1].timestamp_ms", {"topic": topic}),
        (dict(topic=f"{topic}-small", records=[api.PublishRecord(value=bytes(4000))]), StatusCode.RESOURCE_EXHAUSTED,
         "MESSAGE_TOO_LARGE", "records", {"topic": f"{topic}-small", "partition": "0"}),
    ]  # fmt: skip
    requests = iter([api.PublishStreamRequest(**fields) for fields, *_ in rows])
    answers = setting.client.streams.PublishStream(requests, timeout=CALL_SECONDS)
    results = [result for answer in answers for result in answer.results]
    for result, (_, code, reason, field, metadata) in zip(results, rows, strict=True):
        error = result.error
        assert (error.code, error.reason, error.field) == (code.value[0], reason, field), error
        assert metadata.items() <= dict(error.metadata).items() and len(error.message) > 15, error


def test_a_deadline_that_the_broker_ends_a_call_at_has_details(plaintext: Endpoint, topic: str, api: Any) -> None:
    """grpcio ends a call at its deadline by itself; who waits longer than it says hears from the broker."""
    message = api.SubscribeRequest(topics=[api.TopicSelection(topic=topic)]).SerializeToString()
    client = Client(plaintext, api)
    client.create(topic)
    client.channel.close()
    with http2.Connection(plaintext) as connection:
        connection.headers(1, [*http2.grpc_request("/martlet.v1.Streams/Subscribe"), ("grpc-timeout", "50m")])
        connection.data(1, struct.pack(">?I", False, len(message)) + message, flags=http2.END_STREAM)
        fields = connection.answer(1)
    assert fields["grpc-status"] == str(StatusCode.DEADLINE_EXCEEDED.value[0])
    found = status_pb2.Status.FromString(base64.b64decode(fields["grpc-status-details-bin"] + "=="))
    info = error_details_pb2.ErrorInfo()
    assert found.details[0].Unpack(info) and info.reason == "DEADLINE_EXCEEDED"


def test_a_content_type_of_others_is_415_and_frames_that_are_wrong_have_details(plaintext: Endpoint) -> None:
    fields = [(name, "application/thrift" if name == "content-type" else value) for name, value in http2.grpc_request()]
    with http2.Connection(plaintext) as connection:
        connection.headers(1, fields, http2.END_HEADERS | http2.END_STREAM)
        assert connection.answer(1)[":status"] == "415"
        path = "/martlet.v1.Admin/ListTopics"
        packed = gzip.compress(b"")
        for stream, body, reason in (
            (3, b"\0\0\0\0\x05ab", "INCOMPLETE_MESSAGE"),
            (5, b"\x07\0\0\0\0", "INVALID_FRAME"),
            (7, struct.pack(">?I", True, len(packed)) + packed, "INVALID_COMPRESSION"),
        ):
            connection.headers(stream, http2.grpc_request(path))
            connection.data(stream, body, flags=http2.END_STREAM)
            answer = connection.answer(stream)
            assert answer["grpc-status"] == "13"
            status = status_pb2.Status.FromString(base64.b64decode(answer["grpc-status-details-bin"] + "=="))
            info = error_details_pb2.ErrorInfo()
            assert status.details[0].Unpack(info) and info.reason == reason


def test_a_commit_beyond_the_end_is_stored_and_told_to_who_reads_from_it(setting: Setting) -> None:
    """As over Kafka's protocol: who commits may know more of the log than the broker, whose disk was changed, does."""
    api, client = setting.api, setting.client
    request = api.CommitRequest(group=setting.group, offsets=offsets(offset=99)(setting))
    client.streams.Commit(request, timeout=CALL_SECONDS)
    stored = client.streams.Committed(api.CommittedRequest(group=setting.group), timeout=CALL_SECONDS)
    assert [(each.topic, each.offset) for each in stored.offsets] == [(setting.topic, 99)]
    row = Row("read", subscribe(group=group, until_end=True), StatusCode.OUT_OF_RANGE, "OFFSET_OUT_OF_RANGE",
              metadata={**T, "offset": "99", "end_offset": "1"})  # fmt: skip
    check(setting, row)
    assert len(client.records(setting.topic, group=setting.group, origin=api.ORIGIN_EARLIEST)) == 1


# Logins, rules, quotas.


@pytest.fixture
def guarded(start_broker: Callable[..., Broker], api: Any, topic: str, group: str) -> Iterator[Setting]:
    """A caller without rights, of a broker that wants a name and has a rule for somebody else."""
    own = start_broker(
        mode="serve",
        arguments=["--sasl-enabled-mechanisms", "SCRAM-SHA-256,PLAIN", "--tls-client-auth", "requested",
                   "--super-users", "User:CN=client"])  # fmt: skip
    set_password(own, "mallory", PASSWORD)
    administrator = Client(Endpoint(own, tls=True), api)
    administrator.create(topic)
    administrator.channel.close()
    opened = Client(Endpoint(own, tls=False), api)
    yield Setting(opened, Endpoint(own, tls=False), topic, group)
    opened.channel.close()


def login(password: str, call: Action) -> Action:
    """The same call with a name and a password."""
    basic = "Basic " + base64.b64encode(f"mallory:{password}".encode()).decode()

    class Named(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor, grpc.StreamStreamClientInterceptor):
        def intercept(self, continuation: Any, details: Any, request: Any) -> Any:
            metadata = [*(details.metadata or []), ("authorization", basic)]
            return continuation(details._replace(metadata=metadata), request)

        intercept_unary_unary = intercept_unary_stream = intercept_stream_stream = intercept

    def named(setting: Setting) -> Any:
        client = Client(setting.endpoint, setting.api)
        client.channel = grpc.intercept_channel(client.channel, Named())
        client.streams, client.admin = setting.api.StreamsStub(client.channel), setting.api.AdminStub(client.channel)
        return call(setting._replace(client=client))

    return named


def test_who_is_not_let_is_told_why(guarded: Setting) -> None:
    denied = StatusCode.PERMISSION_DENIED
    for row in (
        Row("no login", publish(), StatusCode.UNAUTHENTICATED, "LOGIN_REQUIRED", words=("a name and a password",)),
        Row("a wrong password", login("no", publish()), StatusCode.UNAUTHENTICATED, "LOGIN_FAILED"),
        Row("publish", login(PASSWORD, publish()), denied, "ACCESS_DENIED", metadata={**T, "operation": "write"}, words=("rule",)),
        Row("subscribe", login(PASSWORD, subscribe()), denied, "ACCESS_DENIED", metadata={**T, "operation": "read"}),
        Row("commit", login(PASSWORD, unary("Streams", "Commit", "CommitRequest", group=group, offsets=offsets())), denied,
            "ACCESS_DENIED", metadata={**G, "operation": "read"}),
        Row("committed", login(PASSWORD, unary("Streams", "Committed", "CommittedRequest", group=group)), denied,
            "ACCESS_DENIED", metadata=G),
        Row("create", login(PASSWORD, unary("Admin", "CreateTopic", "CreateTopicRequest", name=missing)), denied,
            "ACCESS_DENIED", metadata={"topic": "%t-none", "operation": "create"}),
        Row("describe", login(PASSWORD, unary("Admin", "DescribeTopic", "DescribeTopicRequest", name=topic)), denied,
            "ACCESS_DENIED", metadata=T),
        Row("delete", login(PASSWORD, unary("Admin", "DeleteTopic", "DeleteTopicRequest", name=topic)), denied,
            "ACCESS_DENIED", metadata={**T, "operation": "delete"}),
        Row("work", login(PASSWORD, work(group=group, topics=lambda s: [s.topic])), denied, "ACCESS_DENIED", metadata=G),
        Row("redrive", login(PASSWORD, unary("Work", "Redrive", "RedriveRequest", dead_letter_topic=dead_letters)), denied,
            "ACCESS_DENIED", metadata={"topic": "dlq.%t"}),
    ):  # fmt: skip
        if row.name == "publish":
            deny_everything(guarded)
        check(guarded, row)
    stream_error = login(PASSWORD, stream(dict(topic=topic, records=lambda s: [s.api.PublishRecord()])))(guarded)[0]
    error = stream_error.results[0].error
    assert (error.code, error.reason) == (denied.value[0], "ACCESS_DENIED") and error.metadata["topic"] == guarded.topic


def deny_everything(guarded: Setting) -> None:
    """From the first rule on, only what a rule allows is allowed."""
    rule = AclBinding(ResourceType.TOPIC, "of-others", ResourcePatternType.LITERAL, "User:other", "*", AclOperation.READ,
                      AclPermissionType.ALLOW)  # fmt: skip
    administrator = AdminClient(Endpoint(guarded.endpoint.broker, tls=True).librdkafka())
    administrator.create_acls([rule])[rule].result(20)


def test_who_is_over_a_quota_is_told_when_to_come_back(fresh_broker: Broker, api: Any, topic: str, group: str) -> None:
    endpoint = Endpoint(fresh_broker, tls=False)
    assert alter(fresh_broker, {"user": None}, controller_mutation_rate=1.0) == 0
    setting = Setting(Client(endpoint, api), endpoint, topic, group)

    def create(setting: Setting) -> Any:
        for number in range(50):
            setting.client.create(f"{setting.topic}-{number}", partitions=5)
        return None

    found = check(setting, Row("quota", create, StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED",
                               metadata={"quota": "controller_mutation_rate"}, words=("try again",)))  # fmt: skip
    assert found["RetryInfo"].retry_delay.ToMilliseconds() > 0
    assert found["ErrorInfo"].metadata["topic"].startswith(topic)
    setting.client.channel.close()


def test_a_worker_whose_topic_is_deleted_is_told_which(plaintext: Endpoint, api: Any, topic: str, group: str) -> None:
    client = Client(plaintext, api)
    client.create(topic)
    with Worker(plaintext, api, group, topic) as worker:
        worker.open()
        client.admin.DeleteTopic(api.DeleteTopicRequest(name=topic), timeout=CALL_SECONDS)
        with pytest.raises(grpc.RpcError) as failure:
            while True:
                worker.step()
    _, found = details_of(failure.value)
    assert found["ErrorInfo"].reason == "UNKNOWN_TOPIC" and found["ErrorInfo"].metadata["topic"] == topic
    client.channel.close()
