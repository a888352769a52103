# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: browsers' protocols over HTTP/1.1 and HTTP/2, with curl.
"""gRPC-Web, Connect, server-sent events and records as JSON with curl; and that foreign pages are kept out."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from typing import Any, Callable, Iterator

import pytest

from broker import Broker, Endpoint
from grpc_client import CALL_SECONDS, Client

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


@pytest.fixture
def client(endpoint: Endpoint, api: Any) -> Iterator[Client]:
    opened = Client(endpoint, api)
    yield opened
    opened.channel.close()


def curl(endpoint: Endpoint, path: str, *arguments: str, body: bytes | None = None, http2: bool = False) -> tuple[int, bytes]:
    """Status and body."""
    scheme, more = "http", ["--http2-prior-knowledge"] if http2 else ["--http1.1"]
    if endpoint.tls:
        broker = endpoint.broker
        scheme = "https"
        more = [
            "--http2" if http2 else "--http1.1",
            *("--cacert", broker.ca, "--cert", broker.certificate, "--key", broker.key),
        ]
    data = ["--data-binary", "@-"] if body is not None else []
    done = subprocess.run(
        ["curl", "--silent", "--show-error", "--max-time", "20", *more, *data, *arguments,
         "--write-out", "\n%{http_code}", f"{scheme}://{endpoint.address}{path}"],
        input=body, capture_output=True, timeout=30,
    )  # fmt: skip
    assert done.returncode in (0, 28), done.stderr.decode()
    content, _, status = done.stdout.rpartition(b"\n")
    return int(status), content


def frame(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4, "big") + message


def frames(body: bytes) -> list[tuple[int, bytes]]:
    found = []
    while body:
        length = int.from_bytes(body[1:5], "big")
        found.append((body[0], body[5 : 5 + length]))
        body = body[5 + length :]
    return found


JSON = ("--header", "content-type: application/json")


@pytest.mark.parametrize("http2", [False, True], ids=["HTTP/1.1", "HTTP/2"])
def test_records_are_posted_and_read_as_events(endpoint: Endpoint, topic: str, client: Client, http2: bool) -> None:
    client.create(topic)
    body = json.dumps({"records": [{"key": "k", "value": "first"}, {"value": "second"}]}).encode()
    status, answer = curl(endpoint, f"/v1/topics/{topic}/records", *JSON, body=body, http2=http2)
    assert status == 200, answer
    assert json.loads(answer) == {"offsets": [{"partition": 0, "offset": 0}, {"partition": 0, "offset": 1}]}
    path = f"/v1/topics/{topic}/events?from=earliest"
    status, answer = curl(endpoint, path, "--no-buffer", "--max-time", "2", http2=http2)
    assert status == 200
    events = [line for line in answer.decode().splitlines() if line.startswith("data: ")]
    assert [json.loads(line[6:])["value"] for line in events] == ["first", "second"]
    status, answer = curl(
        endpoint, path, "--no-buffer", "--max-time", "2", "--header", "last-event-id: 0:1", http2=http2
    )
    assert b"first" not in answer and b"second" in answer


@pytest.mark.parametrize("http2", [False, True], ids=["HTTP/1.1", "HTTP/2"])
def test_events_that_cannot_begin_have_an_http_status(endpoint: Endpoint, topic: str, client: Client, http2: bool) -> None:
    """A browser comes back after a stream that began, and gives up after a status: with 200 it would come back for ever."""
    client.create(topic)
    client.create(f"{topic}-wide", partitions=101)
    client.publish(topic, b"x")
    no_id = ("--header", "last-event-id: what")
    for path, more, status, code, reason, words in (
        (f"{topic}-none/events", (), 404, "not_found", "UNKNOWN_TOPIC", ["create it"]),
        (f"{topic}/events?partition=7", (), 404, "not_found", "UNKNOWN_PARTITION", ["0 to 0"]),
        (f"{topic}/events?from=soon", (), 400, "invalid_argument", "INVALID_FIELD", ["from is earliest, latest or"]),
        (f"{topic}/events?until=1", (), 400, "invalid_argument", "INVALID_FIELD", ["until is not known here"]),
        (f"{topic}/events?filter=x", (), 400, "invalid_argument", "INVALID_FIELD", ["filter is not known here"]),
        (f"{topic}/events?partition=0&partition=0", (), 400, "invalid_argument", "INVALID_FIELD", ["partition 0 twice"]),
        (f"{topic}/events?from=77", (), 400, "out_of_range", "OFFSET_OUT_OF_RANGE", ["0 to 1", "from=earliest"]),
        (f"{topic}/events", no_id, 400, "invalid_argument", "INVALID_FIELD", ["Last-Event-ID"]),
        (f"{topic}/events", ("--header", "last-event-id: 9:0"), 404, "not_found", "UNKNOWN_PARTITION", ["0 to 0"]),
        (f"{topic}-wide/events", (), 400, "invalid_argument", "INVALID_FIELD", ["choose some with partition="]),
    ):
        found, body = curl(endpoint, f"/v1/topics/{path}", "--include", *more, http2=http2)
        head, _, text = body.replace(b"\r", b"").partition(b"\n\n")
        assert found == status, (path, body)
        assert b"content-type: application/json" in head.lower(), (path, head)
        error = json.loads(text)
        assert (error["code"], error["reason"]) == (code, reason), (path, error)
        assert all(word in error["message"] for word in words), (path, error)
        # Not in the words of another protocol, which has other parameters.
        assert not {"origin", "topics", "start"} & set(error["message"].replace(";", "").split()), (path, error)
        if path.endswith("-none/events"):
            # The same body as records have.
            wrong = curl(endpoint, f"/v1/topics/{topic}/records", *JSON, body=b'{"records":[{}],"partition":7}', http2=http2)
            assert wrong[0] == 404 and json.loads(wrong[1]).keys() == error.keys()


@pytest.mark.parametrize("http2", [False, True], ids=["HTTP/1.1", "HTTP/2"])
def test_an_error_in_the_middle_of_events_is_an_event(plaintext: Endpoint, topic: str, api: Any, http2: bool) -> None:
    client = Client(plaintext, api)
    client.publish(topic, b"x")
    version = "--http2-prior-knowledge" if http2 else "--http1.1"
    with subprocess.Popen(
        ["curl", "--silent", "--no-buffer", "--max-time", "20", version,
         f"http://{plaintext.address}/v1/topics/{topic}/events?from=earliest"], stdout=subprocess.PIPE,
    ) as following:  # fmt: skip
        assert following.stdout
        while not following.stdout.readline().startswith(b"data: "):
            pass
        client.admin.DeleteTopic(api.DeleteTopicRequest(name=topic), timeout=CALL_SECONDS)
        rest = following.stdout.read()
    *_, name, data = [line for line in rest.decode().splitlines() if line and not line.startswith(":")]
    assert name == "event: error" and json.loads(data.removeprefix("data: "))["code"] == "not_found"
    client.channel.close()


@pytest.mark.parametrize("http2", [False, True], ids=["HTTP/1.1", "HTTP/2"])
@pytest.mark.parametrize("text", [False, True], ids=["binary", "text"])
def test_grpc_web(endpoint: Endpoint, topic: str, api: Any, http2: bool, text: bool) -> None:
    request = frame(api.PublishRequest(topic=topic, records=[api.PublishRecord(value=b"x")]).SerializeToString())
    kind = "application/grpc-web-text" if text else "application/grpc-web+proto"
    body = base64.b64encode(request) if text else request
    header = ("--header", f"content-type: {kind}", "--header", "x-grpc-web: 1")
    status, answer = curl(endpoint, "/martlet.v1.Streams/Publish", *header, body=body, http2=http2)
    assert status == 200
    if text:
        # Every piece is padded by itself.
        answer = b"".join(base64.b64decode(answer[at : at + 4]) for at in range(0, len(answer), 4))
    (flag, message), (last, trailers) = frames(answer)
    assert flag == 0 and api.PublishResponse.FromString(message).batches[0].base_offset == 0
    assert last == 0x80 and trailers == b"grpc-status: 0\r\n"


@pytest.mark.parametrize("http2", [False, True], ids=["HTTP/1.1", "HTTP/2"])
def test_connect(endpoint: Endpoint, topic: str, client: Client, http2: bool) -> None:
    body = json.dumps({"topic": topic, "records": [{"value": base64.b64encode(b"x").decode()}]}).encode()
    status, answer = curl(endpoint, "/martlet.v1.Streams/Publish", *JSON, body=body, http2=http2)
    assert status == 200 and json.loads(answer)["batches"][0]["recordPositions"] == [0]
    status, answer = curl(endpoint, "/martlet.v1.Admin/DescribeTopic", *JSON, body=b'{"name":"none"}', http2=http2)
    assert status == 404 and json.loads(answer)["code"] == "not_found"
    request = frame(json.dumps({"topics": [{"topic": topic}], "origin": "ORIGIN_EARLIEST", "untilEnd": True}).encode())
    header = ("--header", "content-type: application/connect+json")
    status, answer = curl(endpoint, "/martlet.v1.Streams/Subscribe", *header, body=request, http2=http2)
    assert status == 200
    *messages, (flag, end) = frames(answer)
    assert flag == 2 and json.loads(end) == {}
    records = [record for _, message in messages for batch in json.loads(message)["batches"] for record in batch["records"]]
    assert [record["value"] for record in records] == ["eA=="]


def test_one_connection_carries_request_after_request(plaintext: Endpoint, topic: str) -> None:
    """Keep-alive over HTTP/1.1: calls and pages in any order."""
    url = f"http://{plaintext.address}"
    records = f"{url}/v1/topics/{topic}/records"
    one = [*JSON, "--data-binary", '{"records":[{"value":"x"}]}', records]
    done = subprocess.run(
        ["curl", "--silent", "--http1.1", "--max-time", "20", "--write-out", "%{num_connects} ",
         *one, "--next", "--write-out", "%{num_connects} ", f"{url}/healthz",
         "--next", "--write-out", "%{num_connects} ", *one],
        capture_output=True, timeout=30, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [word for word in done.stdout.replace("ok\n", "").split() if word in ("0", "1")] == ["1", "0", "0"]


FOREIGN = ("--header", "origin: http://evil.example")


def test_foreign_pages_are_kept_out(plaintext: Endpoint, topic: str, api: Any) -> None:
    body = b'{"records":[{"value":"x"}]}'
    path = f"/v1/topics/{topic}/records"
    assert curl(plaintext, path, *JSON, *FOREIGN, body=body)[0] == 403
    assert curl(plaintext, path, *FOREIGN, "--request", "OPTIONS")[0] == 403
    assert curl(plaintext, path, "--header", "content-type: text/plain", body=body)[0] == 415
    assert curl(plaintext, path, "--header", "content-type: application/x-www-form-urlencoded", body=body)[0] == 415
    assert curl(plaintext, path, *JSON, "--header", "host: rebound.example:9092", body=body)[0] == 403
    assert curl(plaintext, f"/v1/topics/{topic}/events", "--header", "sec-fetch-site: cross-site")[0] == 403


def test_listed_origins_may(start_broker: Callable[..., Broker]) -> None:
    endpoint = Endpoint(start_broker(arguments=["--cors-allowed-origins", "https://app.example"]), tls=False)
    listed = ("--header", "origin: https://app.example")
    status, answer = curl(endpoint, "/v1/topics/t/records", *listed, "--request", "OPTIONS", "--include")
    assert status == 204
    assert "access-control-allow-origin: https://app.example" in answer.decode().lower().splitlines()
    status, answer = curl(
        endpoint, "/v1/topics/t/records", *JSON, *listed, "--include", body=b'{"records":[{"value":"x"}]}'
    )
    assert status == 200 and "access-control-allow-origin: https://app.example" in answer.decode().lower()
    assert curl(endpoint, "/v1/topics/t/records", *JSON, *FOREIGN, body=b"{}")[0] == 403
