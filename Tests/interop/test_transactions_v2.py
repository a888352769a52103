# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: transactions version 2 (KIP-890), features, and the tools of administrators.
"""No client library of this suite speaks version 2 yet, so the producer here is one of bytes; readers, the producers of
version 1 beside it and the administrators are real clients."""

from __future__ import annotations

import struct
from contextlib import closing
from typing import Any, Callable, Iterator

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from kafka import KafkaAdminClient
from kafka.admin import UpdateFeatureType
from kafka.structs import TopicPartition as PythonPartition

import protocol
import wire
from broker import Broker, Endpoint
from rdkafka import take, wait_created
from test_transactions import committed, transactional
from wire import Record, Wire, batch

TRANSACTIONAL = 0x10
NONE, UNKNOWN_PARTITION, INVALID_PRODUCER_EPOCH, INVALID_TXN_STATE, PRODUCER_FENCED = 0, 3, 47, 48, 90
CONCURRENT_TRANSACTIONS, INVALID_UPDATE_VERSION = 51, 95
ADD_PARTITIONS, ADD_OFFSETS, END_TXN, WRITE_MARKERS, TXN_OFFSET_COMMIT, UPDATE_FEATURES = 24, 25, 26, 27, 28, 57
DESCRIBE_PRODUCERS, DESCRIBE_TRANSACTIONS, LIST_TRANSACTIONS = 61, 65, 66


class SecondProducer:
    """A producer of version 2: writing adds the partition, every end brings the next epoch."""

    def __init__(self, endpoint: Endpoint, transactional_id: str, timeout_ms: int = 60_000):
        self.endpoint = endpoint
        self.id = transactional_id
        self.timeout_ms = timeout_ms
        self.wire = Wire(endpoint.address, tls=endpoint.wire_tls())
        self.initialise()

    def reconnect(self) -> None:
        self.wire.close()
        self.wire = Wire(self.endpoint.address, tls=self.endpoint.wire_tls())

    def close(self) -> None:
        self.wire.close()

    def initialise(self) -> None:
        while True:
            answer = protocol.call(
                self.wire, wire.INIT_PRODUCER_ID, 5, transactional_id=self.id,
                transaction_timeout_ms=self.timeout_ms, producer_id=-1, producer_epoch=-1)
            if answer.error_code != CONCURRENT_TRANSACTIONS:
                break
        assert answer.error_code == NONE, answer
        self.become(answer)

    def become(self, answer: Any) -> None:
        self.producer_id, self.epoch = answer.producer_id, answer.producer_epoch
        self.sequences: dict[tuple[str, int], int] = {}

    def records(self, topic: str, partition: int, *values: bytes) -> bytes:
        sequence = self.sequences.get((topic, partition), 0)
        return batch(
            [Record(value=value) for value in values], attributes=TRANSACTIONAL, producer_id=self.producer_id,
            producer_epoch=self.epoch, base_sequence=sequence)

    def try_produce(self, topic: str, *values: bytes, partition: int = 0) -> int:
        frame = wire.produce_request(
            topic, partition, self.records(topic, partition, *values), version=12, transactional_id=self.id)
        error = wire.produce_response(self.wire.call(frame), version=12).error
        if error == NONE:
            self.sequences[topic, partition] = self.sequences.get((topic, partition), 0) + len(values)
        return error

    def produce(self, topic: str, *values: bytes, partition: int = 0) -> None:
        assert self.try_produce(topic, *values, partition=partition) == NONE

    def try_offsets(self, group: str, topic: str, offset: int) -> int:
        answer = protocol.call(
            self.wire, TXN_OFFSET_COMMIT, 5, transactional_id=self.id, group_id=group, producer_id=self.producer_id,
            producer_epoch=self.epoch, generation_id=-1, member_id="", group_instance_id=None,
            topics=[{"name": topic, "partitions": [
                {"partition_index": 0, "committed_offset": offset, "committed_leader_epoch": -1,
                 "committed_metadata": ""}]}])
        return answer.topics[0].partitions[0].error_code

    def end_frame(self, commits: bool) -> bytes:
        return protocol.encode(
            END_TXN, 5, transactional_id=self.id, producer_id=self.producer_id, producer_epoch=self.epoch,
            committed=commits)

    def ask_end(self, frame: bytes) -> Any:
        """After a crash the markers are written once more; until then the client is to ask again."""
        while True:
            answer = protocol.decode(END_TXN, 5, self.wire.call(frame))
            if answer.error_code != CONCURRENT_TRANSACTIONS:
                return answer

    def try_end(self, commits: bool) -> int:
        answer = self.ask_end(self.end_frame(commits))
        if answer.error_code == NONE:
            self.become(answer)
        return answer.error_code

    def commit(self) -> None:
        assert self.try_end(True) == NONE

    def abort(self) -> None:
        assert self.try_end(False) == NONE


