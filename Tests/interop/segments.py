# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: an independent reader of the files on disk.
"""Reads `.log`, `.index` and `.timeindex` with kafka-python's record classes, not with the broker's code."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator

from kafka.record import MemoryRecords

import wire


@dataclass
class Segment:
    base_offset: int
    log: Path
    index: Path
    timeindex: Path

    def batches(self) -> Iterator[tuple[int, wire.BatchHeader, Any]]:
        """Position, header and kafka-python's batch of each; every CRC is checked, every byte accounted for."""
        data = self.log.read_bytes()
        position = 0
        for parsed in MemoryRecords(data):
            header = wire.batch_header(data, position)
            assert header.magic == 2
            assert parsed.validate_crc(), f"{self.log}: bad CRC at {position}"
            yield position, header, parsed
            position += header.size
        assert position == len(data), f"{self.log}: {len(data) - position} bytes after the last batch"


def partition_directory(data: Path, topic: str, partition: int) -> Path:
    return data / f"{topic}-{partition}"


def segments(data: Path, topic: str, partition: int = 0) -> list[Segment]:
    folder = partition_directory(data, topic, partition)
    logs = sorted(folder.glob("*.log"))
    assert logs, f"no log in {folder}"
    found = []
    for log in logs:
        assert len(log.stem) == 20 and log.stem.isdigit(), log
        found.append(Segment(int(log.stem), log, log.with_suffix(".index"), log.with_suffix(".timeindex")))
    return found


def records(data: Path, topic: str, partition: int = 0) -> Iterator[Any]:
    """All records of a partition, over all its segments, in order."""
    expected = None
    for segment in segments(data, topic, partition):
        if expected is not None:
            assert segment.base_offset == expected, f"a hole before {segment.log}"
        for _, header, parsed in segment.batches():
            assert expected is None or header.base_offset == expected, f"{segment.log}: offset {header.base_offset}"
            expected = header.last_offset + 1
            yield from parsed


def offset_index(segment: Segment) -> list[tuple[int, int]]:
    """Entries as (offset, position)."""
    data = segment.index.read_bytes()
    assert len(data) % 8 == 0, f"{segment.index} is {len(data)} bytes long"
    entries = [struct.unpack_from(">ii", data, at) for at in range(0, len(data), 8)]
    return [(segment.base_offset + relative, position) for relative, position in entries]


def time_index(segment: Segment) -> list[tuple[int, int]]:
    """Entries as (timestamp, offset)."""
    data = segment.timeindex.read_bytes()
    assert len(data) % 12 == 0, f"{segment.timeindex} is {len(data)} bytes long"
    entries = [struct.unpack_from(">qi", data, at) for at in range(0, len(data), 12)]
    return [(timestamp, segment.base_offset + relative) for timestamp, relative in entries]


def check_indexes(segment: Segment) -> tuple[int, int]:
    """Checks both indexes against the log; how many entries they have."""
    starts: dict[int, wire.BatchHeader] = {}
    for position, header, _ in segment.batches():
        starts[position] = header
    entries = offset_index(segment)
    assert entries == sorted(entries), f"{segment.index} is not in order"
    for offset, position in entries:
        # Kafka's entry is the last offset of the batch at that position; its first is right as well.
        assert position in starts, f"{segment.index}: {position} is no start of a batch"
        assert starts[position].base_offset <= offset <= starts[position].last_offset
    times = time_index(segment)
    assert times == sorted(times), f"{segment.timeindex} is not in order"
    ordered = [starts[position] for position in sorted(starts)]
    for timestamp, offset in times:
        holder = next(header for header in ordered if header.base_offset <= offset <= header.last_offset)
        newest_so_far = max(
            header.max_timestamp for header in ordered if header.base_offset <= holder.base_offset
        )
        assert timestamp <= newest_so_far, f"{segment.timeindex}: {timestamp} lies beyond the log at {offset}"
        # A lookup relies on this: no earlier record is newer than the entry says.
        assert all(
            header.max_timestamp <= timestamp for header in ordered if header.last_offset < holder.base_offset
        )
    return len(entries), len(times)
