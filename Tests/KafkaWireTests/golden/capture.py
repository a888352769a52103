#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes clients.txt: requests as real clients send them.

Starts a broker that knows just enough to keep clients talking, lets each client produce, consume in
a group and administrate, then use transactions, SASL, newer groups and rarer administration, and
keeps the first request of each API and version from each client. Replies are encoded by
kafka-python and kio. Loopback only, an ephemeral port, ends after about two minutes.

    python3 capture.py > clients.txt

One line: client, API, version, header and body in hex (without the length in front).
"""
import asyncio
import dataclasses
import datetime
import importlib.metadata
import multiprocessing
import socketserver
import struct
import subprocess
import sys
import threading
import uuid

from generate import KIO, VERSIONS, KioFiller, encoded, kio_class, message_class

# What the broker speaks in the first round, the core of the protocol; in the second, everything.
CORE = (
    "Produce", "Fetch", "ListOffsets", "Metadata", "OffsetCommit", "OffsetFetch", "FindCoordinator",
    "JoinGroup", "Heartbeat", "LeaveGroup", "SyncGroup", "DescribeGroups", "ListGroups",
    "ApiVersions", "CreateTopics", "DeleteTopics", "DeleteRecords", "InitProducerId",
    "OffsetForLeaderEpoch", "DescribeConfigs", "CreatePartitions", "DeleteGroups",
    "IncrementalAlterConfigs", "OffsetDelete", "DescribeCluster",
)
TOPIC, GROUP = "orders", "martlet-group"
CAPTURED = {}
TOPIC_ID = uuid.UUID(int=0x11112222333344445555666677778888)


class Defaults(KioFiller):
    """Fills the dataclasses of kio with nothing: zeros, nulls and empty arrays."""

    def __init__(self):
        super().__init__(0, False)

    def primitive(self, kind):
        empty = {"string": "", "bool": False, "uuid": None, "bytes": b"", "records": b""}
        return empty.get(kind, 0)


def api_key(api):
    if api in KIO:
        return kio_class(api + "Request", VERSIONS[api][0]).__api_key__
    return message_class(api + "Request").API_KEY


class Broker(socketserver.BaseRequestHandler):
    client = "nobody"
    speaks = CORE
    batch = b""  # the records last produced

    def handle(self):
        while True:
            prefix = self.receive(4)
            if prefix is None:
                return
            frame = self.receive(struct.unpack(">i", prefix)[0])
            key, version, correlation = struct.unpack(">hhi", frame[:8])
            api = next((n for n in Broker.speaks if api_key(n) == key), None)
            if api is None:
                return
            CAPTURED.setdefault((Broker.client, api, version), frame)
            if api in KIO:
                reply = Defaults().message(kio_class(api + "Response", version))
                fields = getattr(self, "on_" + api, lambda version: {})(version)
                data = encoded(api, dataclasses.replace(reply, **fields))
                data = struct.pack(">i", correlation) + b"\0" + data
                self.request.sendall(struct.pack(">i", len(data)) + data)
                continue
            cls = message_class(api + "Request")[version]
            flexible = message_class(api + "Request").flexible_version_q(version)
            client_id = struct.unpack(">h", frame[8:10])[0]
            request = cls.decode(frame[10 + max(client_id, 0) + (1 if flexible else 0):])
            fields = getattr(self, "on_" + api, lambda request, version: {})(request, version)
            reply = message_class(api + "Response")[version](**fields).encode()
            tags = b"\0" if flexible and api != "ApiVersions" else b""
            data = struct.pack(">i", correlation) + tags + bytes(reply)
            if api == "Produce" and request.acks == 0:
                continue
            self.request.sendall(struct.pack(">i", len(data)) + data)

    def receive(self, count):
        data = b""
        while len(data) < count:
            try:
                more = self.request.recv(count - len(data))
            except OSError:
                return None
            if not more:
                return None
            data += more
        return data

    @staticmethod
    def structure(api, name, version, /, **fields):
        def find(structure):
            for field in structure.fields.values():
                if field.is_struct() or field.is_struct_array():
                    if field._name == name and field.for_version_q(version):
                        return field
                    found = find(field)
                    if found is not None:
                        return found
            return None
        return find(message_class(api + "Response")._struct).data_class(version=version, **fields)

    def node(self, version, name="Brokers", api="Metadata", **key):
        return self.structure(api, name, version, host="127.0.0.1", port=PORT, **key)

    def on_ApiVersions(self, request, version):
        make = lambda api, low, high: self.structure(
            "ApiVersions", "ApiKeys", version, api_key=api_key(api), min_version=low,
            max_version=high)
        spoken = {api: VERSIONS[api] for api in Broker.speaks}
        return {"api_keys": [make(a, 0 if a == "Produce" else l, h)
                             for a, (l, h) in spoken.items()]}

    def on_Metadata(self, request, version):
        partition = self.structure("Metadata", "Partitions", version, partition_index=0,
                                   leader_id=0, leader_epoch=0, replica_nodes=[0], isr_nodes=[0])
        topic = self.structure("Metadata", "Topics", version, name=TOPIC, topic_id=TOPIC_ID,
                               partitions=[partition])
        return {"brokers": [self.node(version, node_id=0)], "cluster_id": "cluster",
                "controller_id": 0, "topics": [topic]}

    def on_DescribeCluster(self, request, version):
        broker = self.node(version, "Brokers", "DescribeCluster", broker_id=0)
        return {"brokers": [broker], "cluster_id": "cluster", "controller_id": 0}

    def on_Produce(self, request, version):
        Broker.batch = bytes(request.topic_data[0].partition_data[0].records)
        make = lambda name, /, **fields: self.structure("Produce", name, version, **fields)
        return {"responses": [make("Responses", name=t.name, partition_responses=[
            make("PartitionResponses", index=p.index, base_offset=0) for p in t.partition_data])
            for t in request.topic_data]}

    def on_ListOffsets(self, request, version):
        make = lambda name, /, **fields: self.structure("ListOffsets", name, version, **fields)
        return {"topics": [make("Topics", name=t.name, partitions=[
            make("Partitions", partition_index=p.partition_index, offset=0, timestamp=-1,
                 leader_epoch=0) for p in t.partitions]) for t in request.topics]}

    def on_Fetch(self, request, version):
        threading.Event().wait(0.2)
        make = lambda name, /, **fields: self.structure("Fetch", name, version, **fields)
        return {"responses": [make("Responses", topic=t.topic, topic_id=t.topic_id, partitions=[
            make("Partitions", partition_index=p.partition, high_watermark=0,
                 last_stable_offset=0, log_start_offset=0, records=b"") for p in t.partitions])
            for t in request.topics]}

    def on_FindCoordinator(self, request, version):
        if version < 4:
            return {"node_id": 0, "host": "127.0.0.1", "port": PORT}
        return {"coordinators": [self.node(version, "Coordinators", "FindCoordinator", key=k,
                                           node_id=0) for k in request.coordinator_keys]}

    def on_JoinGroup(self, request, version):
        member = request.member_id or "member-1"
        first = request.protocols[0]
        members = [self.structure("JoinGroup", "Members", version, member_id=member,
                                  metadata=first.metadata)]
        return {"generation_id": 1, "protocol_type": "consumer", "protocol_name": first.name,
                "leader": member, "member_id": member, "members": members}

    def on_SyncGroup(self, request, version):
        assignment = request.assignments[0].assignment if request.assignments else b""
        return {"protocol_type": "consumer", "protocol_name": request.protocol_name,
                "assignment": assignment}

    def on_OffsetCommit(self, request, version):
        make = lambda name, /, **fields: self.structure("OffsetCommit", name, version, **fields)
        return {"topics": [make("Topics", name=t.name, partitions=[
            make("Partitions", partition_index=p.partition_index) for p in t.partitions])
            for t in request.topics]}

    def on_OffsetFetch(self, request, version):
        make = lambda name, /, **fields: self.structure("OffsetFetch", name, version, **fields)
        topics = lambda asked: [make("Topics", name=t.name, partitions=[
            make("Partitions", partition_index=p, committed_offset=-1, committed_leader_epoch=-1,
                 metadata="") for p in t.partition_indexes]) for t in asked or []]
        if version < 8:
            return {"topics": topics(request.topics)}
        return {"groups": [make("Groups", group_id=g.group_id, topics=topics(g.topics))
                           for g in request.groups]}

    def on_DescribeGroups(self, request, version):  # librdkafka aborts if there is none
        return {"groups": [self.structure("DescribeGroups", "Groups", version, group_id=g,
                                          group_state="Empty") for g in request.groups]}

    def on_DeleteGroups(self, request, version):
        return {"results": [self.structure("DeleteGroups", "Results", version, group_id=g)
                            for g in request.groups_names]}

    def on_InitProducerId(self, request, version):
        return {"producer_id": 4000, "producer_epoch": 0}

    def on_AddPartitionsToTxn(self, request, version):
        make = lambda name, /, **fields: self.structure(
            "AddPartitionsToTxn", name, version, **fields)
        if version > 3:
            return {}
        return {"results_by_topic_v3_and_below": [
            make("ResultsByTopicV3AndBelow", name=t.name, results_by_partition=[
                make("ResultsByPartition", partition_index=p) for p in t.partitions])
            for t in request.v3_and_below_topics]}

    def on_TxnOffsetCommit(self, request, version):
        make = lambda name, /, **fields: self.structure("TxnOffsetCommit", name, version, **fields)
        return {"topics": [make("Topics", name=t.name, partitions=[
            make("Partitions", partition_index=p.partition_index) for p in t.partitions])
            for t in request.topics]}

    # librdkafka aborts if what it asked for is missing from the answer.
    def on_CreateAcls(self, request, version):
        return {"results": [self.structure("CreateAcls", "Results", version)
                            for _ in request.creations]}

    def on_DeleteAcls(self, request, version):
        return {"filter_results": [self.structure("DeleteAcls", "FilterResults", version)
                                   for _ in request.filters]}

    def on_AlterConfigs(self, request, version):
        return {"responses": [
            self.structure("AlterConfigs", "Responses", version, resource_type=r.resource_type,
                           resource_name=r.resource_name) for r in request.resources]}

    def on_DescribeUserScramCredentials(self, request, version):
        return {"results": [
            self.structure("DescribeUserScramCredentials", "Results", version, user=u.name,
                           error_code=91) for u in request.users]}

    def on_AlterUserScramCredentials(self, request, version):
        return {"results": [self.structure("AlterUserScramCredentials", "Results", version,
                                           user=u.name) for u in request.upsertions]}

    def on_ElectLeaders(self, request, version):
        make = lambda name, /, **fields: self.structure("ElectLeaders", name, version, **fields)
        return {"replica_election_results": [
            make("ReplicaElectionResults", topic=t.topic, partition_result=[
                make("PartitionResult", partition_id=p) for p in t.partitions])
            for t in request.topic_partitions]}

    def on_SaslHandshake(self, request, version):
        return {"mechanisms": ["PLAIN"]}

    @staticmethod
    def assignment(api, version):
        make = lambda name, **fields: getattr(
            sys.modules[kio_class(api + "Response", version).__module__], name)(**fields)
        partitions = make("TopicPartitions", topic_id=TOPIC_ID, partitions=(0,))
        return {"member_epoch": 1, "heartbeat_interval": datetime.timedelta(milliseconds=500),
                "assignment": make("Assignment", topic_partitions=(partitions,))}

    def on_ConsumerGroupHeartbeat(self, version):
        return {"member_id": "member-1"} | self.assignment("ConsumerGroupHeartbeat", version)

    def on_ShareGroupHeartbeat(self, version):
        return self.assignment("ShareGroupHeartbeat", version)

    def on_ShareFetch(self, version):
        threading.Event().wait(0.2)
        module = sys.modules[kio_class("ShareFetchResponse", version).__module__]
        acquired = module.AcquiredRecords(first_offset=0, last_offset=0, delivery_count=1)
        partition = dataclasses.replace(
            Defaults().message(module.PartitionData), records=Broker.batch,
            acquired_records=(acquired,) if Broker.batch else ())
        Broker.batch = b""
        topic = module.ShareFetchableTopicResponse(topic_id=TOPIC_ID, partitions=(partition,))
        return {"responses": (topic,)}

    def on_ShareAcknowledge(self, version):
        module = sys.modules[kio_class("ShareAcknowledgeResponse", version).__module__]
        partition = Defaults().message(module.PartitionData)
        topic = module.ShareAcknowledgeTopicResponse(topic_id=TOPIC_ID, partitions=(partition,))
        return {"responses": (topic,)}

    def on_GetTelemetrySubscriptions(self, version):
        return {"client_instance_id": TOPIC_ID, "subscription_id": 1,
                "push_interval": datetime.timedelta(seconds=1), "telemetry_max_bytes": 1 << 20,
                "requested_metrics": ("org.apache.kafka.producer.connection.creation.rate",)}


def attempt(action):
    try:
        return action()
    except Exception as error:  # The requests count, not the answers.
        print(f"{Broker.client}: {type(error).__name__}: {error}", file=sys.stderr)


def librdkafka(address):
    from confluent_kafka import Consumer, Producer, TopicPartition, admin
    from confluent_kafka import ConsumerGroupTopicPartitions as Group
    config = {"bootstrap.servers": address, "client.id": "golden"}
    producer = Producer(config | {"enable.idempotence": True, "compression.type": "lz4"})
    producer.produce(TOPIC, b"value", b"key", headers={"h": b"1"})
    attempt(lambda: producer.flush(10))
    consumer = Consumer(config | {"group.id": GROUP, "auto.offset.reset": "earliest"})
    consumer.subscribe([TOPIC])
    for _ in range(8):
        consumer.poll(0.5)
    attempt(lambda: consumer.commit(offsets=[TopicPartition(TOPIC, 0, 1)], asynchronous=False))
    attempt(lambda: consumer.get_watermark_offsets(TopicPartition(TOPIC, 0), timeout=5))
    consumer.close()
    client = admin.AdminClient(config)
    resource = admin.ConfigResource(admin.ResourceType.TOPIC, TOPIC)
    change = admin.ConfigResource(admin.ResourceType.TOPIC, TOPIC, incremental_configs=[
        admin.ConfigEntry("retention.ms", "1000",
                          incremental_operation=admin.AlterConfigOpType.SET)])
    wait = lambda futures: [f.result(5) for f in futures.values()]
    attempt(lambda: wait(client.create_topics([admin.NewTopic(TOPIC, 3, 1,
                                                              config={"a": "b"})])))
    attempt(lambda: wait(client.delete_topics([TOPIC])))
    attempt(lambda: wait(client.create_partitions([admin.NewPartitions(TOPIC, 6)])))
    attempt(lambda: wait(client.describe_configs([resource])))
    attempt(lambda: wait(client.incremental_alter_configs([change])))
    attempt(lambda: client.list_consumer_groups().result(5))
    attempt(lambda: wait(client.describe_consumer_groups([GROUP])))
    attempt(lambda: wait(client.delete_consumer_groups([GROUP])))
    attempt(lambda: wait(client.delete_records([TopicPartition(TOPIC, 0, 5)])))
    attempt(lambda: wait(client.list_consumer_group_offsets([Group(GROUP)])))


def librdkafka_more(address):
    from confluent_kafka import (
        Consumer, ElectionType, Producer, ShareConsumer, TopicPartition, admin)
    config = {"bootstrap.servers": address, "client.id": "golden"}
    producer = Producer(config | {"transactional.id": "transaction-1"})
    consumer = Consumer(config | {"group.id": GROUP, "group.protocol": "consumer"})
    consumer.subscribe([TOPIC])
    for _ in range(6):
        consumer.poll(0.5)
    attempt(lambda: producer.init_transactions(10))
    attempt(lambda: producer.begin_transaction())
    producer.produce(TOPIC, b"value", b"key")
    attempt(lambda: producer.flush(10))
    attempt(lambda: producer.send_offsets_to_transaction(
        [TopicPartition(TOPIC, 0, 7)], consumer.consumer_group_metadata(), 10))
    attempt(lambda: producer.commit_transaction(10))
    consumer.close()
    client = admin.AdminClient(config)
    wait = lambda futures: [f.result(5) for f in futures.values()]
    acl = admin.AclBinding(
        admin.ResourceType.TOPIC, TOPIC, admin.ResourcePatternType.LITERAL, "User:alice", "*",
        admin.AclOperation.READ, admin.AclPermissionType.ALLOW)
    acls = admin.AclBindingFilter(
        admin.ResourceType.TOPIC, TOPIC, admin.ResourcePatternType.LITERAL, None, None,
        admin.AclOperation.ANY, admin.AclPermissionType.ANY)
    scram = admin.UserScramCredentialUpsertion(
        "alice", admin.ScramCredentialInfo(admin.ScramMechanism.SCRAM_SHA_256, 4096), b"secret",
        b"salt")
    resource = admin.ConfigResource(admin.ResourceType.TOPIC, TOPIC,
                                    set_config={"retention.ms": "1000"})
    attempt(lambda: wait(client.create_acls([acl])))
    attempt(lambda: client.describe_acls(acls).result(5))
    attempt(lambda: wait(client.delete_acls([acls])))
    attempt(lambda: wait(client.alter_configs([resource])))
    attempt(lambda: wait(client.describe_user_scram_credentials(["alice"])))
    attempt(lambda: wait(client.alter_user_scram_credentials([scram])))
    attempt(lambda: client.elect_leaders(
        ElectionType.PREFERRED, [TopicPartition(TOPIC, 0)]).result(5))
    client = admin.AdminClient(config | {
        "security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", "sasl.username": "alice",
        "sasl.password": "secret"})
    attempt(lambda: client.list_topics(timeout=5))
    share = ShareConsumer(config | {"group.id": "shared"})
    share.subscribe([TOPIC])
    attempt(lambda: [share.poll(0.5) for _ in range(8)])
    attempt(lambda: share.close())


def kafka_python_more(address):
    from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
    from kafka import admin
    config = {"bootstrap_servers": address, "client_id": "golden"}
    producer = KafkaProducer(**config, transactional_id="transaction-1", max_block_ms=5000)
    attempt(lambda: producer.init_transactions())
    attempt(lambda: producer.begin_transaction())
    attempt(lambda: producer.send(TOPIC, b"value", b"key").get(5))
    attempt(lambda: producer.commit_transaction())
    producer.close(2)
    client = KafkaAdminClient(**config, request_timeout_ms=5000)
    acl = admin.ACL("User:alice", "*", admin.ACLOperation.READ, admin.ACLPermissionType.ALLOW,
                    admin.ResourcePattern(admin.ResourceType.TOPIC, TOPIC))
    acls = admin.ACLFilter(None, None, admin.ACLOperation.ANY, admin.ACLPermissionType.ANY,
                           admin.ResourcePatternFilter(
                               admin.ResourceType.TOPIC, TOPIC, admin.ACLResourcePatternType.ANY))
    partition = TopicPartition(TOPIC, 0)
    for call in (
            lambda: client.create_acls([acl]), lambda: client.describe_acls(acls),
            lambda: client.delete_acls([acls]), lambda: client.describe_log_dirs(),
            lambda: client.describe_metadata_quorum(),
            lambda: client.describe_producers([partition]),
            lambda: client.describe_topic_partitions([TOPIC]),
            lambda: client.describe_transactions(["transaction-1"]),
            lambda: client.describe_user_scram_credentials(["alice"]),
            lambda: client.elect_leaders(0, {TOPIC: [0]}),
            lambda: client.list_config_resources(),
            lambda: client.list_partition_reassignments(), lambda: client.list_transactions(),
            lambda: client.update_features({"transaction.version": ("UPGRADE", 2)})):
        attempt(call)
    attempt(lambda: client.close())
    attempt(lambda: KafkaAdminClient(
        **config, security_protocol="SASL_PLAINTEXT", sasl_mechanism="PLAIN",
        sasl_plain_username="alice", sasl_plain_password="secret").close())


def kafka_python(address):
    from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
    from kafka.admin import NewTopic
    config = {"bootstrap_servers": address, "client_id": "golden"}
    producer = KafkaProducer(**config, enable_idempotence=True)
    attempt(lambda: producer.send(TOPIC, b"value", b"key").get(5))
    producer.close(2)
    consumer = KafkaConsumer(TOPIC, **config, group_id=GROUP, consumer_timeout_ms=3000)
    attempt(lambda: list(consumer))
    attempt(lambda: consumer.commit())
    attempt(lambda: consumer.close())
    client = KafkaAdminClient(**config, request_timeout_ms=5000)
    attempt(lambda: client.create_topics([NewTopic(TOPIC, 3, 1)]))
    attempt(lambda: client.delete_topics([TOPIC]))
    attempt(lambda: client.describe_cluster())
    attempt(lambda: client.list_groups())
    attempt(lambda: client.describe_groups([GROUP]))
    attempt(lambda: client.close())


async def aiokafka_flow(address):
    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
    from aiokafka.admin import AIOKafkaAdminClient, NewTopic
    config = {"bootstrap_servers": address, "client_id": "golden"}
    producer = AIOKafkaProducer(**config, enable_idempotence=True)
    await producer.start()
    await asyncio.wait_for(producer.send_and_wait(TOPIC, b"value", b"key"), 5)
    await producer.stop()
    consumer = AIOKafkaConsumer(TOPIC, **config, group_id=GROUP, auto_offset_reset="earliest")
    await consumer.start()
    await consumer.getmany(timeout_ms=2000)
    await consumer.commit()
    await consumer.stop()
    client = AIOKafkaAdminClient(**config)
    await client.start()
    for call in (client.create_topics([NewTopic(TOPIC, 3, 1)]), client.delete_topics([TOPIC]),
                 client.list_consumer_groups(), client.describe_consumer_groups([GROUP])):
        try:
            await asyncio.wait_for(call, 5)
        except Exception as error:
            print(f"aiokafka: {type(error).__name__}: {error}", file=sys.stderr)
    await client.close()


async def aiokafka_more(address):
    from aiokafka import AIOKafkaProducer, TopicPartition
    config = {"bootstrap_servers": address, "client_id": "golden"}
    producer = AIOKafkaProducer(**config, transactional_id="transaction-1")
    await asyncio.wait_for(producer.start(), 10)
    await producer.begin_transaction()
    await asyncio.wait_for(producer.send_and_wait(TOPIC, b"value", b"key"), 5)
    await asyncio.wait_for(
        producer.send_offsets_to_transaction({TopicPartition(TOPIC, 0): 7}, GROUP), 5)
    await asyncio.wait_for(producer.commit_transaction(), 5)
    await producer.stop()


def kcat(address):
    run = lambda *arguments, **options: subprocess.run(
        ["kcat", "-b", address, "-X", "client.id=golden", *arguments], timeout=15,
        stdout=subprocess.DEVNULL, **options)
    attempt(lambda: run("-P", "-t", TOPIC, "-X", "acks=1", input=b"value\n"))
    attempt(lambda: run("-C", "-t", TOPIC, "-o", "beginning", "-e"))
    attempt(lambda: run("-L"))


def main():
    global PORT
    socketserver.ThreadingTCPServer.daemon_threads = True
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Broker) as server:
        PORT = server.server_address[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{PORT}"
        for name, flow in (("librdkafka", librdkafka), ("kafka-python", kafka_python),
                           ("aiokafka", lambda a: asyncio.run(aiokafka_flow(a))), ("kcat", kcat)):
            Broker.client = name
            attempt(lambda: flow(address))
        Broker.speaks = tuple(VERSIONS)
        for name, flow in (("librdkafka", librdkafka_more), ("kafka-python", kafka_python_more),
                           ("aiokafka", lambda a: asyncio.run(aiokafka_more(a)))):
            Broker.client = name
            # In a process of its own: librdkafka's share consumer is a preview and may crash.
            child = multiprocessing.get_context("fork").Process(
                target=attempt, args=(lambda: flow(address),))
            child.start()
            child.join(60)
            if child.is_alive():
                child.kill()
        server.shutdown()
    versions = " ".join(f"{p} {importlib.metadata.version(p)}"
                        for p in ("confluent-kafka", "kafka-python", "aiokafka", "kio"))
    print(f"# By capture.py from {versions} and Debian 12's kcat 1.7.1 (librdkafka 2.0.2).")
    for (client, api, version), frame in sorted(CAPTURED.items()):
        print(client, api, version, frame.hex())


main()
