# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: listeners of one broker with rules of their own.
"""Who gets in where is in test_identity_matrix.py; here is what listeners must not leak into each other, and what is told of them."""

from __future__ import annotations

import json
import socket
import ssl
from pathlib import Path
from typing import Any, Callable

import pytest

import wire
from broker import Broker, wait_until
from test_identity_matrix import ports
from test_oauthbearer import authenticate
from test_sasl import handshake

CONFIG = """
listen: [apps://127.0.0.1:0, team://127.0.0.1:0, plain://127.0.0.1:0]
plaintext: never
listener.name:
  apps: { tls.client.auth: required }
  team: { tls.client.auth: none, sasl.enabled.mechanisms: [SCRAM-SHA-256, PLAIN] }
  plain: { plaintext: loopback, sasl.enabled.mechanisms: SCRAM-SHA-256 }
"""


class Three:
    def __init__(self, own: Broker):
        self.own = own
        self.ports = dict(zip(("apps", "team", "plain"), ports(own)))

    def address(self, name: str) -> str:
        return f"127.0.0.1:{self.ports[name]}"


@pytest.fixture
def three(start_broker: Callable[..., Broker], tmp_path: Path) -> Three:
    config = tmp_path / "m.yaml"
    config.write_text(CONFIG)
    return Three(start_broker(arguments=["--config", str(config), "--audit-log", str(tmp_path / "audit.log")]))


def test_the_banner_and_the_check_tell_of_each_listener(three: Three, tmp_path: Path) -> None:
    own = three.own
    wait_until(lambda: "grpcurl -cacert" in own.log(), "the banner", 10)
    lines = [line.strip() for line in own.log().splitlines()]
    assert "apps         TLS with a certificate; no login" in lines
    assert "team         TLS; a login of all: SCRAM-SHA-256, PLAIN" in lines
    assert "plain        TLS with a certificate, plaintext from this machine; a login of all: SCRAM-SHA-256" in lines
    checked = own.run("serve", "--check", "--config", str(tmp_path / "m.yaml")).stdout.decode()
    assert "listener.name.team.tls.client.auth = none (" in checked and "m.yaml:6)" in checked
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("listen: apps://127.0.0.1:0\n\nlistener.name.app.tls.client.auth: none\n")
    said = own.run("serve", "--check", "--config", str(wrong))
    assert said.returncode == 1
    assert f"`listener.name.app.tls.client.auth` ({wrong}:3) is for a listener that `listen` does not have" in said.stderr.decode()


def test_the_doctor_and_the_check_judge_each_listener_by_its_own(start_broker: Callable[..., Broker], tmp_path: Path) -> None:
    config = tmp_path / "differ.yaml"
    config.write_text("""# what each line is for is asked below
listen: [apps://0.0.0.0:0, team://0.0.0.0:0, open://0.0.0.0:0, here://127.0.0.1:0]
tls.client.auth: requested
sasl.enabled.mechanisms: SCRAM-SHA-256
listener.name:
  apps: { sasl.enabled.mechanisms: none, tls.client.auth: required }
  team: { tls.client.auth: required }
  open: { sasl.enabled.mechanisms: none }
  here: { sasl.enabled.mechanisms: none, plaintext: anywhere }
""")
    own = start_broker()
    found = own.run("doctor", "--json", "--config", str(config))
    told = {(one["id"], one["setting"], one["place"]) for one in json.loads(found.stdout)["findings"] if one["severity"] != "note"}
    assert found.returncode == 2 and {one for one in told if (one[1] or "").startswith(("listener", "tls", "sasl", "plain"))} == {
        ("nobody-is-asked", "listener.name.open.sasl.enabled.mechanisms", f"{config}:8"),
        ("login-needs-certificate", "listener.name.team.tls.client.auth", f"{config}:7"),
    }
    checked = own.run("serve", "--check", "--config", str(config))
    said = (checked.stdout + checked.stderr).decode()
    assert checked.returncode == 1 and "on the listener open: clients need neither a certificate nor a password" in said
    assert "on the listener team: who logs in" in said and "on the listener apps" not in said and "on the listener here" not in said
    config.write_text(config.read_text().replace("open: { sasl.enabled.mechanisms: none }", "open: {}"))
    assert own.run("serve", "--check", "--config", str(config)).returncode == 0


