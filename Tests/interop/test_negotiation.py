# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: what is advertised is served, at every version.
"""Version negotiation, byte by byte: the ranges, the known traps, and each API at each version it is offered in."""

from __future__ import annotations

import struct
import uuid
from typing import Any, Callable, Iterator

import pytest

import protocol
import wire
from broker import Broker, Endpoint, wait_until
from wire import Record, Wire, batch

# What clients of an Apache Kafka 4.0 node rely on; more may be advertised, less may not.
REQUIRED = {
    0: (0, 12),
    1: (4, 17),
    2: (1, 10),
    3: (0, 13),
    8: (2, 9),
    9: (1, 9),
    10: (0, 6),
    11: (0, 9),
    12: (0, 4),
    13: (0, 5),
    14: (0, 5),
    18: (0, 4),
    19: (2, 7),
    20: (1, 6),
    22: (0, 5),
    24: (0, 5),
    25: (0, 4),
    26: (0, 5),
    27: (1, 1),
    28: (0, 5),
    32: (1, 4),
    44: (0, 1),
    57: (0, 2),
    60: (0, 2),
    61: (0, 0),
    65: (0, 0),
    66: (0, 1),
}
# Between brokers, or for the controller, and delegation tokens: nothing a client should see.
NEVER = {4, 5, 6, 7, 38, 39, 40, 41, 52, 53, 54, 56, 58, 59, 62, 63, 64, 67, 70, 73, 80, 81, 82}
# Fixed-version clients (a gateway that never negotiates): each version must lie in our ranges.
FIXED = {0: 3, 1: 5, 2: 2, 3: 5, 10: 1, 8: 7, 9: 5, 22: 1, 19: 7, 20: 6}


@pytest.fixture
def connection(broker: Broker) -> Iterator[Wire]:
    with Wire(broker.address) as opened:
        yield opened


def advertised(connection: Wire, version: int = 3) -> dict[int, tuple[int, int]]:
    answer = protocol.call(
        connection, wire.API_VERSIONS, version, client_software_name="interop", client_software_version="1.0"
    )
    assert answer.error_code == wire.NONE
    return {entry.api_key: (entry.min_version, entry.max_version) for entry in answer.api_keys}


@pytest.fixture(scope="module")
def ranges(broker: Broker) -> dict[int, tuple[int, int]]:
    with Wire(broker.address) as opened:
        return advertised(opened)


def test_the_ranges_cover_what_clients_of_kafka_4_rely_on(ranges: dict[int, tuple[int, int]]) -> None:
    missing = {
        key: (wanted, ranges.get(key))
        for key, wanted in REQUIRED.items()
        if key not in ranges or ranges[key][0] > wanted[0] or ranges[key][1] < wanted[1]
    }
    assert not missing, f"wanted and advertised: {missing}"


def test_nothing_between_brokers_is_advertised(ranges: dict[int, tuple[int, int]]) -> None:
    assert not NEVER & set(ranges)


@pytest.mark.parametrize("version", [0, 1, 2, 3, 4])
def test_every_version_of_ApiVersions_tells_the_same(
    connection: Wire, version: int, ranges: dict[int, tuple[int, int]]
) -> None:
    assert advertised(connection, version) == ranges


def test_Produce_shows_minimum_0_for_librdkafkas_compressed_producers(ranges: dict[int, tuple[int, int]]) -> None:
    """KAFKA-18659: librdkafka takes a minimum above 0 to mean that compression is not understood."""
    assert ranges[0][0] == 0


@pytest.mark.parametrize("version", [0, 1, 2])
def test_a_Produce_version_that_is_only_advertised_is_refused_at_once(broker: Broker, topic: str, version: int) -> None:
    body = wire.i16(1) + wire.i32(1000) + wire.array([wire.string(topic) + wire.array([wire.i32(0) + wire.i32(0)])])
    with Wire(broker.address) as opened:
        opened.send(wire.request(wire.PRODUCE, version, 1, body, flexible=False))
        try:
            answer = opened.read_frame()
        except ConnectionError:
            return  # Kafka closes the connection: the answer of this version has no place for the reason.
        assert struct.pack(">h", wire.UNSUPPORTED_VERSION) in answer or version == 2


