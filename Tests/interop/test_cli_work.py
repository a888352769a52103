# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: the commands that speak gRPC: publish and work.
"""Lines in, jobs out, the way a person uses them."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path
from typing import Any, Iterator

import pytest

from broker import Endpoint, wait_until
from grpc_client import Client
from test_cli import Shell, one_line

pytestmark = pytest.mark.deadline(90)


@pytest.fixture
def shell(endpoint: Endpoint) -> Shell:
    return Shell(endpoint)


@pytest.fixture
def client(endpoint: Endpoint, api: Any) -> Iterator[Client]:
    opened = Client(endpoint, api)
    yield opened
    opened.channel.close()


def start(shell: Shell, topic: str, group: str, *words: str) -> "subprocess.CompletedProcess[bytes]":
    """Connection flags stand before what belongs to the job's command."""
    place = words.index("--") if "--" in words else len(words)
    return shell.endpoint.broker.run(
        "work", topic, "--group", group, *words[:place], *shell.connection(), *words[place:])


def work(shell: Shell, topic: str, group: str, *words: str) -> str:
    done = start(shell, topic, group, "--exit-when-idle", "1", *words)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def script(tmp_path: Path, text: str) -> str:
    file = tmp_path / "job.sh"
    file.write_text("#!/bin/sh\n" + text)
    file.chmod(0o755)
    return str(file)


# Publish.


def test_lines_become_records(shell: Shell, client: Client, topic: str) -> None:
    client.create(topic, 2)
    done = shell.endpoint.broker.run(
        "publish", topic, "--key-separator", ":", "--header", "kind=test", "--partition", "1", "--tombstones", "--verbose",
        *shell.connection(), input=b"a:1\nno key\nb:\n",
    )  # fmt: skip
    assert done.returncode == 0 and done.stderr.decode() == f"3 records written to {topic}\n"
    placed = client.placed(topic)
    assert [partition for partition, _ in placed] == [1, 1, 1]
    records = [record for _, record in placed]
    assert [(record.key, record.value) for record in records] == [(b"a", b"1"), (b"", b"no key"), (b"b", b"")]
    assert [record.HasField("key") for record in records] == [True, False, True]
    assert [record.HasField("value") for record in records] == [True, True, False]
    assert all([(header.key, header.value) for header in record.headers] == [("kind", b"test")] for record in records)


def test_many_lines_keep_their_order(shell: Shell, client: Client, topic: str) -> None:
    client.create(topic)
    lines = [b"%d" % number * 10 for number in range(50_000)]
    shell.run("publish", topic, "--batch-bytes", "10000", input=b"\n".join(lines))
    assert [record.value for record in client.records(topic)] == lines


def test_a_line_is_written_when_the_input_pauses(shell: Shell, client: Client, topic: str) -> None:
    client.create(topic)
    command = [shell.endpoint.broker.binary, "publish", topic, *shell.connection()]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as writing:
        assert writing.stdin is not None
        writing.stdin.write(b"first\n")
        writing.stdin.flush()
        wait_until(lambda: [record.value for record in client.records(topic)] == [b"first"], "the first record", 20)
        writing.stdin.close()
        assert writing.wait(20) == 0


@pytest.mark.parametrize("words", [("no/slash",), ("{topic}", "--partition", "7"), ("{topic}", "--header", "x")])
def test_what_is_refused_is_one_line(shell: Shell, client: Client, topic: str, words: tuple[str, ...]) -> None:
    client.create(topic)
    done = shell.endpoint.broker.run(
        "publish", *[word.format(topic=topic) for word in words], *shell.connection(), input=b"line\n")
    assert done.returncode != 0
    one_line(done.stderr)


# Work.


def test_a_command_gets_every_job_and_its_place(shell: Shell, topic: str, group: str, tmp_path: Path) -> None:
    shell.run("topic", "create", topic)
    shell.run("publish", topic, "--key-separator", ":", input=b"k:one\ntwo\n")
    out = work(
        shell, topic, group, "--max-jobs", "2", "--", script(
            tmp_path, 'echo "$MARTLET_TOPIC/$MARTLET_PARTITION/$MARTLET_OFFSET/$MARTLET_DELIVERY_COUNT/$MARTLET_KEY: $(cat) $1"'),
        "argument",
    )  # fmt: skip
    assert out == f"{topic}/0/0/1/k: one argument\n{topic}/0/1/1/: two argument\n"
    assert work(shell, topic, group, "--print") == "", "a job that was done came again"


def test_a_job_that_fails_comes_again(shell: Shell, topic: str, group: str, tmp_path: Path) -> None:
    shell.run("topic", "create", topic)
    shell.run("publish", topic, input=b"good\nbad\nkilled\n")
    command = script(
        tmp_path,
        'job=$(cat); echo "$job $MARTLET_DELIVERY_COUNT"; [ $MARTLET_DELIVERY_COUNT = 2 ] && exit 0\n'
        'case $job in bad) exit 1;; killed) kill -9 $$;; esac',
    )
    done = start(shell, topic, group, "--exit-when-idle", "2", "--retry-delay", "0.2", "--", command)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.decode().splitlines()) == ["bad 1", "bad 2", "good 1", "killed 1", "killed 2"]
    errors = done.stderr.decode()
    assert "ended with status 1" in errors and "ended by signal 9" in errors


