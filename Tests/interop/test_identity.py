# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: who the owner of a certificate is, the same for both protocols; revoked certificates.
"""The log names the principal of whoever is denied; access rules see it."""

from __future__ import annotations

import base64
import datetime
import json
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any, Callable, Optional

import grpc
import pytest
from confluent_kafka import KafkaError
from confluent_kafka.admin import AclOperation, NewTopic, ResourceType

from broker import Broker
from test_access import PASSWORD, Team
from test_sasl import deliver
from test_tls import EARLY, LATE, Authority, openssl


def authority_of(own: Broker, folder: Path) -> Authority:
    """The broker's development CA, used with the openssl command."""
    return Authority(folder, own.ca, str(Path(own.ca).with_name("ca.key")))


def librdkafka(own: Broker, pair: tuple[str, str], ca: Optional[str] = None) -> dict[str, Any]:
    return {"bootstrap.servers": own.address, "security.protocol": "SSL", "ssl.ca.location": ca or own.ca,
            "ssl.certificate.location": pair[0], "ssl.key.location": pair[1], "log_level": 0}  # fmt: skip


def publish(
    own: Broker, api: Any, pair: tuple[str, str], topic: str, metadata: Any = None, seconds: float = 20
) -> None:
    credentials = grpc.ssl_channel_credentials(
        Path(own.ca).read_bytes(), Path(pair[1]).read_bytes(), Path(pair[0]).read_bytes())  # fmt: skip
    with grpc.secure_channel(own.address, credentials, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        request = api.PublishRequest(topic=topic, records=[api.PublishRecord(value=b"v")])
        api.StreamsStub(channel).Publish(request, timeout=seconds, metadata=metadata)


NAMES = "extendedKeyUsage=clientAuth\nsubjectAltName=URI:spiffe://{trust}/{name},DNS:{name}.example.org"
RULES = r"RULE:^CN=client$/root/,RULE:^spiffe:\/\/example\.org\/([^\/]*)$/$1/U"


@pytest.fixture
def named(start_broker: Callable[..., Broker]) -> Team:
    return Team(start_broker(mode="serve", arguments=[
        "--ssl-principal-source", "spiffe,subject", "--ssl-principal-mapping-rules", RULES,
        "--super-users", "User:root"]))  # fmt: skip


def test_a_name_of_the_certificate_put_through_the_rules_is_the_principal_of_both_protocols(
    named: Team, api: Any, tmp_path: Path
) -> None:
    own = named.own
    named.admin.create_topics([NewTopic("orders", 1)])["orders"].result(20)
    named.rule("WEB", AclOperation.WRITE, ResourceType.TOPIC, "orders")
    authority = authority_of(own, tmp_path)
    web = authority.sign("web", EARLY, LATE, NAMES.format(trust="example.org", name="web"))
    job = authority.sign("job", EARLY, LATE, NAMES.format(trust="example.org", name="job"))
    assert deliver(librdkafka(own, web), "orders") is None
    publish(own, api, web, "orders")
    for attempt in (lambda: deliver(librdkafka(own, job), "orders"), lambda: publish(own, api, job, "orders")):
        since = own.log_size()
        try:
            assert attempt() is not None
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.PERMISSION_DENIED
        own.wait_log("denied.*principal=User:JOB", since=since)


def test_a_certificate_that_no_rule_names_is_refused_and_the_log_says_so(named: Team, api: Any, tmp_path: Path) -> None:
    own = named.own
    stranger = authority_of(own, tmp_path).sign("x", EARLY, LATE, NAMES.format(trust="elsewhere.org", name="x"))
    since = own.log_size()
    assert deliver(librdkafka(own, stranger), "orders", seconds=2) is not None
    line = own.wait_log("refused a kafka client", since=since)
    assert "client certificate (CN=x) names nobody here" in line
    assert "no rule of ssl.principal.mapping.rules matches spiffe://elsewhere.org/x" in line
    since = own.log_size()
    with pytest.raises(grpc.RpcError) as error:
        # gRPC's core takes a GOAWAY on a new connection as a reason to try again.
        publish(own, api, stranger, "orders", seconds=1.5)
    assert error.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
    own.wait_log("refused a http/2 client.*names nobody here", since=since)


def test_a_mistake_in_the_rules_is_named_before_the_start(binary: str, tmp_path: Path) -> None:
    own = Broker(binary, tmp_path)
    done = own.run("serve", "--data", str(tmp_path / "data"), "--ssl-principal-mapping-rules", "RULE:^CN=(.*)$/$1")
    assert done.returncode != 0
    assert b"ssl-principal-mapping-rules" in done.stderr and b"with both slashes" in done.stderr


def test_who_logs_in_with_a_certificate_too_is_who_the_login_says(start_broker: Callable[..., Broker], api: Any) -> None:
    """As in Kafka: here the certificate is a super user's, and the login is not."""
    team = Team(start_broker(arguments=[
        "--sasl-enabled-mechanisms", "SCRAM-SHA-256,PLAIN", "--tls-client-auth", "requested", "--super-users",
        "User:CN=client"], mode="serve"))  # fmt: skip
    own = team.own
    team.add("alice")
    team.admin.create_topics([NewTopic("secret", 1)])["secret"].result(20)
    team.rule("nobody", AclOperation.WRITE, ResourceType.TOPIC, "secret")
    pair = (own.certificate, own.key)
    login = {"sasl.mechanism": "SCRAM-SHA-256", "sasl.username": "alice", "sasl.password": PASSWORD}
    assert deliver(librdkafka(own, pair), "secret") is None
    error = deliver(librdkafka(own, pair) | login | {"security.protocol": "SASL_SSL"}, "secret")
    assert error is not None and error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
    own.wait_log("denied.*principal=User:alice")
    publish(own, api, pair, "secret")
    basic = base64.b64encode(f"alice:{PASSWORD}".encode()).decode()
    with pytest.raises(grpc.RpcError) as refused:
        publish(own, api, pair, "secret", metadata=[("authorization", f"Basic {basic}")])
    assert refused.value.code() == grpc.StatusCode.PERMISSION_DENIED


class Revocations(Authority):
    """A CA that can take back what it has signed."""

    def __init__(self, folder: Path):
        super().__init__(folder)
        work = folder / "list"
        work.mkdir()
        (work / "index.txt").touch()
        (work / "number").write_text("01\n")
        (work / "openssl.cnf").write_text(
            f"[ca]\ndefault_ca=d\n[d]\ndatabase={work}/index.txt\ncrlnumber={work}/number\ndefault_md=sha256\n")
        self.flags = ["-config", str(work / "openssl.cnf"), "-cert", self.certificate, "-keyfile", self.key]
        self.list = str(folder / "list.pem")

    def publish(self, *dates: str) -> None:
        target = Path(self.list).with_suffix(".new")
        openssl("ca", *self.flags, "-gencrl", *(dates or ("-crldays", "30")), "-out", str(target))
        target.rename(self.list)

    def revoke(self, certificate: str) -> None:
        openssl("ca", *self.flags, "-revoke", certificate)
        self.publish()


def test_a_revoked_certificate_is_refused_once_the_list_is_read_again(
    start_broker: Callable[..., Broker], api: Any, tmp_path: Path
) -> None:
    authority = Revocations(tmp_path)
    server = authority.sign("server", EARLY, LATE, "subjectAltName=IP:127.0.0.1,DNS:localhost")
    good, stolen = (authority.sign(name, EARLY, LATE) for name in ("good", "stolen"))
    authority.publish()
    own = start_broker(arguments=["--tls-cert", server[0], "--tls-key", server[1], "--tls-ca", authority.certificate,
                                  "--ssl-crl-location", authority.list])  # fmt: skip

    def attempt(pair: tuple[str, str]) -> Any:
        return deliver(librdkafka(own, pair, authority.certificate), "t", seconds=2)

    assert attempt(stolen) is None
    authority.revoke(stolen[0])
    own.wait_log("certificates were read again", seconds=30)
    since = own.log_size()
    error = attempt(stolen)
    assert error is not None
    own.wait_log(r"client certificate \(CN=stolen\) was revoked by its CA", since=since)
    told = subprocess.run(
        ["openssl", "s_client", "-connect", own.address, "-CAfile", authority.certificate, "-cert", stolen[0], "-key", stolen[1],
         "-ign_eof"], input=b"", capture_output=True, timeout=30)  # fmt: skip
    assert b"alert certificate revoked" in told.stderr, told.stderr
    assert attempt(good) is None
    # A file that cannot be used leaves the old list in force.
    since = own.log_size()
    Path(authority.list).write_text("-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n")
    line = own.wait_log("cannot be used, the old ones stay in force", since=since, seconds=30)
    assert f"revocation list {authority.list}: a damaged list" in line
    assert attempt(stolen) is not None and attempt(good) is None
    # Without a current list nobody can say who is good.
    since = own.log_size()
    authority.publish("-crl_lastupdate", "20240101000000Z", "-crl_nextupdate", "20240102000000Z")
    own.wait_log("certificates were read again", since=since, seconds=30)
    assert attempt(good) is not None
    own.wait_log("the revocation list of its CA has expired; publish a new one", since=since)


def test_a_revocation_list_that_has_expired_or_soon_will_is_told_of(
    start_broker: Callable[..., Broker], api: Any, tmp_path: Path
) -> None:
    authority = Revocations(tmp_path)
    server = authority.sign("server", EARLY, LATE, "subjectAltName=IP:127.0.0.1,DNS:localhost")
    authority.publish("-crlhours", "1")
    files = ["--tls-cert", server[0], "--tls-key", server[1], "--tls-ca", authority.certificate,
             "--ssl-crl-location", authority.list]  # fmt: skip
    own = start_broker(arguments=files)

    def page(path: str) -> str:
        with urllib.request.urlopen(f"http://{own.address}{path}", timeout=20) as answer:
            return answer.read().decode()

    def warnings() -> list[str]:
        return [line for line in json.loads(page("/readyz"))["warnings"] if "revocation list" in line]

    def doctor() -> tuple[int, dict[str, str]]:
        done = own.run("doctor", "--json", "--port", "0", "--max-connections", "10", "--data", str(tmp_path / "none"), *files)
        return done.returncode, {finding["id"]: finding["severity"] for finding in json.loads(done.stdout)["findings"]}

    assert warnings() == []
    assert doctor()[0] == 0
    times = [float(line.split()[-1]) for line in page("/metrics").splitlines()
             if line.startswith('martlet_certificate_expiration_timestamp_seconds{kind="crl"}')]  # fmt: skip
    assert len(times) == 1 and 0 < times[0] - time.time() <= 3600
    now = datetime.datetime.now(datetime.timezone.utc)
    near = [(now + datetime.timedelta(hours=hours)).strftime("%Y%m%d%H%M%SZ") for hours in (-400, 40)]
    since = own.log_size()
    authority.publish("-crl_lastupdate", near[0], "-crl_nextupdate", near[1])
    own.wait_log(r"the revocation list \(.*\) expires at", since=since, seconds=30)
    assert len(warnings()) == 1 and doctor() == (1, doctor()[1])
    assert doctor()[1]["revocation-list-expires-soon"] == "warning"
    since = own.log_size()
    authority.publish("-crl_lastupdate", "20240101000000Z", "-crl_nextupdate", "20240102000000Z")
    own.wait_log(r"the revocation list \(.*\) expired at 2024-01-02", since=since, seconds=30)
    assert "expired at 2024-01-02" in warnings()[0]
    assert doctor()[0] == 2 and doctor()[1]["revocation-list-expired"] == "error"
    done = own.run("serve", "--check", "--port", "0", "--data", str(tmp_path / "none"), *files)
    assert done.returncode == 1 and b"error: the revocation list" in done.stderr
