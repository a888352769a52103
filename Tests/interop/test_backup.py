# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: `martlet backup` of a broker under load, and what a broker makes of the copy.
"""A backup is of one moment: everything acked before is in it, and what depends on each other fits together."""

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest

import disks
from background import Background
from broker import Broker, Endpoint, wait_until

SMALL = ["--log-segment-bytes", "20000"]


class Load(Background):
    """Plain producers, transactions over two topics, and a group that commits, until it is told to end."""

    def __init__(self, broker: Broker):
        super().__init__(self.produce, self.transact, self.commit)
        self.endpoint = Endpoint(broker, False)
        self.acked: list[bytes] = []
        self.transactions: list[bytes] = []

    def is_failure(self, error: Exception) -> bool:
        # The broker is killed in the end.
        return not self.ending.is_set()

    def produce(self) -> None:
        from confluent_kafka import Producer

        producer = Producer(self.endpoint.librdkafka(acks="all", enable_idempotence=True, linger_ms=2))
        number = 0

        def delivered(error: Any, message: Any) -> None:
            if error is None:
                with self.lock:
                    self.acked.append(message.value())

        while not self.ending.is_set():
            for _ in range(20):
                producer.produce("plain", b"%d " % number + b"x" * 200, on_delivery=delivered)
                number += 1
            producer.flush(10)

    def transact(self) -> None:
        from confluent_kafka import Producer

        producer = Producer(self.endpoint.librdkafka(transactional_id="backup", linger_ms=0))
        producer.init_transactions(20)
        number = 0
        while not self.ending.is_set():
            producer.begin_transaction()
            value = b"%d " % number
            for topic in ("left", "right"):
                producer.produce(topic, value + b"y" * 100)
            if number % 5 == 4:
                producer.abort_transaction(20)
            else:
                producer.commit_transaction(20)
                with self.lock:
                    self.transactions.append(value)
            number += 1

    def commit(self) -> None:
        from confluent_kafka import Consumer

        consumer = Consumer(
            self.endpoint.librdkafka(group_id="readers", auto_offset_reset="earliest", enable_auto_commit=False)
        )
        consumer.subscribe(["plain", "left"])
        while not self.ending.is_set():
            if consumer.consume(50, 0.1):
                try:
                    consumer.commit(asynchronous=False)
                except Exception:  # noqa: BLE001 - nothing to commit, or a rebalance
                    pass
        consumer.close()

    def counts(self) -> tuple[int, int]:
        with self.lock:
            return len(self.acked), len(self.transactions)


def values(broker: Broker, topic: str) -> list[bytes]:
    """All committed values, the filling cut off."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer(
        Endpoint(broker, False).librdkafka(group_id="nobody", enable_partition_eof=True, isolation_level="read_committed")
    )
    low, high = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=20)
    consumer.assign([TopicPartition(topic, 0, 0)])
    found: list[bytes] = []
    while True:
        ended = False
        for message in consumer.consume(500, 1.0):
            if message.error() is not None:
                ended = True
            else:
                found.append(message.value())
        if ended:
            consumer.close()
            return found


def committed(broker: Broker) -> dict[str, tuple[int, int]]:
    """What the group has committed, and the end of each topic."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer(Endpoint(broker, False).librdkafka(group_id="readers"))
    found = {}
    for entry in consumer.committed([TopicPartition(topic, 0) for topic in ("plain", "left")], timeout=20):
        found[entry.topic] = (entry.offset, consumer.get_watermark_offsets(TopicPartition(entry.topic, 0), timeout=20)[1])
    consumer.close()
    return found


def backup(broker: Broker, target: Path) -> dict[str, int]:
    done = broker.run("backup", str(target), "--data", str(broker.data), "--json", seconds=60)
    assert done.returncode == 0, done.stderr
    report: dict[str, int] = json.loads(done.stdout)
    return report


def restored(broker: Broker, start_broker: Callable[..., Broker], target: Path, name: str) -> Broker:
    """A broker of its own in what `martlet restore` makes of the backup."""
    directory = broker.directory.parent / name
    directory.mkdir()
    done = broker.run("restore", str(target), "--data", str(directory / "data"))
    assert done.returncode == 0, done.stderr
    verified = broker.run("verify", str(directory / "data"))
    assert verified.returncode == 0, verified.stdout
    return start_broker(name, arguments=SMALL)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A directory on another file system than the data's."""
    for place in ("/dev/shm", "/run", "/var/tmp", str(Path.home())):
        if os.access(place, os.W_OK) and os.stat(place).st_dev != tmp_path.stat().st_dev:
            folder = Path(tempfile.mkdtemp(dir=place))
            yield folder
            shutil.rmtree(folder)
            return
    raise AssertionError("this machine has one file system only")


