# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: the table behind the matrix, and how it is written down.
"""A feature is a row; each client has a cell in it, or a reason why it has no call for it.

A cell is a function of a `World`. It fails by raising; nothing is skipped. What a client cannot ask for is decided
here, in the table, and becomes a footnote of the matrix.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Mapping, Optional

import protocol
from broker import Broker, Endpoint
from wire import Wire

CLIENTS = {
    "kcat": "kcat 1.7 (librdkafka 2.0)",
    "confluent-kafka": "confluent-kafka 2.16 (librdkafka 2.16)",
    "kafka-python": "kafka-python 3.0",
    "aiokafka": "aiokafka 0.14",
}
PASSED, FAILED, ABSENT = "✓", "✗", "—"
MATRIX = Path(__file__).resolve().parents[1] / "matrix.md"

Cell = Callable[["World"], None]


@dataclass
class World:
    """What a cell has: a broker, a way to reach it, a client, and names of its own."""

    broker: Broker
    endpoint: Endpoint
    client: Any
    start_broker: Callable[..., Broker]
    admin: Any = None

    def name(self, word: str) -> str:
        return f"{word}-{uuid.uuid4().hex[:10]}"

    def topic(self, partitions: int = 1, name: Optional[str] = None, **configs: str) -> str:
        """Makes a topic, past the client under test; underscores in names of configurations stand for dots."""
        name = name or self.name("topic")
        with Wire(self.broker.address) as connection:
            protocol.create(connection, name, partitions, **configs)
        return name

    def records(self, topic: str, count: int = 10, partition: int = 0, first: int = 0) -> list[bytes]:
        """Fills a topic with `count` records of one batch, past the client under test."""
        import wire

        values = [b"%d" % number for number in range(first, first + count)]
        with Wire(self.broker.address) as connection:
            produced = connection.produce(topic, wire.batch([wire.Record(value) for value in values]),
                                          partition=partition)
        assert produced.error == wire.NONE, produced
        return values


@dataclass
class Feature:
    section: str
    name: str
    absent: Mapping[str, str]
    tls: bool
    slow: bool
    cells: dict[str, Cell] = field(default_factory=dict)

    def cell(self, *clients: str) -> Callable[[Cell], Cell]:
        """Registers the function as the cell of these clients (all that are not absent if none is named)."""

        def register(function: Cell) -> Cell:
            for client in clients or [name for name in CLIENTS if name not in self.absent]:
                assert client in CLIENTS and client not in self.absent and client not in self.cells, (self.name, client)
                self.cells[client] = function
            return function

        return register

    @property
    def key(self) -> str:
        return f"{self.section}: {self.name}"


FEATURES: dict[str, Feature] = {}


def feature(
    section: str, name: str, absent: Optional[Mapping[str, str]] = None, tls: bool = False, slow: bool = False
) -> Feature:
    """A row. `tls`: its cells run over mutual TLS as well. `slow`: they run in the background, side by side."""
    made = Feature(section, name, dict(absent or {}), tls, slow)
    assert made.key not in FEATURES, f"two rows are called {made.key}"
    FEATURES[made.key] = made
    return made


def incomplete() -> list[str]:
    """Cells that are neither there nor declared absent."""
    return [
        f"{row.key} with {client}" for row in FEATURES.values() for client in CLIENTS
        if (client in row.cells) == (client in row.absent)
    ]


def render(outcomes: Mapping[tuple[str, str], str]) -> str:
    """The matrix as Markdown. `outcomes` has a sign for each cell that ran; others show as blanks."""
    reasons: list[str] = []
    lines = [
        "<!-- Written by the interop tests (MARTLET_WRITE_MATRIX=1); a run that differs from it fails. -->", "",
        "| feature | " + " | ".join(CLIENTS.values()) + " |",
        "|---|" + "---|" * len(CLIENTS),
    ]
    section = ""
    for row in FEATURES.values():
        if row.section != section:
            section = row.section
            lines.append(f"| **{section}** |" + " |" * len(CLIENTS))
        signs = []
        for client in CLIENTS:
            if client not in row.absent:
                signs.append(outcomes.get((row.key, client), " "))
                continue
            reason = f"{client}: {row.absent[client]}"
            if reason not in reasons:
                reasons.append(reason)
            signs.append(f"{ABSENT} [{reasons.index(reason) + 1}]")
        lines.append(f"| {row.name} | " + " | ".join(signs) + " |")
    lines += ["", f"{PASSED} works, {ABSENT} the client has no call for it:", ""]
    lines += [f"{number}. {reason}" for number, reason in enumerate(reasons, 1)]
    return "\n".join(lines) + "\n"


def committed() -> dict[tuple[str, str], str]:
    """The signs of the matrix as it is in the repository."""
    found: dict[tuple[str, str], str] = {}
    section = ""
    for line in MATRIX.read_text().splitlines() if MATRIX.exists() else []:
        columns = [column.strip() for column in line.strip("|").split("|")]
        if not line.startswith("|") or len(columns) != len(CLIENTS) + 1:
            continue
        if columns[0].startswith("**"):
            section = columns[0].strip("*")
        elif section:
            for client, sign in zip(CLIENTS, columns[1:]):
                found[f"{section}: {columns[0]}", client] = sign
    return found
