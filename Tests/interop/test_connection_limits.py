# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: limits of connections, as clients of every protocol meet them.
"""Loopback has many addresses: each test connects from those that it limits."""

from __future__ import annotations

import socket
import urllib.request
from typing import Any, Callable

import pytest

import protocol
from broker import Broker, wait_until
from test_quotas import alter
from wire import NONE, Wire, api_versions_request

ONE, OTHER, BARRED = "127.0.0.21", "127.0.0.22", "127.0.0.23"


def connect(own: Broker, address: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", own.port), timeout=20, source_address=(address, 0))


def is_served(connection: socket.socket) -> bool:
    """Whether ApiVersions is answered."""
    try:
        connection.sendall(api_versions_request())
        return len(connection.recv(4)) == 4
    except (ConnectionResetError, BrokenPipeError):
        return False


def limited(own: Broker, limit: str) -> float:
    with urllib.request.urlopen(f"http://{own.address}/metrics", timeout=20) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith(f'martlet_connections_limited_total{{limit="{limit}"}} '):
                return float(line.split()[1])
    raise AssertionError(f"no metric of {limit}")


def test_an_address_has_only_so_many_connections(start_broker: Callable[..., Broker]) -> None:
    own = start_broker(arguments=["--max-connections-per-ip", "3", "--max-connections-per-ip-overrides", f"{BARRED}:0,{ONE}:2"])
    first, second = connect(own, ONE), connect(own, ONE)
    assert is_served(first) and is_served(second)
    assert not is_served(connect(own, ONE))
    own.wait_log(rf"{ONE} already has 2 connections.*max\.connections\.per\.ip.*")
    assert all([is_served(connection) for connection in [connect(own, OTHER) for _ in range(3)]])
    assert not is_served(connect(own, BARRED))
    with connect(own, BARRED) as told:
        told.sendall(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = told.recv(4096)
        assert answer.startswith(b"HTTP/1.1 503") and b"max.connections.per.ip" in answer
    first.close()

    def admitted() -> bool:
        with connect(own, ONE) as again:
            return is_served(again)

    wait_until(admitted, "a place that became free", 20, pause=0.05)
    assert is_served(second)
    assert limited(own, "max.connections.per.ip") >= 3


def test_all_listeners_share_one_limit(start_broker: Callable[..., Broker]) -> None:
    own = start_broker(arguments=["--max-connections", "2", "--listen", "127.0.0.1:0,127.0.0.1:0"])
    line = own.wait_log(r"ready address=")
    ports = [int(part.rsplit(":", 1)[1]) for part in line.split("address=")[1].split()[0].split(",")]
    assert len(ports) == 2
    opened = [socket.create_connection(("127.0.0.1", port), timeout=20) for port in ports]
    assert all([is_served(connection) for connection in opened])
    third = socket.create_connection(("127.0.0.1", ports[1]), timeout=20)
    assert not is_served(third)
    own.wait_log(r"already has 2 connections.*max\.connections")


def test_connections_that_come_too_fast_wait_and_are_served(start_broker: Callable[..., Broker]) -> None:
    own = start_broker(arguments=["--max-connection-creation-rate", "10"])
    opened = [connect(own, ONE) for _ in range(25)]
    assert all([is_served(connection) for connection in opened])
    own.wait_log(r"faster than 10 a second \(max\.connection\.creation\.rate\)")
    for connection in opened:
        connection.close()


def test_an_address_over_its_rate_is_kept_waiting_and_closed(fresh_broker: Broker) -> None:
    assert alter(fresh_broker, {"ip": ONE}, connection_creation_rate=1.0) == NONE
    opened = [connect(fresh_broker, ONE) for _ in range(14)]
    served = [is_served(connection) for connection in opened]
    # Ten seconds' worth, and what came while this ran; a second's worth waits no longer than a second.
    assert 10 <= sum(served) < 14
    fresh_broker.wait_log(rf"connection_creation_rate.*{ONE}|{ONE}.*connection_creation_rate")
    assert is_served(connect(fresh_broker, OTHER))
    assert alter(fresh_broker, {"ip": ONE}, connection_creation_rate=None) == NONE
    assert is_served(connect(fresh_broker, ONE))