@pytest.fixture
def pair(plaintext: Endpoint, topic: str) -> str:
    wait_created(AdminClient(plaintext.librdkafka()), NewTopic(topic, 2, 1))
    return topic


def test_many_transactions_in_a_row(endpoint: Endpoint, pair: str, unique: Callable[[str], str]) -> None:
    with closing(SecondProducer(endpoint, unique("tx"))) as producer:
        first = producer.epoch
        expected = []
        for number in range(60):
            for partition in range(2):
                producer.produce(pair, b"%03d" % number, partition=partition)
                producer.produce(pair, b"%03d+" % number, partition=partition)
            if number % 3 == 1:
                producer.abort()
            else:
                producer.commit()
                expected += [b"%03d" % number, b"%03d+" % number]
        assert producer.epoch == first + 60
    assert committed(endpoint, pair, 2) == expected * 2


def test_a_zombie_is_refused_whatever_it_asks_for(
    plaintext: Endpoint, pair: str, unique: Callable[[str], str], group: str
) -> None:
    name = unique("tx")
    with closing(SecondProducer(plaintext, name)) as zombie:
        zombie.produce(pair, b"lost")
        with closing(SecondProducer(plaintext, name)) as alive:
            alive.produce(pair, b"kept")
            assert zombie.try_produce(pair, b"zombie") == INVALID_PRODUCER_EPOCH
            assert zombie.try_offsets(group, pair, 5) == INVALID_PRODUCER_EPOCH
            assert zombie.try_end(True) == PRODUCER_FENCED
            assert zombie.try_end(False) == PRODUCER_FENCED
            alive.commit()
            assert zombie.try_end(True) == PRODUCER_FENCED
    assert committed(plaintext, pair, 2) == [b"kept"]


def test_a_late_batch_does_not_join_the_next_transaction(
    plaintext: Endpoint, pair: str, unique: Callable[[str], str]
) -> None:
    with closing(SecondProducer(plaintext, unique("tx"))) as producer:
        producer.produce(pair, b"first")
        late = wire.produce_request(
            pair, 0, producer.records(pair, 0, b"late"), version=12, transactional_id=producer.id)
        producer.commit()
        producer.produce(pair, b"second")
        assert wire.produce_response(producer.wire.call(late), version=12).error == INVALID_PRODUCER_EPOCH
        producer.commit()
    assert committed(plaintext, pair, 2) == [b"first", b"second"]


def test_read_transform_write_with_offsets(
    endpoint: Endpoint, pair: str, unique: Callable[[str], str], group: str
) -> None:
    source = unique("source")
    feed = Producer(endpoint.librdkafka())
    for number in range(30):
        feed.produce(source, b"%02d" % number)
    feed.flush(30)
    consumer = Consumer(endpoint.librdkafka(
        group_id=group, auto_offset_reset="earliest", enable_auto_commit=False, isolation_level="read_committed"))
    consumer.subscribe([source])
    with closing(SecondProducer(endpoint, unique("tx"))) as producer:
        for attempt in range(4):
            messages = take(consumer, 10)
            producer.produce(pair, *[b"out " + message.value() for message in messages])
            assert producer.try_offsets(group, source, messages[-1].offset() + 1) == NONE
            if attempt == 1:
                producer.abort()
                where = consumer.committed([TopicPartition(source, 0)], 30)[0]
                assert where.offset == 10
                consumer.seek(TopicPartition(source, 0, where.offset))
            else:
                producer.commit()
    assert consumer.committed([TopicPartition(source, 0)], 30)[0].offset == 30
    consumer.close()
    assert committed(endpoint, pair, 2) == [b"out %02d" % number for number in range(30)]


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_an_end_is_recognised_after_a_restart(
    start_broker: Callable[..., Broker], topic: str, unique: Callable[[str], str], how: str
) -> None:
    own = start_broker(stable=True)
    endpoint = Endpoint(own, tls=False)
    wait_created(AdminClient(endpoint.librdkafka()), NewTopic(topic, 2, 1))

    def restart() -> None:
        own.stop() if how == "stop" else own.kill()
        own.start()
        producer.reconnect()

    with closing(SecondProducer(endpoint, unique("tx"))) as producer:
        for number in range(6):
            producer.produce(topic, b"%d" % number, partition=number % 2)
            if number == 1:
                # Open over the restart.
                restart()
            frame = producer.end_frame(number != 3)
            if number == 2:
                # The answer is lost with the process, or was never written.
                producer.wire.send(frame)
                restart()
            answer = producer.ask_end(frame)
            assert answer.error_code == NONE, answer
            if number in (0, 4):
                restart()
                again = producer.ask_end(frame)
                assert (again.error_code, again.producer_id, again.producer_epoch) == (
                    NONE, answer.producer_id, answer.producer_epoch)
                otherwise = producer.ask_end(producer.end_frame(number == 3))
                assert otherwise.error_code == INVALID_TXN_STATE
            producer.become(answer)
    assert committed(endpoint, topic, 2) == [b"0", b"2", b"4", b"1", b"5"]


