# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: certificates that change while the broker runs, and the commands that make them.
"""Files are replaced under load in all the ways that tools replace them; no handshake may fail, no acked record be lost.

`MARTLET_ROTATIONS` is how many rotations there are (`make rotate-test`: 1,000).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import ssl
import stat
import subprocess
import urllib.request
from functools import partial
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest

import wire
from background import Background
from broker import Broker, wait_until
from wire import Wire

ROTATIONS = int(os.environ.get("MARTLET_ROTATIONS", "40"))


def openssl(*arguments: str) -> str:
    done = subprocess.run(["openssl", *arguments], capture_output=True, timeout=30)
    assert done.returncode == 0, f"openssl {' '.join(arguments)}: {done.stderr.decode()}"
    return done.stdout.decode()


class Files:
    """Certificates of `martlet certs` in a directory, and the three files that a broker is given."""

    def __init__(self, binary: str, folder: Path):
        self.binary = binary
        self.folder = folder
        self.certs = folder / "certs"
        self.live = folder / "live"
        self.live.mkdir(parents=True)
        self.run("certs", "init", "--certs", str(self.certs))
        self.ca = self.live / "ca.pem"
        shutil.copy(self.certs / "ca.pem", self.ca)
        self.put("server")

    def run(self, *arguments: str, status: int = 0) -> str:
        done = subprocess.run([self.binary, *arguments], capture_output=True, timeout=30)
        assert done.returncode == status, f"{arguments}: {done.stderr.decode()}{done.stdout.decode()}"
        return (done.stdout + done.stderr).decode()

    def issue(self, name: str, *arguments: str) -> str:
        self.run("certs", "issue", name, "--certs", str(self.certs), *arguments)
        return name

    def put(self, name: str) -> None:
        """Each file whole by a rename, the certificate first: for a moment the two do not fit."""
        for suffix, place in (("pem", "tls.crt"), ("key", "tls.key")):
            temporary = self.live / f".{place}.tmp"
            shutil.copy(self.certs / f"{name}.{suffix}", temporary)
            os.rename(temporary, self.live / place)

    def arguments(self) -> list[str]:
        live = self.live
        return ["--tls-cert", f"{live}/tls.crt", "--tls-key", f"{live}/tls.key", "--tls-ca", str(self.ca)]

    def context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.certs / "ca.pem"))
        context.load_cert_chain(self.certs / "client.pem", self.certs / "client.key")
        return context

    def serial(self, name: str) -> str:
        return openssl("x509", "-in", str(self.certs / f"{name}.pem"), "-noout", "-serial").strip().partition("=")[2]


@pytest.fixture
def files(binary: str, tmp_path: Path) -> Files:
    return Files(binary, tmp_path)


def shown(broker: Broker, files: Files) -> str:
    """The serial number of the certificate that a new connection is shown; it is used for a request."""
    with Wire(broker.address, tls=files.context()) as connection:
        assert connection.call(wire.api_versions_request())
        serial: str = connection.socket.getpeercert()["serialNumber"]  # type: ignore[attr-defined]
        return serial


def readyz(broker: Broker) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://{broker.address}/readyz", timeout=20) as answer:
        return json.loads(answer.read())


def metrics(broker: Broker) -> str:
    with urllib.request.urlopen(f"http://{broker.address}/metrics", timeout=20) as answer:
        return answer.read().decode()


class Load(Background):
    """Producers over mutual TLS that reconnect all the time, and one that stays; counts what was acked."""

    def __init__(self, broker: Broker, files: Files):
        super().__init__(*[partial(self.run, number) for number in range(2)])
        self.broker, self.files = broker, files
        self.acked: set[bytes] = set()
        self.handshakes = 0

    def run(self, number: int) -> None:
        from confluent_kafka import Producer

        count = 0
        try:
            while not self.ending.is_set():
                producer = Producer(
                    {
                        "bootstrap.servers": self.broker.address, "security.protocol": "SSL", "acks": "all",
                        "enable.idempotence": True, "linger.ms": 1, "broker.address.family": "v4",
                        "ssl.ca.location": str(self.files.certs / "ca.pem"),
                        "ssl.certificate.location": str(self.files.certs / "client.pem"),
                        "ssl.key.location": str(self.files.certs / "client.key"),
                        "error_cb": lambda error: self.failures.append(str(error)),
                    }
                )  # fmt: skip
                for _ in range(20):
                    value = b"%d-%d" % (number, count)
                    count += 1
                    producer.produce("rotated", value, on_delivery=self.delivered)
                    producer.flush(20)
                self.handshakes += 1
        except Exception as error:  # noqa: BLE001 - whatever it is, the test is to fail with it
            self.failures.append(repr(error))

    def delivered(self, error: Any, message: Any) -> None:
        if error is None:
            self.acked.add(message.value())
        else:
            self.failures.append(str(error))


def stored(broker: Broker) -> list[bytes]:
    done = broker.run("consume", "rotated", "--bootstrap", broker.address, "--from", "earliest", "--exit-at-end")
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.deadline(120 + ROTATIONS)
def test_rotations_under_load_fail_no_handshake_and_lose_nothing(
    files: Files, start_broker: Callable[..., Broker]
) -> None:
    names = [files.issue(f"broker{number}", "--host", "localhost", "--host", "127.0.0.1") for number in range(8)]
    serials = [files.serial(name) for name in names]
    broker = start_broker(arguments=files.arguments())
    with Wire(broker.address, tls=files.context()) as lasting, Load(broker, files) as load:
        for rotation in range(ROTATIONS):
            turn = rotation % len(names)
            files.put(names[turn])
            os.kill(broker.pid, signal.SIGHUP)
            # Every handshake until the new certificate is in force is a good one, with the old certificate.
            wait_until(lambda: shown(broker, files) == serials[turn], f"certificate {turn} of rotation {rotation}")
            assert lasting.call(wire.api_versions_request()), "a connection that exists is left alone"
    assert load.failures == []
    assert load.handshakes > 0 and load.acked
    values = stored(broker)
    assert load.acked <= set(values) and len(values) == len(set(values))
    print(f"{ROTATIONS} rotations, {load.handshakes} handshakes, {len(load.acked)} records acknowledged and none lost")
    text = metrics(broker)
    assert f'martlet_certificate_reloads_total{{outcome="succeeded"}} {ROTATIONS}' in text
    assert 'martlet_certificate_reloads_total{outcome="failed"} 0' in text
    failed = [line for line in text.splitlines() if line.startswith("martlet_tls_handshakes_failed_total{")]
    assert failed and all(line.endswith(" 0") for line in failed)


def test_what_vault_and_step_ca_write_is_taken_without_being_told(
    files: Files, start_broker: Callable[..., Broker]
) -> None:
    """Vault's agent renders each file and renames it; step-ca writes in place, the certificate, then the key, or the
    other way round; cert-manager's volume turns a symbolic link to a new directory."""
    names = [files.issue(f"broker{number}", "--host", "localhost", "--host", "127.0.0.1") for number in range(4)]
    broker = start_broker(arguments=files.arguments())
    first = files.serial("server")
    assert shown(broker, files) == first

    def in_place(name: str, order: tuple[tuple[str, str], ...]) -> None:
        for suffix, place in order:
            (files.live / place).write_bytes((files.certs / f"{name}.{suffix}").read_bytes())

    key_first = (("key", "tls.key"), ("pem", "tls.crt"))
    for put in (
        lambda: files.put(names[0]),
        lambda: in_place(names[1], key_first),
        lambda: in_place(names[2], key_first[::-1]),
    ):
        put()
        expected = openssl("x509", "-in", f"{files.live}/tls.crt", "-noout", "-serial").strip().partition("=")[2]
        wait_until(lambda: shown(broker, files) == expected, "the new certificate")
    assert "cannot be used" not in broker.log()

    # A volume of Kubernetes: tls.crt -> ..data/tls.crt, ..data -> a directory that is replaced.
    for number, name in enumerate((names[0], names[3])):
        version = files.live / f"..{number}"
        version.mkdir()
        shutil.copy(files.certs / f"{name}.pem", version / "tls.crt")
        shutil.copy(files.certs / f"{name}.key", version / "tls.key")
        os.symlink(version, files.live / "..new")
        os.rename(files.live / "..new", files.live / "..data")
        if number == 0:
            for place in ("tls.crt", "tls.key"):
                os.symlink(Path("..data") / place, files.live / ".link")
                os.rename(files.live / ".link", files.live / place)
        wait_until(lambda: shown(broker, files) == files.serial(name), "the certificate behind the link")


