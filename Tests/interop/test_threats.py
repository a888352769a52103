# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: the attacks of docs/threat-model.md that no other file has a test of.
"""Each test is what an attacker would do, and what must come of it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import statistics
import time
from pathlib import Path
from typing import Any, Callable

import grpc
import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

import secrecy
import wire
from broker import Broker, Endpoint
from conftest import REPOSITORY
from test_oauthbearer import authenticate
from test_sasl import ARGUMENTS, handshake, set_password
from tokens import Issuer

PASSWORD = "password of the threatened"
secrecy.keep(PASSWORD, "password of test_threats")


@pytest.fixture(scope="module")
def guarded(binary: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A broker that wants logins, and has a user."""
    own = Broker(binary, tmp_path_factory.mktemp("threats"), arguments=ARGUMENTS).start()
    set_password(own, "alice", PASSWORD)
    yield own
    own.close()


def test_who_has_not_logged_in_cannot_make_the_broker_hold_memory(guarded: Broker) -> None:
    """Before the login a request may have half a megabyte, however much is announced."""
    before = guarded.resident_kib()
    connections = [wire.Wire(guarded.address) for _ in range(100)]
    for connection in connections:
        assert handshake(connection, "PLAIN", 1)[0] == 0
        connection.send(wire.i32(400_000) + wire.i16(36) + wire.i16(1))
    with wire.Wire(guarded.address) as greedy:
        since = guarded.log_size()
        greedy.send(wire.i32(600_000) + wire.i16(36) + wire.i16(1))
        assert greedy.read_to_end() == b""
        guarded.wait_log("a frame of 600000 bytes was announced; the limit is 524288", since=since)
    assert guarded.resident_kib() - before < 60_000
    for connection in connections:
        connection.close()


def test_a_scram_exchange_that_was_overheard_is_of_no_use(guarded: Broker) -> None:
    def exchange(connection: wire.Wire, messages: list[bytes]) -> list[tuple[int, bytes, int]]:
        assert handshake(connection, "SCRAM-SHA-256", 1)[0] == 0
        return [authenticate(connection, message) for message in messages]

    bare = b"n=alice,r=" + base64.b64encode(os.urandom(18))
    with wire.Wire(guarded.address) as connection:
        assert handshake(connection, "SCRAM-SHA-256", 1)[0] == 0
        _, challenge, _ = authenticate(connection, b"n,," + bare)
        nonce, salt, iterations = challenge.split(b",")
        salted = hashlib.pbkdf2_hmac("sha256", PASSWORD.encode(), base64.b64decode(salt[2:]), int(iterations[2:]))
        secrecy.keep(salted, "salted password")
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        secrecy.keep(client_key, "client key")
        without = b"c=biws," + nonce
        signature = hmac.digest(hashlib.sha256(client_key).digest(), bare + b"," + challenge + b"," + without, "sha256")
        proof = base64.b64encode(bytes(a ^ b for a, b in zip(client_key, signature)))
        assert authenticate(connection, without + b",p=" + proof)[0] == 0
        connection.call(wire.request(wire.METADATA, 4, 2, wire.array([]) + b"\0", flexible=False))
    since = guarded.log_size()
    with wire.Wire(guarded.address) as connection:
        answers = exchange(connection, [b"n,," + bare, without + b",p=" + proof])
    assert answers[1][0] == 58
    guarded.wait_log("its nonce belongs to another exchange", since=since)


def test_how_long_a_refusal_takes_does_not_tell_whether_there_is_such_a_user(guarded: Broker) -> None:
    def refused(user: str, number: int) -> float:
        with wire.Wire(guarded.address) as connection:
            handshake(connection, "PLAIN", 1)
            began = time.monotonic()
            assert authenticate(connection, f"\0{user}\0wrong-{number}".encode())[0] == 58
            return time.monotonic() - began

    times: dict[str, list[float]] = {"alice": [], "nobody": []}
    for number in range(15):
        for user, taken in times.items():
            taken.append(refused(user, number))
    known, unknown = (statistics.median(taken) for taken in times.values())
    assert known < 3 * unknown and unknown < 3 * known, (known, unknown)


FORGED = "x\n2026-01-01T00:00:00Z NOTICE FORGED [Martlet] stopped"