@pytest.mark.deadline(120)
def test_a_backup_under_load_is_of_one_moment_and_a_broker_starts_from_it(
    start_broker: Callable[..., Broker], tmp_path: Path, elsewhere: Path
) -> None:
    broker = start_broker(arguments=SMALL)
    taken: list[tuple[Path, int, int]] = []
    for topic in ("plain", "left", "right"):
        assert broker.run("topic", "create", topic, "--bootstrap", broker.address).returncode == 0
    with Load(broker) as load:
        for number, place in enumerate((tmp_path, elsewhere, tmp_path)):
            wanted = 400 * (number + 1)
            wait_until(lambda: load.failures or (load.counts()[0] > wanted and load.counts()[1] > 20 * (number + 1)), "load", 60)
            target = place / f"backup{number}"
            acked, transactions = load.counts()
            report = backup(broker, target)
            taken.append((target, acked, transactions))
            same = place.stat().st_dev == broker.data.stat().st_dev
            assert (report["linked_files"] > 0) == same, report
            assert not (place / f"backup{number}.partial").exists()
        # Everything goes on after a backup, retention's and compaction's files too.
        after = load.counts()
        wait_until(lambda: load.counts()[0] > after[0] and load.counts()[1] > after[1], "load after the backup", 30)
    broker.kill()
    assert load.failures == []
    for number, (target, acked, transactions) in enumerate(taken):
        copy = restored(broker, start_broker, target, f"copy{number}")
        plain = values(copy, "plain")
        assert set(load.acked[:acked]) <= set(plain), "a record that was acked before is missing"
        assert len(plain) == len(set(plain))
        left, right = (({value.split()[0] for value in values(copy, topic)}) for topic in ("left", "right"))
        assert left == right, "a transaction is there by half"
        assert {value.strip() for value in load.transactions[:transactions]} <= left
        assert not any(int(value) % 5 == 4 for value in left), "an aborted transaction is seen"
        for topic, (offset, end) in committed(copy).items():
            assert 0 < offset <= end, (topic, offset, end)
        # And it takes more.
        assert copy.run("produce", "plain", "--bootstrap", copy.address, input=b"more\n").returncode == 0
        assert copy.stop() == 0
    # What copies did with their files has not touched the original.
    assert broker.run("verify", str(broker.data)).returncode == 0
    broker.start()
    assert set(load.acked) <= set(values(broker, "plain"))


def test_a_backup_of_another_broker_knows_what_was_deleted_and_configured(
    start_broker: Callable[..., Broker], tmp_path: Path
) -> None:
    broker = start_broker(arguments=SMALL)
    run = lambda *words, input=None: broker.run(*words, "--bootstrap", broker.address, input=input)  # noqa: E731
    assert run("topic", "create", "kept", "--config", "retention.ms=777777").returncode == 0
    assert run("topic", "create", "gone").returncode == 0
    assert run("produce", "kept", input=b"a\nb\nc\nd\n").returncode == 0
    assert run("topic", "delete", "gone").returncode == 0
    from confluent_kafka import TopicPartition
    from confluent_kafka.admin import AdminClient

    admin = AdminClient(Endpoint(broker, False).librdkafka())
    for future in admin.delete_records([TopicPartition("kept", 0, 2)]).values():
        future.result(10)
    backup(broker, tmp_path / "copy")
    copy = restored(broker, start_broker, tmp_path / "copy", "second")
    assert copy.run("topic", "list", "--bootstrap", copy.address).stdout.split()[::2] == [b"kept"]
    assert b"777777" in copy.run("topic", "describe", "kept", "--bootstrap", copy.address).stdout
    read = copy.run("consume", "kept", "--from", "earliest", "--exit-at-end", "--bootstrap", copy.address)
    assert read.stdout.split() == [b"c", b"d"], "deleted records are back"