def test_the_feature_sets_of_librdkafka_are_complete(ranges: dict[int, tuple[int, int]]) -> None:
    """A partial set makes librdkafka switch the feature off without a word (rdkafka_feature.c)."""

    def overlaps(key: int, low: int, high: int) -> bool:
        return key in ranges and ranges[key][0] <= high and ranges[key][1] >= low

    assert overlaps(10, 0, 0), "LZ4"
    assert overlaps(0, 7, 7) and overlaps(1, 10, 10), "ZSTD"
    assert overlaps(22, 0, 0), "idempotence"
    assert overlaps(0, 3, 3) and overlaps(1, 4, 4), "MSGVER2"
    assert overlaps(8, 1, 2) and overlaps(9, 1, 1), "balanced consumer"
    assert all(overlaps(key, 0, 0) for key in (10, 11, 12, 13, 14)), "balanced consumer"


def test_fixed_version_clients_lie_inside_the_ranges(ranges: dict[int, tuple[int, int]]) -> None:
    assert all(ranges[key][0] <= version <= ranges[key][1] for key, version in FIXED.items())


@pytest.mark.parametrize("version", [3, 4])
def test_the_features_are_those_of_a_kafka_4_node(connection: Wire, version: int) -> None:
    answer = protocol.call(
        connection, wire.API_VERSIONS, version, client_software_name="interop", client_software_version="1.0"
    )
    finalized = {each.name: (each.min_version_level, each.max_version_level) for each in answer.finalized_features}
    assert finalized == {
        "group.version": (1, 1), "metadata.version": (25, 25), "share.version": (1, 1), "transaction.version": (2, 2)}
    assert answer.finalized_features_epoch >= 0
    supported = {each.name: (each.min_version, each.max_version) for each in answer.supported_features}
    every = {"group.version": (0, 1), "kraft.version": (0, 1), "metadata.version": (7, 25), "share.version": (0, 1),
             "transaction.version": (0, 2)}
    # Older clients cannot read a minimum of 0 (KAFKA-17492).
    assert supported == {name: levels for name, levels in every.items() if version >= 4 or levels[0] > 0}


def test_a_client_whose_software_has_no_name_is_told_so(broker: Broker) -> None:
    for name, number in [("", "1.0"), ("interop", ""), ("-interop", "1"), ("inter op", "1"), ("interop", "1.0.")]:
        with Wire(broker.address) as opened:
            answer = protocol.call(
                opened, wire.API_VERSIONS, 3, client_software_name=name, client_software_version=number)
            assert (answer.error_code, answer.api_keys) == (42, []), (name, number)


@pytest.mark.parametrize("version", [5, 99, 32767, -1])
def test_an_unknown_version_of_ApiVersions_is_answered_in_version_0(broker: Broker, version: int) -> None:
    body = wire.compact_string("x") + wire.compact_string("1") + wire.TAGS
    with Wire(broker.address) as opened:
        answer = opened.call(wire.request(wire.API_VERSIONS, version, 77, body, flexible=True))
        reader = wire.Reader(answer)
        assert reader.i32() == 77
        assert reader.i16() == wire.UNSUPPORTED_VERSION
        entries = {reader.i16(): (reader.i16(), reader.i16()) for _ in range(reader.i32())}
        assert reader.finished(), "a version 0 body ends after its array"
        assert entries[wire.API_VERSIONS][1] >= 4
        # The connection is good for the version that was found out.
        assert advertised(opened)


