# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: HTTP on the same port.
"""Health, readiness and metrics with curl, in plaintext and over TLS, and whether the metrics count."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import Callable

import pytest
from confluent_kafka import Producer

import protocol
import wire
from broker import Broker, Endpoint, wait_until
from wire import Record, Wire, batch

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


def curl(endpoint: Endpoint, path: str, *arguments: str) -> tuple[int, str, str]:
    """Status, content type and body."""
    scheme, tls = "http", []
    if endpoint.tls:
        broker = endpoint.broker
        # By ALPN, h2 is gRPC's and http/1.1 the pages'; curl would offer both.
        scheme = "https"
        tls = [*([] if "--http2" in arguments else ["--http1.1"]), "--cacert", broker.ca, "--cert", broker.certificate, "--key", broker.key]
    done = subprocess.run(
        ["curl", "--silent", "--show-error", "--max-time", "20", *tls, *arguments,
         "--write-out", "\n%{http_code} %{content_type}", f"{scheme}://{endpoint.address}{path}"],
        capture_output=True, timeout=30,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    body, _, last = done.stdout.decode().rpartition("\n")
    status, _, content_type = last.partition(" ")
    return int(status), content_type, body


Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]

SAMPLE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)(?: \d+)?$")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"(?:,|$)')


def parse_metrics(text: str) -> tuple[dict[str, str], Samples]:
    """The types of the families and the samples; anything out of the format is a failure."""
    types: dict[str, str] = {}
    samples: Samples = {}
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in types, f"{name} is declared twice"
            assert kind in ("counter", "gauge", "histogram", "summary", "untyped")
            types[name] = kind
        elif line and not line.startswith("#"):
            match = SAMPLE.match(line)
            assert match, f"no sample: {line!r}"
            labels = match.group(2) or ""
            assert "".join(found.group(0) for found in LABEL.finditer(labels)) == labels, line
            key = (match.group(1), frozenset(LABEL.findall(labels)))
            assert key not in samples, f"twice: {line}"
            samples[key] = float(match.group(3))
    return types, samples


def metrics(endpoint: Endpoint) -> Samples:
    status, _, body = curl(endpoint, "/metrics")
    assert status == 200
    return parse_metrics(body)[1]


def total(samples: Samples, name: str, **labels: str) -> float:
    wanted = set(labels.items())
    return sum(value for (family, found), value in samples.items() if family == name and wanted <= found)


def test_healthz_is_ok(endpoint: Endpoint) -> None:
    status, _, body = curl(endpoint, "/healthz")
    assert (status, body.strip()) == (200, "ok")


def test_readyz_says_which_durability_is_in_force(endpoint: Endpoint) -> None:
    status, content_type, body = curl(endpoint, "/readyz")
    assert status == 200 and content_type.startswith("application/json")
    assert "disk" in json.dumps(json.loads(body))


def test_an_unknown_page_and_a_wrong_method_have_their_status(endpoint: Endpoint) -> None:
    assert curl(endpoint, "/nothing")[0] == 404
    assert curl(endpoint, "/metrics", "--request", "DELETE")[0] == 405


def test_a_head_request_has_no_body(endpoint: Endpoint) -> None:
    status, _, body = curl(endpoint, "/healthz", "--head")
    assert status == 200 and "ok" not in body.splitlines()


def test_a_page_asked_for_over_http_2_gets_an_answer_that_helps(endpoint: Endpoint) -> None:
    """HTTP/2 is gRPC's: a page is there over HTTP/1.1, and over HTTP/2 a status says at once that it is not."""
    flags = ["--http2"] if endpoint.tls else ["--http2-prior-knowledge"]
    status, _, body = curl(endpoint, "/healthz", *flags)
    assert status == 200 and body.strip() == "ok" or status == 405


def test_one_connection_serves_many_requests(plaintext: Endpoint) -> None:
    done = subprocess.run(
        ["curl", "--silent", "--show-error", "--verbose", *[f"http://{plaintext.address}/healthz"] * 3],
        capture_output=True, timeout=30,
    )  # fmt: skip
    assert done.stdout == b"ok\nok\nok\n"
    assert done.stderr.count(b"Re-using existing connection") == 2, done.stderr.decode()


