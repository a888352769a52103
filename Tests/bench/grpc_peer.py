# SPDX-License-Identifier: Apache-2.0
# Martlet, bench: the gRPC server in C++ that the gRPC benchmarks have beside them.
"""`grpc_echo.cc` is built when a benchmark first asks for it; where grpc-c++ is not installed, the page says so."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any, Callable, Optional

from driver import HERE, REPOSITORY, Bench, Peer, spread

NOT_INSTALLED = "grpc-c++ peer: not installed"
PROTOS = ["martlet/v1/streams.proto", "grpc/reflection/v1/reflection.proto"]


def version() -> Optional[str]:
    """Of grpc-c++; None where it cannot be built against."""
    if any(shutil.which(tool) is None for tool in ("g++", "protoc", "grpc_cpp_plugin", "pkg-config")):
        return None
    found = subprocess.run(["pkg-config", "--modversion", "grpc++"], capture_output=True, text=True)
    return found.stdout.strip() if found.returncode == 0 else None


def build(bench: Bench) -> str:
    binary, folder, protos = bench.peer("grpc_echo"), bench.folder / "grpc_echo.generated", str(REPOSITORY / "proto")
    folder.mkdir()
    plugin = shutil.which("grpc_cpp_plugin")
    subprocess.run(["protoc", "-I", protos, f"--cpp_out={folder}", f"--grpc_out={folder}",
                    f"--plugin=protoc-gen-grpc={plugin}", *PROTOS], check=True)  # fmt: skip
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "grpc++", "protobuf"], capture_output=True, text=True, check=True)
    sources = [str(path) for path in folder.rglob("*.cc")]
    subprocess.run(["g++", "-std=c++17", "-O2", "-Wall", "-Wextra", "-Werror", "-I", str(folder), "-o", binary,
                    str(HERE / "grpc_echo.cc"), *sources, *flags.stdout.split()], check=True)  # fmt: skip
    return binary


class GRPCPeer:
    """The peer while it runs, or its absence."""

    def __init__(self, bench: Bench):
        self.version = version()
        self.process: Optional[Peer] = None
        if self.version is None:
            note = "No grpc-c++ peer was measured: it is not installed (Debian: g++ libgrpc++-dev protobuf-compiler-grpc)."
            if note not in bench.notes:
                bench.notes.append(note)
            return
        binary = bench.peer("grpc_echo")
        self.process = bench.serve(binary if shutil.which(binary) else build(bench))

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def address(self) -> str:
        assert self.process is not None
        return f"127.0.0.1:{self.process.port}"

    def measure(self, found: list[Any], load: Callable[["GRPCPeer"], Any]) -> None:
        """Loads the peer, if there is one, as the broker was loaded just before."""
        if self.process is not None:
            found.append(load(self))

    def beside(self, found: list[Any], text: Callable[[list[Any]], str]) -> str:
        return f"bare grpc-c++ {self.version}: {text(found)}" if found else NOT_INSTALLED

    def close(self) -> None:
        if self.process is not None:
            self.process.close()


def rates(results: list[dict[str, Any]]) -> list[float]:
    return [result["records_per_second"] for result in results]


def costs(results: list[dict[str, Any]]) -> list[float]:
    """Server CPU, in microseconds a record."""
    return [result["server_cpu_us_per_record"] for result in results]


def speed(results: list[dict[str, Any]]) -> str:
    return f"{spread(rates(results), 0)} records/s, server CPU {spread(costs(results))} µs a record"
