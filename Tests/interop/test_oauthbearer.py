# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: logins with tokens (SASL OAUTHBEARER, authorization: Bearer), and sessions that end.
"""Tokens are signed by an issuer of the test's own, whose keys the broker reads from a file."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from pathlib import Path
from typing import Any, Callable

import grpc
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.abc import AbstractTokenProvider as AiokafkaProvider
from confluent_kafka import KafkaError, Producer
from kafka import KafkaProducer
from kafka.net.sasl.oauth import AbstractTokenProvider

import wire
from broker import Broker, wait_until
from test_sasl import ARGUMENTS, deliver, handshake, set_password
from tokens import Issuer, encode

ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "ES256", "ES384"]
AUDIENCE, ISSUER = "martlet", "https://issuer.example.org"
CLAIMS = {"aud": ["other", AUDIENCE], "iss": ISSUER}


class Realm:
    """A broker, and the issuer that it trusts."""

    def __init__(self, start: Callable[..., Broker], folder: Path, *arguments: str, mechanisms: str = "OAUTHBEARER"):
        self.issuer = Issuer(folder)
        self.file = folder / "keys.json"
        self.file.write_text(self.issuer.key_set(*ALGORITHMS))
        self.own = start(arguments=[
            "--sasl-enabled-mechanisms", mechanisms, "--tls-client-auth", "requested",
            "--sasl-oauthbearer-jwks-endpoint-url", f"file://{self.file}",
            "--sasl-oauthbearer-expected-audience", AUDIENCE, "--sasl-oauthbearer-expected-issuer", ISSUER,
            "--sasl-oauthbearer-clock-skew-seconds", "0", *arguments])  # fmt: skip

    def token(self, user: str = "alice", **claims: Any) -> str:
        return self.issuer.token(user, **(CLAIMS | claims))

    def librdkafka(self, token: str | Callable[[], str], seconds: float = 600) -> dict[str, Any]:
        def provide(_: str) -> tuple[str, float]:
            return (token if isinstance(token, str) else token()), time.time() + seconds

        return {"bootstrap.servers": self.own.address, "security.protocol": "SASL_SSL", "ssl.ca.location": self.own.ca,
                "sasl.mechanism": "OAUTHBEARER", "oauth_cb": provide}  # fmt: skip


@pytest.fixture(scope="module")
def realm(binary: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    def start(**options: Any) -> Broker:
        return Broker(binary, tmp_path_factory.mktemp("oauth"), **options).start()

    made = Realm(start, tmp_path_factory.mktemp("issuer"))
    yield made
    made.own.close()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_librdkafka_logs_in_with_a_token_of_every_algorithm(realm: Realm, topic: str, algorithm: str) -> None:
    assert deliver(realm.librdkafka(realm.token(algorithm=algorithm)), topic) is None


def test_kafka_python_and_aiokafka_log_in(realm: Realm, topic: str) -> None:
    token = realm.token()

    class Provider(AbstractTokenProvider):
        def token(self) -> str:
            return token

    producer = KafkaProducer(
        bootstrap_servers=realm.own.address, security_protocol="SASL_SSL", ssl_cafile=realm.own.ca,
        sasl_mechanism="OAUTHBEARER", sasl_oauth_token_provider=Provider())  # fmt: skip
    assert producer.send(topic, b"value").get(20).offset == 0
    producer.close()

    class AsyncProvider(AiokafkaProvider):
        async def token(self) -> str:
            return token

    async def produce() -> int:
        producer = AIOKafkaProducer(
            bootstrap_servers=realm.own.address, security_protocol="SASL_SSL",
            ssl_context=ssl.create_default_context(cafile=realm.own.ca), sasl_mechanism="OAUTHBEARER",
            sasl_oauth_token_provider=AsyncProvider())  # fmt: skip
        await producer.start()
        try:
            return int((await producer.send_and_wait(topic, b"value")).offset)
        finally:
            await producer.stop()

    assert asyncio.run(produce()) == 1


def bad_tokens(realm: Realm, folder: Path) -> dict[str, tuple[str, str]]:
    """Token and cause in the log, by what is wrong."""
    good = realm.token()
    header, body, signature = good.split(".")
    unsigned = encode(json.dumps({"alg": "none"}).encode())
    shared = encode(json.dumps({"alg": "HS256", "kid": realm.issuer.jwk("ES256")["kid"]}).encode())
    later = time.time() + 600
    return {
        "none": (f"{unsigned}.{body}.", "algorithm is not accepted"),
        "shared secret": (f"{shared}.{body}.{signature}", "algorithm is not accepted"),
        "another key": (Issuer(folder).token(**CLAIMS), "signature is wrong"),
        "unknown key id": (realm.token(header={"kid": "x"}), "no ES256 key of the token's key id"),
        "changed": (f"{header}.{encode(json.dumps({'sub': 'root', 'iat': 1, 'exp': later}).encode())}.{signature}",
                    "signature is wrong"),
        "expired": (realm.token(iat=1, exp=time.time() - 1), "the token has expired"),
        "future": (realm.token(iat=later, exp=later + 9), "from the future"),
        "not yet": (realm.token(nbf=later), "not valid yet"),
        "no expiry": (realm.token(exp=None), "does not say when it was issued and when it expires"),
        "audience": (realm.token(aud="other"), "another audience"),
        "no audience": (realm.token(aud=None), "another audience"),
        "issuer": (realm.token(iss="https://elsewhere"), "another issuer"),
        "nobody": (realm.token(user=""), "claim sub has no name"),
        "scope": (realm.token(scope=7), "claim scope has no list of scopes"),
        "critical": (realm.token(header={"crit": ["x"]}), "extensions that must be understood"),
        "no token": ("hello", "no signed JSON Web Token"),
    }  # fmt: skip


def authenticate(connection: wire.Wire, token: bytes) -> tuple[int, bytes, int]:
    body = wire.i32(len(token)) + token
    reader = wire.Reader(connection.call(wire.request(36, 1, 1, body, flexible=False)))
    reader.i32()
    code, _ = reader.i16(), reader.string()
    length = reader.i32()
    answer = bytes(reader.take(length))
    return code, answer, reader.i64()


def test_a_bad_token_is_refused_by_both_protocols_and_the_log_names_the_cause(realm: Realm, topic: str, tmp_path: Path) -> None:
    own = realm.own
    for what, (token, cause) in bad_tokens(realm, tmp_path).items():
        since = own.log_size()
        with wire.Wire(own.address) as connection:
            assert handshake(connection, "OAUTHBEARER", 1)[0] == 0
            assert authenticate(connection, f"n,,\x01auth=Bearer {token}\x01\x01".encode())[:2] == (
                0, b'{"status":"invalid_token"}'), what  # fmt: skip
            assert authenticate(connection, b"\x01")[0] == 58, what
        own.wait_log(f"kafka login failed with OAUTHBEARER.*{cause}", since=since)
        since = own.log_size()
        with grpc.insecure_channel(own.address) as channel, pytest.raises(grpc.RpcError) as error:
            publish(channel, topic, token)
        assert (error.value.code(), error.value.details()) == (
            grpc.StatusCode.UNAUTHENTICATED, "the token is not accepted; call again with a new one"), what  # fmt: skip
        line = own.wait_log(f"grpc login failed.*{cause}", since=since)
        assert token[-20:] not in line or token == "hello"


def test_librdkafka_is_told_that_its_token_is_not_accepted(realm: Realm, topic: str) -> None:
    error = deliver(realm.librdkafka(realm.token(iss="https://elsewhere")), topic)
    assert error is not None and error.code() == KafkaError._AUTHENTICATION
    assert "invalid credentials" in error.str()


def publish(channel: Any, topic: str, token: str) -> None:
    name = topic.encode()
    request = b"\x0a" + bytes([len(name)]) + name + b"\x1a\x03\x12\x01v"
    call = channel.unary_unary("/martlet.v1.Streams/Publish", request_serializer=bytes, response_deserializer=bytes)
    call(request, metadata=[("authorization", f"Bearer {token}")], timeout=20)


def test_grpc_calls_carry_tokens_too_and_a_stream_ends_with_its_token(realm: Realm, api: Any, topic: str) -> None:
    with grpc.insecure_channel(realm.own.address) as channel:
        publish(channel, topic, realm.token())
        subscription = api.StreamsStub(channel).Subscribe(
            api.SubscribeRequest(topics=[api.TopicSelection(topic=topic)], origin=api.ORIGIN_EARLIEST),
            metadata=[("authorization", f"Bearer {realm.token(seconds=1.5)}")], timeout=20)  # fmt: skip
        with pytest.raises(grpc.RpcError) as error:
            for _ in subscription:
                pass
    assert error.value.code() == grpc.StatusCode.UNAUTHENTICATED
    assert error.value.details() == "the token has expired; call again with a new one"


def test_a_session_lasts_as_long_as_its_token_and_no_request_is_answered_after_it(realm: Realm) -> None:
    with wire.Wire(realm.own.address) as connection:
        handshake(connection, "OAUTHBEARER", 1)
        token = realm.token(seconds=1.5)
        code, answer, lifetime = authenticate(connection, f"n,,\x01auth=Bearer {token}\x01\x01".encode())
        assert (code, answer) == (0, b"") and 0 < lifetime <= 1500
        metadata = wire.request(wire.METADATA, 4, 2, wire.array([]) + b"\0", flexible=False)
        connection.call(metadata)
        ended = time.monotonic() + lifetime / 1000 + 0.1
        wait_until(lambda: time.monotonic() > ended, "the session to end")
        # A new login goes on; it has to be the same name.
        assert handshake(connection, "OAUTHBEARER", 1)[0] == 0
        token = realm.token(seconds=0.5)
        assert authenticate(connection, f"n,,\x01auth=Bearer {token}\x01\x01".encode())[0] == 0
        connection.call(metadata)
        ended = time.monotonic() + 0.6
        wait_until(lambda: time.monotonic() > ended, "the session to end")
        connection.send(metadata)
        assert connection.read_to_end() == b""
    assert "the session has ended; the client has to log in again" in realm.own.log()


def test_librdkafka_renews_its_token_and_works_on(realm: Realm, topic: str) -> None:
    done: list[Any] = []
    problems: list[Any] = []
    # Tokens are good until a whole second: for less than they say, so the client is told less.
    configuration = realm.librdkafka(lambda: realm.token(seconds=4), seconds=2)
    producer = Producer({**configuration, "error_cb": problems.append})
    began = realm.own.metric('martlet_logins_total{protocol="kafka"}')

    def work() -> bool:
        producer.produce(topic, b"value", on_delivery=lambda error, _: done.append(error))
        producer.flush(10)
        return realm.own.metric('martlet_logins_total{protocol="kafka"}') >= began + 3

    wait_until(work, "two more logins", 30, pause=0.05)
    assert set(done) == {None} and not problems


def test_keys_are_read_again_when_their_file_changes_and_a_bad_file_changes_nothing(
    start_broker: Callable[..., Broker], topic: str, tmp_path: Path
) -> None:
    realm = Realm(start_broker, tmp_path)
    own = realm.own
    (tmp_path / "new").mkdir()
    other = Issuer(tmp_path / "new", "next")
    next_token = other.token(**CLAIMS)
    with grpc.insecure_channel(own.address) as channel:
        publish(channel, topic, realm.token())
        with pytest.raises(grpc.RpcError):
            publish(channel, topic, next_token)
        realm.file.write_text('{"keys": [}')
        own.wait_log("keys of tokens changed and cannot be used, the old ones stay in force", seconds=30)
        publish(channel, topic, realm.token())
        known = realm.token()
        publish(channel, topic, known)
        realm.file.write_text(other.key_set("ES256"))
        own.wait_log("keys of tokens were read again", seconds=30)
        publish(channel, topic, next_token)
        # What was remembered of the old keys is forgotten with them.
        with pytest.raises(grpc.RpcError):
            publish(channel, topic, known)


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "PLAIN"])
def test_sessions_of_all_mechanisms_end(start_broker: Callable[..., Broker], mechanism: str) -> None:
    own = start_broker(arguments=[*ARGUMENTS, "--connections-max-reauth-ms", "400"])
    set_password(own, "alice", "a password that is long")
    with wire.Wire(own.address) as connection:
        assert handshake(connection, "PLAIN", 1)[0] == 0
        code, _, lifetime = authenticate(connection, b"\0alice\0a password that is long")
        assert (code, lifetime) == (0, 400)
        # Another mechanism than before is refused, as Kafka does.
        refused = handshake(connection, "SCRAM-SHA-512", 1)[0]
        assert refused == 33
        ended = time.monotonic() + 0.5
        wait_until(lambda: time.monotonic() > ended, "the session to end")
        connection.send(wire.request(wire.METADATA, 4, 2, wire.array([]) + b"\0", flexible=False))
        assert connection.read_to_end() == b""


def test_a_broker_that_has_no_keys_does_not_start(binary: str, tmp_path: Path) -> None:
    own = Broker(binary, tmp_path)
    data = ["serve", "--data", str(tmp_path / "data"), "--sasl-enabled-mechanisms", "OAUTHBEARER"]
    url = "--sasl-oauthbearer-jwks-endpoint-url"
    for flags, words in [
        ([], b"without `sasl.oauthbearer.jwks.endpoint.url`"),
        ([url, "https://issuer.example.org/keys"], b"a URL such as file:///"),
        ([url, f"file://{tmp_path}/missing.json"], b"missing.json: No such file"),
    ]:
        done = own.run(*data, *flags)
        assert done.returncode != 0 and words in done.stderr, done.stderr
