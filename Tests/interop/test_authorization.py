# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: what each Kafka request and each gRPC call needs its client to be allowed, as one table.
"""For each need a client that may do everything but this, and is refused; then one that may do this alone, and is served.

The table is Apache Kafka's: the operations of its security documentation, the error codes of KafkaApis and ControllerApis.
"""

from __future__ import annotations

import base64
import itertools
import json
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterator, Optional

import grpc
import pytest

import protocol
import schemas
import secrecy
import wire
from bad_requests import ROWS
from bad_requests.table import Scene
from broker import Broker
from schemas import Versions
from test_bad_requests import NAMES
from test_identity_matrix import ports
from wire import Wire

PASSWORD = "only for the table of needs"
secrecy.keep(PASSWORD, "password of test_authorization")

#: Kafka's numbers.
READ, WRITE, CREATE, DELETE, ALTER, DESCRIBE, CLUSTER_ACTION, DESCRIBE_CONFIGS, ALTER_CONFIGS, IDEMPOTENT_WRITE = range(3, 13)
OPERATIONS = range(READ, IDEMPOTENT_WRITE + 1)
TOPIC, GROUP, CLUSTER, TRANSACTION = 2, 3, 4, 5
KINDS = {TOPIC: "*", GROUP: "*", CLUSTER: "kafka-cluster", TRANSACTION: "*"}
DENIED = {TOPIC: 29, GROUP: 30, CLUSTER: 31, TRANSACTION: 53}
#: What allows an operation, besides itself.
IMPLIED_BY = {DESCRIBE: {READ, WRITE, DELETE, ALTER}, DESCRIBE_CONFIGS: {ALTER_CONFIGS}}

Right = tuple[int, int]


@dataclass(frozen=True)
class Need:
    """Any of these rights is enough; without all of them the answer has this code."""

    rights: tuple[Right, ...]
    code: int
    versions: str = "0+"


def need(operation: int, kind: int, *alternatives: Right, code: Optional[int] = None, versions: str = "0+") -> Need:
    return Need(((operation, kind), *alternatives), code or DENIED[kind], versions)


READ_GROUP, READ_TOPIC, DESCRIBE_TOPIC = need(READ, GROUP), need(READ, TOPIC), need(DESCRIBE, TOPIC)
DESCRIBE_GROUP, DELETE_GROUP, WRITE_TRANSACTION = need(DESCRIBE, GROUP), need(DELETE, GROUP), need(WRITE, TRANSACTION)
ALTER_CLUSTER, DESCRIBE_CLUSTER = need(ALTER, CLUSTER), need(DESCRIBE, CLUSTER)
NEEDS: dict[int, list[Need]] = {
    0: [need(WRITE, TOPIC)], 1: [READ_TOPIC], 2: [DESCRIBE_TOPIC], 3: [DESCRIBE_TOPIC],
    8: [READ_GROUP, READ_TOPIC], 9: [DESCRIBE_GROUP, DESCRIBE_TOPIC], 10: [DESCRIBE_GROUP],
    11: [READ_GROUP], 12: [READ_GROUP], 13: [READ_GROUP], 14: [READ_GROUP], 15: [DESCRIBE_GROUP], 16: [],
    17: [], 18: [], 36: [], 60: [], 66: [], 71: [], 72: [],
    19: [need(CREATE, TOPIC, (CREATE, CLUSTER))], 20: [need(DELETE, TOPIC)], 21: [need(DELETE, TOPIC)],
    22: [WRITE_TRANSACTION], 23: [DESCRIBE_TOPIC],
    # From version 4 on only brokers send it.
    24: [need(WRITE, TRANSACTION, versions="0-3"), need(WRITE, TOPIC, versions="0-3"), need(CLUSTER_ACTION, CLUSTER, versions="4+")],
    25: [WRITE_TRANSACTION, READ_GROUP], 26: [WRITE_TRANSACTION],
    27: [need(CLUSTER_ACTION, CLUSTER, (ALTER, CLUSTER))], 28: [WRITE_TRANSACTION, READ_GROUP, READ_TOPIC],
    29: [DESCRIBE_CLUSTER], 30: [ALTER_CLUSTER], 31: [ALTER_CLUSTER],
    32: [need(DESCRIBE_CONFIGS, TOPIC)], 33: [need(ALTER_CONFIGS, TOPIC)], 44: [need(ALTER_CONFIGS, TOPIC)],
    34: [ALTER_CLUSTER], 35: [need(DESCRIBE, CLUSTER, versions="3+")], 37: [need(ALTER, TOPIC)], 42: [DELETE_GROUP],
    43: [ALTER_CLUSTER], 45: [ALTER_CLUSTER], 46: [DESCRIBE_CLUSTER], 47: [DELETE_GROUP, READ_TOPIC],
    48: [need(DESCRIBE_CONFIGS, CLUSTER)], 49: [need(ALTER_CONFIGS, CLUSTER)], 50: [DESCRIBE_CLUSTER], 51: [ALTER_CLUSTER],
    55: [DESCRIBE_CLUSTER], 57: [ALTER_CLUSTER], 61: [READ_TOPIC], 65: [need(DESCRIBE, TRANSACTION)],
    68: [READ_GROUP, DESCRIBE_TOPIC], 69: [DESCRIBE_GROUP, DESCRIBE_TOPIC], 74: [need(DESCRIBE_CONFIGS, CLUSTER)], 75: [DESCRIBE_TOPIC],
    76: [READ_GROUP, DESCRIBE_TOPIC], 77: [DESCRIBE_GROUP, DESCRIBE_TOPIC], 78: [READ_GROUP, READ_TOPIC], 79: [READ_GROUP],
    90: [DESCRIBE_GROUP], 91: [READ_GROUP, READ_TOPIC], 92: [DELETE_GROUP, READ_TOPIC],
}  # fmt: skip


