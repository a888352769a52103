# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: a real browser.
"""Headless Chromium: a page of a listed origin uses gRPC-Web, server-sent events and JSON; a page of another one cannot."""

from __future__ import annotations

import base64
import json
import queue
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest

from broker import Broker, Endpoint

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
    pytest.mark.deadline(180),
]

PAGE = """<!doctype html><meta charset="utf-8"><script type="module">
const base = "%(base)s", topic = "%(topic)s", result = {};
const attempt = async (name, action) => {
    try { result[name] = await action(); } catch (error) { result[name] = "failed: " + error; }
};
const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
await attempt("grpcWeb", async () => {
    const answer = await fetch(base + "/martlet.v1.Streams/Publish", {
        method: "POST", body: bytes("%(request)s"),
        headers: {"content-type": "application/grpc-web+proto", "x-grpc-web": "1"},
    });
    return btoa(String.fromCharCode(...new Uint8Array(await answer.arrayBuffer())));
});
await attempt("json", async () => {
    const answer = await fetch(`${base}/v1/topics/${topic}/records`, {
        method: "POST", body: JSON.stringify({records: [{value: "from JSON"}]}),
        headers: {"content-type": "application/json"},
    });
    return await answer.json();
});
await attempt("events", () => new Promise((resolve, reject) => {
    const seen = [], source = new EventSource(`${base}/v1/topics/${topic}/events?from=earliest`);
    source.onmessage = (event) => {
        seen.push({id: event.lastEventId, record: JSON.parse(event.data)});
        if (seen.length === 2) { source.close(); resolve(seen); }
    };
    source.onerror = () => { source.close(); reject("no events"); };
}));
await fetch("/result", {method: "POST", body: JSON.stringify(result)});
</script>"""


class Site:
    """A web site with one page, which reports back."""

    def __init__(self) -> None:
        self.page = b""
        self.results: queue.Queue[Any] = queue.Queue()
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("content-type", "text/html")
                self.end_headers()
                self.wfile.write(site.page)

            def do_POST(self) -> None:
                site.results.put(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.origin = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def visit(self, page: str, profile: Path) -> dict[str, Any]:
        self.page = page.encode()
        browser = subprocess.Popen(
            [str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
             "--disable-dev-shm-usage", "--disable-background-networking", f"--user-data-dir={profile}",
             "--remote-debugging-port=0", self.origin + "/"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            return self.results.get(timeout=120)
        finally:
            browser.terminate()
            browser.wait(30)


@pytest.fixture
def sites() -> Iterator[tuple[Site, Site]]:
    made = (Site(), Site())
    yield made
    for site in made:
        site.server.shutdown()
        site.server.server_close()


def test_a_browser_uses_the_broker_if_its_page_may(
    start_broker: Callable[..., Broker], sites: tuple[Site, Site], api: Any, tmp_path: Path, topic: str
) -> None:
    listed, foreign = sites
    endpoint = Endpoint(start_broker(arguments=["--cors-allowed-origins", listed.origin]), tls=False)
    message = api.PublishRequest(topic=topic, records=[api.PublishRecord(value=b"from gRPC-Web")]).SerializeToString()
    request = b"\0" + len(message).to_bytes(4, "big") + message
    page = PAGE % {
        "base": f"http://{endpoint.address}", "topic": topic, "request": base64.b64encode(request).decode(),
    }  # fmt: skip

    refused = foreign.visit(page, tmp_path / "foreign")
    assert all(str(answer).startswith("failed: ") for answer in refused.values()), refused

    result = listed.visit(page, tmp_path / "listed")
    answer = base64.b64decode(result["grpcWeb"])
    length = int.from_bytes(answer[1:5], "big")
    assert api.PublishResponse.FromString(answer[5 : 5 + length]).batches[0].base_offset == 0
    assert b"grpc-status: 0" in answer[5 + length :]
    assert result["json"] == {"offsets": [{"partition": 0, "offset": 1}]}
    assert [event["record"]["value"] for event in result["events"]] == ["from gRPC-Web", "from JSON"]
    assert [event["id"] for event in result["events"]] == ["0:1", "0:2"]
