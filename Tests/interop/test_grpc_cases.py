# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: gRPC's own interoperability cases, as far as this contract has calls for them.
"""docs/grpc.md has the list of the cases, with the tests that stand for them and those that do not apply."""

from __future__ import annotations

import contextlib
import gzip
import socket
import struct
import threading
from types import SimpleNamespace
from typing import Any, Iterator

import grpc
import pytest

import http2
from broker import Endpoint
from grpc_client import CALL_SECONDS, Client, status_of


@pytest.fixture
def client(endpoint: Endpoint, api: Any) -> Iterator[Client]:
    opened = Client(endpoint, api)
    yield opened
    opened.channel.close()


def test_empty_unary(client: Client) -> None:
    assert client.api.ListTopicsRequest().ByteSize() == 0
    client.admin.ListTopics(client.api.ListTopicsRequest(), timeout=CALL_SECONDS)


def test_large_unary(client: Client, topic: str) -> None:
    payload = bytes(271_828)
    client.publish(topic, payload)
    (response,) = client.subscribe(topic, until_end=True)
    assert response.batches[0].records[0].value == payload


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_client_streaming(client: Client, topic: str, compression: grpc.Compression) -> None:
    client.create(topic)
    sizes = [27_182, 8, 1828, 45_904]
    requests = (
        client.api.PublishStreamRequest(topic=topic, records=[client.api.PublishRecord(value=bytes(size))])
        for size in sizes
    )
    answers = list(client.streams.PublishStream(requests, timeout=CALL_SECONDS, compression=compression))
    assert sum(len(answer.results) for answer in answers) == 4
    assert [len(record.value) for record in client.records(topic)] == sizes


def test_messages_of_one_call_are_compressed_or_not_each_by_itself(plaintext: Endpoint, client: Client, topic: str) -> None:
    """client_compressed_streaming: a compressed message, and then one that is not, in one call."""
    client.create(topic)
    with http2.Connection(plaintext) as connection:
        connection.headers(1, http2.grpc_request("/martlet.v1.Streams/PublishStream") + [("grpc-encoding", "gzip")])
        for size, is_compressed in ((27_182, True), (45_904, False)):
            request = client.api.PublishStreamRequest(topic=topic, records=[client.api.PublishRecord(value=bytes(size))])
            message = request.SerializeToString()
            if is_compressed:
                message = gzip.compress(message)
            framed = struct.pack(">?I", is_compressed, len(message)) + message
            for start in range(0, len(framed), 16_384):
                connection.data(1, framed[start : start + 16_384])
        connection.data(1, flags=http2.END_STREAM)
        assert connection.answer(1)["grpc-status"] == "0"
    assert [len(record.value) for record in client.records(topic)] == [27_182, 45_904]


def test_a_compressed_message_of_a_call_that_names_no_compression_is_refused(plaintext: Endpoint) -> None:
    with http2.Connection(plaintext) as connection:
        connection.headers(1, http2.grpc_request("/martlet.v1.Admin/ListTopics"))
        message = gzip.compress(b"")
        connection.data(1, struct.pack(">?I", True, len(message)) + message, flags=http2.END_STREAM)
        assert connection.answer(1)["grpc-status"] == "13"


def test_custom_metadata(client: Client, topic: str) -> None:
    """No service here has anything to answer it with; it is taken, whatever it holds, and disturbs nothing."""
    metadata = (
        ("x-grpc-test-echo-initial", "test_initial_metadata_value"),
        ("x-grpc-test-echo-trailing-bin", b"\xab\xab\xab"),
        ("x-long-bin", bytes(range(256)) * 12),
        ("x-twice", "one"), ("x-twice", "two"),
    )  # fmt: skip
    client.create(topic)
    request = client.api.PublishRequest(topic=topic, records=[client.api.PublishRecord(value=b"x")])
    _, unary = client.streams.Publish.with_call(request, metadata=metadata, timeout=CALL_SECONDS)
    stream = client.streams.Subscribe(
        client.api.SubscribeRequest(
            topics=[client.api.TopicSelection(topic=topic)], origin=client.api.ORIGIN_EARLIEST, until_end=True
        ), metadata=metadata, timeout=CALL_SECONDS,
    )  # fmt: skip
    assert len(list(stream)) == 1
    for call in (unary, stream):
        assert call.code() == grpc.StatusCode.OK
        answered = {key for key, _ in (*call.initial_metadata(), *call.trailing_metadata())}
        assert not any(key.startswith("x-") for key in answered)


def test_client_compressed_unary(client: Client, topic: str) -> None:
    request = client.api.PublishRequest(topic=topic, records=[client.api.PublishRecord(value=bytes(271_828))])
    client.streams.Publish(request, timeout=CALL_SECONDS, compression=grpc.Compression.Gzip)
    assert len(client.records(topic)[0].value) == 271_828


class CountingProxy:
    """Passes one connection after the other on to the broker, and counts what comes back."""

    def __init__(self, address: str):
        host, port = address.rsplit(":", 1)
        self.target = (host.strip("[]"), int(port))
        self.received = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(self.target)
            threading.Thread(target=self.copy, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self.copy, args=(server, client, True), daemon=True).start()

    def copy(self, source: socket.socket, target: socket.socket, counts: bool) -> None:
        try:
            while data := source.recv(65536):
                if counts:
                    self.received += len(data)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass


