# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: a disk that is slow to sync.
"""`--x-disk-delay-ms` makes every sync slow. Only those wait who asked for a sync; one sync serves all of them."""

from __future__ import annotations

import re
import select
import time
import urllib.request
from pathlib import Path
from typing import Any, Callable

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

import protocol
import wire
from broker import Broker, Endpoint, wait_until
from grpc_client import Client
from test_pause import Member
from wire import CREATE_TOPICS, DELETE_TOPICS, METADATA, Record, Wire, batch

DELAY_MS = 1500
SMALL = batch([Record(b"small")])


def is_answered(connection: Wire) -> bool:
    return bool(select.select([connection.socket], [], [], 0)[0])


def slowed(own: Broker, delay_ms: int = DELAY_MS) -> Broker:
    """The same directory on a slow disk; killed in between, because a clean stop would leave its mark to be removed."""
    own.kill()
    own.arguments = ["--threads", "1", "--x-disk-delay-ms", str(delay_ms)]
    return own.start()


def syncs(own: Broker) -> int:
    with urllib.request.urlopen(f"http://{own.address}/metrics", timeout=30) as page:
        return int(re.search(r"^martlet_sync_seconds_count (\d+)", page.read().decode(), re.MULTILINE).group(1))  # type: ignore[union-attr]


@pytest.mark.deadline(120)
def test_only_those_wait_who_asked_for_a_sync(
    start_broker: Callable[..., Broker], topic: str, group: str, unique: Callable[[str], str]
) -> None:
    own = start_broker()
    other, doomed = unique("topic"), unique("topic")
    with Wire(own.address) as connection:
        for name in (topic, other, doomed):
            protocol.create(connection, name)
            assert connection.produce(name, SMALL).base_offset == 0
    slowed(own)
    with Wire(own.address) as waiting, Wire(own.address) as deleting, Wire(own.address) as making, Wire(own.address) as quick:
        # A group with a member, before anybody waits for the disk.
        member = Member(own.address, group, 60_000)
        member.ask_to_join()
        assert member.joined()
        member.sync([])
        rounds = 0
        while rounds < 2:
            offset = quick.fetch(topic, 0).high_watermark
            waiting.send(wire.produce_request(topic, 0, SMALL))
            if rounds == 0:
                deleting.send(protocol.encode(DELETE_TOPICS, 4, topic_names=[doomed], timeout_ms=60_000))
                making.send(protocol.encode(
                    CREATE_TOPICS, 7, timeout_ms=60_000, validate_only=False,
                    topics=[{"name": unique("topic"), "num_partitions": 1, "replication_factor": 1, "assignments": [],
                             "configs": []}]))  # fmt: skip
            # All of this on the one event loop that also serves the one that waits.
            for number in range(3):
                assert quick.produce(other, SMALL, acks=1).error == wire.NONE
                assert quick.fetch(other, number).error == wire.NONE
                assert protocol.call(quick, METADATA, 9, topics=[{"name": topic}]).topics[0].error_code == wire.NONE
                member.beat()
                assert member.answer() == wire.NONE
            # What waits for the disk can be read before it is acked, as in Kafka.
            wait_until(lambda: quick.fetch(topic, offset).high_watermark == offset + 1, "the record to be readable")
            assert not is_answered(waiting), "an answer came before the disk had the record, or others waited for it"
            answer = wire.produce_response(waiting.read_frame())
            assert (answer.error, answer.base_offset) == (wire.NONE, offset)
            rounds += 1
        assert protocol.decode(DELETE_TOPICS, 4, deleting.read_frame()).responses[0].error_code == wire.NONE
        assert protocol.decode(CREATE_TOPICS, 7, making.read_frame()).topics[0].error_code == wire.NONE
        member.connection.close()


@pytest.mark.deadline(120)
def test_one_sync_serves_all_who_wait(start_broker: Callable[..., Broker], api: Any, topic: str) -> None:
    own = start_broker()
    with Wire(own.address) as connection:
        protocol.create(connection, topic)
        assert connection.produce(topic, SMALL).base_offset == 0
    slowed(own)
    connections = [Wire(own.address) for _ in range(40)]
    client = Client(Endpoint(own, False), api)
    try:
        before = syncs(own)
        for connection in connections:
            connection.send(wire.produce_request(topic, 0, SMALL))
        published = client.publish(topic, b"by gRPC")
        offsets = [wire.produce_response(connection.read_frame()).base_offset for connection in connections]
        assert sorted([*offsets, published.batches[0].base_offset]) == list(range(1, 42))
        # The first one's, which is under way when the others come, and theirs.
        assert syncs(own) - before <= 3
    finally:
        client.channel.close()
        for connection in connections:
            connection.close()


@pytest.mark.deadline(120)
def test_health_is_told_while_housekeeping_waits_for_the_disk(start_broker: Callable[..., Broker], topic: str) -> None:
    """Each segment that is dropped costs two syncs of its directory; those who ask how the broker is do not wait for them."""
    own = start_broker()
    with Wire(own.address) as connection:
        protocol.create(connection, topic, segment_bytes="14", file_delete_delay_ms="0")
        for offset in range(30):
            assert connection.produce(topic, SMALL).base_offset == offset
    # In order: a start that had to check all these logs would wait for the disk itself.
    own.stop()
    own.arguments = ["--threads", "1", "--x-disk-delay-ms", str(DELAY_MS)]
    own.start()
    segments = Path(own.data) / f"{topic}-0"
    count = len(list(segments.glob("*.log")))
    admin = AdminClient({"bootstrap.servers": own.address, "broker.address.family": "v4"})
    [answer] = admin.delete_records([TopicPartition(topic, 0, 30)]).values()
    assert answer.result(20).low_watermark == 30
    wait_until(lambda: len(list(segments.glob("*.log"))) < count - 1, "the first files to go", seconds=60)
    for page in ("readyz", "metrics"):
        # Files go one by one, each with a sync: this is in the middle of them, and takes a part of one.
        begin = time.monotonic()
        with urllib.request.urlopen(f"http://{own.address}/{page}", timeout=30) as answer:
            assert answer.status == 200
        assert time.monotonic() - begin < DELAY_MS / 1000, f"{page} waited for the disk"
    done = own.run("doctor", "--running", "--data", str(own.data))
    assert done.returncode == 0, done.stdout
    assert len(list(segments.glob("*.log"))) > 5, "files are still going"
    own.kill()


@pytest.mark.deadline(120)
def test_a_broker_told_to_stop_waits_for_the_disk(start_broker: Callable[..., Broker], topic: str) -> None:
    own = start_broker()
    with Wire(own.address) as connection:
        protocol.create(connection, topic)
        assert connection.produce(topic, SMALL).base_offset == 0
    # Slow, but so that what is under way ends within the 5 s that connections have.
    slowed(own, 500)
    connections = [Wire(own.address) for _ in range(5)]
    for connection in connections:
        connection.send(wire.produce_request(topic, 0, SMALL))
    with Wire(own.address) as connection:
        wait_until(lambda: connection.fetch(topic, 0).high_watermark == 6, "the records to be written")
        own.terminate()
        answers = [wire.produce_response(waiting.read_frame()) for waiting in connections]
    assert sorted(answer.base_offset for answer in answers) == [1, 2, 3, 4, 5]
    assert own.wait() == 0
    for connection in connections:
        connection.close()
    own.arguments = []
    own.start()
    with Wire(own.address) as connection:
        assert connection.fetch(topic, 0).high_watermark == 6
        assert "recovered a log" not in own.log().split("stopped")[-1]
