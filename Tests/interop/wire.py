# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: a tiny Kafka codec of its own.
"""Kafka frames by hand, for tests that must control every byte and for the bench driver.

Only `struct` and sockets: what a client library would quietly correct (a wrong length, an unknown
version, a broken CRC) is sent here exactly as written. Layouts follow Kafka's message definitions and,
for record batches, the format notes of KIP-98. Nothing here is shared with the broker's own code.
"""

from __future__ import annotations

import socket
import ssl
import struct
import time
from dataclasses import dataclass, field
from typing import Iterable, Optional, Sequence

PRODUCE, FETCH, LIST_OFFSETS, METADATA = 0, 1, 2, 3
OFFSET_COMMIT, OFFSET_FETCH, FIND_COORDINATOR = 8, 9, 10
JOIN_GROUP, HEARTBEAT, LEAVE_GROUP, SYNC_GROUP = 11, 12, 13, 14
API_VERSIONS, CREATE_TOPICS, DELETE_TOPICS, INIT_PRODUCER_ID = 18, 19, 20, 22

NONE, OFFSET_OUT_OF_RANGE, CORRUPT_MESSAGE, UNKNOWN_TOPIC_OR_PARTITION = 0, 1, 2, 3
MESSAGE_TOO_LARGE, UNSUPPORTED_VERSION, INVALID_RECORD = 10, 35, 87
OUT_OF_ORDER_SEQUENCE_NUMBER, UNKNOWN_PRODUCER_ID = 45, 59
UNSUPPORTED_COMPRESSION_TYPE, INVALID_TIMESTAMP = 76, 32

COMPRESSIONS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}


def _castagnoli() -> list[int]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = (value >> 1) ^ 0x82F63B78 if value & 1 else value >> 1
        table.append(value)
    return table


_CRC_TABLE = _castagnoli()


def crc32c(data: bytes) -> int:
    value = 0xFFFFFFFF
    table = _CRC_TABLE
    for byte in data:
        value = table[(value ^ byte) & 0xFF] ^ (value >> 8)
    return value ^ 0xFFFFFFFF


# Primitive fields.


def i8(value: int) -> bytes:
    return struct.pack(">b", value)


def i16(value: int) -> bytes:
    return struct.pack(">h", value)


def i32(value: int) -> bytes:
    return struct.pack(">i", value)


def i64(value: int) -> bytes:
    return struct.pack(">q", value)


def unsigned_varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def varint(value: int) -> bytes:
    return unsigned_varint((value << 1) ^ (value >> 63))


def string(value: Optional[str]) -> bytes:
    if value is None:
        return i16(-1)
    encoded = value.encode()
    return i16(len(encoded)) + encoded


def compact_string(value: Optional[str]) -> bytes:
    if value is None:
        return b"\0"
    encoded = value.encode()
    return unsigned_varint(len(encoded) + 1) + encoded


def array(items: Sequence[bytes]) -> bytes:
    return i32(len(items)) + b"".join(items)


def compact_array(items: Sequence[bytes]) -> bytes:
    return unsigned_varint(len(items) + 1) + b"".join(items)


TAGS = b"\0"


class Reader:
    """Reads fields off the front of an answer; running out of bytes is a failure of the test."""

    def __init__(self, data: bytes):
        self.data = data
        self.at = 0

    def take(self, length: int) -> bytes:
        assert length >= 0 and self.at + length <= len(self.data), "the answer is too short"
        self.at += length
        return self.data[self.at - length : self.at]

    def _number(self, layout: str) -> int:
        return struct.unpack(layout, self.take(struct.calcsize(layout)))[0]

    def i8(self) -> int:
        return self._number(">b")

    def i16(self) -> int:
        return self._number(">h")

    def i32(self) -> int:
        return self._number(">i")

    def i64(self) -> int:
        return self._number(">q")

    def unsigned_varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def string(self) -> Optional[str]:
        length = self.i16()
        return None if length < 0 else self.take(length).decode()

    def compact_string(self) -> Optional[str]:
        length = self.unsigned_varint()
        return None if length == 0 else self.take(length - 1).decode()

    def bytes32(self) -> Optional[bytes]:
        length = self.i32()
        return None if length < 0 else self.take(length)

    def skip_tags(self) -> None:
        for _ in range(self.unsigned_varint()):
            self.unsigned_varint()
            self.take(self.unsigned_varint())

    def finished(self) -> bool:
        return self.at == len(self.data)


# Record batches, magic 2.


@dataclass
class Record:
    value: Optional[bytes]
    key: Optional[bytes] = None
    headers: Sequence[tuple[str, Optional[bytes]]] = field(default_factory=tuple)
    timestamp_delta: int = 0


