# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: bytes that no client should send.
"""Noise, lies about lengths, and the wrong protocol: that connection ends, and nothing else notices.

Every test ends with the same questions: does the broker live, does a connection opened before still work,
did its memory stay where it was, does the log say why?
"""

from __future__ import annotations

import os
import random
import socket
import ssl
import struct
from typing import Iterator

import pytest

import protocol
import wire
from broker import Broker, Endpoint, wait_until
from wire import Wire

MEMORY_ROOM_KIB = 48 * 1024


@pytest.fixture(autouse=True)
def nothing_else_suffers(broker: Broker) -> Iterator[None]:
    with Wire(broker.address) as bystander:
        assert bystander.call(wire.api_versions_request(0, correlation=1))
        before = broker.resident_kib()
        yield
        assert broker.alive(), "the broker died"
        assert bystander.call(wire.api_versions_request(0, correlation=2)), "another connection suffered"
        grown = broker.resident_kib() - before
        assert grown < MEMORY_ROOM_KIB, f"the broker grew by {grown} KiB"


def refused(broker: Broker, data: bytes, *, timeout: float = 20) -> bytes:
    """Sends `data` and returns what comes back until the broker closes; a timeout is a failure."""
    with Wire(broker.address, timeout=timeout) as connection:
        try:
            connection.send(data)
        except (ConnectionResetError, BrokenPipeError):
            return b""
        return connection.read_to_end()


LENGTHS = {
    "negative": -1,
    "the smallest": -(2**31),
    "zero": 0,
    "shorter than a header": 3,
    "the largest": 2**31 - 1,
    "1.5 GB": 1_500_000_000,
}


@pytest.mark.parametrize("length", LENGTHS.values(), ids=LENGTHS.keys())
def test_an_absurd_frame_length_closes_the_connection_and_is_logged(broker: Broker, length: int) -> None:
    position = broker.log_size()
    first = struct.pack(">i", length)
    refused(broker, first + beginning(PRODUCE))
    shown = (first + beginning(PRODUCE))[:8].hex(" ")
    broker.wait_log(rf"closed: unknown bytes {shown} on a port for Kafka", since=position)


PRODUCE, METADATA = 0, 3
# Requests of Produce bring records; no other request is nearly as large.
BOUNDS = {"Produce": (PRODUCE, 100 << 20), "another request": (METADATA, 16 << 20)}


def beginning(key: int) -> bytes:
    """Of a request's header: its key, version, correlation and no client id."""
    return struct.pack(">hhih", key, 9, 1, -1)


@pytest.mark.parametrize("key, bound", BOUNDS.values(), ids=BOUNDS.keys())
def test_a_frame_over_its_bound_is_refused_in_the_bounds_words(broker: Broker, key: int, bound: int) -> None:
    with Wire(broker.address) as connection:
        assert connection.call(wire.api_versions_request())
        # As large as may be: the rest of it is awaited.
        connection.send(struct.pack(">i", bound) + beginning(key))
        with pytest.raises(TimeoutError):
            connection.socket.settimeout(0.5)
            connection.read_frame()
    for length in (bound + 1, 2**31 - 1):
        position = broker.log_size()
        with Wire(broker.address) as connection:
            assert connection.call(wire.api_versions_request())
            connection.send(struct.pack(">i", length) + beginning(key))
            assert connection.read_to_end() == b""
        limit = bound if length == bound + 1 else 100 << 20
        words = rf"kafka connection closed: a frame of {length} bytes was announced; the limit is {limit} "
        line = broker.wait_log(words, since=position)
        assert "peer=127.0.0.1:" in line, "the log does not say which peer"


def test_a_first_frame_over_the_bound_is_no_kafka_request(broker: Broker) -> None:
    position = broker.log_size()
    assert refused(broker, struct.pack(">i", (100 << 20) + 1) + beginning(PRODUCE)) == b""
    broker.wait_log(r"closed: unknown bytes 06 40 00 01 00 00 00 09 on a port for Kafka", since=position)


@pytest.mark.parametrize("seed", range(30))
def test_random_bytes_close_the_connection(broker: Broker, seed: int) -> None:
    noise = random.Random(seed)
    # The first byte is none that TLS, HTTP or a sensible frame length begins with.
    data = bytes([noise.choice([0x80, 0x90, 0xC0, 0xFF, 0x7F])]) + noise.randbytes(noise.randrange(20, 5000))
    refused(broker, data)


