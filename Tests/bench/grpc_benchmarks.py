# SPDX-License-Identifier: Apache-2.0
# Martlet, bench: the gRPC front: streams in, fan-out, idle subscriptions, latency, work queues.
"""Driven by `martlet bench`, whose gRPC client is the broker's own HTTP/2 code; CPU time is the server's alone."""

from __future__ import annotations

import json
import subprocess
import time
from typing import Any, Union

import grpc

from broker import Broker
from driver import REPOSITORY, Bench, batch_of, create, median, produce_error_at, produce_frame, remove, spread
from grpc_peer import GRPCPeer, rates, speed
from stubs import generate

SUBSCRIBERS = 100
IDLE = 10_000
RATE = 1_000


Server = Union[Broker, GRPCPeer]


def command(bench: Bench, own: Server, mode: str, *arguments: Any) -> list[str]:
    return [bench.binary, "bench", mode, "--bootstrap", own.address, "--server-pid", str(own.pid), "--json",
            *map(str, arguments)]  # fmt: skip


def result_of(text: str, what: str) -> dict[str, Any]:
    result = json.loads(text)
    if result["refused"] or result["gaps"]:
        raise SystemExit(f"{what}: {result}")
    return result


def run(bench: Bench, own: Server, mode: str, *arguments: Any) -> dict[str, Any]:
    done = subprocess.run(command(bench, own, mode, *arguments), capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"bench {mode}: {done.stderr}{done.stdout}")
    return result_of(done.stdout, f"bench {mode}")


def memory_broker(bench: Bench, name: str) -> Broker:
    return bench.broker(name, "--log-retention-check-interval-ms", "200", ephemeral=True)


