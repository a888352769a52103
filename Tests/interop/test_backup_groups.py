# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: what a backup under load has of compacted topics, queues, groups and access.
"""What was confirmed before a backup is in it: each key's latest value, done jobs, committed offsets, users, rules, quotas."""

from __future__ import annotations

import urllib.request
from pathlib import Path
from typing import Any, Callable

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from background import Background
from broker import Broker, Endpoint, wait_until
from test_backup import SMALL, backup, restored, values
from test_quotas import NONE, alter, describe
from test_share_groups import Member, joined, poll, share_consumer

KEYS = 7


class Load(Background):
    """Values by key into a compacted topic, jobs and their workers, and a consumer group of KIP-848 that commits."""

    def __init__(self, broker: Broker):
        super().__init__(self.fill, self.send, self.work, self.work, self.follow)
        self.endpoint = Endpoint(broker, False)
        self.latest: dict[bytes, int] = {}
        self.sent: set[bytes] = set()
        self.done: set[bytes] = set()
        self.committed = 0

    def fill(self) -> None:
        producer = Producer(self.endpoint.librdkafka(acks="all", enable_idempotence=True, linger_ms=1))

        def delivered(error: Any, message: Any) -> None:
            if error is None:
                with self.lock:
                    self.latest[message.key()] = int(message.value().split()[0])

        number = 0
        while not self.ending.is_set():
            for _ in range(KEYS):
                producer.produce("table", b"%d " % number + b"x" * 300, b"key %d" % (number % KEYS), on_delivery=delivered)
                number += 1
            producer.flush(10)

    def send(self) -> None:
        producer = Producer(self.endpoint.librdkafka(acks="all", linger_ms=1))
        number = 0
        while not self.ending.is_set():
            jobs = [b"%d" % (number + index) for index in range(5)]
            for job in jobs:
                producer.produce("jobs", job)
            assert producer.flush(10) == 0
            with self.lock:
                self.sent.update(jobs)
            number += len(jobs)
            self.ending.wait(0.01)

    def work(self) -> None:
        consumer = share_consumer(self.endpoint, "workers", "jobs", share_acknowledgement_mode="explicit")
        while not self.ending.is_set():
            jobs = [message for message in consumer.poll(0.2) if message.error() is None]
            for job in jobs:
                consumer.acknowledge(job)
            if jobs:
                assert all(error is None for error in (consumer.commit_sync(10) or {}).values())
                with self.lock:
                    self.done.update(job.value() for job in jobs)
        consumer.close()

    def follow(self) -> None:
        consumer = Consumer(self.endpoint.librdkafka(
            group_id="followers", group_protocol="consumer", auto_offset_reset="earliest", enable_auto_commit=False
        ))
        consumer.subscribe(["jobs"])
        while not self.ending.is_set():
            messages = [message for message in consumer.consume(20, 0.2) if message.error() is None]
            if messages:
                consumer.commit(asynchronous=False)
                with self.lock:
                    self.committed = messages[-1].offset() + 1
        consumer.close()

    def is_busy(self, times: int) -> bool:
        with self.lock:
            return bool(self.failures) or (
                min(self.latest.values(), default=0) > 300 * times and len(self.done) > 30 * times and self.committed > 30 * times
            )


def prepare(broker: Broker) -> Member:
    run = lambda *words, input=None: broker.run(*words, "--bootstrap", broker.address, input=input)  # noqa: E731
    compact = ["--config", "cleanup.policy=compact", "--config", "min.cleanable.dirty.ratio=0.01"]
    assert run("topic", "create", "table", *compact).returncode == 0
    assert run("topic", "create", "jobs").returncode == 0
    assert run("user", "add", "alice", "--password-file", "-", input=b"correct horse battery\n").returncode == 0
    assert run("acl", "add", "alice", "read", "--topic", "orders-", "--prefix", "--anyway").returncode == 0
    assert alter(broker, {"user": "alice"}, producer_byte_rate=123456.0) == NONE
    # Jobs are for groups that are there when they come.
    return joined(Endpoint(broker, False), "workers", "jobs")


def redelivered(broker: Broker, wanted: int) -> set[bytes]:
    consumer = share_consumer(Endpoint(broker, False), "workers", "jobs")
    found = {message.value() for message in poll(consumer, wanted, 60)}
    consumer.commit_sync(10)
    found |= {message.value() for message in consumer.poll(0.5) if message.error() is None}
    consumer.close()
    return found


def committed(broker: Broker) -> int:
    consumer = Consumer(Endpoint(broker, False).librdkafka(group_id="followers"))
    [place] = consumer.committed([TopicPartition("jobs", 0)], timeout=20)
    consumer.close()
    return int(place.offset)


def compacted(broker: Broker) -> float:
    with urllib.request.urlopen(f"http://{broker.address}/metrics", timeout=20) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith("martlet_compaction_removed_bytes_total"):
                return float(line.split()[1])
    raise AssertionError("no compaction is shown")


@pytest.mark.deadline(180)
def test_what_was_confirmed_before_a_backup_is_in_it(start_broker: Callable[..., Broker], tmp_path: Path) -> None:
    broker = start_broker(arguments=[
        *SMALL, "--log-cleaner-backoff-ms", "100",
        "--group-share-record-lock-duration-ms", "15000",
    ])  # fmt: skip
    starter = prepare(broker)
    with Load(broker) as load:
        wait_until(lambda: load.is_busy(2), "load", 60)
        wait_until(lambda: compacted(broker) > 0, "compaction", 60)
        with load.lock:
            latest, sent, done, offset = dict(load.latest), set(load.sent), set(load.done), load.committed
        report = backup(broker, tmp_path / "copy")
        assert report["linked_files"] > 0
        wait_until(lambda: load.is_busy(3), "load after the backup", 60)
    assert load.failures == []
    starter.wire.close()
    assert broker.stop() == 0
    copy = restored(broker, start_broker, tmp_path / "copy", "restored")
    found: dict[int, int] = {}
    for value in values(copy, "table"):
        number = int(value.split()[0])
        found[number % KEYS] = number
    assert {key: found[int(key.split()[1])] >= number for key, number in latest.items()} == dict.fromkeys(latest, True)
    again = redelivered(copy, len(sent - load.done))
    assert not again & done, "a job that was done comes again"
    assert sent - load.done <= again, "a job is lost"
    assert committed(copy) >= offset > 0
    said = copy.run("user", "list", "--bootstrap", copy.address).stdout
    assert b"alice" in said
    assert b"orders-" in copy.run("acl", "list", "--bootstrap", copy.address).stdout
    assert describe(copy)[(("user", "alice"),)] == {"producer_byte_rate": 123456.0}
