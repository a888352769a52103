#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Martlet, bench: measures the release binary beside its limits and peers.
"""Builds the C peers, runs every benchmark as interleaved rounds (A B A B …), and writes docs/benchmarks.md.

Nothing here is a test: figures are reported, not judged to be failures. Each mark stands beside the limit or
the peer that was measured in the same run with the same client. Server CPU is user and system time of all
threads of the server, from /proc/PID/stat, divided by the requests that were answered meanwhile.

    MARTLET_BIN=.build/martlet .venv/bin/python Tests/bench/bench.py [--only NAME,…] [--rounds N] [--seconds S] [--no-write]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Callable

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "interop"))
sys.dont_write_bytecode = True

import wire  # noqa: E402
from broker import Broker  # noqa: E402
from driver import (  # noqa: E402
    REPOSITORY, Bench, batch_of, cpu_us, create, end_offset, median, produce_error_at, produce_frame, remove, spread,
)
from access_benchmark import bench_access  # noqa: E402
from grpc_benchmarks import (  # noqa: E402
    bench_fan_out, bench_idle_subscriptions, bench_latency, bench_publish_stream, bench_work,
)
from group_benchmarks import bench_heartbeat, bench_rebalance  # noqa: E402
from grpc_peer import GRPCPeer  # noqa: E402
from handshake_benchmarks import bench_handshakes  # noqa: E402

KAFKA = "Apache Kafka itself was not measured here: no Kafka is at hand on this machine (Debian and PyPI have none)."


# Start-up, memory, size.


def measure_starts(
    bench: Bench, folder: Path, count: int, settle_ms: int = 0, *, kills: bool = False
) -> dict[str, list[float]]:
    """Starts the broker of this folder `count` times; with `kills` it is ended by SIGKILL each time."""
    ready = folder / "ready.json"
    command = [bench.peer("startup"), str(count), str(ready), str(settle_ms), *(["--kill"] if kills else []), "--",
               bench.binary, "dev", "--port", "0", "--ready-file", str(ready), "--data", str(folder / "data"),
               "--certs", str(folder / "certs")]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"startup: {done.stderr}")
    return json.loads(done.stdout[done.stdout.index('{"ready_ms"') :])


def bench_startup(bench: Bench) -> None:
    runs = max(15, bench.rounds * 3)

    def measure(folder: Path, count: int, settle_ms: int = 0) -> dict[str, list[float]]:
        return measure_starts(bench, folder, count, settle_ms)

    folder = bench.folder / "startup-data"
    folder.mkdir()
    first = measure(folder, 1)
    empty = measure(folder, runs)
    bench.raw["startup first"], bench.raw["startup empty"] = first, empty
    bench.add(
        "start to first answered ApiVersions", "≤ 10 ms", f"{spread(empty['answered_ms'])} ms",
        f"the very first start, which mints certificates: {first['answered_ms'][0]:.1f} ms",
        median(empty["answered_ms"]) <= 10,
    )
    idle = measure(folder, 3, settle_ms=2000)
    bench.raw["startup idle"] = idle
    bench.add(
        "resident when idle", "≤ 20 MB", f"{median(idle['rss_kib']) / 1024:.1f} MB", "VmRSS 2 s after the first answer",
        median(idle["rss_kib"]) / 1024 <= 20,
    )
    size = os.path.getsize(bench.binary)
    bench.add(
        "release binary, stripped, static Swift runtime", "≤ 40 MB", f"{size / 1e6:.1f} MB", "", size <= 40e6
    )
    shutil.rmtree(folder)

    own = bench.broker("startup-full")
    create(own, "many", 1000)
    records = batch_of(64 * 1024, 1000)
    frames = bench.frames("many", [produce_frame("many", records, partition) for partition in range(1000)])
    wanted = 5 * 1000**3 // len(records) + 1
    bench.load(own.port, frames, "--connections", 4, "--in-flight", 4, "--requests", wanted, "--correlate",
               "--zero-at", produce_error_at("many"))  # fmt: skip
    if own.stop() != 0:
        raise SystemExit("the broker did not end cleanly")
    held = sum(path.stat().st_size for path in own.data.rglob("*.log"))
    full = measure(own.directory, runs)
    full_idle = measure(own.directory, 3, settle_ms=2000)
    bench.raw["startup full"], bench.raw["startup full idle"] = full, full_idle
    bench.add(
        f"the same with 1,000 partitions and {held / 1e9:.1f} GB on disk", "≤ 10 ms",
        f"{spread(full['answered_ms'])} ms",
        f"empty: {median(empty['answered_ms']):.2f} ms; resident {median(full_idle['rss_kib']) / 1024:.1f} MB; "
        f"stop {median(full['stop_ms']):.1f} ms", median(full["answered_ms"]) <= 10,
    )  # fmt: skip
    remove(own)


# Scale.

PARTITIONS = 10_000


def bench_partitions(bench: Bench) -> None:
    runs = max(5, bench.rounds)
    empty = bench.folder / "scale-empty"
    empty.mkdir()
    measure_starts(bench, empty, 1)
    base_kib = median(measure_starts(bench, empty, 3, 1000)["rss_kib"])
    shutil.rmtree(empty)
    own = bench.broker("scale")
    create(own, "many", PARTITIONS)
    records = wire.batch([wire.Record(os.urandom(512))])
    frames = bench.frames("scale", [produce_frame("many", records, partition) for partition in range(PARTITIONS)])

    def write(requests: int) -> None:
        bench.load(own.port, frames, "--connections", 4, "--in-flight", 16, "--requests", requests, "--correlate",
                   "--zero-at", produce_error_at("many"))  # fmt: skip

    write(3 * PARTITIONS)
    if own.stop() != 0:
        raise SystemExit("the broker did not end cleanly")
    clean = measure_starts(bench, own.directory, runs)
    idle = measure_starts(bench, own.directory, 3, 7000)
    bench.raw["partitions clean"], bench.raw["partitions idle"] = clean, idle
    bench.add(
        f"start with {PARTITIONS:,} partitions after a clean stop, to the first answered request", "≤ 300 ms",
        f"{spread(clean['answered_ms'], 1)} ms", f"stop {median(clean['stop_ms']):.0f} ms",
        median(clean["answered_ms"]) <= 300,
    )  # fmt: skip
    each = (median(idle["rss_kib"]) - base_kib) / PARTITIONS
    bench.add(
        "resident memory of an idle partition", "≤ 15 KiB", f"{each:.2f} KiB",
        f"{median(idle['rss_kib']) / 1024:.1f} MB with {PARTITIONS:,} partitions, {base_kib / 1024:.1f} MB without",
        each <= 15,
    )  # fmt: skip
    own.start()
    write(3 * PARTITIONS)
    own.kill()
    killed = measure_starts(bench, own.directory, runs, kills=True)
    bench.raw["partitions killed"] = killed
    bench.add(
        f"the same after kill -9 while all {PARTITIONS:,} were written", "≤ 1,000 ms",
        f"{spread(killed['answered_ms'], 1)} ms", "", median(killed["answered_ms"]) <= 1000,
    )
    remove(own)


def bench_recovery(bench: Bench) -> None:
    """Kills a broker in the middle of writing 10 GB as fast as it takes them."""
    runs = max(5, bench.rounds)
    own = bench.broker("recovery")
    create(own, "bulk", 4)
    records = batch_of(64 * 1024, 1000)
    frames = bench.frames("recovery", [produce_frame("bulk", records, partition) for partition in range(4)])
    wanted = 10 * 1000**3 // len(records)
    started = time.monotonic()
    bench.load(own.port, frames, "--connections", 4, "--in-flight", 4, "--requests", wanted, "--correlate",
               "--zero-at", produce_error_at("bulk"))  # fmt: skip
    seconds = time.monotonic() - started
    own.kill()
    held = sum(path.stat().st_size for path in own.data.rglob("*.log"))
    killed = measure_starts(bench, own.directory, runs, kills=True)
    bench.raw["recovery"] = killed
    bench.add(
        f"start after kill -9, with {held / 1e9:.1f} GB written just before, to the first answered request", "≤ 200 ms",
        f"{spread(killed['answered_ms'], 1)} ms", f"written at {held / 1e9 / seconds:.2f} GB/s, acks=1",
        median(killed["answered_ms"]) <= 200,
    )  # fmt: skip
    remove(own)


def bench_connections(bench: Bench) -> None:
    import ssl

    own = bench.broker("connections")
    context = ssl.create_default_context(cafile=own.ca)
    context.load_cert_chain(own.certificate, own.key)
    question = wire.api_versions_request()

    def hold(count: int, tls: Any) -> float:
        """KiB of the broker's resident memory that each of `count` idle connections costs."""
        before = own.resident_kib()
        held = []
        for _ in range(count):
            connection = wire.Wire(own.address, tls=tls)
            connection.call(question)
            held.append(connection)
        cost = (own.resident_kib() - before) / count
        for connection in held:
            connection.close()
        return cost

    hold(200, None), hold(200, context)
    plain, secure = hold(4000, None), hold(2000, context)
    bench.raw["connections"] = {"plaintext KiB": plain, "TLS KiB": secure}
    bench.add(
        "resident memory of an idle connection", "", f"{plain:.1f} KiB plaintext, {secure:.1f} KiB mutual TLS",
        "4,000 and 2,000 at once, after one ApiVersions each", None,
    )
    remove(own)


