# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: kcat.
"""kcat (librdkafka 2.0 of Debian 12) against the broker: what a person types at a shell."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from typing import Any, Optional

import pytest

from broker import Endpoint

pytestmark = pytest.mark.skipif(shutil.which("kcat") is None, reason="kcat is not installed")

COMPRESSIONS = ["none", "gzip", "snappy", "lz4", "zstd"]


def kcat(endpoint: Endpoint, *arguments: str, input: bytes = b"", seconds: float = 30) -> bytes:
    done = subprocess.run(
        ["kcat", *endpoint.kcat(), *arguments], input=input, capture_output=True, timeout=seconds
    )
    assert done.returncode == 0, f"kcat {' '.join(arguments)}: {done.stderr.decode()}"
    return done.stdout


def produce(endpoint: Endpoint, topic: str, lines: bytes, *arguments: str) -> None:
    kcat(endpoint, "-P", "-t", topic, *arguments, input=lines)


def consume(endpoint: Endpoint, topic: str, *arguments: str) -> list[dict[str, Any]]:
    """All records of the topic up to its end, as kcat's JSON."""
    out = kcat(endpoint, "-C", "-t", topic, "-e", "-q", "-J", *arguments)
    return [json.loads(line) for line in out.splitlines()]


def payloads(records: list[dict[str, Any]]) -> list[Optional[str]]:
    return [record["payload"] for record in records]


def test_what_was_produced_is_consumed_in_order(endpoint: Endpoint, topic: str) -> None:
    lines = [f"line {number}" for number in range(500)]
    produce(endpoint, topic, "\n".join(lines).encode() + b"\n")
    records = consume(endpoint, topic)
    assert payloads(records) == lines
    assert [record["offset"] for record in records] == list(range(500))


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_every_compression_makes_the_round_trip(endpoint: Endpoint, topic: str, compression: str) -> None:
    lines = [f"{compression} {number} " + "abcdefgh" * 20 for number in range(200)]
    produce(endpoint, topic, "\n".join(lines).encode() + b"\n", "-z", compression)
    assert payloads(consume(endpoint, topic)) == lines


def test_keys_headers_and_partition_survive(endpoint: Endpoint, topic: str) -> None:
    produce(endpoint, topic, b"k1:v1\nk2:v2\n", "-K:", "-H", "trace=abc", "-H", "trace=def", "-H", "empty=", "-p", "0")
    records = consume(endpoint, topic)
    assert [(record["key"], record["payload"]) for record in records] == [("k1", "v1"), ("k2", "v2")]
    for record in records:
        assert record["headers"] == ["trace", "abc", "trace", "def", "empty", ""]
        assert record["partition"] == 0


def test_an_empty_value_with_Z_is_a_tombstone(endpoint: Endpoint, topic: str) -> None:
    produce(endpoint, topic, b"key:\nother:value\n", "-K:", "-Z")
    records = consume(endpoint, topic)
    assert [(record["key"], record["payload"]) for record in records] == [("key", None), ("other", "value")]


@pytest.mark.parametrize(
    ("offset", "expected"),
    [("beginning", list(range(10))), ("4", [4, 5, 6, 7, 8, 9]), ("-3", [7, 8, 9]), ("end", [])],
)
def test_reading_starts_at_the_offset_asked_for(
    plaintext: Endpoint, topic: str, offset: str, expected: list[int]
) -> None:
    produce(plaintext, topic, b"".join(b"%d\n" % number for number in range(10)))
    assert [record["offset"] for record in consume(plaintext, topic, "-p", "0", "-o", offset)] == expected


def test_reading_may_start_and_stop_at_a_timestamp(plaintext: Endpoint, topic: str) -> None:
    produce(plaintext, topic, b"early\n")
    first = consume(plaintext, topic)[0]["ts"]
    while int(time.time() * 1000) <= first + 1:
        time.sleep(0.001)
    border = int(time.time() * 1000)
    produce(plaintext, topic, b"late\n")
    assert payloads(consume(plaintext, topic, "-o", f"s@{border}")) == ["late"]
    assert payloads(consume(plaintext, topic, "-o", "s@0", "-o", f"e@{border}")) == ["early"]


def test_Q_answers_the_offset_of_a_timestamp(endpoint: Endpoint, topic: str) -> None:
    produce(endpoint, topic, b"a\nb\nc\n")
    stamp = consume(endpoint, topic)[0]["ts"]
    answer = kcat(endpoint, "-Q", "-t", f"{topic}:0:{stamp}").decode()
    assert answer.strip() == f"{topic} [0] offset 0"
    beyond = kcat(endpoint, "-Q", "-t", f"{topic}:0:{stamp + 3_600_000}").decode()
    assert beyond.strip() == f"{topic} [0] offset -1"


def test_metadata_advertises_the_address_that_was_used(endpoint: Endpoint, topic: str) -> None:
    produce(endpoint, topic, b"x\n")
    metadata = json.loads(kcat(endpoint, "-L", "-J", "-t", topic))
    brokers = metadata["brokers"]
    assert len(brokers) == 1
    # Under TLS the name in SNI is advertised; an address never has one, so both ways give the address.
    assert brokers[0]["name"] == endpoint.address
    assert metadata["controllerid"] == brokers[0]["id"]
    assert [entry["topic"] for entry in metadata["topics"]] == [topic]
    partition = metadata["topics"][0]["partitions"][0]
    assert partition["leader"] == brokers[0]["id"]
    assert [isr["id"] for isr in partition["isrs"]] == [brokers[0]["id"]]


def test_a_name_used_to_connect_over_tls_is_the_name_advertised(mtls: Endpoint) -> None:
    arguments = mtls.kcat()
    arguments[1] = f"localhost:{mtls.broker.port}"
    done = subprocess.run(["kcat", *arguments, "-L", "-J"], capture_output=True, timeout=30)
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout)["brokers"][0]["name"] == f"localhost:{mtls.broker.port}"


def test_an_idempotent_producer_writes_each_line_once(endpoint: Endpoint, topic: str) -> None:
    lines = [f"once {number}" for number in range(300)]
    produce(endpoint, topic, "\n".join(lines).encode() + b"\n", "-X", "enable.idempotence=true", "-X", "acks=all")
    assert payloads(consume(endpoint, topic)) == lines


def test_a_group_continues_where_it_committed(endpoint: Endpoint, topic: str, group: str) -> None:
    produce(endpoint, topic, b"1\n2\n3\n")
    settings = ["-q", "-e", "-X", "auto.offset.reset=earliest", "-X", "enable.auto.commit=true"]
    assert kcat(endpoint, "-G", group, *settings, topic).split() == [b"1", b"2", b"3"]
    produce(endpoint, topic, b"4\n5\n")
    assert kcat(endpoint, "-G", group, *settings, topic).split() == [b"4", b"5"]


def test_a_large_line_makes_the_round_trip(endpoint: Endpoint, topic: str) -> None:
    line = b"x" * 900_000
    produce(endpoint, topic, line)
    assert payloads(consume(endpoint, topic)) == [line.decode()]


def test_an_unknown_topic_is_not_made_by_looking_at_it(plaintext: Endpoint, unique: Any) -> None:
    """kcat -L of one topic does not allow auto-creation; Kafka answers UNKNOWN_TOPIC_OR_PARTITION."""
    name = unique("absent")
    metadata = json.loads(kcat(plaintext, "-L", "-J", "-t", name, "-X", "allow.auto.create.topics=false"))
    listed = json.loads(kcat(plaintext, "-L", "-J"))
    known = [entry["topic"] for entry in listed["topics"]]
    assert metadata["topics"][0].get("error") or name in known
