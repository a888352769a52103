# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: Connect and gRPC-Web by the letter of their specifications, and HTTP/1.1 as far as they lean on it.
"""What no client library sends, and what each protocol says must be answered to it."""

from __future__ import annotations

import base64
import http.client
import json
import socket
from contextlib import closing
from typing import Any, Iterator, Sequence

import pytest

from broker import Broker, Endpoint
from grpc_client import Client
from test_web import JSON, curl, frame, frames

PUBLISH, SUBSCRIBE = "/martlet.v1.Streams/Publish", "/martlet.v1.Streams/Subscribe"
HTTP2 = pytest.mark.parametrize("http2", [False, True], ids=["HTTP/1.1", "HTTP/2"])


def split(answer: bytes) -> tuple[dict[str, str], bytes]:
    """Fields and body of an answer that was asked for with --include."""
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")[1:]
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}, body


def fields(*pairs: tuple[str, str]) -> list[str]:
    return ["--include"] + [word for name, value in pairs for word in ("--header", f"{name}: {value}")]


CONNECT_ERRORS = [
    (("content-encoding", "br"), "unimplemented", 501, "identity"),
    (("content-encoding", "gzip"), "unimplemented", 501, "identity"),
    (("connect-timeout-ms", "-1"), "invalid_argument", 400, None),
    (("connect-timeout-ms", "+1"), "invalid_argument", 400, None),
    (("connect-timeout-ms", "soon"), "invalid_argument", 400, None),
    (("connect-timeout-ms", "12345678901"), "invalid_argument", 400, None),
]


@HTTP2
@pytest.mark.parametrize(("field", "code", "status", "accepts"), CONNECT_ERRORS, ids=lambda value: str(value))
def test_connect_says_what_is_wrong_with_its_headers_as_a_call_would(
    plaintext: Endpoint, field: tuple[str, str], code: str, status: int, accepts: str | None, http2: bool
) -> None:
    """A unary call has an HTTP status; a stream has 200 and the error in its end."""
    json_type = ("content-type", "application/json")
    found, answer = curl(plaintext, "/martlet.v1.Admin/ListTopics", *fields(json_type, field), body=b"{}", http2=http2)
    seen, body = split(answer)
    assert found == status and seen["content-type"] == "application/json"
    assert json.loads(body)["code"] == code
    if accepts:
        assert seen["accept-encoding"] == accepts
        field = ("connect-content-encoding", field[1])
    stream_type = ("content-type", "application/connect+json")
    found, answer = curl(plaintext, SUBSCRIBE, *fields(stream_type, field), body=frame(b"{}"), http2=http2)
    seen, body = split(answer)
    assert found == 200 and seen["content-type"] == "application/connect+json"
    ((flags, end),) = frames(body)
    assert flags == 2 and json.loads(end)["error"]["code"] == code
    if accepts:
        assert seen["connect-accept-encoding"] == accepts


@HTTP2
def test_connects_deadlines(plaintext: Endpoint, topic: str, api: Any, http2: bool) -> None:
    client = Client(plaintext, api)
    client.create(topic)
    client.channel.close()
    request = frame(json.dumps({"topics": [{"topic": topic}]}).encode())
    for timeout in ("0", "1", "0000000050"):
        more = fields(("content-type", "application/connect+json"), ("connect-timeout-ms", timeout))
        found, answer = curl(plaintext, SUBSCRIBE, *more, body=request, http2=http2)
        *_, (flags, end) = frames(split(answer)[1])
        assert (found, flags, json.loads(end)["error"]["code"]) == (200, 2, "deadline_exceeded")
    more = fields(("content-type", "application/json"), ("connect-timeout-ms", "9999999999"))
    assert curl(plaintext, "/martlet.v1.Admin/ListTopics", *more, body=b"{}", http2=http2)[0] == 200


@HTTP2
def test_connects_envelopes(plaintext: Endpoint, topic: str, http2: bool) -> None:
    """One request message, whole and as it is; anything else is told in the end of the stream."""
    request = json.dumps({"topics": [{"topic": topic}]}).encode()
    packed = b"\1" + frame(request)[1:]
    for body, code in (
        (frame(request) * 2, "unimplemented"), (b"", "unimplemented"), (frame(request)[:-1], "invalid_argument"),
        (packed, "unimplemented"), (b"\2" + frame(b"{}")[1:], "internal"), (frame(b"{"), "invalid_argument"),
        (frame(b'{"tropic":1}'), "invalid_argument"),
    ):  # fmt: skip
        more = fields(("content-type", "application/connect+json; charset=utf-8"))
        found, answer = curl(plaintext, SUBSCRIBE, *more, body=body, http2=http2)
        ((flags, end),) = frames(split(answer)[1])
        assert (found, flags, json.loads(end)["error"]["code"]) == (200, 2, code), body


def test_content_types_of_others_are_415(plaintext: Endpoint) -> None:
    """Over HTTP/1.1: curl 7 takes an answer that comes before the end of its request for a broken stream of HTTP/2."""
    for path, kind in (
        (SUBSCRIBE, "application/json"), (PUBLISH, "application/connect+proto"), (PUBLISH, "application/xml"),
        (PUBLISH, "application/grpc-web+thrift"),
    ):  # fmt: skip
        assert curl(plaintext, path, "--header", f"content-type: {kind}", body=b"{}")[0] == 415
    assert curl(plaintext, "/martlet.v1.Admin/Nothing", *JSON, body=b"{}")[0] == 404


