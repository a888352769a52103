# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: HTTP/2 by hand.
"""A client's side of an HTTP/2 connection that sends whatever frames it is told to, right or wrong (RFC 9113).

Only header compression is a library's. What the peer sends is read when a test asks for it: until a frame that it waits
for, or until the connection ends. Nothing is answered by itself, SETTINGS neither.
"""

from __future__ import annotations

import os
import socket
import ssl
import struct
from typing import Callable, NamedTuple, Optional, Sequence

import hpack

from broker import Endpoint

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 0x1
END_HEADERS, PADDED, WITH_PRIORITY = 0x4, 0x8, 0x20
(NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED, FRAME_SIZE_ERROR,
 REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, CONNECT_ERROR, ENHANCE_YOUR_CALM) = range(12)  # fmt: skip
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = range(1, 6)
READ_SECONDS = 10

Fields = Sequence[tuple[str, str]]


class Frame(NamedTuple):
    type: int
    flags: int
    stream: int
    payload: bytes

    @property
    def error(self) -> int:
        """The code of a RST_STREAM or GOAWAY frame."""
        return struct.unpack(">I", self.payload[:4] if self.type == RST_STREAM else self.payload[4:8])[0]


def frame(type: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", type, flags, stream) + payload


def settings(*entries: tuple[int, int]) -> bytes:
    return frame(SETTINGS, payload=b"".join(struct.pack(">HI", *entry) for entry in entries))


def request(method: str = "GET", path: str = "/") -> list[tuple[str, str]]:
    return [(":method", method), (":scheme", "http"), (":path", path), (":authority", "localhost")]


#: A page that has a body.
PAGE = request("GET", "/v1/topics/there-is-no-such-topic/events")


def grpc_request(path: str = "/martlet.v1.Streams/PublishStream") -> list[tuple[str, str]]:
    return [*request("POST", path), ("content-type", "application/grpc"), ("te", "trailers")]


class Connection:
    def __init__(self, endpoint: Endpoint, *, opening: Optional[bytes] = None):
        host, port = endpoint.address.rsplit(":", 1)
        self.socket = socket.create_connection((host.strip("[]"), int(port)), timeout=READ_SECONDS)
        if endpoint.tls:
            self.socket = endpoint.ssl_context(["h2"]).wrap_socket(self.socket, server_hostname=host)
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        self.buffer = b""
        self.send(PREFACE + settings() if opening is None else opening)

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    # Sending.

    def send(self, data: bytes) -> None:
        """The peer may have ended the connection already, which the test finds when it reads."""
        try:
            self.socket.sendall(data)
        except (ConnectionError, ssl.SSLEOFError):
            pass

    def block(self, fields: Fields, *, huffman: bool = True) -> bytes:
        return self.encoder.encode(list(fields), huffman=huffman)

    def headers(self, stream: int, fields: Fields, flags: int = END_HEADERS) -> None:
        self.send(frame(HEADERS, flags, stream, self.block(fields)))

    def get(self, stream: int) -> None:
        """A request that is answered at once, and over then."""
        self.headers(stream, request(), END_HEADERS | END_STREAM)

    def call(self, stream: int) -> None:
        """A request that stays open on both sides."""
        self.headers(stream, grpc_request())

    def data(self, stream: int, payload: bytes = b"", flags: int = 0) -> None:
        self.send(frame(DATA, flags, stream, payload))

    # Reading.

    def read(self) -> Optional[Frame]:
        """The next frame; None at the end of the connection."""
        while len(self.buffer) < 9 or len(self.buffer) < 9 + int.from_bytes(self.buffer[:3], "big"):
            try:
                data = self.socket.recv(65536)
            except (ConnectionError, ssl.SSLEOFError):
                return None
            if not data:
                return None
            self.buffer += data
        end = 9 + int.from_bytes(self.buffer[:3], "big")
        kind, flags, stream = struct.unpack(">BBI", self.buffer[3:9])
        found = Frame(kind, flags, stream & 0x7FFF_FFFF, self.buffer[9:end])
        self.buffer = self.buffer[end:]
        return found

    def until(self, is_wanted: Callable[[Frame], bool]) -> list[Frame]:
        """All frames up to the first that is wanted, or all there are."""
        found: list[Frame] = []
        while (next_frame := self.read()) is not None:
            found.append(next_frame)
            if is_wanted(next_frame):
                break
        return found

    def rest(self) -> list[Frame]:
        """All frames until the peer ends the connection."""
        return self.until(lambda _: False)

    def pong(self) -> list[Frame]:
        """All frames before the answer to a PING, which shows that the peer has taken everything that was sent before it."""
        token = os.urandom(8)
        self.send(frame(PING, payload=token))
        found = self.until(lambda seen: seen.type == PING and bool(seen.flags & ACK) and seen.payload == token)
        assert found and found[-1].payload == token, f"the connection ended: {found}"
        return found[:-1]

    def answer(self, stream: int) -> dict[str, str]:
        """The fields of a stream's answer, its trailers' too, once it has ended."""
        found = self.until(
            lambda seen: seen.stream == stream and (seen.type == RST_STREAM or seen.type < 2 and bool(seen.flags & END_STREAM))
        )
        assert found and found[-1].stream == stream and found[-1].type != RST_STREAM, found
        return self.fields(found, stream)

    def fields(self, frames: Sequence[Frame], stream: int) -> dict[str, str]:
        """Fields of this stream among frames; those of others are decoded as well, as the table goes on with each."""
        seen: dict[str, str] = {}
        for each in frames:
            if each.type == HEADERS:
                decoded = dict(self.decoder.decode(each.payload))
                if each.stream == stream:
                    seen |= decoded
        return seen
