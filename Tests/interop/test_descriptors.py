# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: no file descriptors left.
"""Connections and files share one limit. Who has a connection keeps it, and everything goes on when there are descriptors."""

from __future__ import annotations

import shutil
import socket
import time
from typing import Callable

import pytest

import protocol
import wire
from broker import Broker, wait_until
from disks import cpu_seconds, leave_descriptors, open_descriptors, restore_descriptors
from wire import Record, Wire, batch

STORAGE_ERROR = 56
SMALL = batch([Record(b"small")])


def answers(connection: socket.socket, seconds: float) -> bytes:
    """What a connection answers to ApiVersions within a time; empty if it was closed, fails if nothing comes."""
    connection.settimeout(seconds)
    try:
        connection.sendall(wire.api_versions_request())
        return connection.recv(4)
    except ConnectionError:
        return b""


@pytest.mark.skipif(shutil.which("prlimit") is None, reason="prlimit is not installed")
def test_connections_leave_descriptors_to_the_logs(start_broker: Callable[..., Broker], unique: Callable[[str], str]) -> None:
    own = start_broker(wrapper=["prlimit", "--nofile=256:256"], arguments=["--threads", "1"])
    own.wait_log(r"allows this process 256 open files: 64 connections are accepted.*ulimit -n")
    host, port = own.address.rsplit(":", 1)
    crowd: list[socket.socket] = []
    try:
        with Wire(own.address) as early:
            while len(crowd) < 300:
                crowd.append(socket.create_connection((host, int(port)), timeout=20))
            served = [connection for connection in crowd if answers(connection, 20)]
            assert 50 < len(served) <= 64, "those that fit are served, the others are closed at once"
            # New topics need files, which there are.
            for _ in range(10):
                topic = unique("topic")
                protocol.create(early, topic)
                assert early.produce(topic, SMALL).error == wire.NONE
            for connection in crowd:
                connection.close()
            wait_until(lambda: len(open_descriptors(own.pid)) < 64, "the connections to be gone")
            with Wire(own.address) as late:
                assert late.produce(topic, SMALL).error == wire.NONE
    finally:
        for connection in crowd:
            connection.close()


def test_without_descriptors_accepting_pauses_and_goes_on_later(
    start_broker: Callable[..., Broker], topic: str, unique: Callable[[str], str]
) -> None:
    own = start_broker(arguments=["--threads", "1"])
    host, port = own.address.rsplit(":", 1)
    with Wire(own.address) as early:
        protocol.create(early, topic)
        assert early.produce(topic, SMALL).base_offset == 0
        leave_descriptors(own.pid, 0)
        waiting = [socket.create_connection((host, int(port)), timeout=30) for _ in range(5)]
        try:
            line = own.wait_log("cannot accept connections")
            assert "ulimit -n" in line, line
            before, start = cpu_seconds(own.pid), time.monotonic()
            # Whoever is connected is served all the while.
            offset = 0
            while time.monotonic() < start + 3:
                offset += 1
                assert early.produce(topic, SMALL).base_offset == offset
                assert early.fetch(topic, offset).high_watermark == offset + 1
                time.sleep(0.05)
            used = cpu_seconds(own.pid) - before
            assert used < (time.monotonic() - start) / 4, f"{used} s of CPU: it spins"
            assert own.log().count("cannot accept connections") <= 2, "the log is flooded"
            # The first record of a topic needs a file. Log files that are not in use give their descriptors back for it;
            # if somebody else was faster, it is refused with the cause and may be sent again.
            fresh = unique("topic")
            protocol.create(early, fresh)
            first = early.produce(fresh, SMALL)
            assert first.error in (wire.NONE, STORAGE_ERROR)
            restore_descriptors(own.pid)
            for connection in waiting:
                assert answers(connection, 30), "a connection that waited was not accepted"
            assert early.produce(fresh, SMALL).base_offset == (1 if first.error == wire.NONE else 0)
        finally:
            for connection in waiting:
                connection.close()


def test_a_sync_that_finds_no_descriptor_gets_that_of_a_file(start_broker: Callable[..., Broker], topic: str) -> None:
    own = start_broker(arguments=["--threads", "1"])
    with Wire(own.address) as connection:
        protocol.create(connection, topic)
        # One is left for the log's file, so that none is left to sync the directory with: a file that is not in use is
        # closed for that.
        leave_descriptors(own.pid, 1)
        answer = connection.produce(topic, SMALL)
        assert (answer.error, answer.base_offset) == (wire.NONE, 0)
        restore_descriptors(own.pid)
        assert connection.produce(topic, SMALL).base_offset == 1
    assert own.stop() == 0