def fill(bench: Bench, own: Broker, topic: str, records: int, size: int) -> None:
    batch = batch_of(1_000_000, size)
    each = int.from_bytes(batch[57:61], "big")
    bench.load(own.port, bench.frames("fill", [produce_frame(topic, batch)]), "--connections", 1, "--in-flight", 4,
               "--requests", records // each + 1, "--correlate", "--zero-at", produce_error_at(topic))  # fmt: skip


def bench_publish_stream(bench: Bench) -> None:
    own, peer = memory_broker(bench, "publish-stream"), GRPCPeer(bench)
    create(own, "stream", 1, segment_bytes="67108864", retention_bytes="268435456")
    for size, mark in ((100, 500_000), (1024, 500_000)):
        shape = ["--topic", "stream", "--record-size", size, "--in-flight", 16_000 if size == 100 else 3_000,
                 "--duration", bench.seconds, "--warmup", 0.3]  # fmt: skip
        seen: list[dict[str, Any]] = []
        bare: list[dict[str, Any]] = []
        for _ in range(bench.rounds):
            seen.append(run(bench, own, "publish-stream", *shape))
            peer.measure(bare, lambda server: run(bench, server, "publish-stream", *shape))
        bench.raw[f"publish stream {size}"] = {"broker": seen, "peer": bare}
        mine = [result["client_cpu_seconds"] * 1e6 / result["records"] for result in seen]
        bench.add(
            f"gRPC PublishStream, one stream, a record of {size} bytes a request, every one acknowledged, in memory",
            f"≥ {mark:,} records/s", f"{speed(seen)}; client CPU {spread(mine)} µs", peer.beside(bare, speed),
            median(rates(seen)) >= mark,
        )  # fmt: skip
    peer.close()
    remove(own)


def bench_fan_out(bench: Bench) -> None:
    own, peer = memory_broker(bench, "fan-out"), GRPCPeer(bench)
    create(own, "fan")
    fill(bench, own, "fan", 200_000, 100)
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in ("one", "many", "peer one", "peer many", "live one", "live")}
    shape = ["subscribe", "--topic", "fan", "--duration", bench.seconds]
    for _ in range(bench.rounds):
        for name, connections in (("one", 1), ("many", SUBSCRIBERS)):
            found[name].append(run(bench, own, *shape, "--connections", connections))
            peer.measure(found[f"peer {name}"], lambda server: run(bench, server, *shape, "--connections", connections))
    peer.close()
    for _ in range(bench.rounds):
        for connections, name in ((1, "live one"), (SUBSCRIBERS, "live")):
            reader = subprocess.Popen(
                command(bench, own, "subscribe", "--topic", "fan", "--follow", "--connections", connections,
                        "--warmup", 1, "--duration", bench.seconds), stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
            run(bench, own, "publish-stream", "--topic", "fan", "--record-size", 100, "--rate", 5_000, "--in-flight", 5_000,
                "--duration", bench.seconds + 2)  # fmt: skip
            found[name].append(result_of(reader.communicate()[0], "bench subscribe --follow"))
    bench.raw["fan-out"] = found

    def moved(results: list[dict[str, Any]]) -> str:
        nanoseconds = [result["server_cpu_us_per_record"] * 1000 for result in results]
        return f"{spread([result['megabytes_per_second'] for result in results], 0)} MB/s; {spread(nanoseconds, 0)} ns a record"

    bench.add(
        f"{SUBSCRIBERS} subscribers read one topic, 100-byte records, plaintext: together, and server CPU", "",
        f"{moved(found['many'])}; one subscriber: {moved(found['one'])}",
        peer.beside(found["peer many"], lambda many: f"{moved(many)}; one subscriber: {moved(found['peer one'])}"), None,
    )  # fmt: skip
    bench.add(
        f"{SUBSCRIBERS} subscribers follow one topic that is written at 5,000 records/s, the writer's share included", "",
        moved(found["live"]), f"one subscriber: {moved(found['live one'])}", None,
    )  # fmt: skip
    remove(own)


def bench_idle_subscriptions(bench: Bench) -> None:
    stubs_folder = bench.folder / "stubs"
    stubs_folder.mkdir()
    api = generate(REPOSITORY / "proto", stubs_folder)
    own = bench.broker("idle")
    create(own, "idle")
    channels = [
        grpc.insecure_channel(own.address, (("grpc.use_local_subchannel_pool", 1),)) for _ in range(IDLE // 1000)
    ]
    stubs = [api.StreamsStub(channel) for channel in channels]
    request = api.SubscribeRequest(topics=[api.TopicSelection(topic="idle")])

    def open_calls(each: int) -> list[Any]:
        calls = [stub.Subscribe(request) for stub in stubs for _ in range(each)]
        for call in calls:
            call.initial_metadata()
        return calls

    held = open_calls(1)
    time.sleep(0.5)
    before = own.resident_kib()
    held += open_calls(IDLE // len(stubs) - 1)
    time.sleep(1)
    cost = (own.resident_kib() - before) / (IDLE - len(stubs))
    for call in held:
        call.cancel()
    for channel in channels:
        channel.close()
    bench.raw["idle subscriptions"] = cost
    bench.add(
        f"resident memory of an idle subscription, {IDLE:,} of them on {len(stubs)} connections", "≤ 10 KiB", f"{cost:.2f} KiB",
        "grpcio clients; nothing is written", cost <= 10,
    )
    remove(own)


def bench_latency(bench: Bench) -> None:
    peer = GRPCPeer(bench)
    for name, own in (("in memory", memory_broker(bench, "latency")), ("durable", bench.broker("latency-disk"))):
        create(own, "latency")
        shape = ["--record-size", 100, "--rate", RATE, "--duration", bench.seconds, "--warmup", 0.5]
        seen, echoes = [], []
        bare: list[dict[str, Any]] = []
        for _ in range(bench.rounds):
            seen.append(run(bench, own, "latency", "--topic", "latency", *shape))
            echoes.append(run(bench, own, "echo", *shape))
            peer.measure(bare, lambda server: run(bench, server, "echo", *shape))
        bench.raw[f"latency {name}"] = {"broker": seen, "echo": echoes, "peer": bare}

        def microseconds(results: list[dict[str, Any]]) -> str:
            p50, p99 = ([result["latency_us"][share] for result in results] for share in ("p50", "p99"))
            return f"p50 {spread(p50, 0)} µs, p99 {spread(p99, 0)} µs"

        bench.add(
            f"from a publisher to a subscriber, {RATE:,} records/s, {name}; kept: {spread(rates(seen + echoes + bare), 0)}", "",
            f"{microseconds(seen)}; a stream of the same broker that is answered at once: {microseconds(echoes)}",
            peer.beside(bare, lambda found: f"{microseconds(found)} for the same echo"), None,
        )  # fmt: skip
        remove(own)
    peer.close()


def bench_work(bench: Bench) -> None:
    own = memory_broker(bench, "work")
    create(own, "jobs")
    jobs = 300_000
    fill(bench, own, "jobs", jobs, 100)
    seen = [
        run(bench, own, "work", "--topic", "jobs", "--record-size", 100, "--in-flight", 2000, "--records", jobs)
        for _ in range(bench.rounds)
    ]
    bench.raw["work"] = seen
    rates = [result["records_per_second"] for result in seen]
    costs = [result["server_cpu_us_per_record"] for result in seen]
    bench.add(
        "work queue: received, acknowledged and confirmed, one worker, 100-byte jobs, in memory", "≥ 100,000 records/s",
        f"{spread(rates, 0)} records/s", f"server CPU {spread(costs)} µs a record", median(rates) >= 100_000,
    )
    remove(own)
