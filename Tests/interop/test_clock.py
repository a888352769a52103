# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: a wall clock that jumps.
"""The system's clock is set days ahead or back under the running broker (libfaketime; monotonic time goes on)."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Callable

import pytest

import protocol
import wire
from broker import Broker, Endpoint, wait_until
from groups import LibrdkafkaReader
from wire import LIST_OFFSETS, Record, Wire, batch

LIBRARY = next(
    (str(path) for path in Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")), None
)
pytestmark = pytest.mark.skipif(LIBRARY is None, reason="libfaketime (Debian: faketime) is not installed")
DAY = 86_400_000


class Clock:
    """The wall clock of one broker: the machine's, and what it is off by."""

    def __init__(self, directory: Path):
        self.file = directory / "clock"
        self.set_days(0)
        self.environment = {
            "LD_PRELOAD": LIBRARY or "", "FAKETIME_TIMESTAMP_FILE": str(self.file), "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }  # fmt: skip

    def set_days(self, days: int) -> None:
        # Replaced as a whole: the broker reads it with every look at the clock.
        fresh = self.file.with_suffix(".new")
        fresh.write_text(f"{days:+d}d\n" if days else "+0\n")
        fresh.rename(self.file)
        self.days = days


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def offset_at(connection: Wire, topic: str, timestamp: int) -> tuple[int, int]:
    answer = protocol.call(
        connection, LIST_OFFSETS, 7, replica_id=-1, isolation_level=0,
        topics=[{"name": topic, "partitions": [
            {"partition_index": 0, "current_leader_epoch": -1, "timestamp": timestamp}]}])  # fmt: skip
    found = answer.topics[0].partitions[0]
    assert found.error_code == wire.NONE, answer
    return found.offset, found.timestamp


def start_offset(connection: Wire, topic: str) -> int:
    return offset_at(connection, topic, -2)[0]


def wait_for_retention(connection: Wire, sentinel: str) -> None:
    """Until retention has run after this call: it removes what is written here."""
    answer = connection.produce(sentinel, batch([Record(b"x" * 5000)]))
    last = connection.produce(sentinel, batch([Record(b"x" * 5000)])).base_offset
    assert answer.error == wire.NONE
    wait_until(lambda: start_offset(connection, sentinel) >= last, "retention to run")


@pytest.mark.deadline(90)
def test_a_clock_that_jumps_deletes_nothing_and_loses_nobody(
    start_broker: Callable[..., Broker], tmp_path: Path, topic: str, unique: Callable[[str], str]
) -> None:
    clock = Clock(tmp_path)
    own = start_broker(environment=clock.environment, arguments=["--log-retention-check-interval-ms", "100"])
    stamped, sentinel, short = unique("stamped"), unique("sentinel"), unique("short")
    reader = LibrdkafkaReader("reads", Endpoint(own, False), topic, unique("group"))
    with Wire(own.address) as connection:
        protocol.create(connection, topic, retention_ms=str(7 * DAY), segment_bytes="1000")
        protocol.create(connection, stamped, retention_ms=str(7 * DAY), message_timestamp_type="LogAppendTime")
        protocol.create(
            connection, sentinel, retention_bytes="1000", segment_bytes="4096", message_timestamp_type="LogAppendTime")
        protocol.create(connection, short, retention_ms="1000")
        begin = now_ms()
        for number in range(20):
            assert connection.produce(topic, batch([Record(b"r" * 400)], timestamp=begin + number)).base_offset == number
        append_times = [connection.produce(stamped, batch([Record(b"s")])).log_append_time]
        assert abs(append_times[0] - begin) < DAY
        reader.start()
        wait_until(lambda: reader.committed.get(0) == 20, "the group to be at work")

        # Ahead, far beyond what is kept.
        clock.set_days(30)
        line = own.wait_log("clock has jumped forward")
        assert "Set the clock if it is wrong" in line
        for _ in range(3):
            wait_for_retention(connection, sentinel)
        assert start_offset(connection, topic) == start_offset(connection, stamped) == 0, "retention believed the jump"
        append_times.append(connection.produce(stamped, batch([Record(b"s")])).log_append_time)
        assert append_times[1] - append_times[0] > 29 * DAY
        # And back, before where it was. A producer whose clock is right is now ahead of the broker, and refused as by Kafka.
        clock.set_days(-2)
        ahead = wait_until(
            lambda: (answer := connection.produce(topic, batch([Record(b"r")]))).error and answer, "a refusal")
        assert ahead.error == wire.INVALID_TIMESTAMP and "broker's clock" in (ahead.message or ""), ahead
        append_times.append(connection.produce(stamped, batch([Record(b"s")])).log_append_time)
        assert append_times[2] < append_times[0] - DAY
        for _ in range(3):
            wait_for_retention(connection, sentinel)
        assert start_offset(connection, topic) == start_offset(connection, stamped) == 0

        # Retention is not off: what grows old goes.
        clock.set_days(0)
        assert connection.produce(short, batch([Record(b"old")])).error == wire.NONE
        wait_until(lambda: start_offset(connection, short) == 1, "a record to grow old")

        # The group never noticed: its session is measured by monotonic time.
        assert connection.produce(topic, batch([Record(b"r")], timestamp=begin + 20)).base_offset == 20
        wait_until(lambda: reader.committed.get(0) == 21, "the group to go on")
        assert reader.assignments == 1 and not reader.failures, reader.failures

    def look_up() -> list[Any]:
        with Wire(own.address) as connection:
            by_time = [offset_at(connection, topic, begin + number) for number in (0, 7, 20)]
            stamps = [offset_at(connection, stamped, when) for when in (
                append_times[2] - DAY, append_times[0] - DAY // 2, append_times[0] + DAY, append_times[1] + DAY, -3)]  # fmt: skip
            return [by_time, stamps]

    expected = [
        [(0, begin), (7, begin + 7), (20, begin + 20)],
        # The first record at or after the time, in the order of the log.
        [(0, append_times[0]), (0, append_times[0]), (1, append_times[1]), (-1, -1), (1, append_times[1])],
    ]
    assert look_up()[0] == expected[0]
    reader.stop()
    own.kill()
    own.start()
    found = look_up()
    assert found[0] == expected[0]
    assert found[1][:4] == expected[1][:4]
