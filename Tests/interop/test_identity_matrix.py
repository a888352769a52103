# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: who gets in, and what both sides say: clients × transports × what is right or wrong about them.
"""One table. A cell is what a client is given and what it must come to: its own error, and the broker's log line."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import re
import ssl
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable, Optional

import grpc
import pytest
from aiokafka import AIOKafkaProducer
from confluent_kafka import KafkaError, Producer
from confluent_kafka.admin import (
    AdminClient, ScramCredentialInfo, ScramMechanism, UserScramCredentialDeletion, UserScramCredentialUpsertion,
)
from kafka import KafkaProducer

import secrecy
from broker import Broker, wait_until
from test_identity import Revocations
from test_tls import EARLY, LATE, LONG_AGO, YESTERDAY, Authority

PASSWORD = "the password of the matrix"
secrecy.keep(PASSWORD, "password of the matrix")
TOPIC = "matrix"
#: A martlet.v1.PublishRequest with one record.
PUBLISH = b"\x0a" + bytes([len(TOPIC)]) + TOPIC.encode() + b"\x1a\x03\x12\x01v"
CLIENT, SERVER = "extendedKeyUsage=clientAuth", "extendedKeyUsage=serverAuth"


@dataclass(frozen=True)
class Access:
    """What a client is given."""

    listener: str = "open"
    host: str = "127.0.0.1"
    #: Whose certificates it trusts; None: plaintext.
    ca: Optional[str] = None
    #: The name of its own certificate.
    pair: Optional[str] = None
    user: Optional[str] = None
    password: str = PASSWORD


@dataclass(frozen=True)
class Cell:
    access: Access
    #: None: it gets in; otherwise what its own error has.
    client: Optional[str]
    #: What the broker's log has; None: nothing that says so.
    log: Optional[str] = None


OPEN, TLS = Access(), Access(ca="own")
SASL = Access(listener="closed", ca="own", user="alice")


def mtls(name: str) -> Access:
    return replace(TLS, pair=name)


def both(name: str, **changes: Any) -> Access:
    return replace(SASL, **({"listener": "both", "pair": name} | changes))


UNKNOWN, REVOKED = "unknown.?ca", "certificate.?revoked"
# Kafka has no words for it: the connection is closed.
CLOSED = "disconnect|connection.* closed|ConnectionError|brokers are down"
LOGIN = "invalid credentials|AuthenticationFailed|Authentication ?failed|the name or the password is wrong|UNAUTHENTICATED"
VERIFY = "verify.failed|VERIFY_FAILED|not match|mismatch|hostname|Hostname|UNAVAILABLE|certificate problem|no alternative certificate"
CELLS = {
    "plaintext right": Cell(OPEN, None),
    "plaintext where a login is wanted": Cell(Access(listener="closed"), CLOSED, "a request before the login"),
    "TLS right": Cell(TLS, None),
    "TLS of another CA": Cell(replace(TLS, ca="other"), VERIFY, "it does not trust our certificate"),
    "TLS of another name": Cell(replace(TLS, host="127.0.0.2"), VERIFY, "client ended TLS"),
    "mTLS right": Cell(mtls("good"), None),
    "mTLS wrong": Cell(mtls("wrong"), "unsupported.?certificate", "is not meant for a client"),
    "mTLS expired": Cell(mtls("expired"), "certificate.?expired", r"client certificate expired on 2020-02-01 \(CN=expired\)"),
    "mTLS revoked": Cell(mtls("revoked"), REVOKED, r"client certificate \(CN=revoked\) was revoked by its CA"),
    "mTLS of another CA": Cell(mtls("stranger"), UNKNOWN, r"client certificate \(CN=stranger\) is signed by an unknown CA"),
    "SASL right": Cell(SASL, None),
    "SASL wrong": Cell(replace(SASL, password="wrong"), LOGIN, "wrong (user or )?password for alice"),
    "SASL of nobody": Cell(replace(SASL, user="nobody"), LOGIN, "(there is no user|wrong user or password for) nobody"),
    "SASL removed": Cell(replace(SASL, user="removed"), LOGIN, "(there is no user|wrong user or password for) removed"),
    "SASL of another CA": Cell(replace(SASL, ca="other"), VERIFY, "it does not trust our certificate"),
    "SASL of another name": Cell(replace(SASL, host="127.0.0.2"), VERIFY, "client ended TLS"),
    "mTLS of another name": Cell(replace(mtls("good"), host="127.0.0.2"), VERIFY, "client ended TLS"),
    "either: a certificate": Cell(replace(mtls("good"), listener="closed"), None),
    "either: a login with a certificate": Cell(both("good", listener="closed"), None),
    "both right": Cell(both("good"), None),
    "both, login missing": Cell(both("good", user=None), CLOSED, "its certificate does not stand for a login here"),
    "both, login of nobody": Cell(both("good", user="nobody"), LOGIN, "(there is no user|wrong user or password for) nobody"),
    "both, login removed": Cell(both("good", user="removed"), LOGIN, "(there is no user|wrong user or password for) removed"),
    "both, certificate missing": Cell(both("good", pair=None), "certificate.?required", "client sent no certificate, and this listener requires one"),
    "both, certificate wrong": Cell(both("wrong"), "unsupported.?certificate", "is not meant for a client"),
    "both of another CA": Cell(both("good", ca="other"), VERIFY, "it does not trust our certificate"),
    "both of another name": Cell(both("good", host="127.0.0.2"), VERIFY, "client ended TLS"),
    "both, password wrong": Cell(both("good", password="wrong"), LOGIN, "wrong (user or )?password for alice"),
    "both, certificate expired": Cell(both("expired"), "certificate.?expired", "client certificate expired on"),
    "both, certificate revoked": Cell(both("revoked"), REVOKED, "was revoked by its CA"),
    "both, certificate of another CA": Cell(both("stranger"), UNKNOWN, "is signed by an unknown CA"),
}  # fmt: skip


class Place:
    """A broker with a listener that wants no login, one that wants a login or a certificate, one that wants both; every client."""

    def __init__(self, binary: str, folder: Path):
        (folder / "own").mkdir()
        (folder / "other").mkdir()
        own, other = Revocations(folder / "own"), Authority(folder / "other")
        server = own.sign("server", EARLY, LATE, "subjectAltName=IP:127.0.0.1,DNS:localhost")
        self.cas = {"own": own.certificate, "other": other.certificate}
        self.pairs = {
            "good": own.sign("good", EARLY, LATE, CLIENT), "wrong": own.sign("wrong", EARLY, LATE, SERVER),
            "expired": own.sign("expired", LONG_AGO, YESTERDAY, CLIENT), "revoked": own.sign("revoked", EARLY, LATE, CLIENT),
            "stranger": other.sign("stranger", EARLY, LATE, CLIENT)}  # fmt: skip
        own.revoke(self.pairs["revoked"][0])
        files = ["--tls-cert", server[0], "--tls-key", server[1], "--tls-ca", own.certificate, "--ssl-crl-location", own.list,
                 "--tls-client-auth", "requested", "--sasl-enabled-mechanisms", "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
                 "--listen", "open://0.0.0.0:0,closed://0.0.0.0:0,both://0.0.0.0:0",
                 "--listener-name-open-sasl-enabled-mechanisms", "none", "--listener-name-both-tls-client-auth", "required",
                 "--audit-log", str(folder / "audit.log"), "--audit-allowed", "all", "--log-level", "debug"]  # fmt: skip
        self.audit = folder / "audit.log"
        self.own = Broker(binary, folder / "broker", arguments=files).start()
        self.ports = dict(zip(("open", "closed", "both"), ports(self.own)))
        self.make_users()

    def make_users(self) -> None:
        admin = AdminClient(self.rdkafka(mtls("good")))
        strong = ScramMechanism.SCRAM_SHA_512
        for user in ("alice", "removed"):
            change = UserScramCredentialUpsertion(user, ScramCredentialInfo(strong, 4096), PASSWORD.encode())
            admin.alter_user_scram_credentials([change])[user].result(20)
        admin.alter_user_scram_credentials([UserScramCredentialDeletion("removed", strong)])["removed"].result(20)

    def written(self, since: int) -> list[tuple[str, str]]:
        """Who was allowed to write, and over what, in the audit log from this byte on."""
        events = [json.loads(line) for line in self.audit.read_bytes()[since:].splitlines(keepends=True) if line.endswith(b"\n")]
        return [(event["principal"], event["protocol"]) for event in events
                if (event["event"], event.get("operation"), event.get("name"), event["outcome"]) == ("access", "write", TOPIC, "allowed")]  # fmt: skip

    def address(self, access: Access) -> str:
        return f"{access.host}:{self.ports[access.listener]}"

    def protocol(self, access: Access) -> str:
        return ("SASL_" if access.user else "") + ("SSL" if access.ca else "PLAINTEXT")

    def context(self, access: Access) -> Optional[ssl.SSLContext]:
        if not access.ca:
            return None
        context = ssl.create_default_context(cafile=self.cas[access.ca])
        if access.pair:
            context.load_cert_chain(*self.pairs[access.pair])
        return context

    # One client each: None if a record was written, otherwise everything that the client said.

    def rdkafka(self, access: Access) -> dict[str, Any]:
        settings: dict[str, Any] = {"bootstrap.servers": self.address(access), "log_level": 0,
                                    "security.protocol": self.protocol(access), "broker.address.family": "v4"}  # fmt: skip
        if access.ca:
            settings |= {"ssl.ca.location": self.cas[access.ca]}
        if access.pair:
            settings |= dict(zip(["ssl.certificate.location", "ssl.key.location"], self.pairs[access.pair]))
        if access.user:
            settings |= {"sasl.mechanism": "SCRAM-SHA-512", "sasl.username": access.user, "sasl.password": access.password}
        return settings

    def librdkafka(self, access: Access) -> Optional[str]:
        problems: list[Any] = []
        outcome: list[Any] = []
        producer = Producer({**self.rdkafka(access), "error_cb": problems.append, "message.timeout.ms": 2000})
        producer.produce(TOPIC, b"v", on_delivery=lambda error, _: outcome.append(error))

        def done() -> bool:
            producer.poll(0.05)
            return bool(outcome) or any(problem.code() != KafkaError._ALL_BROKERS_DOWN for problem in problems)

        wait_until(done, "a record to be written or refused")
        producer.purge()
        return None if outcome and outcome[0] is None else " ".join(problem.str() for problem in [*problems, *outcome])

    def kafka_python(self, access: Access) -> Optional[str]:
        said = Said("kafka")
        login = {"sasl_mechanism": "SCRAM-SHA-512", "sasl_plain_username": access.user, "sasl_plain_password": access.password}
        with said:
            try:
                producer = KafkaProducer(
                    bootstrap_servers=self.address(access), security_protocol=self.protocol(access),
                    ssl_context=self.context(access), bootstrap_timeout_ms=1000, max_block_ms=1000,
                    **(login if access.user else {}))  # fmt: skip
            except Exception as error:
                return said.text(error)
            try:
                producer.send(TOPIC, b"v").get(5)
                return None
            except Exception as error:
                return said.text(error)
            finally:
                producer.close(timeout=1)

    def aiokafka(self, access: Access) -> Optional[str]:
        async def produce() -> None:
            producer = AIOKafkaProducer(
                bootstrap_servers=self.address(access), security_protocol=self.protocol(access),
                ssl_context=self.context(access), request_timeout_ms=3000,
                **(login if access.user else {}))  # fmt: skip
            try:
                await producer.start()
                await producer.send_and_wait(TOPIC, b"v")
            finally:
                await producer.stop()

        login = {"sasl_mechanism": "SCRAM-SHA-512", "sasl_plain_username": access.user, "sasl_plain_password": access.password}
        with Said("aiokafka") as said:
            try:
                asyncio.run(produce())
                return None
            except Exception as error:
                return said.text(error)

    def grpcio(self, access: Access) -> Optional[str]:
        metadata = []
        if access.user:
            login = base64.b64encode(f"{access.user}:{access.password}".encode()).decode()
            metadata.append(("authorization", f"Basic {login}"))
        options = [("grpc.use_local_subchannel_pool", 1)]
        if access.ca:
            pair = [Path(file).read_bytes() for file in self.pairs[access.pair]] if access.pair else [None, None]
            credentials = grpc.ssl_channel_credentials(Path(self.cas[access.ca]).read_bytes(), pair[1], pair[0])
            channel = grpc.secure_channel(self.address(access), credentials, options)
        else:
            channel = grpc.insecure_channel(self.address(access), options)
        with channel:
            publish = channel.unary_unary(
                "/martlet.v1.Streams/Publish", request_serializer=bytes, response_deserializer=bytes)
            try:
                publish(PUBLISH, metadata=metadata, timeout=10)
                return None
            except grpc.RpcError as error:
                return f"{error.code()} {error.details()}"

    def run(self, command: list[str], body: bytes) -> tuple[int, str]:
        done = subprocess.run(command, input=body, capture_output=True, timeout=30)
        said = (done.stdout + done.stderr).decode(errors="replace")
        Broker.told.append((command[0], said.encode()))
        return done.returncode, said

    def kcat(self, access: Access) -> Optional[str]:
        """Debian's, whose librdkafka 2.0 breaks SCRAM off by itself: it says its nonce twice."""
        settings = self.rdkafka(access) | {"message.timeout.ms": 1500, "log_level": 3}
        if access.user:
            settings["sasl.mechanism"] = "PLAIN"
        flags = [flag for name, value in settings.items() for flag in ("-X", f"{name}={value}")]
        status, said = self.run(["kcat", "-P", "-t", TOPIC, *flags], b"v\n")
        return None if status == 0 and "failed" not in said else said

    def curl(self, access: Access, path: str, kind: str, body: bytes, *flags: str) -> tuple[int, str]:
        scheme = "https" if access.ca else "http"
        flags += ("--cacert", self.cas[access.ca]) if access.ca else ()
        if access.pair:
            flags += ("--cert", self.pairs[access.pair][0], "--key", self.pairs[access.pair][1])
        if access.user:
            flags += ("--user", f"{access.user}:{access.password}")
        return self.run(
            ["curl", "--silent", "--show-error", "--max-time", "10", "--header", f"content-type: {kind}", "--data-binary", "@-",
             "--write-out", "\nstatus %{http_code}", *flags, f"{scheme}://{self.address(access)}{path}"], body)  # fmt: skip

    def curl_json(self, access: Access) -> Optional[str]:
        body = json.dumps({"records": [{"value": "v"}]}).encode()
        status, said = self.curl(access, f"/v1/topics/{TOPIC}/records", "application/json", body, "--http1.1")
        return None if status == 0 and said.endswith("status 200") else said

    def curl_connect(self, access: Access) -> Optional[str]:
        body = json.dumps({"topic": TOPIC, "records": [{"value": base64.b64encode(b"v").decode()}]}).encode()
        http = "--http2" if access.ca else "--http2-prior-knowledge"
        status, said = self.curl(access, "/martlet.v1.Streams/Publish", "application/json", body, http)
        return None if status == 0 and said.endswith("status 200") else said

    def curl_grpc_web(self, access: Access) -> Optional[str]:
        body = b"\0" + len(PUBLISH).to_bytes(4, "big") + PUBLISH
        status, said = self.curl(access, "/martlet.v1.Streams/Publish", "application/grpc-web+proto", body, "--http1.1")
        return None if status == 0 and "grpc-status: 0" in said else said

    def close(self) -> None:
        self.own.close()