def all_but(rights: tuple[Right, ...]) -> set[Right]:
    missing = {(operation, kind) for wanted, kind in rights for operation in {wanted} | IMPLIED_BY.get(wanted, set())}
    return {(operation, kind) for operation, kind in itertools.product(OPERATIONS, KINDS)} - missing


class Place:
    """A broker with one listener where everybody is a super user, and one where alice logs in."""

    def __init__(self, binary: str, folder: Path):
        self.own = Broker(binary, folder, mode="serve", arguments=[
            "--listen", "open://127.0.0.1:0,logins://127.0.0.1:0", "--listener-name-logins-sasl-enabled-mechanisms", "PLAIN",
            "--super-users", "User:ANONYMOUS", "--durability", "memory", "--group-initial-rebalance-delay-ms", "0"]).start()  # fmt: skip
        admin, users = (f"127.0.0.1:{port}" for port in ports(self.own))
        done = self.own.run("user", "add", "alice", "--password-file", "-", "--bootstrap", admin, input=PASSWORD.encode() + b"\n")
        assert done.returncode == 0, done.stderr
        self.scene = Scene(admin)
        self.address = users
        self.alice = self.login()
        self.rights: Optional[set[Right]] = None

    def login(self) -> Wire:
        connection = Wire(self.address)
        connection.call(wire.request(17, 1, 1, wire.string("PLAIN"), flexible=False))
        token = f"\0alice\0{PASSWORD}".encode()
        connection.call(wire.request(36, 1, 1, wire.i32(len(token)) + token, flexible=False))
        return connection

    def allow(self, rights: set[Right]) -> None:
        """These alone, on everything; and a rule about nobody, so that there is one."""
        if rights == self.rights:
            return
        any_rule = {"ResourceTypeFilter": 1, "ResourceNameFilter": None, "PatternTypeFilter": 1, "PrincipalFilter": "User:alice",
                    "HostFilter": None, "Operation": 1, "PermissionType": 1}  # fmt: skip
        assert self.scene.call(31, 1, {"Filters": [any_rule]})["FilterResults"][0]["ErrorCode"] == 0
        rules = [("User:alice", operation, kind) for operation, kind in sorted(rights)] + [("User:nobody", READ, TOPIC)]
        made = self.scene.call(30, 1, {"Creations": [
            {"ResourceType": kind, "ResourceName": KINDS[kind], "ResourcePatternType": 3, "Principal": user, "Host": "*",
             "Operation": operation, "PermissionType": 3} for user, operation, kind in rules]})  # fmt: skip
        assert {result["ErrorCode"] for result in made["Results"]} == {0}
        self.rights = set(rights)

    def call(self, key: int, version: int, values: dict[str, Any]) -> set[int]:
        """The codes of the answer to alice, other than 0."""
        frame = schemas.encode(key, version, values)[0]
        try:
            answer = self.alice.call(wire.i32(len(frame)) + frame)
        except ConnectionError:
            self.alice = self.login()
            raise
        return {code for code in schemas.codes(schemas.decode(key, version, answer)) if code}


