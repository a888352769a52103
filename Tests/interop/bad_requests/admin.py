# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: bad requests about topics, configuration and the cluster.
from __future__ import annotations

from typing import Any

from .table import ABSENT, ABSENT_ID, ILLEGAL, LONG_NAME, LONGEST_STRING, NO_ID, ROWS, Scene, Values, row

TOPIC, BROKER, GROUP = 2, 4, 32


def api_versions(scene: Scene, version: int) -> Values:
    return {"ClientSoftwareName": "interop", "ClientSoftwareVersion": "1.0"}


(
    row(18, api_versions)
    .fault("no name", {"ClientSoftwareName": ""}, 42, "3+")
    .fault("an illegal name", {"ClientSoftwareName": "a b"}, 42, "3+")
    .fault("an illegal version", {"ClientSoftwareVersion": "-"}, 42, "3+")
)


def create_topics(scene: Scene, version: int) -> Values:
    return {
        "Topics": [{
            "Name": scene.name(), "NumPartitions": 1, "ReplicationFactor": 1,
            "Configs": [{"Name": "retention.ms", "Value": "1000"}],
        }],
        "timeoutMs": 1000,
    }


def topic_twice(scene: Scene, version: int) -> dict[str, Any]:
    return {"Topics": create_topics(scene, version)["Topics"] * 2}


(
    row(19, create_topics)
    .fault("a topic that exists", {"Topics.0.Name": Scene.TOPIC}, 36)
    .fault("empty name", {"Topics.0.Name": ""}, 17)
    .fault("illegal name", {"Topics.0.Name": ILLEGAL}, 17)
    .fault("a dot for a name", {"Topics.0.Name": "."}, 17)
    .fault("long name", {"Topics.0.Name": LONG_NAME}, 17)
    # A reason that repeats the name does not fit into the answer before version 5, in Kafka neither.
    .fault("longest name", {"Topics.0.Name": LONGEST_STRING}, 17, "5+")
    .fault("no partitions", {"Topics.0.NumPartitions": 0}, 37)
    .fault("negative partitions", {"Topics.0.NumPartitions": -2}, 37)
    .fault("no replicas", {"Topics.0.ReplicationFactor": 0}, 38)
    .fault("negative replicas", {"Topics.0.ReplicationFactor": -2}, 38)
    .fault("too many replicas", {"Topics.0.ReplicationFactor": 3}, 38)
    .fault("unknown configuration", {"Topics.0.Configs.0.Name": "no.such.key"}, 40)
    .fault("a value that is none", {"Topics.0.Configs.0.Value": "soon"}, 40)
    .fault("a null value", {"Topics.0.Configs.0.Value": None}, 40)
    .fault("assigned to no broker of ours", {
        "Topics.0.NumPartitions": -1, "Topics.0.ReplicationFactor": -1,
        "Topics.0.Assignments": [{"PartitionIndex": 0, "BrokerIds": [999_999]}]}, 39)
    .fault("assigned with a gap", lambda scene, version: {
        "Topics.0.NumPartitions": -1, "Topics.0.ReplicationFactor": -1,
        "Topics.0.Assignments": [{"PartitionIndex": 1, "BrokerIds": [scene.node]}]}, 39)
    .fault("assigned and counted", lambda scene, version: {
        "Topics.0.Assignments": [{"PartitionIndex": 0, "BrokerIds": [scene.node]}]}, 42)
    .fault("a topic twice", topic_twice, 42)
)


def delete_topics(scene: Scene, version: int) -> Values:
    name = scene.topic()
    return {"Topics": [{"Name": name, "TopicId": NO_ID}], "TopicNames": [name], "TimeoutMs": 1000}


def deleted_twice(scene: Scene, version: int) -> dict[str, Any]:
    name = scene.topic()
    return {"Topics": [{"Name": name}] * 2, "TopicNames": [name] * 2}


