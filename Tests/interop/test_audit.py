# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: the audit log of a broker that real clients use and abuse.
"""Every event is one JSON object a line: logins, denials, administrative changes with before and after; never a secret."""

from __future__ import annotations

import base64
import json
import queue
import subprocess
from pathlib import Path
from typing import Any, Callable

import grpc
import pytest
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (
    AclBindingFilter, AclOperation, AclPermissionType, AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions,
    NewTopic, ResourceType, ScramCredentialInfo, ScramMechanism, UserScramCredentialDeletion,
    UserScramCredentialUpsertion,
)  # fmt: skip

from broker import Broker, Endpoint, wait_until
from grpc_client import Client, status_of
from test_access import PASSWORD, TOPIC_AUTHORIZATION_FAILED, Team
from test_quotas import alter

ARGUMENTS = ["--sasl-enabled-mechanisms", "SCRAM-SHA-256,PLAIN", "--tls-client-auth", "requested", "--super-users",
             "User:CN=client", "--group-initial-rebalance-delay-ms", "0"]  # fmt: skip


class Audited(Team):
    def __init__(self, own: Broker, path: Path):
        super().__init__(own)
        self.path = path

    def events(self, **expected: Any) -> list[dict[str, Any]]:
        """Those that have these values. Every line must be a whole object."""
        found = [json.loads(line) for line in self.path.read_text().splitlines()]
        return [event for event in found if all(event.get(key) == value for key, value in expected.items())]

    def wait(self, **expected: Any) -> dict[str, Any]:
        return wait_until(lambda: self.events(**expected), f"an event {expected} in {self.path.read_text()}")[-1]


@pytest.fixture
def audited(start_broker: Callable[..., Broker], tmp_path: Path) -> Callable[..., Audited]:
    def start(*more: str) -> Audited:
        path = tmp_path / "audit.log"
        own = start_broker(mode="serve", arguments=[*ARGUMENTS, "--audit-log", str(path), *more])
        made = Audited(own, path)
        made.add("alice")
        return made

    return start


def test_denials_and_logins_are_written_with_who_and_why(audited: Callable[..., Audited], topic: str) -> None:
    team = audited()
    team.admin.create_topics([NewTopic(topic, 1)])[topic].result(20)
    team.rule("alice", AclOperation.DESCRIBE, ResourceType.TOPIC, topic)
    rule = team.rule("alice", AclOperation.WRITE, ResourceType.TOPIC, topic, permission=AclPermissionType.DENY)
    assert team.produce("alice", topic) == TOPIC_AUTHORIZATION_FAILED
    denied = team.wait(event="access", outcome="denied", operation="write")
    assert denied["principal"] == "User:alice" and denied["resource"] == "topic" and denied["name"] == topic
    assert denied["address"] == "127.0.0.1" and denied["protocol"] == "kafka" and denied["clientId"] == "rdkafka"
    assert denied["rule"] == f"deny User:alice write on topic {topic}" and denied["listener"].startswith("127.0.0.1")
    assert team.wait(event="login", outcome="succeeded", operation="SCRAM-SHA-256")["principal"] == "User:alice"
    assert team.wait(event="login", outcome="succeeded", operation="certificate")["principal"] == "User:CN=client"
    # Allowed accesses are not written unless that is asked for.
    team.admin.delete_acls([AclBindingFilter(
        rule.restype, rule.name, rule.resource_pattern_type, rule.principal, rule.host, rule.operation, rule.permission_type)])
    team.rule("alice", AclOperation.ALL, ResourceType.TOPIC, topic)
    assert team.produce("alice", topic) is None
    assert team.events(outcome="allowed") == []


def test_failed_logins_are_written_with_their_cause_and_no_password(audited: Callable[..., Audited], topic: str) -> None:
    team = audited()
    wrong = "a-wrong-password-nobody-should-see"
    for mechanism in ("SCRAM-SHA-256", "PLAIN"):
        producer = Producer({**team.client("alice"), "sasl.mechanism": mechanism, "sasl.password": wrong,
                             "error_cb": lambda _: None})  # fmt: skip
        team_wait: list[Any] = []

        def refused() -> bool:
            producer.poll(0.05)
            team_wait[:] = team.events(event="login", outcome="failed", operation=mechanism)
            return bool(team_wait)

        wait_until(refused, f"a failed login by {mechanism}")
        assert team_wait[0]["cause"] and team_wait[0]["address"] == "127.0.0.1"
    text = team.path.read_text()
    assert wrong not in text and PASSWORD not in text


