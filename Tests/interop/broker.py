# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: the broker under test, as a process.
"""Starts, watches and ends the built binary.

A broker is started on port 0 and is ready when its ready file exists; nothing here sleeps for luck.
It is always ended through its own Popen handle, and the kernel ends it when pytest dies (setpriv).
`Endpoint` is one way to reach a broker (plaintext or mutual TLS) and knows how each client spells it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any, Callable, Mapping, Optional, Sequence

READY_SECONDS = 30
STOP_SECONDS = 30


class BrokerFailed(AssertionError):
    pass


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 20, pause: float = 0.005) -> Any:
    """The first truthy value of `condition`; a failure that names `what` when the deadline passes."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(pause)


def own_address() -> Optional[str]:
    """A non-loopback IPv4 address of one of this machine's interfaces, if there is one."""
    done = subprocess.run(["hostname", "-I"], capture_output=True, timeout=10)
    for word in done.stdout.decode().split():
        if "." in word and not word.startswith("127."):
            return word
    return None


def stable_port() -> int:
    """A port that is free now and that the kernel never hands out as a client's own.

    Clients that keep reconnecting to a dead port of the ephemeral range can connect to themselves and so
    keep the broker from coming back. The port may still be taken by someone else before the broker binds
    it; `Broker.start` then asks again.
    """
    low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for _ in range(200):
        candidate = 10_000 + int.from_bytes(os.urandom(4), "big") % (low - 10_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", candidate))
            except OSError:
                continue
            return candidate
    raise AssertionError("no free port below the ephemeral range")


class Broker:
    """One broker process over one data directory, which may be ended and started again."""

    live: list["Broker"] = []
    #: Files with what every broker of this run has printed, and what else was heard from brokers and commands.
    logs: set[Path] = set()
    told: list[tuple[str, bytes]] = []

    def __init__(
        self,
        binary: str,
        directory: Path,
        *,
        ephemeral: bool = False,
        stable: bool = False,
        arguments: Sequence[str] = (),
        certs: Optional[Path] = None,
        environment: Optional[Mapping[str, str]] = None,
        wrapper: Sequence[str] = (),
        mode: str = "dev",
    ):
        self.binary = binary
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.data = directory / "data"
        self.certs_directory = certs or directory / "certs"
        self.ready_file = directory / "ready.json"
        self.log_path = directory / "broker.log"
        self.ephemeral = ephemeral
        self.stable = stable
        self.arguments = list(arguments)
        self.wrapper = list(wrapper)
        self.mode = mode
        self.environment = {**os.environ, **(environment or {})}
        self.wanted_port = 0
        self.shared = False
        self.process: Optional[subprocess.Popen[bytes]] = None
        self.ready: dict[str, Any] = {}
        Broker.live.append(self)
        Broker.logs.add(self.log_path)

    def command(self) -> list[str]:
        store = ["--ephemeral"] if self.ephemeral else ["--data", str(self.data)]
        return [
            self.binary,
            self.mode,
            "--port",
            str(self.wanted_port),
            "--ready-file",
            str(self.ready_file),
            *store,
            "--certs",
            str(self.certs_directory),
            *self.arguments,
        ]

    def start(self) -> "Broker":
        for attempt in range(5):
            if self.stable and (self.wanted_port == 0 or attempt > 0 and not self.ready):
                self.wanted_port = stable_port()
            try:
                return self._start_once()
            except BrokerFailed:
                if not self.stable or attempt == 4 or "in use" not in self.log():
                    raise
        raise AssertionError("unreachable")

    def _start_once(self) -> "Broker":
        assert self.process is None, "the broker runs already"
        self.ready_file.unlink(missing_ok=True)
        setpriv = shutil.which("setpriv")
        prefix = [setpriv, "--pdeathsig", "KILL"] if setpriv else []
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                prefix + self.wrapper + self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment,
            )
        deadline = time.monotonic() + READY_SECONDS
        while not self.ready_file.exists():
            status = self.process.poll()
            if status is not None:
                self.process = None
                raise BrokerFailed(f"the broker ended with status {status} before it was ready:\n{self.log()}")
            if time.monotonic() > deadline:
                self.kill()
                raise BrokerFailed(f"no ready file within {READY_SECONDS} s:\n{self.log()}")
            time.sleep(0.002)
        self.ready = json.loads(self.ready_file.read_text())
        return self

    @property
    def address(self) -> str:
        return self.ready["address"]

    @property
    def port(self) -> int:
        return int(self.address.rsplit(":", 1)[1])

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def ca(self) -> str:
        return self.ready["certs"]["ca"]

    @property
    def certificate(self) -> str:
        return self.ready["certs"]["cert"]

    @property
    def key(self) -> str:
        return self.ready["certs"]["key"]

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def metric(self, name: str) -> float:
        """The value of a metric without labels, as /metrics shows it now."""
        with urllib.request.urlopen(f"http://{self.address}/metrics", timeout=20) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith(name + " "):
                    return float(line.split()[1])
        raise AssertionError(f"there is no metric {name}")

    def remember_metrics(self) -> None:
        """For the search for secrets at the end of the run."""
        try:
            with urllib.request.urlopen(f"http://{self.address}/metrics", timeout=2) as answer:
                Broker.told.append((f"metrics of {self.directory}", answer.read()))
        except OSError:
            pass  # it speaks TLS only, or is stopped

    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def log_size(self) -> int:
        return self.log_path.stat().st_size if self.log_path.exists() else 0

    def log_since(self, position: int) -> str:
        if not self.log_path.exists():
            return ""
        with open(self.log_path, "rb") as log:
            log.seek(position)
            return log.read().decode(errors="replace")

    def wait_log(self, pattern: str, *, since: int = 0, seconds: float = 10) -> str:
        """The first log line after `since` that matches `pattern`, ignoring case."""
        compiled = re.compile(pattern, re.IGNORECASE)

        def matching() -> Optional[str]:
            return next((line for line in self.log_since(since).splitlines() if compiled.search(line)), None)

        return wait_until(matching, f"a log line matching {pattern!r}; the log says:\n{self.log_since(since)}", seconds)

    def resident_kib(self) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status).group(1))  # type: ignore[union-attr]

    def terminate(self) -> None:
        """Asks for a clean end (SIGTERM) without waiting for it."""
        assert self.process is not None
        self.process.terminate()

    def wait(self) -> int:
        assert self.process is not None
        try:
            status = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            self.process = None
            raise BrokerFailed(f"the broker still ran {STOP_SECONDS} s after SIGTERM:\n{self.log()[-4000:]}")
        self.process = None
        return status

    def stop(self) -> int:
        self.terminate()
        return self.wait()

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def close(self) -> None:
        """Ends the process whatever its state; for teardown."""
        if self.alive():
            self.remember_metrics()
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None
        if self in Broker.live:
            Broker.live.remove(self)

    def run(
        self, *arguments: str, input: Optional[bytes] = None, seconds: float = 30
    ) -> "subprocess.CompletedProcess[bytes]":
        """Runs a subcommand of the same binary to its end."""
        done = subprocess.run(
            [self.binary, *arguments],
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            timeout=seconds,
            env=self.environment,
        )
        if len(done.stdout) < 1 << 20:
            Broker.told.append((f"output of {' '.join(arguments)}", done.stdout + done.stderr))
        return done


