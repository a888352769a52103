# SPDX-License-Identifier: Apache-2.0
# Martlet, bench: what every benchmark needs: brokers, C peers, the load generator, and the rows of the page.
"""The driver of bench.py and of the benchmarks that have a file of their own."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
sys.path.insert(0, str(HERE.parent / "interop"))
sys.dont_write_bytecode = True

import wire  # noqa: E402
from broker import Broker  # noqa: E402

PEERS = ["echo_epoll", "sendfile_loop", "load", "startup"]


@dataclass
class Row:
    """One line of the table."""

    what: str
    mark: str
    result: str
    beside: str
    reached: Optional[bool]


@dataclass
class Bench:
    binary: str
    folder: Path
    rounds: int
    seconds: float
    rows: list[Row] = field(default_factory=list)
    raw: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    # Peers.

    def peer(self, name: str) -> str:
        return str(self.folder / name)

    def build_peers(self) -> None:
        for name in PEERS:
            subprocess.run(
                ["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", self.peer(name), str(HERE / f"{name}.c"),
                 "-lssl", "-lcrypto"], check=True,
            )  # fmt: skip

    def serve(self, *command: str) -> "Peer":
        return Peer(list(command))

    def load(self, port: int, frames: Path, *arguments: Any) -> dict[str, Any]:
        command = [self.peer("load"), "--port", str(port), "--frames", str(frames), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
        return json.loads(done.stdout)

    # Brokers.

    def broker(self, name: str, *arguments: str, ephemeral: bool = False) -> Broker:
        return Broker(self.binary, self.folder / name, arguments=arguments, ephemeral=ephemeral).start()

    def frames(self, name: str, frames: list[bytes]) -> Path:
        path = self.folder / f"{name}.frames"
        path.write_bytes(b"".join(frames))
        return path

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def add(self, what: str, mark: str, result: str, beside: str, reached: Optional[bool]) -> None:
        self.rows.append(Row(what, mark, result, beside, reached))
        verdict = {True: "reached", False: "NOT REACHED", None: ""}[reached]
        self.say(f"  {what}: {result} | {beside} | mark {mark} {verdict}")


class Peer:
    """A C peer, which prints its port first."""

    def __init__(self, command: list[str]):
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{command[0]} did not start")
        self.port = int(line)
        self.pid = self.process.pid

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


def remove(own: Broker) -> None:
    own.close()
    shutil.rmtree(own.directory, ignore_errors=True)


def create(own: Broker, topic: str, partitions: int = 1, **configs: str) -> None:
    """CreateTopics v4, by hand: the driver needs no client library."""
    entries = wire.array([wire.string(name.replace("_", ".")) + wire.string(value) for name, value in configs.items()])
    item = wire.string(topic) + wire.i32(partitions) + wire.i16(1) + wire.array([]) + entries
    body = wire.array([item]) + wire.i32(30_000) + wire.i8(0)
    with wire.Wire(own.address, timeout=120) as connection:
        reader = wire.Reader(connection.call(wire.request(wire.CREATE_TOPICS, 4, 1, body, flexible=False)))
        reader.i32(), reader.i32(), reader.i32(), reader.string()
        error = reader.i16()
        if error != wire.NONE:
            raise SystemExit(f"CreateTopics was answered with error {error}")


def end_offset(own: Broker, topic: str, partition: int = 0) -> int:
    """ListOffsets v1, latest. A Fetch would be refused, without an end, once retention has removed its offset."""
    item = wire.i32(partition) + wire.i64(-1)
    body = wire.i32(-1) + wire.array([wire.string(topic) + wire.array([item])])
    with wire.Wire(own.address) as connection:
        reader = wire.Reader(connection.call(wire.request(wire.LIST_OFFSETS, 1, 1, body, flexible=False)))
        reader.i32(), reader.i32(), reader.string(), reader.i32(), reader.i32()
        error = reader.i16()
        if error != wire.NONE:
            raise SystemExit(f"ListOffsets was answered with error {error}")
        reader.i64()
        return reader.i64()


PRODUCE_VERSION = 9


def produce_frame(topic: str, records: bytes, partition: int = 0, acks: int = 1) -> bytes:
    return wire.produce_request(topic, partition, records, version=PRODUCE_VERSION, acks=acks)


def produce_error_at(topic: str) -> int:
    """Where in an answer to `produce_frame` the error code lies: after correlation id, tags, topic, partition."""
    return 4 + 1 + 1 + len(wire.compact_string(topic)) + 1 + 4


def batch_of(size: int, record_size: int) -> bytes:
    """A batch of at most `size` bytes of equal records."""
    item = wire.Record(os.urandom(record_size // 2).hex().encode()[:record_size])
    one = len(wire.record(item, 1 << 20))
    return wire.batch([item] * max(1, (size - 61) // one))


def median(values: list[float]) -> float:
    return statistics.median(values)


def spread(values: list[float], digits: int = 2) -> str:
    return f"{median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def cpu_us(result: dict[str, Any]) -> float:
    return result["server_cpu_ms"] * 1000 / result["requests"]
