# SPDX-License-Identifier: Apache-2.0
# Martlet, bench: consumer groups: what a heartbeat costs, and how long many members take to share a topic.
"""Benchmarks of consumer groups for bench.py, which calls them with its `Bench`.

`heartbeat` drives the C load generator with the heartbeats of one stable member beside the bare echo. `rebalance`
is two things: the broker's own part, with members that answer at once (sockets by hand, in this process), and what
a user sees with 50 consumers of librdkafka at its defaults, which only look for a rebalance with each heartbeat.
"""

from __future__ import annotations

import selectors
import time
import uuid
from typing import Callable

import wire
from broker import Broker
from driver import Bench, cpu_us, create, median, remove, spread

MEMBERS = 50
PARTITIONS = 100
REBALANCE_IN_PROGRESS = 27
CONSUMER_GROUP_HEARTBEAT = 68


def bytes32(data: bytes) -> bytes:
    return wire.i32(len(data)) + data


def classic_heartbeat(group: str, generation: int, member: str) -> bytes:
    body = wire.string(group) + wire.i32(generation) + wire.string(member)
    return wire.request(wire.HEARTBEAT, 2, 1, body, flexible=False)


class Member:
    """A classic member that always answers at once: Join (v3) -> Sync (v2) -> Heartbeat (v2)."""

    def __init__(self, own: Broker, group: str):
        self.group = group
        self.connection = wire.Wire(own.address, timeout=60)
        self.id = ""
        self.generation = -1
        self.waits_for = ""
        self.is_synced = False

    def join(self) -> None:
        self.waits_for, self.is_synced = "join", False
        body = (wire.string(self.group) + wire.i32(30_000) + wire.i32(60_000) + wire.string(self.id)
                + wire.string("consumer") + wire.array([wire.string("range") + bytes32(b"\0\0\0\0\0\0\xff\xff\xff\xff")]))  # fmt: skip
        self.connection.send(wire.request(wire.JOIN_GROUP, 3, 1, body, flexible=False))

    def heartbeat(self) -> None:
        self.waits_for = "heartbeat"
        self.connection.send(classic_heartbeat(self.group, self.generation, self.id))

    def receive(self) -> None:
        """Reads one answer and does what a client would do next."""
        reader = wire.Reader(self.connection.read_frame())
        reader.i32(), reader.i32()
        error = reader.i16()
        if self.waits_for == "join":
            check(error, "JoinGroup")
            self.generation = reader.i32()
            reader.string()
            leader, self.id = reader.string(), reader.string() or ""
            members = []
            for _ in range(reader.i32()):
                members.append(reader.string() or "")
                reader.bytes32()
            self.sync(members if leader == self.id else [])
        elif self.waits_for == "sync":
            if error == REBALANCE_IN_PROGRESS:
                return self.join()
            check(error, "SyncGroup")
            self.is_synced, self.waits_for = True, ""
        elif error == REBALANCE_IN_PROGRESS:
            self.join()
        else:
            check(error, "Heartbeat")
            self.heartbeat()

    def sync(self, members: list[str]) -> None:
        self.waits_for = "sync"
        entries = [wire.string(member) + bytes32(member.encode()) for member in members]
        body = wire.string(self.group) + wire.i32(self.generation) + wire.string(self.id) + wire.array(entries)
        self.connection.send(wire.request(wire.SYNC_GROUP, 2, 1, body, flexible=False))


def check(error: int, what: str) -> None:
    if error != wire.NONE:
        raise SystemExit(f"{what} was answered with error {error}")


def settle(members: list[Member]) -> None:
    """Until all members have the same generation's assignment."""
    with selectors.DefaultSelector() as selector:
        for member in members:
            selector.register(member.connection.socket, selectors.EVENT_READ, member)
        deadline = time.monotonic() + 60
        while not (all(member.is_synced for member in members) and len({member.generation for member in members}) == 1):
            if time.monotonic() > deadline:
                raise SystemExit("the group did not settle")
            for member in members:
                if member.is_synced and not member.waits_for:
                    member.heartbeat()
            for key, _ in selector.select(1):
                key.data.receive()
        # Whoever still waits for a heartbeat has the assignment already.
        for member in members:
            if member.waits_for == "heartbeat":
                member.connection.read_frame()
                member.waits_for = ""


def milliseconds(body: Callable[[], None]) -> float:
    started = time.monotonic()
    body()
    return (time.monotonic() - started) * 1000


