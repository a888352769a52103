# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: what a row of the table of bad requests is.
"""A row has a good request for each version, the codes it is answered with, and faults.

A fault is a change to the good request and the one error code, other than 0, that the answer must then contain; the
codes are those that a Kafka 4.0 node gives. Names of things begin with `kept` (nothing may change them) or `scratch`.
"""

from __future__ import annotations

import copy
import uuid
from dataclasses import dataclass, field
from typing import Any, Callable, Mapping, Optional, Union

import protocol
import schemas
import wire
from schemas import Versions
from wire import Record, Wire

LONG_NAME = "scratch" + "x" * 243  # one more than 249
LONGEST_STRING = "scratch" + "x" * 32760
ILLEGAL = "scratch/with a slash"
ABSENT = "scratch-absent"
NO_ID = uuid.UUID(int=0)
ABSENT_ID = uuid.UUID(int=0x5CAFFE)

Values = dict[str, Any]
Edits = Mapping[str, Any]


class Scene:
    """The broker's state that the good requests are about."""

    TOPIC, GROUP, PRODUCER, CONFIG = "kept", "kept-group", "kept-tx", "3600000"
    SCRATCH = "scratch"

    def __init__(self, address: str):
        self.address = address
        self.connection = Wire(address)
        protocol.create(self.connection, self.TOPIC, 3, retention_ms=self.CONFIG)
        protocol.create(self.connection, self.SCRATCH, 3)
        for topic in (self.TOPIC, self.SCRATCH):
            for _ in range(2):
                assert self.connection.produce(topic, wire.batch([Record(b"v")] * 5)).error == 0
        self.topic_id = self.id_of(self.TOPIC)
        self.scratch_id = self.id_of(self.SCRATCH)
        self.node = self.call(60, 0, {})["Brokers"][0]["BrokerId"]
        self.commit(self.GROUP, self.TOPIC)
        # A transactional id that has ended a transaction.
        self.kept_producer = self.producer(self.PRODUCER)
        self.begin(self.PRODUCER, self.kept_producer, self.TOPIC)
        self.call(26, 2, {**self.of(self.PRODUCER, self.kept_producer), "Committed": True})

    def call(self, key: int, version: int, values: Values) -> Values:
        frame = schemas.encode(key, version, values)[0]
        answer = self.connection.call(wire.i32(len(frame)) + frame)
        return schemas.decode(key, version, answer)

    def id_of(self, topic: str) -> uuid.UUID:
        return self.call(3, 12, {"Topics": [{"Name": topic}]})["Topics"][0]["TopicId"]

    def name(self) -> str:
        return f"scratch-{uuid.uuid4().hex[:12]}"

    def topic(self, partitions: int = 1) -> str:
        name = self.name()
        protocol.create(self.connection, name, partitions)
        return name

    def commit(self, group: str, topic: str) -> str:
        answer = self.call(8, 7, {
            "GroupId": group, "GenerationIdOrMemberEpoch": -1,
            "Topics": [{"Name": topic, "Partitions": [{"PartitionIndex": 0, "CommittedOffset": 7}]}]})
        assert schemas.codes(answer) == [0], answer
        return group

    def joined(self) -> tuple[str, str, int]:
        """A classic group with one stable member."""
        group = self.name()
        joined = self.call(11, 3, {
            "GroupId": group, "SessionTimeoutMs": 30_000, "RebalanceTimeoutMs": 30_000, "ProtocolType": "consumer",
            "Protocols": [{"Name": "range", "Metadata": b"m"}]})
        assert joined["ErrorCode"] == 0, joined
        member, generation = joined["MemberId"], joined["GenerationId"]
        synced = self.call(14, 3, {
            "GroupId": group, "GenerationId": generation, "MemberId": member,
            "Assignments": [{"MemberId": member, "Assignment": b"a"}]})
        assert synced["ErrorCode"] == 0, synced
        return group, member, generation

    def producer(self, name: Optional[str]) -> tuple[int, int]:
        answer = self.call(22, 4, {"TransactionalId": name, "TransactionTimeoutMs": 60_000})
        assert answer["ErrorCode"] == 0, answer
        return answer["ProducerId"], answer["ProducerEpoch"]

    def of(self, name: str, producer: tuple[int, int]) -> Values:
        return {"TransactionalId": name, "ProducerId": producer[0], "ProducerEpoch": producer[1]}

    def begin(self, name: str, producer: tuple[int, int], topic: str) -> None:
        answer = self.call(24, 2, {
            "V3AndBelowTransactionalId": name, "V3AndBelowProducerId": producer[0],
            "V3AndBelowProducerEpoch": producer[1], "V3AndBelowTopics": [{"Name": topic, "Partitions": [0]}]})
        assert schemas.codes(answer) == [0], answer

    def transaction(self) -> tuple[str, tuple[int, int]]:
        """An open transaction of its own with a scratch partition in it."""
        name = self.name()
        producer = self.producer(name)
        self.begin(name, producer, self.SCRATCH)
        return name, producer


Base = Callable[[Scene, int], Values]
Changes = Union[Edits, Callable[[Scene, int], Edits]]


@dataclass
class Fault:
    name: str
    edits: Changes
    code: int
    versions: Versions


@dataclass
class Row:
    key: int
    base: Base
    # The codes other than 0 that the good request is answered with.
    answered: Callable[[int], set[int]]
    first: int
    faults: list[Fault] = field(default_factory=list)

    def fault(self, name: str, edits: Changes, code: int, versions: str = "0+") -> "Row":
        self.faults.append(Fault(name, edits, code, Versions.parse(versions)))
        return self


ROWS: dict[int, Row] = {}


def row(
    key: int, base: Base, answered: Union[set[int], Callable[[int], set[int]]] = frozenset(), first: int = 0
) -> Row:  # fmt: skip
    """`first`: the first version that is served, where lower ones are only advertised."""
    assert key not in ROWS
    ROWS[key] = Row(key, base, answered if callable(answered) else lambda _: set(answered), first)
    return ROWS[key]


def edit(values: Values, edits: Edits) -> Values:
    """A copy with changes at paths such as `Topics.0.Name`; a path that leads nowhere is a mistake of the table."""
    changed = copy.deepcopy(values)
    for path, value in edits.items():
        node: Any = changed
        *steps, last = path.split(".")
        for step in steps:
            node = node[int(step)] if step.isdigit() else node[step]
        if last.isdigit():
            node[int(last)] = value
        else:
            node[last] = value
    return changed
