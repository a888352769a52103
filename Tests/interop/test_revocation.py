# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: what is open when a certificate is revoked, a user is removed, or a right is taken away.
"""Real clients with open connections and streams; each is to end, and the ones beside it are not."""

from __future__ import annotations

import base64
import json
import ssl
from pathlib import Path
from typing import Any, Callable

import grpc
import pytest
from confluent_kafka import Consumer, KafkaError
from confluent_kafka.admin import (
    AclBindingFilter, AclOperation, AclPermissionType, NewTopic, ResourcePatternType, ResourceType, ScramMechanism,
    UserScramCredentialDeletion,
)

import wire
from broker import Broker, wait_until
from test_access import PASSWORD, TOPIC_AUTHORIZATION_FAILED, Team, team
from test_identity import Revocations, librdkafka
from test_oauthbearer import authenticate
from test_sasl import deliver, handshake
from test_tls import EARLY, LATE

__all__ = ["team"]


def channel(own: Broker, ca: str, pair: Any = None) -> Any:
    files = [Path(file).read_bytes() for file in pair] if pair else [None, None]
    credentials = grpc.ssl_channel_credentials(Path(ca).read_bytes(), files[1], files[0])
    return grpc.secure_channel(own.address, credentials, [("grpc.use_local_subchannel_pool", 1)])


def subscribe(api: Any, stub: Any, topic: str, metadata: Any = None) -> Any:
    """An open subscription that has said where it is."""
    request = api.SubscribeRequest(
        topics=[api.TopicSelection(topic=topic)], origin=api.ORIGIN_EARLIEST, progress_interval_ms=1000)  # fmt: skip
    call = stub.Subscribe(request, metadata=metadata, timeout=50)
    next(call)
    return call


def ending(call: Any) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as error:
        for _ in call:
            pass
    return error.value


def basic(user: str) -> Any:
    return [("authorization", "Basic " + base64.b64encode(f"{user}:{PASSWORD}".encode()).decode())]


def test_open_connections_end_when_their_certificate_is_revoked(
    start_broker: Callable[..., Broker], api: Any, tmp_path: Path
) -> None:
    authority = Revocations(tmp_path)
    server = authority.sign("server", EARLY, LATE, "subjectAltName=IP:127.0.0.1,DNS:localhost")
    pairs = {name: authority.sign(name, EARLY, LATE) for name in ("good", "stolen")}
    authority.publish()
    audit = tmp_path / "audit.log"
    own = start_broker(arguments=["--tls-cert", server[0], "--tls-key", server[1], "--tls-ca", authority.certificate,
                                  "--ssl-crl-location", authority.list, "--audit-log", str(audit)])  # fmt: skip
    assert deliver(librdkafka(own, pairs["good"], authority.certificate), "t") is None

    def connect(name: str) -> wire.Wire:
        context = ssl.create_default_context(cafile=authority.certificate)
        context.load_cert_chain(*pairs[name])
        connection = wire.Wire(own.address, tls=context)
        assert connection.call(wire.api_versions_request())
        return connection

    with connect("good") as good, connect("stolen") as stolen, channel(own, authority.certificate, pairs["stolen"]) as taken, channel(
        own, authority.certificate, pairs["good"]) as kept:  # fmt: skip
        ended = subscribe(api, api.StreamsStub(taken), "t")
        lasting = subscribe(api, api.StreamsStub(kept), "t")
        since = own.log_size()
        authority.revoke(pairs["stolen"][0])
        line = own.wait_log(r"connection closed: client certificate \(CN=stolen\) was revoked", since=since, seconds=30)
        assert 'principal="User:CN=stolen"' in line
        assert stolen.read_to_end() == b""
        assert ending(ended).code() == grpc.StatusCode.UNAVAILABLE
        assert good.call(wire.api_versions_request())
        assert next(lasting)
        lasting.cancel()
    assert "(CN=good) was revoked" not in own.log()
    events = [json.loads(text) for text in audit.read_text().splitlines()]
    revoked = [event for event in events if event.get("cause") == "its certificate was revoked while it was connected"]
    assert {(event["principal"], event["outcome"]) for event in revoked} == {("User:CN=stolen", "failed")}


def test_open_connections_end_when_their_user_is_removed(team: Team, api: Any) -> None:
    own = team.own
    assert team.produce("bob", "orders") is None
    strong = [ScramMechanism.SCRAM_SHA_256]
    with channel(own, own.ca) as opened, wire.Wire(own.address) as bare, wire.Wire(own.address) as other:
        for connection, user in ((bare, "alice"), (other, "bob")):
            assert handshake(connection, "PLAIN", 1)[0] == 0
            assert authenticate(connection, f"\0{user}\0{PASSWORD}".encode())[0] == 0
        stub = api.StreamsStub(opened)
        hers, his = (subscribe(api, stub, "orders", basic(user)) for user in ("alice", "bob"))
        problems: list[Any] = []
        consumer = Consumer({**team.client("alice"), "group.id": "g", "error_cb": problems.append})
        consumer.subscribe(["orders"])
        consumer.poll(1)
        since = own.log_size()
        changes = [UserScramCredentialDeletion("alice", mechanism) for mechanism in strong]
        for future in team.admin.alter_user_scram_credentials(changes).values():
            future.result(20)
        assert bare.read_to_end() == b""
        own.wait_log("kafka connection closed: its user was removed.*User:alice", since=since)
        error = ending(hers)
        assert error.code() == grpc.StatusCode.UNAUTHENTICATED and "removed" in error.details()

        def refused() -> bool:
            consumer.poll(0.1)
            return any(problem.code() == KafkaError._AUTHENTICATION for problem in problems)

        wait_until(refused, "the consumer to be told", 20)
        consumer.close()
        assert other.call(wire.api_versions_request())
        assert next(his)
        his.cancel()


def test_what_is_open_ends_when_the_right_to_read_is_taken_away(team: Team, api: Any) -> None:
    """The same over both protocols: Kafka's consumer with its next fetch, the stream at once."""
    own = team.own
    team.admin.create_topics([NewTopic("free", 1)])["free"].result(20)
    rule = team.rule("alice", AclOperation.READ, ResourceType.TOPIC, "orders")
    for resource, name in ((ResourceType.GROUP, "g"), (ResourceType.TOPIC, "free")):
        team.rule("alice", AclOperation.READ, resource, name)
    with channel(own, own.ca) as opened:
        stub = api.StreamsStub(opened)
        call, free = (subscribe(api, stub, topic, basic("alice")) for topic in ("orders", "free"))
        consumer = Consumer({**team.client("alice"), "group.id": "g"})
        consumer.subscribe(["orders"])
        wait_until(lambda: consumer.poll(0.2) or consumer.assignment(), "an assignment", 20)
        removed = AclBindingFilter(
            rule.restype, rule.name, ResourcePatternType.LITERAL, rule.principal, "*", AclOperation.READ, AclPermissionType.ALLOW)
        assert len(list(team.admin.delete_acls([removed])[removed].result(20))) == 1
        error = ending(call)
        assert error.code() == grpc.StatusCode.PERMISSION_DENIED and "orders" in error.details()

        def told() -> bool:
            message = consumer.poll(0.2)
            return message is not None and message.error() is not None and message.error().code() == TOPIC_AUTHORIZATION_FAILED

        wait_until(told, "the consumer to be refused", 20)
        consumer.close()
        assert next(free)
        free.cancel()
