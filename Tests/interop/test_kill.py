# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: kill -9, again and again, under everything at once.
"""A broker that is killed at random moments while every client library writes, reads, commits and makes topics.

`MARTLET_KILLS` says how often (`make kill-test KILLS=500`), `MARTLET_SEED` at which moments: while serving, while segments
are rolled (they are small), while topics are made and deleted, while starting and recovering. `martlet dev` and
`martlet serve` take turns on the same directory. What holds is in docs/reliability.md.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import threading
import time
from typing import Any, Callable, Optional

import grpc
import pytest

import protocol
import segments
from broker import Broker, Endpoint, wait_until
from grpc_client import Client
from groups import AiokafkaReader, KafkaPythonReader, LibrdkafkaReader, Reader
from oracle import (
    PARTITIONS, RECONNECT, SEED, AiokafkaWriter, GrpcWriter, KafkaPythonWriter, KcatWriter, LibrdkafkaWriter, Oracle,
    Writer, check_against, read_by_fetch,
)
from wire import CREATE_TOPICS, DELETE_TOPICS, METADATA, NONE, Wire

KILLS = int(os.environ.get("MARTLET_KILLS", "50"))


class Committer(threading.Thread):
    """Commits ever larger offsets by gRPC and checks that none that was confirmed goes back."""

    def __init__(self, endpoint: Endpoint, topic: str, group: str, api: Any):
        super().__init__(name="committer", daemon=True)
        self.endpoint, self.topic, self.group, self.api = endpoint, topic, group, api
        self.stopping = threading.Event()
        self.tried = self.confirmed = 0
        self.failures: list[str] = []

    def run(self) -> None:
        client = Client(self.endpoint, self.api, RECONNECT)
        turn = 0
        while not self.stopping.is_set():
            turn += 1
            try:
                if turn % 10 == 0:
                    self.check(client)
                self.tried += 1
                offsets = [self.api.PartitionOffset(topic=self.topic, partition=0, offset=self.tried)]
                client.streams.Commit(self.api.CommitRequest(group=self.group, offsets=offsets), timeout=10)
                self.confirmed = self.tried
            except grpc.RpcError:
                self.stopping.wait(0.02)
            self.stopping.wait(0.01)
        client.channel.close()

    def check(self, client: Client) -> None:
        if self.confirmed == 0:
            return
        answer = client.streams.Committed(self.api.CommittedRequest(group=self.group), timeout=10)
        found = [entry.offset for entry in answer.offsets]
        if len(found) != 1 or not self.confirmed <= found[0] <= self.tried:
            self.failures.append(f"committed {self.confirmed} (tried {self.tried}), found {found}")


class TopicMaker(threading.Thread):
    """Makes and deletes topics; remembers the ids of those that were confirmed, and which must be gone."""

    def __init__(self, endpoint: Endpoint, prefix: str):
        super().__init__(name="topics", daemon=True)
        self.endpoint, self.prefix = endpoint, prefix
        self.stopping = threading.Event()
        self.made: dict[str, Any] = {}
        self.gone: set[str] = set()
        self.failures: list[str] = []

    def run(self) -> None:
        number = 0
        connection: Optional[Wire] = None
        while not self.stopping.is_set():
            number += 1
            try:
                if connection is None:
                    connection = Wire(self.endpoint.address, timeout=10)
                self.make(connection, f"{self.prefix}-{number}")
                # Few stay; names come back with new ids.
                if len(self.made) > 15:
                    self.delete(connection, next(iter(self.made)))
            except (OSError, AssertionError) as error:
                if isinstance(error, AssertionError) and "ended" not in str(error) and "closed" not in str(error):
                    self.failures.append(str(error))
                connection = None
                self.stopping.wait(0.02)
            self.stopping.wait(0.02)

    def make(self, connection: Wire, name: str) -> None:
        answer = protocol.call(
            connection, CREATE_TOPICS, 7, timeout_ms=10_000, validate_only=False,
            topics=[{"name": name, "num_partitions": 2, "replication_factor": 1, "assignments": [], "configs": []}],
        ).topics[0]
        if answer.error_code != NONE:
            self.failures.append(f"cannot make {name}: {answer}")
        self.made[name] = answer.topic_id

    def delete(self, connection: Wire, name: str) -> None:
        # Without an answer it may be there or not.
        del self.made[name]
        answer = protocol.call(connection, DELETE_TOPICS, 4, topic_names=[name], timeout_ms=10_000).responses[0]
        if answer.error_code != NONE:
            self.failures.append(f"cannot delete {name}: {answer}")
        self.gone.add(name)


def topic_ids(endpoint: Endpoint) -> dict[str, Any]:
    with Wire(endpoint.address) as connection:
        answer = protocol.call(
            connection, METADATA, 12, topics=None, allow_auto_topic_creation=False,
            include_topic_authorized_operations=False)  # fmt: skip
    return {topic.name: topic.topic_id for topic in answer.topics}


def kill_while_starting(own: Broker, seconds: float) -> None:
    """Starts the broker, gives it that long, and kills it, ready or not."""
    with open(own.log_path, "ab") as log:
        process = subprocess.Popen(own.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        time.sleep(seconds)
    finally:
        process.kill()
        process.wait()


@pytest.mark.skipif(shutil.which("kcat") is None, reason="kcat is not installed")
@pytest.mark.deadline(150 + 5 * KILLS)
def test_nothing_acked_is_lost_by_any_client_however_often_the_broker_is_killed(
    start_broker: Callable[..., Broker], api: Any, topic: str, group: str, unique: Callable[[str], str]
) -> None:
    chance = random.Random(SEED)
    own = start_broker(stable=True, arguments=["--durability", "disk", "--group-initial-rebalance-delay-ms", "0"])
    secure, plain = Endpoint(own, True), Endpoint(own, False)
    with Wire(own.address) as connection:
        protocol.create(connection, topic, PARTITIONS, segment_bytes="15000", index_interval_bytes="1000")
    oracle = Oracle()
    writers: list[Writer] = [
        LibrdkafkaWriter("rdkafka-idempotent", secure, topic, oracle, **{"acks": "all", "enable.idempotence": True}),
        LibrdkafkaWriter("rdkafka-retries", plain, topic, oracle,
                         **{"acks": "all", "enable.idempotence": False, "compression.type": "lz4"}),
        LibrdkafkaWriter("rdkafka-acks-1", plain, topic, oracle, **{"acks": "1", "retries": 0}),
        AiokafkaWriter("aiokafka", secure, topic, oracle),
        KafkaPythonWriter("kafka-python", plain, topic, oracle),
        KcatWriter("kcat", plain, topic, oracle),
        GrpcWriter("grpc-tls", secure, topic, oracle, api=api),
        GrpcWriter("grpc", plain, topic, oracle, api=api),
    ]  # fmt: skip
    readers: list[Reader] = [
        LibrdkafkaReader("reads-rdkafka", secure, topic, unique("group")),
        KafkaPythonReader("reads-kafka-python", plain, topic, unique("group")),
        AiokafkaReader("reads-aiokafka", plain, topic, unique("group")),
    ]
    committer, maker = Committer(plain, topic, group, api), TopicMaker(plain, unique("made"))
    threads = [*writers, *readers, committer, maker]
    for thread in threads:
        thread.start()

    def failures() -> list[str]:
        return oracle.failures + committer.failures + maker.failures + [text for own in readers for text in own.failures]

    def is_everybody_back(before: dict[str, int]) -> bool:
        return all(oracle.per_writer.get(writer.name, 0) > before.get(writer.name, 0) for writer in writers)

    kills = starting = lives = 0
    try:
        while kills < KILLS and not failures():
            lives += 1
            target = oracle.count() + chance.randrange(1, 300)
            wait_until(lambda: oracle.count() >= target or failures(), "records to be acked", 60)
            if lives % 5 == 0:
                # Clients that connect again once a second would never meet a broker that lives for less.
                before = dict(oracle.per_writer)
                wait_until(lambda: is_everybody_back(before) or failures(), "every writer to be acked", 60)
            # A moment that has nothing to do with an ack.
            time.sleep(chance.random() * 0.2)
            own.kill()
            kills += 1
            while kills < KILLS and chance.random() < 0.4:
                own.mode = chance.choice(["dev", "serve"])
                kill_while_starting(own, chance.random() * 0.06)
                kills += 1
                starting += 1
            own.mode = chance.choice(["dev", "serve"])
            own.start()
        target = oracle.count() + 200
        wait_until(lambda: oracle.count() >= target or failures(), "records after the last start", 60)
    finally:
        for thread in [*writers, committer, maker]:
            thread.stopping.set()
        for thread in [*writers, committer, maker]:
            thread.join(120)
        try:
            if not failures():
                ends = {
                    partition: len(found) for (_, partition), found in read_by_fetch(plain, topic).items()
                }
                wait_until(
                    lambda: all(own.ends == ends for own in readers) or failures(),
                    f"all groups to read up to {ends}; they are at {[own.ends for own in readers]}", 90)
        finally:
            for own_reader in readers:
                own_reader.stop()
    assert not failures(), f"seed {SEED}: {failures()[:10]}"
    assert set(oracle.per_writer) == {writer.name for writer in writers}, "a writer was never acked"

    stored = read_by_fetch(plain, topic)
    check_against(oracle, stored, f"Fetch (seed {SEED})")
    client = Client(secure, api)
    subscribed: dict[tuple[str, int], list[tuple[int, bytes]]] = {}
    for partition, record in client.placed(topic, seconds=120):
        subscribed.setdefault((topic, partition), []).append((record.offset, record.value))
    assert subscribed == stored, "Subscribe and Fetch differ"
    for reader in readers:
        assert {(topic, partition, offset): value for (partition, offset), value in reader.seen.items()} == {
            (place, partition, offset): value
            for (place, partition), found in stored.items() for offset, value in found
        }, f"{reader.name} was given something else, or not all"
        answer = client.streams.Committed(api.CommittedRequest(group=reader.group), timeout=20)
        found = {entry.partition: entry.offset for entry in answer.offsets}
        assert reader.committed and all(found[at] >= offset for at, offset in reader.committed.items()), reader.name
    committed = client.streams.Committed(api.CommittedRequest(group=group), timeout=20).offsets[0].offset
    assert 0 < committer.confirmed <= committed <= committer.tried
    ids = topic_ids(plain)
    assert maker.made.items() <= ids.items(), "a topic that was confirmed is gone or has another id"
    assert maker.gone and not maker.gone & ids.keys(), "a topic whose deletion was confirmed is there"
    client.channel.close()
    assert own.stop() == 0
    for partition in range(PARTITIONS):
        on_disk = [(record.offset, record.value) for record in segments.records(own.data, topic, partition)]
        assert on_disk == stored[topic, partition], f"the files of partition {partition} differ from Fetch"
        for part in segments.segments(own.data, topic, partition):
            segments.check_indexes(part)
    rolled = sum(len(segments.segments(own.data, topic, partition)) for partition in range(PARTITIONS))
    print(
        f"seed {SEED}: {kills} kills ({starting} while starting), {oracle.count()} acked records in {rolled} segments, "
        f"{len(maker.made) + len(maker.gone)} topics made, {committer.confirmed} commits by gRPC, "
        + ", ".join(f"{name} {count}" for name, count in sorted(oracle.per_writer.items()))
        + ", ".join(f"; {reader.name} was made again {reader.remade} times" for reader in readers if reader.remade)
    )