def test_bad_targets_are_refused_in_words(start_broker: Callable[..., Broker], tmp_path: Path) -> None:
    broker = start_broker()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("x")
    (tmp_path / "file").write_text("x")
    cases = {
        str(tmp_path / "full"): "is not empty",
        str(tmp_path / "file"): "is a file",
        str(tmp_path / "none" / "deeper"): "does not exist; make it first",
        str(broker.data / "inside"): "inside of the data directory",
        "/": "no place for a directory",
        "/proc/martlet": "make the directory /proc/martlet.partial",
    }
    for target, words in cases.items():
        done = broker.run("backup", target, "--data", str(broker.data))
        assert done.returncode == 1 and words in done.stderr.decode(), (target, done.stderr)
    assert broker.run("topic", "create", "t", "--bootstrap", broker.address).returncode == 0
    # A mistake leaves nothing behind, and an empty directory is fine.
    assert not list(tmp_path.glob("*.partial"))
    (tmp_path / "empty").mkdir()
    assert broker.run("backup", str(tmp_path / "empty"), "--data", str(broker.data)).returncode == 0
    socket = broker.data / "martlet.control"
    assert stat.S_IMODE(socket.stat().st_mode) == 0o600
    done = broker.run("restore", str(tmp_path / "full"), "--data", str(tmp_path / "new"))
    assert done.returncode == 1 and b"is no backup" in done.stderr
    done = broker.run("restore", str(tmp_path / "empty"), "--data", str(tmp_path / "full"))
    assert done.returncode == 1 and b"is not empty" in done.stderr
    # Nor is a backup restored into itself, or when something of it got lost where it was kept.
    done = broker.run("restore", str(tmp_path / "empty"), "--data", str(tmp_path / "empty" / "data"))
    assert done.returncode == 1 and b"is inside of the backup" in done.stderr
    shutil.copytree(tmp_path / "empty", tmp_path / "cut")
    log = next((tmp_path / "cut").glob("__martlet_metadata-0/*.log"))
    os.truncate(log, log.stat().st_size - 1)
    done = broker.run("restore", str(tmp_path / "cut"), "--data", str(tmp_path / "new"))
    assert done.returncode == 1 and b"is not what was written" in done.stderr
    (tmp_path / "cut" / "martlet.backup").write_text("version=2\nlogs=0\nbytes=0\n")
    done = broker.run("restore", str(tmp_path / "cut"), "--data", str(tmp_path / "new"))
    assert done.returncode == 1 and b"made by a newer martlet" in done.stderr
    assert not (tmp_path / "new").exists() and not list(tmp_path.glob("*.partial"))
    assert broker.stop() == 0
    assert not socket.exists()
    done = broker.run("backup", str(tmp_path / "later"), "--data", str(broker.data))
    assert done.returncode == 1 and b"no broker runs in" in done.stderr


def test_a_target_that_only_the_broker_sees_is_no_success(start_broker: Callable[..., Broker], tmp_path: Path) -> None:
    """As with PrivateTmp of its unit: the backup would be gone with the broker."""
    private = tmp_path / "private"
    private.mkdir()
    broker = start_broker(wrapper=["unshare", "--mount", "sh", "-c", 'mount -t tmpfs tmpfs "$0" && exec "$@"', str(private)])
    done = broker.run("backup", str(private / "copy"), "--data", str(broker.data))
    assert done.returncode == 1 and b"not where this command sees it" in done.stderr and not done.stdout


def test_a_broker_in_memory_says_that_there_is_nothing_to_back_up(start_broker: Callable[..., Broker], tmp_path: Path) -> None:
    broker = start_broker(ephemeral=True)
    done = broker.run("backup", str(tmp_path / "x"), "--data", str(broker.directory))
    assert done.returncode == 1 and b"no broker runs in" in done.stderr


@pytest.mark.skipif(not disks.SmallDisk.is_possible(), reason="no mount namespaces here")
def test_a_backup_on_a_full_disk_fails_and_the_broker_goes_on(start_broker: Callable[..., Broker], tmp_path: Path) -> None:
    small = disks.SmallDisk(tmp_path / "small", 64 * 1024)
    try:
        broker = start_broker(wrapper=small.wrapper)
        assert broker.run("produce", "t", "--bootstrap", broker.address, input=b"a line of the log\n" * 20_000).returncode == 0
        done = broker.run("backup", str(small.path / "copy"), "--data", str(broker.data))
        assert done.returncode == 1 and b"No space left" in done.stderr
        assert list(small.outside(small.path).iterdir()) == []
        assert broker.run("produce", "t", "--bootstrap", broker.address, input=b"more\n").returncode == 0
    finally:
        small.close()
