# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: a data directory that cannot be used.
"""What a broker says that may not write where it should, and one whose directory is taken away while it runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Callable

import pytest

import protocol
import wire
from broker import Broker, wait_until
from disks import SmallDisk
from test_disk_full import STORAGE_ERROR, readiness
from wire import Record, Wire, batch

SMALL = batch([Record(b"small")])


def refusal(binary: str, tmp_path: Path, data: Path, wrapper: list[str] = []) -> str:  # noqa: B006
    """The one line that a start which fails leaves on standard error, with exit status 1."""
    done = subprocess.run(
        [*wrapper, binary, "serve", "--port", "0", "--data", str(data), "--certs", str(tmp_path / "certs")],
        stdin=subprocess.DEVNULL, capture_output=True, timeout=30)  # fmt: skip
    assert done.returncode == 1, done
    last = done.stderr.decode().splitlines()[-1]
    assert last.startswith("error: ") and str(data) in last, done.stderr.decode()
    return last


def test_a_file_where_the_directory_should_be(binary: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.write_text("not a directory")
    assert re.search(r"Not a directory; a file is in the way.*--data", refusal(binary, tmp_path, data))
    assert data.read_text() == "not a directory"


def test_a_directory_whose_parent_is_missing(binary: str, tmp_path: Path) -> None:
    line = refusal(binary, tmp_path, tmp_path / "missing" / "data")
    assert re.search(r"No such file or directory; make the directory it is in first.*--data", line)


def test_a_directory_that_may_not_be_written(binary: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o555)
    # Root may write everywhere unless it gives that up.
    wrapper = ["setpriv", "--bounding-set", "-dac_override"] if os.geteuid() == 0 else []
    line = refusal(binary, tmp_path, data, wrapper)
    assert re.search(r"Permission denied; let this user write there \(chown\).*--data", line)


def test_a_file_in_it_that_may_not_be_written(start_broker: Callable[..., Broker], topic: str) -> None:
    own = start_broker(wrapper=["setpriv", "--bounding-set", "-dac_override"] if os.geteuid() == 0 else [])
    with Wire(own.address) as connection:
        protocol.create(connection, topic)
        assert connection.produce(topic, SMALL).base_offset == 0
    assert own.stop() == 0
    log = own.data / f"{topic}-0" / "00000000000000000000.log"
    log.chmod(0o444)
    own.start()
    with Wire(own.address) as connection:
        answer = connection.produce(topic, SMALL)
        assert answer.error == STORAGE_ERROR and "Permission denied" in (answer.message or ""), answer
        log.chmod(0o644)
        # Nothing was lost, and nothing has to be restarted.
        assert connection.produce(topic, SMALL).base_offset == 1
        assert connection.fetch(topic, 0).high_watermark == 2


def test_a_file_system_that_is_read_only(binary: str, tmp_path: Path) -> None:
    if not SmallDisk.is_possible():
        pytest.skip("no mount namespaces here")
    disk = SmallDisk(tmp_path / "data")
    try:
        remount = ["mount", "-o", "remount,ro", str(disk.path)]
        subprocess.run([*disk.wrapper, *remount], check=True, capture_output=True)
        line = refusal(binary, tmp_path, disk.path, disk.wrapper)
        assert re.search(r"Read-only file system; mount that file system read-write.*--data", line)
    finally:
        disk.close()


@pytest.mark.parametrize("what", ["the directory", "what is in it"])
def test_a_directory_that_disappears_takes_no_more_records(
    start_broker: Callable[..., Broker], topic: str, what: str
) -> None:
    own = start_broker()
    with Wire(own.address) as connection:
        protocol.create(connection, topic)
        assert connection.produce(topic, SMALL).base_offset == 0
        for entry in [own.data] if what == "the directory" else list(own.data.iterdir()):
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        line = own.wait_log("the data directory has disappeared", seconds=20)
        assert "put the directory back, and start it again" in line
        answer = connection.produce(topic, SMALL)
        assert answer.error == STORAGE_ERROR and "read-only" in (answer.message or ""), answer
        status, ready = wait_until(lambda: readiness(own), "an answer")
        assert status == 503 and any(
            failed["log"] == f"{topic}-0" and "has disappeared" in failed["reason"] for failed in ready["failedLogs"]
        ), ready
    position = own.log_size()
    assert own.stop() == 1
    assert re.search(r"error: the broker stopped, and the next start has to check the logs", own.log_since(position))
    assert not own.data.exists() or not list(own.data.iterdir()), "something was written into what was emptied"