# Cost of a request.


def bench_request(bench: Bench) -> None:
    own = bench.broker("request")
    create(own, "one", 1, segment_bytes="268435456")
    frame = produce_frame("one", wire.batch([wire.Record(os.urandom(1024))]))
    frames = bench.frames("request", [frame])
    kafka = ["--correlate", "--zero-at", produce_error_at("one")]
    shape = ["--connections", 100, "--in-flight", 1, "--duration", bench.seconds, "--warmup", 0.5]
    certs = Path(own.ca).parent
    client = ",".join([own.certificate, own.key, own.ca])
    for transport, mark in (("plaintext", 1.8), ("mTLS", 1.7)):
        secure = transport == "mTLS"
        tls = [str(certs / "server.pem"), str(certs / "server.key"), own.ca]
        echo = bench.serve(bench.peer("echo_epoll"), *(["--tls", *tls] if secure else []))
        flags = shape + (["--tls", client] if secure else [])
        echoes, brokers = [], []
        for _ in range(bench.rounds):
            echoes.append(bench.load(echo.port, frames, *flags, "--server-pid", echo.pid))
            brokers.append(bench.load(own.port, frames, *flags, *kafka, "--server-pid", own.pid))
        echo.close()
        bench.raw[f"request {transport}"] = {"echo": echoes, "broker": brokers}
        ours, theirs = [cpu_us(result) for result in brokers], [cpu_us(result) for result in echoes]
        ratio = median(ours) / median(theirs)
        rate = median([result["requests"] / result["seconds"] for result in brokers])
        echo_rate = median([result["requests"] / result["seconds"] for result in echoes])
        bench.add(
            f"Produce 1 KiB, acks=1, 100 connections, {transport}: server CPU a request",
            f"≤ {mark} × bare echo", f"{spread(ours)} µs = {ratio:.2f} ×; {rate:,.0f}/s",
            f"C epoll echo of 64 bytes: {spread(theirs)} µs; {echo_rate:,.0f}/s", ratio <= mark,
        )  # fmt: skip
    remove(own)