@pytest.fixture
def counted(plaintext: Endpoint, api: Any) -> Iterator[tuple[CountingProxy, Client]]:
    proxy = CountingProxy(plaintext.address)
    endpoint = SimpleNamespace(grpc_channel=lambda options=(): grpc.insecure_channel(proxy.address, options))
    opened = Client(endpoint, api)  # type: ignore[arg-type]
    yield proxy, opened
    opened.channel.close()
    proxy.listener.close()


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_server_compressed_streaming(
    counted: tuple[CountingProxy, Client], topic: str, compression: grpc.Compression
) -> None:
    proxy, client = counted
    sizes = [31_415, 92_653]
    for size in sizes:
        client.publish(topic, bytes(size))
    before = proxy.received
    request = client.api.SubscribeRequest(
        topics=[client.api.TopicSelection(topic=topic)], origin=client.api.ORIGIN_EARLIEST, until_end=True,
        max_records_per_message=1,
    )  # fmt: skip
    responses = list(client.streams.Subscribe(request, timeout=CALL_SECONDS, compression=compression))
    assert [len(response.batches[0].records[0].value) for response in responses] == sizes
    assert (proxy.received - before < 10_000) == (compression == grpc.Compression.Gzip)


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_server_compressed_unary(counted: tuple[CountingProxy, Client], compression: grpc.Compression) -> None:
    proxy, client = counted
    name = "of-the-compressed-case-" + "x" * 200
    for number in range(20):
        with contextlib.suppress(grpc.RpcError):
            client.create(f"{name}-{number}")
    before = proxy.received
    answer = client.admin.ListTopics(client.api.ListTopicsRequest(), timeout=CALL_SECONDS, compression=compression)
    assert sum(topic.name.startswith(name) for topic in answer.topics) == 20
    # The broker has topics of other tests too, with names that compress less.
    assert (proxy.received - before < answer.ByteSize()) == (compression == grpc.Compression.Gzip)


def test_server_streaming(client: Client, topic: str) -> None:
    sizes = [31_415, 9, 2653, 58_979]
    for size in sizes:
        client.publish(topic, bytes(size))
    responses = client.subscribe(topic, until_end=True, max_records_per_message=1)
    assert [len(response.batches[0].records[0].value) for response in responses] == sizes


def test_empty_stream(client: Client) -> None:
    assert list(client.streams.PublishStream(iter(()), timeout=CALL_SECONDS)) == []


def test_cancel_after_begin(client: Client) -> None:
    hold = threading.Event()

    def nothing() -> Iterator[Any]:
        hold.wait(CALL_SECONDS)
        yield from ()

    call = client.streams.PublishStream(nothing(), timeout=CALL_SECONDS)
    call.cancel()
    hold.set()
    with pytest.raises(grpc.RpcError):
        list(call)
    assert call.code() == grpc.StatusCode.CANCELLED


def test_cancel_after_first_response(client: Client, topic: str) -> None:
    client.publish(topic, b"first")
    call = client.subscribe(topic)
    assert next(call).batches[0].records[0].value == b"first"
    call.cancel()
    with pytest.raises(grpc.RpcError):
        list(call)
    assert call.code() == grpc.StatusCode.CANCELLED
    # The channel is as good as before.
    client.publish(topic, b"second")


def test_timeout_on_a_server_that_has_nothing_to_say(client: Client, topic: str) -> None:
    client.create(topic)
    code, _ = status_of(lambda: client.subscribe(topic, seconds=0.001))
    assert code == grpc.StatusCode.DEADLINE_EXCEEDED


def test_status_code_and_special_message(client: Client) -> None:
    name = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n"
    for call, expected in (
        (lambda: client.publish(name, b"x"), grpc.StatusCode.INVALID_ARGUMENT),
        (lambda: client.subscribe(name), grpc.StatusCode.NOT_FOUND),
    ):
        code, details = status_of(call)
        assert code == expected
        assert name in details


def test_soak_of_calls_and_of_channels(endpoint: Endpoint, api: Any, topic: str) -> None:
    """rpc_soak, and channel_soak: a channel for each call."""
    opened = Client(endpoint, api)
    opened.create(topic)
    for _ in range(500):
        opened.publish(topic, bytes(271))
    opened.channel.close()
    for _ in range(20):
        other = Client(endpoint, api, (("grpc.use_local_subchannel_pool", 1),))
        other.publish(topic, bytes(271_828))
        other.channel.close()
    assert len(Client(endpoint, api).records(topic)) == 520


@pytest.mark.parametrize("path", ["/martlet.v1.Streams/UnimplementedCall", "/martlet.v1.UnimplementedService/Publish"])
def test_unimplemented(client: Client, path: str) -> None:
    call = client.channel.unary_unary(path, lambda message: message, lambda message: message)
    assert status_of(lambda: call(b"", timeout=CALL_SECONDS))[0] == grpc.StatusCode.UNIMPLEMENTED


def test_an_unsupported_compression_is_unimplemented(client: Client) -> None:
    request = client.api.ListTopicsRequest()
    code, _ = status_of(
        lambda: client.admin.ListTopics(request, timeout=CALL_SECONDS, compression=grpc.Compression.Deflate)
    )
    assert code == grpc.StatusCode.UNIMPLEMENTED
