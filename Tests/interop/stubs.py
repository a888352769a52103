# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: Python stubs of the gRPC contract.
"""Generates the stubs of `proto/` with grpcio-tools into a folder of the test run."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

import grpc_tools
from grpc_tools import protoc


def generate(protos: Path, folder: Path) -> SimpleNamespace:
    """One namespace with every message and stub of `martlet.v1`."""
    files = sorted(protos.glob("martlet/v1/*.proto"))
    assert files, f"no contract in {protos}"
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    status = protoc.main(
        [
            "protoc",
            f"-I{protos}",
            f"-I{well_known}",
            f"--python_out={folder}",
            f"--grpc_python_out={folder}",
            *[str(file.relative_to(protos)) for file in files],
        ]
    )
    assert status == 0, "protoc failed"
    sys.path.insert(0, str(folder))
    names: dict[str, object] = {}
    for file in files:
        module = ".".join(file.relative_to(protos).with_suffix("").parts)
        for suffix in ("_pb2", "_pb2_grpc"):
            names |= vars(importlib.import_module(module + suffix))
    return SimpleNamespace(**{name: value for name, value in names.items() if not name.startswith("__")})
