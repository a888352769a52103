# SPDX-License-Identifier: Apache-2.0
# Martlet, soak: a broker under mixed load for a while; does anything climb, is anything lost?
"""Drives the built binary with everything at once, at a bounded rate, and watches the process.

    MARTLET_BIN=.build/martlet .venv/bin/python Tests/soak/soak.py --seconds 600 --svg docs/soak.svg

Producers of both protocols, a group that checks every record, groups whose members come and go, subscribers that stop
reading and resume, storms of connections with and without TLS, topics that come and go, retention of small segments.
Every second the broker's resident memory, descriptors and threads are read from /proc and drawn. The run fails if a
record is lost, if the broker ends, or if one of the three climbs: the median of the last quarter of the run
is compared with that of the second quarter; the first one is warm-up.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import socket
import statistics
import struct
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any, Callable

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "Tests" / "interop"))
sys.path.insert(0, str(REPOSITORY / "Tests" / "soak"))

import grpc  # noqa: E402
from confluent_kafka import Consumer, Producer  # noqa: E402

import chart  # noqa: E402
import protocol  # noqa: E402
import stubs  # noqa: E402
import wire  # noqa: E402
from broker import Broker, Endpoint  # noqa: E402
from grpc_client import Client  # noqa: E402
from wire import Record, Wire, batch  # noqa: E402

TOPIC = "soak"
PARTITIONS = 4
# How much more the last quarter may have than the second: a share, and in absolute numbers.
TOLERANCE = {"memory": (0.10, 6.0), "descriptors": (0.10, 12.0), "threads": (0.0, 1.0)}


class Run:
    """What all workers share: the broker, what was acked, what was read, and what went wrong."""

    def __init__(self, broker: Broker, api: Any, seed: int):
        self.broker, self.api, self.seed = broker, api, seed
        self.plain, self.secure = Endpoint(broker, False), Endpoint(broker, True)
        self.stopping = threading.Event()
        self.producers_done = threading.Event()
        self.lock = threading.Lock()
        self.acked: dict[tuple[int, int], bytes] = {}
        self.seen: dict[tuple[int, int], bytes] = {}
        self.counts: dict[str, int] = {}
        self.failures: list[str] = []

    def ack(self, partition: int, offset: int, value: bytes) -> None:
        with self.lock:
            self.acked[partition, offset] = value

    def count(self, what: str, number: int = 1) -> None:
        with self.lock:
            self.counts[what] = self.counts.get(what, 0) + number

    def fail(self, text: str) -> None:
        with self.lock:
            self.failures.append(text)


def every(run: Run, seconds: float, work: Callable[[int], None]) -> None:
    """Calls `work` with 0, 1, 2… at a fixed pace until the run ends; what it misses is not made up for."""
    turn, due = 0, time.monotonic()
    while not run.stopping.wait(max(0.0, due - time.monotonic())):
        work(turn)
        turn += 1
        due = max(due + seconds, time.monotonic())


# Producers.


def librdkafka_producer(run: Run, endpoint: Endpoint, name: str, settings: dict[str, Any]) -> None:
    producer = Producer(endpoint.librdkafka(linger_ms=5, message_timeout_ms=60_000) | settings)

    def report(error: Any, message: Any) -> None:
        if error is not None:
            run.fail(f"{name}: {error}")
        else:
            run.ack(message.partition(), message.offset(), message.value())
            run.count("records by librdkafka")

    def work(turn: int) -> None:
        for number in range(5):
            value = f"{name}/{turn}/{number}/".encode() + b"x" * 400
            producer.produce(TOPIC, value, partition=(turn + number) % PARTITIONS, on_delivery=report)
        producer.poll(0)

    every(run, 0.05, work)
    if producer.flush(60):
        run.fail(f"{name}: records were never delivered")


def grpc_producer(run: Run) -> None:
    client = Client(run.secure, run.api)

    def work(turn: int) -> None:
        values = [f"grpc/{turn}/{number}/".encode() + b"x" * 400 for number in range(3)]
        answer = client.publish(TOPIC, *values, partition=turn % PARTITIONS)
        for number, value in enumerate(values):
            run.ack(turn % PARTITIONS, answer.batches[0].base_offset + number, value)
        run.count("records by gRPC", 3)

    every(run, 0.1, work)
    client.channel.close()


def leader_producer(run: Run) -> None:
    """acks=1, a new connection now and then."""
    connection = Wire(run.plain.address)

    def work(turn: int) -> None:
        nonlocal connection
        if turn % 100 == 99:
            connection.close()
            connection = Wire(run.secure.address, tls=run.secure.wire_tls() if turn % 200 == 199 else None)
        value = f"wire/{turn}/".encode() + b"x" * 400
        answer = connection.produce(TOPIC, batch([Record(value)]), partition=turn % PARTITIONS, acks=1)
        assert answer.error == wire.NONE, answer
        run.ack(turn % PARTITIONS, answer.base_offset, value)
        run.count("records with acks=1")

    every(run, 0.1, work)
    connection.close()


# Consumers.


def checking_group(run: Run) -> None:
    """Reads everything: offsets without gaps, from the first to the last."""
    consumer = Consumer(
        run.plain.librdkafka(group_id="checks", auto_offset_reset="earliest", session_timeout_ms=30_000))
    consumer.subscribe([TOPIC])
    next_offsets = [0] * PARTITIONS
    deadline = None
    while True:
        for message in consumer.consume(1000, 0.2):
            if message.error() is not None:
                run.fail(f"the checking group: {message.error()}")
                continue
            at = message.partition()
            if message.offset() != next_offsets[at]:
                run.fail(f"the checking group expected {at}@{next_offsets[at]} and got {message.offset()}")
            next_offsets[at] = message.offset() + 1
            run.seen[at, message.offset()] = message.value()
        if run.producers_done.is_set():
            deadline = deadline or time.monotonic() + 60
            with run.lock:
                ends = [max((o for p, o in run.acked if p == at), default=-1) + 1 for at in range(PARTITIONS)]
            if all(have >= end for have, end in zip(next_offsets, ends)):
                break
            if time.monotonic() > deadline:
                run.fail(f"the checking group is at {next_offsets} of {ends}")
                break
    consumer.close()


def churning_member(run: Run, number: int) -> None:
    chance = random.Random(run.seed + number)
    while not run.stopping.is_set():
        endpoint = chance.choice([run.plain, run.secure])
        consumer = Consumer(
            endpoint.librdkafka(
                group_id="comes-and-goes", auto_offset_reset="latest", session_timeout_ms=6000,
                auto_commit_interval_ms=500)
        )  # fmt: skip
        consumer.subscribe([TOPIC])
        until = time.monotonic() + chance.uniform(1, 4)
        while time.monotonic() < until and not run.stopping.is_set():
            run.count("records in a churning group", len(consumer.consume(500, 0.2)))
        consumer.close()
        run.count("members that came and went")


def stalling_subscriber(run: Run, number: int) -> None:
    """Reads a while, stops reading so that flow control stops the broker, and reads on."""
    chance = random.Random(run.seed + 100 + number)
    while not run.stopping.is_set():
        client = Client(run.secure if number % 2 else run.plain, run.api)
        next_offsets: dict[int, int] = {}
        try:
            stream = client.subscribe(TOPIC, seconds=30, origin=run.api.ORIGIN_LATEST)
            resume = time.monotonic() + chance.uniform(0.5, 2)
            for response in stream:
                for part in response.batches:
                    for record in part.records:
                        expected = next_offsets.get(part.partition, record.offset)
                        if record.offset != expected:
                            run.fail(f"a subscriber expected {part.partition}@{expected} and got {record.offset}")
                        next_offsets[part.partition] = record.offset + 1
                        run.count("records to subscribers")
                if run.stopping.is_set():
                    break
                if time.monotonic() > resume:
                    run.count("stalls of subscribers")
                    run.stopping.wait(chance.uniform(1, 4))
                    resume = time.monotonic() + chance.uniform(0.5, 2)
            stream.cancel()
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.DEADLINE_EXCEEDED:
                run.fail(f"a subscriber: {error.code()} {error.details()}")
        finally:
            client.channel.close()


# Everything else.


def connection_storms(run: Run) -> None:
    """Many connections at once; half of them end with a reset."""

    def work(turn: int) -> None:
        tls = run.secure.wire_tls() if turn % 2 else None
        connections = []
        try:
            for _ in range(20 if tls else 60):
                connections.append(Wire(run.plain.address, tls=tls))
            for number, connection in enumerate(connections):
                connection.send(wire.api_versions_request(0, number))
            for connection in connections:
                connection.read_frame()
            run.count("connections in storms", len(connections))
        finally:
            for number, connection in enumerate(connections):
                if number % 2:
                    connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.close()

    every(run, 3, work)


def topics_that_come_and_go(run: Run) -> None:
    live: list[str] = []
    connection = Wire(run.plain.address)

    def work(turn: int) -> None:
        name = f"passing-{turn}"
        protocol.create(connection, name, 3)
        for partition in range(3):
            answer = connection.produce(name, batch([Record(b"y" * 200)]), partition=partition)
            assert answer.error == wire.NONE, answer
        live.append(name)
        if len(live) > 10:
            protocol.delete(connection, live.pop(0))
        run.count("topics made")

    every(run, 0.5, work)
    connection.close()


def pages(run: Run) -> None:
    def work(_: int) -> None:
        for page in ("metrics", "readyz"):
            with urllib.request.urlopen(f"http://{run.plain.address}/{page}", timeout=20) as answer:
                run.count("pages", 1 if answer.read() else 0)

    every(run, 2, work)


# Watching.


def sample(pid: int) -> tuple[float, float, float]:
    """Resident memory in MiB, descriptors, threads."""
    status = Path(f"/proc/{pid}/status").read_text()
    resident = int(re.search(r"VmRSS:\s+(\d+)", status).group(1))  # type: ignore[union-attr]
    threads = int(re.search(r"Threads:\s+(\d+)", status).group(1))  # type: ignore[union-attr]
    return resident / 1024, len(os.listdir(f"/proc/{pid}/fd")), threads


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def quarters(values: list[float]) -> tuple[float, float]:
    """The medians of the second and of the last quarter."""
    size = len(values) // 4
    return statistics.median(values[size : 2 * size]), statistics.median(values[3 * size :])


def climbs(name: str, values: list[float]) -> str:
    """What is wrong, or nothing."""
    second, last = quarters(values)
    share, absolute = TOLERANCE[name]
    allowed = second + max(second * share, absolute)
    return "" if last <= allowed else f"{name} climbs: median {second:.1f} in the second quarter, {last:.1f} in the last"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=600, help="how long to run (600)")
    parser.add_argument("--svg", default=".build/soak.svg", help="where to draw (.build/soak.svg)")
    parser.add_argument("--seed", type=int, default=1, help="of what is left to chance (1)")
    options = parser.parse_args()
    if options.seconds < 20:
        parser.error("less than 20 seconds has no quarters to compare")
    binary = os.environ.get("MARTLET_BIN", str(REPOSITORY / ".build" / "martlet"))
    directory = Path(tempfile.mkdtemp(prefix="martlet-soak-"))
    broker = Broker(
        os.path.abspath(binary), directory, mode="serve",
        arguments=["--log-retention-check-interval-ms", "2000", "--group-initial-rebalance-delay-ms", "100"])
    try:
        return soak(broker, directory, options)
    finally:
        broker.close()
        shutil.rmtree(directory, ignore_errors=True)


def soak(broker: Broker, directory: Path, options: argparse.Namespace) -> int:
    broker.start()
    (directory / "stubs").mkdir()
    run = Run(broker, stubs.generate(REPOSITORY / "proto", directory / "stubs"), options.seed)
    with Wire(run.plain.address) as connection:
        protocol.create(connection, TOPIC, PARTITIONS, segment_bytes="1048576", retention_bytes="8388608")
    producers: list[tuple[Callable[..., None], tuple[Any, ...]]] = [
        (librdkafka_producer, (run, run.secure, "tls", {"enable.idempotence": True})),
        (librdkafka_producer, (run, run.plain, "zstd", {"acks": "all", "compression.type": "zstd"})),
        (grpc_producer, (run,)),
        (leader_producer, (run,)),
    ]
    others: list[tuple[Callable[..., None], tuple[Any, ...]]] = [
        *[(churning_member, (run, number)) for number in range(3)],
        *[(stalling_subscriber, (run, number)) for number in range(4)],
        (connection_storms, (run,)),
        (topics_that_come_and_go, (run,)),
        (pages, (run,)),
    ]

    def guarded(work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        try:
            work(*arguments)
        except BaseException as error:  # noqa: BLE001 - the run fails with it
            run.fail(f"{work.__name__}: {error!r}")

    def started(work: Callable[..., None], arguments: tuple[Any, ...]) -> threading.Thread:
        thread = threading.Thread(target=guarded, args=(work, arguments), daemon=True)
        thread.start()
        return thread

    checker = started(checking_group, (run,))
    writing = [started(*worker) for worker in producers]
    rest = [started(*worker) for worker in others]
    series: dict[str, list[float]] = {"memory": [], "descriptors": [], "threads": []}
    start = time.monotonic()
    for second in range(options.seconds):
        time.sleep(max(0.0, start + second + 1 - time.monotonic()))
        if not broker.alive() or run.failures:
            break
        for values, value in zip(series.values(), sample(broker.pid)):
            values.append(value)
        if sys.stderr.isatty():
            print(f"\r{second + 1} s  {series['memory'][-1]:.1f} MiB  {series['descriptors'][-1]:.0f} descriptors  "
                  f"{series['threads'][-1]:.0f} threads ", end="", file=sys.stderr)  # fmt: skip
    cpu = cpu_seconds(broker.pid) if broker.alive() else 0
    run.stopping.set()
    for thread in writing:
        thread.join(90)
    run.producers_done.set()
    for thread in [checker, *rest]:
        thread.join(90)
        if thread.is_alive():
            run.fail("a worker did not end")
    if not broker.alive():
        run.fail(f"the broker ended; it had said: {broker.log()[-3000:]}")
    elif broker.stop() != 0:
        run.fail("the broker did not stop in order")
    lost = {place: value for place, value in run.acked.items() if run.seen.get(place) != value}
    if lost:
        run.fail(f"{len(lost)} of {len(run.acked)} acked records were lost or changed: {list(lost.items())[:3]}")
    if len(series["memory"]) >= 20:
        run.failures += filter(None, (climbs(name, values) for name, values in series.items()))
    return report(run, series, cpu, options)


def report(run: Run, series: dict[str, list[float]], cpu: float, options: argparse.Namespace) -> int:
    seconds = len(series["memory"])
    print(f"\n{seconds} s, seed {options.seed}, {cpu:.1f} s of CPU, {len(run.acked)} acked records, "
          f"{len(run.seen)} read by the checking group")  # fmt: skip
    for what, number in sorted(run.counts.items()):
        print(f"  {number:>9} {what}")
    for name, values in series.items():
        if seconds >= 20:
            print("  {:<12} second quarter {:8.1f}  last quarter {:8.1f}  highest {:8.1f}".format(
                name, *quarters(values), max(values)))  # fmt: skip
    for text in run.failures[:20]:
        print(f"FAILED: {text}")
    outcome = f"{len(run.acked):,} records acked, {'see the failures' if run.failures else 'none lost'}"
    if seconds >= 20:
        path = REPOSITORY / options.svg
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(chart.draw(series, f"make soak T={options.seconds}", outcome))
        print(f"drawn: {options.svg}")
    print("FAILED" if run.failures else "nothing climbs, nothing is lost")
    return 1 if run.failures else 0


if __name__ == "__main__":
    sys.exit(main())