def _bytes(value: Optional[bytes]) -> bytes:
    return varint(-1) if value is None else varint(len(value)) + value


def record(item: Record, offset_delta: int) -> bytes:
    body = b"\0" + varint(item.timestamp_delta) + varint(offset_delta) + _bytes(item.key) + _bytes(item.value)
    body += varint(len(item.headers))
    for name, value in item.headers:
        body += varint(len(name.encode())) + name.encode() + _bytes(value)
    return varint(len(body)) + body


def batch(
    records: Iterable[Record],
    *,
    timestamp: Optional[int] = None,
    base_offset: int = 0,
    attributes: int = 0,
    producer_id: int = -1,
    producer_epoch: int = -1,
    base_sequence: int = -1,
    crc: Optional[int] = None,
    magic: int = 2,
    count: Optional[int] = None,
    last_offset_delta: Optional[int] = None,
    length: Optional[int] = None,
    body: Optional[bytes] = None,
) -> bytes:
    """A batch that is right unless a keyword says otherwise (crc, magic, count, length, body…)."""
    items = list(records)
    base = int(time.time() * 1000) if timestamp is None else timestamp
    newest = base + max((item.timestamp_delta for item in items), default=0)
    payload = b"".join(record(item, delta) for delta, item in enumerate(items)) if body is None else body
    after_crc = struct.pack(
        ">hiqqqhii",
        attributes,
        len(items) - 1 if last_offset_delta is None else last_offset_delta,
        base,
        newest,
        producer_id,
        producer_epoch,
        base_sequence,
        len(items) if count is None else count,
    ) + payload
    checksum = crc32c(after_crc) if crc is None else crc
    after_length = struct.pack(">ibI", -1, magic, checksum) + after_crc
    return struct.pack(">qi", base_offset, len(after_length) if length is None else length) + after_length


@dataclass
class BatchHeader:
    base_offset: int
    length: int
    leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    base_timestamp: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    count: int

    SIZE = 61

    @property
    def size(self) -> int:
        return self.length + 12

    @property
    def last_offset(self) -> int:
        return self.base_offset + self.last_offset_delta


def batch_header(data: bytes, at: int = 0) -> BatchHeader:
    return BatchHeader(*struct.unpack_from(">qiibIhiqqqhii", data, at))


# Requests.


def request(
    api_key: int, version: int, correlation: int, body: bytes, *, flexible: bool, client_id: Optional[str] = "wire"
) -> bytes:
    header = struct.pack(">hhi", api_key, version, correlation) + string(client_id)
    if flexible:
        header += TAGS
    return i32(len(header) + len(body)) + header + body


def api_versions_body(version: int) -> bytes:
    return compact_string("wire") + compact_string("1.0") + TAGS if version >= 3 else b""


def api_versions_request(version: int = 0, correlation: int = 1) -> bytes:
    return request(API_VERSIONS, version, correlation, api_versions_body(version), flexible=version >= 3)


def produce_request(
    topic: str,
    partition: int,
    records: bytes,
    *,
    version: int = 9,
    acks: int = -1,
    correlation: int = 1,
    timeout_ms: int = 30_000,
    transactional_id: Optional[str] = None,
) -> bytes:
    """Produce v3 to v12 with one partition."""
    head = i16(acks) + i32(timeout_ms)
    if version >= 9:
        data = i32(partition) + unsigned_varint(len(records) + 1) + records + TAGS
        entry = compact_string(topic) + compact_array([data]) + TAGS
        body = compact_string(transactional_id) + head + compact_array([entry]) + TAGS
    else:
        data = i32(partition) + i32(len(records)) + records
        body = string(transactional_id) + head + array([string(topic) + array([data])])
    return request(PRODUCE, version, correlation, body, flexible=version >= 9)


@dataclass
class Produced:
    error: int
    base_offset: int
    log_append_time: int
    log_start_offset: int
    message: Optional[str] = None


