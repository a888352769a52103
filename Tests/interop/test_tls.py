# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: TLS.
"""What a client hears and what the log says when TLS goes wrong, and what is agreed on when it goes right."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import stat
import subprocess
from pathlib import Path
from typing import Any, Callable, Optional, Sequence

import pytest

import wire
from broker import Broker, Endpoint, own_address
from wire import Wire


def openssl(*arguments: str, input: Optional[bytes] = None) -> bytes:
    done = subprocess.run(["openssl", *arguments], input=input, capture_output=True, timeout=30)
    assert done.returncode == 0, f"openssl {' '.join(arguments)}: {done.stderr.decode()}"
    return done.stdout


class Authority:
    """A CA of the test's own, or the broker's, that signs with the openssl command."""

    def __init__(self, folder: Path, certificate: Optional[str] = None, key: Optional[str] = None):
        self.folder = folder
        self.certificate = certificate or str(folder / "ca.pem")
        self.key = key or str(folder / "ca.key")
        if certificate is None:
            openssl(
                "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "10",
                "-subj", "/CN=another authority", "-keyout", self.key, "-out", self.certificate,
            )  # fmt: skip

    def sign(self, name: str, start: str, end: str, extensions: str = "extendedKeyUsage=clientAuth") -> tuple[str, str]:
        """A certificate valid between two times (YYYYMMDDHHMMSSZ), as paths of certificate and key."""
        key, request, certificate = (str(self.folder / f"{name}.{suffix}") for suffix in ("key", "csr", "pem"))
        openssl(
            "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
            "-keyout", key, "-out", request,
        )  # fmt: skip
        work = self.folder / f"{name}-ca"
        work.mkdir()
        (work / "index.txt").touch()
        (work / "serial").write_text("%032x\n" % int.from_bytes(os.urandom(15), "big"))
        configuration = work / "openssl.cnf"
        configuration.write_text(
            f"[ca]\ndefault_ca=d\n[d]\ndatabase={work}/index.txt\nserial={work}/serial\nnew_certs_dir={work}\n"
            f"default_md=sha256\npolicy=p\nx509_extensions=e\n[p]\ncommonName=supplied\n[e]\n{extensions}\n"
        )
        openssl(
            "ca", "-batch", "-config", str(configuration), "-cert", self.certificate, "-keyfile", self.key,
            "-startdate", start, "-enddate", end, "-in", request, "-out", certificate, "-notext",
        )  # fmt: skip
        return certificate, key


LONG_AGO, YESTERDAY = "20200101000000Z", "20200201000000Z"
EARLY, LATE = "20240101000000Z", "20440101000000Z"


@pytest.fixture
def own_authority(broker: Broker, tmp_path: Path) -> Authority:
    """The broker's development CA, used with the openssl command."""
    return Authority(tmp_path, broker.ca, str(Path(broker.ca).with_name("ca.key")))


def client_context(
    broker: Broker, certificate: Optional[tuple[str, str]] = None, alpn: Sequence[str] = ()
) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=broker.ca)
    if certificate is not None:
        context.load_cert_chain(*certificate)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


def expect_refusal(broker: Broker, context: ssl.SSLContext) -> str:
    """Under TLS 1.3 a client learns of its refusal with its first read; the text of what it learns."""
    try:
        with Wire(broker.address, tls=context) as connection:
            connection.send(wire.api_versions_request())
            connection.read_frame()
    except (ssl.SSLError, ConnectionError) as error:
        return str(error)
    raise AssertionError("the client was accepted")


def test_a_good_client_speaks_tls_1_3_and_kafka_without_alpn(broker: Broker) -> None:
    with Wire(broker.address, tls=Endpoint(broker, True).ssl_context()) as connection:
        assert connection.socket.version() == "TLSv1.3"  # type: ignore[attr-defined]
        assert connection.call(wire.api_versions_request())


def test_no_client_certificate_is_refused_with_an_alert_and_a_line(broker: Broker) -> None:
    position = broker.log_size()
    assert "CERTIFICATE_REQUIRED" in expect_refusal(broker, client_context(broker)).upper().replace(" ", "_")
    line = broker.wait_log(r"no certificate", since=position)
    assert "127.0.0.1" in line


def test_a_certificate_of_another_authority_is_refused(broker: Broker, tmp_path: Path) -> None:
    stranger = Authority(tmp_path).sign("stranger", EARLY, LATE)
    position = broker.log_size()
    assert "UNKNOWN_CA" in expect_refusal(broker, client_context(broker, stranger)).upper().replace(" ", "_")
    line = broker.wait_log(r"unknown CA", since=position)
    assert "stranger" in line


def test_an_expired_certificate_is_refused_and_the_log_names_the_day(
    broker: Broker, own_authority: Authority
) -> None:
    expired = own_authority.sign("was-good", LONG_AGO, YESTERDAY)
    position = broker.log_size()
    assert "EXPIRED" in expect_refusal(broker, client_context(broker, expired)).upper()
    line = broker.wait_log(r"expired on 2020-02-01", since=position)
    assert "was-good" in line