# Bulk.


def dd(folder: Path, megabytes: int) -> float:
    """MB/s that dd writes to this disk, made durable at the end."""
    target = folder / "dd.out"
    started = time.monotonic()
    subprocess.run(["dd", "if=/dev/zero", f"of={target}", "bs=1M", f"count={megabytes}", "conv=fdatasync"],
                   check=True, capture_output=True)  # fmt: skip
    seconds = time.monotonic() - started
    target.unlink()
    return megabytes * 1048576 / 1e6 / seconds


def bench_bulk(bench: Bench) -> None:
    megabytes = 2048
    for size, connections, in_flight in ((64 * 1024, 8, 4), (1024 * 1024, 4, 2)):
        records = batch_of(size, 1000)
        frames = bench.frames("bulk", [produce_frame("bulk", records, acks=-1)])
        wanted = megabytes * 1048576 // len(records)
        check = ["--correlate", "--zero-at", produce_error_at("bulk")]
        ours, disks = [], []
        for number in range(bench.rounds):
            disks.append(dd(bench.folder, megabytes))
            own = bench.broker(f"bulk-{number}")
            create(own, "bulk")
            result = bench.load(own.port, frames, "--connections", connections, "--in-flight", in_flight,
                                "--requests", wanted, *check, "--server-pid", own.pid)  # fmt: skip
            ours.append(result["bytes_out"] / 1e6 / result["seconds"])
            remove(own)
        name = "64 KiB" if size == 65536 else "1 MiB"
        bench.raw[f"bulk disk {name}"] = {"dd": disks, "broker": ours}
        share = median(ours) / median(disks)
        bench.add(
            f"batches of {name}, acks=all, durability disk", "≥ 0.9 × dd",
            f"{spread(ours, 0)} MB/s = {share:.2f} ×", f"dd conv=fdatasync: {spread(disks, 0)} MB/s", share >= 0.9,
        )
        rates = []
        for number in range(bench.rounds):
            own = bench.broker(f"memory-{number}", "--log-retention-check-interval-ms", "100", ephemeral=True)
            create(own, "bulk", 4, segment_bytes="67108864", retention_bytes="268435456")
            spread_frames = bench.frames(
                "memory", [produce_frame("bulk", records, partition, acks=-1) for partition in range(4)]
            )
            result = bench.load(own.port, spread_frames, "--connections", connections, "--in-flight", in_flight,
                                "--duration", bench.seconds, *check, "--server-pid", own.pid)  # fmt: skip
            rates.append(result["bytes_out"] / 1e6 / result["seconds"])
            remove(own)
        bench.raw[f"bulk memory {name}"] = rates
        bench.add(
            f"batches of {name}, acks=all, in memory", "≥ 1,000 MB/s", f"{spread(rates, 0)} MB/s", "",
            median(rates) >= 1000,
        )