def test_metrics_are_in_the_text_format_with_a_type_for_every_family(endpoint: Endpoint) -> None:
    status, content_type, body = curl(endpoint, "/metrics")
    assert status == 200
    assert content_type.startswith("text/plain; version=0.0.4") or "openmetrics" in content_type
    types, samples = parse_metrics(body)
    for name, _ in samples:
        family = re.sub(r"_(bucket|sum|count)$", "", name)
        assert name in types or family in types, f"{name} has no type"


FAMILIES = {
    "bytes in": r"bytes_(in|received|written|appended)|in_bytes|published_bytes|produced_bytes",
    "bytes out": r"bytes_(out|sent|read)|out_bytes|fetched_bytes|consumed_bytes|delivered_bytes",
    "records in": r"records_(in|appended|produced|written)|records.*in|in_records",
    "requests and latency per API": r"kafka_request",
    "calls and latency per RPC": r"grpc",
    "connections": r"connections",
    "log size": r"log_(size_)?bytes|log_size|partition_.*bytes",
    "sync latency": r"sync",
    "certificate expiry": r"certificate.*expir|expir.*certificate",
    "resident memory": r"process_resident_memory_bytes|resident",
}


@pytest.mark.parametrize("what", FAMILIES)
def test_what_an_operator_asks_for_has_a_metric(plaintext: Endpoint, what: str, topic: str) -> None:
    # Metrics by topic are there once there is a topic.
    subprocess.run(["kcat", "-b", plaintext.address, "-L", "-t", topic], check=True, capture_output=True, timeout=30)
    names = sorted({name for name, _ in metrics(plaintext)})
    assert any(re.search(FAMILIES[what], name) for name in names), f"no metric for {what} among {names}"


def test_the_counters_count_what_was_produced_and_fetched(endpoint: Endpoint, topic: str) -> None:
    producer = Producer(endpoint.librdkafka())
    for _ in range(100):
        producer.produce(topic, b"x" * 1000)
    assert producer.flush(20) == 0
    with Wire(endpoint.address, tls=endpoint.wire_tls()) as connection:
        assert connection.fetch(topic, 0, partition_max_bytes=1 << 20).records
    samples = metrics(endpoint)
    of_topic = {name: value for (name, labels), value in samples.items() if ("topic", topic) in labels}
    assert of_topic, "no metric carries the topic's name"
    records = [value for name, value in of_topic.items() if "record" in name]
    assert 100 in records, of_topic
    sizes = [value for name, value in of_topic.items() if "bytes" in name]
    assert max(sizes) >= 100_000, of_topic


def test_requests_are_counted_per_api(plaintext: Endpoint) -> None:
    before = metrics(plaintext)
    with Wire(plaintext.address) as connection:
        for _ in range(25):
            connection.call(wire.api_versions_request())
    after = metrics(plaintext)

    def counted(samples: Samples) -> float:
        return sum(
            value for (name, labels), value in samples.items()
            if "kafka_request" in name and name.endswith(("_count", "_total"))
            and "ApiVersions" in dict(labels).values()
        )

    assert counted(after) - counted(before) >= 25


def test_a_topic_that_was_deleted_leaves_no_series(plaintext: Endpoint, topic: str) -> None:
    with Wire(plaintext.address) as connection:
        protocol.create(connection, topic)
        assert connection.produce(topic, batch([Record(b"x")])).error == wire.NONE
        assert any(("topic", topic) in labels for _, labels in metrics(plaintext))
        protocol.delete(connection, topic)
    wait_until(
        lambda: not any(("topic", topic) in labels for _, labels in metrics(plaintext)),
        "the series of a deleted topic to be gone",
    )


def test_readiness_names_a_weaker_durability(start_broker: Callable[..., Broker]) -> None:
    own = start_broker(arguments=["--durability", "os"])
    assert own.ready["durability"] == "os"
    assert '"os"' in curl(Endpoint(own, False), "/readyz")[2]
