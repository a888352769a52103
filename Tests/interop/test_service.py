# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: what a service manager hears, and the Debian package.
"""systemd is played by a socket; the package is installed for real, in a root of its own over this machine's."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Callable, Iterator

import grpc
import pytest
from confluent_kafka import Producer
from grpc_health.v1 import health_pb2, health_pb2_grpc

from broker import Broker, wait_until
from conftest import REPOSITORY

PACKAGING = REPOSITORY / "packaging"


class Manager:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, name: str):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(name)
        self.socket.settimeout(20)

    def hear(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in self.socket.recv(4096).decode().splitlines())


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Manager, str]]:
    # A socket's name has room for 107 bytes only.
    place = Path(os.environ.get("XDG_RUNTIME_DIR", "/tmp")) / f"martlet-{os.getpid()}-{time.monotonic_ns()}"
    name = str(place) if request.param == "path" else f"@{place}"
    listening = Manager(name.replace("@", "\0"))
    yield listening, name
    listening.socket.close()
    place.unlink(missing_ok=True)


def test_ready_reloading_and_stopping_are_told(manager: tuple[Manager, str], start_broker: Callable[..., Broker]) -> None:
    listening, name = manager
    broker = start_broker(environment={"NOTIFY_SOCKET": name})
    heard = listening.hear()
    assert heard["READY"] == "1" and heard["MAINPID"] == str(broker.pid) and broker.address in heard["STATUS"]
    os.kill(broker.pid, signal.SIGHUP)
    heard = listening.hear()
    assert heard["RELOADING"] == "1" and abs(int(heard["MONOTONIC_USEC"]) - time.monotonic_ns() // 1000) < 10_000_000
    assert listening.hear()["READY"] == "1"
    broker.terminate()
    assert listening.hear()["STOPPING"] == "1"
    assert broker.wait() == 0


def test_signs_of_life_come_in_time_and_end_with_the_life(
    manager: tuple[Manager, str], start_broker: Callable[..., Broker]
) -> None:
    listening, name = manager
    broker = start_broker(environment={"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "200000"})
    assert listening.hear()["READY"] == "1"
    begun = time.monotonic()
    for _ in range(5):
        assert listening.hear() == {"WATCHDOG": "1"}
    assert time.monotonic() - begun < 5
    # A process that hangs gives none.
    os.kill(broker.pid, signal.SIGSTOP)
    listening.socket.settimeout(1)
    with pytest.raises(TimeoutError):
        while True:
            listening.hear()
    os.kill(broker.pid, signal.SIGCONT)
    listening.socket.settimeout(20)
    assert listening.hear() == {"WATCHDOG": "1"}


def test_a_watchdog_that_is_for_another_process_is_left_alone(start_broker: Callable[..., Broker], tmp_path: Path) -> None:
    place = Path("/tmp") / f"martlet-{os.getpid()}-{time.monotonic_ns()}"
    listening = Manager(str(place))
    broker = start_broker(environment={"NOTIFY_SOCKET": str(place), "WATCHDOG_USEC": "20000", "WATCHDOG_PID": "1"})
    assert listening.hear()["READY"] == "1"
    broker.terminate()
    assert listening.hear()["STOPPING"] == "1"
    place.unlink()


def readyz(broker: Broker) -> tuple[int, list[str]]:
    try:
        with urllib.request.urlopen(f"http://{broker.address}/readyz", timeout=10) as answer:
            return answer.status, json.load(answer)["problems"]
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)["problems"]


def test_a_stop_is_told_before_anything_is_closed(start_broker: Callable[..., Broker]) -> None:
    broker = start_broker(arguments=["--shutdown-delay-ms", "4000"])
    producer = Producer({"bootstrap.servers": broker.address, "broker.address.family": "v4", "acks": "all"})

    def produce(value: bytes) -> None:
        outcome: list[Any] = []
        producer.produce("lasting", value, on_delivery=lambda error, _: outcome.append(error))
        producer.flush(10)
        assert outcome == [None]

    produce(b"before")
    assert readyz(broker) == (200, [])
    with grpc.insecure_channel(broker.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        serving = health_pb2.HealthCheckResponse.SERVING
        assert health.Check(health_pb2.HealthCheckRequest(), timeout=10).status == serving
        begun = time.monotonic()
        broker.terminate()
        wait_until(lambda: readyz(broker) == (503, ["the broker is stopping"]), "readiness to end")
        assert health.Check(health_pb2.HealthCheckRequest(), timeout=10).status == health_pb2.HealthCheckResponse.NOT_SERVING
    assert not broker.ready_file.exists()
    # Those that are there go on, and new ones are served.
    produce(b"meanwhile")
    done = broker.run("consume", "lasting", "--bootstrap", broker.address, "--from", "earliest", "--exit-at-end")
    assert done.stdout.split() == [b"before", b"meanwhile"]
    assert time.monotonic() - begun < 4, "this machine is too slow for this test"
    assert broker.wait() == 0
    assert time.monotonic() - begun >= 4


def test_a_second_signal_ends_the_delay(start_broker: Callable[..., Broker]) -> None:
    broker = start_broker(arguments=["--shutdown-delay-ms", "600000"])
    broker.terminate()
    broker.wait_log("not ready any more; clients are served for a while yet")
    broker.terminate()
    assert broker.wait() == 128 + signal.SIGTERM


def test_the_unit_is_one_that_systemd_takes() -> None:
    text = (PACKAGING / "systemd" / "martlet.service").read_text()
    settings = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    assert settings["Type"] == "notify" and int(settings["LimitNOFILE"]) >= 65_536
    assert settings["User"] == "martlet" and settings["NoNewPrivileges"] == "yes" and settings["ProtectSystem"] == "strict"
    analyze = shutil.which("systemd-analyze")
    if analyze:
        done = subprocess.run([analyze, "verify", str(PACKAGING / "systemd" / "martlet.service")], capture_output=True)
        # The binary is not installed here; nothing else may be wrong.
        said = [line for line in done.stderr.decode().splitlines() if "not executable" not in line]
        assert said == []


def build_package(binary: str, folder: Path, version: str) -> Path:
    environment = {**os.environ, "MARTLET_DEB_COMPRESSION": "none"}
    done = subprocess.run(
        [str(PACKAGING / "deb.sh"), binary, str(folder), version], capture_output=True, timeout=50, env=environment
    )
    assert done.returncode == 0, done.stderr.decode()
    return Path(done.stdout.decode().strip())


SCRIPT = r"""
set -eu
mount -t tmpfs -o size=2g tmpfs "$1"
mkdir "$1/up" "$1/work" "$1/root"
mount -t overlay overlay -o lowerdir=/,upperdir="$1/up",workdir="$1/work" "$1/root"
mount -t proc proc "$1/root/proc"
mkdir -p "$1/root/packages"
cp "$2" "$1/root/packages/first.deb"
cp "$3" "$1/root/packages/second.deb"
cat > "$1/root/packages/run" <<'END'
set -eu
export PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive
serve() {
  cd /var/lib/martlet
  rm -f ready.json
  # As the unit does it, on a port of its own: whoever runs here shares the machine's network.
  setpriv --reuid martlet --regid martlet --clear-groups sh -c \
    'umask 0027; exec /usr/bin/martlet serve --config /etc/martlet/martlet.yaml --port 0 --ready-file ready.json' &
  pid=$!
  for _ in $(seq 600); do [ -s ready.json ] && break; sleep 0.05; done
  address=$(sed 's/.*"address":"\([^"]*\)".*/\1/' ready.json)
}
stop() { kill "$pid"; wait "$pid"; }
dpkg -i /packages/first.deb
id martlet
stat -c '%U %a %n' /var/lib/martlet
serve
printf 'one\ntwo\n' | martlet produce kept --bootstrap "$address" 2>/dev/null || {
  martlet topic create kept --bootstrap "$address"; printf 'one\ntwo\n' | martlet produce kept --bootstrap "$address"; }