# Fetch.


def bench_fetch(bench: Bench) -> None:
    own = bench.broker("fetch")
    create(own, "read")
    records = batch_of(64 * 1024, 1000)
    count = wire.batch_header(records).count
    answer = 1024 * 1024 // len(records) * len(records)
    batches = 1024 * 1024 // len(records)
    answers = 200
    bench.load(own.port, bench.frames("fill", [produce_frame("read", records)]), "--connections", 1, "--in-flight", 8,
               "--requests", answers * batches, "--correlate", "--zero-at", produce_error_at("read"))  # fmt: skip
    # One answer a frame, offsets one after the other; both servers send the same ranges of the same file.
    kafka = bench.frames("kafka", [
        wire.fetch_request("read", 0, number * batches * count, partition_max_bytes=answer, max_wait_ms=0)
        for number in range(answers)
    ])  # fmt: skip
    raw = bench.frames("raw", [
        struct.pack(">iqi", 12, number * batches * len(records), answer) for number in range(answers)
    ])  # fmt: skip
    log = own.data / "read-0" / ("0" * 20 + ".log")
    loop = bench.serve(bench.peer("sendfile_loop"), str(log))
    shape = ["--connections", 4, "--in-flight", 1, "--duration", bench.seconds, "--warmup", 0.5]
    ours, theirs = [], []
    for _ in range(bench.rounds):
        theirs.append(bench.load(loop.port, raw, *shape, "--server-pid", loop.pid))
        # Error code of Fetch v11 as a whole: after correlation id and throttle time.
        ours.append(bench.load(own.port, kafka, *shape, "--correlate", "--zero-at", 8, "--server-pid", own.pid))
    loop.close()
    bench.raw["fetch"] = {"sendfile": theirs, "broker": ours}

    def gigabytes(results: list[dict[str, Any]]) -> list[float]:
        return [result["bytes_in"] / 1e9 / result["seconds"] for result in results]

    def per_mebibyte(results: list[dict[str, Any]]) -> list[float]:
        return [result["server_cpu_ms"] * 1000 / (result["bytes_in"] / 1048576) for result in results]

    for result in ours:
        if result["bytes_in"] / result["requests"] < 0.95 * answer:
            raise SystemExit("the broker's answers are smaller than what was asked for")
    share = median(gigabytes(ours)) / median(gigabytes(theirs))
    bench.add(
        "Fetch of cached data, plaintext, 1 MiB an answer", "≥ 0.9 × bare sendfile",
        f"{spread(gigabytes(ours))} GB/s = {share:.2f} ×; {median(per_mebibyte(ours)):.0f} µs CPU a MiB",
        f"sendfile loop: {spread(gigabytes(theirs))} GB/s; {median(per_mebibyte(theirs)):.0f} µs CPU a MiB",
        share >= 0.9,
    )
    remove(own)


