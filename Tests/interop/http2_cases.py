# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: what a client may do to an HTTP/2 server, right and wrong, one case after the other.
"""The cases of h2spec 2.6, section by section, written anew, with what Martlet does in each.

A case sends frames over a connection of its own and says what has to come of it:

    alive             nothing was wrong: the connection goes on, and no stream was reset
    answered          the stream is answered, and the connection goes on
    acknowledged      SETTINGS were acknowledged, and the connection goes on
    stream(CODES)     RST_STREAM of the stream, or GOAWAY, with one of these codes
    connection(CODES) GOAWAY with one of these codes, and the end of the connection
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Callable

from http2 import (
    ACK, COMPRESSION_ERROR, CONTINUATION, DATA, ENABLE_PUSH, END_HEADERS, END_STREAM, FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR, GOAWAY, HEADERS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, PADDED, PAGE, PING, PRIORITY, PROTOCOL_ERROR,
    PUSH_PROMISE, REFUSED_STREAM, RST_STREAM, SETTINGS, STREAM_CLOSED, WINDOW_UPDATE, WITH_PRIORITY, Connection, Fields,
    Frame, frame, grpc_request, request, settings,
)  # fmt: skip

Check = Callable[[Connection], None]
WINDOW_MAX = (1 << 31) - 1


@dataclass
class Case:
    section: str
    title: str
    send: Check
    check: Check
    #: Bytes instead of preface and SETTINGS.
    opening: bytes | None = None


# What has to come of it.


def errors(frames: list[Frame]) -> list[Frame]:
    return [seen for seen in frames if seen.type in (RST_STREAM, GOAWAY)]


def alive(connection: Connection) -> None:
    seen = connection.pong()
    assert not errors(seen), seen


def answered(connection: Connection) -> None:
    connection.answer(1)
    alive(connection)


def acknowledged(connection: Connection) -> None:
    """Each SETTINGS frame of a case, and that of the opening."""
    seen = connection.pong()
    assert sum(each.type == SETTINGS and bool(each.flags & ACK) for each in seen) == 2 and not errors(seen), seen


def not_answered(connection: Connection) -> None:
    seen = connection.pong()
    assert not errors(seen) and not any(each.type == PING for each in seen), seen


def ends_or_lives(connection: Connection) -> None:
    """After GOAWAY either is right; what is not is an error."""
    connection.send(frame(PING, payload=b"are you?"))
    seen = connection.until(lambda each: each.type == PING)
    assert not any(each.type == GOAWAY and each.error for each in seen), seen


def stream(*codes: int) -> Check:
    def check(connection: Connection) -> None:
        found = connection.until(lambda seen: seen.type in (RST_STREAM, GOAWAY))
        assert found and found[-1].type in (RST_STREAM, GOAWAY) and found[-1].error in codes, found

    return check


def connection(*codes: int) -> Check:
    def check(connection: Connection) -> None:
        found = connection.rest()
        assert [seen.error in codes for seen in found if seen.type == GOAWAY][-1:] == [True], found

    return check


# How it is sent.


def frames(*sent: bytes) -> Check:
    return lambda connection: connection.send(b"".join(sent))


def after_call(*sent: bytes) -> Check:
    """With stream 1 open on both sides."""

    def send(connection: Connection) -> None:
        connection.call(1)
        connection.send(b"".join(sent))

    return send


def half_closed(*sent: bytes) -> Check:
    """With stream 1 closed on the client's side, while its answer waits for a window."""

    def send(connection: Connection) -> None:
        connection.send(settings((INITIAL_WINDOW_SIZE, 0)))
        connection.headers(1, PAGE, END_HEADERS | END_STREAM)
        connection.until(lambda seen: seen.type == HEADERS and seen.stream == 1)
        connection.send(b"".join(sent))

    return send


def after_reset(make: Callable[[Connection], bytes]) -> Check:
    def send(connection: Connection) -> None:
        connection.call(1)
        connection.send(frame(RST_STREAM, 0, 1, struct.pack(">I", 8)))
        connection.send(make(connection))

    return send


def after_end(make: Callable[[Connection], bytes]) -> Check:
    """With stream 1 answered and closed on both sides."""

    def send(connection: Connection) -> None:
        connection.get(1)
        connection.answer(1)
        connection.send(make(connection))

    return send


def fields(made: Fields, flags: int = END_HEADERS | END_STREAM) -> Check:
    return lambda connection: connection.headers(1, made, flags)


