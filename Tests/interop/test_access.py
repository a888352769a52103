# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: access rules, as real clients of both protocols meet them.
"""Users log in with passwords; what they may do follows from rules that an administrator with a certificate makes."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, Callable

import grpc
import pytest
from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import (
    AclBinding, AclOperation, AclPermissionType, AdminClient, NewTopic, ResourcePatternType,
    ResourceType, ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion,
)

import secrecy
import wire
from broker import Broker, Endpoint, own_address, wait_until
from tokens import Issuer

TOPIC_AUTHORIZATION_FAILED, GROUP_AUTHORIZATION_FAILED, CLUSTER_AUTHORIZATION_FAILED = 29, 30, 31
PASSWORD = "only-for-this-test"
secrecy.keep(PASSWORD, "password of test_access")


class Team:
    """A broker whose administrator has a certificate and whose users have passwords."""

    def __init__(self, own: Broker):
        self.own = own
        self.admin = AdminClient(Endpoint(own, tls=True).librdkafka())

    def add(self, user: str) -> None:
        change = UserScramCredentialUpsertion(user, ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096), PASSWORD.encode())
        self.admin.alter_user_scram_credentials([change])[user].result(20)

    def rule(self, user: str, operation: AclOperation, kind: ResourceType, name: str, **changes: Any) -> AclBinding:
        permission = changes.get("permission", AclPermissionType.ALLOW)
        pattern = changes.get("pattern", ResourcePatternType.LITERAL)
        rule = AclBinding(kind, name, pattern, f"User:{user}", "*", operation, permission)
        self.admin.create_acls([rule])[rule].result(20)
        return rule

    def client(self, user: str) -> dict[str, Any]:
        return {"bootstrap.servers": self.own.address, "security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "SCRAM-SHA-256",
                "sasl.username": user, "sasl.password": PASSWORD}  # fmt: skip

    def produce(self, user: str, topic: str) -> Any:
        outcome: list[Any] = []
        producer = Producer({**self.client(user), "message.timeout.ms": 10_000})
        producer.produce(topic, b"value", on_delivery=lambda error, _: outcome.append(error))
        producer.flush(20)
        return outcome[0].code() if outcome[0] else None


@pytest.fixture
def team(start_broker: Callable[..., Broker]) -> Team:
    own = start_broker(
        mode="serve",
        arguments=["--sasl-enabled-mechanisms", "SCRAM-SHA-256,PLAIN", "--tls-client-auth", "requested",
                   "--super-users", "User:CN=client", "--group-initial-rebalance-delay-ms", "0"])  # fmt: skip
    made = Team(own)
    for user in ("alice", "bob"):
        made.add(user)
    made.admin.create_topics([NewTopic("orders", 1), NewTopic("orders-eu", 1), NewTopic("secret", 1)])["secret"].result(20)
    return made


def test_without_rules_all_may_write_and_with_the_first_one_only_whom_it_names(team: Team) -> None:
    assert team.produce("bob", "orders") is None
    team.rule("alice", AclOperation.WRITE, ResourceType.TOPIC, "orders", pattern=ResourcePatternType.PREFIXED)
    assert team.produce("alice", "orders") is None
    assert team.produce("alice", "orders-eu") is None
    assert team.produce("alice", "secret") == TOPIC_AUTHORIZATION_FAILED
    assert team.produce("bob", "orders") == TOPIC_AUTHORIZATION_FAILED
    team.rule("alice", AclOperation.ALL, ResourceType.TOPIC, "orders-eu", permission=AclPermissionType.DENY)
    assert team.produce("alice", "orders-eu") == TOPIC_AUTHORIZATION_FAILED
    assert "denied" in team.own.log() and PASSWORD not in team.own.log()


def test_a_topic_is_only_seen_by_those_who_may(team: Team) -> None:
    team.rule("alice", AclOperation.DESCRIBE, ResourceType.TOPIC, "orders")
    seen = AdminClient(team.client("alice"))
    assert set(seen.list_topics(timeout=20).topics) == {"orders"}
    assert {"orders", "orders-eu", "secret"} <= set(team.admin.list_topics(timeout=20).topics)


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_reading_needs_the_topic_and_the_group(team: Team, protocol: str) -> None:
    assert team.produce("bob", "orders") is None
    team.rule("alice", AclOperation.READ, ResourceType.TOPIC, "orders")

    def consume(group: str) -> Any:
        consumer = Consumer({**team.client("alice"), "group.id": group, "group.protocol": protocol,
                             "auto.offset.reset": "earliest"})  # fmt: skip
        try:
            consumer.subscribe(["orders"])
            message = wait_until(lambda: consumer.poll(0.5), "a record or an error", 20)
            return message.error().code() if message.error() else message.value()
        finally:
            consumer.close()

    assert consume("hers") == GROUP_AUTHORIZATION_FAILED
    team.rule("alice", AclOperation.READ, ResourceType.GROUP, "hers")
    assert consume("hers") == b"value"
    assert consume("others") == GROUP_AUTHORIZATION_FAILED


def test_administration_needs_its_own_rules(team: Team) -> None:
    team.rule("alice", AclOperation.WRITE, ResourceType.TOPIC, "orders")
    client = AdminClient(team.client("alice"))

    def code(call: Callable[[], Any]) -> Any:
        with pytest.raises(KafkaException) as error:
            call()
        return error.value.args[0].code()

    assert code(lambda: client.create_topics([NewTopic("new", 1)])["new"].result(20)) == TOPIC_AUTHORIZATION_FAILED
    assert code(lambda: client.delete_topics(["orders"])["orders"].result(20)) == TOPIC_AUTHORIZATION_FAILED
    # This client keeps an error of DescribeAcls to itself, so rules are made.
    own = AclBinding(
        ResourceType.TOPIC, "secret", ResourcePatternType.LITERAL, "User:alice", "*", AclOperation.ALL,
        AclPermissionType.ALLOW)  # fmt: skip
    assert code(lambda: client.create_acls([own])[own].result(20)) == CLUSTER_AUTHORIZATION_FAILED
    assert team.produce("alice", "secret") == TOPIC_AUTHORIZATION_FAILED
    assert "orders" in team.admin.list_topics(timeout=20).topics
    team.rule("alice", AclOperation.CREATE, ResourceType.TOPIC, "new")
    client.create_topics([NewTopic("new", 1)])["new"].result(20)


def test_a_groups_pattern_reveals_only_topics_that_the_member_may_describe(team: Team) -> None:
    team.rule("alice", AclOperation.READ, ResourceType.GROUP, "readers")
    team.rule("alice", AclOperation.READ, ResourceType.TOPIC, "orders", pattern=ResourcePatternType.PREFIXED)
    team.rule("alice", AclOperation.ALL, ResourceType.TOPIC, "orders-eu", permission=AclPermissionType.DENY)

    def heartbeat(connection: wire.Wire, user: str, epoch: int, regex: str | None) -> tuple[int, int, int]:
        """Error code, epoch, and how many topics are assigned."""
        nothing = b"\0"
        first = regex is not None
        body = (wire.compact_string("readers") + wire.compact_string(user) + wire.i32(epoch) + nothing + nothing
                + wire.i32(60_000 if first else -1) + nothing + (wire.compact_string(regex) if regex else nothing) + nothing
                + (wire.compact_array([]) if first else nothing) + wire.TAGS)  # fmt: skip
        reader = wire.Reader(connection.call(wire.request(68, 1, 1, body, flexible=True)))
        reader.i32(), reader.skip_tags(), reader.i32()
        code, _, _, epoch, _ = reader.i16(), reader.compact_string(), reader.compact_string(), reader.i32(), reader.i32()
        return code, epoch, reader.unsigned_varint() - 1 if reader.i8() == 1 else -1

    def logged_in(user: str) -> wire.Wire:
        connection = wire.Wire(team.own.address)
        connection.call(wire.request(17, 1, 1, wire.string("PLAIN"), flexible=False))
        token = f"\0{user}\0{PASSWORD}".encode()
        connection.call(wire.request(36, 1, 1, wire.i32(len(token)) + token, flexible=False))
        return connection

    with logged_in("alice") as alice, logged_in("bob") as bob:
        code, epoch, topics = heartbeat(alice, "alice", 0, ".*")
        assert (code, topics) == (0, 1)
        team.admin.create_topics([NewTopic("orders-us", 1), NewTopic("hidden", 1)])["hidden"].result(20)

        def next_beat() -> int:
            nonlocal epoch
            code, epoch, topics = heartbeat(alice, "alice", epoch, None)
            assert code == 0
            return topics

        assert wait_until(lambda: max(next_beat(), 0), "a new topic to be assigned") == 2
        # One who may see nothing joins with the same pattern: what is assigned is not told.
        team.rule("bob", AclOperation.READ, ResourceType.GROUP, "readers")
        # The clients are kept: a future without its client never ends.
        own, others = AdminClient(team.client("alice")), AdminClient(team.client("bob"))
        with pytest.raises(KafkaException) as refused:
            others.describe_consumer_groups(["readers"])["readers"].result(20)
        assert refused.value.args[0].code() == TOPIC_AUTHORIZATION_FAILED
        shown = own.describe_consumer_groups(["readers"])["readers"].result(20)
        assert {each.topic for each in shown.members[0].assignment.topic_partitions} == {"orders", "orders-us"}
        code, _, topics = heartbeat(bob, "bob", 0, ".*")
        assert code == 0 and topics <= 0
        heartbeat(alice, "alice", -1, None)
        assert heartbeat(bob, "bob", 0, ".*")[0] == TOPIC_AUTHORIZATION_FAILED


def test_the_same_rules_hold_for_grpc(team: Team, api: Any) -> None:
    import base64

    team.rule("alice", AclOperation.WRITE, ResourceType.TOPIC, "orders")
    with grpc.insecure_channel(team.own.address) as channel:
        publish = channel.unary_unary(
            "/martlet.v1.Streams/Publish", request_serializer=bytes, response_deserializer=bytes)

        def call(topic: str, user: str | None) -> grpc.StatusCode:
            name = topic.encode()
            record = b"\x1a\x03\x12\x01v"
            request = b"\x0a" + bytes([len(name)]) + name + record
            login = base64.b64encode(f"{user}:{PASSWORD}".encode()).decode()
            metadata = [("authorization", f"Basic {login}")] if user else []
            try:
                publish(request, metadata=metadata, timeout=20)
                return grpc.StatusCode.OK
            except grpc.RpcError as error:
                return error.code()

        assert call("orders", None) == grpc.StatusCode.UNAUTHENTICATED
        assert call("orders", "nobody") == grpc.StatusCode.UNAUTHENTICATED
        assert call("orders", "bob") == grpc.StatusCode.PERMISSION_DENIED
        assert call("secret", "alice") == grpc.StatusCode.PERMISSION_DENIED
        assert call("orders", "alice") == grpc.StatusCode.OK


def test_workers_and_members_need_their_group_and_topic(team: Team, api: Any) -> None:
    import base64
    import queue

    login = base64.b64encode(f"alice:{PASSWORD}".encode()).decode()
    metadata = [("authorization", f"Basic {login}")]
    team.rule("bob", AclOperation.READ, ResourceType.TOPIC, "orders")
    with grpc.insecure_channel(team.own.address) as channel:
        work, streams = api.WorkStub(channel), api.StreamsStub(channel)

        def code(call: Any) -> grpc.StatusCode:
            try:
                next(call)
                return grpc.StatusCode.OK
            except grpc.RpcError as error:
                return error.code()
            finally:
                call.cancel()

        def receive(**fields: Any) -> grpc.StatusCode:
            opening = api.ReceiveRequest(open=api.WorkOpen(group="crew", topics=["orders"], **fields))
            requests: queue.Queue[Any] = queue.Queue()
            requests.put(opening)
            try:
                return code(work.Receive(iter(requests.get, None), metadata=metadata, timeout=20))
            finally:
                requests.put(None)

        def join() -> grpc.StatusCode:
            return code(streams.Subscribe(
                api.SubscribeRequest(topics=[api.TopicSelection(topic="orders")], member=api.GroupMembership(group="crowd")),
                metadata=metadata, timeout=20))  # fmt: skip

        assert receive() == join() == grpc.StatusCode.PERMISSION_DENIED
        team.rule("alice", AclOperation.READ, ResourceType.TOPIC, "orders")
        assert receive() == join() == grpc.StatusCode.PERMISSION_DENIED
        for group in ("crew", "crowd"):
            team.rule("alice", AclOperation.READ, ResourceType.GROUP, group)
        assert receive() == join() == grpc.StatusCode.OK
        assert receive(dead_letter_topic="dlq.secret") == grpc.StatusCode.PERMISSION_DENIED


def _page(url: str, *options: str) -> tuple[int, str, str]:
    """The status of a page, its header fields and its body."""
    done = subprocess.run(["curl", "--silent", "--show-error", "--max-time", "20", "--http1.1", "--include", *options, url],
                          capture_output=True, timeout=30)  # fmt: skip
    assert done.returncode == 0, done.stderr
    head, _, body = done.stdout.decode().partition("\r\n\r\n")
    return int(head.split()[1]), head.lower(), body


def test_metrics_name_topics_to_those_who_may_log_in_and_to_this_machine(
    start_broker: Callable[..., Broker], tmp_path: Path
) -> None:
    address = own_address()
    if address is None:
        pytest.skip("this machine has only loopback addresses")
    issuer = Issuer(tmp_path)
    keys = tmp_path / "keys.json"
    keys.write_text(issuer.key_set("ES256"))
    team = Team(start_broker(
        mode="serve",
        arguments=["--listen", "0.0.0.0:0", "--sasl-enabled-mechanisms", "PLAIN,OAUTHBEARER", "--tls-client-auth", "requested",
                   "--sasl-oauthbearer-jwks-endpoint-url", f"file://{keys}", "--super-users", "User:CN=client"]))  # fmt: skip
    own = team.own
    team.add("prometheus")
    team.admin.create_topics([NewTopic("secret-plans", 1)])["secret-plans"].result(20)
    elsewhere = f"https://{address}:{own.port}"
    # The certificate names other addresses.
    trusting = ["--insecure"]
    since = own.log_size()
    status, head, body = _page(f"{elsewhere}/metrics", *trusting)
    assert status == 401 and 'www-authenticate: basic realm="martlet"' in head and "secret" not in body, head
    assert 'www-authenticate: bearer realm="martlet"' in head
    assert "this broker wants a name and a password (authorization: Basic) or a token (authorization: Bearer), or a client cert" in body
    assert own.metric('martlet_logins_failed_total{protocol="grpc"}') == 0
    status, head, body = _page(f"{elsewhere}/metrics", *trusting, "--user", "prometheus:wrong")
    assert status == 401 and "secret" not in body and "the name or the password is wrong" in body
    own.wait_log("login failed: wrong user or password for prometheus", since=since)
    token = issuer.token("prometheus")
    status, _, body = _page(f"{elsewhere}/metrics", *trusting, "--header", f"Authorization: Bearer {token}x")
    assert status == 401 and "secret" not in body and "the token is not accepted" in body
    assert own.metric('martlet_logins_failed_total{protocol="grpc"}') == 2
    for proof in (["--user", f"prometheus:{PASSWORD}"], ["--cert", own.certificate, "--key", own.key],
                  ["--header", f"Authorization: Bearer {token}"]):  # fmt: skip
        status, _, body = _page(f"{elsewhere}/metrics", *trusting, *proof)
        assert status == 200 and "secret-plans" in body, body
    # Probes have no names, and say none.
    for page in ("/healthz", "/readyz", "/"):
        status, _, body = _page(elsewhere + page, *trusting)
        assert status == 200 and "secret-plans" not in body
    assert "secret-plans" in _page(f"http://{own.address}/metrics")[2]