def test_no_name_forges_a_line_of_the_log(guarded: Broker) -> None:
    since = guarded.log_size()
    with wire.Wire(guarded.address) as connection:
        handshake(connection, "PLAIN", 1)
        authenticate(connection, f"\0{FORGED}\0wrong".encode())
    with wire.Wire(guarded.address) as connection:
        connection.send(wire.request(wire.METADATA, 4, 2, wire.array([]) + b"\0", flexible=False, client_id=FORGED))
        connection.read_to_end()
    with wire.Wire(guarded.address, tls=Endpoint(guarded, tls=True).wire_tls()) as connection:
        topic = wire.string(FORGED)
        connection.call(wire.request(wire.METADATA, 4, 2, wire.array([topic]) + b"\1", flexible=False, client_id=FORGED))
    guarded.wait_log("kafka login failed", since=since)
    lines = guarded.log_since(since).splitlines()
    assert lines and not [line for line in lines if line.startswith("2026-01-01T00:00:00Z")]


@pytest.mark.parametrize("name", ["..", ".", "../outside", "/etc/passwd", "a/b", "a\\b", "a\0b", "t\n", "-/..", "x" * 250, ""])
def test_no_name_of_a_topic_leads_out_of_the_data_directory(broker: Broker, plaintext: Endpoint, api: Any, name: str) -> None:
    before = {path.name for path in broker.directory.iterdir()}
    if "\0" not in name and name:
        admin = AdminClient(plaintext.librdkafka())
        with pytest.raises(KafkaException):
            admin.create_topics([NewTopic(name, 1)])[name].result(20)
    with plaintext.grpc_channel() as channel:
        for call in (
            lambda: api.AdminStub(channel).CreateTopic(api.CreateTopicRequest(name=name, partition_count=1), timeout=20),
            lambda: api.StreamsStub(channel).Publish(
                api.PublishRequest(topic=name, records=[api.PublishRecord(value=b"v")]), timeout=20),
        ):  # fmt: skip
            with pytest.raises(grpc.RpcError) as error:
                call()
            assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert {path.name for path in broker.directory.iterdir()} == before


def test_the_configuration_that_clients_may_see_has_no_secret(start_broker: Callable[..., Broker], tmp_path: Path) -> None:
    issuer = Issuer(tmp_path)
    (tmp_path / "keys.json").write_text(issuer.key_set("ES256"))
    own = start_broker(arguments=[
        "--sasl-enabled-mechanisms", "PLAIN,OAUTHBEARER", "--tls-client-auth", "requested",
        "--sasl-oauthbearer-jwks-endpoint-url", f"file://{tmp_path}/keys.json"])  # fmt: skip
    set_password(own, "alice", PASSWORD)
    admin = AdminClient(Endpoint(own, tls=True).librdkafka())
    resource = ConfigResource(ResourceType.BROKER, str(next(iter(admin.list_topics(timeout=20).brokers))))
    entries = admin.describe_configs([resource])[resource].result(20)
    described = repr({key: entry.value for key, entry in entries.items()}).encode()
    assert b"listeners" in described
    Broker.told.append(("DescribeConfigs", described))
    wanted = secrecy.needles([*tmp_path.rglob("*.key"), *own.certs_directory.rglob("*.key")])
    assert len(wanted) > 8
    assert secrecy.search(described, wanted, "DescribeConfigs") == []
    assert secrecy.search(b"... " + PASSWORD.encode(), wanted, "x") != []


def test_every_attack_names_tests_that_there_are() -> None:
    """In the last column of each table; a fuzz target has its corpus."""
    folder = REPOSITORY / "Tests"
    sources = [*folder.rglob("*.swift")]
    suites = {path.stem for path in sources}.union(*(re.findall(r"(?:struct|class) (\w+Tests)\b", path.read_text()) for path in sources))
    cells = [line.split(" | ") for line in (REPOSITORY / "docs" / "threat-model.md").read_text().splitlines() if line.startswith("| ")]
    attacks = [row for row in cells if row[0] != "| attack"]
    assert len(attacks) > 40
    for row in attacks:
        named = re.findall(r"`([^`]+)`", row[-1])
        assert named, row[0]
        for name in named:
            file, _, function = name.partition("::")
            if file.endswith(".py"):
                text = (folder / "interop" / file).read_text()
                assert not function or re.search(rf"^def {function}\(", text, re.MULTILINE), name
            elif "fuzz target" in row[-1] and (folder / "fuzz" / "corpus" / f"{name}.bin").exists() or name == "Tests/fuzz":
                continue
            elif "test_identity_matrix.py" in row[-1] and ", " in name:
                assert f'"{name}": Cell(' in (folder / "interop" / "test_identity_matrix.py").read_text(), name
            else:
                assert name in suites, name
