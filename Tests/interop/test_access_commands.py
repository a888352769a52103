# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: `martlet user` and `martlet acl`, from the first user on.
"""The commands against a broker whose clients must log in."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from pathlib import Path
from typing import Any, Callable, Optional

import pytest

import secrecy
from broker import Broker
from test_cli import one_line
from test_identity_matrix import ports
from test_sasl import deliver, librdkafka

MECHANISMS = ["--sasl-enabled-mechanisms", "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512", "--tls-client-auth", "requested"]
ROOT, ALICE = "first-of-all-passwords", "alice has, a long=one"
secrecy.keep(ROOT, "password of root")
secrecy.keep(ALICE, "password of alice")


class Commands:
    """Runs commands against one broker as one user."""

    def __init__(self, own: Broker, folder: Path):
        self.own = own
        self.folder = folder
        self.user: Optional[str] = None

    def file(self, password: str) -> str:
        path = self.folder / f"password-{abs(hash(password))}"
        path.write_text(password + "\n")
        return str(path)

    def connection(self) -> list[str]:
        login = ["--user", self.user, "--user-password-file", self.file(ROOT)] if self.user else []
        return ["--bootstrap", self.own.address, *login]

    def run(self, *words: str, status: int = 0) -> str:
        done = self.own.run(*words, *self.connection())
        assert done.returncode == status, f"{words}: {done.returncode}: {done.stderr.decode()}{done.stdout.decode()}"
        return done.stdout.decode()

    def fail(self, *words: str) -> str:
        done = self.own.run(*words, *self.connection())
        assert done.returncode != 0, done.stdout
        return one_line(done.stderr)


@pytest.fixture
def commands(start_broker: Callable[..., Broker], tmp_path: Path) -> Commands:
    return Commands(start_broker(mode="serve", arguments=[*MECHANISMS, "--auto-create-topics-enable"]), tmp_path)


def test_the_first_user_is_made_from_this_machine_and_after_that_everybody_logs_in(commands: Commands) -> None:
    own = commands.own
    assert commands.run("user", "list") == "no users\n"
    # Nothing but that is open.
    assert "closed the connection" in commands.fail("topic", "list")
    commands.run("user", "add", "root", "--password-file", commands.file(ROOT))
    assert "closed the connection" in commands.fail("user", "list")
    assert "closed the connection" in commands.fail("user", "add", "mallory", "--password-file", commands.file("x"))
    assert "a request before the login" in own.log()
    commands.user = "root"
    assert commands.run("user", "list").splitlines() == [
        "USER  MECHANISM      ITERATIONS", "root  SCRAM-SHA-256  8192", "root  SCRAM-SHA-512  8192"]  # fmt: skip
    for mechanism in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"):
        assert deliver(librdkafka(own, mechanism, "root", ROOT, tls=mechanism == "PLAIN"), "t") is None


def test_users_are_added_changed_and_removed(commands: Commands) -> None:
    own = commands.own
    commands.run("user", "add", "root", "--password-file", commands.file(ROOT))
    commands.user = "root"
    commands.run("user", "add", "alice", "--password-file", commands.file("before"), "--mechanism", "SCRAM-SHA-512",
                 "--iterations", "4096")  # fmt: skip
    assert deliver(librdkafka(own, "SCRAM-SHA-512", "alice", "before"), "t") is None
    commands.run("user", "add", "alice", "--password-file", commands.file(ALICE))
    assert deliver(librdkafka(own, "SCRAM-SHA-512", "alice", "before"), "t") is not None
    assert deliver(librdkafka(own, "SCRAM-SHA-512", "alice", ALICE), "t") is None
    listed = [json.loads(line) for line in commands.run("user", "list", "--json").splitlines()]
    assert listed[0] == {"user": "alice", "credentials": [
        {"mechanism": "SCRAM-SHA-256", "iterations": 8192}, {"mechanism": "SCRAM-SHA-512", "iterations": 8192}]}  # fmt: skip
    commands.run("user", "remove", "alice", "--mechanism", "SCRAM-SHA-256")
    assert deliver(librdkafka(own, "SCRAM-SHA-256", "alice", ALICE), "t") is not None
    commands.run("user", "remove", "alice")
    assert "there is no such user" in commands.fail("user", "remove", "alice")
    assert "4096 to 16384" in own.run("user", "add", "x", "--iterations", "9").stderr.decode()
    assert "wrong name or password" in own.run(
        "user", "list", "--bootstrap", own.address, "--user", "root", "--user-password-file", commands.file("no")).stderr.decode()


def test_a_password_is_asked_for_on_the_terminal_without_echo(commands: Commands) -> None:
    own = commands.own
    parent, child = pty.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", own.binary, "user", "add", "root", "--bootstrap", own.address], stdin=child, stdout=child,
        stderr=child, close_fds=True)  # fmt: skip
    os.close(child)
    seen = b""
    for question in (b"New password of root: ", b"Again: "):
        while question not in seen:
            seen += os.read(parent, 1000)
        os.write(parent, ROOT.encode() + b"\n")
    assert process.wait(20) == 0, seen
    try:
        seen += os.read(parent, 1000)
    except OSError:
        pass
    os.close(parent)
    assert ROOT.encode() not in seen
    assert deliver(librdkafka(own, "SCRAM-SHA-256", "root", ROOT), "t") is None


def test_rules_are_added_listed_tested_and_removed(commands: Commands) -> None:
    commands.run("user", "add", "root", "--password-file", commands.file(ROOT))
    commands.user = "root"
    assert commands.run("acl", "list") == "no rules\n"
    assert commands.run("acl", "test", "alice", "write", "--topic", "orders").startswith("allowed: ")
    commands.run("acl", "add", "root", "all", "--cluster", "--topic", "*", "--group", "*")
    commands.run("acl", "add", "alice", "read,describe-configs", "--topic", "orders-", "--group", "reports", "--prefix")
    commands.run("acl", "add", "*", "all", "--topic", "orders-secret", "--deny", "--host", "10.0.0.7")
    assert commands.run("acl", "list", "--topic", "orders-secret").splitlines() == [
        "PRINCIPAL   PERMISSION  OPERATION         RESOURCE  NAME           FROM",
        "User:root   allow       all               topic     *              *",
        "User:alice  allow       read              topic     orders-…       *",
        "User:alice  allow       describe-configs  topic     orders-…       *",
        "User:*      deny        all               topic     orders-secret  10.0.0.7",
    ]
    mine = [json.loads(line) for line in commands.run("acl", "list", "--principal", "alice", "--json").splitlines()]
    assert len(mine) == 4 and mine[0] == {
        "principal": "User:alice", "permission": "allow", "operation": "read", "resource": "topic", "name": "orders-",
        "pattern": "prefixed", "host": "*"}  # fmt: skip
    assert commands.run("acl", "test", "alice", "read", "--topic", "orders-eu") == (
        "allowed: User:alice read on topic orders-eu: allow User:alice read on topic orders-… (prefix)\n")
    assert "no rule allows it" in commands.run("acl", "test", "alice", "write", "--topic", "orders-eu", status=1)
    assert "denied" in commands.run("acl", "test", "alice", "read", "--topic", "orders-secret", "--host", "10.0.0.7", status=1)
    commands.run("acl", "remove", "alice", "read", "--topic", "orders-", "--prefix")
    assert "there is no such rule" in commands.fail("acl", "remove", "alice", "read", "--topic", "orders-", "--prefix")
    assert "denied" in commands.run("acl", "test", "alice", "read", "--topic", "orders-eu", status=1)


def test_a_subject_as_openssl_prints_it_is_noted_and_added_as_it_is(start_broker: Callable[..., Broker]) -> None:
    own = start_broker("spelling", mode="serve", arguments=["--super-users", "User:CN=client"])
    secure = ["--bootstrap", own.address, "--ca", own.ca, "--cert", own.certificate, "--key", own.key]
    done = own.run("acl", "add", "O = Example, CN = ann", "write", "--topic", "orders", *secure)
    assert done.returncode == 0 and b"perhaps User:CN=ann,O=Example, as `martlet certs show FILE`" in done.stderr, done.stderr
    assert b"User:O = Example, CN = ann" in own.run("acl", "list", *secure).stdout
    done = own.run("acl", "add", "CN=ann,O=Example", "write", "--topic", "orders", *secure)
    assert done.returncode == 0 and done.stderr == b"", done.stderr


def test_the_first_rule_does_not_lock_out_whoever_adds_it(
    commands: Commands, start_broker: Callable[..., Broker], tmp_path: Path
) -> None:
    commands.run("user", "add", "root", "--password-file", commands.file(ROOT))
    commands.user = "root"
    refusal = commands.fail("acl", "add", "alice", "write", "--topic", "orders")
    assert "you (User:root) may not change access rules, nor may anybody else" in refusal and "--cluster" in refusal
    assert commands.run("acl", "list") == "no rules\n"
    # Whoever lets himself in first may add the rest.
    commands.run("acl", "add", "root", "all", "--cluster", "--topic", "*", "--group", "*")
    commands.run("acl", "add", "alice", "write", "--topic", "orders")
    # A super user keeps the right; others hear that they lose it; and nobody is kept from it by force.
    own = start_broker("super", mode="serve", arguments=["--super-users", "User:CN=client"])
    at = ["--bootstrap", own.address]
    secure = ["--ca", own.ca, "--cert", own.certificate, "--key", own.key]
    done = own.run("acl", "add", "alice", "write", "--topic", "orders", *at, *secure)
    assert done.returncode == 0 and done.stderr == b"", done.stderr
    anonymous = start_broker("anonymous", mode="serve")
    at = ["--bootstrap", anonymous.address]
    done = anonymous.run("acl", "add", "alice", "write", "--topic", "orders", *at)
    assert done.returncode == 1 and b"you (User:ANONYMOUS) may not change" in done.stderr
    done = anonymous.run("acl", "add", "alice", "all", "--cluster", *at)
    assert done.returncode == 0 and b"warning: from now on you (User:ANONYMOUS)" in done.stderr
    forced = start_broker("forced", mode="serve")
    assert forced.run("acl", "add", "alice", "write", "--topic", "t", "--anyway", "--bootstrap", forced.address).returncode == 0


def test_a_certificate_is_nobody_where_the_listener_does_not_ask_for_it(
    start_broker: Callable[..., Broker], tmp_path: Path
) -> None:
    config = tmp_path / "m.yaml"
    config.write_text(
        "listen: [deaf://127.0.0.1:0, apps://127.0.0.1:0]\nlistener.name.deaf.tls.client.auth: none\nplaintext: never\n"
        "super.users: User:CN=client\n")  # fmt: skip
    own = start_broker("two", mode="serve", arguments=["--config", str(config)])
    deaf, apps = (f"127.0.0.1:{port}" for port in ports(own))
    secure = ["--ca", own.ca, "--cert", own.certificate, "--key", own.key]

    def add(address: str, *rule: str) -> tuple[int, str]:
        done = own.run("acl", "add", *rule, "--bootstrap", address, *secure)
        return done.returncode, done.stderr.decode()

    # The super user's certificate, where nobody looks at it.
    status, said = add(deaf, "alice", "write", "--topic", "orders")
    assert status == 0 and "warning: from now on you (User:ANONYMOUS) may not change access rules" in said
    status, said = add(deaf, "bob", "write", "--topic", "orders")
    assert status == 1 and "it needs Alter" in said
    assert add(apps, "bob", "write", "--topic", "orders") == (0, "")


def test_weak_passwords_are_warned_of_and_never_shown(commands: Commands) -> None:
    done = commands.own.run("user", "add", "root", "--password-file", commands.file("password"), *commands.connection())
    assert done.returncode == 0
    assert done.stderr.startswith(b"warning: the password of root is empty, the user's name, or one that everybody tries first")
    assert b"closed the connection: it may want a login (--user" in commands.own.run("topic", "list", *commands.connection()).stderr
    banner = commands.own.log()
    assert "whoever logs in or shows a certificate may do everything" in banner and "kcat -b" in banner
    plain = [line for line in banner.splitlines() if "kcat -b" in line and "security.protocol=SSL" not in line]
    assert plain == [] and "martlet user add admin --bootstrap" in banner


def test_mistakes_are_named(commands: Commands) -> None:
    commands.run("user", "add", "root", "--password-file", commands.file(ROOT))
    commands.user = "root"
    own = commands.own
    for words, said in [
        (["acl", "add", "alice", "write"], "name what it is about: --topic"),
        (["acl", "add", "alice", "fly", "--topic", "t"], "fly"),
        (["acl", "add", "alice", "read", "--topic", "t", "--host", "10.0.0.300"], "10.0.0.300"),
        (["acl", "add", "alice", "read", "--topic", "t", "--host", "10.0.0.0/8"], "10.0.0.0/8"),
        (["acl", "add", "alice", "read", "--topic", "or/ders"], "no topic can be called `or/ders`"),
        (["acl", "add", "User:", "read", "--topic", "t"], "User: is no principal"),
        (["user", "add", "User:bob", "--password-file", "/nowhere/file"], "a user's name goes without User:"),
        (["user", "add", "x", "--password-file", "/nowhere/file"], "/nowhere/file: No such file"),
        (["topic", "list", "--user-password-file", "x"], "--user-password-file needs --user"),
    ]:
        done = own.run(*words)
        assert done.returncode != 0 and said in done.stderr.decode(), done.stderr
    # A password is never an argument.
    help = own.run("user", "add", "--help").stdout.decode()
    assert "--password " not in help and "--password-file" in help


def test_other_commands_log_in_too(commands: Commands, topic: str) -> None:
    commands.run("user", "add", "root", "--password-file", commands.file(ROOT))
    commands.user = "root"
    own = commands.own
    done = own.run("produce", topic, *commands.connection(), input=b"hello\n")
    assert done.returncode == 0, done.stderr
    assert commands.run("consume", topic, "--from", "earliest", "--exit-at-end").strip() == "hello"
    assert commands.run("subscribe", topic, "--from", "earliest", "--exit-at-end").strip() == "hello"