def test_bad_files_keep_the_old_certificate_and_everybody_hears_of_it(
    files: Files, start_broker: Callable[..., Broker]
) -> None:
    broker = start_broker(arguments=files.arguments())
    before = shown(broker, files)
    files.issue("other", "--host", "127.0.0.1")
    bad = {
        "does not belong to": lambda: shutil.copy(files.certs / "other.key", files.live / "tls.key"),
        "no certificate in it": lambda: (files.live / "tls.crt").write_text("hello\n"),
        "no such file": lambda: (files.live / "tls.crt").unlink(),
    }
    for words, spoil in bad.items():
        position = broker.log_size()
        spoil()
        line = broker.wait_log("the old ones stay in force", since=position)
        assert words in line and str(files.live) in line
        assert shown(broker, files) == before
        warnings = wait_until(lambda: readyz(broker)["warnings"], "a warning")
        assert any(words in warning for warning in warnings) and readyz(broker)["ready"] is True
        assert "martlet_certificate_files_unusable 1" in metrics(broker)
    files.put("server")
    wait_until(lambda: not readyz(broker)["warnings"], "the warning to go")
    assert "martlet_certificate_files_unusable 0" in metrics(broker)
    assert shown(broker, files) == before


def sign(files: Files, name: str, start: str, end: str, extensions: str) -> None:
    """A certificate with dates of its own, below the CA of the directory."""
    key, request, work = files.certs / f"{name}.key", files.folder / f"{name}.csr", files.folder / f"{name}-ca"
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
            "-keyout", str(key), "-out", str(request))  # fmt: skip
    work.mkdir()
    (work / "index.txt").touch()
    (work / "serial").write_text("%032x\n" % int.from_bytes(os.urandom(15), "big"))
    (work / "c").write_text(
        f"[ca]\ndefault_ca=d\n[d]\ndatabase={work}/index.txt\nserial={work}/serial\nnew_certs_dir={work}\n"
        f"default_md=sha256\npolicy=p\nx509_extensions=e\n[p]\ncommonName=supplied\n[e]\n{extensions}\n"
    )
    openssl("ca", "-batch", "-config", str(work / "c"), "-cert", str(files.certs / "ca.pem"), "-keyfile",
            str(files.certs / "ca.key"), "-startdate", start, "-enddate", end, "-in", str(request), "-out",
            str(files.certs / f"{name}.pem"), "-notext")  # fmt: skip