@pytest.fixture(scope="module")
def place(binary: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    made = Place(binary, tmp_path_factory.mktemp("authorization"))
    yield made
    made.own.close()


def versions(place: Place, key: int) -> list[int]:
    served = place.scene.call(18, 3, {"ClientSoftwareName": "interop", "ClientSoftwareVersion": "1"})["ApiKeys"]
    found = [one for one in served if one["ApiKey"] == key]
    return [version for one in found for version in range(one["MinVersion"], one["MaxVersion"] + 1) if version >= ROWS[key].first]


def test_every_request_has_a_row(place: Place) -> None:
    assert set(NEEDS) == set(ROWS)


@pytest.mark.parametrize("key", sorted(set(NEEDS) - {17, 36}), ids=NAMES.get)
def test_a_request_needs_just_this(place: Place, key: int) -> None:
    row, wrong = ROWS[key], []

    def check(name: str, rights: set[Right], judge: Callable[[int, set[int]], bool], only: str = "0+") -> None:
        place.allow(rights)
        for version in versions(place, key):
            if version in Versions.parse(only):
                codes = place.call(key, version, row.base(place.scene, version))
                if not judge(version, codes):
                    wrong.append(f"v{version}: {name}: {sorted(codes)}")

    for missing in NEEDS[key]:
        check(f"without {missing}", all_but(missing.rights), lambda _, codes: missing.code in codes, missing.versions)
    for choice in itertools.product(*[one.rights for one in NEEDS[key]]):
        check(f"with {choice} alone", set(choice), lambda version, codes: codes == row.answered(version))
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("key, values, name, rights", [
    # Groups, topics of offsets, transactions: what may not be seen is left out.
    (16, {"StatesFilter": [], "TypesFilter": []}, Scene.GROUP, ((DESCRIBE, GROUP), (DESCRIBE, CLUSTER))),
    (3, {"Topics": None, "AllowAutoTopicCreation": False}, Scene.TOPIC, ((DESCRIBE, TOPIC),)),
    (75, {"Topics": [], "ResponsePartitionLimit": 100}, Scene.TOPIC, ((DESCRIBE, TOPIC),)),
    (66, {"StateFilters": [], "ProducerIdFilters": [], "DurationFilter": -1}, Scene.PRODUCER, ((DESCRIBE, TRANSACTION),)),
])  # fmt: skip
def test_lists_leave_out_what_may_not_be_seen(
    place: Place, key: int, values: dict[str, Any], name: str, rights: tuple[Right, ...]
) -> None:
    version = versions(place, key)[-1]

    def seen(allowed: set[Right]) -> bool:
        place.allow(allowed)
        frame = schemas.encode(key, version, values)[0]
        return name in json.dumps(schemas.decode(key, version, place.alice.call(wire.i32(len(frame)) + frame)), default=str).split('"')

    assert not seen(all_but(rights))
    assert all(seen({right}) for right in rights)


def test_a_producer_that_writes_once_needs_any_topic_or_the_cluster(place: Place) -> None:
    values = {"TransactionalId": None, "TransactionTimeoutMs": 1000, "ProducerId": -1, "ProducerEpoch": -1}
    place.allow(all_but(((WRITE, TOPIC), (IDEMPOTENT_WRITE, CLUSTER))))
    assert place.call(22, 4, values) == {31}
    for right in ((WRITE, TOPIC), (IDEMPOTENT_WRITE, CLUSTER)):
        place.allow({right})
        assert place.call(22, 4, values) == set()


@pytest.mark.parametrize("kind, name, operation_kind", [(4, "", CLUSTER), (8, "", CLUSTER), (32, "kept-group", GROUP), (16, "m", CLUSTER)])
def test_configurations_are_the_clusters_or_the_groups(place: Place, kind: int, name: str, operation_kind: int) -> None:
    resource = {"ResourceType": kind, "ResourceName": name or str(place.scene.node)}
    for key, operation, more in ((32, DESCRIBE_CONFIGS, {"ConfigurationKeys": None}), (44, ALTER_CONFIGS, {"Configs": []})):
        values = {"Resources": [{**resource, **more}]}
        place.allow(all_but(((operation, operation_kind),)))
        assert place.call(key, 1, values) == {DENIED[operation_kind]}
        place.allow({(operation, operation_kind)})
        assert DENIED[operation_kind] not in place.call(key, 1, values)


@pytest.mark.parametrize("key, version, values", [
    (60, 1, {"EndpointType": 1, "IncludeClusterAuthorizedOperations": True}),
    (3, 8, {"Topics": [], "IncludeClusterAuthorizedOperations": True}),
])  # fmt: skip
def test_operations_on_the_cluster_are_told_to_those_who_may_describe_it(
    place: Place, key: int, version: int, values: dict[str, Any]
) -> None:
    def told(rights: set[Right]) -> int:
        place.allow(rights)
        frame = schemas.encode(key, version, values)[0]
        return schemas.decode(key, version, place.alice.call(wire.i32(len(frame)) + frame))["ClusterAuthorizedOperations"]

    assert told({(CREATE, CLUSTER)}) == 0
    assert told({(CREATE, CLUSTER), (DESCRIBE, CLUSTER)}) == 1 << CREATE | 1 << DESCRIBE


def test_a_share_session_does_not_go_on_reading_what_may_not_be_read_any_more(place: Place) -> None:
    scene = place.scene
    topics = {name: scene.topic() for name in ("kept", "lost")}
    ids = {name: scene.id_of(topic) for name, topic in topics.items()}
    member, group = str(uuid.uuid4()), scene.name()

    def rules(*names: str) -> None:
        place.allow({(READ, GROUP), (DESCRIBE, TOPIC)})
        place.rights = None  # the ones below are none of its own
        creations = [{"ResourceType": TOPIC, "ResourceName": topics[name], "ResourcePatternType": 3, "Principal": "User:alice",
                      "Host": "*", "Operation": READ, "PermissionType": 3} for name in names]  # fmt: skip
        assert {one["ErrorCode"] for one in scene.call(30, 1, {"Creations": creations})["Results"]} == {0}

    def produce() -> None:
        for topic in topics.values():
            assert scene.connection.produce(topic, wire.batch([wire.Record(b"v")])).error == 0

    def fetch(epoch: int, named: dict[str, list[Any]]) -> dict[str, Any]:
        values = {
            "GroupId": group, "MemberId": member, "ShareSessionEpoch": epoch, "MaxWaitMs": 0, "MinBytes": 1, "MaxBytes": 1 << 20,
            "MaxRecords": 10, "BatchSize": 10, "Topics": [
                {"TopicId": ids[name], "Partitions": [{"PartitionIndex": 0, "AcknowledgementBatches": batches}]}
                for name, batches in named.items()]}  # fmt: skip
        frame = schemas.encode(78, 2, values)[0]
        answer = schemas.decode(78, 2, place.alice.call(wire.i32(len(frame)) + frame))
        assert answer["ErrorCode"] == 0, answer
        return {name: partition for one in answer["Responses"] for name, topic in ids.items() if one["TopicId"] == topic
                for partition in one["Partitions"]}  # fmt: skip

    def first(partition: Any) -> Optional[int]:
        ranges = partition["AcquiredRecords"] if partition else []
        return ranges[0]["FirstOffset"] if ranges else None

    rules("kept", "lost")
    beat = {"GroupId": group, "MemberId": member, "MemberEpoch": 0, "SubscribedTopicNames": list(topics.values())}
    assert place.call(76, 1, beat) == set()
    fetch(0, {"kept": [], "lost": []})
    produce()
    found = fetch(1, {})
    assert (first(found["kept"]), first(found["lost"])) == (0, 0)
    rules("kept")
    produce()
    found = fetch(2, {})
    assert (first(found["kept"]), found["kept"]["ErrorCode"]) == (1, 0)
    assert (first(found["lost"]), found["lost"]["ErrorCode"]) == (None, 29) and not found["lost"]["Records"]
    # It says so again, what is said of records is not done, and all goes on as soon as it may.
    again = fetch(3, {"lost": [{"FirstOffset": 0, "LastOffset": 0, "AcknowledgeTypes": [1]}]})["lost"]
    assert (again["ErrorCode"], again["AcknowledgeErrorCode"], first(again)) == (29, 29, None)
    done = {"GroupId": group, "MemberId": member, "ShareSessionEpoch": 4, "Topics": [
        {"TopicId": ids[name], "Partitions": [{"PartitionIndex": 0, "AcknowledgementBatches": [
            {"FirstOffset": 0, "LastOffset": 0, "AcknowledgeTypes": [1]}]}]} for name in topics]}  # fmt: skip
    frame = schemas.encode(79, 2, done)[0]
    answer = schemas.decode(79, 2, place.alice.call(wire.i32(len(frame)) + frame))
    assert {one["TopicId"]: one["Partitions"][0]["ErrorCode"] for one in answer["Responses"]} == {ids["kept"]: 0, ids["lost"]: 29}
    rules("kept", "lost")
    found = fetch(5, {"lost": [{"FirstOffset": 0, "LastOffset": 0, "AcknowledgeTypes": [1]}]})
    assert (first(found["lost"]), found["lost"]["ErrorCode"], found["lost"]["AcknowledgeErrorCode"]) == (1, 0, 0)


# MARK: gRPC


class Calls:
    """Each gRPC method once, as alice; the status that it comes to."""

    def __init__(self, place: Place, api: Any):
        self.api, self.scene = api, place.scene
        self.channel = grpc.insecure_channel(place.address, [("grpc.use_local_subchannel_pool", 1)])
        login = base64.b64encode(f"alice:{PASSWORD}".encode()).decode()
        self.options = {"timeout": 20, "metadata": [("authorization", f"Basic {login}")]}
        self.streams, self.admin, self.work = (stub(self.channel) for stub in (api.StreamsStub, api.AdminStub, api.WorkStub))

    def records(self) -> list[Any]:
        return [self.api.PublishRecord(value=b"v")]

    def dead_letters(self) -> str:
        name = f"dlq.{self.scene.name()}"
        protocol.create(self.scene.connection, name)
        return name

    def publish(self) -> None:
        self.streams.Publish(self.api.PublishRequest(topic=Scene.SCRATCH, records=self.records()), **self.options)

    def publish_stream(self) -> None:
        requests = iter([self.api.PublishStreamRequest(topic=Scene.SCRATCH, records=self.records())])
        for answer in self.streams.PublishStream(requests, **self.options):
            for result in answer.results:
                if result.error.code:
                    raise Refused(result.error.code)

    def subscribe(self, **fields: Any) -> None:
        request = self.api.SubscribeRequest(
            topics=[self.api.TopicSelection(topic=Scene.TOPIC)], origin=self.api.ORIGIN_EARLIEST, **fields)  # fmt: skip
        call = self.streams.Subscribe(request, **self.options)
        try:
            next(call)
        finally:
            call.cancel()

    def join(self) -> None:
        self.subscribe(member=self.api.GroupMembership(group=self.scene.name()))

    def commit(self) -> None:
        offsets = [self.api.PartitionOffset(topic=Scene.TOPIC, offset=1)]
        self.streams.Commit(self.api.CommitRequest(group=self.scene.name(), offsets=offsets), **self.options)

    def committed(self) -> None:
        self.streams.Committed(self.api.CommittedRequest(group=Scene.GROUP), **self.options)

    def create(self) -> None:
        self.admin.CreateTopic(self.api.CreateTopicRequest(name=self.scene.name()), **self.options)

    def describe(self) -> None:
        self.admin.DescribeTopic(self.api.DescribeTopicRequest(name=Scene.TOPIC), **self.options)

    def delete(self) -> None:
        self.admin.DeleteTopic(self.api.DeleteTopicRequest(name=self.scene.topic()), **self.options)

    def receive(self) -> None:
        requests = iter([self.api.ReceiveRequest(open=self.api.WorkOpen(group=self.scene.name(), topics=[Scene.SCRATCH]))])
        list(self.work.Receive(requests, **self.options))

    def redrive(self, group: str = "") -> None:
        self.work.Redrive(self.api.RedriveRequest(dead_letter_topic=self.dead_letters(), group=group), **self.options)

    def redrive_of_a_group(self) -> None:
        self.redrive("g")

    def describe_dead_letters(self) -> None:
        self.work.DescribeDeadLetters(self.api.DescribeDeadLettersRequest(dead_letter_topic=self.dead_letters()), **self.options)

    def list_topics(self) -> None:
        self.admin.ListTopics(self.api.ListTopicsRequest(), **self.options)


class Refused(Exception):
    """One record's."""


CALLS: dict[str, list[tuple[Right, ...]]] = {
    "publish": [((WRITE, TOPIC),)], "publish_stream": [((WRITE, TOPIC),)], "subscribe": [((READ, TOPIC),)],
    "join": [((READ, GROUP),), ((READ, TOPIC),)], "commit": [((READ, GROUP),), ((READ, TOPIC),)], "committed": [((DESCRIBE, GROUP),)],
    "create": [((CREATE, TOPIC), (CREATE, CLUSTER))], "describe": [((DESCRIBE, TOPIC),)], "delete": [((DELETE, TOPIC),)],
    "receive": [((READ, GROUP),), ((READ, TOPIC),)], "redrive": [((READ, TOPIC),)],
    "redrive_of_a_group": [((READ, TOPIC),), ((READ, GROUP),)], "describe_dead_letters": [((READ, TOPIC),)], "list_topics": [],
}  # fmt: skip


@pytest.fixture(scope="module")
def calls(place: Place, api: Any) -> Iterator[Calls]:
    made = Calls(place, api)
    yield made
    made.channel.close()


@pytest.mark.parametrize("name", CALLS)
def test_a_call_needs_just_this(place: Place, calls: Calls, name: str) -> None:
    def outcome(rights: set[Right]) -> Any:
        place.allow(rights)
        try:
            getattr(calls, name)()
            return grpc.StatusCode.OK
        except Refused as error:
            return {code.value[0]: code for code in grpc.StatusCode}[error.args[0]]
        except grpc.RpcError as error:
            return error.code()

    for rights in CALLS[name]:
        assert outcome(all_but(rights)) == grpc.StatusCode.PERMISSION_DENIED, rights
    for choice in itertools.product(*CALLS[name]):
        assert outcome(set(choice)) == grpc.StatusCode.OK, choice


def test_every_method_is_in_the_table(api: Any) -> None:
    methods = {name for stub in ("StreamsStub", "AdminStub", "WorkStub")
               for name in vars(getattr(api, stub)(grpc.insecure_channel("127.0.0.1:1")))}  # fmt: skip
    done = {name.split("_of_")[0].replace("_", "") for name in CALLS} | {"createtopic", "describetopic", "deletetopic"}
    assert {name.lower() for name in methods} <= done, methods
