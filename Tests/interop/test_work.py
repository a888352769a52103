# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: work queues by gRPC.
"""`martlet.v1.Work` with grpcio: leases, settlements, dead letters, delays, bad input, kill -9, and Kafka's share consumers beside."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Iterator

import grpc
import pytest
from confluent_kafka import AcknowledgeType, ShareConsumer
from google.rpc import error_details_pb2, status_pb2

from broker import Broker, Endpoint, wait_until
from grpc_client import Client
from rdkafka import produce_all
from workers import Worker, now_ms, status_of


@pytest.fixture
def client(endpoint: Endpoint, api: Any) -> Iterator[Client]:
    client = Client(endpoint, api)
    yield client
    client.channel.close()


def open_worker(endpoint: Endpoint, api: Any, group: str, *topics: str, **fields: Any) -> Worker:
    fields.setdefault("origin", api.ORIGIN_EARLIEST)
    return Worker(endpoint, api, group, *topics, **fields).open()


def values(items: list[Any]) -> list[bytes]:
    return [item.value for item in items]


def headers(record: Any) -> dict[str, bytes]:
    return {header.key: header.value for header in record.headers}


def test_items_are_delivered_and_acknowledged_once(endpoint: Endpoint, client: Client, api: Any, topic: str) -> None:
    client.create(topic)
    client.publish(topic, b"a", b"b", b"c")
    with open_worker(endpoint, api, f"{topic}-g", topic) as worker:
        assert worker.opened.max_in_flight == 100 and worker.opened.max_deliveries == 5
        assert worker.opened.dead_letter_topic == f"dlq.{topic}-g"
        items = worker.take(3)
        assert values(items) == [b"a", b"b", b"c"]
        assert [item.delivery_count for item in items] == [1, 1, 1]
        assert all(0 < item.lease_deadline_ms - now_ms() <= 30_000 for item in items)
        assert worker.ack(*items) == ["DONE"] * 3
    with open_worker(endpoint, api, f"{topic}-g", topic) as worker:
        client.publish(topic, b"d")
        assert values(worker.take(1)) == [b"d"]


def test_a_worker_whose_topic_is_deleted_is_told_so_and_nobody_else_has_to_wait(
    start_broker: Callable[..., Broker], api: Any
) -> None:
    # One event loop for all, so that a worker that kept it busy would be noticed.
    own = start_broker(arguments=["--threads", "1"])
    endpoint = Endpoint(own, tls=False)
    client = Client(endpoint, api)
    client.create("jobs")
    with open_worker(endpoint, api, "crew", "jobs") as worker:
        client.admin.DeleteTopic(api.DeleteTopicRequest(name="jobs"), timeout=20)
        code, message = status_of(worker)
        assert code == grpc.StatusCode.NOT_FOUND and message.startswith("topic jobs was deleted")
    begin = time.monotonic()
    for _ in range(50):
        client.admin.ListTopics(api.ListTopicsRequest(), timeout=5)
    assert time.monotonic() - begin < 5
    client.channel.close()


def test_the_brokers_settings_of_share_groups_have_their_effect(
    start_broker: Callable[..., Broker], api: Any
) -> None:
    names = {
        "delivery-count-limit": 2, "min-record-lock-duration-ms": 1000, "record-lock-duration-ms": 1500,
        "max-record-lock-duration-ms": 30_000, "partition-max-record-locks": 100, "max-size": 2, "max-groups": 2,
    }  # fmt: skip
    own = start_broker(arguments=[word for name, value in names.items() for word in (f"--group-share-{name}", str(value))])
    endpoint = Endpoint(own, tls=False)
    client = Client(endpoint, api)
    client.create("jobs")
    # One batch, of which only a part may be locked.
    client.publish("jobs", *[b"job"] * 150)
    with open_worker(endpoint, api, "first", "jobs", max_in_flight=1000) as worker:
        assert (worker.opened.max_deliveries, worker.opened.lease_ms) == (2, 1500)
        first = worker.take(100)
        assert not worker.items
        begun = time.monotonic()
        # As many as may be locked are; there is no more until their leases end.
        rest = worker.take(200)
        assert time.monotonic() - begun > 1
        deliveries = sorted((item.offset, item.delivery_count) for item in first + rest)
        assert deliveries == [(offset, count) for offset in range(150) for count in (1, 2)]
        with open_worker(endpoint, api, "first", "jobs"):
            third = Worker(endpoint, api, "first", "jobs")
            assert status_of(third)[0] == grpc.StatusCode.RESOURCE_EXHAUSTED
            third.close()
        code, details = status_of(Worker(endpoint, api, "first", "jobs", lease_ms=30_001))
        assert code == grpc.StatusCode.INVALID_ARGUMENT and "30000" in details
        with open_worker(endpoint, api, "second", "jobs"):
            assert status_of(Worker(endpoint, api, "third", "jobs"))[0] == grpc.StatusCode.RESOURCE_EXHAUSTED
    wait_until(lambda: len(client.records("dlq.first")) == 150, "all dead letters", 20)
    assert headers(client.records("dlq.first")[0])["__dlq.errors.delivery.count"] == b"2"
    client.channel.close()


def test_two_workers_share_a_queue_and_none_holds_more_than_it_asked_for(
    endpoint: Endpoint, client: Client, api: Any, topic: str
) -> None:
    client.create(topic)
    client.publish(topic, *[f"{number}".encode() for number in range(10)])
    with open_worker(endpoint, api, f"{topic}-g", topic, max_in_flight=4) as one:
        first = one.take(4)
        with open_worker(endpoint, api, f"{topic}-g", topic, max_in_flight=6) as two:
            second = two.take(6)
            assert sorted(values(first) + values(second)) == [f"{number}".encode() for number in range(10)]
            assert one.ack(*first) == ["DONE"] * 4 and two.ack(*second) == ["DONE"] * 6


def test_a_nack_delivers_again_after_its_delay(endpoint: Endpoint, client: Client, api: Any, topic: str) -> None:
    client.create(topic)
    client.publish(topic, b"job")
    with open_worker(endpoint, api, f"{topic}-g", topic) as worker:
        [item] = worker.take(1)
        assert worker.nack(item) == ["DONE"]
        [again] = worker.take(1)
        assert again.delivery_count == 2 and again.delivery_id != item.delivery_id
        begun = time.monotonic()
        assert worker.nack(again, delay_ms=700) == ["DONE"]
        [third] = worker.take(1)
        assert time.monotonic() - begun >= 0.65 and third.delivery_count == 3
        assert worker.ack(third) == ["DONE"]


def test_an_item_whose_lease_ends_is_delivered_again_and_an_extended_one_is_not(
    endpoint: Endpoint, client: Client, api: Any, topic: str
) -> None:
    client.create(topic)
    client.publish(topic, b"kept", b"lost")
    with open_worker(endpoint, api, f"{topic}-g", topic, lease_ms=3_000) as worker:
        kept, lost = worker.take(2)
        [confirmed] = worker.extend(kept, lease_ms=30_000)
        assert confirmed.lease_deadline_ms > now_ms() + 20_000
        [again] = worker.take(1)
        assert again.value == b"lost" and again.delivery_count == 2
        # The old delivery speaks for nothing any more, though the same worker has the new one.
        assert worker.ack(lost) == ["NOT_HELD"]
        assert worker.ack(again) == ["DONE"]
        assert worker.ack(kept) == ["DONE"]


def test_a_worker_that_says_nothing_does_not_get_its_items_again_while_another_is_idle(
    endpoint: Endpoint, client: Client, api: Any, topic: str
) -> None:
    client.create(topic)
    client.publish(topic, *[f"{number}".encode() for number in range(6)])
    with open_worker(endpoint, api, f"{topic}-g", topic, lease_ms=1_000, max_in_flight=50) as stuck:
        assert len(stuck.take(6)) == 6
        # One item at a time, so that it never could have taken them all at once.
        with open_worker(endpoint, api, f"{topic}-g", topic, max_in_flight=1) as idle:
            for _ in range(6):
                [item] = idle.take(1)
                assert item.delivery_count == 2
                assert idle.ack(item) == ["DONE"]
        # Alone, it is served again, and at once.
        client.publish(topic, b"last")
        assert values(stuck.take(1)) == [b"last"]
        assert not stuck.items


def test_a_worker_that_is_late_is_heard_of_and_gets_its_share(
    endpoint: Endpoint, client: Client, api: Any, topic: str
) -> None:
    client.create(topic)
    client.publish(topic, b"slow")
    with open_worker(endpoint, api, f"{topic}-g", topic, lease_ms=500, max_in_flight=5) as late:
        [item] = late.take(1)
        with open_worker(endpoint, api, f"{topic}-g", topic, max_in_flight=1) as other:
            assert values(other.take(1)) == [b"slow"]
            client.publish(topic, b"waiting")
            assert late.ack(item) == ["NOT_HELD"]
            # It would have had to wait for ten seconds.
            begun = time.monotonic()
            assert values(late.take(1)) == [b"waiting"] and time.monotonic() - begun < 5


def test_a_stream_that_ends_releases_what_it_holds(endpoint: Endpoint, client: Client, api: Any, topic: str) -> None:
    client.create(topic)
    client.publish(topic, b"job")
    with open_worker(endpoint, api, f"{topic}-g", topic) as one:
        one.take(1)
    with open_worker(endpoint, api, f"{topic}-g", topic) as two:
        [item] = two.take(1)
        assert item.delivery_count == 2
        two.send(ack=api.WorkAck(delivery_ids=[item.delivery_id]))
        two.half_close()
        assert status_of(two) == (grpc.StatusCode.OK, "")
        assert [number for number in two.confirmed] == [item.delivery_id]


def test_rejected_and_exhausted_items_become_dead_letters_that_can_be_redriven(
    endpoint: Endpoint, client: Client, api: Any, topic: str
) -> None:
    client.create(topic)
    client.publish(topic, b"bad", key=b"k")
    client.publish(topic, b"tired")
    group, dead = f"{topic}-g", f"dlq.{topic}"
    with open_worker(endpoint, api, group, topic, dead_letter_topic=dead) as worker:
        bad, tired = worker.take(2)
        assert worker.reject(bad, reason="no such customer") == ["DONE"]
        for delivery in range(1, 6):
            assert tired.delivery_count == delivery
            assert worker.nack(tired) == ["DONE"]
            if delivery < 5:
                [tired] = worker.take(1)
        letters = client.records(dead)
        assert [letter.value for letter in letters] == [b"bad", b"tired"]
        assert letters[0].key == b"k"
        told = [headers(letter) for letter in letters]
        assert [letter["__dlq.errors.delivery.count"] for letter in told] == [b"1", b"5"]
        assert told[0]["__dlq.errors.message"] == b"Offset rejected by client. no such customer"
        assert told[1]["__dlq.errors.message"] == b"Offset delivery count exceeded the threshold."
        for offset, letter in enumerate(told):
            assert letter["__dlq.errors.topic"] == topic.encode() and letter["__dlq.errors.group"] == group.encode()
            assert (letter["__dlq.errors.partition"], letter["__dlq.errors.offset"]) == (b"0", b"%d" % offset)
        work = api.WorkStub(client.channel)
        answer = work.Redrive(api.RedriveRequest(dead_letter_topic=dead, group="another"), timeout=20)
        assert (answer.redriven, answer.skipped) == (0, 2)
        answer = work.Redrive(api.RedriveRequest(dead_letter_topic=dead), timeout=20)
        assert (answer.redriven, answer.skipped) == (2, 0)
        again = worker.take(2)
        assert sorted(values(again)) == [b"bad", b"tired"] and [item.delivery_count for item in again] == [1, 1]
        assert not any(name.startswith("__dlq") for item in again for name in headers(item))
        answer = work.Redrive(api.RedriveRequest(dead_letter_topic=dead), timeout=20)
        assert (answer.redriven, answer.skipped) == (0, 0)


def test_a_record_is_not_delivered_before_its_time(endpoint: Endpoint, client: Client, api: Any, topic: str) -> None:
    client.create(topic)
    due = now_ms() + 800
    client.publish(topic, b"later", headers=[api.Header(key="not-before", value=str(due).encode())])
    client.publish(topic, b"now", headers=[api.Header(key="not-before", value=b"tomorrow")])
    with open_worker(endpoint, api, f"{topic}-g", topic) as worker:
        now, later = worker.take(2)
        assert (now.value, later.value) == (b"now", b"later")
        assert now_ms() >= due


def test_a_share_consumer_and_a_worker_take_turns_on_one_queue(
    endpoint: Endpoint, client: Client, api: Any, topic: str
) -> None:
    client.create(topic)
    group = f"{topic}-g"
    with open_worker(endpoint, api, group, topic, max_in_flight=1) as worker:
        consumer = ShareConsumer(endpoint.librdkafka(group_id=group, share_acknowledgement_mode="explicit"))
        consumer.subscribe([topic])
        client.publish(topic, b"one", b"two")
        [held] = worker.take(1)
        taken: list[Any] = []
        deadline = time.monotonic() + 20
        while not taken:
            assert time.monotonic() < deadline
            taken = [message for message in consumer.poll(0.5)]
        assert {held.value, taken[0].value()} == {b"one", b"two"} and len(taken) == 1
        consumer.acknowledge(taken[0], AcknowledgeType.RELEASE)
        consumer.commit_sync(10)
        assert worker.ack(held) == ["DONE"]
        [again] = worker.take(1)
        assert again.value == taken[0].value() and again.delivery_count == 2
        assert worker.ack(again) == ["DONE"]
        consumer.close()


@pytest.mark.parametrize("compression", ["gzip", "lz4", "snappy", "zstd"])
def test_compressed_batches_are_delivered(endpoint: Endpoint, client: Client, api: Any, topic: str, compression: str) -> None:
    client.create(topic)
    produce_all(endpoint, topic, [b"%d" % number for number in range(50)], compression_type=compression, linger_ms=20)
    with open_worker(endpoint, api, f"{topic}-g", topic, max_in_flight=20) as worker:
        seen = []
        while len(seen) < 50:
            items = worker.take(1)
            seen += values(items)
            assert worker.ack(*items) == ["DONE"]
        assert seen == [b"%d" % number for number in range(50)]


def test_what_a_worker_gets_wrong_is_answered_and_others_notice_nothing(
    endpoint: Endpoint, client: Client, api: Any, topic: str
) -> None:
    client.create(topic)
    group = f"{topic}-g"
    client.publish(topic, b"job")
    with open_worker(endpoint, api, group, topic) as good:
        [item] = good.take(1)

        def ends(code: grpc.StatusCode, part: str, **kinds: Any) -> None:
            with Worker(endpoint, api, f"{topic}-bad", topic) as bad:
                for name, kind in kinds.items():
                    bad.send(**{name: kind})
                found, details = status_of(bad)
                assert (found, part in details) == (code, True), details

        invalid = grpc.StatusCode.INVALID_ARGUMENT
        ends(grpc.StatusCode.FAILED_PRECONDITION, "twice", open=api.WorkOpen(group=group, topics=[topic]))
        ends(invalid, "delivery_ids", ack=api.WorkAck())
        ends(invalid, "delay_ms", nack=api.WorkNack(delivery_ids=[1], delay_ms=10**12))
        ends(invalid, "reason", reject=api.WorkReject(delivery_ids=[1], reason="x" * 2000))
        ends(invalid, "lease_ms", extend=api.WorkExtend(delivery_ids=[1], lease_ms=1))
        for code, part, fields in (
            (invalid, "group", {"group": "", "topics": [topic]}),
            (invalid, "topics", {"group": group, "topics": []}),
            (grpc.StatusCode.NOT_FOUND, "does not exist", {"group": group, "topics": [topic + "-none"]}),
            (invalid, "max_in_flight", {"group": group, "topics": [topic], "max_in_flight": 10**6}),
            (invalid, "lease_ms", {"group": group, "topics": [topic], "lease_ms": 1}),
            (invalid, "dlq.", {"group": group + "2", "topics": [topic], "dead_letter_topic": "elsewhere"}),
        ):
            topics = fields.pop("topics")
            with Worker(endpoint, api, fields.pop("group"), *topics, **fields) as bad:
                found, details = status_of(bad)
                assert (found, part in details) == (code, True), (details, fields)
        assert good.ack(item, api.WorkItem(delivery_id=999)) == ["DONE", "NOT_HELD"]
        assert good.ack(item) == ["NOT_HELD"]


def test_a_stop_in_order_loses_no_delivery_count(start_broker: Callable[..., Broker], api: Any) -> None:
    own = start_broker()
    endpoint = Endpoint(own, tls=False)
    client = Client(endpoint, api)
    client.create("jobs", partitions=2)
    for number in range(20):
        client.publish("jobs", b"%d" % number, partition=number % 2)
    counts: dict[bytes, int] = {}
    for expected in (1, 2, 3, 4, 5):
        worker = open_worker(endpoint, api, "g", "jobs")
        items = worker.take(20)
        assert {item.delivery_count for item in items} == {expected}
        counts = {item.value: item.delivery_count for item in items}
        # Some are spoken of at the last moment.
        worker.send(extend=api.WorkExtend(delivery_ids=[item.delivery_id for item in items[:5]]))
        assert own.stop() == 0
        worker.close()
        own.start()
        endpoint = Endpoint(own, tls=False)
    assert len(counts) == 20
    client.channel.close()
    client = Client(endpoint, api)
    # No delivery is left.
    def is_buried() -> bool:
        topics = client.admin.ListTopics(api.ListTopicsRequest(), timeout=20).topics
        return any(one.name == "dlq.g" for one in topics) and len(client.records("dlq.g")) == 20

    with open_worker(endpoint, api, "g", "jobs"):
        wait_until(is_buried, "all dead letters", 20)
    assert {headers(record)["__dlq.errors.delivery.count"] for record in client.records("dlq.g")} == {b"5"}
    client.channel.close()


def test_letters_that_are_not_wanted_hide_no_others(endpoint: Endpoint, client: Client, api: Any, topic: str) -> None:
    client.create(topic)
    dead = f"dlq.{topic}"
    client.create(dead)

    def letter(group: str) -> Any:
        named = {"topic": topic.encode(), "partition": b"0", "group": group.encode()}
        return api.PublishRecord(
            value=group.encode(), headers=[api.Header(key=f"__dlq.errors.{name}", value=value) for name, value in named.items()])

    for group in ("others", "others", "mine", "others"):
        client.streams.Publish(api.PublishRequest(topic=dead, records=[letter(group)] * 1_100), timeout=20)
    work = api.WorkStub(client.channel)
    answer = work.Redrive(api.RedriveRequest(dead_letter_topic=dead, group="mine", max_records=600), timeout=20)
    assert (answer.redriven, answer.has_more) == (600, True)
    answer = work.Redrive(api.RedriveRequest(dead_letter_topic=dead, group="mine"), timeout=20)
    assert (answer.redriven, answer.skipped, answer.has_more) == (500, 3_300, False)
    assert [record.value for record in client.records(topic)] == [b"mine"] * 1_100
    [described] = work.DescribeDeadLetters(api.DescribeDeadLettersRequest(dead_letter_topic=dead), timeout=20).partitions
    assert [(one.first_offset, one.last_offset) for one in described.redriven] == [(2_200, 3_299)]
    assert (described.remaining, described.end_offset) == (3_300, 4_400)
    answer = work.Redrive(api.RedriveRequest(dead_letter_topic=dead, max_records=10_000), timeout=20)
    assert (answer.redriven, answer.skipped, answer.has_more) == (3_300, 0, False)


def test_a_redrive_that_names_no_dead_letter_topic_is_told_so(endpoint: Endpoint, api: Any, topic: str) -> None:
    work = api.WorkStub(endpoint.grpc_channel())
    for call, request in ((work.Redrive, api.RedriveRequest), (work.DescribeDeadLetters, api.DescribeDeadLettersRequest)):
        for name in ("", topic):
            with pytest.raises(grpc.RpcError) as refused:
                call(request(dead_letter_topic=name), timeout=20)
            assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT, name
            details = status_pb2.Status.FromString(dict(refused.value.trailing_metadata())["grpc-status-details-bin"]).details
            violations = error_details_pb2.BadRequest()
            assert any(entry.Unpack(violations) for entry in details)
            assert [one.field for one in violations.field_violations] == ["dead_letter_topic"], name
        with pytest.raises(grpc.RpcError) as refused:
            call(request(dead_letter_topic=f"dlq.{topic}"), timeout=20)
        assert refused.value.code() == grpc.StatusCode.NOT_FOUND


@pytest.mark.deadline(120)
def test_kill_9_loses_no_acknowledgement_and_redelivers_what_was_not(
    start_broker: Callable[..., Broker], api: Any
) -> None:
    own = start_broker()
    endpoint = Endpoint(own, False)
    client = Client(endpoint, api)
    client.create("jobs", partitions=2)
    total = 60
    for number in range(total):
        client.publish("jobs", b"%d" % number, partition=number % 2)
    acked: list[bytes] = []
    worker = open_worker(endpoint, api, "g", "jobs")
    items = worker.take(total)
    nacked = items[40:50]
    assert worker.ack(*items[:30]) == ["DONE"] * 30
    acked += values(items[:30])
    assert worker.nack(*nacked) == ["DONE"] * 10
    # On their way when the broker dies: may be settled or not.
    maybe = items[30:40]
    worker.send(ack=api.WorkAck(delivery_ids=[item.delivery_id for item in maybe]))
    own.kill()
    worker.close()
    client.channel.close()
    own.start()
    endpoint = Endpoint(own, False)
    with open_worker(endpoint, api, "g", "jobs") as worker:
        seen: dict[bytes, int] = {}
        must = {item.value for item in items[40:]}
        while not must <= seen.keys():
            for item in worker.take(1):
                assert item.value not in seen, "delivered twice while it is held"
                seen[item.value] = item.delivery_count
        assert not seen.keys() & set(acked), "an acknowledged item came back"
        assert seen.keys() - must <= set(values(maybe))
        assert all(seen[item.value] >= 2 for item in nacked), "the count of a delivery that was spoken of is lost"


def test_the_documentations_worker_works(start_broker: Callable[..., Broker], api: Any, tmp_path: Path) -> None:
    own = start_broker()
    client = Client(Endpoint(own, False), api)
    client.create("mails")
    client.publish("mails", b"hello")
    page = (Path(__file__).resolve().parents[2] / "docs" / "work-queues.md").read_text()
    [snippet] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    script = tmp_path / "worker.py"
    script.write_text(snippet.replace("127.0.0.1:9092", own.address))
    stubs = next(path for path in sys.path if (Path(path) / "martlet" / "v1" / "work_pb2.py").exists())
    with open(tmp_path / "said", "w") as said:
        process = subprocess.Popen(
            [sys.executable, "-u", str(script)], stdout=said, stderr=subprocess.STDOUT, env={"PYTHONPATH": stubs}
        )

    def is_durable() -> bool:
        assert process.poll() is None, (tmp_path / "said").read_text()
        return "durable: [" in (tmp_path / "said").read_text()

    try:
        wait_until(is_durable, "the worker to finish a job", pause=0.1)
        assert (tmp_path / "said").read_text().startswith("sending hello delivery 1\n")
    finally:
        process.kill()
        process.wait()
        client.channel.close()