(
    row(20, delete_topics)
    .fault("unknown topic", {"Topics.0.Name": ABSENT, "TopicNames.0": ABSENT}, 3)
    .fault("illegal name", {"Topics.0.Name": ILLEGAL, "TopicNames.0": ILLEGAL}, 3)
    .fault("empty name", {"Topics.0.Name": "", "TopicNames.0": ""}, 3)
    .fault("unknown topic id", {"Topics.0": {"Name": None, "TopicId": ABSENT_ID}}, 100, "6+")
    .fault("a name and an id", lambda scene, version: {
        "Topics.0": {"Name": scene.TOPIC, "TopicId": scene.topic_id}}, 42, "6+")
    .fault("neither a name nor an id", {"Topics.0.Name": None}, 42, "6+")
    .fault("a topic twice", deleted_twice, 42)
)


def create_partitions(scene: Scene, version: int) -> Values:
    return {"Topics": [{"Name": scene.topic(), "Count": 3}], "TimeoutMs": 1000}


(
    row(37, create_partitions)
    .fault("unknown topic", {"Topics.0.Name": ABSENT}, 3)
    .fault("illegal name", {"Topics.0.Name": ILLEGAL}, 3)
    .fault("fewer", {"Topics.0.Name": Scene.TOPIC, "Topics.0.Count": 2}, 37)
    .fault("as many", {"Topics.0.Name": Scene.TOPIC}, 37)
    .fault("none", {"Topics.0.Name": Scene.TOPIC, "Topics.0.Count": 0}, 37)
    .fault("negative", {"Topics.0.Name": Scene.TOPIC, "Topics.0.Count": -1}, 37)
    .fault("assigned too few", lambda scene, version: {
        "Topics.0.Name": scene.TOPIC, "Topics.0.Count": 5, "Topics.0.Assignments": [{"BrokerIds": [scene.node]}]}, 39)
    .fault("assigned to no broker of ours", {
        "Topics.0.Name": Scene.TOPIC, "Topics.0.Count": 4, "Topics.0.Assignments": [{"BrokerIds": [999_999]}]}, 39)
    .fault("a topic twice", lambda scene, version: {
        "Topics": [{"Name": scene.TOPIC, "Count": 4}, {"Name": scene.TOPIC, "Count": 5}]}, 42)
)


def describe_configs(scene: Scene, version: int) -> Values:
    return {"Resources": [{"ResourceType": TOPIC, "ResourceName": scene.TOPIC, "ConfigurationKeys": None}]}


(
    row(32, describe_configs)
    .fault("unknown topic", {"Resources.0.ResourceName": ABSENT}, 3)
    .fault("illegal topic name", {"Resources.0.ResourceName": ILLEGAL}, 17)
    .fault("empty topic name", {"Resources.0.ResourceName": ""}, 17)
    .fault("unknown kind of resource", {"Resources.0.ResourceType": 99}, 42)
    .fault("another broker", {"Resources.0.ResourceType": BROKER, "Resources.0.ResourceName": "999999"}, 42)
    .fault("a broker without a number", {"Resources.0.ResourceType": BROKER, "Resources.0.ResourceName": "abc"}, 42)
)


def alter_configs(scene: Scene, version: int) -> Values:
    return {"Resources": [{
        "ResourceType": TOPIC, "ResourceName": scene.topic(), "Configs": [{"Name": "retention.ms", "Value": "5000"}]}]}


def half(name: str, value: Any) -> dict[str, Any]:
    """A good change and a bad one to the kept topic: neither may be applied."""
    return {"Resources.0.ResourceName": Scene.TOPIC, "Resources.0.Configs": [
        {"Name": "retention.ms", "Value": "5000"}, {"Name": name, "Value": value}]}


def resource_twice(scene: Scene, version: int) -> dict[str, Any]:
    change = {"Name": "retention.ms", "Value": "5000"}
    return {"Resources": [{"ResourceType": TOPIC, "ResourceName": scene.TOPIC, "Configs": [change]}] * 2}


