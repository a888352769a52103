# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: the matrix, the admin client: cluster, transactions, access.
"""What an operator looks at, and the calls for things that this broker has not: they answer as a Kafka without them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from confluent_kafka import ElectionType, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (
    AclBinding, AclBindingFilter, AclOperation, AclPermissionType, ResourcePatternType, ResourceType,
    ScramCredentialInfo, ScramMechanism, UserScramCredentialDeletion, UserScramCredentialUpsertion,
)  # fmt: skip
from kafka import TopicPartition as PythonPartition
from kafka.admin import (
    ACL, AbortTransactionSpec, ACLFilter, ACLOperation, ACLPermissionType, ACLResourcePatternType, ResourcePattern,
    ResourcePatternFilter,
)  # fmt: skip
from kafka.admin import ResourceType as PythonResourceType
from kafka.admin import UserScramCredentialDeletion as PythonScramDeletion
from kafka.admin import UserScramCredentialUpsertion as PythonScramUpsertion
from kafka.errors import KafkaError as PythonError
from kafka.errors import NoError

from .admin import AIO_LACKS, NO_ADMIN, admin, only
from .clients import python_admin
from .table import World, feature

SECTION = "Admin: cluster, transactions, access"
CONFLUENT_LACKS = {"confluent-kafka": "its admin client has no such call"}
PYTHON_ONLY = {**NO_ADMIN, **AIO_LACKS, **CONFLUENT_LACKS}

cluster = feature(SECTION, "describe the cluster", tls=True)


@cluster.cell("kcat")
def cluster_kcat(world: World) -> None:
    found = json.loads(world.client.run(world.endpoint, "-L", "-J"))
    assert [entry["name"] for entry in found["brokers"]] == [world.endpoint.address]
    assert found["controllerid"] == found["brokers"][0]["id"]


@cluster.cell("confluent-kafka")
def cluster_confluent(world: World) -> None:
    found = admin(world).describe_cluster(include_authorized_operations=True).result(20)
    assert [f"{node.host}:{node.port}" for node in found.nodes] == [world.endpoint.address]
    assert found.cluster_id and found.controller.id == found.nodes[0].id and found.authorized_operations


@cluster.cell("kafka-python")
def cluster_python(world: World) -> None:
    found = python_admin(world.endpoint, lambda client: client.describe_cluster())
    assert [f"{node['host']}:{node['port']}" for node in found["brokers"]] == [world.endpoint.address]
    assert found["cluster_id"]


@cluster.cell("aiokafka")
def cluster_aiokafka(world: World) -> None:
    async def work(client: Any) -> None:
        found = await client.describe_cluster()
        assert [f"{node['host']}:{node['port']}" for node in found["brokers"]] == [world.endpoint.address]

    world.client.admin(world.endpoint, work)


elect = feature(SECTION, "elect leaders (ELECTION_NOT_NEEDED)", {**NO_ADMIN, **AIO_LACKS})


@elect.cell("confluent-kafka")
def elect_confluent(world: World) -> None:
    topic = world.topic(2)
    places = [TopicPartition(topic, number) for number in range(2)]
    found = admin(world).elect_leaders(ElectionType.PREFERRED, places).result(20)
    codes = {place.partition: error.code() if error else 0 for place, error in found.items()}
    assert codes == {0: KafkaError.ELECTION_NOT_NEEDED, 1: KafkaError.ELECTION_NOT_NEEDED}


@elect.cell("kafka-python")
def elect_python(world: World) -> None:
    topic = world.topic(2)
    answer = python_admin(world.endpoint, lambda client: client.elect_leaders(0, {topic: [0, 1]}))
    (found,) = answer.replica_election_results
    assert [(entry.partition_id, entry.error_code) for entry in found.partition_result] == [(0, 84), (1, 84)]


acls = feature(SECTION, "ACLs: create, describe, delete", {**NO_ADMIN, **AIO_LACKS})


@acls.cell("confluent-kafka")
def acls_confluent(world: World) -> None:
    name = world.name("acl")
    one = AclBinding(ResourceType.TOPIC, name, ResourcePatternType.LITERAL, "User:a", "*", AclOperation.READ,
                     AclPermissionType.ALLOW)  # fmt: skip
    of_it = AclBindingFilter(ResourceType.TOPIC, name, ResourcePatternType.ANY, None, None, AclOperation.ANY,
                             AclPermissionType.ANY)  # fmt: skip
    assert only(admin(world).create_acls([one])) is None
    assert admin(world).describe_acls(of_it).result(20) == [one]
    assert only(admin(world).delete_acls([of_it])) == [one]
    assert admin(world).describe_acls(of_it).result(20) == []


@acls.cell("kafka-python")
def acls_python(world: World) -> None:
    name = world.name("acl")
    one = ACL("User:a", "*", ACLOperation.READ, ACLPermissionType.ALLOW,
              ResourcePattern(PythonResourceType.TOPIC, name))  # fmt: skip
    of_it = ACLFilter(None, None, ACLOperation.ANY, ACLPermissionType.ANY,
                      ResourcePatternFilter(PythonResourceType.TOPIC, name, ACLResourcePatternType.ANY))  # fmt: skip

    def work(client: Any) -> None:
        assert client.create_acls([one]) == {"succeeded": [one], "failed": []}
        assert client.describe_acls(of_it)[0] == [one]
        ((_, deleted, error),) = client.delete_acls([of_it])
        assert deleted == [one] and error is NoError
        assert client.describe_acls(of_it)[0] == []

    python_admin(world.endpoint, work)


scram = feature(SECTION, "SCRAM credentials: set, describe, delete; RESOURCE_NOT_FOUND", {**NO_ADMIN, **AIO_LACKS})


@scram.cell("confluent-kafka")
def scram_confluent(world: World) -> None:
    name, client = world.name("user"), admin(world)
    credential = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096)
    only(client.alter_user_scram_credentials([UserScramCredentialUpsertion(name, credential, b"password")]))
    (found,) = only(client.describe_user_scram_credentials([name])).scram_credential_infos
    assert (found.mechanism, found.iterations) == (ScramMechanism.SCRAM_SHA_256, 4096)
    gone = [UserScramCredentialDeletion(name, ScramMechanism.SCRAM_SHA_256)]
    only(client.alter_user_scram_credentials(gone))
    with pytest.raises(KafkaException) as refused:
        only(client.alter_user_scram_credentials(gone))
    assert refused.value.args[0].code() == KafkaError.RESOURCE_NOT_FOUND


@scram.cell("kafka-python")
def scram_python(world: World) -> None:
    name = world.name("user")

    def work(client: Any) -> None:
        set_it = PythonScramUpsertion(name, "SCRAM-SHA-256", "password")
        assert client.alter_user_scram_credentials([set_it]) == {name: None}
        (found,) = client.describe_user_scram_credentials([name])[name]["credential_infos"]
        assert found["iterations"] == 4096
        gone = [PythonScramDeletion(name, "SCRAM-SHA-256")]
        assert client.alter_user_scram_credentials(gone) == {name: None}
        assert client.alter_user_scram_credentials(gone)[name], "deleted twice"

    python_admin(world.endpoint, work)


features = feature(SECTION, "describe features", PYTHON_ONLY)


@features.cell("kafka-python")
def features_python(world: World) -> None:
    found = python_admin(world.endpoint, lambda client: client.describe_features())
    # Each finalized feature is supported at its level.
    assert all(
        entry["supported"][0] <= entry["finalized"][1] <= entry["supported"][1]
        for entry in found.values() if "finalized" in entry
    )
    assert "group.version" in found, found


update = feature(SECTION, "update features: an unknown one is refused", PYTHON_ONLY)


@update.cell("kafka-python")
def update_python(world: World) -> None:
    with pytest.raises(PythonError):
        answer = python_admin(world.endpoint, lambda client: client.update_features({"no.such.feature": 1}))
        if answer["no.such.feature"] != "OK":
            raise PythonError(answer)


paged = feature(SECTION, "describe topic partitions, page by page", PYTHON_ONLY)


@paged.cell("kafka-python")
def paged_python(world: World) -> None:
    topic = world.topic(3)

    def work(client: Any) -> None:
        first = client.describe_topic_partitions([topic], response_partition_limit=2)
        assert [entry["partition_index"] for entry in first["topics"][0]["partitions"]] == [0, 1]
        assert first["next_cursor"] == {"topic_name": topic, "partition_index": 2}
        rest = client.describe_topic_partitions([topic], cursor=first["next_cursor"])
        assert [entry["partition_index"] for entry in rest["topics"][0]["partitions"]] == [2]
        assert rest["next_cursor"] is None

    python_admin(world.endpoint, work)


directories = feature(SECTION, "describe log directories", PYTHON_ONLY)


@directories.cell("kafka-python")
def directories_python(world: World) -> None:
    topic = world.topic(2)
    world.records(topic)
    (found,) = python_admin(world.endpoint, lambda client: client.describe_log_dirs([topic]))
    (directory,) = found["log_dirs"]
    assert directory["error_code"] == 0 and directory["log_dir"].startswith("/")
    sizes = {entry["partition_index"]: entry["partition_size"] for entry in directory["topics"][0]["partitions"]}
    assert sizes[0] > 0 and sizes[1] == 0


moved = feature(SECTION, "alter replica log directories: an unknown one is refused (LOG_DIR_NOT_FOUND)", PYTHON_ONLY)


@moved.cell("kafka-python")
def moved_python(world: World) -> None:
    topic = world.topic()
    node = next(iter(admin(world).list_topics(timeout=20).brokers))
    found = python_admin(world.endpoint, lambda client: client.alter_replica_log_dirs({(topic, 0, node): "/nowhere"}))
    assert [error.errno for error in found.values()] == [57]


reassigned = feature(SECTION, "partition reassignments: list, alter", PYTHON_ONLY)


@reassigned.cell("kafka-python")
def reassigned_python(world: World) -> None:
    place = PythonPartition(world.topic(), 0)

    def work(client: Any) -> None:
        assert client.list_partition_reassignments() == {}
        (refused,) = client.alter_partition_reassignments({place: [999_999]}).values()
        assert refused is not None and refused.errno == 39  # INVALID_REPLICA_ASSIGNMENT
        (nothing,) = client.alter_partition_reassignments({place: None}).values()
        assert nothing is not None and nothing.errno == 85  # NO_REASSIGNMENT_IN_PROGRESS

    python_admin(world.endpoint, work)


quorum = feature(SECTION, "describe the metadata quorum", PYTHON_ONLY)


@quorum.cell("kafka-python")
def quorum_python(world: World) -> None:
    found = python_admin(world.endpoint, lambda client: client.describe_metadata_quorum())
    partition = found["topics"][0]["partitions"][0]
    assert partition["error"] is None and partition["leader_id"] == partition["current_voters"][0]["replica_id"]


transactions = feature(SECTION, "list and describe transactions, describe producers", PYTHON_ONLY)


@transactions.cell("kafka-python")
def transactions_python(world: World) -> None:
    topic, name = world.topic(), world.name("tx")
    producer = Producer(world.endpoint.librdkafka(transactional_id=name))
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic, b"open")
    producer.flush(30)
    place = PythonPartition(topic, 0)

    def work(client: Any) -> None:
        def listed(**filters: Any) -> list[str]:
            return [entry.transactional_id for found in client.list_transactions(**filters).values() for entry in found]

        assert name in listed(state_filters=["Ongoing"]) and name not in listed(state_filters=["Empty"])
        assert name not in listed(duration_filter_ms=3_600_000)
        found = client.describe_transactions([name])[name]
        assert found.state == "Ongoing" and found.topic_partitions == {place}
        (active,) = client.describe_producers([place])[place].active_producers
        assert active.producer_id == found.producer_id and active.current_transaction_start_offset == 0
        producer.commit_transaction(30)
        assert client.describe_transactions([name])[name].state == "CompleteCommit"

    python_admin(world.endpoint, work)


aborted = feature(SECTION, "abort a transaction from outside", PYTHON_ONLY)


@aborted.cell("kafka-python")
def aborted_python(world: World) -> None:
    topic, name = world.topic(), world.name("tx")
    producer = Producer(world.endpoint.librdkafka(transactional_id=name))
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic, b"open")
    producer.flush(30)
    place = PythonPartition(topic, 0)

    def work(client: Any) -> None:
        (active,) = client.describe_producers([place])[place].active_producers
        client.abort_transaction(AbortTransactionSpec(place, active.producer_id, active.producer_epoch))
        (after,) = client.describe_producers([place])[place].active_producers
        assert after.current_transaction_start_offset == -1

    python_admin(world.endpoint, work)
    world.records(topic, 1, first=3)
    assert [record.value for record in world.client.read(world.endpoint, topic, committed=True)] == [b"3"]