@pytest.mark.parametrize("version", [3, 4])
def test_the_answer_to_ApiVersions_has_the_old_header_at_every_version(connection: Wire, version: int) -> None:
    answer = connection.call(wire.api_versions_request(version, correlation=9))
    reader = wire.Reader(answer)
    assert reader.i32() == 9
    # No tagged fields here: with them the error code would be one byte further on.
    assert reader.i16() == wire.NONE
    assert reader.unsigned_varint() - 1 > 15


@pytest.mark.parametrize("key", sorted(REQUIRED.keys() - {wire.API_VERSIONS}))
def test_a_version_beyond_the_advertised_ends_the_connection_and_nothing_else(
    broker: Broker, ranges: dict[int, tuple[int, int]], key: int
) -> None:
    with Wire(broker.address) as other, Wire(broker.address) as opened:
        opened.send(wire.request(key, ranges[key][1] + 1, 3, b"\0" * 40, flexible=True))
        rest = opened.read_to_end()
        if rest:
            reader = wire.Reader(rest)
            assert reader.i32() == len(rest) - 4 and reader.i32() == 3
        assert advertised(other)


@pytest.mark.parametrize("key", [4, 7, 52, 999, 32767, -1])
def test_an_unknown_api_ends_the_connection_with_its_number_in_the_log(broker: Broker, key: int) -> None:
    position = broker.log_size()
    with Wire(broker.address) as opened:
        opened.send(wire.request(key, 0, 3, b"", flexible=False))
        assert opened.read_to_end() == b""
    broker.wait_log(rf"(?<![\w-]){key}\b", since=position)


def test_answers_come_in_the_order_of_the_requests(
    connection: Wire, topic: str, unique: Callable[[str], str]
) -> None:
    World(connection, topic, unique)
    connection.produce(topic, batch([Record(b"x")]))
    # A long poll first: what comes after it may be answered only after it.
    frames = [wire.fetch_request(topic, 0, 1, correlation=100, max_wait_ms=300)]
    frames += [wire.api_versions_request(0, correlation=101 + number) for number in range(50)]
    connection.send(b"".join(frames))
    seen = [wire.Reader(connection.read_frame()).i32() for _ in frames]
    assert seen == list(range(100, 151))


def test_a_request_may_arrive_one_byte_at_a_time(connection: Wire) -> None:
    frame = wire.api_versions_request(3, correlation=5)
    for byte in frame[:-1]:
        connection.send(bytes([byte]))
    connection.send(frame[-1:])
    assert wire.Reader(connection.read_frame()).i32() == 5


def test_a_null_and_an_empty_client_id_are_fine(connection: Wire) -> None:
    for client_id in (None, "", "ü" * 300):
        frame = wire.request(wire.API_VERSIONS, 0, 6, b"", flexible=False, client_id=client_id)
        assert wire.Reader(connection.call(frame)).i32() == 6


# Each API at each version.


class World:
    """A topic with one record, and what the requests need to know of it."""

    def __init__(self, connection: Wire, topic: str, unique: Callable[[str], str]):
        self.connection = connection
        self.topic = topic
        self.unique = unique

        def made() -> Any:
            # Kafka may answer LEADER_NOT_AVAILABLE while it creates; clients ask again.
            answer = protocol.call(
                connection, 3, 12, topics=[{"name": topic, "topic_id": NO_ID}], allow_auto_topic_creation=True
            )
            return answer.topics[0] if answer.topics[0].error_code == wire.NONE else None

        self.topic_id = wait_until(made, f"{topic} to be created").topic_id

    def call(self, key: int, version: int, /, **fields: Any) -> Any:
        return protocol.call(self.connection, key, version, **fields)


NO_ID = uuid.UUID(int=0)


def check_produce(world: World, version: int) -> None:
    for offset in range(2):
        answer = world.call(
            0, version, transactional_id=None, acks=-1, timeout_ms=10_000,
            topic_data=[{
                "name": world.topic, "topic_id": world.topic_id,
                "partition_data": [{"index": 0, "records": batch([Record(b"v")])}],
            }],
        )
        partition = answer.responses[0].partition_responses[0]
        assert (partition.index, partition.error_code, partition.base_offset) == (0, wire.NONE, offset)
        assert partition.log_append_time_ms == -1