def ports(own: Broker) -> list[int]:
    """Of all listeners, in order."""
    addresses = re.search(r"address=(\S+)", own.wait_log(" ready "))
    assert addresses
    return [int(address.rsplit(":", 1)[1]) for address in addresses.group(1).split(",")]


class Said(logging.Handler):
    """Everything that a client written in Python logs."""

    def __init__(self, name: str):
        super().__init__(logging.DEBUG)
        self.logger = logging.getLogger(name)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())

    def __enter__(self) -> "Said":
        self.before = self.logger.level
        self.logger.setLevel(logging.INFO)
        self.logger.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        self.logger.removeHandler(self)
        self.logger.setLevel(self.before)

    def text(self, error: BaseException) -> str:
        return "\n".join([f"{type(error).__name__}: {error}", *self.lines])


@pytest.fixture(scope="module")
def place(binary: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    made = Place(binary, tmp_path_factory.mktemp("matrix"))
    yield made
    made.close()


OVER_HTTP = ("grpcio", "curl_json", "curl_connect", "curl_grpc_web")

#: What clients do not say, or not tell the broker, with the reason.
DISTRUST = ("it does not trust our certificate", "client ended TLS")


def expected(client: str, what: str) -> tuple[str, Optional[str]]:
    """What the client's error and the broker's log have."""
    cell = CELLS[what]
    said, log = cell.client or "", cell.log
    if client in ("aiokafka", "grpcio") and log in DISTRUST:
        # asyncio and gRPC's core close the connection without an alert.
        log = "the peer closed the connection in the middle of the TLS handshake"
    if client in OVER_HTTP and what.endswith("of another name"):
        log = None  # they compare names after the handshake, and go
    if client == "grpcio" and (what.startswith(("TLS", "mTLS", "both, certificate")) or "of another" in what):
        said = "UNAVAILABLE"  # alerts after the handshake have no name there
    if client == "aiokafka" and what.startswith(("mTLS", "both, certificate")) and not what.endswith("of another name"):
        said = "Connection at .* closed"  # nor here
    if client in OVER_HTTP and what in ("plaintext where a login is wanted", "both, login missing"):
        said, log = "this broker wants a name and a password", "call ended.*code=unauthenticated"
    return said, log


@pytest.mark.parametrize("what", CELLS)
@pytest.mark.parametrize("client", ["librdkafka", "kcat", "kafka_python", "aiokafka", *OVER_HTTP])
def test_who_gets_in_and_what_both_sides_say(place: Place, client: str, what: str) -> None:
    cell = CELLS[what]
    own = place.own
    since, audited = own.log_size(), place.audit.stat().st_size
    said = getattr(place, client)(cell.access)
    if cell.client is None:
        assert said is None
        access = cell.access
        who = access.user or (f"CN={access.pair}" if access.pair else "ANONYMOUS")
        wait_until(lambda: place.written(audited), "the event of the write", 10)
        assert set(place.written(audited)) == {(f"User:{who}", "grpc" if client in OVER_HTTP else "kafka")}
        return
    wanted, log = expected(client, what)
    assert said is not None and re.search(wanted, said, re.IGNORECASE), said
    if log:
        own.wait_log(log, since=since)
    assert place.written(audited) == []
