# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: consumer groups of KIP-848 with confluent-kafka (`group.protocol=consumer`).
"""Members share, rebalance, die and come back; the broker is killed in the middle; both protocols in one group.

Sessions and heartbeats are short here (`SHORT`), so that a dead member is found out within seconds.
"""

from __future__ import annotations

import multiprocessing
import threading
from collections import Counter
from typing import Any, Callable

import pytest
from confluent_kafka import (
    Consumer,
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    ConsumerGroupType,
    KafkaError,
    KafkaException,
)
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from broker import Broker, Endpoint, wait_until
from rdkafka import produce_all, wait_created

SHORT = ["--group-consumer-session-timeout-ms", "3000", "--group-consumer-heartbeat-interval-ms", "200"]
PARTITIONS = 6


class Member:
    """A consumer in a thread of its own: polls, remembers what it read and what it owns, commits as it goes."""

    def __init__(self, endpoint: Endpoint, group: str, topics: list[str], protocol: str = "consumer", **settings: Any):
        if protocol == "classic":
            settings = {"session_timeout_ms": 3000, "heartbeat_interval_ms": 200, **settings}
            settings = {"partition_assignment_strategy": "cooperative-sticky", **settings}
        self.protocol = protocol
        self.values: list[bytes] = []
        self.errors: list[KafkaError] = []
        configuration = endpoint.librdkafka(
            group_id=group, group_protocol=protocol, auto_offset_reset="earliest", enable_auto_commit=False,
            topic_metadata_refresh_interval_ms=500, **settings)  # fmt: skip
        self.consumer = Consumer({**configuration, "error_cb": self.note})
        self.owned: set[tuple[str, int]] = set()
        self.stopping = threading.Event()
        self.consumer.subscribe(topics)
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def note(self, error: KafkaError) -> None:
        if error.fatal() or error.code() == KafkaError._FATAL:
            self.errors.append(error)

    def read(self) -> None:
        while not self.stopping.is_set():
            try:
                messages = self.consumer.consume(200, 0.05)
            except KafkaException as raised:
                self.errors.append(raised.args[0])
                break
            for message in messages:
                error = message.error()
                if error is None:
                    self.values.append(message.value())
                else:
                    self.note(error)
            if any(message.error() is None for message in messages):
                try:
                    self.consumer.commit(asynchronous=False)
                except KafkaException:
                    pass  # A rebalance came between; another member reads it again.
            try:
                self.owned = {(each.topic, each.partition) for each in self.consumer.assignment()}
            except (KafkaException, RuntimeError):
                pass
        self.consumer.close()

    def stop(self) -> None:
        self.stopping.set()
        self.thread.join(20)
        assert not self.thread.is_alive(), "a consumer does not close"


@pytest.fixture
def members() -> Any:
    """Makes members that end with the test."""
    made: list[Member] = []

    def make(*arguments: Any, **settings: Any) -> Member:
        made.append(Member(*arguments, **settings))
        return made[-1]

    yield make
    for each in made:
        each.stopping.set()
    for each in made:
        each.thread.join(20)


@pytest.fixture
def short_broker(start_broker: Callable[..., Broker]) -> Broker:
    return start_broker(stable=True, arguments=SHORT)


def places(topic: str, count: int = PARTITIONS) -> set[tuple[str, int]]:
    return {(topic, partition) for partition in range(count)}


def shared(members: list[Member], everything: set[tuple[str, int]], least: int = 1) -> bool:
    """Whether the members have everything, nothing twice, and each `least` at least."""
    owned = [each.owned for each in members]
    return (
        sum(len(each) for each in owned) == len(everything)
        and set().union(*owned) == everything
        and min(len(each) for each in owned) >= least
    )


def create(endpoint: Endpoint, *topics: str, partitions: int = PARTITIONS) -> AdminClient:
    admin = AdminClient(endpoint.librdkafka())
    wait_created(admin, *[NewTopic(topic, partitions) for topic in topics])
    return admin


def spread(endpoint: Endpoint, topic: str, count: int, start: int = 0) -> list[bytes]:
    """Values in every partition."""
    values = [b"%s %d" % (topic.encode(), number) for number in range(start, start + count)]
    assert not produce_all(endpoint, topic, values, partitioner="random", linger_ms=0).errors
    return values


def restart(broker: Broker) -> AdminClient:
    """Kills the broker and starts it again. The client is a new one: one that was refused while it asked for a
    coordinator can wait for a connection that it does not make (librdkafka 2.16, state TRY_CONNECT)."""
    broker.kill()
    broker.start()
    return AdminClient(Endpoint(broker, tls=False).librdkafka())


def describe(admin: AdminClient, group: str) -> Any:
    return admin.describe_consumer_groups([group], request_timeout=10)[group].result(10)