def test_status_65_is_a_dead_letter_which_can_be_seen_and_put_back(
    shell: Shell, topic: str, group: str, tmp_path: Path
) -> None:
    shell.run("topic", "create", topic)
    shell.run("publish", topic, input=b"nonsense\n")
    work(shell, topic, group, "--", script(tmp_path, "exit 65"))
    letters = shell.run("work", "dead-letters", f"dlq.{group}")
    assert letters.startswith(f"{topic}/0 offset 0\tgroup {group}\t1 delivery\tOffset rejected by client.")
    assert "ended with status 65" in letters and letters.endswith("\tnonsense\n")
    assert shell.run("work", "redrive", f"dlq.{group}") == "1 put back\n"
    assert work(shell, topic, group, "--print", "--format", "%o %s\\n") == "1 nonsense\n"
    assert shell.run("work", "redrive", f"dlq.{group}") == "0 put back\n"


def test_dead_letters_that_were_put_back_are_not_listed_again(
    shell: Shell, topic: str, group: str, tmp_path: Path
) -> None:
    shell.run("topic", "create", topic)
    dead, refuse = f"dlq.{group}", script(tmp_path, "exit 65")
    shell.run("publish", topic, input=b"first\n")
    work(shell, topic, group, "--", refuse)
    assert shell.run("work", "redrive", dead) == "1 put back\n"
    assert shell.run("work", "dead-letters", dead) == ""
    # The job is refused again, and so there is another dead letter.
    work(shell, topic, group, "--", refuse)
    shell.run("publish", topic, input=b"second\n")
    work(shell, topic, group, "--", refuse)
    listed = shell.run("work", "dead-letters", dead).splitlines()
    assert [(line.split("\t")[0], line.split("\t")[-1]) for line in listed] == [
        (f"{topic}/0 offset 1", "first"), (f"{topic}/0 offset 2", "second")]  # fmt: skip
    every = shell.run("work", "dead-letters", "--all", dead).splitlines()
    assert [line.split("\t")[-2:] for line in every] == [["put-back", "first"], ["waiting", "first"], ["waiting", "second"]]
    assert "--all" in shell.run("work", "dead-letters", "--help")


def test_a_job_stays_with_its_command_beyond_the_lease(shell: Shell, topic: str, group: str, tmp_path: Path) -> None:
    shell.run("topic", "create", topic)
    shell.run("publish", topic, input=b"long\n")
    gate = tmp_path / "gate"
    outputs: list[str] = []
    command = script(tmp_path, f"touch {gate}.begun; while [ ! -e {gate} ]; do sleep 0.05; done; echo $MARTLET_DELIVERY_COUNT")
    first = threading.Thread(target=lambda: outputs.append(
        work(shell, topic, group, "--max-jobs", "1", "--lease-ms", "300", "--", command)))
    first.start()
    wait_until(lambda: Path(f"{gate}.begun").exists(), "the command to begin", 20)
    assert work(shell, topic, group, "--print") == "", "somebody else got a job that is worked on"
    gate.touch()
    first.join(30)
    assert outputs == ["1\n"]


def test_printed_jobs_are_done(shell: Shell, topic: str, group: str) -> None:
    shell.run("topic", "create", topic)
    shell.run("publish", topic, input=b"".join(b"%d\n" % number for number in range(500)))
    first = work(shell, topic, group, "--print", "--max-jobs", "300").split()
    rest = work(shell, topic, group, "--print").split()
    assert len(first) == 300 and sorted(map(int, first + rest)) == list(range(500))


@pytest.mark.parametrize("words", [
    (), ("--print", "--", "true"), ("--print", "--max-jobs", "0"), ("--print", "--lease-ms", "1"),
    ("--print", "--retry-delay", "-1"), ("--print", "--format", "%x"),
], ids=["no command", "both", "no jobs", "short lease", "negative delay", "unknown format"])  # fmt: skip
def test_a_mistake_is_told(shell: Shell, topic: str, words: tuple[str, ...]) -> None:
    shell.run("topic", "create", topic)
    done = start(shell, topic, "mistaken", "--exit-when-idle", "5", *words)
    assert done.returncode != 0 and done.stderr.strip()


def test_a_topic_that_is_not_there_is_told(shell: Shell) -> None:
    done = start(shell, "no-such-topic-here", "mistaken", "--print", "--exit-when-idle", "5")
    assert done.returncode != 0 and "no-such-topic-here" in one_line(done.stderr)


def test_a_command_that_is_not_there_ends_the_worker_and_loses_no_job(shell: Shell, topic: str, group: str) -> None:
    shell.run("topic", "create", topic)
    shell.run("publish", topic, input=b"kept\n")
    done = start(shell, topic, group, "--", "/no/such/command")
    assert done.returncode != 0 and "/no/such/command" in one_line(done.stderr)
    assert work(shell, topic, group, "--print") == "kept\n"