def test_a_refused_certificate_is_written(start_broker: Callable[..., Broker], tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    own = start_broker(arguments=["--audit-log", str(path)])
    subprocess.run(["openssl", "s_client", "-connect", own.address, "-CAfile", own.ca], input=b"", capture_output=True, timeout=20)

    def found() -> list[Any]:
        events = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [event for event in events if event["event"] == "login" and event["outcome"] == "failed"]

    event = wait_until(found, "a failed login")[0]
    assert "certificate" in event["cause"] and event["protocol"] == "tls" and event["principal"] == "User:ANONYMOUS"


def test_a_certificate_that_no_rule_names_is_a_failed_login(start_broker: Callable[..., Broker], tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    own = start_broker(arguments=[
        "--audit-log", str(path), "--ssl-principal-mapping-rules", r"RULE:^CN=somebody-else$/x/"])
    producer = Producer({**Endpoint(own, tls=True).librdkafka(), "error_cb": lambda _: None})

    def found() -> list[Any]:
        producer.poll(0.05)
        events = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [event for event in events if event["event"] == "login"]

    event = wait_until(found, "a failed login")[0]
    assert event["outcome"] == "failed" and event["operation"] == "certificate" and event["protocol"] == "tls"
    assert "CN=client" in event["cause"] and "names nobody here" in event["cause"]
    assert event["principal"] == "User:ANONYMOUS"


def test_changes_are_written_with_before_and_after(audited: Callable[..., Audited], topic: str, group: str) -> None:
    team = audited()
    admin = team.admin
    admin.create_topics([NewTopic(topic, 1, config={"retention.ms": "60000"})])[topic].result(20)
    event = team.wait(event="change", operation="CreateTopics", name=topic)
    assert event["before"] is None and event["after"] == {"partitions": "1", "retention.ms": "60000"}
    assert event["principal"] == "User:CN=client" and event["outcome"] == "succeeded" and event["resource"] == "topic"
    admin.create_partitions([NewPartitions(topic, 3)])[topic].result(20)
    event = team.wait(operation="CreatePartitions")
    assert event["before"]["partitions"] == "1" and event["after"]["partitions"] == "3"
    entry = ConfigEntry("retention.ms", "70000", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
    admin.incremental_alter_configs([resource])[resource].result(20)
    event = team.wait(operation="IncrementalAlterConfigs")
    assert event["before"]["retention.ms"] == "60000" and event["after"]["retention.ms"] == "70000"
    # Rules.
    rule = team.rule("alice", AclOperation.READ, ResourceType.TOPIC, topic)
    event = team.wait(operation="CreateAcls")
    assert event["before"] is None and event["after"] == {"rule": f"allow User:alice read on topic {topic}"}
    pattern = AclBindingFilter(rule.restype, rule.name, rule.resource_pattern_type, rule.principal, rule.host, rule.operation,
                               rule.permission_type)  # fmt: skip
    admin.delete_acls([pattern])[pattern].result(20)
    event = team.wait(operation="DeleteAcls")
    assert event["before"] == {"rule": f"allow User:alice read on topic {topic}"} and event["after"] is None
    # Users.
    event = team.wait(operation="AlterUserScramCredentials", name="alice")
    assert event["before"] is None and event["after"] == {"SCRAM-SHA-256": "4096 iterations"}
    admin.alter_user_scram_credentials([UserScramCredentialDeletion("alice", ScramMechanism.SCRAM_SHA_256)])["alice"].result(20)
    wait_until(lambda: team.events(operation="AlterUserScramCredentials", name="alice", after=None), "the user's end")
    # What fails is written as well.
    with pytest.raises(KafkaException):
        admin.create_topics([NewTopic(topic, 1)])[topic].result(20)
    event = team.wait(operation="CreateTopics", outcome="failed")
    assert event["cause"] == "topicAlreadyExists" and event["before"] == event["after"]
    # Offsets, groups, topics.
    admin.alter_consumer_group_offsets(
        [ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 1, 7)])])[group].result(20)
    event = team.wait(operation="OffsetCommit", name=group)
    assert event["before"] is None and event["after"] == {f"{topic}-1": "7"}
    admin.delete_consumer_groups([group])[group].result(20)
    event = team.wait(operation="DeleteGroups", name=group)
    assert event["before"] == {"type": "group"} and event["after"] is None
    admin.delete_topics([topic])[topic].result(20)
    event = team.wait(operation="DeleteTopics", name=topic)
    assert event["before"]["partitions"] == "3" and event["after"] is None
    text = team.path.read_text()
    assert PASSWORD not in text and "salt" not in text.lower()
    assert (team.path.stat().st_mode & 0o777) == 0o600


