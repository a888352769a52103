# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: many partitions, many connections, few descriptors.
"""10,000 partitions in a process that may have 1,024 files open, and 2,000 connections beside clients that work.

Times are bounded by the tests' deadlines only; how fast it is, `make bench` measures.
"""

from __future__ import annotations

import re
import select
import shutil
import time
import urllib.request
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest

import wire
from broker import Broker, Endpoint, wait_until

PARTITIONS = 10_000
IN_FLIGHT = 200
#: A segment holds two of these batches, so that three make two segments.
VALUE = b"v" * 400
BATCH = wire.batch([wire.Record(VALUE)])


def limited(descriptors: int) -> list[str]:
    """Soft and hard: the broker cannot raise it."""
    return ["prlimit", f"--nofile={descriptors}:{descriptors}"]


def create(own: Broker, topic: str, partitions: int, **configs: Any) -> None:
    words = [word for name, value in configs.items() for word in ("--config", f"{name.replace('_', '.')}={value}")]
    done = own.run("topic", "create", topic, "--partitions", str(partitions), *words, "--bootstrap", own.address)
    assert done.returncode == 0, done.stderr.decode()


def produce_to_all(own: Broker, topic: str, partitions: int, *, acks: int = 1) -> list[int]:
    """One batch to each partition, many requests in flight; the offsets they got."""
    offsets = []
    with wire.Wire(own.address, timeout=60) as connection:
        for start in range(0, partitions, IN_FLIGHT):
            numbers = range(start, min(start + IN_FLIGHT, partitions))
            connection.send(
                b"".join(wire.produce_request(topic, number, BATCH, acks=acks, correlation=number) for number in numbers)
            )
            for _ in numbers:
                produced = wire.produce_response(connection.read_frame())
                assert produced.error == wire.NONE, produced
                offsets.append(produced.base_offset)
    return offsets


def metric(own: Broker, name: str) -> float:
    text = urllib.request.urlopen(f"http://{own.address}/metrics", timeout=20).read().decode()
    found = re.search(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE)
    assert found, f"no {name} among the metrics"
    return float(found.group(1))


def open_files(own: Broker) -> int:
    return sum(1 for _ in Path(f"/proc/{own.pid}/fd").iterdir())


def read_everything(own: Broker, topic: str, partitions: int, batches: int) -> None:
    with wire.Wire(own.address, timeout=60) as connection:
        for start in range(0, partitions, IN_FLIGHT):
            numbers = range(start, min(start + IN_FLIGHT, partitions))
            for offset in range(batches):
                connection.send(
                    b"".join(
                        wire.fetch_request(
                            topic, number, offset, partition_max_bytes=1, max_wait_ms=0, correlation=number
                        )
                        for number in numbers
                    )
                )
                for number in numbers:
                    fetched = wire.fetch_response(connection.read_frame())
                    assert fetched is not None and fetched.error == wire.NONE, (number, offset, fetched)
                    assert fetched.high_watermark == batches
                    assert wire.batch_header(fetched.records).base_offset == offset
                    assert VALUE in fetched.records


@pytest.mark.deadline(300)
def test_ten_thousand_partitions_with_several_segments_work_with_a_thousand_descriptors(
    start_broker: Callable[..., Broker], topic: str
) -> None:
    own = start_broker(wrapper=limited(1024))
    create(own, topic, PARTITIONS, segment_bytes=1000)
    for number in range(3):
        assert produce_to_all(own, topic, PARTITIONS) == [number] * PARTITIONS
    assert open_files(own) < 1024
    limit = metric(own, "martlet_open_files_max")
    assert 0 < metric(own, "martlet_open_files") <= limit < 1024
    assert metric(own, "martlet_logs_read_only") == 0
    assert len(list((own.data / f"{topic}-77").glob("*.log"))) == 2
    read_everything(own, topic, 1000, 3)
    assert metric(own, "martlet_files_reopened_total") > 0
    # A clean start opens no log, and a start after a kill keeps the limit too.
    assert own.stop() == 0
    own.start()
    assert metric(own, "martlet_open_files") <= 10
    assert produce_to_all(own, topic, PARTITIONS) == [3] * PARTITIONS
    own.kill()
    own.start()
    assert open_files(own) < 1024
    read_everything(own, topic, 1000, 4)
    assert produce_to_all(own, topic, 500, acks=-1) == [4] * 500
    assert own.stop() == 0
    # Tens of thousands of files: not left to whoever tidies up after the run.
    shutil.rmtree(own.data)