def test_a_successor_that_no_client_could_accept_is_refused(files: Files, start_broker: Callable[..., Broker]) -> None:
    import datetime

    now = datetime.datetime.now(datetime.timezone.utc)

    def at(days: int) -> str:
        return (now + datetime.timedelta(days=days)).strftime("%Y%m%d%H%M%SZ")

    names = "subjectAltName=IP:127.0.0.1,DNS:localhost"
    # A CA that may have others below it.
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=root", "-days", "90",
            "-keyout", str(files.certs / "ca.key"), "-out", str(files.certs / "ca.pem"))  # fmt: skip
    shutil.copy(files.certs / "ca.pem", files.ca)
    sign(files, "client", at(-1), at(30), "extendedKeyUsage=clientAuth")
    sign(files, "next", at(-1), at(30), f"extendedKeyUsage=serverAuth\n{names}")
    sign(files, "usage", at(-1), at(30), f"extendedKeyUsage=clientAuth\n{names}")
    sign(files, "later", at(2), at(30), f"extendedKeyUsage=serverAuth\n{names}")
    # An intermediate CA, and a certificate below it, with and without it.
    sign(files, "middle", at(-1), at(90), "basicConstraints=critical,CA:TRUE")
    inner = Files.__new__(Files)
    inner.binary, inner.folder, inner.certs = files.binary, files.folder / "inner", files.folder / "inner" / "certs"
    inner.certs.mkdir(parents=True)
    for suffix in ("pem", "key"):
        shutil.copy(files.certs / f"middle.{suffix}", inner.certs / f"ca.{suffix}")
    for name in ("whole", "alone"):
        sign(inner, name, at(-1), at(30), f"extendedKeyUsage=serverAuth\n{names}")
        leaf = (inner.certs / f"{name}.pem").read_text()
        intermediate = (inner.certs / "ca.pem").read_text() if name == "whole" else ""
        (files.certs / f"{name}.pem").write_text(leaf + intermediate)
        shutil.copy(inner.certs / f"{name}.key", files.certs / f"{name}.key")
    files.put("whole")
    broker = start_broker(arguments=files.arguments())
    before = shown(broker, files)
    assert before == files.serial("whole")
    for name, words in (
        ("usage", "it is not meant for a server"), ("later", "it is not valid before"), ("alone", "it does not lead to a CA"),
    ):  # fmt: skip
        position = broker.log_size()
        files.put(name)
        assert words in broker.wait_log("the old ones stay in force", since=position), name
        assert shown(broker, files) == before
        assert "martlet_certificate_files_unusable 1" in metrics(broker)
    files.put("next")
    wait_until(lambda: shown(broker, files) == files.serial("next"), "a good one")
    assert "martlet_certificate_files_unusable 0" in metrics(broker)