def test_quotas_are_changed_in_sight(start_broker: Callable[..., Broker], tmp_path: Path) -> None:
    own = start_broker(arguments=["--audit-log", str(tmp_path / "audit.log")])
    alter(own, {"user": "alice", "client-id": None}, producer_byte_rate=5.0)
    alter(own, {"user": "alice", "client-id": None}, producer_byte_rate=6.0)

    def events() -> list[Any]:
        found = [json.loads(line) for line in (tmp_path / "audit.log").read_text().splitlines()]
        return [event for event in found if event.get("operation") == "AlterClientQuotas"]

    wait_until(lambda: len(events()) == 2, "two changes")
    assert [(event["before"], event["after"]) for event in events()] == [
        (None, {"producer_byte_rate": "5.0"}), ({"producer_byte_rate": "5.0"}, {"producer_byte_rate": "6.0"})]
    assert events()[0]["name"] == "user alice, client-id <default>"


def test_what_grpc_changes_is_in_it_with_before_and_after(audited: Callable[..., Audited], api: Any, topic: str) -> None:
    team = audited()
    client = Client(Endpoint(team.own, tls=True), api)
    client.create(topic, 1)
    client.streams.Commit(api.CommitRequest(group="readers", offsets=[api.PartitionOffset(topic=topic, offset=3)]), timeout=20)
    event = team.wait(event="change", operation="Commit", name="readers")
    assert event["resource"] == "offsets" and event["before"] is None and event["after"] == {f"{topic}-0": "3"}
    opening = api.ReceiveRequest(open=api.WorkOpen(group="workers", topics=[topic], origin=api.ORIGIN_EARLIEST))
    requests: queue.Queue[Any] = queue.Queue()
    requests.put(opening)
    call = api.WorkStub(client.channel).Receive(iter(requests.get, None), timeout=20)
    next(call)
    event = team.wait(event="change", operation="Receive", name="workers")
    call.cancel()
    requests.put(None)
    assert event["resource"] == "group" and event["before"] == {}
    assert event["after"] == {"share.auto.offset.reset": "earliest", "errors.deadletterqueue.topic.name": "dlq.workers"}
    client.channel.close()


def test_grpc_is_in_the_same_log(audited: Callable[..., Audited], api: Any, topic: str) -> None:
    team = audited()
    client = Client(Endpoint(team.own, tls=True), api)
    client.create(topic, 2)
    event = team.wait(operation="CreateTopic", name=topic)
    assert event["protocol"] == "grpc" and event["principal"] == "User:CN=client" and event["after"] == {"partitions": "2"}
    team.rule("bob", AclOperation.READ, ResourceType.TOPIC, topic)
    def call(password: str) -> tuple[grpc.StatusCode, str]:
        login = (("authorization", "Basic " + base64.b64encode(f"alice:{password}".encode()).decode()),)
        request = api.PublishRequest(topic=topic, records=[api.PublishRecord(value=b"a-secret-payload")])
        with Endpoint(team.own, tls=False).grpc_channel() as channel:
            return status_of(lambda: api.StreamsStub(channel).Publish(request, timeout=20, metadata=login))

    assert call(PASSWORD)[0] == grpc.StatusCode.PERMISSION_DENIED
    event = team.wait(event="access", protocol="grpc", outcome="denied")
    assert event["principal"] == "User:alice" and event["operation"] == "write" and event["name"] == topic
    assert event["rule"] == "none allows it"
    assert call("not-the-password")[0] == grpc.StatusCode.UNAUTHENTICATED
    assert "alice" in team.wait(event="login", protocol="grpc", outcome="failed")["cause"]
    text = team.path.read_text()
    assert "not-the-password" not in text and PASSWORD not in text and "payload" not in text
    client.channel.close()


def test_allowed_accesses_are_written_when_asked_for(audited: Callable[..., Audited], topic: str) -> None:
    team = audited("--audit-allowed", "all")
    team.admin.create_topics([NewTopic(topic, 1)])[topic].result(20)
    team.rule("alice", AclOperation.WRITE, ResourceType.TOPIC, topic)
    assert team.produce("alice", topic) is None
    event = team.wait(event="access", outcome="allowed", principal="User:alice", operation="write")
    assert event["rule"] == f"allow User:alice write on topic {topic}"
    # Super users need no rule, and are seen too.
    assert "rule" not in team.wait(event="access", outcome="allowed", principal="User:CN=client", operation="alter")