@pytest.mark.deadline(120)
def test_records_acked_as_durable_by_a_broker_that_is_short_of_files_are_there_after_a_kill(
    start_broker: Callable[..., Broker], topic: str
) -> None:
    own = start_broker(arguments=["--max-open-files", "16"])
    create(own, topic, 300, segment_bytes=1000)
    for number in range(4):
        assert produce_to_all(own, topic, 300, acks=-1) == [number] * 300
    assert metric(own, "martlet_open_files") <= 40
    own.kill()
    own.start()
    read_everything(own, topic, 300, 4)


def test_a_thousand_and_more_descriptors_are_shared_between_connections_and_files(
    start_broker: Callable[..., Broker],
) -> None:
    own = start_broker(wrapper=limited(300))
    assert "300 open files" in own.log()
    held = []
    with pytest.raises((ConnectionError, OSError, AssertionError)):
        for _ in range(300):
            connection = wire.Wire(own.address, timeout=10)
            held.append(connection)
            connection.call(wire.api_versions_request())
    assert len(held) > 50
    for connection in held:
        connection.close()
    wait_until(lambda: open_files(own) < 100, "the connections to be gone")
    # It did not run out of files: records can be written and read all the same.
    with wire.Wire(own.address) as connection:
        connection.call(wire.api_versions_request())
    assert own.alive()


def idle(endpoint: Endpoint, count: int) -> Iterator[wire.Wire]:
    context = endpoint.wire_tls()
    for _ in range(count):
        connection = wire.Wire(endpoint.address, tls=context, timeout=60)
        connection.call(wire.api_versions_request())
        yield connection


@pytest.mark.deadline(180)
def test_two_thousand_connections_wait_while_others_work(start_broker: Callable[..., Broker], topic: str) -> None:
    own = start_broker()
    create(own, topic, 4)
    held = list(idle(Endpoint(own, tls=False), 1900)) + list(idle(Endpoint(own, tls=True), 100))
    assert metric(own, "martlet_connections") >= 2000
    # Half of them wait for a record that comes, the others do nothing.
    waiting = held[::2]
    for connection in waiting:
        connection.send(wire.fetch_request(topic, 0, 0, max_wait_ms=60_000, min_bytes=1))
    for tls in (False, True):
        endpoint = Endpoint(own, tls=tls)
        with wire.Wire(endpoint.address, tls=endpoint.wire_tls(), timeout=60) as connection:
            for number in range(50):
                partition = 1 + number % 3
                assert connection.produce(topic, BATCH, partition=partition).error == wire.NONE
                fetched = connection.fetch(topic, 0, partition=partition, max_wait_ms=0)
                assert fetched.error == wire.NONE and VALUE in fetched.records
    with wire.Wire(own.address, timeout=60) as connection:
        assert connection.produce(topic, BATCH, partition=0).error == wire.NONE
    for connection in waiting:
        fetched = wire.fetch_response(connection.read_frame())
        assert fetched is not None and VALUE in fetched.records
    # All of them are still served.
    for connection in held:
        connection.call(wire.api_versions_request())
    for connection in held:
        connection.close()


@pytest.mark.deadline(120)
def test_producers_wait_for_memory_instead_of_filling_it(start_broker: Callable[..., Broker], topic: str) -> None:
    """60 producers send 1 MB each in small pieces to a broker that holds 4 MiB of unfinished requests."""
    own = start_broker(arguments=["--queued-max-request-bytes", str(4 << 20)])
    create(own, topic, 1)
    frame = wire.produce_request(topic, 0, wire.batch([wire.Record(b"v" * 1_000_000)]), acks=-1)
    connections = [wire.Wire(own.address, timeout=60) for _ in range(60)]
    for connection in connections:
        connection.send(frame[:20_000])
    wait_until(lambda: metric(own, "martlet_request_memory_waiting") >= 50, "most of them wait")
    assert metric(own, "martlet_request_memory_bytes") < (4 << 20) + len(frame)
    # The rest comes in pieces, from all of them at once: those who wait are not read, so sending must not block here.
    left = {connection: frame[20_000:] for connection in connections}
    for connection in connections:
        connection.socket.setblocking(False)
    answered = 0
    deadline = time.monotonic() + 90
    while connections:
        assert time.monotonic() < deadline, f"{answered} were answered, {len(connections)} were not"
        writable = [connection.socket for connection, rest in left.items() if rest]
        ready, room, _ = select.select([c.socket for c in connections], writable, [], 1)
        for connection in connections:
            if connection.socket in room:
                sent = connection.socket.send(left[connection][:50_000])
                left[connection] = left[connection][sent:]
        for connection in [c for c in connections if c.socket in ready]:
            connection.socket.settimeout(20)
            assert wire.produce_response(connection.read_frame()).error == wire.NONE
            answered += 1
            connection.close()
            connections = [c for c in connections if c is not connection]
            left.pop(connection)
    assert answered == 60
    assert metric(own, "martlet_request_memory_bytes") == 0
    assert metric(own, "martlet_request_memory_waiting") == 0
