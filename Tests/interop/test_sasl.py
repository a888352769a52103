# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: SASL logins of real clients, their passwords, and the access rules that follow from them.
"""Users are made over mutual TLS by librdkafka's administration client; then every client logs in with a password."""

from __future__ import annotations

import asyncio
import re
import ssl
import struct
import subprocess
from typing import Any, Callable

import pytest
from aiokafka import AIOKafkaProducer
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import (
    AclBinding, AclBindingFilter, AclOperation, AclPermissionType, AdminClient, ResourcePatternType, ResourceType,
    ScramCredentialInfo, ScramMechanism, UserScramCredentialDeletion, UserScramCredentialUpsertion,
)
from kafka import KafkaProducer

import secrecy
import wire
from broker import Broker, Endpoint, wait_until

MECHANISMS = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]
PASSWORD = "correct horse, battery=staple"
ARGUMENTS = ["--sasl-enabled-mechanisms", ",".join(MECHANISMS), "--tls-client-auth", "requested"]
secrecy.keep(PASSWORD, "password of test_sasl")
NUMBER = {"SCRAM-SHA-256": ScramMechanism.SCRAM_SHA_256, "SCRAM-SHA-512": ScramMechanism.SCRAM_SHA_512}


@pytest.fixture(scope="module")
def secured(binary: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    own = Broker(binary, tmp_path_factory.mktemp("sasl"), arguments=ARGUMENTS).start()
    set_password(own, "alice")
    yield own
    own.close()


def admin(own: Broker) -> AdminClient:
    """By certificate."""
    return AdminClient(Endpoint(own, tls=True).librdkafka())


def set_password(own: Broker, user: str, password: str = PASSWORD) -> None:
    changes = [
        UserScramCredentialUpsertion(user, ScramCredentialInfo(mechanism, 4096), password.encode())
        for mechanism in NUMBER.values()
    ]
    client = admin(own)
    for future in client.alter_user_scram_credentials(changes).values():
        future.result(20)


def librdkafka(own: Broker, mechanism: str, user: str, password: str = PASSWORD, tls: bool = True) -> dict[str, Any]:
    security = {"security.protocol": "SASL_SSL", "ssl.ca.location": own.ca} if tls else {"security.protocol": "SASL_PLAINTEXT"}
    return {"bootstrap.servers": own.address, "sasl.mechanism": mechanism, "sasl.username": user, "sasl.password": password,
            **security}  # fmt: skip


def deliver(configuration: dict[str, Any], topic: str, seconds: float = 10) -> Any:
    """The error of one record, None if it was written; or the authentication error that keeps it from being sent."""
    outcome: list[Any] = []
    problems: list[Any] = []
    producer = Producer({**configuration, "error_cb": problems.append, "message.timeout.ms": int(seconds * 1000)})
    producer.produce(topic, b"value", on_delivery=lambda error, _: outcome.append(error))

    def done() -> bool:
        producer.poll(0.05)
        refused = [problem for problem in problems if problem.code() == KafkaError._AUTHENTICATION]
        if refused and not outcome:
            outcome.append(refused[0])
        return bool(outcome)

    wait_until(done, "a record to be delivered or refused", seconds + 5)
    producer.purge()
    return outcome[0]


@pytest.mark.parametrize("tls", [True, False], ids=["tls", "plaintext"])
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_librdkafka_logs_in(secured: Broker, topic: str, mechanism: str, tls: bool) -> None:
    assert deliver(librdkafka(secured, mechanism, "alice", tls=tls), topic) is None


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("user, password", [("alice", "wrong"), ("nobody", PASSWORD)])
def test_a_wrong_login_is_refused_in_words_that_do_not_tell_why(
    secured: Broker, topic: str, mechanism: str, user: str, password: str
) -> None:
    error = deliver(librdkafka(secured, mechanism, user, password), topic)
    assert error is not None and error.code() == KafkaError._AUTHENTICATION
    assert "invalid credentials" in error.str()
    cause = f"there is no user {user}" if user == "nobody" else f"wrong password for {user}"
    plain = f"wrong user or password for {user}"
    wait_until(lambda: (plain if mechanism == "PLAIN" else cause) in secured.log(), "the log to name the cause")
    assert PASSWORD not in secured.log()


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_kcat_of_debian_is_told_why_it_cannot_use_scram(secured: Broker, topic: str, mechanism: str) -> None:
    """librdkafka before 2.6.1 doubles its nonce (confluentinc/librdkafka#4895); Kafka refuses it too."""
    version = subprocess.run(["kcat", "-V"], capture_output=True, text=True).stdout
    found = re.search(r"librdkafka (\d+)\.(\d+)\.(\d+)", version)
    assert found, version
    settings = {key: value for key, value in librdkafka(secured, mechanism, "alice").items() if key != "bootstrap.servers"}
    arguments = [part for key, value in settings.items() for part in ("-X", f"{key}={value.replace(',', chr(92) + ',')}")]
    done = subprocess.run(
        ["kcat", "-P", "-b", secured.address, "-t", topic, "-X", "message.timeout.ms=3000", *arguments],
        input="value\n", capture_output=True, text=True, timeout=60)  # fmt: skip
    if tuple(map(int, found.groups())) >= (2, 6, 1):
        assert done.returncode == 0, done.stderr
        return
    assert "the client's nonce is doubled, a mistake of librdkafka before 2.6.1" in done.stderr, done.stderr
    secured.wait_log(f"login failed with {mechanism}: the client's nonce is doubled, a mistake of librdkafka before 2.6.1")


def test_a_log_line_cannot_be_forged_by_a_name(secured: Broker, topic: str) -> None:
    error = deliver(librdkafka(secured, "PLAIN", "alice peer=6.6.6.6 principal=User:root"), topic)
    assert error is not None
    secured.wait_log(r'"kafka login failed with PLAIN: wrong user or password for alice peer=6\.6\.6\.6 principal=User:root" peer=')


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_kafka_python_logs_in(secured: Broker, topic: str, mechanism: str) -> None:
    producer = KafkaProducer(
        bootstrap_servers=secured.address, security_protocol="SASL_SSL", ssl_cafile=secured.ca, sasl_mechanism=mechanism,
        sasl_plain_username="alice", sasl_plain_password=PASSWORD)  # fmt: skip
    assert producer.send(topic, b"value").get(20).offset == 0
    producer.close()


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_aiokafka_logs_in(secured: Broker, topic: str, mechanism: str) -> None:
    async def produce() -> int:
        producer = AIOKafkaProducer(
            bootstrap_servers=secured.address, security_protocol="SASL_SSL",
            ssl_context=ssl.create_default_context(cafile=secured.ca), sasl_mechanism=mechanism,
            sasl_plain_username="alice", sasl_plain_password=PASSWORD)  # fmt: skip
        await producer.start()
        try:
            return int((await producer.send_and_wait(topic, b"value")).offset)
        finally:
            await producer.stop()

    assert asyncio.run(produce()) == 0


def test_nothing_but_the_login_is_answered_before_it(secured: Broker) -> None:
    with wire.Wire(secured.address) as connection:
        connection.call(wire.api_versions_request())
        connection.send(wire.request(wire.METADATA, 4, 2, wire.array([]) + b"\0", flexible=False))
        assert connection.read_to_end() == b""
    assert "a request before the login" in secured.log()


def handshake(connection: wire.Wire, mechanism: str, version: int) -> tuple[int, list[str]]:
    reader = wire.Reader(connection.call(wire.request(17, version, 1, wire.string(mechanism), flexible=False)))
    reader.i32()
    return reader.i16(), [reader.string() or "" for _ in range(reader.i32())]


def test_an_unknown_mechanism_is_answered_with_those_that_are_offered(secured: Broker) -> None:
    since = secured.log_size()
    with wire.Wire(secured.address) as connection:
        assert handshake(connection, "GSSAPI", 1) == (33, MECHANISMS)
        assert connection.read_to_end() == b""
    assert "there is no such mechanism here; offered: " in secured.wait_log("kafka login failed with GSSAPI", since=since)
    with wire.Wire(secured.address) as connection:
        assert handshake(connection, "x" * 30_000, 1) == (33, MECHANISMS)
    line = secured.wait_log("kafka login failed with xxx", since=since)
    assert len(line) < 500


def test_tokens_without_a_header_after_version_0_of_the_handshake(secured: Broker) -> None:
    for password, isRight in ((PASSWORD, True), ("wrong", False)):
        with wire.Wire(secured.address) as connection:
            assert handshake(connection, "PLAIN", 0)[0] == 0
            token = f"\0alice\0{password}".encode()
            connection.send(wire.i32(len(token)) + token)
            if isRight:
                assert connection.read_exactly(4) == wire.i32(0)
                connection.call(wire.request(wire.METADATA, 4, 2, wire.array([]) + b"\0", flexible=False))
            else:
                assert connection.read_to_end() == b""


def test_a_client_logs_in_again_while_it_works(start_broker: Callable[..., Broker], topic: str) -> None:
    own = start_broker(arguments=[*ARGUMENTS, "--connections-max-reauth-ms", "1200"])
    set_password(own, "alice")
    refused: list[Any] = []
    producer = Producer({**librdkafka(own, "SCRAM-SHA-256", "alice"), "error_cb": refused.append})
    done: list[Any] = []

    def logins() -> float:
        return own.metric('martlet_logins_total{protocol="kafka"}')

    def work() -> bool:
        producer.produce(topic, b"value", on_delivery=lambda error, _: done.append(error))
        producer.flush(10)
        return logins() >= 4

    wait_until(work, "three more logins", 30, pause=0.05)
    assert set(done) == {None} and not refused


def test_passwords_are_described_changed_and_there_after_kill_9(start_broker: Callable[..., Broker], topic: str) -> None:
    own = start_broker(arguments=ARGUMENTS)
    set_password(own, "bob")
    own.kill()
    own.start()
    client = admin(own)
    described = client.describe_user_scram_credentials(["bob"])["bob"].result(20)
    assert {(info.mechanism, info.iterations) for info in described.scram_credential_infos} == {
        (mechanism, 4096) for mechanism in NUMBER.values()
    }
    assert deliver(librdkafka(own, "SCRAM-SHA-512", "bob"), topic) is None
    assert deliver(librdkafka(own, "PLAIN", "bob"), topic) is None
    set_password(own, "bob", "another")
    assert deliver(librdkafka(own, "PLAIN", "bob"), topic) is not None
    assert deliver(librdkafka(own, "PLAIN", "bob", "another"), topic) is None
    for mechanism in NUMBER.values():
        client.alter_user_scram_credentials([UserScramCredentialDeletion("bob", mechanism)])["bob"].result(20)
    with pytest.raises(KafkaException) as error:
        client.alter_user_scram_credentials([UserScramCredentialDeletion("bob", ScramMechanism.SCRAM_SHA_256)])["bob"].result(20)
    assert error.value.args[0].code() == 91
    with pytest.raises(KafkaException):
        client.describe_user_scram_credentials(["bob"])["bob"].result(20)
    assert deliver(librdkafka(own, "SCRAM-SHA-256", "bob", "another"), topic) is not None


@pytest.mark.parametrize("iterations, code", [(4095, 93), (16385, 93), (0, 93), (-1, 93)])
def test_iterations_have_bounds(secured: Broker, iterations: int, code: int) -> None:
    user, salt = b"carol", b"salt"
    upsertion = (wire.compact_string("carol") + wire.i8(1) + wire.i32(iterations)
                 + wire.unsigned_varint(len(salt) + 1) + salt + wire.unsigned_varint(33) + bytes(32) + wire.TAGS)  # fmt: skip
    body = wire.compact_array([]) + wire.compact_array([upsertion]) + wire.TAGS
    context = Endpoint(secured, tls=True).wire_tls()
    with wire.Wire(secured.address, tls=context) as connection:
        reader = wire.Reader(connection.call(wire.request(51, 0, 1, body, flexible=True)))
    reader.i32(), reader.skip_tags(), reader.i32()
    assert reader.unsigned_varint() == 2 and reader.compact_string() == user.decode()
    assert reader.i16() == code
    assert "iterations" in (reader.compact_string() or "")


def test_access_rules_are_created_described_and_deleted(start_broker: Callable[..., Broker]) -> None:
    own = start_broker()
    client = admin(own)
    rule = AclBinding(
        ResourceType.TOPIC, "orders", ResourcePatternType.PREFIXED, "User:alice", "*", AclOperation.WRITE,
        AclPermissionType.ALLOW)  # fmt: skip
    client.create_acls([rule])[rule].result(20)
    own.kill()
    own.start()
    client = admin(own)

    def find(name: str, pattern: Any = ResourcePatternType.MATCH) -> list[Any]:
        wanted = AclBindingFilter(ResourceType.TOPIC, name, pattern, None, None, AclOperation.ANY, AclPermissionType.ANY)
        return list(client.describe_acls(wanted).result(20))

    assert find("orders-2024") == [rule]
    assert find("orders", ResourcePatternType.LITERAL) == []
    assert find("invoices") == []
    everything = AclBindingFilter(
        ResourceType.ANY, None, ResourcePatternType.ANY, None, None, AclOperation.ANY, AclPermissionType.ANY)  # fmt: skip
    assert list(client.delete_acls([everything])[everything].result(20)) == [rule]
    assert find("orders-2024") == []
