# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: gRPC's own interoperability cases, as far as this contract has calls for them.
"""empty_unary, large_unary, client_streaming, server_streaming, ping_pong (test_grpc_streams), empty_stream, cancel_after_begin,
cancel_after_first_response (test_grpc_streams), timeout_on_sleeping_server, status_code_and_message, special_status_message,
unimplemented_method, unimplemented_service, client_compressed_unary, client_compressed_streaming, server_compressed_unary and
server_compressed_streaming."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import SimpleNamespace
from typing import Any, Iterator

import grpc
import pytest

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


def test_timeout_on_a_server_that_has_nothing_to_say(client: Client, topic: str) -> None:
    client.create(topic)
    code, _ = status_of(lambda: client.subscribe(topic, seconds=0.001))
    assert code == grpc.StatusCode.DEADLINE_EXCEEDED


def test_status_code_and_special_message(client: Client) -> None:
    name = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n"
    code, details = status_of(lambda: client.publish(name, b"x"))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert name in details


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