def check_fetch(world: World, version: int) -> None:
    world.connection.produce(world.topic, batch([Record(b"a", b"k"), Record(b"b")], timestamp=1234))

    def fetch(offset: int) -> Any:
        answer = world.call(
            1, version, replica_id=-1, max_wait_ms=10, min_bytes=1, max_bytes=1 << 20, isolation_level=0,
            session_id=0, session_epoch=-1, forgotten_topics_data=[], rack_id="",
            topics=[{
                "topic": world.topic, "topic_id": world.topic_id,
                "partitions": [{
                    "partition": 0, "current_leader_epoch": -1, "fetch_offset": offset, "last_fetched_epoch": -1,
                    "log_start_offset": -1, "partition_max_bytes": 1 << 20,
                }],
            }],
        )
        if version >= 7:
            assert answer.error_code == wire.NONE
        return answer.responses[0].partitions[0]

    partition = fetch(0)
    assert (partition.error_code, partition.high_watermark) == (wire.NONE, 2)
    header = wire.batch_header(bytes(partition.records))
    assert (header.base_offset, header.count, header.base_timestamp) == (0, 2, 1234)
    # The middle of a batch is answered with that batch; skipping it would make a client wait for ever.
    assert wire.batch_header(bytes(fetch(1).records)).base_offset == 0
    assert not fetch(2).records
    assert fetch(3).error_code == wire.OFFSET_OUT_OF_RANGE


def check_list_offsets(world: World, version: int) -> None:
    world.connection.produce(world.topic, batch([Record(b"a"), Record(b"b", timestamp_delta=10)], timestamp=5000))

    def ask(timestamp: int) -> tuple[int, int, int]:
        answer = world.call(
            2, version, replica_id=-1, isolation_level=0, timeout_ms=1000,
            topics=[{
                "name": world.topic,
                "partitions": [{"partition_index": 0, "current_leader_epoch": -1, "timestamp": timestamp}],
            }],
        )
        partition = answer.topics[0].partitions[0]
        return partition.error_code, partition.offset, partition.timestamp

    assert ask(-2)[:2] == (wire.NONE, 0)
    assert ask(-1)[:2] == (wire.NONE, 2)
    assert ask(5001) == (wire.NONE, 1, 5010)
    assert ask(6000) == (wire.NONE, -1, -1)
    if version >= 7:
        assert ask(-3) == (wire.NONE, 1, 5010)
    if version >= 8:
        assert ask(-4)[0] == wire.NONE


def check_metadata(world: World, version: int) -> None:
    answer = world.call(
        3, version, topics=[{"name": world.topic, "topic_id": NO_ID}], allow_auto_topic_creation=False,
        include_cluster_authorized_operations=True, include_topic_authorized_operations=True,
    )
    assert [(broker.host, broker.port) for broker in answer.brokers] == [_host_and_port(world.connection)]
    topic = answer.topics[0]
    assert (topic.error_code, topic.name) == (wire.NONE, world.topic)
    partition = topic.partitions[0]
    node = answer.brokers[0].node_id
    assert (partition.error_code, partition.partition_index, partition.leader_id) == (wire.NONE, 0, node)
    assert list(partition.replica_nodes) == [node] and list(partition.isr_nodes) == [node]
    if version >= 1:
        assert answer.controller_id == node
    if version >= 2:
        assert answer.cluster_id
    if version >= 10:
        assert topic.topic_id == world.topic_id
    if version >= 12:
        by_id = world.call(3, version, topics=[{"name": None, "topic_id": world.topic_id}],
                           allow_auto_topic_creation=False)
        assert by_id.topics[0].name == world.topic
        unknown = world.call(3, version, topics=[{"name": None, "topic_id": uuid.uuid4()}],
                             allow_auto_topic_creation=False)
        assert unknown.topics[0].error_code == 100  # UNKNOWN_TOPIC_ID
    everything = world.call(3, version, topics=[] if version == 0 else None, allow_auto_topic_creation=False)
    assert world.topic in [entry.name for entry in everything.topics]
    if version >= 1:
        assert world.call(3, version, topics=[], allow_auto_topic_creation=False).topics == []


