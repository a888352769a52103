# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: `martlet verify` over the data directories of real brokers.
from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any, Callable

import pytest

import wire
from broker import Broker

BATCH = wire.batch([wire.Record(b"v" * 100), wire.Record(b"w" * 100)])


def verify(own: Broker, *flags: str, status: int) -> dict[str, Any]:
    done = own.run("verify", str(own.data), "--json", *flags, seconds=60)
    assert done.returncode == status, done.stdout.decode() + done.stderr.decode()
    assert done.stderr == b"", "nothing but findings goes to a pipe"
    return json.loads(done.stdout)


def fill(own: Broker, topic: str, count: int, acks: int = 1) -> None:
    with wire.Wire(own.address) as connection:
        for _ in range(count):
            assert connection.produce(topic, BATCH, acks=acks).error == wire.NONE


@pytest.fixture
def own(start_broker: Callable[..., Broker], topic: str) -> Broker:
    own = start_broker()
    done = own.run("topic", "create", topic, "--partitions", "2", "--config", "segment.bytes=20000", "--bootstrap", own.address)
    assert done.returncode == 0, done.stderr.decode()
    fill(own, topic, 300)
    return own


def test_a_stopped_broker_leaves_a_sound_directory(own: Broker, topic: str) -> None:
    assert own.stop() == 0
    report = verify(own, "--records", status=0)
    assert report["sound"] and report["closed_in_order"] and not report["in_use"]
    assert report["findings"] == []
    assert report["records"] >= 600 and report["segments"] >= 4
    done = own.run("verify", str(own.data))
    assert done.returncode == 0 and done.stdout.decode().splitlines()[-1] == "sound"


def test_a_killed_broker_leaves_a_sound_directory(own: Broker) -> None:
    own.kill()
    report = verify(own, status=0)
    assert report["sound"] and not report["closed_in_order"]


def test_a_running_broker_under_load_is_neither_disturbed_nor_found_damaged(own: Broker, topic: str) -> None:
    stopping = threading.Event()
    failures: list[BaseException] = []

    def load() -> None:
        try:
            while not stopping.is_set():
                fill(own, topic, 50)
        except BaseException as error:
            failures.append(error)

    writers = [threading.Thread(target=load) for _ in range(2)]
    for writer in writers:
        writer.start()
    try:
        for _ in range(8):
            report = verify(own, "--records", status=0)
            assert report["in_use"] and report["sound"] and report["findings"] == []
    finally:
        stopping.set()
        for writer in writers:
            writer.join()
    assert failures == []
    assert own.alive()
    fill(own, topic, 1, acks=-1)


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def test_each_damage_is_found_where_it_is(own: Broker, topic: str) -> None:
    assert own.stop() == 0
    folder = own.data / f"{topic}-0"
    logs = sorted(folder.glob("*.log"))
    size = wire.batch_header(logs[0].read_bytes()).size
    flip(logs[0], size + 100)
    report = verify(own, status=1)
    (finding,) = report["findings"]
    assert finding["kind"] == "batch" and finding["file"] == f"{topic}-0/{logs[0].name}"
    assert finding["positions"] == [size, 2 * size] and finding["offsets"] == [2, 4]
    done = own.run("verify", str(own.data))
    assert done.returncode == 1 and b"DAMAGED batch" in done.stdout and b"next:" in done.stdout
    flip(logs[0], size + 100)
    # A file that is gone, an index that lies, a directory that nobody knows.
    moved = logs[1].rename(folder / "moved")
    (own.data / "ghost-0").mkdir()
    flip(sorted(folder.glob("*.index"))[0], 7)
    kinds = {finding["kind"] for finding in verify(own, status=1)["findings"] if finding["severity"] == "damage"}
    assert kinds == {"gap", "missing-file", "no-topic", "index"}
    moved.rename(logs[1])
    (own.data / "ghost-0").rmdir()
    flip(sorted(folder.glob("*.index"))[0], 7)
    verify(own, status=0)


def test_nothing_is_written(own: Broker) -> None:
    assert own.stop() == 0

    def state() -> dict[str, tuple[int, int]]:
        return {
            str(path): (path.stat().st_mtime_ns, path.stat().st_size)
            for path in [own.data, *own.data.rglob("*")]
        }

    before = state()
    verify(own, "--records", status=0)
    assert state() == before


def test_what_cannot_be_checked_says_so(own: Broker, tmp_path: Path) -> None:
    for place in (tmp_path / "nowhere", tmp_path):
        done = own.run("verify", str(place))
        assert done.returncode == 2 and done.stdout == b""
        assert done.stderr.startswith(b"error: ") and done.stderr.count(b"\n") == 1
