# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: a broker that says all it can does not say a secret.
"""One broker at its most talkative level, with an audit log of everything and an external policy, is shown every kind of secret: right, wrong
and malformed. All that it prints, answers, asks, counts and keeps is searched, and so is what `ps` shows."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import socket
import ssl
import subprocess
from pathlib import Path
from typing import Any, Callable, Optional

import pytest

import secrecy
import wire
from broker import Broker, Endpoint, wait_until
from policies import PolicyServer
from test_sasl import handshake
from tokens import Issuer

#: Neither is a multiple of three bytes into what Basic encodes.
USERS = {"alice": "what alice keeps to herself", "root": "what root keeps to himself"}
WRONG = "what alice kept once before"
for user, password in {**USERS, "nobody": WRONG}.items():
    secrecy.keep(password, f"password of {user}")


class Heard:
    """Everything that came out of the broker, but for what it prints."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def authenticate(self, connection: wire.Wire, token: bytes) -> bytes:
        answer = connection.call(wire.request(36, 1, 1, wire.i32(len(token)) + token, flexible=False))
        self.pieces.append(bytes(answer))
        reader = wire.Reader(answer)
        reader.i32(), reader.i16(), reader.string()
        return bytes(reader.take(reader.i32()))

    def http(self, own: Broker, path: str, authorization: str, body: bytes = b"{}", kind: str = "application/json") -> bytes:
        context = ssl.create_default_context(cafile=own.ca)
        with socket.create_connection(("127.0.0.1", own.port), 10) as raw, context.wrap_socket(raw, server_hostname="127.0.0.1") as secured:
            head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\ncontent-type: {kind}\r\n"
            secured.sendall(f"{head}authorization: {authorization}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
            answer = b"".join(iter(lambda: secured.recv(1 << 16), b""))
        self.pieces.append(answer)
        return answer


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def scram(heard: Heard, connection: wire.Wire, mechanism: str, user: str, password: str) -> None:
    """What is made of a password on the way is as secret as it is."""
    name = "sha256" if mechanism.endswith("256") else "sha512"
    assert handshake(connection, mechanism, 1)[0] == 0
    bare = f"n={user},r=".encode() + base64.b64encode(os.urandom(18))
    challenge = heard.authenticate(connection, b"n,," + bare)
    nonce, salt, iterations = challenge.split(b",")
    salted = hashlib.pbkdf2_hmac(name, password.encode(), base64.b64decode(salt[2:]), int(iterations[2:]))
    client_key = hmac.digest(salted, b"Client Key", name)
    stored = hashlib.new(name, client_key).digest()
    without = b"c=biws," + nonce
    signature = hmac.digest(stored, bare + b"," + challenge + b"," + without, name)
    proof = bytes(a ^ b for a, b in zip(client_key, signature))
    server_key = hmac.digest(salted, b"Server Key", name)
    for secret, what in ((salted, "salted password"), (client_key, "client key"), (stored, "stored key"),
                         (server_key, "server key"), (proof, "proof")):  # fmt: skip
        secrecy.keep(secret, f"{what} of {user}")
    heard.authenticate(connection, without + b",p=" + base64.b64encode(proof))


@pytest.fixture
def policy() -> Any:
    made = PolicyServer(lambda question: question.user != "root")
    yield made
    made.stop()


@pytest.mark.parametrize("style", ["text", "json"])
def test_a_talkative_broker_tells_no_secret(
    start_broker: Callable[..., Broker], policy: PolicyServer, tmp_path: Path, style: str
) -> None:
    issuer = Issuer(tmp_path)
    (tmp_path / "keys.json").write_text(issuer.key_set("ES256"))
    audit = tmp_path / "audit-of-all.log"
    own = start_broker(arguments=[
        "--log-level", "trace", "--log-format", style, "--audit-log", str(audit), "--audit-allowed", "all",
        "--audit-topic", "audit-events", "--tls-client-auth", "requested", "--authorizer-opa-url", policy.url,
        "--super-users", "User:CN=client", "--sasl-enabled-mechanisms", "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
        "--sasl-oauthbearer-jwks-endpoint-url", f"file://{tmp_path}/keys.json"])  # fmt: skip
    heard = Heard()
    secure = ["--bootstrap", own.address, "--ca", own.ca, "--cert", own.certificate, "--key", own.key]
    for user, password in USERS.items():
        (tmp_path / user).write_text(password + "\n")
        assert own.run("user", "add", user, "--password-file", str(tmp_path / user), *secure).returncode == 0
        mine = ["--bootstrap", own.address, "--ca", own.ca, "--user", user, "--user-password-file"]
        own.run("topic", "list", *mine, str(tmp_path / user))
        (tmp_path / "wrong").write_text(WRONG + "\n")
        assert own.run("topic", "list", *mine, str(tmp_path / "wrong")).returncode != 0
    token, expired = issuer.token(), issuer.token(seconds=-3600)
    secrecy.keep(token.split(".")[1], "claims of a token")
    passwords = [*USERS.items(), ("alice", WRONG), ("nobody", WRONG)]

    def logged(mechanism: str) -> wire.Wire:
        connection = wire.Wire(own.address, tls=ssl.create_default_context(cafile=own.ca))
        if mechanism:
            assert handshake(connection, mechanism, 1)[0] == 0
        return connection

    for user, password in passwords:
        plain = f"\0{user}\0{password}".encode()
        # As it should be, without its first part, with one more, as somebody else.
        for message in (plain, plain[1:], plain + b"\0", b"other" + plain, plain + b"\xff"):
            with logged("PLAIN") as connection:
                heard.authenticate(connection, message)
        for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512"):
            with logged("") as connection:
                scram(heard, connection, mechanism, user, password)
            # A client that mixes the mechanisms up.
            with logged(mechanism) as connection:
                heard.authenticate(connection, plain)
        with logged("OAUTHBEARER") as connection:
            heard.authenticate(connection, plain)
        for authorization in (basic(user, password), basic(user, password)[6:], f"Basic {user}:{password}", f"Basi {password}",
                              f"Bearer {password}", f"Basic  {basic(user, password)[6:]}x"):  # fmt: skip
            for path in ("/martlet.v1.Admin/ListTopics", "/martlet.v1.Streams/Publish", "/readyz", f"/none?p={token}"):
                heard.http(own, path, authorization)
    for bearer in (token, expired, token[:-4] + "AAAA", token + "."):
        for message in (f"n,,\1auth=Bearer {bearer}\1\1", f"n,a=bob,\1auth=Bearer {bearer}\1\1", f"n,,\1auth=Bearer {bearer}", bearer):
            with logged("OAUTHBEARER") as connection:
                heard.authenticate(connection, message.encode())
        for authorization in (f"Bearer {bearer}", f"Bearer  {bearer}", bearer, f"Basic {bearer}"):
            heard.http(own, "/martlet.v1.Admin/ListTopics", authorization)
    with logged("") as connection:  # a bare token where a request is due
        connection.send(wire.i32(len(token)) + token.encode())
        heard.pieces.append(connection.read_to_end())
    admin = Endpoint(own, tls=True)
    context = admin.ssl_context()
    for path in ("/metrics", "/readyz"):
        with socket.create_connection(("127.0.0.1", own.port), 10) as raw, context.wrap_socket(raw, server_hostname="127.0.0.1") as secured:
            secured.sendall(f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n".encode())
            heard.pieces.append(b"".join(iter(lambda: secured.recv(1 << 16), b"")))
    with wire.Wire(own.address, tls=context) as connection:
        # All users' mechanisms and iterations; all settings of the broker.
        heard.pieces.append(bytes(connection.call(wire.request(50, 0, 1, b"\0\0", flexible=True))))
        resource = wire.array([wire.i8(4) + wire.string("1") + wire.i32(-1)])
        settings = bytes(connection.call(wire.request(32, 1, 2, resource + b"\1", flexible=False)))
        assert b"super.users" in settings
        heard.pieces.append(settings)
    heard.pieces.append(subprocess.run(["ps", "axeww"], capture_output=True, timeout=20).stdout)
    assert str(own.pid).encode() in heard.pieces[-1]
    heard.pieces += [json.dumps(question.key()).encode() for question in policy.asked]
    assert policy.asked
    wait_until(lambda: "SCRAM-SHA-512" in audit.read_text(), "the audit log")
    own.stop()
    assert not [name for name in own.log().splitlines() if "core dumped" in name]

    wanted = secrecy.needles([*tmp_path.rglob("*.key"), *own.certs_directory.rglob("*.key")])
    log = own.log_path.read_bytes()
    assert b"wrong user or password for alice" in log and b"debug" in log.lower()
    found = secrecy.search(log, wanted, "the log") + secrecy.search(audit.read_bytes(), wanted, "the audit log")
    for number, piece in enumerate(heard.pieces):
        found += secrecy.search(piece, wanted, f"answer {number}")
    # The keys made of a password are kept, and nothing that it could be read from.
    kept = {needle: what for needle, what in wanted.items() if "stored key" not in what and "server key" not in what}
    for path in own.data.rglob("*"):
        if path.is_file():
            found += secrecy.search(path.read_bytes(), kept, str(path.relative_to(own.data)))
    assert not found, "\n".join(sorted(set(found)))


@pytest.mark.parametrize("before", range(4))
@pytest.mark.parametrize("after", range(4))
def test_the_search_finds_what_is_encoded_with_other_things(before: int, after: int) -> None:
    secret = USERS["root"]
    wanted = {form: "it" for form in secrecy.forms(secret.encode())}
    text = f"{'x' * before}{secret}{'y' * after}".encode()
    for form in (text, text.hex().encode(), base64.b64encode(text), base64.urlsafe_b64encode(text)):
        assert secrecy.search(b"... " + form + b" ...", wanted, "this"), form
    assert not secrecy.search(base64.b64encode(b"what nobody keeps to himself"), wanted, "this")