@pytest.mark.parametrize("seed", range(20))
def test_random_bodies_in_good_frames_are_answered_or_closed(broker: Broker, seed: int) -> None:
    """Every API gets noise where its fields should be: an error answer or a close, never silence."""
    noise = random.Random(1000 + seed)
    for key in [0, 1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 19, 20, 22, 32, 44, 60]:
        version = noise.randrange(0, 13)
        body = noise.randbytes(noise.randrange(0, 200))
        frame = wire.request(key, version, 5, body, flexible=noise.random() < 0.5)
        with Wire(broker.address, timeout=45) as connection:
            connection.send(frame)
            # What follows tells an answer from a frame that is still awaited.
            connection.socket.shutdown(socket.SHUT_WR)
            connection.read_to_end()


COUNTS = {
    # Each claims two billion elements in a frame of a few bytes.
    "topics of Metadata": wire.request(3, 1, 1, wire.i32(2**31 - 1), flexible=False),
    "topics of Metadata, flexible": wire.request(3, 9, 1, wire.unsigned_varint(2**32 - 1), flexible=True),
    "topics of Produce": wire.request(
        0, 3, 1, wire.i16(-1) + wire.i16(1) + wire.i32(1000) + wire.i32(2**31 - 1), flexible=False),
    "topics of Fetch": wire.request(
        1, 4, 1, wire.i32(-1) + wire.i32(0) + wire.i32(0) + wire.i32(0) + wire.i8(0) + wire.i32(2**31 - 1),
        flexible=False),
    "protocols of JoinGroup": wire.request(
        11, 0, 1, wire.string("g") + wire.i32(10_000) + wire.string("") + wire.string("consumer") + wire.i32(2**30),
        flexible=False),
    "topics of CreateTopics": wire.request(19, 2, 1, wire.i32(2**31 - 1), flexible=False),
    "a negative count": wire.request(3, 1, 1, wire.i32(-7), flexible=False),
    "a string longer than its frame": wire.request(10, 0, 1, wire.i16(32767) + b"abc", flexible=False),
    "a varint without an end": wire.request(3, 9, 1, b"\xff" * 20, flexible=True),
    "tags without an end": wire.request(18, 3, 1, b"\x02a\x02b\xff\xff\xff\xff\x0f", flexible=True),
}


@pytest.mark.parametrize("case", COUNTS, ids=lambda case: case)
def test_a_count_that_cannot_be_closes_the_connection_and_is_logged(broker: Broker, case: str) -> None:
    position = broker.log_size()
    answer = refused(broker, COUNTS[case])
    if not answer:
        broker.wait_log(r"malformed|clos|decod|invalid|truncat|length|count", since=position)


def test_bytes_left_over_in_a_request_do_no_harm(broker: Broker) -> None:
    frame = wire.request(wire.API_VERSIONS, 0, 4, b"left over", flexible=False)
    with Wire(broker.address) as connection:
        connection.send(frame)
        try:
            assert wire.Reader(connection.read_frame()).i32() == 4
        except ConnectionError:
            pass


def test_a_frame_cut_off_by_a_close_is_forgotten(broker: Broker) -> None:
    frame = wire.produce_request("cut-off", 0, wire.batch([wire.Record(b"x" * 1000)]))
    for length in (1, 3, 4, 7, 12, 50, len(frame) - 1):
        with Wire(broker.address) as connection:
            connection.send(frame[:length])


def test_half_a_megabyte_announced_many_times_takes_no_memory(broker: Broker) -> None:
    """Two hundred connections announce 100 MB each and send nothing of it."""
    held = [Wire(broker.address) for _ in range(200)]
    try:
        for connection in held:
            connection.send(struct.pack(">ihhih", 90_000_000, 0, 9, 1, -1))
        with Wire(broker.address) as other:
            assert other.call(wire.api_versions_request())
    finally:
        for connection in held:
            connection.close()


def test_a_client_that_never_says_a_word_keeps_no_one_from_working(broker: Broker) -> None:
    """Connections that send nothing, or one byte, while the protocol is still unknown."""
    idle = [Wire(broker.address) for _ in range(100)]
    try:
        for number, connection in enumerate(idle):
            connection.send(b"\x16\x03\x01"[: number % 4])
        for _ in range(20):
            with Wire(broker.address) as working:
                assert working.call(wire.api_versions_request())
    finally:
        for connection in idle:
            connection.close()


