# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: HTTP/2 conformance.
"""The cases of h2spec, each over a connection of its own, in plaintext and over mutual TLS; docs/conformance.md lists them."""

from __future__ import annotations

from collections import Counter

import pytest

from broker import Endpoint
from http2 import (
    DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, GOAWAY, PRIORITY, REFUSED_STREAM, RST_STREAM, SETTINGS, Connection, frame,
    grpc_request,
)
from http2_cases import CASES, Case

NUMBERS: Counter[str] = Counter()


def name(case: Case) -> str:
    """`http2/6.5.2/3`: the section of RFC 7540, as h2spec orders them, and which of its cases."""
    NUMBERS[case.section] += 1
    return f"{case.section}/{NUMBERS[case.section]}"


@pytest.mark.parametrize("case", [pytest.param(case, id=name(case)) for case in CASES])
def test_conformance(endpoint: Endpoint, case: Case) -> None:
    with Connection(endpoint, opening=case.opening) as connection:
        case.send(connection)
        case.check(connection)


def test_a_stream_too_many_is_refused_while_the_limit_is_not_acknowledged(endpoint: Endpoint) -> None:
    """gRPC's clients open calls before they have seen SETTINGS; those are not to lose the connection."""
    with Connection(endpoint) as connection:
        connection.until(lambda seen: seen.type == SETTINGS)
        for number in range(1025):
            connection.call(1 + 2 * number)
        refused = connection.until(lambda seen: seen.type in (RST_STREAM, GOAWAY))[-1]
        assert (refused.type, refused.stream, refused.error) == (RST_STREAM, 2049, REFUSED_STREAM)


PRIORITIES = {"PRIORITY": frame(PRIORITY, 0, 1, b"\0\0\0\0\x0f"), "PRIORITY_UPDATE": frame(0x10, 0, 0, b"\0\0\0\1u=1")}
IDLE = {"empty DATA": frame(DATA, 0, 1), **PRIORITIES, "an unknown type": frame(0x42)}


@pytest.mark.parametrize("kind", IDLE)
def test_frames_that_bring_nothing_are_bounded(endpoint: Endpoint, kind: str) -> None:
    with Connection(endpoint) as connection:
        connection.call(1)
        connection.pong()
        connection.send(IDLE[kind] * 20_000)
        *_, last = connection.rest()
        assert (last.type, last.error) == (GOAWAY, ENHANCE_YOUR_CALM)


def test_clients_that_end_with_empty_data_and_say_priorities_are_served_for_ever(endpoint: Endpoint) -> None:
    with Connection(endpoint) as connection:
        for number in range(600):
            stream = 1 + 2 * number
            connection.send(b"".join(PRIORITIES.values()))
            connection.headers(stream, grpc_request("/grpc.health.v1.Health/Check"), END_HEADERS)
            connection.data(stream, b"\0" * 5)
            connection.send(b"".join(PRIORITIES.values()))
            connection.data(stream, flags=END_STREAM)
            assert connection.answer(stream)["grpc-status"] == "0"