def bench_rebalance(bench: Bench) -> None:
    own = bench.broker("rebalance")
    create(own, "shared", PARTITIONS)
    founding, joining = [], []
    for _ in range(bench.rounds):
        members = [Member(own, f"group-{uuid.uuid4().hex}") for _ in range(MEMBERS)]
        for member in members[1:]:
            member.group = members[0].group

        def found() -> None:
            for member in members:
                member.join()
            settle(members)

        def add() -> None:
            members.append(Member(own, members[0].group))
            members[-1].join()
            for member in members[:-1]:
                member.heartbeat()
            settle(members)

        founding.append(milliseconds(found))
        joining.append(milliseconds(add))
        for member in members:
            member.connection.close()
    bench.raw["rebalance"] = {"founding": founding, "joining": joining}
    bench.add(
        f"{MEMBERS} members join one classic group that is new, to the last one's assignment", "",
        f"{spread(founding, 1)} ms", "members that answer at once; includes the driver's time in Python", None)  # fmt: skip
    bench.add(
        f"one more joins {MEMBERS} members, to the last one's assignment", "", f"{spread(joining, 1)} ms", "the same", None)
    for protocol in ("classic", "consumer"):
        seen = [seconds_of_librdkafka(own, protocol) for _ in range(min(bench.rounds, 3))]
        bench.raw[f"rebalance librdkafka {protocol}"] = seen
        bench.add(
            f"{MEMBERS} librdkafka consumers at their defaults, group.protocol={protocol}: from the first subscribe to all"
            f" {PARTITIONS} partitions spread evenly", "", f"{spread(seen, 1)} s",
            "they hear of a rebalance with a heartbeat, every 3 s (classic) or 5 s (consumer)", None)  # fmt: skip
    remove(own)


def seconds_of_librdkafka(own: Broker, protocol: str) -> float:
    from confluent_kafka import Consumer

    group = f"group-{uuid.uuid4().hex}"
    settings = {"bootstrap.servers": own.address, "group.id": group, "group.protocol": protocol}
    if protocol == "classic":
        settings["session.timeout.ms"] = 45_000
    consumers = [Consumer(settings) for _ in range(MEMBERS)]
    started = time.monotonic()
    for consumer in consumers:
        consumer.subscribe(["shared"])
    while True:
        for consumer in consumers:
            consumer.poll(0.001)
        held = [len(consumer.assignment()) for consumer in consumers]
        if sum(held) == PARTITIONS and max(held) - min(held) <= 1:
            break
        if time.monotonic() - started > 120:
            raise SystemExit(f"{MEMBERS} consumers ({protocol}) did not share the topic: {held}")
    took = time.monotonic() - started
    for consumer in consumers:
        consumer.close()
    return took


def bench_heartbeat(bench: Bench) -> None:
    own = bench.broker("heartbeat")
    member = Member(own, "alive")
    member.join()
    settle([member])
    frames = {"Heartbeat": classic_heartbeat("alive", member.generation, member.id)}
    frames["ConsumerGroupHeartbeat"] = consumer_member(own, "alive-too")
    echo = bench.serve(bench.peer("echo_epoll"))
    for name, frame in frames.items():
        path = bench.frames(name, [frame])
        shape = ["--connections", 100, "--in-flight", 1, "--duration", bench.seconds, "--warmup", 0.5]
        # The error comes after the correlation id (with tags in a flexible header) and the throttle time.
        error_at = 8 if name == "Heartbeat" else 9
        echoes, brokers = [], []
        for _ in range(bench.rounds):
            echoes.append(bench.load(echo.port, path, *shape, "--server-pid", echo.pid))
            brokers.append(
                bench.load(own.port, path, *shape, "--correlate", "--zero-at", error_at, "--server-pid", own.pid))
        bench.raw[name] = {"echo": echoes, "broker": brokers}
        ours, theirs = [cpu_us(result) for result in brokers], [cpu_us(result) for result in echoes]
        rate = median([result["requests"] / result["seconds"] for result in brokers])
        bench.add(
            f"{name} of a stable group, 100 connections: server CPU each", "", f"{spread(ours)} µs; {rate:,.0f}/s",
            f"C epoll echo of 64 bytes: {spread(theirs)} µs", None)  # fmt: skip
    echo.close()
    remove(own)


def consumer_member(own: Broker, group: str) -> bytes:
    """Joins with the consumer protocol (KIP-848, v1) and returns the heartbeat that changes nothing."""
    member = str(uuid.uuid4())

    def heartbeat(epoch: int, topics: bytes, owned: bytes) -> bytes:
        body = (wire.compact_string(group) + wire.compact_string(member) + wire.i32(epoch)
                + wire.compact_string(None) + wire.compact_string(None) + wire.i32(30_000 if epoch == 0 else -1)
                + topics + wire.compact_string(None) + wire.compact_string(None) + owned + wire.TAGS)  # fmt: skip
        return wire.request(CONSUMER_GROUP_HEARTBEAT, 1, 1, body, flexible=True)

    with wire.Wire(own.address) as connection:
        first = heartbeat(0, wire.compact_array([wire.compact_string("nothing")]), wire.compact_array([]))
        reader = wire.Reader(connection.call(first))
        reader.i32(), reader.skip_tags(), reader.i32()
        check(reader.i16(), "ConsumerGroupHeartbeat")
        reader.compact_string(), reader.compact_string()
        return heartbeat(reader.i32(), b"\0", b"\0")
