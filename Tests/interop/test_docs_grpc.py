# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: the snippets of docs/grpc.md do what they say.
"""Every Python, shell and Go snippet of docs/grpc.md runs against the broker; the Swift one does in ConnectExample.swift.

Go is Debian's: its packages are found in GOPATH, so that nothing is fetched, and what was compiled is kept in .build."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Iterator

import pytest

from broker import Broker, Endpoint
from conftest import REPOSITORY

PAGE = (REPOSITORY / "docs" / "grpc.md").read_text()
SNIPPETS = [
    pytest.param(language, text, id=f"{language}-{number}")
    for number, (language, text) in enumerate(re.findall(r"^```(python|sh)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
    if not text.startswith("protoc ")
]
GO = re.findall(r"^```go\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_there_are_snippets() -> None:
    assert len(SNIPPETS) >= 8


@pytest.mark.parametrize(("language", "text"), SNIPPETS)
def test_a_snippet_works(broker: Broker, api: Any, language: str, text: str) -> None:
    text = text.replace("127.0.0.1:9092", f"127.0.0.1:{broker.port}")
    if language == "sh":
        # There is a topic to read, whichever snippet comes first.
        text = (
            f"""curl --silent --json '{{"records": [{{"value": "x"}}]}}' """
            f"http://127.0.0.1:{broker.port}/v1/topics/greetings/records >/dev/null\n" + text
        )
        text = text.replace("martlet publish", f"{broker.binary} publish --bootstrap 127.0.0.1:{broker.port}")
        text = text.replace("martlet subscribe", f"{broker.binary} subscribe --bootstrap 127.0.0.1:{broker.port}")
        command = ["bash", "-c", text.replace("\ncurl ", "\ncurl --silent --show-error --fail-with-body ")]
    else:
        stubs = str(Path(sys.modules["martlet.v1.streams_pb2"].__file__).parents[2])
        command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {stubs!r})\n" + text]
    done = subprocess.run(command, capture_output=True, timeout=50, text=True)
    # 28: curl's own time limit, which the stream of events runs into.
    assert done.returncode in ((0, 28) if "max-time" in text else (0,)), done.stderr + done.stdout
    if "PublishStream" not in text:
        assert done.stdout.strip()
    for sign in ("was refused", "not committed"):
        assert sign not in done.stdout


def go_program(folder: Path, text: str) -> Path:
    """Generates the stubs as the page says, and builds a program with them."""
    sources = folder / "src"
    (sources / "snippet").mkdir(parents=True)
    (sources / "snippet" / "main.go").write_text(text)
    (command,) = re.findall(r"^protoc .*$", PAGE, re.MULTILINE)
    subprocess.run(["bash", "-c", command.replace("_out=.", f"_out={sources}")], cwd=REPOSITORY, check=True)
    environment = {
        **os.environ, "GOPATH": f"{folder}:/usr/share/gocode", "GOCACHE": str(REPOSITORY / ".build" / "gocache"),
        "GO111MODULE": "off", "GOTOOLCHAIN": "local", "GOFLAGS": "", "GOPROXY": "off",
    }  # fmt: skip
    program = folder / "program"
    built = subprocess.run(["go", "build", "-o", str(program), "snippet"], env=environment, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return program


def run_go(program: Path, broker: Broker, folder: Path, *arguments: str) -> str:
    (folder / "certs").mkdir()
    for name in ("ca.pem", "client.pem", "client.key"):
        shutil.copy(Path(broker.ca).parent / name, folder / "certs")
    done = subprocess.run([str(program), *arguments], cwd=folder, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


@pytest.mark.deadline(240)
def test_the_go_program_works(broker: Broker, tmp_path: Path, topic: str) -> None:
    program, _ = GO
    text = program.replace("127.0.0.1:9092", f"127.0.0.1:{broker.port}").replace('"greetings"', f'"{topic}"')
    said = run_go(go_program(tmp_path, text), broker, tmp_path).splitlines()
    assert said == ["written at offset 0", f"{topic} 0 0 hello", "InvalidArgument INVALID_TOPIC_NAME"]


@pytest.mark.deadline(240)
def test_the_go_worker_works(broker: Broker, api: Any, tmp_path: Path, topic: str) -> None:
    program, worker = GO
    records = [api.PublishRecord(value=b"job %d" % number) for number in range(5)]
    with Endpoint(broker, tls=True).grpc_channel() as channel:
        api.StreamsStub(channel).Publish(api.PublishRequest(topic=topic, records=records), timeout=10)
    head, _ = program.split("func main()")
    head = re.sub(r'\t"google.golang.org/(genproto/.*|grpc/status)"\n', "", head)
    main = f"""
func main() {{
	connection, err := dial("127.0.0.1:{broker.port}")
	if err != nil {{
		log.Fatal(err)
	}}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := work(ctx, connection, "{topic}", 3); err != nil {{
		log.Fatal(err)
	}}
}}
"""
    said = run_go(go_program(tmp_path, head + worker + main), broker, tmp_path).splitlines()
    assert sorted(said) == [f"done: job {number} delivery 1" for number in range(3)]
    # The others are there for the next worker.
    over = threading.Event()

    def requests() -> Iterator[Any]:
        yield api.ReceiveRequest(open=api.WorkOpen(group="gophers", topics=[topic]))
        over.wait(30)

    left: set[bytes] = set()
    with Endpoint(broker, tls=True).grpc_channel() as channel:
        call = api.WorkStub(channel).Receive(requests(), timeout=30)
        while len(left) < 2:
            left |= {item.value for item in next(call).items.items}
        over.set()
        call.cancel()
    assert left == {b"job 3", b"job 4"}