def produce_response(payload: bytes, *, version: int = 9) -> Produced:
    """The one partition of an answer to `produce_request`; `payload` starts with the correlation id."""
    reader = Reader(payload)
    reader.i32()
    flexible = version >= 9
    if flexible:
        reader.skip_tags()
    assert (reader.unsigned_varint() - 1 if flexible else reader.i32()) == 1
    reader.compact_string() if flexible else reader.string()
    assert (reader.unsigned_varint() - 1 if flexible else reader.i32()) == 1
    reader.i32()
    result = Produced(reader.i16(), reader.i64(), reader.i64(), reader.i64() if version >= 5 else -1)
    if version >= 8:
        for _ in range(reader.unsigned_varint() - 1 if flexible else reader.i32()):
            reader.i32()
            reader.compact_string() if flexible else reader.string()
            if flexible:
                reader.skip_tags()
        result.message = reader.compact_string() if flexible else reader.string()
    if flexible:
        reader.skip_tags()
        reader.skip_tags()
    reader.i32()  # throttle time
    if flexible:
        reader.skip_tags()
    assert reader.finished(), "bytes are left over in a Produce answer"
    return result


def fetch_request(
    topic: str,
    partition: int,
    offset: int,
    *,
    version: int = 11,
    correlation: int = 1,
    max_wait_ms: int = 500,
    min_bytes: int = 1,
    max_bytes: int = 50 * 1024 * 1024,
    partition_max_bytes: int = 1024 * 1024,
    isolation: int = 0,
) -> bytes:
    """Fetch v4 to v11 with one partition, outside any session."""
    assert 4 <= version <= 11
    entry = i32(partition)
    if version >= 9:
        entry += i32(-1)
    entry += i64(offset)
    if version >= 5:
        entry += i64(-1)
    entry += i32(partition_max_bytes)
    body = i32(-1) + i32(max_wait_ms) + i32(min_bytes) + i32(max_bytes) + i8(isolation)
    if version >= 7:
        body += i32(0) + i32(-1)
    body += array([string(topic) + array([entry])])
    if version >= 7:
        body += array([])
    if version >= 11:
        body += string("")
    return request(FETCH, version, correlation, body, flexible=False)


@dataclass
class Fetched:
    error: int
    high_watermark: int
    last_stable_offset: int
    log_start_offset: int
    records: bytes


def fetch_response(payload: bytes, *, version: int = 11) -> Optional[Fetched]:
    """The one partition of an answer to `fetch_request`, or None when it has none."""
    reader = Reader(payload)
    reader.i32()
    reader.i32()  # throttle time
    if version >= 7:
        assert reader.i16() == NONE, "the Fetch failed as a whole"
        reader.i32()
    result = None
    for _ in range(reader.i32()):
        reader.string()
        for _ in range(reader.i32()):
            reader.i32()
            error, watermark, stable = reader.i16(), reader.i64(), reader.i64()
            start = reader.i64() if version >= 5 else -1
            for _ in range(max(reader.i32(), 0)):
                reader.take(16)
            if version >= 11:
                reader.i32()
            result = Fetched(error, watermark, stable, start, reader.bytes32() or b"")
    assert reader.finished(), "bytes are left over in a Fetch answer"
    return result


class Wire:
    """One connection that sends what it is told to and reads frames, with a deadline on every read."""

    def __init__(self, address: str, *, tls: Optional[ssl.SSLContext] = None, timeout: float = 20):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host.strip("[]"), int(port)), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def read_exactly(self, length: int) -> bytes:
        data = bytearray()
        while len(data) < length:
            part = self.socket.recv(min(length - len(data), 1 << 20))
            if not part:
                raise ConnectionError(f"the broker closed the connection after {len(data)} of {length} bytes")
            data += part
        return bytes(data)

    def read_frame(self) -> bytes:
        length = struct.unpack(">i", self.read_exactly(4))[0]
        assert 0 < length < 200 * 1024 * 1024, f"an answer of {length} bytes"
        return self.read_exactly(length)

    def call(self, frame: bytes) -> bytes:
        """Sends one request and returns its answer, from the correlation id on."""
        self.send(frame)
        answer = self.read_frame()
        assert answer[:4] == frame[8:12], "the answer belongs to another request"
        return answer

    def read_to_end(self) -> bytes:
        """Everything until the broker closes; a reset counts as a close."""
        data = bytearray()
        try:
            while True:
                part = self.socket.recv(1 << 16)
                if not part:
                    return bytes(data)
                data += part
        except (ConnectionResetError, BrokenPipeError, ssl.SSLError):
            return bytes(data)

    def produce(self, topic: str, records: bytes, *, partition: int = 0, version: int = 9, acks: int = -1) -> Produced:
        answer = self.call(produce_request(topic, partition, records, version=version, acks=acks))
        return produce_response(answer, version=version)

    def fetch(self, topic: str, offset: int, *, partition: int = 0, version: int = 11, **options: int) -> Fetched:
        answer = self.call(fetch_request(topic, partition, offset, version=version, **options))
        result = fetch_response(answer, version=version)
        assert result is not None, "the Fetch answer has no partition"
        return result
