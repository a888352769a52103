# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: the snippets of docs/grpc.md do what they say.
"""Every Python and shell snippet of docs/grpc.md runs against the broker."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from broker import Broker
from conftest import REPOSITORY

PAGE = (REPOSITORY / "docs" / "grpc.md").read_text()
SNIPPETS = [
    pytest.param(language, text, id=f"{language}-{number}")
    for number, (language, text) in enumerate(re.findall(r"^```(python|sh)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
]


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
    if "was refused" in done.stdout:
        pytest.fail(done.stdout)
