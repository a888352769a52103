# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: the matrix of features and clients.
"""Every feature with every client that has a call for it; the outcome is `matrix.md`.

The rows are in `matrix/`. The end of a run prints the matrix; MARTLET_WRITE_MATRIX=1 writes it to `matrix.md`, and
every other run fails if it differs from that file. Slow cells (rebalances, time-outs, restarts) all start with the
first one and run side by side; their tests wait for them.
"""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest

from broker import Broker, Endpoint
from matrix import table
from matrix.clients import BY_NAME
from matrix.table import CLIENTS, FEATURES, World

SIDE_BY_SIDE = 6
SLOW_SECONDS = 120

CELLS = [
    (key, client, transport)
    for key, row in FEATURES.items()
    for client in CLIENTS if client in row.cells
    for transport in (["plaintext", "mtls"] if row.tls else ["plaintext"])
]


@pytest.fixture(scope="module")
def start_any(binary: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Broker]]:
    """Starts brokers that end with the module."""
    directory = tmp_path_factory.mktemp("matrix")
    started: list[Broker] = []

    def start(name: str, **options: Any) -> Broker:
        own = Broker(binary, directory / name, **options)
        started.append(own)
        return own.start()

    yield start
    for own in started:
        own.close()


@pytest.fixture(scope="module")
def run_cell(
    broker: Broker, start_any: Callable[..., Broker], request: pytest.FixtureRequest
) -> Iterator[Callable[..., None]]:
    """Runs a cell, or waits for it if it is a slow one; those of this run have been started together."""

    def run(key: str, client: str, transport: str) -> None:
        endpoint = Endpoint(broker, tls=transport == "mtls")
        FEATURES[key].cells[client](World(broker, endpoint, BY_NAME[client], start_any))

    asked = [
        item.callspec.params["cell"] for item in request.session.items
        if "cell" in getattr(getattr(item, "callspec", None), "params", {})
    ]
    pool = ThreadPoolExecutor(SIDE_BY_SIDE)
    running: dict[tuple[str, str, str], Future[None]] = {
        cell: pool.submit(run, *cell) for cell in asked if FEATURES[cell[0]].slow
    }

    def finish(cell: tuple[str, str, str]) -> None:
        if cell in running:
            running[cell].result(SLOW_SECONDS)
        else:
            run(*cell)

    yield finish
    for future in running.values():
        future.cancel()
    pool.shutdown(wait=True)


def test_every_client_has_a_cell_or_a_reason_in_every_row() -> None:
    assert not table.incomplete()


@pytest.mark.deadline(SLOW_SECONDS + 30)
@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: "-".join((cell[0], *cell[1:])))
def test_a_feature_works_with_a_client(
    run_cell: Callable[..., None], cell: tuple[str, str, str], matrix_outcomes: dict[tuple[str, str], str]
) -> None:
    key, client, _ = cell
    outcome = matrix_outcomes.setdefault((key, client), table.PASSED)
    try:
        run_cell(cell)
    except BaseException:
        outcome = table.FAILED
        raise
    finally:
        matrix_outcomes[key, client] = outcome


def test_the_outcome_is_the_matrix_in_the_repository(matrix_outcomes: dict[tuple[str, str], str]) -> None:
    """In a run of a part, that part of it; in a run of all, all of it."""
    if not matrix_outcomes:
        pytest.fail("no cell has run")
    if os.environ.get("MARTLET_WRITE_MATRIX"):
        assert len(matrix_outcomes) == sum(len(row.cells) for row in FEATURES.values()), "only a whole run is written"
        table.MATRIX.write_text(table.render(matrix_outcomes))
        return
    committed = table.committed()
    assert matrix_outcomes == {cell: committed.get(cell) for cell in matrix_outcomes}, "matrix.md says otherwise"
    assert Path(table.MATRIX).read_text() == table.render({**committed, **matrix_outcomes}), "matrix.md is out of date"