def changed(replace: str, *by: tuple[str, str]) -> Check:
    """A request with a field replaced, or left out."""
    position = [name for name, _ in request()].index(replace)
    made = request()
    made[position : position + 1] = list(by)
    return fields(made)


def block(content: bytes) -> Check:
    """A header block as it stands, behind that of a good request."""
    return lambda connection: connection.send(
        frame(HEADERS, END_HEADERS | END_STREAM, 1, connection.block(request()) + content)
    )


def split(connection: Connection, *, parts: int, last: int = END_HEADERS) -> None:
    """A request in a HEADERS frame and so many CONTINUATION frames."""
    made = connection.block(request())
    connection.send(frame(HEADERS, END_STREAM, 1, made[:1]))
    for number in range(parts):
        final = number == parts - 1
        connection.send(frame(CONTINUATION, last if final else 0, 1, made[1 + number :] if final else made[1 + number : 2 + number]))


def with_prefix(flags: int, prefix: bytes, suffix: bytes = b"") -> Check:
    """A request whose HEADERS frame has padding or a priority."""
    return lambda connection: connection.send(
        frame(HEADERS, END_HEADERS | END_STREAM | flags, 1, prefix + connection.block(request()) + suffix)
    )


def unfinished(*sent: bytes, stream: int = 1) -> Check:
    """A header block that is not at its end when other frames come."""
    return lambda connection: connection.send(frame(HEADERS, END_STREAM, stream, connection.block(request())) + b"".join(sent))


def uint(value: int) -> bytes:
    return struct.pack(">I", value)


def priority(depends_on: int, weight: int = 15, *, stream: int = 1, exclusive: bool = False) -> bytes:
    return frame(PRIORITY, 0, stream, uint(depends_on | exclusive << 31) + bytes([weight]))


def update(stream: int, by: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, uint(by))


def post(*chunks: bytes, extra: Fields = (), flags: int = END_STREAM) -> Check:
    """A gRPC call whose body comes in these DATA frames."""

    def send(connection: Connection) -> None:
        connection.headers(1, [*grpc_request("/martlet.v1.Admin/ListTopics"), *extra])
        for number, chunk in enumerate(chunks):
            connection.data(1, chunk, flags if number == len(chunks) - 1 else 0)

    return send


EMPTY_MESSAGE = bytes(5)
PADDING = bytes(8)


def trailers(*made: tuple[str, str], flags: int = END_STREAM) -> Check:
    def send(connection: Connection) -> None:
        post(EMPTY_MESSAGE, flags=0)(connection)
        connection.headers(1, list(made), END_HEADERS | flags)

    return send


def streams_beyond_the_limit(connection: Connection) -> None:
    opening = connection.until(lambda seen: seen.type == SETTINGS and not seen.flags & ACK)[-1].payload
    limits = dict(struct.unpack(">HI", opening[start : start + 6]) for start in range(0, len(opening), 6))
    connection.send(frame(SETTINGS, ACK))
    for number in range(limits[3] + 1):
        connection.call(1 + 2 * number)


def two_windows(connection: Connection) -> None:
    """The last value counts: with a window of 1 the body's first byte comes, and then no more."""
    connection.send(settings((INITIAL_WINDOW_SIZE, 100), (INITIAL_WINDOW_SIZE, 1)))
    connection.headers(1, PAGE, END_HEADERS | END_STREAM)


def one_byte(connection: Connection) -> None:
    found = connection.until(lambda seen: seen.type == DATA)
    assert len(found[-1].payload) == 1, found
    seen = connection.pong()
    assert not errors(seen) and not any(each.type == DATA and each.payload for each in seen), seen


def window_grows(connection: Connection) -> None:
    connection.send(settings((INITIAL_WINDOW_SIZE, 0)))
    connection.headers(1, PAGE, END_HEADERS | END_STREAM)
    assert not any(each.type == DATA and each.payload for each in connection.pong())
    connection.send(settings((INITIAL_WINDOW_SIZE, 1)))


def window_below_zero(connection: Connection) -> None:
    """3 bytes are allowed and sent; then the window is 1 below what was sent, so that of 2 more the first does nothing."""
    connection.send(settings((INITIAL_WINDOW_SIZE, 3)))
    connection.headers(1, PAGE, END_HEADERS | END_STREAM)
    connection.until(lambda seen: seen.type == DATA)
    connection.send(settings((INITIAL_WINDOW_SIZE, 2)))
    connection.pong()
    connection.send(update(1, 1))
    assert not any(each.type == DATA and each.payload for each in connection.pong())
    connection.send(update(1, 1))