def _host_and_port(connection: Wire) -> tuple[str, int]:
    return connection.socket.getpeername()[:2]


def check_offset_commit(world: World, version: int) -> None:
    answer = world.call(
        8, version, group_id=world.unique("group"), generation_id_or_member_epoch=-1, member_id="",
        group_instance_id=None, retention_time_ms=-1,
        topics=[{
            "name": world.topic, "topic_id": world.topic_id,
            "partitions": [{
                "partition_index": 0, "committed_offset": 7, "committed_leader_epoch": -1, "committed_metadata": "m",
            }],
        }],
    )
    partition = answer.topics[0].partitions[0]
    assert (partition.partition_index, partition.error_code) == (0, wire.NONE)


def check_offset_fetch(world: World, version: int) -> None:
    group = world.unique("group")
    world.call(
        8, 7, group_id=group, generation_id_or_member_epoch=-1, member_id="", group_instance_id=None,
        topics=[{
            "name": world.topic,
            "partitions": [{
                "partition_index": 0, "committed_offset": 7, "committed_leader_epoch": -1, "committed_metadata": "m",
            }],
        }],
    )

    def ask(topics: Any) -> Any:
        answer = world.call(
            9, version, group_id=group, topics=topics, require_stable=False,
            groups=[{"group_id": group, "member_id": None, "member_epoch": -1, "topics": topics}],
        )
        return answer.groups[0].topics if version >= 8 else answer.topics

    wanted = [{"name": world.topic, "partition_indexes": [0]}]
    if version >= 8:
        wanted[0]["topic_id"] = world.topic_id
    partition = ask(wanted)[0].partitions[0]
    assert (partition.error_code, partition.committed_offset, partition.metadata) == (wire.NONE, 7, "m")
    missing = ask([{**wanted[0], "partition_indexes": [5]}])
    assert missing[0].partitions[0].committed_offset == -1
    if version >= 2:
        assert [partition.committed_offset for partition in ask(None)[0].partitions] == [7]


def check_find_coordinator(world: World, version: int) -> None:
    group = world.unique("group")
    answer = world.call(10, version, key=group, key_type=0, coordinator_keys=[group])
    found = answer.coordinators[0] if version >= 4 else answer
    assert found.error_code == wire.NONE
    assert (found.host, found.port) == _host_and_port(world.connection)
    if version >= 4:
        assert found.key == group


def join(world: World, version: int, group: str, member: str = "") -> Any:
    fields = dict(
        group_id=group, session_timeout_ms=10_000, rebalance_timeout_ms=10_000, group_instance_id=None,
        protocol_type="consumer", protocols=[{"name": "range", "metadata": b"meta"}], reason="interop",
    )
    answer = world.call(11, version, member_id=member, **fields)
    if answer.error_code == 79:  # MEMBER_ID_REQUIRED, from version 4 on (KIP-394)
        assert version >= 4 and member == "" and answer.member_id
        answer = world.call(11, version, member_id=answer.member_id, **fields)
    return answer


def check_join_group(world: World, version: int) -> None:
    answer = join(world, version, world.unique("group"))
    assert answer.error_code == wire.NONE
    assert answer.member_id and answer.leader == answer.member_id
    assert answer.protocol_name == "range"
    assert [(member.member_id, bytes(member.metadata)) for member in answer.members] == [(answer.member_id, b"meta")]


def joined(world: World) -> tuple[str, str, int]:
    group = world.unique("group")
    answer = join(world, 3, group)
    return group, answer.member_id, answer.generation_id