stat -c '%U %a %n' /var/lib/martlet/data
# What docs/operations.md says of backups.
runuser -u martlet -- martlet backup --data /var/lib/martlet/data /var/lib/martlet/backups/2026-11-28
runuser -u martlet -- martlet restore /var/lib/martlet/backups/2026-11-28 --data /var/lib/martlet/restored
runuser -u martlet -- martlet verify /var/lib/martlet/restored
runuser -u martlet -- martlet doctor --running --data /var/lib/martlet/data
echo '# my own change' >> /etc/martlet/martlet.yaml
stop
mv /var/lib/martlet/data /var/lib/martlet/before && mv /var/lib/martlet/restored /var/lib/martlet/data
dpkg --force-confold -i /packages/second.deb
dpkg-query -W -f='version ${Version}\n' martlet
grep -c 'my own change' /etc/martlet/martlet.yaml
serve
martlet consume kept --bootstrap "$address" --from earliest --exit-at-end
stop
dpkg -r martlet
[ ! -e /usr/bin/martlet ] && [ ! -e /lib/systemd/system/martlet.service ] && [ -e /etc/martlet/martlet.yaml ] && echo removed
dpkg -P martlet
[ ! -e /etc/martlet/martlet.yaml ] && [ -d /var/lib/martlet/data ] && echo purged
rm -rf /var/lib/martlet /var/log/martlet
dpkg -i /packages/second.deb && dpkg -P martlet
[ ! -e /var/lib/martlet ] && ! id martlet 2>/dev/null && echo nothing is left
# A service manager that says what it is told to do.
mkdir -p /run/systemd/system /run/manager
cat > /usr/sbin/systemctl <<'MANAGER'
#!/bin/sh
cd /run/manager
case "$*" in
  *is-active*) [ -e active ] ;;
  *is-enabled*) [ -e enabled ] ;;
  enable*) touch enabled ;;
  disable*) rm enabled ;;
  start*|restart*) touch active; echo "manager: $1" ;;
  stop*) rm -f active; echo "manager: $1" ;;
