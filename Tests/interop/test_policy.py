# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: an external policy decides what real clients of both protocols may do.
"""Users log in with passwords, a policy server in Open Policy Agent's form decides; the administrator is a super user."""

from __future__ import annotations

import base64
import json
import re
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Callable, Iterator

import grpc
import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (
    AclBinding, AclOperation, AclPermissionType, AdminClient, NewTopic, ResourcePatternType, ResourceType,
    ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion,
)

import protocol
import secrecy
import wire
from broker import Broker, Endpoint, wait_until
from policies import PolicyServer, Question
from test_identity import Revocations, librdkafka
from test_revocation import channel
from test_tls import EARLY, LATE, Authority

TOPIC_AUTHORIZATION_FAILED = 29
PASSWORD = "only-for-the-policy-test"
secrecy.keep(PASSWORD, "password of test_policy")


def own_things(question: Question) -> bool:
    """Everybody may do everything with what begins with their name, and produce once only."""
    return question.name.startswith(f"{question.user}-") or question.operation == "IDEMPOTENT_WRITE"


class House:
    """A broker, its policy, and clients of users with passwords."""

    def __init__(self, own: Broker, policy: PolicyServer, api: Any):
        self.own, self.policy, self.api = own, policy, api
        self.admin = AdminClient(Endpoint(own, tls=True).librdkafka())
        for user in ("alice", "bob"):
            change = UserScramCredentialUpsertion(user, ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096), PASSWORD.encode())
            self.admin.alter_user_scram_credentials([change])[user].result(20)
        self.admin.create_topics([NewTopic(name, 1) for name in ("alice-1", "alice-2", "bob-1")])["bob-1"].result(20)

    def client(self, user: str, **more: Any) -> dict[str, Any]:
        return {"bootstrap.servers": self.own.address, "security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "SCRAM-SHA-256",
                "sasl.username": user, "sasl.password": PASSWORD, "broker.address.family": "v4", **more}  # fmt: skip

    def produce(self, user: str, topic: str, **more: Any) -> Any:
        outcome: list[Any] = []
        producer = Producer(self.client(user, **{"message.timeout.ms": 20_000, **more}))
        producer.produce(topic, b"value", on_delivery=lambda error, _: outcome.append(error))
        producer.flush(20)
        return outcome[0].code() if outcome[0] else None

    def stubs(self, user: str) -> tuple[Any, Any, Any, list[tuple[str, str]]]:
        channel = grpc.insecure_channel(self.own.address, [("grpc.use_local_subchannel_pool", 1)])
        login = base64.b64encode(f"{user}:{PASSWORD}".encode()).decode()
        return (self.api.StreamsStub(channel), self.api.AdminStub(channel), self.api.WorkStub(channel),
                [("authorization", f"Basic {login}")])  # fmt: skip

    def publish(self, user: str, topic: str) -> grpc.StatusCode:
        streams, _, _, login = self.stubs(user)
        request = self.api.PublishRequest(topic=topic, records=[self.api.PublishRecord(value=b"value")])
        return status(lambda: streams.Publish(request, timeout=20, metadata=login))

    def metric(self, name: str) -> float:
        with urllib.request.urlopen(f"http://{self.own.address}/metrics", timeout=20) as answer:
            return sum(float(line.rsplit(" ", 1)[1]) for line in answer.read().decode().splitlines()
                       if re.match(re.escape(name) + r"[ {]", line) or line.startswith(name + " "))  # fmt: skip

    def readyz(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://{self.own.address}/readyz", timeout=20) as answer:
            return json.load(answer)

    def wire(self, user: str) -> wire.Wire:
        connection = wire.Wire(self.own.address)
        connection.call(wire.request(17, 1, 1, wire.string("PLAIN"), flexible=False))
        token = f"\0{user}\0{PASSWORD}".encode()
        connection.call(wire.request(36, 1, 1, wire.i32(len(token)) + token, flexible=False))
        return connection


def status(call: Callable[[], Any]) -> grpc.StatusCode:
    try:
        call()
        return grpc.StatusCode.OK
    except grpc.RpcError as error:
        return error.code()


@pytest.fixture
def policy() -> Iterator[PolicyServer]:
    made = PolicyServer(own_things)
    yield made
    made.gate.set()
    made.stop()
    assert not made.wrong, made.wrong


@pytest.fixture
def house(start_broker: Callable[..., Broker], policy: PolicyServer, api: Any, tmp_path: Path) -> Callable[..., House]:
    def build(*more: str) -> House:
        own = start_broker(
            mode="serve",
            arguments=["--sasl-enabled-mechanisms", "SCRAM-SHA-256,PLAIN", "--tls-client-auth", "requested",
                       "--super-users", "User:CN=client", "--group-initial-rebalance-delay-ms", "0",
                       "--auto-create-topics-enable", "--audit-log", str(tmp_path / "audit.log"),
                       "--authorizer-opa-url", policy.url, "--authorizer-opa-timeout-ms", "20000", *more])  # fmt: skip
        return House(own, policy, api)

    return build


def test_one_policy_decides_for_both_protocols(house: Callable[..., House]) -> None:
    home = house()
    assert home.produce("alice", "alice-1") is None
    assert home.produce("alice", "alice-2", **{"enable.idempotence": True}) is None
    assert home.produce("bob", "alice-1") == TOPIC_AUTHORIZATION_FAILED
    assert home.publish("alice", "alice-1") == grpc.StatusCode.OK
    assert home.publish("bob", "alice-1") == grpc.StatusCode.PERMISSION_DENIED
    assert {one.protocol for one in home.policy.questions(user="alice", name="alice-1", operation="WRITE")} == {"kafka", "grpc"}
    assert set(AdminClient(home.client("bob")).list_topics(timeout=20).topics) == {"bob-1"}
    assert {"alice-1", "bob-1"} <= set(home.admin.list_topics(timeout=20).topics)
    assert not home.policy.questions(user="CN=client"), "a super user was asked about"


@pytest.mark.parametrize("group_protocol", ["classic", "consumer"])
@pytest.mark.parametrize("topics", [["alice-1"], ["^alice-.*"]])
def test_groups_read_what_the_policy_allows(house: Callable[..., House], group_protocol: str, topics: list[str]) -> None:
    home = house()
    assert home.produce("alice", "alice-1") is None
    consumer = Consumer(home.client("alice", **{"group.id": "alice-readers", "group.protocol": group_protocol,
                                                "auto.offset.reset": "earliest"}))  # fmt: skip
    consumer.subscribe(topics)
    try:
        message = wait_until(lambda: consumer.poll(0.5), "a record", 30)
        assert message.error() is None and message.value() == b"value"
        consumer.commit(message=message, asynchronous=False)
    finally:
        consumer.close()
    streams, _, _, login = home.stubs("alice")
    answer = streams.Committed(home.api.CommittedRequest(group="alice-readers"), timeout=20, metadata=login)
    assert [(one.topic, one.offset) for one in answer.offsets] == [("alice-1", 1)]


def test_no_protocol_is_a_way_round(house: Callable[..., House]) -> None:
    home = house()
    assert home.produce("alice", "alice-1") is None
    api = home.api
    streams, admin, work, login = home.stubs("bob")
    calls: list[Callable[[], Any]] = [
        lambda: list(streams.Subscribe(api.SubscribeRequest(topics=[api.TopicSelection(topic="alice-1")], until_end=True,
                                                            origin=api.ORIGIN_EARLIEST), timeout=20, metadata=login)),
        lambda: streams.Committed(api.CommittedRequest(group="alice-g"), timeout=20, metadata=login),
        lambda: streams.Commit(api.CommitRequest(group="alice-g", offsets=[api.PartitionOffset(topic="alice-1")]), timeout=20,
                               metadata=login),
        lambda: admin.DescribeTopic(api.DescribeTopicRequest(name="alice-1"), timeout=20, metadata=login),
        lambda: admin.DeleteTopic(api.DeleteTopicRequest(name="alice-1"), timeout=20, metadata=login),
        lambda: admin.CreateTopic(api.CreateTopicRequest(name="alice-3"), timeout=20, metadata=login),
        lambda: list(work.Receive(iter([api.ReceiveRequest(open=api.WorkOpen(group="bob-g", topics=["alice-1"]))]), timeout=20,
                                  metadata=login)),
    ]  # fmt: skip
    for call in calls:
        assert status(call) == grpc.StatusCode.PERMISSION_DENIED
    requests = iter([api.PublishStreamRequest(topic="alice-1", records=[api.PublishRecord(value=b"x")])])
    results = [one for answer in streams.PublishStream(requests, timeout=20, metadata=login) for one in answer.results]
    assert [one.error.code for one in results] == [7]
    pattern = api.SubscribeRequest(topic_pattern="*", until_end=True, origin=api.ORIGIN_EARLIEST)
    seen = [batch.topic for answer in streams.Subscribe(pattern, timeout=20, metadata=login) for batch in answer.batches]
    assert "alice-1" not in seen
    assert {one.name for one in admin.ListTopics(api.ListTopicsRequest(), timeout=20, metadata=login).topics} == {"bob-1"}
    # What browsers and curl use; an event stream has begun by the time of the decision, and ends with the error.
    def http(path: str, body: Any = None) -> Any:
        headers = {"content-type": "application/json", login[0][0]: login[0][1]}
        return urllib.request.urlopen(urllib.request.Request(f"http://{home.own.address}{path}", data=body, headers=headers), timeout=20)

    with pytest.raises(urllib.error.HTTPError) as failure:
        http("/v1/topics/alice-1/records", b'{"records":[{"value":"x"}]}')
    assert failure.value.code == 403
    with pytest.raises(urllib.error.HTTPError) as failure:
        http("/v1/topics/alice-1/events?from=earliest")
    refusal = failure.value.read()
    assert failure.value.code == 403 and b"permission_denied" in refusal and b"value" not in refusal.split(b"details")[0]
    # Kafka's calls, and that nothing of the above had an effect.
    with pytest.raises(KafkaException):
        AdminClient(home.client("bob")).delete_topics(["alice-1"])["alice-1"].result(20)
    with home.wire("bob") as connection:
        fetched = wire.fetch_response(connection.call(wire.fetch_request("alice-1", 0, 0)))
        assert fetched is not None and fetched.error == TOPIC_AUTHORIZATION_FAILED and not fetched.records
    end = Consumer(home.client("alice", **{"group.id": "alice-g"}))
    assert end.get_watermark_offsets(TopicPartition("alice-1", 0), timeout=20) == (0, 1)
    end.close()


def test_dead_letters_go_back_where_the_policy_lets_their_caller_write(house: Callable[..., House]) -> None:
    home = house("--authorizer-opa-cache-allowed-ms", "0", "--authorizer-opa-cache-denied-ms", "0")
    api, dead = home.api, "dlq.alice-g"
    home.admin.create_topics([NewTopic(dead, 2)])[dead].result(20)

    def letter(topic: str, value: bytes) -> Any:
        named = {"topic": topic.encode(), "partition": b"0", "offset": b"0", "group": b"alice-g"}
        headers = [api.Header(key=f"__dlq.errors.{name}", value=of) for name, of in named.items()]
        return api.PublishRecord(value=value, headers=headers)

    administrator = api.StreamsStub(Endpoint(home.own, tls=True).grpc_channel())
    for partition in range(2):
        letters = [letter("alice-1", b"one"), letter("bob-1", b"two"), letter("alice-2", b"three"), letter("gone", b"four")]
        administrator.Publish(api.PublishRequest(topic=dead, partition=partition, records=letters), timeout=20)

    def redrive(user: str, **fields: Any) -> tuple[int, int]:
        _, _, work, login = home.stubs(user)
        answer = work.Redrive(api.RedriveRequest(dead_letter_topic=dead, **fields), timeout=20, metadata=login)
        return answer.redriven, answer.skipped

    def values(topic: str) -> list[bytes]:
        request = api.SubscribeRequest(topics=[api.TopicSelection(topic=topic)], until_end=True, origin=api.ORIGIN_EARLIEST)
        return [record.value for answer in administrator.Subscribe(request, timeout=20)
                for batch in answer.batches for record in batch.records]  # fmt: skip

    def reads_letters(question: Question) -> bool:
        return own_things(question) or (question.user, question.operation, question.name) == ("alice", "READ", dead)

    for fields in ({}, {"group": "alice-g"}):
        assert status(lambda: redrive("alice", **fields)) == grpc.StatusCode.PERMISSION_DENIED
    home.policy.decide = reads_letters
    assert status(lambda: redrive("bob")) == grpc.StatusCode.PERMISSION_DENIED
    _, _, work, login = home.stubs("bob")
    request = api.DescribeDeadLettersRequest(dead_letter_topic=dead)
    assert status(lambda: work.DescribeDeadLetters(request, timeout=20, metadata=login)) == grpc.StatusCode.PERMISSION_DENIED
    assert redrive("alice", group="alice-g") == (4, 4)
    assert (values("alice-1"), values("alice-2"), values("bob-1")) == ([b"one"] * 2, [b"three"] * 2, [])
    # One question for each topic there is, however many letters go there.
    assert len(home.policy.questions(user="alice", name="bob-1", operation="WRITE")) == 1
    assert not home.policy.questions(name="gone")
    _, _, work, login = home.stubs("alice")
    described = work.DescribeDeadLetters(request, timeout=20, metadata=login).partitions
    assert [(one.remaining, [(of.first_offset, of.last_offset) for of in one.redriven]) for one in described] == [
        (2, [(0, 0), (2, 2)])] * 2  # fmt: skip
    # What was left is there for whoever may.
    home.policy.decide = lambda question: True
    assert redrive("bob") == (2, 2)
    assert (values("alice-1"), values("bob-1")) == ([b"one"] * 2, [b"two"] * 2)
    # Without a decision nothing is put anywhere.
    administrator.Publish(api.PublishRequest(topic=dead, partition=0, records=[letter("bob-1", b"five")]), timeout=20)
    home.policy.reply = lambda question: (200, b'{"result":true}') if question.operation == "READ" else (500, b"{}")
    assert redrive("alice")[0] == 0
    home.policy.reply = None
    assert redrive("alice")[0] == 1 and values("bob-1") == [b"two", b"two", b"five"]


def test_what_was_decided_is_remembered_for_its_time(house: Callable[..., House]) -> None:
    home = house("--authorizer-opa-cache-allowed-ms", "3000", "--authorizer-opa-cache-denied-ms", "500")
    assert all(home.produce("alice", "alice-1") is None for _ in range(3))
    began = time.monotonic()
    assert len(home.policy.questions(user="alice", name="alice-1", operation="WRITE")) <= 1 + int((time.monotonic() - began) / 3)
    assert home.metric("martlet_policy_cache_hits_total") > 0
    # What is not allowed any more is denied once the decision is old, on a connection that stays.
    producer = Producer(home.client("alice", **{"message.timeout.ms": 20_000}))
    home.policy.decide = lambda question: own_things(question) and question.operation != "WRITE"

    def refused() -> bool:
        errors: list[Any] = []
        try:
            producer.produce("alice-1", b"x", on_delivery=lambda error, _: errors.append(error))
        except KafkaException as error:  # the client has learnt it from Metadata
            return error.args[0].code() == TOPIC_AUTHORIZATION_FAILED
        producer.flush(20)
        return bool(errors[0] and errors[0].code() == TOPIC_AUTHORIZATION_FAILED)

    wait_until(refused, "the denial", 20)
    home.policy.decide = own_things
    wait_until(lambda: not refused(), "the permission", 20)


def test_without_the_policy_nobody_but_super_users_may_do_anything(house: Callable[..., House], tmp_path: Path) -> None:
    home = house("--authorizer-opa-cache-allowed-ms", "0", "--authorizer-opa-cache-denied-ms", "0")
    assert home.produce("alice", "alice-1") is None and home.readyz()["warnings"] == []
    home.policy.stop()
    assert home.produce("alice", "alice-1") == TOPIC_AUTHORIZATION_FAILED
    assert home.publish("alice", "alice-1") == grpc.StatusCode.PERMISSION_DENIED
    ready = home.readyz()
    assert ready["ready"] is True and any("connection refused" in one for one in ready["warnings"])
    assert home.metric('martlet_policy_answers_total{outcome="failed"}') > 0
    assert "the external policy gave no decision, so access is denied" in home.own.log()
    assert "alice-1" in home.admin.list_topics(timeout=20).topics
    events = wait_until(lambda: [one for one in map(json.loads, (tmp_path / "audit.log").read_text().splitlines())
                                 if one["outcome"] == "denied" and "connection refused" in one.get("cause", "")],
                        "denials with their cause")  # fmt: skip
    assert {one["protocol"] for one in events} == {"kafka", "grpc"} and all(one["principal"] == "User:alice" for one in events)
    home.policy.start()
    assert home.produce("alice", "alice-1") is None and home.publish("alice", "alice-1") == grpc.StatusCode.OK
    assert home.readyz()["warnings"] == [] and "the external policy decides again" in home.own.log()


def test_the_policy_is_shown_a_token_that_may_change(house: Callable[..., House], policy: PolicyServer, tmp_path: Path) -> None:
    file = tmp_path / "token"
    tokens = [f"token-{number}-only-for-the-policy-test" for number in range(3)]
    for token in tokens:
        secrecy.keep(token, "a token of test_policy")

    def write(text: str) -> None:
        (tmp_path / "new").write_text(text)
        (tmp_path / "new").chmod(0o600)
        (tmp_path / "new").rename(file)

    write(tokens[0] + "\n")
    policy.token = tokens[0]
    home = house("--authorizer-opa-token-file", str(file), "--authorizer-opa-cache-allowed-ms", "0",
                 "--authorizer-opa-cache-denied-ms", "0")  # fmt: skip
    assert home.publish("alice", "alice-1") == grpc.StatusCode.OK
    policy.token = tokens[1]
    assert home.publish("alice", "alice-1") == grpc.StatusCode.PERMISSION_DENIED
    assert "status 401" in home.own.log()
    write(tokens[1])
    home.own.wait_log("the token for the external policy was read again")
    assert home.publish("alice", "alice-1") == grpc.StatusCode.OK
    # What is no token keeps the old one in force.
    write("two words\n")
    home.own.wait_log("the token for the external policy changed and cannot be used, the old one stays in force")
    assert home.publish("alice", "alice-1") == grpc.StatusCode.OK
    write(tokens[2])
    policy.token = tokens[2]
    wait_until(lambda: home.publish("alice", "alice-1") == grpc.StatusCode.OK, "the new token")


def test_a_test_of_rules_says_that_a_policy_decides(house: Callable[..., House]) -> None:
    home = house()

    def run(*arguments: str) -> tuple[int, str]:
        done = home.own.run("acl", *arguments, "--bootstrap", home.own.address, "--ca", home.own.ca, "--cert", home.own.certificate,
                            "--key", home.own.key)  # fmt: skip
        return done.returncode, (done.stdout + done.stderr).decode()

    assert run("add", "bob", "write", "--topic", "bob-1", "--deny")[0] == 0
    assert run("add", "bob", "write", "--topic", "bob-2")[0] == 0
    for topic in ("bob-2", "bob-3"):
        status, said = run("test", "bob", "write", "--topic", topic)
        assert status == 1 and f"undecided: User:bob write on topic {topic}: no rule denies it; the broker asks its external policy" in said
    status, said = run("test", "bob", "write", "--topic", "bob-1")
    assert status == 1 and said.startswith("denied: User:bob write on topic bob-1: ")


@pytest.mark.parametrize("answer", [
    (500, b"{}"), (200, b""), (200, b"no"), (200, b'{"result":"true"}'), (200, b'{"result":{"allow":"true"}}'),
    (200, b'{"result":true,' + b" " * 100_000 + b'"x":1}'), (200, b'{}'), (200, b'{"result":{}}'),
])  # fmt: skip
def test_whatever_is_no_permission_denies(house: Callable[..., House], answer: tuple[int, bytes]) -> None:
    home = house()
    home.policy.reply = lambda _: answer
    assert home.publish("alice", "alice-1") == grpc.StatusCode.PERMISSION_DENIED
    assert home.produce("alice", "alice-1") == TOPIC_AUTHORIZATION_FAILED
    home.policy.reply = lambda _: (200, b'{"result":{"allow":true}}')
    wait_until(lambda: home.publish("alice", "alice-2") == grpc.StatusCode.OK, "a permission")


def produce_frame(topic: str, value: bytes, correlation: int, acks: int = 1) -> bytes:
    return wire.produce_request(topic, 0, wire.batch([wire.Record(value=value)]), acks=acks, correlation=correlation)


def test_a_slow_policy_holds_up_only_whoever_waits_for_it(house: Callable[..., House]) -> None:
    home = house()
    assert home.produce("bob", "bob-1") is None
    home.policy.gate.clear()
    slow, other = home.wire("alice"), home.wire("bob")
    frames = [produce_frame("alice-1", b"0", 1), produce_frame("alice-2", b"1", 2), produce_frame("alice-1", b"2", 3)]
    slow.send(b"".join(frames))
    wait_until(lambda: home.policy.questions(user="alice", name="alice-1", operation="WRITE"), "the question")
    for index in range(20):
        assert wire.produce_response(other.call(produce_frame("bob-1", b"x", 10 + index))).error == 0
    assert not home.policy.questions(user="alice", name="alice-2"), "a request overtook one that waits"
    assert home.metric("martlet_policy_waiting") == 1
    home.policy.gate.set()
    answers = [slow.read_frame() for _ in frames]
    assert [int.from_bytes(one[:4], "big") for one in answers] == [1, 2, 3]
    assert [wire.produce_response(one).error for one in answers] == [0, 0, 0]
    assert home.metric("martlet_policy_waiting") == 0


def test_a_policy_that_takes_too_long_denies(house: Callable[..., House]) -> None:
    home = house("--authorizer-opa-timeout-ms", "300")
    home.policy.gate.clear()
    began = time.monotonic()
    assert home.publish("alice", "alice-1") == grpc.StatusCode.PERMISSION_DENIED
    assert 0.3 <= time.monotonic() - began < 10
    assert "did not answer in 300 ms" in home.own.log()
    connection = home.wire("alice")
    assert wire.produce_response(connection.call(produce_frame("alice-1", b"x", 1))).error == TOPIC_AUTHORIZATION_FAILED
    home.policy.gate.set()
    # An answer that came too late is not taken for another question's.
    assert home.publish("bob", "alice-1") == grpc.StatusCode.PERMISSION_DENIED
    assert home.publish("alice", "alice-1") == grpc.StatusCode.OK


@pytest.mark.deadline(240)
def test_a_flood_of_names_fills_neither_the_memory_nor_the_policy(house: Callable[..., House]) -> None:
    home = house("--authorizer-opa-cache-maximum-size", "1000")
    home.policy.decide = lambda question: False
    assert home.publish("bob", "warm") == grpc.StatusCode.PERMISSION_DENIED
    before = home.own.resident_kib()
    failures: list[BaseException] = []

    def flood(worker: int) -> None:
        try:
            with home.wire("alice") as connection:
                for round in range(4):
                    names = [{"name": f"{'n' * 150}-{worker}-{round}-{index}"} for index in range(500)]
                    answer = protocol.call(connection, 3, 4, topics=names, allow_auto_topic_creation=False)
                    codes = {topic[0] if isinstance(topic, tuple) else topic.error_code for topic in answer.topics}
                    assert codes == {TOPIC_AUTHORIZATION_FAILED} and len(answer.topics) == 500
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=flood, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures
    assert home.policy.most_at_once <= 8
    assert home.metric("martlet_policy_cache_entries") <= 1000
    assert home.own.resident_kib() - before < 60_000
    assert len(home.policy.questions(user="alice")) >= 8_000


def test_rules_that_deny_win_and_rules_that_allow_mean_nothing(house: Callable[..., House]) -> None:
    home = house()
    rules = [
        AclBinding(ResourceType.TOPIC, "alice-1", ResourcePatternType.LITERAL, "User:alice", "*", AclOperation.WRITE,
                   AclPermissionType.DENY),
        AclBinding(ResourceType.TOPIC, "alice-1", ResourcePatternType.LITERAL, "User:bob", "*", AclOperation.ALL,
                   AclPermissionType.ALLOW),
    ]  # fmt: skip
    for made in home.admin.create_acls(rules).values():
        made.result(20)
    for user in ("alice", "bob"):
        assert home.produce(user, "alice-1") == TOPIC_AUTHORIZATION_FAILED
        assert home.publish(user, "alice-1") == grpc.StatusCode.PERMISSION_DENIED
    assert home.produce("alice", "alice-2") is None
    assert not home.policy.questions(user="alice", name="alice-1", operation="WRITE")


def test_the_policy_is_asked_over_tls_and_must_be_who_it_says(
    start_broker: Callable[..., Broker], tmp_path: Path, api: Any
) -> None:
    other = start_broker("other")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(other.certs_directory / "server.pem", other.certs_directory / "server.key")
    policy = PolicyServer(lambda _: True, tls=context)
    try:
        for name, arguments, code in [
            ("trusting", ["--authorizer-opa-tls-ca", str(other.certs_directory / "ca.pem")], grpc.StatusCode.OK),
            ("wary", [], grpc.StatusCode.PERMISSION_DENIED),
        ]:
            own = start_broker(name, arguments=["--authorizer-opa-url", policy.url, *arguments])
            streams = api.StreamsStub(Endpoint(own, tls=False).grpc_channel())
            request = api.PublishRequest(topic="t", records=[api.PublishRecord(value=b"x")])
            assert status(lambda: streams.Publish(request, timeout=20)) == code, own.log()
            assert ("TLS failed" in own.log()) == (code != grpc.StatusCode.OK)
    finally:
        policy.stop()


def test_the_authorities_of_the_policy_are_used_as_their_file_has_them(
    start_broker: Callable[..., Broker], tmp_path: Path, api: Any
) -> None:
    """One that is taken out does not speak for the policy any longer, not on a kept connection either."""
    for name in ("policy", "stranger"):
        (tmp_path / name).mkdir()
    other, stranger = Authority(tmp_path / "policy"), Authority(tmp_path / "stranger")
    pair = other.sign("policy", EARLY, LATE, "subjectAltName=IP:127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    policy = PolicyServer(lambda _: True, tls=context)
    trusted = tmp_path / "trusted.pem"

    def trust(text: str) -> None:
        (tmp_path / "new").write_text(text)
        (tmp_path / "new").rename(trusted)

    try:
        trust(Path(other.certificate).read_text())
        own = start_broker("trusting", arguments=[
            "--authorizer-opa-url", policy.url, "--authorizer-opa-tls-ca", str(trusted), "--authorizer-opa-cache-allowed-ms", "0",
            "--authorizer-opa-cache-denied-ms", "0"])  # fmt: skip
        streams = api.StreamsStub(Endpoint(own, tls=False).grpc_channel())
        request = api.PublishRequest(topic="t", records=[api.PublishRecord(value=b"x")])

        def publish() -> grpc.StatusCode:
            return status(lambda: streams.Publish(request, timeout=20))

        assert publish() == grpc.StatusCode.OK
        trust(Path(stranger.certificate).read_text())
        own.wait_log("the authorities of the external policy were read again")
        assert publish() == grpc.StatusCode.PERMISSION_DENIED and "TLS failed" in own.log()
        trust(Path(stranger.certificate).read_text() + Path(other.certificate).read_text())
        wait_until(lambda: publish() == grpc.StatusCode.OK, "the authority to be taken back")
        trust("no certificate\n")
        own.wait_log("the authorities of the external policy changed and cannot be used, the old ones stay in force: .*trusted.pem")
        assert publish() == grpc.StatusCode.OK
    finally:
        policy.stop()


def test_whoever_is_revoked_while_the_policy_is_asked_does_nothing_with_the_answer(
    start_broker: Callable[..., Broker], policy: PolicyServer, tmp_path: Path, api: Any
) -> None:
    authority = Revocations(tmp_path)
    server = authority.sign("server", EARLY, LATE, "subjectAltName=IP:127.0.0.1,DNS:localhost")
    pairs = {name: authority.sign(name, EARLY, LATE) for name in ("admin", "stolen")}
    authority.publish()
    own = start_broker(arguments=[
        "--tls-cert", server[0], "--tls-key", server[1], "--tls-ca", authority.certificate, "--ssl-crl-location", authority.list,
        "--super-users", "User:CN=admin", "--authorizer-opa-url", policy.url, "--authorizer-opa-timeout-ms", "60000"])  # fmt: skip
    policy.decide = lambda _: True
    admin = AdminClient(librdkafka(own, pairs["admin"], authority.certificate))
    admin.create_topics([NewTopic("t", 1)])["t"].result(20)
    policy.gate.clear()
    context = ssl.create_default_context(cafile=authority.certificate)
    context.load_cert_chain(*pairs["stolen"])
    with wire.Wire(own.address, tls=context) as connection, channel(own, authority.certificate, pairs["stolen"]) as taken:
        connection.send(produce_frame("t", b"stolen", 1))
        request = api.PublishRequest(topic="t", records=[api.PublishRecord(value=b"stolen")])
        call = api.StreamsStub(taken).Publish.future(request, timeout=50)
        wait_until(lambda: {one.protocol for one in policy.questions(user="CN=stolen")} == {"kafka", "grpc"}, "the questions")
        since = own.log_size()
        authority.revoke(pairs["stolen"][0])
        own.wait_log(r"connection closed: client certificate \(CN=stolen\) was revoked", since=since, seconds=30)
        assert connection.read_to_end() == b""
        assert call.code() == grpc.StatusCode.UNAVAILABLE
    policy.gate.set()
    wait_until(lambda: own.metric("martlet_policy_waiting") == 0, "the decisions")
    consumer = Consumer({**librdkafka(own, pairs["admin"], authority.certificate), "group.id": "g"})
    assert consumer.get_watermark_offsets(TopicPartition("t", 0), timeout=20) == (0, 0)
    consumer.close()


def test_whoever_adds_rules_hears_that_a_policy_decides(house: Callable[..., House]) -> None:
    home = house()

    def add(*arguments: str) -> tuple[int, bytes]:
        done = home.own.run("acl", "add", *arguments, "--bootstrap", home.own.address, "--ca", home.own.ca,
                            "--cert", home.own.certificate, "--key", home.own.key)  # fmt: skip
        return done.returncode, done.stderr

    status, said = add("bob", "write", "--topic", "bob-2")
    assert status == 0 and b"note: an external policy decides here (authorizer.opa.url): rules that allow are not used" in said
    assert add("bob", "write", "--topic", "bob-1", "--deny") == (0, b"")


def test_mistakes_are_told_before_they_are_an_outage(binary: str, tmp_path: Path) -> None:
    def run(command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([binary, command, *arguments], capture_output=True, text=True, timeout=30, cwd=tmp_path)

    for url in ("localhost:8181", "http://user:secret@opa/", "ftp://opa/", "http://opa:99999/"):
        done = run("serve", "--check", "--authorizer-opa-url", url)
        assert done.returncode != 0 and "`--authorizer-opa-url` must be a URL such as http://127.0.0.1:8181" in done.stderr + done.stdout
    missing = run("serve", "--check", "--authorizer-opa-url", "https://opa/x", "--authorizer-opa-tls-ca", "missing.pem")
    assert missing.returncode != 0 and "missing.pem" in missing.stderr + missing.stdout
    found = run("doctor", "--json", "--port", "0", "--authorizer-opa-url", "http://opa.example.org/v1/data/x")
    findings = {one["id"]: one for one in json.loads(found.stdout)["findings"]}
    assert findings["policy-in-plaintext"]["severity"] == "warning"
    assert findings["policy-in-plaintext"]["setting"] == "authorizer.opa.url"
    local = run("doctor", "--json", "--port", "0", "--authorizer-opa-url", "http://unix:/run/opa.sock:/v1/data/x")
    assert "policy-in-plaintext" not in {one["id"] for one in json.loads(local.stdout)["findings"]}
