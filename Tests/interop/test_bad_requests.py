# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: each API, at each version, against requests that are wrong.
"""Every advertised API has a row in `bad_requests/`: a good request, and faults with the code that Kafka gives them.

From the good request and the message's definition follow the rest: cuts, lengths that lie, absurd lists, numbers and
names, tags nobody knows. Each request is answered or its connection closed, in time; then the broker's topics,
configurations, groups, offsets and transactions are what they were, and it has not grown.
"""

from __future__ import annotations

import random
import selectors
import socket
import struct
import time
from typing import Any, Iterator, Optional, Sequence

import pytest

import schemas
import wire
from bad_requests import ROWS
from bad_requests.table import ILLEGAL, LONG_NAME, LONGEST_STRING, Row, Scene, edit
from broker import Broker
from wire import Wire

ANSWER_SECONDS = 20
AT_ONCE = 64
CUTS = 40
MANY = 100_000
# What each entry of these costs a broker that was built without optimisation is too much for so many.
COSTLY, FEWER = {0, 1, 8, 9, 14, 21, 24, 27, 28, 61}, 10_001
MEMORY_ROOM_KIB = 256 * 1024
NAMES = {key: message.name.removesuffix("Request") for (key, kind), message in schemas.messages().items()
         if kind == "request"}  # fmt: skip
KEYS = sorted(ROWS)