def check_sync_group(world: World, version: int) -> None:
    group, member, generation = joined(world)
    fields = dict(
        group_id=group, member_id=member, group_instance_id=None, protocol_type="consumer", protocol_name="range",
        assignments=[{"member_id": member, "assignment": b"assigned to you"}],
    )
    answer = world.call(14, version, generation_id=generation, **fields)
    assert (answer.error_code, bytes(answer.assignment)) == (wire.NONE, b"assigned to you")
    assert world.call(14, version, generation_id=generation + 1, **fields).error_code == 22  # ILLEGAL_GENERATION


def check_heartbeat(world: World, version: int) -> None:
    group, member, generation = joined(world)
    world.call(14, 3, group_id=group, generation_id=generation, member_id=member, group_instance_id=None,
               assignments=[{"member_id": member, "assignment": b""}])
    beat = dict(group_id=group, generation_id=generation, group_instance_id=None)
    assert world.call(12, version, member_id=member, **beat).error_code == wire.NONE
    assert world.call(12, version, member_id="nobody", **beat).error_code == 25  # UNKNOWN_MEMBER_ID


def check_leave_group(world: World, version: int) -> None:
    group, member, _ = joined(world)

    def leave() -> int:
        answer = world.call(
            13, version, group_id=group, member_id=member,
            members=[{"member_id": member, "group_instance_id": None, "reason": "done"}],
        )
        if version >= 3:
            assert answer.error_code == wire.NONE
            return answer.members[0].error_code
        return answer.error_code

    assert leave() == wire.NONE
    assert leave() == 25  # UNKNOWN_MEMBER_ID


def check_api_versions(world: World, version: int) -> None:
    assert advertised(world.connection, version)


def check_create_topics(world: World, version: int) -> None:
    name = world.unique("created")
    fields = dict(
        topics=[{
            "name": name, "num_partitions": 3, "replication_factor": 1, "assignments": [],
            "configs": [{"name": "retention.ms", "value": "1000"}],
        }],
        timeout_ms=10_000,
    )
    assert world.call(19, version, validate_only=True, **fields).topics[0].error_code == wire.NONE
    made = world.call(19, version, validate_only=False, **fields).topics[0]
    assert (made.name, made.error_code) == (name, wire.NONE)
    if version >= 5:
        assert (made.num_partitions, made.replication_factor) == (3, 1)
        assert "1000" in [config.value for config in made.configs if config.name == "retention.ms"]
    if version >= 7:
        assert made.topic_id != NO_ID
    again = world.call(19, version, validate_only=False, **fields).topics[0]
    assert again.error_code == 36 and again.error_message  # TOPIC_ALREADY_EXISTS


def check_delete_topics(world: World, version: int) -> None:
    def delete(name: str, topic_id: Any = NO_ID) -> Any:
        return world.call(
            20, version, topics=[{"name": name, "topic_id": topic_id}], topic_names=[name], timeout_ms=10_000
        ).responses[0]

    assert delete(world.topic).error_code == wire.NONE
    assert delete(world.topic).error_code == wire.UNKNOWN_TOPIC_OR_PARTITION
    if version >= 6:
        other = World(world.connection, world.unique("by-id"), world.unique)
        gone = delete(None, other.topic_id)  # type: ignore[arg-type]
        assert gone.error_code == wire.NONE


def check_init_producer_id(world: World, version: int) -> None:
    ids = set()
    for _ in range(3):
        answer = world.call(
            22, version, transactional_id=None, transaction_timeout_ms=1000, producer_id=-1, producer_epoch=-1
        )
        assert (answer.error_code, answer.producer_epoch) == (wire.NONE, 0)
        ids.add(answer.producer_id)
    assert len(ids) == 3 and min(ids) >= 0