def test_both_versions_side_by_side_and_one_after_the_other(
    endpoint: Endpoint, pair: str, unique: Callable[[str], str]
) -> None:
    """librdkafka is of version 1. The same transactional id, in turns; and another one at the same time."""
    name = unique("tx")
    beside = transactional(endpoint, unique("beside"))
    expected = []
    for turn in range(6):
        beside.begin_transaction()
        beside.produce(pair, b"beside %d" % turn, partition=1)
        if turn % 2:
            producer = transactional(endpoint, name)
            for step in range(3):
                producer.begin_transaction()
                producer.produce(pair, b"%d/%d" % (turn, step), partition=0)
                producer.flush(30)
                producer.abort_transaction(30) if step == 1 else producer.commit_transaction(30)
        else:
            with closing(SecondProducer(endpoint, name)) as second:
                for step in range(3):
                    second.produce(pair, b"%d/%d" % (turn, step))
                    second.abort() if step == 1 else second.commit()
        expected += [b"%d/0" % turn, b"%d/2" % turn]
        beside.commit_transaction(30)
    assert committed(endpoint, pair, 2) == expected + [b"beside %d" % turn for turn in range(6)]


# Features.


@pytest.fixture
def admin(plaintext: Endpoint) -> Iterator[KafkaAdminClient]:
    with closing(KafkaAdminClient(**plaintext.kafka_python())) as client:
        yield client


def test_kafka_python_changes_features_and_the_change_stays(start_broker: Callable[..., Broker]) -> None:
    own = start_broker(stable=True)

    def features() -> dict[str, Any]:
        with closing(KafkaAdminClient(**Endpoint(own, tls=False).kafka_python())) as client:
            return client.describe_features()

    def levels() -> dict[str, int]:
        return {name: each["finalized"][1] for name, each in features().items() if "finalized" in each}

    assert levels() == {"group.version": 1, "metadata.version": 25, "share.version": 1, "transaction.version": 2}
    with closing(KafkaAdminClient(**Endpoint(own, tls=False).kafka_python())) as client:
        down = {"transaction.version": (UpdateFeatureType.SAFE_DOWNGRADE, 1)}
        client.update_features(down, validate_only=True)
        assert levels()["transaction.version"] == 2
        with pytest.raises(Exception, match="(?i)update"):
            client.update_features({"transaction.version": 1})
        with pytest.raises(Exception, match="(?i)update"):
            client.update_features({"transaction.version": 7})
        client.update_features(down)
    assert levels()["transaction.version"] == 1
    own.kill()
    own.start()
    assert levels() == {"group.version": 1, "metadata.version": 25, "share.version": 1, "transaction.version": 1}


# Administration.


def test_kafka_python_lists_describes_and_aborts(
    plaintext: Endpoint, admin: KafkaAdminClient, pair: str, unique: Callable[[str], str]
) -> None:
    name = unique("tx")
    with closing(SecondProducer(plaintext, name)) as producer:
        producer.produce(pair, b"open", partition=1)
        listed = [
            each for every in admin.list_transactions(state_filters=["Ongoing"]).values() for each in every
            if each.transactional_id == name]
        assert [each.producer_id for each in listed] == [producer.producer_id]
        described = admin.describe_transactions([name])[name]
        assert described.producer_epoch == producer.epoch
        assert set(described.topic_partitions) == {PythonPartition(pair, 1)}
        place = PythonPartition(pair, 1)
        states = admin.describe_producers([place])[place]
        state = next(each for each in getattr(states, "active_producers", states) if each.producer_id == producer.producer_id)
        assert state.current_transaction_start_offset == 0
        producer.commit()
    assert committed(plaintext, pair, 2) == [b"open"]


# Bad input.


