# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: `martlet doctor`.
"""Its status for scripts, its JSON, and what it hears from a running broker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any, Callable

import pytest

from broker import Broker, wait_until
from conftest import REPOSITORY
from test_clock import LIBRARY


@pytest.fixture
def doctor(binary: str, tmp_path: Path) -> Callable[..., tuple[int, Any]]:
    """Runs it with `--json`; its status and its findings by id."""

    def run(*arguments: str, environment: dict[str, str] | None = None) -> tuple[int, Any]:
        done = subprocess.run(
            [binary, "doctor", "--json", *arguments], capture_output=True, timeout=30, cwd=tmp_path,
            env={**os.environ, **(environment or {})},
        )  # fmt: skip
        answer = json.loads(done.stdout)
        assert answer["status"] == done.returncode
        return done.returncode, {finding["id"]: finding for finding in answer["findings"]}

    return run


def test_the_status_tells_a_script_how_bad_it_is(doctor: Callable[..., tuple[int, Any]], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o700)
    plain = ["--port", "0", "--max-connections", "10"]
    assert doctor(*plain)[0] == 0
    status, found = doctor(*plain, environment={"MARTLET_DURABILITY": "os"})
    assert status == 1
    assert found["not-durable"]["setting"] == "durability" and found["not-durable"]["place"] == "MARTLET_DURABILITY"
    config = tmp_path / "martlet.yaml"
    config.write_text("# a comment\nlisten: 0.0.0.0:0\nplaintext: anywhere\n")
    status, found = doctor("--config", str(config))
    assert status == 2
    assert found["plaintext-exposed"]["place"] == f"{config}:3" and found["plaintext-exposed"]["next"] == "loopback"


def test_a_broker_is_asked_over_tls_and_in_plaintext(
    doctor: Callable[..., tuple[int, Any]], start_broker: Callable[..., Broker], binary: str
) -> None:
    broker = start_broker()
    secure = ["--connect", broker.address, "--ca", broker.ca, "--cert", broker.certificate, "--key", broker.key]
    status, found = doctor(*secure)
    assert (status, set(found)) == (0, {"tls"}) and "TLSv1.3" in found["tls"]["what"]
    status, found = doctor("--connect", broker.address)
    assert (status, set(found)) == (0, {"plaintext"})
    # Without a client's certificate: the broker's alert, in words.
    status, found = doctor("--connect", broker.address, "--ca", broker.ca)
    assert status == 2 and "certificate" in found["cannot-connect"]["what"]
    # The data directory of a running broker.
    assert broker.data.stat().st_mode & 0o007 == 0
    status, found = doctor("--data", str(broker.data), "--certs", str(broker.certs_directory), "--listen", broker.address)
    assert found["broker-runs"]["severity"] == "note"
    assert "port-in-use" not in found and "data-readable-by-others" not in found
    broker.stop()
    status, found = doctor("--connect", secure[1])
    assert status == 2 and "refused" in found["cannot-connect"]["what"]


def test_a_listener_that_wants_tls_is_named(doctor: Callable[..., tuple[int, Any]], start_broker: Callable[..., Broker]) -> None:
    broker = start_broker(arguments=["--plaintext", "never"])
    status, found = doctor("--connect", broker.address)
    assert (status, set(found)) == (2, {"tls-wanted"})
    assert "speaks TLS only" in found["tls-wanted"]["what"] and "--ca" in found["tls-wanted"]["next"]
    assert "--running" in found["tls-wanted"]["next"]


OWN = ["--tls-cert", "{}/certs/server.pem", "--tls-key", "{}/certs/server.key", "--tls-ca", "{}/certs/ca.pem"]


@pytest.mark.parametrize(
    "arguments",
    [
        [], ["--plaintext", "never"], ["--plaintext", "never", "--tls-client-auth", "none"],
        ["--sasl-enabled-mechanisms", "SCRAM-SHA-256", "--plaintext", "never"], ["--plaintext", "never", *OWN], ["--ephemeral"],
        ["--ephemeral", "--plaintext", "never"], ["--ephemeral", "--plaintext", "never", "--tls-client-auth", "required", *OWN],
    ],
)  # fmt: skip
def test_the_health_check_of_the_image_works_whatever_listeners_take(
    binary: str, start_broker: Callable[..., Broker], tmp_path: Path, arguments: list[str]
) -> None:
    text = (REPOSITORY / "Dockerfile").read_text().replace("\\\n", "")
    check = next(line.partition(" CMD ")[2] for line in text.splitlines() if line.startswith("HEALTHCHECK"))
    place = next(line.partition("=")[2] for line in text.splitlines() if line.startswith("ENV MARTLET_READY_FILE="))
    assert place.startswith("/var/lib/martlet/")
    subprocess.run([binary, "certs", "init", "--certs", str(tmp_path / "certs")], check=True, capture_output=True)
    broker = start_broker(
        ephemeral="--ephemeral" in arguments,
        arguments=[one.format(tmp_path) for one in arguments if one != "--ephemeral"])  # fmt: skip
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "martlet").symlink_to(binary)
    environment = {**os.environ, "PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "MARTLET_READY_FILE": str(broker.ready_file)}

    def status() -> int:
        return subprocess.run(["sh", "-c", check], capture_output=True, timeout=30, env=environment, cwd=tmp_path).returncode

    assert status() == 0
    broker.stop()
    assert status() != 0


def test_the_broker_that_runs_is_asked_by_its_directory(
    doctor: Callable[..., tuple[int, Any]], start_broker: Callable[..., Broker], tmp_path: Path
) -> None:
    broker = start_broker()
    assert doctor("--running", "--data", str(broker.data)) == (0, {})
    status, found = doctor("--running", "--data", str(tmp_path))
    assert status == 2 and "no broker runs in" in found["cannot-connect"]["what"]
    # One that stands still does not answer.
    os.kill(broker.pid, signal.SIGSTOP)
    status, found = doctor("--running", "--data", str(broker.data))
    os.kill(broker.pid, signal.SIGCONT)
    assert status == 2 and "did not answer in" in found["cannot-connect"]["what"]
    broker.stop()
    assert doctor("--running", "--data", str(broker.data))[0] == 2


def test_what_a_broker_complains_of_and_its_wrong_clock_are_findings(
    doctor: Callable[..., tuple[int, Any]], start_broker: Callable[..., Broker], tmp_path: Path
) -> None:
    # Not by the faketime program, which refuses to start where an earlier one of the same process id was killed.
    clock = {"LD_PRELOAD": LIBRARY or "", "FAKETIME": "+2h", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    ahead = start_broker("ahead", environment=clock, arguments=["--plaintext", "loopback"])
    status, found = doctor("--connect", ahead.address)
    assert status == 2 and "s ahead of this machine's" in found["clock"]["what"]


def test_a_directory_of_another_broker_is_an_error_where_this_one_would_listen_elsewhere(
    doctor: Callable[..., tuple[int, Any]], start_broker: Callable[..., Broker]
) -> None:
    broker = start_broker()
    files = ["--data", str(broker.data), "--certs", str(broker.certs_directory)]
    status, found = doctor(*files, "--listen", f"127.0.0.2:{broker.port}")
    assert status == 2 and found["data-in-use"]["setting"] == "data" and "broker-runs" not in found


def test_the_check_and_the_start_say_what_the_doctor_says(binary: str, tmp_path: Path) -> None:
    """A certificate of wrong usage whose key everybody may read: the check fails, the broker that starts says so."""
    subprocess.run([binary, "certs", "init", "--certs", "own"], cwd=tmp_path, check=True, capture_output=True, timeout=30)
    os.chmod(tmp_path / "own" / "client.key", 0o644)
    (tmp_path / "m.yaml").write_text("port: 0\ntls.cert: own/client.pem\ntls.key: own/client.key\ntls.ca: own/ca.pem\nmax.connections: 10\n")
    (tmp_path / "data").mkdir(mode=0o700)
    arguments = [binary, "serve", "--config", "m.yaml"]
    done = subprocess.run([*arguments, "--check"], cwd=tmp_path, capture_output=True, timeout=30)
    assert done.returncode == 1 and done.stdout == b""
    usage, mode = "it is not meant for a server (extended key usage); tls.cert (m.yaml:2)", "everybody may read it (mode 0644)"
    said = done.stderr.decode()
    assert usage in said and mode in said and all(line.startswith("error: ") for line in said.splitlines())
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen([*arguments, "--ready-file", "ready"], cwd=tmp_path, stdout=output, stderr=output)
    try:
        wait_until(lambda: usage in log.read_text() and mode in log.read_text(), "the log to say so")
        assert process.poll() is None
    finally:
        process.terminate()
        process.wait(20)
    # Every mistake, not the first alone, at the start too.
    (tmp_path / "m.yaml").write_text("lisen: x\nport: many\n")
    done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, timeout=30)
    assert done.returncode == 78 and [line.split("`")[1] for line in done.stderr.decode().splitlines()] == ["lisen", "port"]


def test_a_person_reads_lines_that_say_what_to_change(binary: str, tmp_path: Path) -> None:
    config = tmp_path / "m.yaml"
    config.write_text("durability: os\nport: 0\n")
    done = subprocess.run([binary, "doctor", "--config", "m.yaml"], capture_output=True, timeout=30, cwd=tmp_path)
    text = done.stdout.decode()
    assert "warning not-durable: acknowledged records do not survive a power cut\n  next: durability (m.yaml:1): disk" in text
    assert text.rstrip().splitlines()[-1].startswith("0 errors, 1 warning, ")
    assert done.returncode == 1
