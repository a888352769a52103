# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: the command line.
"""The commands of the binary against a broker, and every mistake a user makes when starting one.

A mistake ends with one line on standard error that names what and where, and a status that is not 0.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any, Callable, Optional

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AclBinding, AclOperation, AclPermissionType, AdminClient, NewTopic, ResourcePatternType, ResourceType,
)

import segments
from broker import Broker, Endpoint, wait_until


class Shell:
    """Runs the binary the way a person does, against one endpoint."""

    def __init__(self, endpoint: Endpoint):
        self.endpoint = endpoint

    def connection(self) -> list[str]:
        flags = ["--bootstrap", self.endpoint.address]
        if self.endpoint.tls:
            broker = self.endpoint.broker
            flags += ["--ca", broker.ca, "--cert", broker.certificate, "--key", broker.key]
        return flags

    def run(self, *words: str, input: bytes = b"", status: int = 0) -> str:
        done = self.endpoint.broker.run(*words, *self.connection(), input=input)
        assert done.returncode == status, f"{words}: {done.returncode}: {done.stderr.decode()}{done.stdout.decode()}"
        return done.stdout.decode()

    def fail(self, *words: str) -> str:
        done = self.endpoint.broker.run(*words, *self.connection(), input=b"")
        assert done.returncode != 0
        return one_line(done.stderr)


def one_line(stderr: bytes) -> str:
    """The one line that an error has."""
    lines = stderr.decode().strip().splitlines()
    assert len(lines) == 1, f"not one line: {lines}"
    return lines[0]


@pytest.fixture
def shell(endpoint: Endpoint) -> Shell:
    return Shell(endpoint)


@pytest.fixture
def plain_shell(plaintext: Endpoint) -> Shell:
    return Shell(plaintext)


# Commands.


def test_topics_are_created_listed_described_and_deleted(shell: Shell, topic: str) -> None:
    shell.run("topic", "create", topic, "--partitions", "3", "--config", "retention.ms=12345")
    assert topic in shell.run("topic", "list").split()
    described = shell.run("topic", "describe", topic)
    assert topic in described and "12345" in described and "retention.ms" in described
    assert topic in shell.fail("topic", "create", topic)
    shell.run("topic", "delete", topic)
    assert topic not in shell.run("topic", "list").split()
    assert topic in shell.fail("topic", "describe", topic)
    assert topic in shell.fail("topic", "delete", topic)


def test_lines_are_produced_consumed_and_subscribed_to(shell: Shell, topic: str) -> None:
    lines = [f"line {number}" for number in range(300)]
    shell.run("produce", topic, input="\n".join(lines).encode() + b"\n")
    assert shell.run("consume", topic, "--from", "earliest", "--exit-at-end").splitlines() == lines
    assert shell.run("subscribe", topic, "--from", "earliest", "--exit-at-end").splitlines() == lines
    assert shell.run("consume", topic, "--from", "297", "--max-messages", "2").splitlines() == lines[297:299]
    assert shell.run("subscribe", topic, "--from", "297", "--max-messages", "2").splitlines() == lines[297:299]


@pytest.mark.parametrize("compression", ["gzip", "snappy", "lz4", "zstd"])
def test_produce_compresses_and_both_readers_decompress(plain_shell: Shell, topic: str, compression: str) -> None:
    lines = [f"line {number} " + "abc" * 50 for number in range(300)]
    plain_shell.run("produce", topic, "--compression", compression, input="\n".join(lines).encode() + b"\n")
    assert plain_shell.run("consume", topic, "--from", "earliest", "--exit-at-end").splitlines() == lines
    assert plain_shell.run("subscribe", topic, "--from", "earliest", "--exit-at-end").splitlines() == lines
    codecs = {
        header.attributes & 7
        for _, header, _ in segments.segments(plain_shell.endpoint.broker.data, topic)[0].batches()
    }
    assert codecs == {{"gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}[compression]}


def test_keys_headers_and_tombstones_are_produced_and_shown(shell: Shell, topic: str) -> None:
    shell.run(
        "produce", topic, "--key-separator", ":", "--header", "trace=abc", "--tombstones",
        input=b"key:value\nno key\ngone:\n",
    )  # fmt: skip
    for command in ("consume", "subscribe"):
        out = shell.run(command, topic, "--from", "earliest", "--exit-at-end", "--format", "json")
        shown = [json.loads(line) for line in out.splitlines()]
        assert [entry["offset"] for entry in shown] == [0, 1, 2]
        assert [entry["key"] for entry in shown] == ["key", None, "gone"]
        assert [entry["value"] for entry in shown] == ["value", "no key", None]
        assert all("trace" in json.dumps(entry["headers"]) for entry in shown)


def test_consume_with_a_group_goes_on_where_it_stopped(shell: Shell, topic: str, group: str) -> None:
    shell.run("produce", topic, input=b"a\nb\nc\n")
    flags = ["--group", group, "--from", "earliest", "--exit-at-end"]
    assert shell.run("consume", topic, *flags).split() == ["a", "b", "c"]
    shell.run("produce", topic, input=b"d\n")
    assert shell.run("consume", topic, *flags).split() == ["d"]


def test_subscribe_follows_until_it_has_enough(shell: Shell, topic: str) -> None:
    shell.run("produce", topic, input=b"first\n")
    command = [shell.endpoint.broker.binary, "subscribe", topic, "--from", "earliest", "--max-messages", "2"]
    with subprocess.Popen([*command, *shell.connection()], stdout=subprocess.PIPE) as following:
        assert following.stdout is not None
        assert following.stdout.readline() == b"first\n"
        shell.run("produce", topic, input=b"second\n")
        assert following.stdout.readline() == b"second\n"
        assert following.wait(20) == 0


def test_a_reader_whose_output_is_closed_ends_quietly(plain_shell: Shell, topic: str) -> None:
    plain_shell.run("produce", topic, input=b"line\n" * 50_000)
    command = [plain_shell.endpoint.broker.binary, "consume", topic, "--from", "earliest", "--exit-at-end"]
    with subprocess.Popen(
        [*command, *plain_shell.connection()], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as reading:
        assert reading.stdout is not None and reading.stderr is not None
        assert reading.stdout.readline() == b"line\n"
        reading.stdout.close()
        assert reading.wait(20) in (0, -13, 141)
        assert reading.stderr.read() == b""


def test_dump_prints_batches_records_and_damage(
    plain_shell: Shell, topic: str, tmp_path: Path
) -> None:
    plain_shell.run("produce", topic, "--compression", "zstd", "--key-separator", ":", input=b"key:hello there\n")
    broker = plain_shell.endpoint.broker
    part = segments.segments(broker.data, topic)[0]
    done = broker.run("dump", "--deep", str(part.log))
    assert done.returncode == 0, done.stderr.decode()
    text = done.stdout.decode()
    assert "zstd" in text.lower() and "hello there" in text and "key" in text
    content = bytearray(part.log.read_bytes())
    content[-3] ^= 0xFF
    damaged = tmp_path / part.log.name
    damaged.write_bytes(content)
    done = broker.run("dump", str(damaged))
    assert done.returncode != 0
    assert any(line.startswith(b"DAMAGED") for line in done.stdout.splitlines()), done.stdout
    assert broker.run("dump", str(tmp_path / "absent.log")).returncode != 0


def test_certs_are_made_issued_and_shown(binary: str, tmp_path: Path) -> None:
    folder = str(tmp_path / "certs")

    def certs(*words: str) -> str:
        done = subprocess.run([binary, "certs", *words, "--certs", folder], capture_output=True, timeout=30)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    certs("init")
    first = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
    certs("init")
    assert {path.name: path.read_bytes() for path in Path(folder).iterdir()} == first
    certs("issue", "alice")
    assert (Path(folder) / "alice.pem").exists()
    assert os.stat(Path(folder) / "alice.key").st_mode & 0o777 == 0o600
    assert "alice" in certs("show", str(Path(folder) / "alice.pem"))
    subprocess.run(["openssl", "verify", "-CAfile", f"{folder}/ca.pem", f"{folder}/alice.pem"], check=True,
                   capture_output=True)  # fmt: skip


def test_an_issued_certificate_opens_the_door(broker: Broker) -> None:
    folder = Path(broker.ca).parent
    done = broker.run("certs", "issue", "newcomer", "--certs", str(folder))
    assert done.returncode == 0, done.stderr.decode()
    done = broker.run(
        "topic", "list", "--bootstrap", broker.address, "--ca", broker.ca, "--cert", str(folder / "newcomer.pem"),
        "--key", str(folder / "newcomer.key"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("command", [
    ["produce", "{topic}", "--connections", "4", "--in-flight", "2", "--record-size", "512", "--acks", "1"],
    ["produce", "{topic}", "--connections", "2", "--record-size", "1000", "--batch-bytes", "65536", "--acks", "all"],
    ["fetch", "{topic}", "--connections", "2"],
    ["publish", "{topic}", "--connections", "2", "--in-flight", "4", "--record-size", "512"],
    ["publish-stream", "{topic}", "--connections", "2", "--in-flight", "100", "--record-size", "100"],
    ["publish-stream", "{topic}", "--rate", "1000", "--in-flight", "1000", "--batch-bytes", "4096"],
    ["subscribe", "{topic}"],
    ["latency", "{topic}", "--rate", "500", "--record-size", "64"],
    ["echo", "{topic}", "--record-size", "64"],
], ids=["produce", "produce batches", "fetch", "publish", "publish-stream", "publish-stream at a rate", "subscribe", "latency",
        "echo"])
def test_bench_measures_and_prints_json(shell: Shell, topic: str, command: list[str]) -> None:
    shell.run("topic", "create", topic)
    shell.run("produce", topic, input=b"x" * 100 + b"\n" + b"y\n" * 1000)
    words = [word.format(topic=topic) for word in command]
    what, _, *rest = words
    out = shell.run("bench", what, "--topic", topic, *rest, "--duration", "1", "--json")
    report = json.loads(out)
    flat = json.dumps(report)
    # A subscription is one request without an end: there is no latency of it.
    assert what == "subscribe" or re.search(r"p99|percentile|latency", flat), flat
    assert any(isinstance(value, (int, float)) and value > 0 for value in report.values()), flat


def test_bench_works_on_a_queue(shell: Shell, topic: str) -> None:
    shell.run("topic", "create", topic)
    shell.run("produce", topic, input=b"job\n" * 3000)
    report = json.loads(shell.run("bench", "work", "--topic", topic, "--in-flight", "500", "--records", "3000", "--json"))
    assert report["records"] == 3000 and report["refused"] == 0


def test_bench_follows_a_topic(shell: Shell, topic: str) -> None:
    shell.run("topic", "create", topic)
    command = [shell.endpoint.broker.binary, "bench", "subscribe", "--topic", topic, "--follow", "--records", "1000", "--json"]
    with subprocess.Popen([*command, *shell.connection()], stdout=subprocess.PIPE) as reader:
        while reader.poll() is None:
            shell.run("produce", topic, input=b"line\n" * 500)
        assert reader.stdout is not None
        assert json.loads(reader.stdout.read())["records"] >= 1000


def test_help_and_version_are_there(binary: str) -> None:
    for words in (["--help"], ["dev", "--help"], ["topic", "--help"], ["bench", "produce", "--help"], ["--version"],
                  ["publish", "--help"], ["work", "--help"], ["work", "redrive", "--help"]):
        done = subprocess.run([binary, *words], capture_output=True, timeout=20)
        assert done.returncode == 0 and done.stdout, words


def test_the_banner_shows_address_durability_and_lines_that_work(fresh_broker: Broker) -> None:
    # The ready file comes first: it says that the broker answers, the banner is for people.
    wait_until(lambda: "grpcurl -cacert" in fresh_broker.log(), "the banner", 10)
    banner = fresh_broker.log()
    assert fresh_broker.address in banner and "disk" in banner
    kcat = [line.strip() for line in banner.splitlines() if line.strip().startswith("kcat ")]
    grpcurl = [line.strip() for line in banner.splitlines() if line.strip().startswith("grpcurl ")]
    assert len(kcat) >= 2 and grpcurl
    for line in kcat:
        done = subprocess.run(line, shell=True, capture_output=True, timeout=30)
        assert done.returncode == 0 and b"1 brokers" in done.stdout, line


@pytest.mark.parametrize("mode", ["dev", "serve"])
def test_the_banner_says_who_may_do_what(start_broker: Callable[..., Broker], topic: str, mode: str) -> None:
    own = start_broker(mode=mode, arguments=["--super-users", "User:CN=client"])
    wait_until(lambda: "grpcurl -cacert" in own.log(), "the banner", 10)
    opened = "what an access rule speaks of is for those whom it allows" if mode == "dev" else "the first access rule closes the broker"
    assert f"access       open: there are no access rules, everybody may do everything; {opened}" in own.log()
    admin = AdminClient(Endpoint(own, tls=True).librdkafka())
    others = AdminClient(Endpoint(own, tls=False).librdkafka())
    others.create_topics([NewTopic(topic, 1)])[topic].result(20)
    rule = AclBinding(ResourceType.TOPIC, "secret", ResourcePatternType.LITERAL, "User:alice", "*", AclOperation.READ,
                      AclPermissionType.ALLOW)  # fmt: skip
    admin.create_acls([rule])[rule].result(20)
    # What no rule speaks of: free in dev, denied in serve.
    creation = others.create_topics([NewTopic(f"{topic}-again", 1)])[f"{topic}-again"]
    if mode == "dev":
        creation.result(20)
    else:
        with pytest.raises(KafkaException) as refusal:
            creation.result(20)
        assert refusal.value.args[0].name() == "TOPIC_AUTHORIZATION_FAILED"
    own.stop()
    before = own.log_size()
    own.start()
    wait_until(lambda: "grpcurl -cacert" in own.log_since(before), "the banner", 10)
    now = (
        "what none of them speaks of is free (allow.everyone.if.no.acl.found)"
        if mode == "dev"
        else "what none of them allows is denied, except to super.users"
    )
    assert f"access       by 1 access rule; {now}" in own.log_since(before)


# The ready file.


def test_the_ready_file_tells_pid_address_durability_and_a_clients_certificates(broker: Broker) -> None:
    assert broker.ready["pid"] == broker.pid
    assert broker.ready["durability"] == "disk"
    host, port = broker.ready["address"].rsplit(":", 1)
    assert host == "127.0.0.1" and int(port) > 0
    for path in broker.ready["certs"].values():
        assert os.path.isabs(path) and os.path.exists(path)
    text = subprocess.run(
        ["openssl", "x509", "-in", broker.certificate, "-noout", "-ext", "extendedKeyUsage"],
        capture_output=True, check=True,
    ).stdout.decode()  # fmt: skip
    assert "Client Authentication" in text


def test_a_broker_answers_when_its_ready_file_is_there(start_broker: Callable[..., Broker]) -> None:
    for number in range(5):
        own = start_broker(f"number-{number}", ephemeral=True)
        with socket.create_connection(("127.0.0.1", own.port), timeout=5) as raw:
            raw.sendall(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert raw.recv(100).startswith(b"HTTP/1.1 200")


# Mistakes.


def start_fails(
    binary: str, folder: Path, *arguments: str, command: str = "dev", environment: Any = None, status: Optional[int] = None
) -> str:
    """Starts a broker that cannot start; its one line."""
    folder.mkdir(exist_ok=True)
    words = [binary, command, *arguments]
    if command == "dev":
        for flag, value in (("--port", "0"), ("--data", str(folder / "data")), ("--certs", str(folder / "certs"))):
            if flag not in arguments:
                words += [flag, value]
    done = subprocess.run(
        words, stdin=subprocess.DEVNULL, capture_output=True, timeout=30, env={**os.environ, **(environment or {})}
    )
    assert done.returncode != 0, f"it started: {done.stdout.decode()}"
    assert status in (None, done.returncode), done.stderr.decode()
    return one_line(done.stderr)


def test_a_taken_port_is_named(binary: str, broker: Broker, tmp_path: Path) -> None:
    line = start_fails(binary, tmp_path, "--port", str(broker.port))
    assert str(broker.port) in line and re.search("in use|taken", line), line


def test_a_data_directory_in_use_names_the_process(binary: str, broker: Broker, tmp_path: Path) -> None:
    line = start_fails(binary, tmp_path, "--data", str(broker.data))
    assert str(broker.pid) in line and str(broker.data) in line, line


def test_a_data_directory_of_a_newer_format_is_refused(binary: str, fresh_broker: Broker, tmp_path: Path) -> None:
    fresh_broker.stop()
    description = fresh_broker.data / "martlet.properties"
    text = description.read_text()
    newer = re.sub(r"(?m)^version=\d+$", "version=999", text)
    assert newer != text, f"the data directory does not describe itself: {text}"
    description.write_text(newer)
    line = start_fails(binary, tmp_path, "--data", str(fresh_broker.data))
    assert str(fresh_broker.data) in line and re.search("newer|999", line), line


def test_a_data_directory_below_a_file_is_named(binary: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    line = start_fails(binary, tmp_path, "--data", str(tmp_path / "file" / "data"))
    assert str(tmp_path / "file") in line, line


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="no /proc")
def test_a_data_directory_that_cannot_be_written_is_named(binary: str, tmp_path: Path) -> None:
    # /proc takes no files from anyone, root included.
    line = start_fails(binary, tmp_path, "--data", "/proc/martlet-data")
    assert "/proc/martlet-data" in line, line


@pytest.mark.parametrize(
    ("content", "line", "word"),
    [
        ("listen: [unclosed\n", None, ""),
        ("listen: 127.0.0.1:0\nno.such.key: 1\n", 2, "no.such.key"),
        ("listen: 127.0.0.1:0\n\nlog:\n  retention.ms: soon\n", 4, "log.retention.ms"),
        ("durability: sometimes\n", 1, "durability"),
        ("data: a\ndata: b\n", 2, "data"),
        ("- just\n- a list\n", 1, ""),
    ],
    ids=["no YAML", "unknown key", "no number", "unknown value", "twice", "a list"],
)
def test_bad_yaml_is_named_by_file_line_and_key(
    binary: str, tmp_path: Path, content: str, line: Optional[int], word: str
) -> None:
    file = tmp_path / "martlet.yaml"
    file.write_text(content)
    # A service manager can tell that the next start would fail too (EX_CONFIG).
    message = start_fails(binary, tmp_path, "--config", str(file), command="serve", status=78)
    assert str(file) in message and word in message, message
    assert re.search(rf":{line}\b|line {line}\b" if line else r":\d|line \d", message), message


def test_a_configuration_file_that_is_not_there_is_named(binary: str, tmp_path: Path) -> None:
    assert "absent.yaml" in start_fails(binary, tmp_path, "--config", str(tmp_path / "absent.yaml"), command="serve")


def test_an_unknown_flag_is_named_with_the_nearest_known(binary: str, tmp_path: Path) -> None:
    line = start_fails(binary, tmp_path, "--durabilty", "os")
    assert "durabilty" in line and "--durability" in line, line


def test_a_wrong_value_of_a_variable_is_named(binary: str, tmp_path: Path) -> None:
    line = start_fails(binary, tmp_path, environment={"MARTLET_DURABILITY": "sometimes"})
    assert "MARTLET_DURABILITY" in line and "sometimes" in line, line


def test_an_unknown_command_is_named(binary: str) -> None:
    done = subprocess.run([binary, "dve"], capture_output=True, timeout=20)
    assert done.returncode != 0 and b"dve" in done.stderr


@pytest.fixture(scope="module")
def two_pairs(binary: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folders = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("other")
    for folder in folders:
        subprocess.run([binary, "certs", "init", "--certs", str(folder)], check=True, capture_output=True)
    return folders


def test_a_key_of_another_certificate_is_named(binary: str, two_pairs: tuple[Path, Path], tmp_path: Path) -> None:
    one, other = two_pairs
    line = start_fails(
        binary, tmp_path, "--tls-cert", str(one / "server.pem"), "--tls-key", str(other / "server.key"),
        "--tls-ca", str(one / "ca.pem"),
    )  # fmt: skip
    assert str(other / "server.key") in line and "does not belong to" in line, line


@pytest.mark.parametrize("which", ["--tls-cert", "--tls-key", "--tls-ca"])
@pytest.mark.parametrize("how", ["absent", "garbage"])
def test_an_unreadable_certificate_or_key_is_named(
    binary: str, two_pairs: tuple[Path, Path], tmp_path: Path, which: str, how: str
) -> None:
    one, _ = two_pairs
    files = {"--tls-cert": one / "server.pem", "--tls-key": one / "server.key", "--tls-ca": one / "ca.pem"}
    bad = tmp_path / "bad.pem"
    if how == "garbage":
        bad.write_text("this is no PEM file\n")
    files[which] = bad
    line = start_fails(binary, tmp_path, *[word for flag, path in files.items() for word in (flag, str(path))])
    assert str(bad) in line, line


def test_a_client_command_without_a_broker_says_where_it_looked(binary: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        for command in (["topic", "list"], ["consume", "x"], ["subscribe", "x"], ["produce", "x"], ["publish", "x"],
                        ["work", "x", "--group", "g", "--print"], ["work", "redrive", "dlq.x"]):
            done = subprocess.run(
                [binary, *command, "--bootstrap", address], input=b"line\n", capture_output=True, timeout=60
            )
            assert done.returncode != 0, command
            assert address in one_line(done.stderr), command


def test_two_brokers_cannot_be_started_on_one_directory_at_once(binary: str, tmp_path: Path) -> None:
    """Eight at the same moment: one wins, seven say who holds it."""
    ready = [tmp_path / f"ready-{number}.json" for number in range(8)]
    processes = [
        subprocess.Popen(
            [binary, "dev", "--port", "0", "--data", str(tmp_path / "data"), "--certs", str(tmp_path / "certs"),
             "--ready-file", str(file)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )
        for file in ready
    ]  # fmt: skip
    try:
        done = threading.Semaphore(0)

        def watch(process: Any) -> None:
            process.wait()
            done.release()

        for process in processes:
            threading.Thread(target=watch, args=(process,), daemon=True).start()
        for _ in range(7):
            assert done.acquire(timeout=30), "more than one broker runs on one directory"
        assert sum(process.poll() is None for process in processes) == 1
        for process in processes:
            if process.poll() is not None:
                assert process.stderr is not None
                assert "in use" in one_line(process.stderr.read()) or process.returncode != 0
    finally:
        for process in processes:
            process.kill()
            process.wait()
            if process.stderr is not None:
                process.stderr.close()


def test_the_binary_is_small_without_the_tables_of_all_languages(binary: str) -> None:
    """One method of Foundation (beyond FoundationEssentials) that the compiler finds through an import links 40 MB of ICU."""
    has_tables = b"icudt" in Path(binary).read_bytes()
    assert not has_tables
