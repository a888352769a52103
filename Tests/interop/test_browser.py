# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: a real browser.
"""Headless Chromium: a page of a listed origin uses gRPC-Web, server-sent events and JSON; a page of another one cannot, and
no page can where no origin is listed."""

from __future__ import annotations

import base64
import contextlib
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
// What a page may send without being asked first: the answer is hidden from it, and the records must not be written.
await fetch(`${base}/v1/topics/${topic}-blind/records`, {
    method: "POST", mode: "no-cors", body: JSON.stringify({records: [{value: "blind"}]}),
}).catch(() => {});
await fetch("/result", {method: "POST", body: JSON.stringify(result)});
</script>"""

STREAMS = """<!doctype html><meta charset="utf-8"><script type="module">
const base = "%(base)s", topic = "%(topic)s";
const report = (result) => fetch("/result", {method: "POST", body: JSON.stringify(result)});
const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const base64 = (data) => btoa(String.fromCharCode(...data));
const publish = (to, value) => fetch(`${base}/v1/topics/${to}/records`, {
    method: "POST", body: JSON.stringify({records: [{value}]}), headers: {"content-type": "application/json"},
});
// Reads a stream that never ends, publishes a record after each that came, and leaves after three messages.
const follow = async (from, type, body, decode) => {
    await publish(from, "first");
    const leave = new AbortController(), messages = [];
    const answer = await fetch(base + "/martlet.v1.Streams/Subscribe", {
        method: "POST", body, headers: {"content-type": type, "x-grpc-web": "1"}, signal: leave.signal,
    });
    const reader = answer.body.getReader();
    let raw = [], data = [];
    while (messages.length < 3) {
        const {value, done} = await reader.read();
        if (done) throw new Error("the stream ended");
        raw.push(...value);
        [raw, data] = decode(raw, data);
        while (data.length >= 5) {
            const length = (data[1] << 24) + (data[2] << 16) + (data[3] << 8) + data[4];
            if (data.length < 5 + length) break;
            messages.push({flags: data[0], message: base64(data.slice(5, 5 + length))});
            data = data.slice(5 + length);
            await publish(from, `record ${messages.length}`);
        }
    }
    leave.abort();
    return {type: answer.headers.get("content-type"), messages};
};
try {
    const binary = await follow(topic, "application/grpc-web+proto", bytes("%(request)s"), (raw, data) => [[], data.concat(raw)]);
    // Each part of a text stream is base64 by itself, with padding of its own.
    const text = await follow(topic + "-text", "application/grpc-web-text+proto", "%(text)s", (raw, data) => {
        const whole = raw.length - raw.length %% 4;
        for (let at = 0; at < whole; at += 4) data.push(...bytes(String.fromCharCode(...raw.slice(at, at + 4))));
        return [raw.slice(whole), data];
    });
    await report({binary, text});
    const seen = [], source = new EventSource(`${base}/v1/topics/${topic}/events?from=earliest`);
    let opened = 0;
    source.onopen = () => { opened += 1; };
    source.onmessage = (event) => {
        const {offset, value} = JSON.parse(event.data);
        seen.push({id: event.lastEventId, offset, value});
        if (value === "last of before" || value === "after") report({opened, seen});
    };
    await publish(topic, "last of before");
} catch (error) {
    await report({failed: String(error)});
}
</script>"""

MISSING = """<!doctype html><meta charset="utf-8"><script type="module">
// Opens streams that cannot begin: how often each fails, and whether it will try again.
const results = await Promise.all(%(urls)s.map((url) => new Promise((resolve) => {
    const source = new EventSource(url), seen = [];
    source.onopen = () => seen.push("open");
    source.onerror = () => {
        seen.push(source.readyState);
        if (seen.length === 1) setTimeout(() => { source.close(); resolve(seen); }, 5000);
    };
})));
await fetch("/result", {method: "POST", body: JSON.stringify(results)});
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

    @contextlib.contextmanager
    def visited(self, page: str, profile: Path) -> Iterator[None]:
        self.page = page.encode()
        browser = subprocess.Popen(
            [str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
             "--disable-dev-shm-usage", "--disable-background-networking", f"--user-data-dir={profile}",
             "--remote-debugging-port=0", self.origin + "/"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            yield
        finally:
            browser.terminate()
            browser.wait(30)

    def visit(self, page: str, profile: Path) -> dict[str, Any]:
        with self.visited(page, profile):
            return self.results.get(timeout=120)


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

    def topics() -> set[str]:
        with endpoint.grpc_channel() as channel:
            return {each.name for each in api.AdminStub(channel).ListTopics(api.ListTopicsRequest(), timeout=20).topics}

    refused = foreign.visit(page, tmp_path / "foreign")
    assert refused and all(str(answer).startswith("failed: ") for answer in refused.values()), refused
    assert not topics(), "a page wrote what it was not let"

    result = listed.visit(page, tmp_path / "listed")
    answer = base64.b64decode(result["grpcWeb"])
    length = int.from_bytes(answer[1:5], "big")
    assert api.PublishResponse.FromString(answer[5 : 5 + length]).batches[0].base_offset == 0
    assert b"grpc-status: 0" in answer[5 + length :]
    assert result["json"] == {"offsets": [{"partition": 0, "offset": 1}]}
    assert [event["record"]["value"] for event in result["events"]] == ["from gRPC-Web", "from JSON"]
    assert [event["id"] for event in result["events"]] == ["0:1", "0:2"]
    # JSON that does not say that it is JSON, as it comes without a preflight, is refused to everybody.
    assert topics() == {topic}


def test_no_page_may_unless_its_origin_is_listed(
    start_broker: Callable[..., Broker], sites: tuple[Site, Site], api: Any, tmp_path: Path, topic: str
) -> None:
    site, _ = sites
    endpoint = Endpoint(start_broker(), tls=False)
    refused = site.visit(PAGE % {"base": f"http://{endpoint.address}", "topic": topic, "request": ""}, tmp_path / "profile")
    assert len(refused) == 3 and all(str(answer).startswith("failed: ") for answer in refused.values()), refused
    with endpoint.grpc_channel() as channel:
        assert not api.AdminStub(channel).ListTopics(api.ListTopicsRequest(), timeout=20).topics


def test_a_browser_follows_streams_and_comes_back_after_a_restart(
    start_broker: Callable[..., Broker], sites: tuple[Site, Site], api: Any, tmp_path: Path, topic: str
) -> None:
    site, _ = sites
    own = start_broker(arguments=["--cors-allowed-origins", site.origin], stable=True)
    endpoint = Endpoint(own, tls=False)

    def request(name: str) -> str:
        subscribe = api.SubscribeRequest(topics=[api.TopicSelection(topic=name)], origin=api.ORIGIN_EARLIEST)
        message = subscribe.SerializeToString()
        return base64.b64encode(b"\0" + len(message).to_bytes(4, "big") + message).decode()

    page = STREAMS % {
        "base": f"http://{endpoint.address}", "topic": topic, "request": request(topic), "text": request(topic + "-text"),
    }  # fmt: skip

    def values(stream: dict[str, Any]) -> list[str]:
        assert all(each["flags"] == 0 for each in stream["messages"])
        found = [api.SubscribeResponse.FromString(base64.b64decode(each["message"])) for each in stream["messages"]]
        return [record.value.decode() for each in found for batch in each.batches for record in batch.records]

    with site.visited(page, tmp_path / "profile"):
        streams = site.results.get(timeout=120)
        assert "failed" not in streams, streams
        for name, kind in (("binary", "application/grpc-web+proto"), ("text", "application/grpc-web-text+proto")):
            assert streams[name]["type"] == kind
            assert values(streams[name]) == ["first", "record 1", "record 2"]
        before = site.results.get(timeout=120)
        assert before["opened"] == 1
        own.stop()
        own.start()
        with endpoint.grpc_channel() as channel:
            records = [api.PublishRecord(value=b"after")]
            api.StreamsStub(channel).Publish(api.PublishRequest(topic=topic, records=records), timeout=20)
        after = site.results.get(timeout=120)
    # It went on behind the last event that it had: nothing came twice, nothing is missing.
    assert after["opened"] == 2
    assert after["seen"][: len(before["seen"])] == before["seen"] and len(after["seen"]) == len(before["seen"]) + 1
    assert [event["offset"] for event in after["seen"]] == list(range(len(after["seen"])))
    assert [event["id"] for event in after["seen"]] == [f"0:{offset + 1}" for offset in range(len(after["seen"]))]


def test_a_browser_does_not_come_back_to_events_that_cannot_be(
    start_broker: Callable[..., Broker], sites: tuple[Site, Site], api: Any, tmp_path: Path, topic: str
) -> None:
    site, _ = sites
    endpoint = Endpoint(start_broker(arguments=["--cors-allowed-origins", site.origin]), tls=False)
    with endpoint.grpc_channel() as channel:
        api.AdminStub(channel).CreateTopic(api.CreateTopicRequest(name=topic), timeout=20)
    base = f"http://{endpoint.address}/v1/topics"
    urls = [f"{base}/none/events", f"{base}/{topic}/events?from=soon", f"{base}/{topic}/events?from=99"]
    closed = 2
    assert site.visit(MISSING % {"urls": json.dumps(urls)}, tmp_path / "profile") == [[closed]] * 3