@HTTP2
def test_methods_are_posted(plaintext: Endpoint, http2: bool) -> None:
    """None of them is without side effects, so there is no GET over Connect; and HEAD has no body."""
    for method in ("GET", "PUT", "DELETE"):
        found, answer = curl(plaintext, PUBLISH, "--request", method, "--include", http2=http2)
        assert found == 405 and "POST" in split(answer)[0]["allow"]
    for path in (PUBLISH, "/v1/topics/some/events", "/v1/topics/some/records"):
        found, answer = curl(plaintext, path, "--head", http2=http2)
        assert found == 405 and split(answer)[0]["allow"]


@HTTP2
@pytest.mark.parametrize("text", [False, True], ids=["binary", "text"])
def test_grpc_web_says_what_is_wrong_with_its_headers_in_its_trailers(plaintext: Endpoint, http2: bool, text: bool) -> None:
    kind = "application/grpc-web-text" if text else "application/grpc-web+proto"
    message = base64.b64encode(frame(b"")) if text else frame(b"")
    for field, code in (
        (("grpc-encoding", "br"), 12), (("grpc-timeout", "1"), 3), (("grpc-timeout", "-1S"), 3),
        (("grpc-timeout", "123456789S"), 3),
    ):  # fmt: skip
        more = fields(("content-type", kind), field)
        found, answer = curl(plaintext, "/martlet.v1.Admin/ListTopics", *more, body=message, http2=http2)
        seen, body = split(answer)
        assert found == 200 and "gzip" in seen["grpc-accept-encoding"]
        ((flags, trailers),) = frames(base64.b64decode(body) if text else body)
        assert flags == 0x80 and f"grpc-status: {code}\r\n".encode() in trailers


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7])
def test_grpc_web_as_text_may_be_cut_anywhere(plaintext: Endpoint, topic: str, api: Any, size: int) -> None:
    """In chunks of a few characters, and encoded in parts with padding of their own."""
    message = frame(api.PublishRequest(topic=topic, records=[api.PublishRecord(value=b"x")]).SerializeToString())
    parts = [message] if size % 2 else [message[:7], message[7:]]
    body = b"".join(base64.b64encode(part) for part in parts)
    with closing(http.client.HTTPConnection(plaintext.address, timeout=20)) as connection:
        connection.request("POST", PUBLISH, pieces(body, size), {"Content-Type": "Application/GRPC-Web-Text"}, encode_chunked=True)
        answer = connection.getresponse()
        read = answer.read()
        whole = b"".join(base64.b64decode(read[at : at + 4]) for at in range(0, len(read), 4))
        assert answer.status == 200 and b"grpc-status: 0" in whole


def exchange(endpoint: Endpoint, *parts: bytes) -> Sequence[bytes]:
    """What is answered to each of these, as soon as there is something."""
    host, port = endpoint.address.rsplit(":", 1)
    answers = []
    with socket.create_connection((host.strip("[]"), int(port)), timeout=20) as connection:
        for part in parts:
            connection.sendall(part)
            answers.append(connection.recv(65536))
    return answers


def test_a_head_request_leaves_the_connection_as_it_should_be(plaintext: Endpoint) -> None:
    """A body after the answer to HEAD would be taken for the next answer."""
    host = f"host: {plaintext.address}\r\n\r\n".encode()
    first, second = exchange(
        plaintext, b"HEAD /v1/topics/some/events HTTP/1.1\r\n" + host, b"GET /healthz HTTP/1.1\r\n" + host)  # fmt: skip
    assert first.startswith(b"HTTP/1.1 405") and first.endswith(b"\r\n\r\n")
    assert second.startswith(b"HTTP/1.1 200")


def test_who_asks_first_is_told_to_go_on(plaintext: Endpoint, topic: str) -> None:
    """Expect: 100-continue, which curl sends with a large body, and then waits for a second."""
    body = b'{"records":[{"value":"x"}]}'
    head = (
        f"POST /v1/topics/{topic}/records HTTP/1.1\r\nhost: {plaintext.address}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\nexpect: 100-continue\r\n\r\n"
    ).encode()
    first, second = exchange(plaintext, head, body)
    assert first == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert second.startswith(b"HTTP/1.1 200")
    # What is refused already is not asked for.
    (refused,) = exchange(plaintext, head.replace(b"application/json", b"text/plain"))
    assert refused.startswith(b"HTTP/1.1 415")


def test_preflights_allow_what_the_protocols_send(start_broker: Any) -> None:
    own: Broker = start_broker(arguments=["--cors-allowed-origins", "https://app.example"])
    more = fields(
        ("origin", "https://app.example"), ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type,connect-protocol-version"))  # fmt: skip
    for path in (PUBLISH, SUBSCRIBE, "/v1/topics/t/records"):
        found, answer = curl(Endpoint(own, tls=False), path, "--request", "OPTIONS", *more)
        allowed = split(answer)[0]["access-control-allow-headers"].split(", ")
        wanted = {"content-type", "connect-protocol-version", "connect-timeout-ms", "grpc-timeout", "x-grpc-web", "x-user-agent"}
        assert found == 204 and wanted <= set(allowed)