def test_plaintext_is_a_listeners_own(three: Three) -> None:
    with wire.Wire(three.address("plain")) as connection:
        assert connection.call(wire.api_versions_request())
    since = three.own.log_size()
    with wire.Wire(three.address("team")) as connection:
        connection.send(wire.api_versions_request())
        assert connection.read_to_end() == b""
    assert "listener=team" in three.own.wait_log("refused a plaintext kafka client", since=since)


def test_a_session_of_a_listener_without_certificates_opens_no_other(three: Three) -> None:
    """TLS tickets are good where the same is asked of clients."""
    own = three.own
    context = ssl.create_default_context(cafile=own.ca)

    def visit(name: str, session: Any = None) -> tuple[Any, bool]:
        with socket.create_connection(("127.0.0.1", three.ports[name]), 10) as raw:
            with context.wrap_socket(raw, server_hostname="127.0.0.1", session=session) as secured:
                secured.sendall(b"GET /readyz HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")
                assert secured.recv(1 << 16).startswith(b"HTTP/1.1 200")
                return secured.session, secured.session_reused

    session, _ = visit("team")
    assert visit("team", session)[1], "sessions are resumed at all"
    since = own.log_size()
    with pytest.raises((ssl.SSLError, ConnectionError)):
        visit("apps", visit("team")[0])
    own.wait_log("client sent no certificate, and this listener requires one", since=since)


def test_a_name_that_there_is_not_has_the_same_salt_at_every_listener(three: Three) -> None:
    """A user's is one; another one at each listener would tell that the name is made up."""

    def salt(name: str, tls: Any) -> bytes:
        with wire.Wire(three.address(name), tls=tls) as connection:
            assert handshake(connection, "SCRAM-SHA-256", 1)[0] == 0
            error, challenge, _ = authenticate(connection, b"n,,n=nobody,r=abcdefghijkl")
            assert error == 0
            return challenge.split(b",")[1]

    assert salt("team", ssl.create_default_context(cafile=three.own.ca)) == salt("plain", None)


def test_mechanisms_are_a_listeners_own_and_the_audit_log_names_it(three: Three, tmp_path: Path) -> None:
    context = ssl.create_default_context(cafile=three.own.ca)
    with wire.Wire(three.address("team"), tls=context) as connection:
        assert handshake(connection, "PLAIN", 1)[0] == 0
        assert authenticate(connection, b"\0nobody\0wrong")[0] == 58
    with wire.Wire(three.address("plain")) as connection:
        assert handshake(connection, "PLAIN", 1)[0] == 33
    audit = tmp_path / "audit.log"

    def failures() -> list[dict[str, Any]]:
        events = [json.loads(line) for line in audit.read_text().splitlines()] if audit.exists() else []
        return [event for event in events if event.get("event") == "login"]

    wait_until(failures, "the event", 10)
    assert failures()[0]["listener"] == "team"


@pytest.mark.parametrize("rules, wanted", [
    ("tls.client.auth: none, sasl.enabled.mechanisms: SCRAM-SHA-256", "martlet topic list --bootstrap {0} --ca {1} --user admin"),
    ("tls.client.auth: required, sasl.enabled.mechanisms: PLAIN", "--ca {1} --cert {2} --key {3} --user admin"),
    ("tls.client.auth: none", "kcat -b {0} -X security.protocol=SSL -X ssl.ca.location={1} -L"),
])  # fmt: skip
def test_the_commands_of_the_banner_are_those_that_the_first_listener_lets_in(
    start_broker: Callable[..., Broker], tmp_path: Path, rules: str, wanted: str
) -> None:
    config = tmp_path / "m.yaml"
    config.write_text(f"listen: [first://127.0.0.1:0, open://127.0.0.1:0]\nplaintext: never\nlistener.name: {{ first: {{ {rules} }} }}\n")
    own = start_broker(arguments=["--config", str(config)])
    banner = wait_until(lambda: "Try it from" in own.log() and own.log().rstrip().count("\n  ") > 6 and own.log(), "the banner", 10)
    assert wanted.format(own.address, own.ca, own.certificate, own.key) in banner
    assert "mutual TLS" not in banner
