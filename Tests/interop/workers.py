# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: a worker of a work queue, over grpcio.
"""One `martlet.v1.Work` stream: requests are queued, answers are sorted into items and confirmations."""

from __future__ import annotations

import queue
import time
from typing import Any, Iterator, Optional

import grpc

from broker import Endpoint

CALL_SECONDS = 60


class Worker:
    """Opens a stream; every wait has a deadline."""

    def __init__(self, endpoint: Endpoint, api: Any, group: str, *topics: str, **fields: Any):
        self.api = api
        self.channel = endpoint.grpc_channel()
        self.stub = api.WorkStub(self.channel)
        self.requests: queue.Queue[Optional[Any]] = queue.Queue()
        self.items: list[Any] = []
        self.confirmed: dict[int, Any] = {}
        self.opened: Any = None
        self.send(open=api.WorkOpen(group=group, topics=topics, **fields))
        self.call = self.stub.Receive(self._requests(), timeout=CALL_SECONDS)

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.call.cancel()
        self.requests.put(None)
        self.channel.close()

    def _requests(self) -> Iterator[Any]:
        while (request := self.requests.get()) is not None:
            yield request

    def send(self, **kind: Any) -> None:
        self.requests.put(self.api.ReceiveRequest(**kind))

    def half_close(self) -> None:
        self.requests.put(None)

    def step(self) -> None:
        answer = next(self.call)
        kind = answer.WhichOneof("kind")
        if kind == "opened":
            self.opened = answer.opened
        elif kind == "items":
            self.items += answer.items.items
        else:
            for number in answer.confirmed.delivery_ids:
                self.confirmed[number] = answer.confirmed

    def open(self) -> "Worker":
        while self.opened is None:
            self.step()
        return self

    def take(self, count: int) -> list[Any]:
        """The next `count` items."""
        while len(self.items) < count:
            self.step()
        taken, self.items = self.items[:count], self.items[count:]
        return taken

    def _settled(self, ids: list[int]) -> list[Any]:
        while not all(number in self.confirmed for number in ids):
            self.step()
        return [self.confirmed.pop(number) for number in ids]

    def ack(self, *items: Any) -> list[str]:
        return self.settle(items, ack=self.api.WorkAck(delivery_ids=ids(items)))

    def nack(self, *items: Any, delay_ms: int = 0) -> list[str]:
        return self.settle(items, nack=self.api.WorkNack(delivery_ids=ids(items), delay_ms=delay_ms))

    def reject(self, *items: Any, reason: str = "") -> list[str]:
        return self.settle(items, reject=self.api.WorkReject(delivery_ids=ids(items), reason=reason))

    def extend(self, *items: Any, lease_ms: int = 0) -> list[Any]:
        self.send(extend=self.api.WorkExtend(delivery_ids=ids(items), lease_ms=lease_ms))
        return self._settled(ids(items))

    def settle(self, items: Any, **kind: Any) -> list[str]:
        """Sends, waits for the confirmations, and returns the names of their results."""
        self.send(**kind)
        names = self.api.WorkResult.Name
        return [names(confirmed.result).removeprefix("WORK_RESULT_") for confirmed in self._settled(ids(items))]


def ids(items: Any) -> list[int]:
    return [item.delivery_id for item in items]


def status_of(worker: Worker) -> tuple[grpc.StatusCode, str]:
    """How the stream ends; everything before is dropped."""
    try:
        while True:
            worker.step()
    except StopIteration:
        return grpc.StatusCode.OK, ""
    except grpc.RpcError as error:
        return error.code(), error.details()


def now_ms() -> int:
    return time.time_ns() // 1_000_000