class Endpoint:
    """One way to reach a broker, spelled for every client."""

    def __init__(self, broker: Broker, tls: bool):
        self.broker = broker
        self.tls = tls

    @property
    def address(self) -> str:
        return self.broker.address

    def librdkafka(self, **extra: Any) -> dict[str, Any]:
        """Configuration of confluent-kafka; underscores in keywords stand for dots."""
        configuration: dict[str, Any] = {
            "bootstrap.servers": self.address,
            "reconnect.backoff.ms": 20,
            "reconnect.backoff.max.ms": 200,
            "broker.address.family": "v4",
            "log_level": 3,
        }
        if self.tls:
            configuration |= {
                "security.protocol": "SSL",
                "ssl.ca.location": self.broker.ca,
                "ssl.certificate.location": self.broker.certificate,
                "ssl.key.location": self.broker.key,
                "ssl.endpoint.identification.algorithm": "https",
            }
        return configuration | {name.replace("_", "."): value for name, value in extra.items()}

    def kcat(self) -> list[str]:
        arguments = ["-b", self.address, "-X", "broker.address.family=v4"]
        if self.tls:
            for name, value in self.librdkafka().items():
                if name.startswith(("security", "ssl")):
                    arguments += ["-X", f"{name}={value}"]
        return arguments

    def kafka_python(self, **extra: Any) -> dict[str, Any]:
        configuration: dict[str, Any] = {"bootstrap_servers": self.address, "reconnect_backoff_ms": 20}
        if self.tls:
            configuration |= {
                "security_protocol": "SSL",
                "ssl_cafile": self.broker.ca,
                "ssl_certfile": self.broker.certificate,
                "ssl_keyfile": self.broker.key,
            }
        return configuration | extra

    def aiokafka(self, **extra: Any) -> dict[str, Any]:
        configuration: dict[str, Any] = {"bootstrap_servers": self.address, "retry_backoff_ms": 50}
        if self.tls:
            configuration |= {"security_protocol": "SSL", "ssl_context": self.ssl_context()}
        return configuration | extra

    def ssl_context(self, alpn: Sequence[str] = ()) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.broker.ca)
        context.load_cert_chain(self.broker.certificate, self.broker.key)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context

    def wire_tls(self) -> Optional[ssl.SSLContext]:
        return self.ssl_context() if self.tls else None

    def grpc_credentials(self) -> Any:
        import grpc

        def content(path: str) -> bytes:
            return Path(path).read_bytes()

        return grpc.ssl_channel_credentials(
            content(self.broker.ca), content(self.broker.key), content(self.broker.certificate)
        )

    def grpc_channel(self, options: Sequence[tuple[str, Any]] = ()) -> Any:
        import grpc

        # Each test has its own connection: grpcio otherwise shares one between equal channels.
        options = [("grpc.use_local_subchannel_pool", 1), *options]
        if self.tls:
            return grpc.secure_channel(self.address, self.grpc_credentials(), options)
        return grpc.insecure_channel(self.address, options)

    def grpc_aio_channel(self, options: Sequence[tuple[str, Any]] = ()) -> Any:
        import grpc

        options = [("grpc.use_local_subchannel_pool", 1), *options]
        if self.tls:
            return grpc.aio.secure_channel(self.address, self.grpc_credentials(), options)
        return grpc.aio.insecure_channel(self.address, options)