for key in (33, 44):
    (
        row(key, alter_configs)
        .fault("unknown topic", {"Resources.0.ResourceName": ABSENT}, 3)
        .fault("illegal topic name", {"Resources.0.ResourceName": ILLEGAL}, 17)
        .fault("empty topic name", {"Resources.0.ResourceName": ""}, 42)
        .fault("unknown kind of resource", {"Resources.0.ResourceType": 99}, 42)
        .fault("unknown key", half("no.such.key", "1"), 40)
        .fault("a value that is none", half("max.message.bytes", "many"), 40)
        .fault("a negative value", half("segment.bytes", "-5"), 40)
        .fault("a null value", half("max.message.bytes", None), 42)
        .fault("a key twice", half("retention.ms", "6000"), 42)
        .fault("a resource twice", resource_twice, 42)
        .fault("a broker without a number", {"Resources.0.ResourceType": BROKER, "Resources.0.ResourceName": "abc"}, 42)
        .fault("another broker", {"Resources.0.ResourceType": BROKER, "Resources.0.ResourceName": "999999"}, 42)
    )

(
    ROWS[44]
    .fault("unknown operation", {"Resources.0.Configs.0.ConfigOperation": 9}, 42)
    .fault("appended to what is no list", {"Resources.0.Configs.0.ConfigOperation": 2}, 40)
    .fault("subtracted from what is no list", {"Resources.0.Configs.0.ConfigOperation": 3}, 40)
)


(
    row(60, lambda scene, version: {"EndpointType": 1})
    .fault("of controllers", {"EndpointType": 2}, 114, "1+")
    .fault("of nothing", {"EndpointType": 9}, 115, "1+")
)


(
    row(35, lambda scene, version: {"Topics": [{"Topic": scene.TOPIC, "Partitions": [0, 9]}]})
)

(
    row(34, lambda scene, version: {
        "Dirs": [{"Path": "/nowhere", "Topics": [{"Name": scene.TOPIC, "Partitions": [0]}]}]}, {57})
)

(
    row(43, lambda scene, version: {
        "TopicPartitions": [{"Topic": scene.TOPIC, "Partitions": [0]}], "TimeoutMs": 1000}, {84})
    .fault("unknown topic", {"TopicPartitions.0.Topic": ABSENT}, 3)
    .fault("unknown partition", {"TopicPartitions.0.Partitions": [9]}, 3)
)

(
    row(45, lambda scene, version: {
        "TimeoutMs": 1000,
        "Topics": [{"Name": scene.TOPIC, "Partitions": [{"PartitionIndex": 0, "Replicas": None}]}]}, {85})
    .fault("unknown topic", {"Topics.0.Name": ABSENT}, 3)
    .fault("unknown partition", {"Topics.0.Partitions.0.PartitionIndex": 9}, 3)
    .fault("no broker of ours", {"Topics.0.Partitions.0.Replicas": [999_999]}, 39)
    .fault("no replicas", {"Topics.0.Partitions.0.Replicas": []}, 39)
)

row(46, lambda scene, version: {"TimeoutMs": 1000, "Topics": [{"Name": scene.TOPIC, "PartitionIndexes": [0, 9]}]})

(
    row(55, lambda scene, version: {
        "Topics": [{"TopicName": "__cluster_metadata", "Partitions": [{"PartitionIndex": 0}]}]})
    .fault("another topic", {"Topics.0.TopicName": Scene.TOPIC}, 3)
    .fault("another partition", {"Topics.0.Partitions.0.PartitionIndex": 9}, 3)
)

(
    row(57, lambda scene, version: {
        "timeoutMs": 1000, "FeatureUpdates": [{"Feature": "no.such.feature", "MaxVersionLevel": 1, "UpgradeType": 1}]},
        {95})
)

row(74, lambda scene, version: {})

(
    row(75, lambda scene, version: {"Topics": [{"Name": scene.TOPIC}], "ResponsePartitionLimit": 2})
    .fault("unknown topic", {"Topics.0.Name": ABSENT}, 3)
    .fault("an illegal cursor", lambda scene, version: {
        "Cursor": {"TopicName": scene.TOPIC, "PartitionIndex": -1}}, 42)
)