esac
MANAGER
printf '#!/bin/sh\nexec systemctl "$@"\n' > /usr/sbin/deb-systemd-invoke
chmod +x /usr/sbin/systemctl /usr/sbin/deb-systemd-invoke
dpkg -i /packages/first.deb
dpkg -i /packages/second.deb
dpkg -r martlet
dpkg -i /packages/second.deb
systemctl stop martlet.service
systemctl disable martlet.service
dpkg -i /packages/second.deb
echo "manager: end"
END
chroot "$1/root" sh /packages/run
"""


@pytest.mark.deadline(180)
def test_the_package_installs_starts_upgrades_and_removes(binary: str, tmp_path: Path) -> None:
    folder = tmp_path / "packages"
    # As `make build` does: without what only a debugger reads.
    stripped = tmp_path / "martlet"
    assert subprocess.run(["strip", "-o", str(stripped), binary]).returncode == 0
    first, second = (build_package(str(stripped), folder, version) for version in ("0.1.0", "0.1.1"))
    listed = subprocess.run(["dpkg-deb", "--info", str(first)], capture_output=True).stdout.decode()
    for library in ("libc6", "libssl3", "libnghttp2-14", "libyaml-0-2"):
        assert library in listed
    unpacked = tmp_path / "unpacked"
    assert subprocess.run(["dpkg-deb", "-x", str(first), str(unpacked)]).returncode == 0
    pages = list((unpacked / "usr/share/doc/martlet").rglob("*.md"))
    links = {
        (page, link) for page in pages for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()) if "://" not in link
    }
    assert {"operations.md", "audit.md", "0024-external-policy.md"} <= {page.name for page in pages} and len(links) > 20
    assert [(page.name, link) for page, link in links if not (page.parent / link).exists()] == []
    place = tmp_path / "root"
    place.mkdir()
    done = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "--kill-child", "bash", "-c", SCRIPT, "bash", str(place), str(first), str(second)],
        capture_output=True, timeout=170,
    )  # fmt: skip
    said = done.stdout.decode()
    assert done.returncode == 0, said + done.stderr.decode()
    for line in (
        "martlet 750 /var/lib/martlet", "martlet 750 /var/lib/martlet/data", "version 0.1.1", "1\n", "one\ntwo\n",
        "removed", "purged", "nothing is left",
    ):  # fmt: skip
        assert line in said, f"{line!r} is not in:\n{said}{done.stderr.decode()}"
    assert "are kept" in done.stderr.decode()
    # Installed, upgraded, removed, installed again, and left alone once its administrator wants it off.
    assert re.findall("^manager: (.*)", said, re.MULTILINE) == ["start", "restart", "stop", "start", "stop", "end"]


def test_the_image_is_made_of_what_a_fresh_clone_has() -> None:
    text = (REPOSITORY / "Dockerfile").read_text().replace("\\\n", " ")
    tracked = subprocess.run(["git", "-C", str(REPOSITORY), "ls-files"], capture_output=True, check=True).stdout.decode().split()
    for line in re.findall(r"^COPY (?!--from)(.*)", text, re.MULTILINE):
        for source in line.split()[:-1]:
            assert source == "." or source.endswith("*") or source in tracked, f"{source} is not in a fresh clone"
    wanted = re.search(r"^BUILD_PACKAGES := (.*?)\n(?!\t)", (REPOSITORY / "Makefile").read_text(), re.MULTILINE | re.DOTALL)
    installed = re.search(r"apt-get install \S+ \S+\s+(.*?)&&", text)
    assert wanted and installed
    assert set(wanted[1].replace("\\", " ").split()) == set(installed[1].split())
