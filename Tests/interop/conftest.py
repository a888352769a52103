# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: fixtures.
"""Fixtures of the interop tests: brokers, endpoints, topic names, gRPC stubs, deadlines.

`broker` is shared by a whole run; tests keep apart by topic and group names. `start_broker` makes brokers
of a test's own. `endpoint` runs a test twice, in plaintext and over mutual TLS, on the same port. Every
test has a deadline (60 s, or its `deadline` marker), and a failing test shows what its brokers logged.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import uuid
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest

import secrecy
from broker import Broker, Endpoint

REPOSITORY = Path(__file__).resolve().parents[2]
DEADLINE_SECONDS = 60


def find_binary() -> str:
    named = os.environ.get("MARTLET_BIN")
    candidates = [named] if named else [
        str(REPOSITORY / place) for place in (".build/martlet", ".build/release/martlet", ".build/debug/martlet")
    ]
    for candidate in candidates:
        if os.access(candidate, os.X_OK):
            return os.path.abspath(candidate)
    pytest.exit(f"no broker to test: none of {', '.join(candidates)} is an executable; set MARTLET_BIN", 3)


@pytest.fixture(scope="session")
def binary() -> str:
    return find_binary()


@pytest.fixture(scope="session")
def broker(binary: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    shared = Broker(binary, tmp_path_factory.mktemp("broker"))
    shared.shared = True
    yield shared.start()
    shared.close()


@pytest.fixture(scope="session", autouse=True)
def no_broker_tells_a_secret(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Passwords, tokens and private keys of all tests are in nothing that any broker or command has said."""
    yield
    for own in Broker.live:
        if own.alive():
            own.remember_metrics()
    wanted = secrecy.needles(tmp_path_factory.getbasetemp().rglob("*.key"))
    found = [
        problem
        for path in [*Broker.logs, *tmp_path_factory.getbasetemp().rglob("audit*.log")]
        if path.is_file()
        for problem in secrecy.search(path.read_bytes(), wanted, str(path))
    ] + [problem for where, text in Broker.told for problem in secrecy.search(text, wanted, where)]
    assert not found, "\n".join(sorted(set(found)))


@pytest.fixture(autouse=True)
def the_shared_broker_survives() -> Iterator[None]:
    """The test during which the shared broker ends fails, and the next ones get it back."""
    yield
    for own in Broker.live:
        if own.shared and not own.alive():
            status = own.process.poll() if own.process else None
            own.process = None
            said = shorten(own.log()[-40_000:])
            own.start()
            pytest.fail(f"the shared broker ended during this test, with status {status}; it had said:\n{said}")


@pytest.fixture
def start_broker(binary: str, tmp_path: Path) -> Iterator[Callable[..., Broker]]:
    """Starts brokers that end with the test; keywords are those of `Broker`."""
    started: list[Broker] = []

    def start(name: str = "own", **options: Any) -> Broker:
        own = Broker(binary, tmp_path / name, **options)
        started.append(own)
        return own.start()

    yield start
    for own in started:
        own.close()


@pytest.fixture
def fresh_broker(start_broker: Callable[..., Broker]) -> Broker:
    return start_broker()


@pytest.fixture(params=["plaintext", "mtls"])
def endpoint(broker: Broker, request: pytest.FixtureRequest) -> Endpoint:
    return Endpoint(broker, tls=request.param == "mtls")


@pytest.fixture
def plaintext(broker: Broker) -> Endpoint:
    return Endpoint(broker, tls=False)


@pytest.fixture
def mtls(broker: Broker) -> Endpoint:
    return Endpoint(broker, tls=True)


@pytest.fixture
def unique() -> Callable[[str], str]:
    """A name for a topic, a group or a client that no other test has."""
    return lambda word: f"{word}-{uuid.uuid4().hex[:10]}"


@pytest.fixture
def topic(unique: Callable[[str], str]) -> str:
    return unique("topic")


@pytest.fixture
def group(unique: Callable[[str], str]) -> str:
    return unique("group")


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The gRPC contract, generated from proto/ for this run."""
    import stubs

    return stubs.generate(REPOSITORY / "proto", tmp_path_factory.mktemp("stubs"))


OUTCOMES = pytest.StashKey[dict[tuple[str, str], str]]()


@pytest.fixture(scope="session")
def matrix_outcomes(pytestconfig: pytest.Config) -> dict[tuple[str, str], str]:
    """The sign of each cell of the matrix that has run, by feature and client."""
    return pytestconfig.stash.setdefault(OUTCOMES, {})


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    outcomes = config.stash.get(OUTCOMES, {})
    if outcomes:
        from matrix import table

        terminalreporter.section("features and clients")
        terminalreporter.write_line(table.render(outcomes))


class DeadlinePassed(Exception):
    pass


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[Any]:
    marker = item.get_closest_marker("deadline")
    seconds = marker.args[0] if marker else DEADLINE_SECONDS

    def expired(*_: object) -> None:
        faulthandler.dump_traceback(file=sys.__stderr__)
        raise DeadlinePassed(f"the test did not end within {seconds} s")

    positions = {own: own.log_size() for own in Broker.live}
    item.stash[POSITIONS] = positions
    previous = signal.signal(signal.SIGALRM, expired)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    # Should C code never return to the interpreter, the run ends instead of hanging.
    faulthandler.dump_traceback_later(seconds + 60, exit=True)
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def shorten(text: str) -> str:
    """The beginning and the end: a crash says first what happened and last where."""
    return text if len(text) < 9000 else f"{text[:6000]}\n[…]\n{text[-2500:]}"


POSITIONS = pytest.StashKey[dict[Broker, int]]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[Any]:
    report = yield
    if report.failed:
        positions = item.stash.get(POSITIONS, {})
        for own in Broker.live:
            written = own.log_since(positions.get(own, 0))
            state = "runs" if own.alive() else "does not run"
            report.sections.append((f"log of the broker in {own.directory} ({state})", shorten(written)))
    return report