def test_what_expires_within_48_hours_is_told_by_log_readyz_metrics_and_health(
    files: Files, start_broker: Callable[..., Broker]
) -> None:
    import datetime

    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    now = datetime.datetime.now(datetime.timezone.utc)
    end = (now + datetime.timedelta(hours=40)).strftime("%Y%m%d%H%M%SZ")
    start = (now - datetime.timedelta(days=10)).strftime("%Y%m%d%H%M%SZ")
    sign(files, "late", start, end, "extendedKeyUsage=serverAuth\nsubjectAltName=IP:127.0.0.1,DNS:localhost")
    sign(files, "client", start, end, "extendedKeyUsage=clientAuth")
    files.put("late")
    broker = start_broker(arguments=files.arguments())
    broker.wait_log(r"the broker's certificate \(CN=late\) expires at")
    shown(broker, files)
    warnings = readyz(broker)["warnings"]
    assert len(warnings) == 2 and "CN=late" in warnings[0] and "client certificate (CN=client)" in warnings[1]
    kinds = {entry["kind"]: entry for entry in readyz(broker)["certificates"]}
    assert set(kinds) == {"ca", "server", "client"} and kinds["client"]["subject"] == "CN=client"
    text = metrics(broker)
    for kind in ("ca", "server", "client"):
        assert f'martlet_certificate_expiration_timestamp_seconds{{kind="{kind}"}} ' in text
    with grpc.insecure_channel(broker.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)

        def warning() -> str:
            _, call = stub.Check.with_call(health_pb2.HealthCheckRequest(), timeout=10)
            return dict(call.initial_metadata()).get("martlet-warning", "")

        wait_until(lambda: "client certificate expires at" in warning(), "the header")
        assert "server certificate expires at" in warning()


# The commands.


def test_certs_issue_renew_show_and_verify(files: Files) -> None:
    certs = ["--certs", str(files.certs)]
    files.issue("orders", "--days", "30")
    files.issue("java", "--pkcs12")
    assert stat.S_IMODE((files.certs / "java.p12").stat().st_mode) == 0o600
    password = (files.certs / "java.p12.password").read_text()
    assert "friendlyName: java" in openssl("pkcs12", "-in", f"{files.certs}/java.p12", "-passin", f"pass:{password}", "-nodes")
    assert "nothing has to be renewed" in files.run("certs", "renew", *certs)
    before = files.serial("java")
    assert "renewed" in files.run("certs", "renew", "java", *certs)
    assert files.serial("java") != before
    assert "friendlyName: java" in openssl("pkcs12", "-in", f"{files.certs}/java.p12", "-passin", f"pass:{password}", "-nodes")
    assert "nobody.pem is no certificate of" in files.run("certs", "renew", "nobody", *certs, status=1)
    text = files.run("certs", "show", *certs)
    for part in ("CN=orders", "good for 29 more days", "for      server", "for      client", "signing (CA)", "EC, 256 bits"):
        assert part in text, f"{part}: {text}"
    assert "4 certificates checked, 0 errors, 0 warnings" in files.run("certs", "verify", *certs)
    os.chmod(files.certs / "orders.key", 0o644)
    assert "key-readable-by-others" in files.run("certs", "verify", *certs, status=2)
    os.chmod(files.certs / "orders.key", 0o640)
    assert "warning key-readable-by-others" in files.run("certs", "verify", *certs, status=1)
    os.chmod(files.certs / "orders.key", 0o600)
    os.chmod(files.certs / "ca.key", 0o644)
    assert "error key-readable-by-others: the CA's private key" in files.run("certs", "verify", *certs, status=2)
    os.chmod(files.certs / "ca.key", 0o600)
    for name in ("a\nb", "../up", "a\x1b[2J"):
        said = files.run("certs", "issue", name, *certs, status=64)
        assert "cannot name a new certificate's files" in said and "\x1b" not in said
    one = ["certs", "verify", f"{files.certs}/server.pem", "--key", f"{files.certs}/server.key", "--ca", str(files.ca)]
    files.run(*one, "--host", "localhost")
    assert "name-not-covered" in files.run(*one, "--host", "broker.example.org", status=2)


def test_certs_init_for_another_host_keeps_the_earlier_ones_and_says_so(files: Files) -> None:
    certs = ["--certs", str(files.certs)]
    assert "server.pem is for localhost, " in files.run("certs", "init", "--host", "b1.example", *certs)
    said = files.run("certs", "init", "--host", "b2.example", *certs)
    assert "made in" in said and "of these, the one before had: b1.example" in said
    files.run("certs", "verify", "--host", "b1.example", "--host", "b2.example", f"{files.certs}/server.pem")
    assert "has all it needs already" in files.run("certs", "init", "--host", "b1.example", *certs)


def test_a_pkcs12_password_of_ones_own_is_written_nowhere(files: Files) -> None:
    secret = files.folder / "secret"
    secret.write_text("correct horse\n")
    said = files.run("certs", "issue", "java", "--certs", str(files.certs), "--pkcs12", "--password-file", str(secret))
    assert "correct horse" not in said and not (files.certs / "java.p12.password").exists()
    openssl("pkcs12", "-in", f"{files.certs}/java.p12", "-passin", "pass:correct horse", "-nodes")
