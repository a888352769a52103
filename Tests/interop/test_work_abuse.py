# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: workers that do what they should not, and what goes away under them.
"""Three kinds of clients on one queue: grpcio, grpc.aio and librdkafka's share consumer; none may lose or block another's jobs."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any, Callable

import grpc
import pytest
from confluent_kafka import AcknowledgeType, ShareConsumer
from confluent_kafka.admin import AdminClient

from broker import Broker, Endpoint, wait_until
from grpc_client import Client
from workers import Worker, ids, now_ms, status_of

WEEK_MS = 604_800_000


@pytest.fixture
def home(start_broker: Callable[..., Broker], api: Any) -> Any:
    class Home:
        own = start_broker()
        endpoint = Endpoint(own, tls=False)
        client = Client(endpoint, api)

        def worker(self, group: str, *topics: str, **fields: Any) -> Worker:
            fields.setdefault("origin", api.ORIGIN_EARLIEST)
            return Worker(self.endpoint, api, group, *topics, **fields).open()

    made = Home()
    yield made
    made.client.channel.close()
    assert "fatal" not in made.own.log().lower()


def test_what_is_not_held_cannot_be_settled(home: Any, api: Any) -> None:
    home.client.create("jobs")
    home.client.publish("jobs", b"0", b"1", b"2", b"3")
    with home.worker("g", "jobs", max_in_flight=4, lease_ms=30_000) as worker:
        items = worker.take(4)
        # The same one three times in one request, and together with one that never was.
        worker.send(ack=api.WorkAck(delivery_ids=[items[0].delivery_id] * 3 + [2**64 - 1, 0]))
        results: list[tuple[int, str]] = []
        while len(results) < 5:
            answer = next(worker.call)
            if answer.WhichOneof("kind") == "confirmed":
                results += [(number, api.WorkResult.Name(answer.confirmed.result)) for number in answer.confirmed.delivery_ids]
        assert sorted(results) == sorted([
            (items[0].delivery_id, "WORK_RESULT_DONE"), (items[0].delivery_id, "WORK_RESULT_NOT_HELD"),
            (items[0].delivery_id, "WORK_RESULT_NOT_HELD"), (2**64 - 1, "WORK_RESULT_NOT_HELD"), (0, "WORK_RESULT_NOT_HELD")])  # fmt: skip
        assert worker.nack(items[0]) == worker.reject(items[0]) == ["NOT_HELD"]
        # Everything that can be said, at once, of one item: the first counts.
        number = [items[1].delivery_id]
        worker.send(reject=api.WorkReject(delivery_ids=number, reason="first"))
        worker.send(ack=api.WorkAck(delivery_ids=number))
        worker.send(nack=api.WorkNack(delivery_ids=number))
        worker.send(extend=api.WorkExtend(delivery_ids=number))
        said: list[str] = []
        while len(said) < 4:
            answer = next(worker.call)
            assert answer.WhichOneof("kind") == "confirmed", answer
            said += [api.WorkResult.Name(answer.confirmed.result)] * len(answer.confirmed.delivery_ids)
        assert sorted(said) == ["WORK_RESULT_DONE"] + ["WORK_RESULT_NOT_HELD"] * 3
        with home.worker("g", "jobs") as other:
            # Numbers of deliveries mean nothing on another stream.
            assert other.ack(*items[2:]) == ["NOT_HELD"] * 2
        assert worker.ack(*items[2:]) == ["DONE"] * 2
    wait_until(lambda: [one.value for one in home.client.records("dlq.g")] == [b"1"], "the dead letter")


def test_after_the_end_of_a_lease_nothing_can_be_said(home: Any) -> None:
    home.client.create("jobs")
    home.client.publish("jobs", b"x")
    with home.worker("g", "jobs", lease_ms=300) as worker:
        [item] = worker.take(1)
        [again] = worker.take(1)
        assert again.delivery_count == 2
        [confirmed] = worker.extend(item, lease_ms=60_000)
        assert confirmed.result == worker.api.WORK_RESULT_NOT_HELD
        # Of the delivery that is held the old number says nothing, and takes nothing.
        [confirmed] = worker.extend(again, lease_ms=60_000)
        assert confirmed.result == worker.api.WORK_RESULT_DONE and confirmed.lease_deadline_ms > now_ms() + 50_000
        assert worker.reject(item) == ["NOT_HELD"] and worker.ack(again) == ["DONE"]


def test_a_delay_of_a_week_is_a_week_and_no_longer_one_is_taken(home: Any, api: Any) -> None:
    home.client.create("jobs")
    home.client.publish("jobs", b"x", b"y")
    with home.worker("g", "jobs") as worker:
        late, soon = worker.take(2)
        assert worker.nack(late, delay_ms=WEEK_MS) == ["DONE"]
        assert worker.nack(soon, delay_ms=300) == ["DONE"]
        assert worker.ack(*worker.take(1)) == ["DONE"]
        for delay in (WEEK_MS + 1, 2**63, 2**64 - 1):
            with home.worker("h", "jobs") as other:
                [item, _] = other.take(2)
                other.send(nack=api.WorkNack(delivery_ids=[item.delivery_id], delay_ms=delay))
                assert status_of(other)[0] == grpc.StatusCode.INVALID_ARGUMENT
    home.own.kill()
    home.own.start()
    home.endpoint = Endpoint(home.own, tls=False)
    client = Client(home.endpoint, api)
    client.publish("jobs", b"z")
    with home.worker("g", "jobs") as worker:
        assert [item.value for item in worker.take(1)] == [b"z"] and not worker.items
    client.channel.close()


def test_a_worker_whose_connection_breaks_in_the_middle_of_a_batch_loses_nothing(home: Any, api: Any) -> None:
    home.client.create("jobs", partitions=3)
    total = 90
    for number in range(total):
        home.client.publish("jobs", b"%d" % number, partition=number % 3)
    killed = home.worker("g", "jobs", max_in_flight=60)
    items = killed.take(60)
    assert killed.ack(*items[:20]) == ["DONE"] * 20
    killed.send(ack=api.WorkAck(delivery_ids=ids(items[20:30])))
    killed.channel.close()
    killed.requests.put(None)
    done = {item.value for item in items[:20]}
    maybe = {item.value for item in items[20:30]}
    with home.worker("g", "jobs", max_in_flight=100) as worker:
        seen: dict[bytes, int] = {}
        must = {b"%d" % number for number in range(total)} - done - maybe
        while not must <= seen.keys():
            [item] = worker.take(1)
            assert item.value not in seen and item.value not in done
            seen[item.value] = item.delivery_count
            assert worker.ack(item) == ["DONE"]
        assert all(seen[item.value] == 2 for item in items[30:])


def test_two_topics_in_one_queue_are_served_in_turn_and_one_may_go(home: Any, api: Any) -> None:
    for name in ("a", "b"):
        home.client.create(name, partitions=2)
    for number in range(40):
        for name in ("a", "b"):
            home.client.publish(name, b"%s%d" % (name.encode(), number), partition=number % 2)
    with home.worker("g", "a", "b", max_in_flight=10) as one, home.worker("g", "b", "a", max_in_flight=10) as two:
        seen: set[bytes] = set()
        while len(seen) < 60:
            for worker in (one, two):
                items = worker.take(5)
                assert not seen & {item.value for item in items}, "twice"
                seen |= {item.value for item in items}
                assert worker.ack(*items) == ["DONE"] * 5
        assert {value[:1] for value in seen} == {b"a", b"b"}
        home.client.admin.DeleteTopic(api.DeleteTopicRequest(name="a"), timeout=20)
        maybe: set[bytes] = set()
        begun = time.monotonic()
        for worker in (one, two):
            # One that is full is told when it wants more, even if the other topic always has some.
            with pytest.raises(grpc.RpcError) as ended:
                while True:
                    [item] = worker.take(1)
                    maybe.add(item.value)
                    worker.send(ack=api.WorkAck(delivery_ids=[item.delivery_id]))
            assert (ended.value.code(), ended.value.details()) == (
                grpc.StatusCode.NOT_FOUND, "topic a was deleted; open again without it",
            )  # fmt: skip
        # Not only when their leases end.
        assert time.monotonic() - begun < 20
    with home.worker("g", "b") as rest:
        must, left = {b"b%d" % number for number in range(40)} - seen - maybe, set()
        while not must <= left:
            left |= {item.value for item in rest.take(1)}
        assert not left & seen


def test_a_group_cannot_be_deleted_under_its_workers_and_begins_anew_afterwards(home: Any, api: Any) -> None:
    home.client.create("jobs")
    home.client.publish("jobs", b"x")
    admin = AdminClient(home.endpoint.librdkafka())
    with home.worker("g", "jobs") as worker:
        [item] = worker.take(1)
        with pytest.raises(Exception, match="(?i)non_empty|not empty"):
            admin.delete_consumer_groups(["g"])["g"].result(20)
        assert worker.ack(item) == ["DONE"]

    def delete() -> bool:
        try:
            admin.delete_consumer_groups(["g"])["g"].result(20)
            return True
        except Exception:
            return False

    wait_until(delete, "the group to be deleted")
    with home.worker("g", "jobs") as worker:
        [item] = worker.take(1)
        assert (item.value, item.delivery_count) == (b"x", 1)


def test_a_topic_that_comes_again_is_another_queue(home: Any, api: Any) -> None:
    home.client.create("jobs")
    home.client.publish("jobs", b"old", b"old")
    with home.worker("g", "jobs") as worker:
        old = worker.take(2)
        assert worker.ack(old[0]) == ["DONE"]
        home.client.admin.DeleteTopic(api.DeleteTopicRequest(name="jobs"), timeout=20)
        home.client.create("jobs")
        home.client.publish("jobs", b"new", b"new")
        assert status_of(worker)[0] == grpc.StatusCode.NOT_FOUND
    with home.worker("g", "jobs") as worker:
        items = worker.take(2)
        assert [(item.value, item.delivery_count, item.offset) for item in items] == [(b"new", 1, 0), (b"new", 1, 1)]
        assert worker.ack(*items) == ["DONE"] * 2


def test_three_kinds_of_clients_share_a_queue_and_do_each_job_once(home: Any, api: Any) -> None:
    home.client.create("jobs", partitions=2)
    total = 600
    expected = {b"%d" % number for number in range(total)}
    with home.worker("g", "jobs", max_in_flight=7) as stuck, home.worker("g", "jobs", max_in_flight=5) as sync:
        for number in range(total):
            home.client.publish("jobs", b"%d" % number, partition=number % 2)
        done: list[bytes] = []
        consumer = ShareConsumer(home.endpoint.librdkafka(**{"group.id": "g", "share.acknowledgement.mode": "explicit"}))
        consumer.subscribe(["jobs"])

        async def aio() -> None:
            async with home.endpoint.grpc_aio_channel() as channel:
                call = api.WorkStub(channel).Receive()
                await call.write(api.ReceiveRequest(open=api.WorkOpen(group="g", topics=["jobs"], max_in_flight=3)))
                async for answer in call:
                    for item in answer.items.items:
                        done.append(item.value)
                        await call.write(api.ReceiveRequest(ack=api.WorkAck(delivery_ids=[item.delivery_id])))
                    if len(set(done)) + len(held) >= total:
                        call.cancel()
                        return

        held = stuck.take(7)
        def pull() -> None:
            while len(set(done)) + len(held) < total:
                for message in consumer.poll(timeout=0.2) or []:
                    if message.error() is None:
                        done.append(message.value())
                        consumer.acknowledge(message, AcknowledgeType.ACCEPT)
                consumer.commit_sync()

        def loop() -> None:
            asyncio.run(asyncio.wait_for(aio(), 40))

        def work() -> None:
            try:
                while True:
                    [item] = sync.take(1)
                    done.append(item.value)
                    sync.send(ack=api.WorkAck(delivery_ids=[item.delivery_id]))
            except grpc.RpcError as ended:
                assert ended.code() == grpc.StatusCode.CANCELLED

        threads = [threading.Thread(target=one, daemon=True) for one in (pull, loop, work)]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(set(done)) + len(held) >= total, "all jobs", 40)
        assert stuck.ack(*held) == ["DONE"] * 7
        done += [item.value for item in held]
        assert sorted(done) == sorted(expected), "a job was done twice, or not at all"
        sync.call.cancel()
        for thread in threads:
            thread.join(10)
        consumer.close()
