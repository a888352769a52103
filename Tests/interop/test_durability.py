# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: what was acked is there.
"""Brokers killed again and again while clients of both protocols write; a disk that fills up.

The oracle is what the clients were told. After the last start every acked record must be served once, in
order, at the offset it was acked with, by Fetch, by Subscribe and in the files. Seeds are fixed and can be
set with MARTLET_SEED.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import Any, Callable, Optional

import grpc
import pytest

import protocol
import segments
import wire
from broker import Broker, Endpoint, wait_until
from grpc_client import Client
from oracle import (
    PARTITIONS, SEED, AiokafkaWriter, GrpcWriter, LibrdkafkaWriter, Oracle, Writer, check_against, read_by_fetch,
)
from wire import Record, Wire, batch

ROUNDS = 12


class Committer(threading.Thread):
    """Commits ever larger offsets and makes topics; remembers what was confirmed."""

    def __init__(self, endpoint: Endpoint, topic: str, group: str, api: Any):
        super().__init__(name="committer")
        self.endpoint, self.topic, self.group, self.api = endpoint, topic, group, api
        self.stopping = threading.Event()
        self.tried = self.confirmed = 0
        self.topics: list[str] = []

    def run(self) -> None:
        options = (("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 200))
        client = Client(self.endpoint, self.api, options)
        while not self.stopping.is_set():
            self.tried += 1
            offsets = [self.api.PartitionOffset(topic=self.topic, partition=0, offset=self.tried)]
            try:
                client.streams.Commit(self.api.CommitRequest(group=self.group, offsets=offsets), timeout=10)
                self.confirmed = self.tried
                if self.tried % 20 == 0:
                    name = f"{self.topic}-made-{self.tried}"
                    client.create(name, 2)
                    self.topics.append(name)
            except grpc.RpcError:
                self.stopping.wait(0.02)
            self.stopping.wait(0.005)
        client.channel.close()


@pytest.mark.deadline(240)
def test_everything_acked_survives_kill_9_again_and_again(
    start_broker: Callable[..., Broker], api: Any, topic: str, group: str
) -> None:
    chance = random.Random(SEED)
    own = start_broker(stable=True)
    secure, plain = Endpoint(own, True), Endpoint(own, False)
    with Wire(own.address) as connection:
        # Small segments, so that kills fall into rolls as well.
        protocol.create(connection, topic, PARTITIONS, segment_bytes="60000", index_interval_bytes="1000")
    oracle = Oracle()
    writers: list[Writer] = [
        LibrdkafkaWriter("rdkafka-tls", secure, topic, oracle, **{"acks": "all", "enable.idempotence": True}),
        LibrdkafkaWriter(
            "rdkafka-lz4", plain, topic, oracle,
            **{"acks": "all", "enable.idempotence": True, "compression.type": "lz4"}),
        # Survives kill -9 by promise, though not a power cut. Without idempotence it must not retry.
        LibrdkafkaWriter("rdkafka-acks-1", plain, topic, oracle, **{"acks": "1", "retries": 0}),
        AiokafkaWriter("aiokafka", secure, topic, oracle),
        GrpcWriter("grpc-tls", secure, topic, oracle, api=api),
        GrpcWriter("grpc-1", plain, topic, oracle, api=api),
        GrpcWriter("grpc-2", plain, topic, oracle, api=api),
    ]  # fmt: skip
    committer = Committer(plain, topic, group, api)
    for writer in [*writers, committer]:
        writer.start()
    try:
        for _ in range(ROUNDS):
            target = oracle.count() + chance.randrange(1, 600)
            wait_until(lambda: oracle.count() >= target or oracle.failures, "records to be acked", 40)
            # A moment that has nothing to do with an ack.
            time.sleep(chance.random() * 0.05)
            if chance.random() < 0.2:
                own.stop()
            else:
                own.kill()
            own.start()
            if oracle.failures:
                break
        target = oracle.count() + 200
        wait_until(lambda: oracle.count() >= target or oracle.failures, "records after the last start", 40)
    finally:
        for writer in [*writers, committer]:
            writer.stopping.set()
        for writer in [*writers, committer]:
            writer.join(120)
    assert not oracle.failures, oracle.failures[:10]
    assert set(oracle.per_writer) == {writer.name for writer in writers}, "a writer was never acked"

    check_against(oracle, read_by_fetch(plain, topic), f"Fetch (seed {SEED})")
    client = Client(secure, api)
    subscribed: dict[tuple[str, int], list[tuple[int, bytes]]] = {}
    for partition, record in client.placed(topic):
        subscribed.setdefault((topic, partition), []).append((record.offset, record.value))
    check_against(oracle, subscribed, f"Subscribe (seed {SEED})")
    committed = client.streams.Committed(api.CommittedRequest(group=group), timeout=20).offsets[0].offset
    assert committer.confirmed > 0 and committer.confirmed <= committed <= committer.tried
    names = {entry.name for entry in client.admin.ListTopics(api.ListTopicsRequest(), timeout=20).topics}
    assert set(committer.topics) <= names, "a topic that was confirmed is gone"
    client.channel.close()
    assert own.stop() == 0
    files = {
        (topic, partition): [(record.offset, record.value) for record in segments.records(own.data, topic, partition)]
        for partition in range(PARTITIONS)
    }
    check_against(oracle, files, f"the files (seed {SEED})")
    for partition in range(PARTITIONS):
        for part in segments.segments(own.data, topic, partition):
            segments.check_indexes(part)


@pytest.mark.deadline(120)
def test_a_broker_killed_while_it_starts_is_none_the_worse(start_broker: Callable[..., Broker], topic: str) -> None:
    own = start_broker()
    with Wire(own.address) as connection:
        protocol.create(connection, topic, segment_bytes="20000")
        for number in range(200):
            assert connection.produce(topic, batch([Record(b"%d " % number + b"x" * 400)])).base_offset == number
    own.kill()
    chance = random.Random(SEED)
    for _ in range(20):
        setup = subprocess.Popen(own.command(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL)  # fmt: skip
        time.sleep(chance.random() * 0.03)
        setup.kill()
        setup.wait()
    own.start()
    with Wire(own.address) as connection:
        fetched = connection.fetch(topic, 199)
        assert fetched.high_watermark == 200
        assert wire.batch_header(fetched.records).base_offset == 199


# Disk full.


def _in_a_small_file_system() -> Optional[list[str]]:
    """A wrapper that gives a process a data directory of 24 MB of its own, where the kernel allows that."""
    probe = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True
    ) if shutil.which("unshare") else None
    if probe is None or probe.returncode != 0:
        return None
    script = 'mkdir -p "$0" && mount -t tmpfs -o size=24m,mode=0777 tmpfs "$0" && exec "$@"'
    return ["unshare", "--map-root-user", "--mount", "sh", "-c", script]


@pytest.mark.deadline(120)
def test_a_full_disk_is_an_error_to_producers_and_clears_when_space_returns(
    start_broker: Callable[..., Broker], api: Any, tmp_path: Path, topic: str
) -> None:
    wrapper = _in_a_small_file_system()
    if wrapper is None:
        pytest.skip("no mount namespaces here")
    own = start_broker(wrapper=[*wrapper, str(tmp_path / "own" / "data")])
    acked: list[int] = []
    with Wire(own.address) as connection:
        protocol.create(connection, topic)
        value = batch([Record(b"x" * 500_000)])
        for _ in range(100):
            answer = connection.produce(topic, value)
            if answer.error != wire.NONE:
                break
            acked.append(answer.base_offset)
        assert answer.error == 56, f"KAFKA_STORAGE_ERROR is what Kafka answers, not {answer}"
        assert acked == list(range(len(acked))) and len(acked) > 10
        # Reading goes on, and so does the rest of the broker.
        for offset in acked:
            assert wire.batch_header(connection.fetch(topic, offset).records).base_offset == offset
        client = Client(Endpoint(own, False), api)
        with pytest.raises(grpc.RpcError) as full:
            client.publish(topic, b"x" * 500_000)
        assert full.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED, full.value.details()
        client.channel.close()
        assert own.alive()
    own.wait_log(r"space|full|ENOSPC")


@pytest.mark.deadline(120)
def test_a_broker_recovers_by_itself_when_a_full_disk_is_cleared(
    start_broker: Callable[..., Broker], tmp_path: Path, topic: str
) -> None:
    wrapper = _in_a_small_file_system()
    if wrapper is None:
        pytest.skip("no mount namespaces here")
    own = start_broker(wrapper=[*wrapper, str(tmp_path / "own" / "data")])
    filler = Path(f"/proc/{own.pid}/root{own.data}") / "filler"
    small, large = batch([Record(b"small")]), batch([Record(b"x" * 300_000)])
    with Wire(own.address) as connection:
        protocol.create(connection, topic)
        assert connection.produce(topic, small).base_offset == 0
        # Someone else fills the disk, and goes again.
        with open(filler, "wb") as file:
            try:
                while True:
                    file.write(b"\0" * 65536)
                    file.flush()
            except OSError:
                pass
        error = wait_until(lambda: connection.produce(topic, large).error, "the disk to be full")
        assert error == 56
        filler.unlink()
        wait_until(lambda: connection.produce(topic, small).error == wire.NONE, "the broker to take records again")
        end = connection.fetch(topic, 0).high_watermark
        offsets = [wire.batch_header(connection.fetch(topic, offset).records).base_offset for offset in range(end)]
        assert offsets == list(range(end))
    own.kill()