@pytest.fixture(scope="module")
def own_broker(binary: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    own = Broker(binary, tmp_path_factory.mktemp("bad-requests"))
    yield own.start()
    own.close()


@pytest.fixture(scope="module")
def scene(own_broker: Broker) -> Scene:
    return Scene(own_broker.address)


@pytest.fixture(scope="module")
def ranges(scene: Scene) -> dict[int, range]:
    answer = scene.call(18, 3, {"ClientSoftwareName": "interop", "ClientSoftwareVersion": "1"})
    return {entry["ApiKey"]: range(entry["MinVersion"], entry["MaxVersion"] + 1) for entry in answer["ApiKeys"]}


def snapshot(scene: Scene) -> dict[str, Any]:
    """Everything whose name does not begin with `scratch`."""
    topics = scene.call(3, 12, {"Topics": None})["Topics"]
    configs = [
        {"ResourceType": kind, "ResourceName": name, "ConfigurationKeys": None}
        for kind, name in ((2, scene.TOPIC), (4, str(scene.node)))
    ]
    places = [{"PartitionIndex": number, "Timestamp": stamp} for number in range(3) for stamp in (-1,)]
    first = [{**place, "Timestamp": -2} for place in places]
    return {
        "topics": sorted(
            (topic["Name"], topic["TopicId"], len(topic["Partitions"])) for topic in topics
            if not topic["Name"].startswith(("scratch", "__"))),
        "configs": [
            sorted((entry["Name"], entry["Value"] or "", entry["ConfigSource"]) for entry in result["Configs"])
            for result in scene.call(32, 4, {"Resources": configs})["Results"]],
        "ends": scene.call(2, 5, {"Topics": [{"Name": scene.TOPIC, "Partitions": places}]})["Topics"],
        "starts": scene.call(2, 5, {"Topics": [{"Name": scene.TOPIC, "Partitions": first}]})["Topics"],
        "groups": sorted(
            (group["GroupId"], group["GroupState"]) for group in scene.call(16, 4, {})["Groups"]
            if group["GroupId"].startswith("kept")),
        "offsets": scene.call(9, 7, {"GroupId": scene.GROUP, "Topics": None})["Topics"],
        "transaction": scene.call(65, 0, {"TransactionalIds": [scene.PRODUCER]})["TransactionStates"],
    }


@pytest.fixture(scope="module")
def before(scene: Scene) -> dict[str, Any]:
    return snapshot(scene)


@pytest.fixture(scope="module")
def size_before(own_broker: Broker, before: dict[str, Any]) -> int:
    return own_broker.resident_kib()


@pytest.fixture(autouse=True)
def nothing_has_changed(
    own_broker: Broker, scene: Scene, before: dict[str, Any], size_before: int
) -> Iterator[None]:
    yield
    assert own_broker.alive(), f"the broker ended:\n{own_broker.log()[-6000:]}"
    now, was = snapshot(scene), dict(before)
    # The test that has changed something fails, and not all after it.
    before.update(now)
    assert now == was
    grown = own_broker.resident_kib() - size_before
    assert grown < MEMORY_ROOM_KIB, f"the broker has grown by {grown} KiB"


def exchange(address: str, frames: Sequence[bytes]) -> list[Optional[bytes]]:
    """The answer to each frame, each on a connection of its own; None where the connection was closed instead."""
    host, port = address.rsplit(":", 1)
    answers: dict[int, Optional[bytes]] = {}
    for start in range(0, len(frames), AT_ONCE):
        with selectors.DefaultSelector() as selector:
            waiting: dict[int, bytearray] = {}
            for number, frame in enumerate(frames[start : start + AT_ONCE], start):
                opened = socket.create_connection((host, int(port)), ANSWER_SECONDS)
                try:
                    opened.sendall(struct.pack(">i", len(frame)) + frame)
                except ConnectionError:
                    pass
                waiting[number] = bytearray()
                selector.register(opened, selectors.EVENT_READ, number)
            deadline = time.monotonic() + ANSWER_SECONDS
            while waiting:
                ready = selector.select(max(0.0, deadline - time.monotonic()))
                assert ready, f"neither an answer nor a close in {ANSWER_SECONDS} s: {frames[min(waiting)][:200]!r}"
                for key, _ in ready:
                    data = waiting[key.data]
                    try:
                        part = key.fileobj.recv(1 << 20)  # type: ignore[union-attr]
                    except ConnectionError:
                        part = b""
                    data += part
                    whole = len(data) >= 4 and len(data) >= 4 + struct.unpack(">i", data[:4])[0]
                    if part and not whole:
                        continue
                    answers[key.data] = bytes(data[4:]) if whole else None
                    del waiting[key.data]
                    selector.unregister(key.fileobj)
                    key.fileobj.close()  # type: ignore[union-attr]
    return [answers[number] for number in range(len(frames))]


def served(row: Row, ranges: dict[int, range]) -> list[int]:
    versions = [version for version in ranges.get(row.key, range(0)) if version >= row.first]
    known = schemas.messages()[row.key, "request"].valid
    assert all(version in known for version in versions), f"{NAMES[row.key]} has versions without a definition here"
    return versions


def refused_codes(answer: Any) -> set[int]:
    return {code for code in schemas.codes(answer) if code}


def test_every_advertised_api_has_a_row(ranges: dict[int, range]) -> None:
    assert set(ranges) <= set(ROWS), "an API is served that this suite knows nothing about"


def test_an_api_with_a_row_that_is_not_advertised_closes_the_connection(scene: Scene, ranges: dict[int, range]) -> None:
    """There may be none."""
    frames = [schemas.encode(key, 0, {})[0] for key in KEYS if key not in ranges]
    assert exchange(scene.address, frames) == [None] * len(frames)


@pytest.mark.parametrize("key", KEYS, ids=NAMES.get)
def test_a_good_request_is_answered_and_a_bad_one_with_kafkas_code(
    scene: Scene, ranges: dict[int, range], key: int
) -> None:
    row = ROWS[key]
    wrong = []
    for version in served(row, ranges):
        answer = scene.call(key, version, row.base(scene, version))
        if refused_codes(answer) != row.answered(version):
            wrong.append(f"v{version}: a good request: {answer}")
        for fault in row.faults:
            if version not in fault.versions:
                continue
            edits = fault.edits(scene, version) if callable(fault.edits) else fault.edits
            name = f"v{version}: {fault.name}: wanted {fault.code}"
            try:
                answer = scene.call(key, version, edit(row.base(scene, version), edits))
            except ConnectionError:
                scene.connection = Wire(scene.address)
                wrong.append(f"{name}, the connection was closed")
                continue
            if refused_codes(answer) != {fault.code}:
                wrong.append(f"{name}, got {sorted(refused_codes(answer))}: {str(answer)[:300]}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("key", KEYS, ids=NAMES.get)
def test_tagged_fields_that_nobody_knows_are_ignored(scene: Scene, ranges: dict[int, range], key: int) -> None:
    row = ROWS[key]
    flexible = [version for version in served(row, ranges) if version in schemas.messages()[key, "request"].flexible]
    frames = [schemas.encode(key, version, row.base(scene, version), unknown_tags=True)[0] for version in flexible]
    for version, answer in zip(flexible, exchange(scene.address, frames)):
        assert answer is not None, f"v{version}: the connection was closed"
        assert refused_codes(schemas.decode(key, version, answer)) == row.answered(version), f"v{version}"


@pytest.mark.parametrize("key", KEYS, ids=NAMES.get)
def test_a_request_cut_short_disturbs_nobody(scene: Scene, ranges: dict[int, range], key: int) -> None:
    """The frame's length is that of what is left. The cut may fall between two fields, where nothing is missing yet."""
    row = ROWS[key]
    chosen = random.Random(key)
    frames, versions = [], []
    for version in served(row, ranges):
        frame, body, _ = schemas.encode(key, version, row.base(scene, version))
        places = range(8, len(frame))
        cuts = places if len(places) <= CUTS else sorted(chosen.sample(places, CUTS))
        frames += [frame[:cut] for cut in cuts]
        versions += [version] * len(cuts)
    for frame, version, answer in zip(frames, versions, exchange(scene.address, frames)):
        # Whatever is left cannot be a whole request, and cannot have been taken for one. What ApiVersions tells does
        # not hang on its body.
        if answer is not None and key != wire.API_VERSIONS:
            found = schemas.decode(key, version, answer)
            assert refused_codes(found), f"v{version} cut to {len(frame)} bytes was carried out: {found}"


@pytest.mark.parametrize("key", KEYS, ids=NAMES.get)
def test_bytes_behind_a_request_change_nothing(scene: Scene, ranges: dict[int, range], key: int) -> None:
    row = ROWS[key]
    versions = served(row, ranges)
    frames = [schemas.encode(key, version, row.base(scene, version))[0] + b"\xff" * 9 for version in versions]
    for version, answer in zip(versions, exchange(scene.address, frames)):
        if answer is not None:
            assert refused_codes(schemas.decode(key, version, answer)) <= row.answered(version) | {42}, f"v{version}"


def lies(mark: schemas.Mark, flexible: bool) -> list[bytes]:
    """Lengths that are not those of what follows."""
    if flexible:
        return [wire.unsigned_varint(value) for value in (2**31 - 1, 2**31, 2**32 - 1)] + [b"\xff" * 6]
    if mark.kind == "string":
        return [struct.pack(">h", value) for value in (32767, -2, -32768)]
    return [struct.pack(">i", value) for value in (2**31 - 1, 2**30, -2, -(2**31))]


@pytest.mark.parametrize("key", KEYS, ids=NAMES.get)
def test_a_length_that_lies_disturbs_nobody(scene: Scene, ranges: dict[int, range], key: int) -> None:
    row = ROWS[key]
    frames = []
    for version in served(row, ranges):
        frame, body, marks = schemas.encode(key, version, row.base(scene, version))
        flexible = version in schemas.messages()[key, "request"].flexible
        for mark in marks:
            if mark.kind in ("array", "string", "bytes", "records"):
                frames += [
                    frame[: body + mark.start] + lie + frame[body + mark.end :] for lie in lies(mark, flexible)]
    exchange(scene.address, frames)


NUMBERS = {"int8": 7, "int16": 15, "uint16": 16, "int32": 31, "int64": 63}


@pytest.mark.parametrize("key", KEYS, ids=NAMES.get)
def test_absurd_numbers_names_and_lists_are_answered(scene: Scene, ranges: dict[int, range], key: int) -> None:
    """One field at a time, at the first and the last version; the codes are the business of the rows."""
    row = ROWS[key]
    versions = served(row, ranges)
    frames = []
    for version in {versions[0], versions[-1]} if versions else ():
        marks = schemas.encode(key, version, row.base(scene, version))[2]
        for mark in marks:
            odd: list[Any] = []
            if mark.kind in NUMBERS:
                odd = [-1, -(2 ** NUMBERS[mark.kind]), 2 ** NUMBERS[mark.kind] - 1]
            elif mark.kind == "string":
                odd = ["", ILLEGAL, LONG_NAME, LONGEST_STRING, None]
            elif mark.kind == "array":
                odd = [[], None]
            elif mark.kind in ("bytes", "records"):
                odd = [b"", b"\xff" * 1000, None]
            for value in odd:
                frames.append(schemas.encode(key, version, edit(row.base(scene, version), {mark.path: value}))[0])
    exchange(scene.address, frames)


@pytest.mark.parametrize("key", KEYS, ids=NAMES.get)
def test_a_list_of_a_hundred_thousand_entries_is_answered_or_refused(
    scene: Scene, ranges: dict[int, range], key: int
) -> None:
    """Each list of the newest version, filled with copies of its first entry."""
    row = ROWS[key]
    versions = served(row, ranges)
    frames = []
    for version in versions[-1:]:
        values = row.base(scene, version)
        for mark in schemas.encode(key, version, values)[2]:
            if mark.kind != "array":
                continue
            node: Any = values
            for step in mark.path.split("."):
                node = node[int(step)] if step.isdigit() else node.get(step)
            if node:
                frames.append(filled(key, version, edit(values, {mark.path: node[:1]}), mark.path))
    exchange(scene.address, frames)


def filled(key: int, version: int, values: dict[str, Any], path: str) -> bytes:
    """A request whose list at `path` has its one entry again and again."""
    frame, body, marks = schemas.encode(key, version, values)
    (mark,) = [mark for mark in marks if (mark.kind, mark.path) == ("array", path)]
    flexible = version in schemas.messages()[key, "request"].flexible
    count = FEWER if key in COSTLY else MANY
    length = wire.unsigned_varint(count + 1) if flexible else wire.i32(count)
    entry = frame[body + mark.end : body + mark.after]
    return frame[: body + mark.start] + length + entry * count + frame[body + mark.after :]