# gRPC.


def varint_field(number: int, data: bytes) -> bytes:
    return wire.unsigned_varint(number << 3 | 2) + wire.unsigned_varint(len(data)) + data


def bench_publish(bench: Bench) -> None:
    if shutil.which("h2load") is None:
        bench.notes.append("Publish was not measured: h2load is not installed (Debian: nghttp2-client).")
        return
    # PublishRequest{topic = 1, records = 3 {value = 2}} behind the 5-byte prefix of gRPC.
    message = varint_field(1, b"calls") + varint_field(3, varint_field(2, os.urandom(1024)))
    body = bench.folder / "publish.bin"
    body.write_bytes(b"\0" + struct.pack(">I", len(message)) + message)
    peer = GRPCPeer(bench)
    calls = 400_000
    found: dict[str, list[tuple[float, float]]] = {"broker": [], "peer": []}

    def shoot(address: str, count: int) -> str:
        return subprocess.run(
            ["h2load", "-c", "8", "-m", "32", "-t", "1", "-n", str(count), "-d", str(body),
             "-H", "content-type: application/grpc", "-H", "te: trailers",
             f"http://{address}/martlet.v1.Streams/Publish"], check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip

    def measure(server: Any) -> tuple[float, float]:
        """Calls a second, and microseconds of server CPU a call."""
        shoot(server.address, 20_000)
        cpu = process_cpu(server.pid)
        text = shoot(server.address, calls)
        spent = process_cpu(server.pid) - cpu
        if f" {calls} succeeded" not in text:
            raise SystemExit(f"not all {calls} calls succeeded:\n{text}")
        line = next(line for line in text.splitlines() if line.startswith("finished in"))
        return float(line.split(",")[1].strip().split(" ")[0]), spent * 1e6 / calls

    for number in range(bench.rounds):
        own = bench.broker(f"publish-{number}", "--log-retention-check-interval-ms", "200", ephemeral=True)
        create(own, "calls", 1, segment_bytes="67108864", retention_bytes="268435456")
        found["broker"].append(measure(own))
        written = end_offset(own, "calls")
        if written != calls + 20_000:
            raise SystemExit(f"{calls + 20_000} calls wrote {written} records")
        remove(own)
        peer.measure(found["peer"], measure)
    peer.close()
    bench.raw["publish"] = found

    def figures(results: list[tuple[float, float]]) -> str:
        rates, costs = zip(*results)
        return f"{spread(list(rates), 0)} calls/s, server CPU {spread(list(costs))} µs a call"

    bench.add(
        "gRPC Publish of 1 KiB, unary, h2load 8 × 32, in memory", "≥ 150,000 calls/s",
        f"{figures(found['broker'])}; every record checked to be written", peer.beside(found["peer"], figures),
        median([rate for rate, _ in found["broker"]]) >= 150_000,
    )  # fmt: skip


def process_cpu(pid: int) -> float:
    """User and system seconds of all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def bench_subscribe(bench: Bench) -> None:
    own = bench.broker("subscribe")
    create(own, "small")
    records = batch_of(1_000_000, 100)
    count = wire.batch_header(records).count
    batches = 10_000_000 // count + 1
    bench.load(own.port, bench.frames("fill", [produce_frame("small", records)]), "--connections", 1, "--in-flight", 4,
               "--requests", batches, "--correlate", "--zero-at", produce_error_at("small"))  # fmt: skip
    total = batches * count
    rates, costs = [], []
    for _ in range(bench.rounds):
        done = subprocess.run(
            [bench.binary, "bench", "subscribe", "--topic", "small", "--records", str(total), "--json",
             "--server-pid", str(own.pid), "--bootstrap", own.address, "--ca", own.ca, "--cert", own.certificate,
             "--key", own.key], capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode != 0:
            raise SystemExit(f"bench subscribe: {done.stderr}{done.stdout}")
        result = json.loads(done.stdout)
        if result["refused"] or result["gaps"] or result["records"] < total:
            raise SystemExit(f"bench subscribe: {result}")
        rates.append(result["records_per_second"])
        costs.append(result["server_cpu_seconds"] * 1e9 / result["records"])
    bench.raw["subscribe"] = {"records/s": rates, "cpu_ns": costs}
    bench.add(
        "gRPC Subscribe of 100-byte records, mTLS, one subscriber", "≥ 2,000,000 records/s",
        f"{spread(rates, 0)} records/s", f"server CPU {spread(costs, 0)} ns a record", median(rates) >= 2_000_000,
    )
    remove(own)


# Group commit.


def bench_group_commit(bench: Bench) -> None:
    own = bench.broker("commit")
    create(own, "sync")
    frames = bench.frames("sync", [produce_frame("sync", wire.batch([wire.Record(os.urandom(1024))]), acks=-1)])
    check = ["--in-flight", 1, "--duration", bench.seconds, "--warmup", 0.3, "--correlate", "--zero-at",
             produce_error_at("sync")]  # fmt: skip
    ones, many = [], []
    for _ in range(bench.rounds):
        ones.append(bench.load(own.port, frames, "--connections", 1, *check))
        many.append(bench.load(own.port, frames, "--connections", 64, *check))
    bench.raw["group commit"] = {"one": ones, "64": many}
    rate_one = [result["requests"] / result["seconds"] for result in ones]
    rate_many = [result["requests"] / result["seconds"] for result in many]
    ratio = median(rate_many) / median(rate_one)
    bench.add(
        "acks=all, 64 producers with one request in flight each", "≥ 20 × one producer",
        f"{spread(rate_many, 0)}/s = {ratio:.1f} ×",
        f"one producer: {spread(rate_one, 0)}/s (a sync: {median([result['p50_us'] for result in ones]) / 1000:.2f} ms)",
        ratio >= 20,
    )
    remove(own)


BENCHMARKS: dict[str, Callable[[Bench], None]] = {
    "startup": bench_startup,
    "partitions": bench_partitions,
    "recovery": bench_recovery,
    "connections": bench_connections,
    "request": bench_request,
    "bulk": bench_bulk,
    "fetch": bench_fetch,
    "publish": bench_publish,
    "subscribe": bench_subscribe,
    "group-commit": bench_group_commit,
    "heartbeat": bench_heartbeat,
    "rebalance": bench_rebalance,
    "access": bench_access,
    "publish-stream": bench_publish_stream,
    "fan-out": bench_fan_out,
    "idle-subscriptions": bench_idle_subscriptions,
    "latency": bench_latency,
    "work": bench_work,
    "handshakes": bench_handshakes,
}


# The page.


def machine(folder: Path) -> list[str]:
    def first(path: str, key: str) -> str:
        for line in Path(path).read_text().splitlines():
            if line.startswith(key):
                return line.split(":", 1)[1].strip()
        return "unknown"

    commit = subprocess.run(["git", "-C", str(REPOSITORY), "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    disk = subprocess.run(["df", "--output=source,fstype", str(folder)], capture_output=True, text=True)
    return [
        f"- {os.cpu_count()} cores, {first('/proc/cpuinfo', 'model name')}; {first('/proc/meminfo', 'MemTotal')} memory",
        f"- Linux {platform.release()}, disk {' '.join(disk.stdout.splitlines()[-1].split())}",
        f"- commit {commit.stdout.strip()}, {datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC, load average before: "
        f"{os.getloadavg()[0]:.2f}",
    ]


def page(bench: Bench, facts: list[str], command: str) -> str:
    lines = [
        "# Benchmarks",
        "",
        f"Written by `{command}`. Medians of {bench.rounds} interleaved rounds, in parentheses the lowest and the highest.",
        "Client and server share the cores. Server CPU is user and system time of all its threads, from /proc/PID/stat.",
        "The bare peers in `Tests/bench` are driven by the same load generator (`load.c`, `martlet bench` or h2load) as the broker.",
        KAFKA,
        "",
        *facts,
        "",
        "| what | mark | result | limit or peer in the same run | |",
        "|---|---|---|---|---|",
    ]
    for row in bench.rows:
        verdict = {True: "reached", False: "**not reached**", None: ""}[row.reached]
        lines.append(f"| {row.what} | {row.mark} | {row.result} | {row.beside} | {verdict} |")
    for note in bench.notes:
        lines += ["", note]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help=f"some of: {', '.join(BENCHMARKS)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--no-write", action="store_true", help="leave docs/benchmarks.md alone")
    parser.add_argument("--raw", help="write every measurement to this JSON file")
    parser.add_argument("--folder", help="where brokers keep their data; default: the temporary directory")
    options = parser.parse_args()
    names = [name for name in options.only.split(",") if name] or list(BENCHMARKS)
    unknown = set(names) - BENCHMARKS.keys()
    if unknown:
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    binary = os.path.abspath(os.environ.get("MARTLET_BIN", REPOSITORY / ".build" / "martlet"))
    if not os.access(binary, os.X_OK):
        parser.error(f"{binary} is no executable: run `make build`, or set MARTLET_BIN")
    with tempfile.TemporaryDirectory(prefix="martlet-bench-", dir=options.folder) as name:
        bench = Bench(binary, Path(name), options.rounds, options.seconds)
        facts = machine(bench.folder)
        bench.build_peers()
        try:
            for benchmark in names:
                bench.say(benchmark)
                BENCHMARKS[benchmark](bench)
        finally:
            for own in list(Broker.live):
                own.close()
    text = page(bench, facts, "make bench" if not options.only else "make bench ARGS=" + " ".join(sys.argv[1:]))
    print(text)
    if options.raw:
        Path(options.raw).write_text(json.dumps(bench.raw, indent=1))
    if not options.no_write and not options.only:
        (REPOSITORY / "docs" / "benchmarks.md").write_text(text)


if __name__ == "__main__":
    main()