def requests(name: str, topic: str, producer_id: int, epoch: int) -> dict[int, dict[str, Any]]:
    """A sound request of each API, with the fields of all its versions."""
    who = {"transactional_id": name, "producer_id": producer_id, "producer_epoch": epoch}
    return {
        wire.INIT_PRODUCER_ID: {
            "transactional_id": name, "transaction_timeout_ms": 60_000, "producer_id": -1, "producer_epoch": -1},
        ADD_PARTITIONS: {
            "v3_and_below_transactional_id": name, "v3_and_below_producer_id": producer_id,
            "v3_and_below_producer_epoch": epoch, "v3_and_below_topics": [{"name": topic, "partitions": [0, 1]}],
            "transactions": [who | {"verify_only": True, "topics": [{"name": topic, "partitions": [0]}]}]},
        ADD_OFFSETS: who | {"group_id": "g"},
        END_TXN: who | {"committed": False},
        TXN_OFFSET_COMMIT: who | {
            "group_id": "g", "generation_id": -1, "member_id": "", "group_instance_id": None,
            "topics": [{"name": topic, "partitions": [
                {"partition_index": 0, "committed_offset": 1, "committed_leader_epoch": -1,
                 "committed_metadata": "m"}]}]},
        WRITE_MARKERS: {"markers": [{
            "producer_id": producer_id, "producer_epoch": epoch, "transaction_result": False, "coordinator_epoch": 0,
            "topics": [{"name": topic, "partition_indexes": [0]}]}]},
        UPDATE_FEATURES: {
            "timeout_ms": 1000, "validate_only": True, "feature_updates": [
                {"feature": "group.version", "max_version_level": 1, "allow_downgrade": False, "upgrade_type": 1}]},
        DESCRIBE_PRODUCERS: {"topics": [{"name": topic, "partition_indexes": [0]}]},
        DESCRIBE_TRANSACTIONS: {"transactional_ids": [name]},
        LIST_TRANSACTIONS: {"state_filters": ["Ongoing"], "producer_id_filters": [producer_id], "duration_filter": 1},
    }  # fmt: skip


TOP = {22: 5, 24: 5, 25: 4, 26: 5, 27: 1, 28: 5, 57: 2, 61: 0, 65: 0, 66: 1}
EVERY = [(key, version) for key, top in TOP.items() for version in range(1 if key == 27 else 0, top + 1)]


@pytest.mark.parametrize(("key", "version"), EVERY)
def test_a_truncated_request_harms_nobody(
    broker: Broker, plaintext: Endpoint, pair: str, unique: Callable[[str], str], key: int, version: int
) -> None:
    with closing(SecondProducer(plaintext, unique("tx"))) as producer:
        producer.produce(pair, b"kept")
        fields = requests(producer.id, pair, producer.producer_id, producer.epoch)[key]
        frame = protocol.encode(key, version, **fields)
        # From the first byte after the header on.
        for cut in range(23, len(frame), 7):
            shorter = struct.pack(">i", cut - 4) + frame[4:cut]
            with Wire(broker.address) as other:
                other.send(shorter)
                other.socket.shutdown(1)
                other.read_to_end()
        producer.commit()
    assert b"kept" in committed(plaintext, pair, 2)


@pytest.mark.parametrize("version", range(6))
def test_ids_beyond_the_limit_and_absurd_lists(
    plaintext: Endpoint, pair: str, unique: Callable[[str], str], version: int
) -> None:
    with Wire(plaintext.address) as connection:
        answer = protocol.call(
            connection, wire.INIT_PRODUCER_ID, version, transactional_id="x" * 30_000, transaction_timeout_ms=1000,
            producer_id=-1, producer_epoch=-1)
        assert answer.error_code == 42
    with closing(SecondProducer(plaintext, unique("tx"))) as producer:
        producer.produce(pair, b"a")
        partitions = list(range(-50, 5000))
        if version <= 3:
            answer = protocol.call(
                producer.wire, ADD_PARTITIONS, version, v3_and_below_transactional_id=producer.id,
                v3_and_below_producer_id=producer.producer_id, v3_and_below_producer_epoch=producer.epoch,
                v3_and_below_topics=[{"name": pair, "partitions": partitions}])
            results = answer.results_by_topic_v3_and_below[0].results_by_partition
            codes = {each.partition_index: each.partition_error_code for each in results}
            assert codes.pop(0) == codes.pop(1) == 55
            assert set(codes.values()) == {UNKNOWN_PARTITION}
        described = protocol.call(producer.wire, DESCRIBE_TRANSACTIONS, 0, transactional_ids=[producer.id])
        assert described.transaction_states[0].topics[0].partitions == [0]
        producer.abort()