def check_describe_configs(world: World, version: int) -> None:
    answer = world.call(
        32, version, include_synonyms=True, include_documentation=True,
        resources=[
            {"resource_type": 2, "resource_name": world.topic, "configuration_keys": None},
            {"resource_type": 2, "resource_name": world.topic, "configuration_keys": ["retention.ms"]},
            {"resource_type": 2, "resource_name": world.unique("absent"), "configuration_keys": None},
        ],
    )
    whole, one, absent = answer.results
    names = {config.name: config.value for config in whole.configs}
    assert {"cleanup.policy", "retention.ms", "retention.bytes", "segment.bytes", "max.message.bytes"} <= set(names)
    assert [config.name for config in one.configs] == ["retention.ms"]
    assert absent.error_code == wire.UNKNOWN_TOPIC_OR_PARTITION


def check_incremental_alter_configs(world: World, version: int) -> None:
    def alter(name: str, value: Any, operation: int = 0) -> Any:
        return world.call(
            44, version, validate_only=False,
            resources=[{
                "resource_type": 2, "resource_name": world.topic,
                "configs": [{"name": name, "config_operation": operation, "value": value}],
            }],
        ).responses[0]

    assert alter("retention.ms", "4321").error_code == wire.NONE
    described = world.call(
        32, 4, resources=[{
            "resource_type": 2, "resource_name": world.topic, "configuration_keys": ["retention.ms"]}],
    )
    assert described.results[0].configs[0].value == "4321"
    assert alter("retention.ms", "never").error_code == 40  # INVALID_CONFIG
    assert alter("retention.ms", None, operation=1).error_code == wire.NONE


def check_describe_cluster(world: World, version: int) -> None:
    answer = world.call(60, version, include_cluster_authorized_operations=True, endpoint_type=1,
                        include_fenced_brokers=False)
    assert answer.error_code == wire.NONE
    assert [(broker.host, broker.port) for broker in answer.brokers] == [_host_and_port(world.connection)]
    assert answer.cluster_id and answer.controller_id == answer.brokers[0].broker_id


CHECKS: dict[int, Callable[[World, int], None]] = {
    0: check_produce,
    1: check_fetch,
    2: check_list_offsets,
    3: check_metadata,
    8: check_offset_commit,
    9: check_offset_fetch,
    10: check_find_coordinator,
    11: check_join_group,
    12: check_heartbeat,
    13: check_leave_group,
    14: check_sync_group,
    18: check_api_versions,
    19: check_create_topics,
    20: check_delete_topics,
    22: check_init_producer_id,
    32: check_describe_configs,
    44: check_incremental_alter_configs,
    60: check_describe_cluster,
}
# Produce 0 to 2 are advertised for T1's sake and refused.
SERVED_FROM = {0: 3}
VERSIONS = [
    (key, version)
    for key in sorted(CHECKS)
    for version in range(SERVED_FROM.get(key, REQUIRED[key][0]), protocol.newest(key) + 1)
]


@pytest.mark.parametrize(
    ("key", "version"), VERSIONS, ids=[f"{protocol.REQUESTS[key].name}-v{version}" for key, version in VERSIONS]
)
def test_an_api_works_at_every_version_it_is_advertised_in(
    connection: Wire,
    ranges: dict[int, tuple[int, int]],
    topic: str,
    unique: Callable[[str], str],
    key: int,
    version: int,
) -> None:
    if version > ranges[key][1]:
        assert version > REQUIRED[key][1]
        pytest.skip(f"advertised up to {ranges[key][1]}")
    CHECKS[key](World(connection, topic, unique), version)


@pytest.mark.parametrize("transport", ["plaintext", "mtls"])
def test_an_advertised_api_without_a_check_above_answers_something(
    broker: Broker, ranges: dict[int, tuple[int, int]], transport: str
) -> None:
    """An API beyond the ones checked here must at least answer its empty request, not hang."""
    endpoint = Endpoint(broker, transport == "mtls")
    for key in sorted(ranges.keys() - CHECKS.keys()):
        if key not in protocol.REQUESTS:
            continue
        for version in range(ranges[key][0], min(ranges[key][1], protocol.newest(key)) + 1):
            with Wire(broker.address, tls=endpoint.wire_tls()) as opened:
                protocol.call(opened, key, version)