def test_two_members_share_and_one_takes_over_when_the_other_leaves(
    short_broker: Broker, topic: str, group: str, members: Callable[..., Member]
) -> None:
    endpoint = Endpoint(short_broker, tls=False)
    admin = create(endpoint, topic)
    first = members(endpoint, group, [topic])
    wait_until(lambda: shared([first], places(topic)), "one member has everything")
    second = members(endpoint, group, [topic])
    wait_until(lambda: shared([first, second], places(topic), PARTITIONS // 2), "two members share")
    values = spread(endpoint, topic, 300)
    wait_until(lambda: len(first.values) + len(second.values) >= 300, "all is read")
    assert sorted(first.values + second.values) == sorted(values), "read once"
    found = describe(admin, group)
    assert found.state == ConsumerGroupState.STABLE
    assert len(found.members) == 2
    listed = admin.list_consumer_groups(request_timeout=10, types={ConsumerGroupType.CONSUMER}).result(10)
    assert [each.group_id for each in listed.valid] == [group]
    second.stop()
    wait_until(lambda: shared([first], places(topic)), "the other one has everything again")
    values += spread(endpoint, topic, 60, start=300)
    wait_until(lambda: len(first.values) + len(second.values) >= 360, "all is read")
    assert sorted(first.values + second.values) == sorted(values)
    assert not first.errors + second.errors


def test_a_member_that_dies_loses_its_partitions_to_the_others(
    short_broker: Broker, topic: str, group: str, members: Callable[..., Member]
) -> None:
    endpoint = Endpoint(short_broker, tls=False)
    create(endpoint, topic)
    first = members(endpoint, group, [topic])
    wait_until(lambda: shared([first], places(topic)), "one member has everything")
    victim = Victim(endpoint, group, topic)
    wait_until(lambda: len(first.owned) == PARTITIONS // 2, "two members share")
    victim.kill()
    wait_until(lambda: shared([first], places(topic)), "the survivor has everything")
    assert not first.errors


class Victim:
    """A member in a process of its own, to be killed."""

    def __init__(self, endpoint: Endpoint, group: str, topic: str):
        settings = endpoint.librdkafka(group_id=group, group_protocol="consumer", auto_offset_reset="earliest")
        self.process = multiprocessing.get_context("spawn").Process(
            target=consume_for_ever, args=(settings, topic), daemon=True)  # fmt: skip
        self.process.start()

    def kill(self) -> None:
        self.process.kill()
        self.process.join(10)


def consume_for_ever(settings: dict[str, Any], topic: str) -> None:
    consumer = Consumer(settings)
    consumer.subscribe([topic])
    while True:
        consumer.poll(0.1)


@pytest.mark.deadline(120)
def test_a_group_goes_on_when_the_broker_is_killed(
    short_broker: Broker, topic: str, group: str, members: Callable[..., Member]
) -> None:
    endpoint = Endpoint(short_broker, tls=False)
    admin = create(endpoint, topic)
    both = [members(endpoint, group, [topic]) for _ in range(2)]
    wait_until(lambda: shared(both, places(topic), PARTITIONS // 2), "two members share")
    values = spread(endpoint, topic, 200)
    wait_until(lambda: sum(len(each.values) for each in both) >= 200, "all is read")
    before = {each.member_id: set(each.assignment.topic_partitions) for each in describe(admin, group).members}
    owned = [set(each.owned) for each in both]
    admin = restart(short_broker)
    after = describe(admin, group)
    assert {each.member_id for each in after.members} == before.keys(), "the group is what it was"
    values += spread(endpoint, topic, 200, start=200)
    wait_until(lambda: set().union(*[each.values for each in both]) == set(values), "all is read", seconds=40)
    assert [set(each.owned) for each in both] == owned, "nobody had to give up anything"
    assert not [error for each in both for error in each.errors]


@pytest.mark.deadline(120)
def test_members_of_both_protocols_share_one_group(
    short_broker: Broker, topic: str, group: str, members: Callable[..., Member]
) -> None:
    endpoint = Endpoint(short_broker, tls=False)
    admin = create(endpoint, topic)
    old = [members(endpoint, group, [topic], protocol="classic") for _ in range(2)]
    wait_until(lambda: shared(old, places(topic), PARTITIONS // 2), "two classic members share")
    types = lambda: {
        each.group_id: each.type for each in admin.list_consumer_groups(request_timeout=10).result(10).valid
    }
    assert types() == {group: ConsumerGroupType.CLASSIC}
    new = members(endpoint, group, [topic])
    wait_until(lambda: shared(old + [new], places(topic), PARTITIONS // 3), "three members share", seconds=40)
    assert types() == {group: ConsumerGroupType.CONSUMER}
    values = spread(endpoint, topic, 300)
    wait_until(lambda: sum(len(each.values) for each in old + [new]) >= 300, "all is read")
    assert set().union(*[each.values for each in old + [new]]) == set(values)
    old.pop().stop()
    wait_until(lambda: shared(old + [new], places(topic), PARTITIONS // 2), "two members share", seconds=40)
    new.stop()
    wait_until(lambda: shared(old, places(topic)), "the classic one has everything", seconds=40)
    assert types() == {group: ConsumerGroupType.CLASSIC}
    assert not [error for each in old + [new] for error in each.errors]


def test_a_pattern_takes_in_topics_that_come_and_forgets_those_that_go(
    short_broker: Broker, unique: Callable[[str], str], group: str, members: Callable[..., Member]
) -> None:
    endpoint = Endpoint(short_broker, tls=False)
    prefix = unique("pattern")
    admin = create(endpoint, f"{prefix}.a", f"other-{prefix}", partitions=2)
    member = members(endpoint, group, [f"^{prefix}.*"])
    wait_until(lambda: member.owned == places(f"{prefix}.a", 2), "what matches is assigned")
    wait_created(admin, NewTopic(f"{prefix}.b", 3))
    everything = places(f"{prefix}.a", 2) | places(f"{prefix}.b", 3)
    wait_until(lambda: member.owned == everything, "a new topic is assigned")
    values = spread(endpoint, f"{prefix}.b", 30)
    wait_until(lambda: sorted(member.values) == sorted(values), "it is read")
    for future in admin.delete_topics([f"{prefix}.a"]).values():
        future.result(10)
    wait_until(lambda: member.owned == places(f"{prefix}.b", 3), "a topic that is gone is not")


def test_partitions_that_are_added_are_assigned(
    short_broker: Broker, topic: str, group: str, members: Callable[..., Member]
) -> None:
    endpoint = Endpoint(short_broker, tls=False)
    admin = create(endpoint, topic, partitions=2)
    both = [members(endpoint, group, [topic]) for _ in range(2)]
    wait_until(lambda: shared(both, places(topic, 2)), "two members share")
    for future in admin.create_partitions([NewPartitions(topic, 8)]).values():
        future.result(10)
    wait_until(lambda: shared(both, places(topic, 8), 4), "they share what was added, too")


def test_a_static_member_comes_back_to_what_it_had(
    short_broker: Broker, topic: str, group: str, members: Callable[..., Member]
) -> None:
    endpoint = Endpoint(short_broker, tls=False)
    admin = create(endpoint, topic)
    stays = members(endpoint, group, [topic], group_instance_id="stays")
    goes = members(endpoint, group, [topic], group_instance_id="goes")
    wait_until(lambda: shared([stays, goes], places(topic), PARTITIONS // 2), "two members share")
    had = set(goes.owned)
    kept = set(stays.owned)
    goes.stop()
    again = members(endpoint, group, [topic], group_instance_id="goes")
    wait_until(lambda: again.owned == had, "it has what it had")
    assert stays.owned == kept
    assert {each.group_instance_id for each in describe(admin, group).members} == {"stays", "goes"}


def test_a_second_process_with_the_same_instance_id_is_refused(
    short_broker: Broker, topic: str, group: str, members: Callable[..., Member]
) -> None:
    endpoint = Endpoint(short_broker, tls=False)
    create(endpoint, topic)
    first = members(endpoint, group, [topic], group_instance_id="one")
    wait_until(lambda: shared([first], places(topic)), "the first has everything")
    second = members(endpoint, group, [topic], group_instance_id="one")
    wait_until(lambda: second.errors, "the second is told")
    assert "instance ID is still used" in str(second.errors[0])
    assert first.owned == places(topic)


def test_an_assignor_can_be_chosen(
    short_broker: Broker, unique: Callable[[str], str], group: str, members: Callable[..., Member]
) -> None:
    endpoint = Endpoint(short_broker, tls=False)
    topics = [unique("left"), unique("right")]
    create(endpoint, *topics, partitions=3)
    both = [members(endpoint, group, topics, group_remote_assignor="range") for _ in range(2)]
    everything = places(topics[0], 3) | places(topics[1], 3)
    wait_until(lambda: shared(both, everything, 2), "two members share")
    # Of each topic the first two partitions go to one member, the third to the other.
    sizes = Counter(len(each.owned) for each in both)
    assert sizes == {4: 1, 2: 1}


def test_commits_are_there_after_a_restart_and_admins_see_and_delete_the_group(
    short_broker: Broker, topic: str, group: str, members: Callable[..., Member]
) -> None:
    endpoint = Endpoint(short_broker, tls=False)
    admin = create(endpoint, topic, partitions=1)
    values = spread(endpoint, topic, 50)
    member = members(endpoint, group, [topic])
    wait_until(lambda: len(member.values) == 50, "all is read")
    with pytest.raises(KafkaException) as refused:
        admin.delete_consumer_groups([group], request_timeout=10)[group].result(10)
    assert refused.value.args[0].code() == KafkaError.NON_EMPTY_GROUP
    member.stop()
    admin = restart(short_broker)
    offsets = lambda: admin.list_consumer_group_offsets(
        [ConsumerGroupTopicPartitions(group)], request_timeout=10)[group].result(10).topic_partitions  # fmt: skip
    assert [each.offset for each in offsets()] == [50]
    assert describe(admin, group).state == ConsumerGroupState.EMPTY
    admin.delete_consumer_groups([group], request_timeout=10)[group].result(10)
    assert admin.list_consumer_groups(request_timeout=10).result(10).valid == []
    again = members(endpoint, group, [topic])
    wait_until(lambda: again.values == values, "it begins anew")
