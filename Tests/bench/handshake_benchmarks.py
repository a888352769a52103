# SPDX-License-Identifier: Apache-2.0
# Martlet, bench: what a TLS handshake costs, full and resumed.
"""Benchmarks of handshakes for bench.py, which calls them with its `Bench`.

`openssl s_time` connects again and again over mutual TLS 1.3 and gets a small page each time, from the broker and from `openssl
s_server` with the same certificates in turn. Several of them at once, so that the server is what is measured; it shares
the cores with them. Server CPU is that of the whole connection: accept, handshake, request, answer, close.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import time
from pathlib import Path

from broker import Broker, wait_until
from driver import Bench, remove, spread

CLIENTS = 3


class OpenSSLServer:
    """`openssl s_server` with the broker's certificates, rules and suites."""

    def __init__(self, own: Broker):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        server = Path(own.ca).with_name("server.pem")
        self.process = subprocess.Popen(
            ["openssl", "s_server", "-accept", f"127.0.0.1:{self.port}", "-quiet", "-www", "-tls1_3", "-Verify", "2",
             "-verify_return_error", "-cert", str(server), "-key", str(server.with_suffix(".key")), "-CAfile", own.ca,
             "-num_tickets", "1", "-no_cache", "-ciphersuites", "TLS_AES_128_GCM_SHA256"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        wait_until(self.answers, "s_server")

    def answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def used_us(pid: int) -> float:
    """User and system time of all threads so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") * 1e6


def run(own: Broker, port: int, pid: int, kind: str, page: str, seconds: float) -> tuple[float, float]:
    """Handshakes a second, and the server's CPU of each in us."""
    command = ["openssl", "s_time", "-connect", f"127.0.0.1:{port}", f"-{kind}", "-time", str(max(1, round(seconds))),
               "-cert", own.certificate, "-key", own.key, "-CAfile", own.ca, "-www", page]  # fmt: skip
    before, started = used_us(pid), time.monotonic()
    clients = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) for _ in range(CLIENTS)]
    outputs = [client.communicate()[0].decode() for client in clients]
    elapsed, used = time.monotonic() - started, used_us(pid) - before
    counts = [re.findall(r"(\d+) connections in [\d.]+s", output) for output in outputs]
    if any(client.returncode != 0 for client in clients) or not all(counts):
        raise SystemExit(f"s_time failed: {outputs[0][-300:]}")
    total = sum(int(found[-1]) for found in counts)
    return total / elapsed, used / total


def bench_handshakes(bench: Bench) -> None:
    own = bench.broker("handshakes")
    peer = OpenSSLServer(own)
    try:
        for kind, name in (("new", "full"), ("reuse", "resumed by a ticket")):
            mine: list[tuple[float, float]] = []
            theirs: list[tuple[float, float]] = []
            for _ in range(bench.rounds):
                resumed = handshakes(own, "resumed")
                mine.append(run(own, own.port, own.pid, kind, "/healthz", bench.seconds))
                if (handshakes(own, "resumed") > resumed) != (kind == "reuse"):
                    raise SystemExit(f"the handshakes were not {name}")
                theirs.append(run(own, peer.port, peer.process.pid, kind, "/", bench.seconds))
            bench.raw[f"handshakes {name}"] = {"martlet": mine, "openssl": theirs}
            ratio = sorted(a[1] / b[1] for a, b in zip(mine, theirs))[len(mine) // 2]
            bench.add(
                f"TLS 1.3 handshakes, mutual, P-256, {name}: server CPU of a connection with one request", "",
                f"{spread([cpu for _, cpu in mine], 0)} µs, {round(sorted(rate for rate, _ in mine)[len(mine) // 2]):,}/s",
                f"openssl s_server: {spread([cpu for _, cpu in theirs], 0)} µs, "
                f"{round(sorted(rate for rate, _ in theirs)[len(theirs) // 2]):,}/s; {ratio:.2f} ×", None,
            )  # fmt: skip
    finally:
        peer.process.kill()
        peer.process.wait()
        remove(own)


def handshakes(own: Broker, kind: str) -> int:
    import urllib.request

    with urllib.request.urlopen(f"http://{own.address}/metrics", timeout=20) as answer:
        text = answer.read().decode()
    return sum(int(value) for value in re.findall(rf"martlet_tls_handshakes_{kind}_total\{{[^}}]*\}} (\d+)", text))
