# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: HTTP connections that nobody uses.
"""`connections.max.idle.ms` over HTTP/2 and HTTP/1.1; over Kafka's protocol it is a unit test's."""

from __future__ import annotations

import socket
import time
from typing import Any, Callable

import http2
from broker import Broker, Endpoint
from grpc_client import CALL_SECONDS, Client

IDLE = ["--connections-max-idle-ms", "1000"]


def test_an_http2_connection_without_streams_is_told_to_go_and_closed(start_broker: Callable[..., Broker]) -> None:
    own = start_broker(arguments=IDLE)
    for tls in (False, True):
        with http2.Connection(Endpoint(own, tls=tls)) as connection:
            began = time.monotonic()
            connection.headers(1, http2.grpc_request("/martlet.v1.Admin/ListTopics"))
            connection.data(1, b"\0" * 5, flags=http2.END_STREAM)
            assert connection.answer(1)["grpc-status"] == "0"
            seen = connection.rest()
            goaways = [each for each in seen if each.type == http2.GOAWAY]
            assert goaways and all(each.error == http2.NO_ERROR for each in goaways)
            assert time.monotonic() - began >= 1


def test_streams_keep_a_connection_and_calls_go_on_over_another_one(
    start_broker: Callable[..., Broker], api: Any, topic: str
) -> None:
    own = start_broker(arguments=IDLE)
    client = Client(Endpoint(own, tls=False), api)
    client.create(topic)
    call = client.subscribe(topic, progress_interval_ms=100)
    began = time.monotonic()
    for _ in call:
        if time.monotonic() - began > 2.5:
            break
    call.cancel()
    # Longer than the time: GOAWAY comes meanwhile, and the client notices nothing of it.
    for _ in range(2):
        time.sleep(1.5)
        client.admin.ListTopics(api.ListTopicsRequest(), timeout=CALL_SECONDS)
    client.channel.close()


def test_an_http1_connection_is_closed_as_early(start_broker: Callable[..., Broker]) -> None:
    own = start_broker(arguments=IDLE)
    host, port = own.address.rsplit(":", 1)
    with socket.create_connection((host.strip("[]"), int(port)), timeout=20) as connection:
        connection.sendall(f"GET /healthz HTTP/1.1\r\nhost: {own.address}\r\n\r\n".encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        began = time.monotonic()
        assert connection.recv(1) == b""
        assert 0.9 < time.monotonic() - began < 15