def test_a_reader_that_stops_reading_costs_a_bounded_buffer(broker: Broker, topic: str) -> None:
    """A thousand pipelined fetches of 1 MB whose answers are never read."""
    with Wire(broker.address) as other:
        protocol.create(other, topic)
        for _ in range(4):
            assert other.produce(topic, wire.batch([wire.Record(b"x" * 900_000)])).error == wire.NONE
        with Wire(broker.address, timeout=0.5) as stalled:
            frame = wire.fetch_request(topic, 0, 0, partition_max_bytes=4 << 20)
            try:
                for _ in range(1000):
                    stalled.send(frame)
            except (TimeoutError, ConnectionError):
                pass
            # The broker has met the stalled peer and still answers the others.
            for _ in range(50):
                assert other.call(wire.api_versions_request())
            assert broker.resident_kib() < 200 * 1024


# The wrong protocol.


def test_an_http_request_for_a_page_that_is_not_there_gets_an_answer(broker: Broker) -> None:
    assert refused(broker, b"GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").startswith(b"HTTP/1.1 404")


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET \r\n\r\n",
        b"POST /metrics HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"HEAD / HTTP/1.1\r\n" + b"X-Long: " + b"y" * 200_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\n",
    ],
    ids=["version", "no path", "negative length", "huge header", "huge path", "bad chunk"],
)
def test_http_garbage_is_refused_in_http_or_closed(broker: Broker, garbage: bytes) -> None:
    with Wire(broker.address) as connection:
        try:
            connection.send(garbage)
            connection.socket.shutdown(socket.SHUT_WR)
        except (ConnectionError, OSError):
            pass
        answer = connection.read_to_end()
        assert answer == b"" or answer.startswith(b"HTTP/1.1 ")


def test_an_http2_preface_with_garbage_behind_it_gets_a_goaway_or_a_close(broker: Broker) -> None:
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    for seed in range(20):
        noise = random.Random(seed)
        refused(broker, preface + b"\0\0\0\4\0\0\0\0\0" + noise.randbytes(500) + b"\xff" * 20_000)


def test_a_frame_for_another_protocol_is_named_in_the_log(broker: Broker) -> None:
    position = broker.log_size()
    refused(broker, b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n")
    broker.wait_log(r"ssh|unknown|closed", since=position)


def test_plaintext_inside_a_tls_handshake_is_refused_and_logged(broker: Broker) -> None:
    position = broker.log_size()
    refused(broker, b"\x16\x03\x01\x02\x00" + b"this is no ClientHello" * 30)
    broker.wait_log(r"tls", since=position)


def test_a_tls_handshake_without_end_is_cut_off_at_its_bound(broker: Broker) -> None:
    """Nobody sets this bound: it is the default, 128 KiB."""
    record = 0x4000
    # A ClientHello as long as the TLS library lets one be: it is not over when the bound is reached.
    hello = b"\x01" + (128 * 1024 + 100).to_bytes(3, "big")
    head = b"\x16\x03\x01" + record.to_bytes(2, "big")
    position = broker.log_size()
    with Wire(broker.address) as connection:
        connection.send(head + hello.ljust(record, b"\0"))
        try:
            for _ in range(16):
                connection.send(head + bytes(record))
        except (ConnectionResetError, BrokenPipeError):
            pass
        connection.read_to_end()
    broker.wait_log(r"TLS handshake failed: TLS handshake of more than 131072 bytes", since=position)


@pytest.mark.parametrize("seed", range(10))
def test_noise_after_the_tls_handshake_closes_the_connection(broker: Broker, seed: int) -> None:
    endpoint = Endpoint(broker, tls=True)
    noise = random.Random(seed)
    with Wire(broker.address, tls=endpoint.ssl_context()) as connection:
        connection.send(b"\xff" + noise.randbytes(2000))
        connection.read_to_end()
    raw = socket.create_connection(("127.0.0.1", broker.port), timeout=20)
    with raw:
        tls = endpoint.ssl_context()
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = tls.wrap_bio(incoming, outgoing, server_hostname="localhost")
        with pytest.raises(ssl.SSLWantReadError):
            session.do_handshake()
        hello = bytearray(outgoing.read())
        for _ in range(5):
            hello[noise.randrange(5, len(hello))] ^= 1 << noise.randrange(8)
        raw.sendall(hello)
        raw.shutdown(socket.SHUT_WR)
        while raw.recv(65536):
            pass


def test_hundreds_of_connections_come_and_go(broker: Broker) -> None:
    for _ in range(5):
        held = [Wire(broker.address) for _ in range(200)]
        for connection in held:
            connection.send(wire.api_versions_request())
        for connection in held:
            connection.read_frame()
            connection.close()

    def descriptors_back() -> bool:
        return len(os.listdir(f"/proc/{broker.pid}/fd")) < 200

    wait_until(descriptors_back, "the descriptors of closed connections to be given back")
