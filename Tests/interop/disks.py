# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: small disks that can be filled and emptied, and limits on a running process.
"""Two ways to let a broker run out of space, of which at least one works on every Linux machine.

`SmallDisk` is a tmpfs of a few MB in a mount namespace of its own, held by a process that ends with the test; the broker is
started in it. `FileLimit` is the process's limit on the size of a file (RLIMIT_FSIZE), which needs no privilege.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from pathlib import Path
from typing import Optional

MEBIBYTE = 1 << 20


class SmallDisk:
    """A file system of `size` bytes at `path`, seen by processes that are started with `wrapper`."""

    def __init__(self, path: Path, size: int = 24 * MEBIBYTE):
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        script = 'mount -t tmpfs -o size="$1",mode=0777 tmpfs "$0" && echo ready && exec cat'
        self.holder = subprocess.Popen(
            ["unshare", "--map-root-user", "--mount", "sh", "-c", script, str(path), str(size)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
        assert self.holder.stdout is not None and self.holder.stdout.readline() == b"ready\n"
        self.wrapper = ["nsenter", "--target", str(self.holder.pid), "--user", "--mount", "--preserve-credentials"]

    @staticmethod
    def is_possible() -> bool:
        if shutil.which("unshare") is None or shutil.which("nsenter") is None:
            return False
        probe = ["unshare", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
        return subprocess.run(probe, capture_output=True).returncode == 0

    def outside(self, path: Path) -> Path:
        """The same path as this process can open it."""
        return Path(f"/proc/{self.holder.pid}/root{path}")

    def fill(self, _: Optional[int] = None) -> None:
        with open(self.outside(self.path) / "filler", "ab", buffering=0) as file:
            for size in (65536, 4096):
                try:
                    while True:
                        file.write(b"\0" * size)
                except OSError:
                    pass

    def clear(self, _: Optional[int] = None) -> None:
        (self.outside(self.path) / "filler").unlink()

    def close(self) -> None:
        assert self.holder.stdin is not None and self.holder.stdout is not None
        self.holder.stdin.close()
        self.holder.wait(10)
        self.holder.stdout.close()


class FileLimit:
    """No file of the broker may grow beyond `size` bytes while it is `fill`ed."""

    def __init__(self, path: Path, size: int = 2 * MEBIBYTE):
        self.path, self.size = path, size
        self.wrapper: list[str] = []

    def outside(self, path: Path) -> Path:
        return path

    def fill(self, pid: Optional[int] = None) -> None:
        self.wrapper[:] = ["prlimit", f"--fsize={self.size}:unlimited"]
        if pid is not None:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (self.size, resource.RLIM_INFINITY))

    def clear(self, pid: Optional[int] = None) -> None:
        self.wrapper[:] = []
        if pid is not None:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def close(self) -> None:
        pass


def open_descriptors(pid: int) -> set[int]:
    return {int(name) for name in os.listdir(f"/proc/{pid}/fd")}


def leave_descriptors(pid: int, free: int) -> None:
    """Lowers the process's limit so that it can open `free` more files."""
    taken = open_descriptors(pid)
    limit = 0
    while free > 0 or limit in taken:
        free -= limit not in taken
        limit += 1
        if free == 0 and limit not in taken:
            break
    hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, hard))


def restore_descriptors(pid: int) -> None:
    hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
