# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: `--check`, and what SIGHUP changes.
"""A configuration is judged without a start; a running broker takes what can change and names what cannot."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import Callable

from broker import Broker, Endpoint, wait_until


def check(binary: str, folder: Path, text: str, *arguments: str, mode: str = "serve") -> tuple[int, str]:
    (folder / "m.yaml").write_text(text)
    done = subprocess.run(
        [binary, mode, "--check", "--config", "m.yaml", *arguments], capture_output=True, timeout=30, cwd=folder
    )
    return done.returncode, (done.stdout + done.stderr).decode()


def test_check_names_every_mistake_with_its_line_and_starts_nothing(binary: str, tmp_path: Path) -> None:
    status, said = check(binary, tmp_path, "port: 9092\nlisen: x\n\nlog:\n  level: loud\n  retention.ms: soon\n", "--threads", "-4")
    lines = said.splitlines()
    assert status == 1 and len(lines) == 4, said
    assert all(line.startswith("error: ") for line in lines)
    for line, part in zip(lines, ("unknown key `lisen` at m.yaml:2", "`log.level` at m.yaml:5", "at m.yaml:6", "`--threads`")):
        assert part in line
    assert not (tmp_path / "data").exists() and not (tmp_path / "certs").exists()
    status, said = check(binary, tmp_path, "port: [1\n")
    assert status == 1 and "m.yaml:2: this is not YAML" in said
    status, said = check(binary, tmp_path, "tls.cert: a.pem\ntls.key: a.key\ntls.ca: a.pem\n")
    assert status == 1 and "a.pem: no such file" in said
    # Settings that do not go together are named with their lines too; an authority is looked at without certificates of one's own.
    status, said = check(binary, tmp_path, "port: 0\ntls:\n  cert: a.pem\ngroup.share.heartbeat.interval.ms: 50000\n")
    assert status == 1 and "`tls.cert` (m.yaml:3) is set without `tls.key`" in said and "(50000, m.yaml:4)" in said
    status, said = check(binary, tmp_path, "port: 0\ntls.ca: none.pem\n")
    assert status == 1 and "none.pem: no such file" in said and "tls.ca (m.yaml:2)" in said


def test_check_of_a_good_one_says_what_is_set_and_where(binary: str, tmp_path: Path) -> None:
    status, said = check(binary, tmp_path, "port: 0\nlog.level: debug\n", "--threads", "2")
    assert status == 0
    assert "log.level = debug (m.yaml:2)" in said and "threads = 2 (--threads)" in said
    assert not (tmp_path / "data").exists()


def test_sighup_takes_what_can_change_and_names_what_needs_a_restart(
    start_broker: Callable[..., Broker], tmp_path: Path, topic: str
) -> None:
    config = tmp_path / "m.yaml"
    config.write_text("log.level: info\nlog.retention.ms: 60000\n")
    broker = start_broker(arguments=["--config", str(config)])

    def reload(text: str) -> int:
        position = broker.log_size()
        config.write_text(text)
        os.kill(broker.pid, signal.SIGHUP)
        return position

    def retention() -> str:
        from confluent_kafka.admin import AdminClient, ConfigResource

        resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
        admin = AdminClient(Endpoint(broker, False).librdkafka())
        return admin.describe_configs([resource])[resource].result(10)["retention.ms"].value

    assert broker.run("topic", "create", topic, "--bootstrap", broker.address).returncode == 0
    assert retention() == "60000"
    position = reload("log.level: debug\nlog.retention.ms: 120000\nmax.connections: 17\nthreads: 3\n")
    line = broker.wait_log("the configuration was read again", since=position)
    assert "log.level: info -> debug" in line and "log.retention.ms: 60000 -> 120000" in line
    line = broker.wait_log("settings have changed that need a restart", since=position)
    assert "max.connections" in line and "threads" in line and "log.level" not in line
    assert retention() == "120000"
    probe(broker)
    broker.wait_log(" debug .*closed by the peer before", since=position)

    # What cannot be read changes nothing, and every mistake says its line.
    position = reload("log.level: loud\nmax.connections: many\n")
    line = broker.wait_log("the old one stays in force", since=position)
    assert "m.yaml:2" in line and "max.connections" in line, line
    assert "m.yaml:1" in line and broker.alive() and retention() == "120000"

    reload("log.level: warning\nlog.retention.ms: 120000\n")

    def is_quiet() -> bool:
        before = broker.log_size()
        probe(broker)
        with socket.create_connection(("127.0.0.1", broker.port)) as stranger:
            stranger.sendall(b"SSH-2.0-x\r\n")
            stranger.recv(1)
        broker.wait_log(" warning ", since=before)
        return " debug " not in broker.log_since(before)

    wait_until(is_quiet, "the level", pause=0.1)


def test_sighup_takes_super_users_and_the_origins_of_pages(start_broker: Callable[..., Broker], tmp_path: Path, topic: str) -> None:
    config = tmp_path / "m.yaml"
    config.write_text("super.users: User:root\n")
    broker = start_broker(mode="serve", arguments=["--config", str(config)])
    origin = "https://pages.example.org"

    def reload(text: str) -> None:
        position = broker.log_size()
        config.write_text(text)
        os.kill(broker.pid, signal.SIGHUP)
        broker.wait_log("the configuration was read again", since=position)

    def may_create(name: str) -> bool:
        return broker.run("topic", "create", name, "--bootstrap", broker.address).returncode == 0

    def preflight() -> int:
        connection = http.client.HTTPConnection(broker.address, timeout=10)
        connection.request("OPTIONS", "/martlet.v1.Admin/ListTopics", headers={
            "origin": origin, "access-control-request-method": "POST"})  # fmt: skip
        return connection.getresponse().status

    assert broker.run("acl", "add", "somebody", "read", "--topic", "x", "--bootstrap", broker.address).returncode == 0
    assert not may_create(topic) and preflight() == 403
    reload(f"super.users: User:ANONYMOUS\ncors.allowed.origins: {origin}\n")
    assert may_create(topic) and preflight() == 204
    reload("super.users: User:root\n")
    assert not may_create(topic + "-2") and preflight() == 403


def probe(broker: Broker) -> None:
    """A connection that ends before it has shown a protocol, which is told at debug only."""
    with socket.create_connection(("127.0.0.1", broker.port)) as connection:
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)


def test_sighup_without_a_file_looks_at_the_certificates(start_broker: Callable[..., Broker]) -> None:
    broker = start_broker(arguments=["--log-format", "json"])
    position = broker.log_size()
    for _ in range(50):
        os.kill(broker.pid, signal.SIGHUP)
    line = json.loads(broker.wait_log("the certificate files are those in force", since=position))
    assert line["level"] == "notice" and line["module"] == "Martlet"
    assert broker.stop() == 0
