# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: a policy server in Open Policy Agent's form, inside the test.
"""Answers `POST` with `{"result": …}`, checks that every question has the documented form, and misbehaves on demand."""

from __future__ import annotations

import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Callable, Optional

PATH = "/v1/data/kafka/authz/allow"
OPERATIONS = {
    "READ", "WRITE", "CREATE", "DELETE", "ALTER", "DESCRIBE", "CLUSTER_ACTION", "DESCRIBE_CONFIGS", "ALTER_CONFIGS",
    "IDEMPOTENT_WRITE",
}  # fmt: skip
RESOURCES = {"TOPIC", "GROUP", "CLUSTER", "TRANSACTIONAL_ID"}


class Question:
    """One `input`, taken apart; fails if it has not the form that the documentation promises."""

    def __init__(self, document: Any):
        assert set(document) == {"input"} and set(document["input"]) == {"action", "requestContext"}, document
        action, context = document["input"]["action"], document["input"]["requestContext"]
        assert set(action) == {"operation", "resourcePattern"}, document
        assert set(action["resourcePattern"]) == {"resourceType", "name", "patternType"}, document
        assert set(context) == {"principal", "clientAddress", "listenerName", "securityProtocol", "protocol"}, document
        assert context["principal"]["principalType"] == "User" and action["resourcePattern"]["patternType"] == "LITERAL"
        assert action["operation"] in OPERATIONS and action["resourcePattern"]["resourceType"] in RESOURCES, document
        assert context["clientAddress"] == "127.0.0.1" and context["securityProtocol"] in ("PLAINTEXT", "SSL")
        assert context["protocol"] in ("kafka", "grpc") and context["listenerName"].startswith("127.0.0.1:")
        self.user: str = context["principal"]["name"]
        self.protocol: str = context["protocol"]
        self.operation: str = action["operation"]
        self.resource: str = action["resourcePattern"]["resourceType"]
        self.name: str = action["resourcePattern"]["name"]

    def key(self) -> tuple[str, str, str, str, str]:
        return (self.user, self.protocol, self.operation, self.resource, self.name)


class PolicyServer:
    """`decide` says what is allowed; `reply`, if it is set, makes the whole answer: status and body."""

    def __init__(self, decide: Callable[[Question], bool], tls: Optional[ssl.SSLContext] = None):
        self.decide = decide
        self.reply: Optional[Callable[[Question], tuple[int, bytes]]] = None
        #: What questions must show in `authorization`; nobody who does not is answered.
        self.token: Optional[str] = None
        #: Questions wait until it is set.
        self.gate = threading.Event()
        self.gate.set()
        self.asked: list[Question] = []
        self.wrong: list[str] = []
        self.most_at_once = 0
        self.at_once = 0
        self.lock = threading.Lock()
        self.tls = tls
        self.port = 0
        self.server: Optional[ThreadingHTTPServer] = None
        self.connections: set[Any] = set()
        self.start()

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}{PATH}"

    def start(self) -> None:
        policy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                policy.connections.add(self.connection)

            def finish(self) -> None:
                policy.connections.discard(self.connection)
                super().finish()

            def do_POST(self) -> None:
                policy.serve(self)

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_: Any) -> None:
                pass  # a broker that has stopped waiting

        self.server = Server(("127.0.0.1", self.port), Handler)
        self.port = self.server.server_address[1]
        if self.tls:
            self.server.socket = self.tls.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def stop(self) -> None:
        """Refuses connections, and ends those that are open."""
        if self.server:
            self.server.shutdown()
            self.server.server_close()
            self.server = None
        for connection in list(self.connections):
            try:
                connection.shutdown(2)
            except OSError:
                pass

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["content-length"]))
        try:
            assert handler.path == PATH and handler.headers["content-type"] == "application/json"
            question = Question(json.loads(body))
        except (AssertionError, ValueError, KeyError) as error:
            self.wrong.append(f"{error!r}: {body!r}")
            raise
        with self.lock:
            self.asked.append(question)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        self.gate.wait(30)
        with self.lock:
            self.at_once -= 1
        if self.token and handler.headers["authorization"] != f"Bearer {self.token}":
            status, answer = 401, b'{"code": "unauthorized"}'
        elif self.reply:
            status, answer = self.reply(question)
        else:
            status, answer = 200, json.dumps({"result": self.decide(question)}).encode()
        handler.send_response(status)
        handler.send_header("content-length", str(len(answer)))
        handler.end_headers()
        handler.wfile.write(answer)

    def questions(self, **wanted: str) -> list[Question]:
        with self.lock:
            return [one for one in self.asked if all(getattr(one, name) == value for name, value in wanted.items())]
