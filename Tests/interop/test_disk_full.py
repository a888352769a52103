# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: no space left.
"""What happens when the disk, or the process's limit on file sizes, is full; and when there is space again.

Both run on a machine that may mount a tmpfs; the second runs everywhere.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any, Callable, Iterator, Union

import grpc
import pytest
from confluent_kafka import Producer

import protocol
import wire
from broker import Broker, Endpoint, wait_until
from disks import FileLimit, SmallDisk
from grpc_client import Client
from kafka.record import MemoryRecords
from rdkafka import Reports, produce_all
from wire import METADATA, Record, Wire, batch

STORAGE_ERROR = 56
LARGE = batch([Record(b"x" * 300_000)])
SMALL = batch([Record(b"small")])


def readiness(own: Broker) -> tuple[int, dict[str, Any]]:
    try:
        with urllib.request.urlopen(f"http://{own.address}/readyz", timeout=20) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


Disk = Union[SmallDisk, FileLimit]


@pytest.fixture(params=["tmpfs", "file size limit"])
def disk(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[Disk]:
    path = tmp_path / "own" / "data"
    if request.param == "tmpfs" and not SmallDisk.is_possible():
        pytest.skip("no mount namespaces here; the limit on file sizes is tested instead")
    chosen: Disk = SmallDisk(path) if request.param == "tmpfs" else FileLimit(path)
    yield chosen
    chosen.close()


def fill_up(own: Broker, disk: Disk, connection: Wire, topic: str) -> list[int]:
    """Fills the disk and writes until the broker says so; returns the offsets that were acked."""
    disk.fill(own.pid)
    acked = []
    for _ in range(100):
        answer = connection.produce(topic, LARGE)
        if answer.error != wire.NONE:
            assert answer.error == STORAGE_ERROR
            return acked
        acked.append(answer.base_offset)
    raise AssertionError("the disk did not fill up")


def read_all(connection: Wire, topic: str) -> list[int]:
    offsets: list[int] = []
    while True:
        fetched = connection.fetch(topic, len(offsets), max_wait_ms=0)
        assert fetched.error == wire.NONE
        if fetched.high_watermark == len(offsets):
            return offsets
        before = len(offsets)
        for part in MemoryRecords(fetched.records):
            offsets += [record.offset for record in part if record.offset >= before]


@pytest.mark.deadline(120)
def test_a_full_disk_is_told_to_everybody_and_forgotten_when_there_is_space(
    start_broker: Callable[..., Broker], api: Any, topic: str, unique: Callable[[str], str], disk: Disk
) -> None:
    own = start_broker(wrapper=disk.wrapper)
    plain = Endpoint(own, False)
    client = Client(plain, api)
    with Wire(own.address) as connection:
        protocol.create(connection, topic)
        assert connection.produce(topic, SMALL).base_offset == 0
        assert readiness(own)[0] == 200
        acked = [0, *fill_up(own, disk, connection, topic)]
        # The Kafka answer and the gRPC status name the cause and what to do.
        with pytest.raises(grpc.RpcError) as refused:
            client.publish(topic, b"x" * 300_000)
        assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "make room" in refused.value.details() or "ulimit -f" in refused.value.details()
        # A client that gives up tells its caller; one that waits is served below.
        given_up = produce_all(plain, topic, [b"y" * 300_000], message_timeout_ms=1500)
        assert len(given_up.errors) == 1 and not given_up.acked
        waiting = Reports()
        patient = Producer(plain.librdkafka(enable_idempotence=True, message_timeout_ms=90_000))
        for number in range(5):
            patient.produce(topic, b"%d" % number + b"z" * 300_000, on_delivery=waiting)
        patient.poll(0.5)
        # Reading, and everything that needs no space, goes on.
        assert read_all(connection, topic) == acked
        answer = protocol.call(connection, METADATA, 9, topics=[{"name": topic}])
        assert answer.topics[0].error_code == wire.NONE
        status, ready = readiness(own)
        said = " ".join(ready["problems"] + ready["warnings"])
        assert f"the last write to {topic}-0 was refused" in said, ready
        if isinstance(disk, SmallDisk):
            assert status == 503 and "make room or shorten retention" in said, ready
        else:
            assert "ulimit -f" in said, ready
        assert own.alive()

        disk.clear(own.pid)
        assert patient.flush(60) == 0, "the patient producer was not served"
        assert not waiting.errors and len(waiting.acked) == 5
        acked += [offset for _, offset, _ in waiting.acked]
        status, ready = wait_until(
            lambda: (found := readiness(own))[0] == 200 and found, "the broker to be ready again")
        assert not any("refused" in warning for warning in ready["warnings"]), ready
        last = connection.produce(topic, SMALL)
        assert last.error == wire.NONE
        assert read_all(connection, topic) == list(range(last.base_offset + 1))
        assert set(acked) <= set(range(last.base_offset)) and len(set(acked)) == len(acked)
        protocol.create(connection, unique("topic"))
    client.channel.close()


@pytest.mark.deadline(120)
def test_a_broker_starts_on_a_full_disk_and_serves_what_is_there(
    start_broker: Callable[..., Broker], topic: str, disk: Disk
) -> None:
    own = start_broker(wrapper=disk.wrapper)
    with Wire(own.address) as connection:
        protocol.create(connection, topic)
        acked = fill_up(own, disk, connection, topic)
    own.kill()
    own.wrapper = list(disk.wrapper)
    own.start()
    with Wire(own.address) as connection:
        assert read_all(connection, topic) == acked
        assert connection.produce(topic, LARGE).error == STORAGE_ERROR
        status, ready = readiness(own)
        assert ready["problems"] + ready["warnings"], ready
        disk.clear(own.pid)
        wait_until(lambda: connection.produce(topic, SMALL).error == wire.NONE, "records to be taken again")
        assert read_all(connection, topic)[: len(acked)] == acked
    assert own.stop() == 0


@pytest.mark.deadline(120)
def test_a_first_start_on_a_full_disk_says_so(start_broker: Callable[..., Broker], tmp_path: Any) -> None:
    if not SmallDisk.is_possible():
        pytest.skip("no mount namespaces here; a limit on file sizes does not reach so small a file")
    disk = SmallDisk(tmp_path / "own" / "data")
    try:
        disk.fill()
        with pytest.raises(AssertionError, match="ended with status 1") as refused:
            start_broker(wrapper=disk.wrapper)
        assert "No space left on device; make room on that disk" in str(refused.value)
    finally:
        disk.close()


@pytest.mark.deadline(120)
def test_what_groups_committed_survives_a_full_disk(
    start_broker: Callable[..., Broker], api: Any, topic: str, group: str, disk: Disk
) -> None:
    own = start_broker(wrapper=disk.wrapper)
    client = Client(Endpoint(own, False), api)

    def commit(offset: int) -> None:
        place = api.PartitionOffset(topic=topic, partition=0, offset=offset, metadata="m" * 4000)
        client.streams.Commit(api.CommitRequest(group=group, offsets=[place]), timeout=20)

    def committed() -> int:
        return client.streams.Committed(api.CommittedRequest(group=group), timeout=20).offsets[0].offset

    with Wire(own.address) as connection:
        protocol.create(connection, topic)
        commit(1)
        disk.fill(own.pid)
        confirmed = 1
        with pytest.raises(grpc.RpcError) as refused:
            for confirmed in range(2, 5000):
                commit(confirmed)
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE, refused.value.details()
        assert committed() == confirmed - 1, "a commit that was refused is visible, or one that was confirmed is not"
        disk.clear(own.pid)
        wait_until(lambda: attempt(lambda: commit(confirmed)), "commits to be taken again")
        assert committed() == confirmed
    own.kill()
    own.wrapper = list(disk.wrapper)
    own.start()
    client.channel.close()
    client = Client(Endpoint(own, False), api)
    assert committed() == confirmed
    client.channel.close()


def attempt(call: Callable[[], None]) -> bool:
    try:
        call()
        return True
    except grpc.RpcError:
        return False