OPENING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings()
UNKNOWN = frame(0xF0, 0xFF, 0, PADDING)
BIG = 64 << 10
HUFFMAN_A = b"\x1f"  # "a", 5 bits, and 3 of padding


def literal_value(encoded: bytes) -> bytes:
    """A field `x` whose value is Huffman-coded like this."""
    return b"\x00\x01x" + bytes([0x80 | len(encoded)]) + encoded


GENERIC = [
    Case("generic/1", "a connection preface", frames(), alive),
    Case("generic/2", "PRIORITY on an idle stream", frames(priority(0)), alive),
    Case("generic/2", "WINDOW_UPDATE on a half-closed stream", half_closed(update(1, 1000)), answered),
    Case("generic/2", "PRIORITY on a half-closed stream", half_closed(priority(0), update(1, 1000)), answered),
    Case("generic/2", "RST_STREAM on a half-closed stream", half_closed(frame(RST_STREAM, 0, 1, uint(8))), alive),
    Case("generic/2", "PRIORITY on a closed stream", after_end(lambda _: priority(0)), alive),
    Case("generic/3.1", "DATA", post(EMPTY_MESSAGE), answered),
    Case("generic/3.1", "many DATA frames", post(EMPTY_MESSAGE[:2], EMPTY_MESSAGE[2:]), answered),
    Case("generic/3.1", "DATA with padding",
         lambda c: (post()(c), c.data(1, b"\x08" + EMPTY_MESSAGE + PADDING, END_STREAM | PADDED)), answered),
    Case("generic/3.2", "HEADERS", fields(request()), answered),
    Case("generic/3.2", "HEADERS with padding", with_prefix(PADDED, b"\x08", PADDING), answered),
    Case("generic/3.2", "HEADERS with a priority", with_prefix(WITH_PRIORITY, uint(0) + b"\xff"), answered),
    Case("generic/3.3", "PRIORITY with weight 1", lambda c: (c.send(priority(0, 0)), c.get(1)), answered),
    Case("generic/3.3", "PRIORITY with weight 256", lambda c: (c.send(priority(0, 255)), c.get(1)), answered),
    Case("generic/3.3", "PRIORITY with a dependency", lambda c: (c.send(priority(3)), c.get(1)), answered),
    Case("generic/3.3", "PRIORITY, exclusive", lambda c: (c.send(priority(3, exclusive=True)), c.get(1)), answered),
    Case("generic/3.3", "PRIORITY of an idle stream, then HEADERS of a lower one",
         lambda c: (c.send(priority(0, stream=5)), c.get(1)), answered),
    Case("generic/3.4", "RST_STREAM", after_call(frame(RST_STREAM, 0, 1, uint(8))), alive),
    Case("generic/3.5", "SETTINGS", frames(settings((MAX_FRAME_SIZE, 16_384))), acknowledged),
    Case("generic/3.7", "PING", frames(frame(PING, payload=PADDING)), alive),
    Case("generic/3.8", "GOAWAY", lambda c: (c.get(1), c.send(frame(GOAWAY, payload=uint(0) + uint(0)))),
         lambda c: c.answer(1) and None),
    Case("generic/3.9", "WINDOW_UPDATE of the connection", frames(update(0, 1)), alive),
    Case("generic/3.9", "WINDOW_UPDATE of a stream", half_closed(update(1, 1000)), answered),
    Case("generic/3.10", "CONTINUATION", lambda c: split(c, parts=1), answered),
    Case("generic/3.10", "many CONTINUATION frames", lambda c: split(c, parts=4), answered),
    Case("generic/4", "GET", fields(request()), answered),
    Case("generic/4", "HEAD", fields(request("HEAD")), answered),
    Case("generic/4", "POST", post(EMPTY_MESSAGE), answered),
    Case("generic/4", "POST with trailers", trailers(("x-trailer", "1")), answered),
]

#: How a field may be written; each is sent behind the fields of a good request and means nothing.
VALUE, HUFFMAN_VALUE = b"\x01a", b"\x81" + HUFFMAN_A
FORMS = [("an indexed field", b"\x90")] + [
    (f"a literal that is {how}, {name}{coding}", first + value)
    for how, indexed, new in (("indexed", b"\x50", b"\x40"), ("not indexed", b"\x0f\x01", b"\x00"), ("never indexed", b"\x1f\x01", b"\x10"))
    for name, first in (("with an indexed name", indexed), ("with a new name", new + b"\x01x"))
    for value, coding in ((VALUE, ""), (HUFFMAN_VALUE, ", Huffman-coded"))
]