def test_events_are_records_of_a_topic_too(audited: Callable[..., Audited], topic: str) -> None:
    team = audited("--audit-topic", "audit-events")
    team.admin.create_topics([NewTopic(topic, 1)])[topic].result(20)
    consumer = Consumer({**Endpoint(team.own, tls=True).librdkafka(), "group.id": "auditor", "auto.offset.reset": "earliest",
                         "topic.metadata.refresh.interval.ms": 200})  # fmt: skip
    consumer.subscribe(["audit-events"])
    seen: list[dict[str, Any]] = []

    def arrived() -> bool:
        message = consumer.poll(0.2)
        if message is not None and message.error() is None:
            seen.append(json.loads(message.value()))
        return any(event.get("operation") == "CreateTopics" and event.get("name") == topic for event in seen)

    wait_until(arrived, "the event as a record", 40)
    consumer.close()
    assert seen[0]["event"] == "login"


def test_whoever_reads_the_audit_topic_does_not_feed_it(audited: Callable[..., Audited], topic: str) -> None:
    """Each event read is a fetch and a commit, and those are events: it has to come to rest all the same."""
    team = audited("--audit-topic", "audit-events", "--audit-allowed", "all")
    team.admin.create_topics([NewTopic(topic, 1)])[topic].result(20)
    consumer = Consumer({**Endpoint(team.own, tls=True).librdkafka(), "group.id": "auditor", "auto.offset.reset": "earliest",
                         "enable.auto.commit": False, "topic.metadata.refresh.interval.ms": 200,
                         "fetch.wait.max.ms": 50})  # fmt: skip
    consumer.subscribe(["audit-events"])
    wait_until(lambda: consumer.poll(0.5), "the first event", 40)
    read, quiet = 1, 0
    # A place from outside of the group is a change, also without this.
    outside = TopicPartition("audit-events", 0, 1)
    while quiet < 30:
        message = consumer.poll(0.1)
        quiet = 0 if message else quiet + 1
        if message:
            read += 1
            assert read < 500, "reading makes events, and so on"
            consumer.commit(message=message, asynchronous=False)
        team.admin.alter_consumer_group_offsets(
            [ConsumerGroupTopicPartitions("elsewhere", [outside])])["elsewhere"].result(20)
    consumer.close()
    reads = team.events(event="access", outcome="allowed", operation="read", name="audit-events", resource="topic")
    assert 1 <= len(reads) <= 3, reads
    # Those of joining, before anything was read, and then one.
    assert len(team.events(event="access", outcome="allowed", operation="read", name="auditor", resource="group")) <= 20
    assert 1 <= len(team.events(event="change", operation="OffsetCommit", name="elsewhere")) <= 2
    # Nobody hides behind reading it: what else such a client does is there, at once or counted.
    team.admin.delete_topics([topic])[topic].result(20)
    team.wait(operation="DeleteTopics", name=topic)
    team.own.stop()
    assert sum(event.get("count", 0) for event in team.events(operation="read", name="auditor")) > 10


def test_a_file_that_is_moved_away_is_made_again(audited: Callable[..., Audited], topic: str) -> None:
    team = audited()
    team.admin.create_topics([NewTopic(topic, 1)])[topic].result(20)
    team.wait(operation="CreateTopics", name=topic)
    team.path.rename(team.path.with_suffix(".1"))
    team.admin.delete_topics([topic])[topic].result(20)
    wait_until(team.path.exists, "the file")
    team.wait(operation="DeleteTopics", name=topic)
    assert "CreateTopics" in team.path.with_suffix(".1").read_text()


def test_names_cannot_forge_lines(audited: Callable[..., Audited]) -> None:
    team = audited()
    evil = 'x","event":"login"}\n{"event":"forged"}\r\x1b[2J'
    with pytest.raises(KafkaException):
        team.admin.delete_consumer_groups([evil])[evil].result(20)
    event = team.wait(operation="DeleteGroups", outcome="failed")
    assert event["name"] == evil
    assert team.events(event="forged") == []


def test_an_audit_log_that_cannot_be_written_stops_the_start(binary: str, tmp_path: Path) -> None:
    result = subprocess.run(
        [binary, "dev", "--ephemeral", "--port", "0", "--certs", str(tmp_path / "certs"), "--audit-log", "/nonexistent/a.log"],
        capture_output=True, timeout=30)  # fmt: skip
    assert result.returncode != 0
    assert b"audit.log: cannot write /nonexistent/a.log: No such file or directory" in result.stderr


def test_a_full_disk_loses_events_and_nothing_else(start_broker: Callable[..., Broker], topic: str) -> None:
    own = start_broker(arguments=["--audit-log", "/dev/full"])
    admin = AdminClient(Endpoint(own, tls=True).librdkafka())
    admin.create_topics([NewTopic(topic, 1)])[topic].result(20)
    own.wait_log("audit events are lost.*No space left")
    wait_until(lambda: own.metric("martlet_audit_dropped_total") >= 1, "the metric")