def test_a_certificate_that_is_not_valid_yet_is_refused(broker: Broker, own_authority: Authority) -> None:
    early = own_authority.sign("too-early", "20420101000000Z", LATE)
    position = broker.log_size()
    expect_refusal(broker, client_context(broker, early))
    broker.wait_log(r"not valid before 2042-01-01", since=position)


def test_a_servers_certificate_does_not_make_a_client(broker: Broker, own_authority: Authority) -> None:
    wrong = own_authority.sign("a-server", EARLY, LATE, "extendedKeyUsage=serverAuth")
    position = broker.log_size()
    expect_refusal(broker, client_context(broker, wrong))
    broker.wait_log(r"a-server.*not meant for a client", since=position)


def test_a_certificate_signed_by_the_brokers_authority_is_accepted(broker: Broker, own_authority: Authority) -> None:
    with Wire(broker.address, tls=client_context(broker, own_authority.sign("newcomer", EARLY, LATE))) as connection:
        assert connection.call(wire.api_versions_request())


def test_tls_1_2_is_refused_with_the_reason(broker: Broker) -> None:
    context = Endpoint(broker, True).ssl_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    position = broker.log_size()
    assert "PROTOCOL_VERSION" in expect_refusal(broker, context).upper().replace(" ", "_")
    line = broker.wait_log(r"TLS ?1\.2", since=position)
    assert "1.3" in line


def test_an_alpn_that_nobody_speaks_here_is_refused(broker: Broker) -> None:
    position = broker.log_size()
    expect_refusal(broker, Endpoint(broker, True).ssl_context(alpn=["spdy/3"]))
    broker.wait_log(r"spdy/3", since=position)


@pytest.mark.parametrize("protocol", ["h2", "http/1.1"])
def test_alpn_chooses_the_protocol(broker: Broker, protocol: str) -> None:
    context = Endpoint(broker, True).ssl_context(alpn=[protocol])
    with Wire(broker.address, tls=context) as connection:
        assert connection.socket.selected_alpn_protocol() == protocol  # type: ignore[attr-defined]


def test_a_client_that_does_not_trust_the_broker_is_told_apart_in_the_log(broker: Broker, tmp_path: Path) -> None:
    other = Authority(tmp_path)
    context = ssl.create_default_context(cafile=other.certificate)
    position = broker.log_size()
    with pytest.raises(ssl.SSLCertVerificationError):
        Wire(broker.address, tls=context)
    broker.wait_log(r"does not trust our certificate|unknown.?ca", since=position)


def test_a_ticket_resumes_the_session(broker: Broker) -> None:
    context = Endpoint(broker, True).ssl_context()

    def connect(session: Any) -> tuple[bool, Any]:
        raw = socket.create_connection(("127.0.0.1", broker.port), timeout=20)
        with context.wrap_socket(raw, server_hostname="localhost", session=session) as tls:
            # Tickets come after the handshake, with the first data read.
            tls.sendall(wire.api_versions_request())
            assert tls.recv(4)
            return tls.session_reused, tls.session

    reused, session = connect(None)
    assert not reused and session is not None
    reused, session = connect(session)
    assert reused, "the second connection made a whole handshake again"


def test_the_certificate_names_the_loopback_addresses(broker: Broker) -> None:
    context = Endpoint(broker, True).ssl_context()
    for name in ("localhost", "127.0.0.1", "::1"):
        raw = socket.create_connection(("127.0.0.1", broker.port), timeout=20)
        with context.wrap_socket(raw, server_hostname=name):
            pass


def test_minted_certificates_are_p256_and_their_keys_private(broker: Broker) -> None:
    folder = Path(broker.ca).parent
    keys = sorted(folder.glob("*.key"))
    assert keys
    for key in keys:
        assert stat.S_IMODE(key.stat().st_mode) == 0o600, key
    for certificate in (broker.ca, broker.certificate, str(folder / "server.pem")):
        text = openssl("x509", "-in", certificate, "-noout", "-text").decode()
        assert "prime256v1" in text or "P-256" in text, certificate
    openssl("verify", "-CAfile", broker.ca, broker.certificate)
    openssl("verify", "-CAfile", broker.ca, "-purpose", "sslserver", str(folder / "server.pem"))


def test_a_librdkafka_client_without_a_certificate_learns_that_tls_failed(broker: Broker) -> None:
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    messages: list[str] = []
    admin = AdminClient(
        {
            "bootstrap.servers": broker.address,
            "security.protocol": "SSL",
            "ssl.ca.location": broker.ca,
            "log_level": 0,
            "error_cb": lambda error: messages.append(str(error)),
        }
    )
    with pytest.raises(KafkaException):
        admin.list_topics(timeout=3)
    admin.poll(1)
    assert any("SSL" in message or "ssl" in message or "certificate" in message for message in messages), messages