def table_sizes(*updates: bytes) -> Check:
    return lambda c: c.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, b"".join(updates) + c.block(request())))


GENERIC += [Case("generic/5", title, block(content), answered) for title, content in FORMS]
GENERIC += [
    Case("generic/5", "an update of the table's size", table_sizes(b"\x3f\xe1\x1f"), answered),
    Case("generic/5", "two updates of the table's size", table_sizes(b"\x20", b"\x3f\xe1\x1f"), answered),
]

HTTP2 = [
    Case("http2/3.5", "a connection preface", frames(), alive),
    Case("http2/3.5", "a preface that is none", frames(), lambda c: c.rest() and None, b"INVALID CONNECTION PREFACE\r\n\r\n"),
    Case("http2/4.1", "a frame of an unknown type", frames(UNKNOWN), alive),
    Case("http2/4.1", "undefined flags", frames(frame(PING, 0x16, payload=PADDING)), alive),
    Case("http2/4.1", "the reserved bit", frames(frame(PING, 0, 1 << 31, PADDING)), alive),
    Case("http2/4.2", "DATA of 16 KiB", after_call(frame(DATA, 0, 1, bytes(16_384))), alive),
    Case("http2/4.2", "DATA of more than MAX_FRAME_SIZE", after_call(frame(DATA, 0, 1, bytes(BIG + 1))), stream(FRAME_SIZE_ERROR)),
    Case("http2/4.2", "HEADERS of more than MAX_FRAME_SIZE", frames(frame(HEADERS, 5, 1, bytes(BIG + 1))),
         connection(FRAME_SIZE_ERROR)),
    Case("http2/4.3", "a header block that is none", frames(frame(HEADERS, 5, 1, b"\x00\x00\x00\x00\x00")),
         connection(COMPRESSION_ERROR, PROTOCOL_ERROR)),
    Case("http2/4.3", "PRIORITY amid a header block", unfinished(priority(0)), connection(PROTOCOL_ERROR)),
    Case("http2/4.3", "HEADERS of another stream amid a header block",
         unfinished(frame(HEADERS, 5, 3, b"\x82\x86\x84")), connection(PROTOCOL_ERROR)),
    Case("http2/5.1", "idle: DATA", frames(frame(DATA, 1, 1, b"x")), connection(PROTOCOL_ERROR)),
    Case("http2/5.1", "idle: RST_STREAM", frames(frame(RST_STREAM, 0, 1, uint(8))), connection(PROTOCOL_ERROR)),
    Case("http2/5.1", "idle: WINDOW_UPDATE", frames(update(1, 100)), connection(PROTOCOL_ERROR)),
    Case("http2/5.1", "idle: CONTINUATION", frames(frame(CONTINUATION, 4, 1, b"\x82")), connection(PROTOCOL_ERROR)),
    Case("http2/5.1", "half-closed: DATA", half_closed(frame(DATA, 1, 1, b"x")), stream(STREAM_CLOSED)),
    Case("http2/5.1", "half-closed: HEADERS",
         lambda c: (half_closed()(c), c.headers(1, [("x", "y")], END_HEADERS | END_STREAM)), stream(STREAM_CLOSED)),
    Case("http2/5.1", "half-closed: CONTINUATION", half_closed(frame(CONTINUATION, 4, 1, b"\x82")),
         connection(STREAM_CLOSED, PROTOCOL_ERROR)),
    Case("http2/5.1", "closed by a reset: DATA", after_reset(lambda _: frame(DATA, 1, 1, b"x")), alive),
    Case("http2/5.1", "closed by a reset: HEADERS",
         after_reset(lambda c: frame(HEADERS, 5, 1, c.block([("x", "y")]))), alive),
    Case("http2/5.1", "closed by a reset: CONTINUATION", after_reset(lambda _: frame(CONTINUATION, 4, 1, b"\x82")),
         connection(STREAM_CLOSED, PROTOCOL_ERROR)),
    Case("http2/5.1", "closed: DATA", after_end(lambda _: frame(DATA, 1, 1, b"x")), alive),
    Case("http2/5.1", "closed: HEADERS", after_end(lambda c: frame(HEADERS, 5, 1, c.block(request()))), alive),
    Case("http2/5.1", "closed: CONTINUATION", after_end(lambda _: frame(CONTINUATION, 4, 1, b"\x82")),
         connection(STREAM_CLOSED, PROTOCOL_ERROR)),
    Case("http2/5.1.1", "an even stream identifier", lambda c: c.get(2), connection(PROTOCOL_ERROR)),
    Case("http2/5.1.1", "an identifier below the last", lambda c: (c.get(5), c.get(3)), connection(PROTOCOL_ERROR)),
    Case("http2/5.1.2", "more streams than MAX_CONCURRENT_STREAMS", streams_beyond_the_limit, stream(PROTOCOL_ERROR, REFUSED_STREAM)),
    Case("http2/5.3.1", "HEADERS that depend on themselves", with_prefix(WITH_PRIORITY, uint(1) + b"\xff"), stream(PROTOCOL_ERROR)),
    Case("http2/5.3.1", "PRIORITY that depends on itself", frames(priority(1)), stream(PROTOCOL_ERROR)),
    Case("http2/5.4.1", "a PING that is none ends the connection", frames(frame(PING, payload=b"short")), connection(FRAME_SIZE_ERROR)),
    Case("http2/5.5", "a frame of an extension", frames(UNKNOWN), alive),
    Case("http2/5.5", "a frame of an extension amid a header block", unfinished(UNKNOWN), connection(PROTOCOL_ERROR)),
    Case("http2/6.1", "DATA of stream 0", frames(frame(DATA, 1, 0, b"x")), connection(PROTOCOL_ERROR)),
    Case("http2/6.1", "DATA of a stream that is not open", half_closed(frame(DATA, 1, 1, b"x")), stream(STREAM_CLOSED)),
    Case("http2/6.1", "DATA with more padding than payload", after_call(frame(DATA, PADDED | 1, 1, b"\x06test")),
         connection(PROTOCOL_ERROR)),
    Case("http2/6.2", "HEADERS without END_HEADERS, then PRIORITY", unfinished(priority(0)), connection(PROTOCOL_ERROR)),
    Case("http2/6.2", "HEADERS without END_HEADERS, then HEADERS of another stream",
         unfinished(frame(HEADERS, 5, 3, b"\x82\x86\x84")), connection(PROTOCOL_ERROR)),
    Case("http2/6.2", "HEADERS of stream 0", lambda c: c.get(0), connection(PROTOCOL_ERROR)),
    Case("http2/6.2", "HEADERS with more padding than payload", frames(frame(HEADERS, PADDED | 5, 1, b"\x0f\x82\x86")),
         connection(PROTOCOL_ERROR)),
    Case("http2/6.3", "PRIORITY of stream 0", frames(priority(1, stream=0)), connection(PROTOCOL_ERROR)),
    Case("http2/6.3", "PRIORITY of a wrong length", frames(frame(PRIORITY, 0, 1, b"\x80\0\0\1")), stream(FRAME_SIZE_ERROR)),
    Case("http2/6.4", "RST_STREAM of stream 0", frames(frame(RST_STREAM, 0, 0, uint(8))), connection(PROTOCOL_ERROR)),
    Case("http2/6.4", "RST_STREAM of an idle stream", frames(frame(RST_STREAM, 0, 1, uint(8))), connection(PROTOCOL_ERROR)),
    Case("http2/6.4", "RST_STREAM of a wrong length", after_call(frame(RST_STREAM, 0, 1, b"\0\0\0")), connection(FRAME_SIZE_ERROR)),
    Case("http2/6.5", "SETTINGS with ACK and a payload", frames(frame(SETTINGS, ACK, 0, bytes(6))), connection(FRAME_SIZE_ERROR)),
    Case("http2/6.5", "SETTINGS of a stream", frames(frame(SETTINGS, 0, 1, bytes(6))), connection(PROTOCOL_ERROR)),
    Case("http2/6.5", "SETTINGS of a wrong length", frames(frame(SETTINGS, 0, 0, bytes(3))), connection(FRAME_SIZE_ERROR)),
    Case("http2/6.5.2", "ENABLE_PUSH of 2", frames(settings((ENABLE_PUSH, 2))), connection(PROTOCOL_ERROR)),
    Case("http2/6.5.2", "INITIAL_WINDOW_SIZE of 2^31", frames(settings((INITIAL_WINDOW_SIZE, 1 << 31))), connection(FLOW_CONTROL_ERROR)),
    Case("http2/6.5.2", "MAX_FRAME_SIZE below 16 KiB", frames(settings((MAX_FRAME_SIZE, 16_383))), connection(PROTOCOL_ERROR)),
    Case("http2/6.5.2", "MAX_FRAME_SIZE of 16 MiB", frames(settings((MAX_FRAME_SIZE, 1 << 24))), connection(PROTOCOL_ERROR)),
    Case("http2/6.5.2", "an unknown setting", frames(settings((0xFF, 1))), acknowledged),
    Case("http2/6.5.3", "a setting twice", two_windows, one_byte),
    Case("http2/6.5.3", "SETTINGS are acknowledged", frames(settings()), acknowledged),
    Case("http2/6.7", "PING", frames(frame(PING, payload=b"h2spec\0\0")), alive),
    Case("http2/6.7", "PING with ACK", frames(frame(PING, ACK, payload=b"invalid\0")), not_answered),
    Case("http2/6.7", "PING of a stream", frames(frame(PING, 0, 1, PADDING)), connection(PROTOCOL_ERROR)),
    Case("http2/6.7", "PING of a wrong length", frames(frame(PING, payload=b"\0" * 6)), connection(FRAME_SIZE_ERROR)),
    Case("http2/6.8", "GOAWAY of a stream", frames(frame(GOAWAY, 0, 1, bytes(8))), connection(PROTOCOL_ERROR)),
    Case("http2/6.9", "WINDOW_UPDATE by 0", frames(update(0, 0)), connection(PROTOCOL_ERROR)),
    Case("http2/6.9", "WINDOW_UPDATE by 0 of a stream", after_call(update(1, 0)), stream(PROTOCOL_ERROR)),
    Case("http2/6.9", "WINDOW_UPDATE of a wrong length", frames(frame(WINDOW_UPDATE, 0, 0, b"\0\0\1")), connection(FRAME_SIZE_ERROR)),
    Case("http2/6.9.1", "a window of 1", two_windows, one_byte),
    Case("http2/6.9.1", "a connection's window beyond 2^31-1", frames(update(0, WINDOW_MAX), update(0, WINDOW_MAX)),
         connection(FLOW_CONTROL_ERROR)),
    Case("http2/6.9.1", "a stream's window beyond 2^31-1", after_call(update(1, WINDOW_MAX), update(1, WINDOW_MAX)),
         stream(FLOW_CONTROL_ERROR)),
    Case("http2/6.9.2", "INITIAL_WINDOW_SIZE changes an open stream's window", window_grows, one_byte),
    Case("http2/6.9.2", "a window below 0", window_below_zero, one_byte),
    Case("http2/6.9.2", "INITIAL_WINDOW_SIZE beyond 2^31-1", frames(settings((INITIAL_WINDOW_SIZE, 1 << 31))),
         connection(FLOW_CONTROL_ERROR)),
    Case("http2/6.10", "CONTINUATION after CONTINUATION", lambda c: split(c, parts=3), answered),
    Case("http2/6.10", "another frame instead of CONTINUATION", unfinished(frame(DATA, 1, 1, b"x")), connection(PROTOCOL_ERROR)),
    Case("http2/6.10", "CONTINUATION of stream 0", unfinished(frame(CONTINUATION, 4, 0, b"\x82")), connection(PROTOCOL_ERROR)),
    Case("http2/6.10", "CONTINUATION after END_HEADERS", lambda c: (c.call(1), c.send(frame(CONTINUATION, 4, 1, b"\x82"))),
         connection(PROTOCOL_ERROR)),
    Case("http2/6.10", "CONTINUATION after a CONTINUATION with END_HEADERS",
         lambda c: (split(c, parts=1), c.send(frame(CONTINUATION, 4, 1, b"\x82"))), connection(PROTOCOL_ERROR)),
    Case("http2/6.10", "CONTINUATION after DATA", after_call(frame(DATA, 0, 1, b"x"), frame(CONTINUATION, 4, 1, b"\x82")),
         connection(PROTOCOL_ERROR)),
    Case("http2/7", "GOAWAY with an unknown code", frames(frame(GOAWAY, payload=uint(0) + uint(0xFF))),
         ends_or_lives),
    Case("http2/7", "RST_STREAM with an unknown code", after_call(frame(RST_STREAM, 0, 1, uint(0xFF))), alive),
    Case("http2/8.1", "a second HEADERS without END_STREAM", trailers(("x-trailer", "1"), flags=0), stream(PROTOCOL_ERROR)),
    Case("http2/8.1.2", "a field name in upper case",
         lambda c: c.send(frame(HEADERS, 5, 1, c.block(request()) + b"\x00\x01X\x01a")), stream(PROTOCOL_ERROR)),
    Case("http2/8.1.2.1", "an unknown pseudo-header field", fields([*request(), (":test", "ok")]), stream(PROTOCOL_ERROR)),
    Case("http2/8.1.2.1", "the pseudo-header field of an answer", fields([*request(), (":status", "200")]), stream(PROTOCOL_ERROR)),
    Case("http2/8.1.2.1", "a pseudo-header field in trailers", trailers((":method", "POST")), stream(PROTOCOL_ERROR)),
    Case("http2/8.1.2.1", "a pseudo-header field behind others", fields([*request()[:3], ("x", "y"), request()[3]]),
         stream(PROTOCOL_ERROR)),
    Case("http2/8.1.2.2", "a field of the connection", fields([*request(), ("connection", "keep-alive")]), stream(PROTOCOL_ERROR)),
    Case("http2/8.1.2.2", "TE with more than trailers", fields([*request(), ("te", "trailers, deflate")]), stream(PROTOCOL_ERROR)),
    Case("http2/8.1.2.3", "an empty :path", changed(":path", (":path", "")), stream(PROTOCOL_ERROR)),
    Case("http2/8.1.2.3", "no :method", changed(":method"), stream(PROTOCOL_ERROR)),
    Case("http2/8.1.2.3", "no :scheme", changed(":scheme"), stream(PROTOCOL_ERROR)),
    Case("http2/8.1.2.3", "no :path", changed(":path"), stream(PROTOCOL_ERROR)),
    Case("http2/8.1.2.3", ":method twice", changed(":method", (":method", "GET"), (":method", "GET")), stream(PROTOCOL_ERROR)),
    Case("http2/8.1.2.3", ":scheme twice", changed(":scheme", (":scheme", "http"), (":scheme", "http")), stream(PROTOCOL_ERROR)),
    Case("http2/8.1.2.3", ":path twice", changed(":path", (":path", "/"), (":path", "/")), stream(PROTOCOL_ERROR)),
    Case("http2/8.1.2.6", "a content-length that is not DATA's", post(EMPTY_MESSAGE, extra=[("content-length", "1")]),
         stream(PROTOCOL_ERROR)),
    Case("http2/8.1.2.6", "a content-length that is not that of all DATA",
         post(EMPTY_MESSAGE, EMPTY_MESSAGE, extra=[("content-length", "5")]), stream(PROTOCOL_ERROR)),
    Case("http2/8.2", "PUSH_PROMISE", lambda c: c.send(frame(PUSH_PROMISE, 4, 1, uint(2) + c.block(request()))),
         connection(PROTOCOL_ERROR)),
]  # fmt: skip