def test_openssl_s_client_sees_what_a_person_would_check(broker: Broker) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl")
    done = subprocess.run(
        ["openssl", "s_client", "-connect", broker.address, "-CAfile", broker.ca, "-cert", broker.certificate,
         "-key", broker.key, "-verify_return_error", "-verify_hostname", "localhost", "-brief"],
        input=b"", capture_output=True, timeout=30,
    )  # fmt: skip
    text = (done.stdout + done.stderr).decode()
    assert "TLSv1.3" in text and "Verification: OK" in text, text


@pytest.mark.parametrize("group", ["X25519", "P-256", "P-521"])
def test_keys_are_agreed_on_over_elliptic_curves(broker: Broker, group: str) -> None:
    done = _handshake(broker, group)
    text = (done.stdout + done.stderr).decode()
    assert done.returncode == 0 and "TLSv1.3" in text, text


@pytest.mark.parametrize("group", ["ffdhe2048", "ffdhe8192"])
def test_keys_are_agreed_on_over_elliptic_curves_only(broker: Broker, group: str) -> None:
    """A finite field would cost the broker up to a hundred times as much, for anybody who asks (D(HE)at)."""
    position = broker.log_size()
    done = _handshake(broker, group)
    text = (done.stdout + done.stderr).decode()
    assert done.returncode != 0 and "handshake failure" in text, text
    broker.wait_log(r"TLS handshake failed", since=position)


def _handshake(broker: Broker, group: str) -> "subprocess.CompletedProcess[bytes]":
    """With a client that knows one group only."""
    return subprocess.run(
        ["openssl", "s_client", "-connect", broker.address, "-CAfile", broker.ca, "-cert", broker.certificate,
         "-key", broker.key, "-groups", group, "-brief"],
        input=b"", capture_output=True, timeout=30,
    )  # fmt: skip


def test_own_certificates_are_kept_over_a_restart(start_broker: Callable[..., Broker]) -> None:
    own = start_broker()
    before = {path.name: path.read_bytes() for path in Path(own.ca).parent.iterdir() if path.is_file()}
    own.stop()
    own.start()
    after = {path.name: path.read_bytes() for path in Path(own.ca).parent.iterdir() if path.is_file()}
    assert before == after


def test_plaintext_from_beyond_loopback_is_refused_in_the_callers_protocol(
    start_broker: Callable[..., Broker],
) -> None:
    address = own_address()
    if address is None:
        pytest.skip("this machine has only loopback addresses")
    own = start_broker(arguments=["--listen", "0.0.0.0:0"])
    with socket.create_connection((address, own.port), timeout=20) as raw:
        position = own.log_size()
        raw.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert raw.recv(4096).startswith(b"HTTP/1.1 403")
    own.wait_log(r"loopback", since=position)
    with Wire(f"{address}:{own.port}") as connection:
        connection.send(wire.api_versions_request())
        assert connection.read_to_end() == b""


@pytest.mark.parametrize("client", ["curl", "openssl"])
def test_http2_over_tls_without_alpn_is_refused_and_both_sides_say_why(broker: Broker, client: str) -> None:
    """RFC 9113, section 3.2; with ALPN the same request is answered."""
    files = ["--cacert", broker.ca, "--cert", broker.certificate, "--key", broker.key]
    # curl's SETTINGS come with the preface.
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0"

    def curl(*flags: str) -> "subprocess.CompletedProcess[bytes]":
        return subprocess.run(
            ["curl", "--verbose", "--silent", "--show-error", "--max-time", "10", *flags, *files, f"https://{broker.address}/readyz"],
            capture_output=True, timeout=30)  # fmt: skip

    def openssl(*flags: str) -> bytes:
        command = ["openssl", "s_client", "-quiet", "-connect", broker.address, "-CAfile", broker.ca, "-cert", broker.certificate,
                   "-key", broker.key, *flags]  # fmt: skip
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdin and process.stdout
        try:
            process.stdin.write(preface)
            process.stdin.flush()
            return process.stdout.read1(1 << 16) + (process.stdout.read() if not flags else b"")
        finally:
            process.kill()
            process.communicate()

    since = broker.log_size()
    if client == "curl":
        # It offers HTTP/1.1 too, and gets the page.
        answered = curl("--http2-prior-knowledge")
        assert answered.returncode == 0 and b"ALPN: server accepted h" in answered.stderr, answered.stderr
        refused = curl("--http2-prior-knowledge", "--no-alpn")
        assert refused.returncode != 0 and b"< HTTP/" not in refused.stderr, refused.stderr
    else:
        assert openssl("-alpn", "h2")[3:4] == b"\x04"  # SETTINGS
        answer = openssl()
        assert b"agreed upon by ALPN; let the client offer h2" in answer, answer
    broker.wait_log("HTTP/2 over TLS is agreed upon by ALPN; let the client offer h2 in its handshake", since=since)