HPACK = [
    Case("hpack/2.3.3", "an index beyond the table", block(b"\xff\x7f"), connection(COMPRESSION_ERROR)),
    Case("hpack/2.3.3", "a literal whose name's index is beyond the table", block(b"\x7f\xff\x01\x01a"), connection(COMPRESSION_ERROR)),
    Case("hpack/4.2", "an update of the table's size behind fields", block(b"\x21"), connection(COMPRESSION_ERROR)),
    Case("hpack/5.2", "Huffman padding of more than 7 bits", block(literal_value(HUFFMAN_A + b"\xff")), connection(COMPRESSION_ERROR)),
    Case("hpack/5.2", "Huffman padding of zeros", block(literal_value(b"\x18")), connection(COMPRESSION_ERROR)),
    Case("hpack/5.2", "Huffman code with the end of string in it", block(literal_value(b"\x1f\xff\xff\xff\xff")),
         connection(COMPRESSION_ERROR)),
    Case("hpack/6.1", "index 0", block(b"\x80"), connection(COMPRESSION_ERROR)),
    Case("hpack/6.3", "a table larger than HEADER_TABLE_SIZE",
         lambda c: c.send(frame(HEADERS, 5, 1, b"\x3f\xe2\x1f" + c.block(request()))), connection(COMPRESSION_ERROR)),
]  # fmt: skip


CASES = GENERIC + HTTP2 + HPACK
