# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: the matrix, the admin client: configuration.
"""Configuration of topics, of the broker and of groups, described and altered in both ways."""

from __future__ import annotations

from typing import Any, Optional

import pytest
from aiokafka.admin.config_resource import ConfigResource as AioResource
from aiokafka.admin.config_resource import ConfigResourceType as AioType
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ConfigSource, ResourceType
from kafka.admin import AlterConfigOp, ConfigResourceType
from kafka.admin import ConfigResource as PythonResource

from .admin import AIO_LACKS, NO_ADMIN, admin, only
from .clients import python_admin
from .table import World, feature

SECTION = "Admin: configuration"
AIO_TYPES = {"aiokafka": "knows the configuration of topics and brokers only"}


def confluent_configs(world: World, kind: ResourceType, name: str) -> dict[str, ConfigEntry]:
    return only(admin(world).describe_configs([ConfigResource(kind, name)]))


def python_configs(client: Any, kind: ConfigResourceType, name: str, **options: Any) -> dict[str, Any]:
    found = client.describe_configs([PythonResource(kind, name)], config_filter="all", **options)
    return found[kind.name.lower()][name]


def incremental(world: World, kind: ResourceType, name: str, *changes: tuple[str, AlterConfigOpType, Optional[str]],
                validate_only: bool = False) -> Any:  # fmt: skip
    resource = ConfigResource(kind, name)
    for key, operation, value in changes:
        resource.add_incremental_config(ConfigEntry(key, value, incremental_operation=operation))
    return only(admin(world).incremental_alter_configs([resource], validate_only=validate_only))


def node(world: World) -> str:
    return str(next(iter(admin(world).list_topics(timeout=20).brokers)))


topics = feature(SECTION, "describe a topic's configuration, with sources", NO_ADMIN)


@topics.cell("confluent-kafka")
def topics_confluent(world: World) -> None:
    found = confluent_configs(world, ResourceType.TOPIC, world.topic(retention_ms="3600000"))
    assert (found["retention.ms"].value, found["retention.ms"].is_default) == ("3600000", False)
    assert found["retention.ms"].source == ConfigSource.DYNAMIC_TOPIC_CONFIG.value
    assert (found["cleanup.policy"].value, found["cleanup.policy"].is_default) == ("delete", True)
    with pytest.raises(KafkaException) as absent:
        confluent_configs(world, ResourceType.TOPIC, world.name("absent"))
    assert absent.value.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART


@topics.cell("kafka-python")
def topics_python(world: World) -> None:
    topic = world.topic(retention_ms="3600000")

    def work(client: Any) -> None:
        found = python_configs(client, ConfigResourceType.TOPIC, topic, include_synonyms=True)
        assert found["retention.ms"]["value"] == "3600000"
        assert found["retention.ms"]["config_source"] == "DYNAMIC_TOPIC_CONFIG"
        assert found["retention.ms"]["config_type"] == "LONG"
        synonyms = [(entry["name"], entry["source"]) for entry in found["retention.ms"]["synonyms"]]
        assert synonyms[0] == ("retention.ms", "DYNAMIC_TOPIC_CONFIG")
        assert found["cleanup.policy"]["config_source"] == "DEFAULT_CONFIG"

    python_admin(world.endpoint, work)


@topics.cell("aiokafka")
def topics_aiokafka(world: World) -> None:
    topic = world.topic(retention_ms="3600000")

    async def work(client: Any) -> None:
        (answer,) = await client.describe_configs([AioResource(AioType.TOPIC, topic)])
        values = {entry[0]: entry[1] for entry in answer.resources[0][4]}
        assert values["retention.ms"] == "3600000" and values["cleanup.policy"] == "delete"

    world.client.admin(world.endpoint, work)


broker = feature(SECTION, "describe the broker's configuration", NO_ADMIN)


@broker.cell("confluent-kafka")
def broker_confluent(world: World) -> None:
    found = confluent_configs(world, ResourceType.BROKER, node(world))
    assert int(found["message.max.bytes"].value) > 0 and found["log.retention.ms"].name == "log.retention.ms"


@broker.cell("kafka-python")
def broker_python(world: World) -> None:
    name = node(world)
    found = python_admin(world.endpoint, lambda client: python_configs(client, ConfigResourceType.BROKER, name))
    assert int(found["message.max.bytes"]["value"]) > 0


@broker.cell("aiokafka")
def broker_aiokafka(world: World) -> None:
    name = node(world)

    async def work(client: Any) -> None:
        (answer,) = await client.describe_configs([AioResource(AioType.BROKER, name)])
        assert "message.max.bytes" in [entry[0] for entry in answer.resources[0][4]]

    world.client.admin(world.endpoint, work)


changed = feature(SECTION, "alter a topic's configuration incrementally: set, append, subtract, delete, validate only",
                  {**NO_ADMIN, **AIO_LACKS})  # fmt: skip


@changed.cell("confluent-kafka")
def changed_confluent(world: World) -> None:
    topic = world.topic(max_message_bytes="5000")

    def value(name: str) -> Optional[str]:
        return confluent_configs(world, ResourceType.TOPIC, topic)[name].value

    def change(name: str, operation: AlterConfigOpType, to: Optional[str], **options: bool) -> None:
        incremental(world, ResourceType.TOPIC, topic, (name, operation, to), **options)

    change("retention.ms", AlterConfigOpType.SET, "7200000", validate_only=True)
    assert value("retention.ms") == "604800000"
    change("retention.ms", AlterConfigOpType.SET, "7200000")
    assert (value("retention.ms"), value("max.message.bytes")) == ("7200000", "5000")
    change("cleanup.policy", AlterConfigOpType.APPEND, "compact")
    assert set(value("cleanup.policy").split(",")) == {"delete", "compact"}  # type: ignore[union-attr]
    change("cleanup.policy", AlterConfigOpType.SUBTRACT, "delete")
    assert value("cleanup.policy") == "compact"
    change("retention.ms", AlterConfigOpType.DELETE, None)
    assert value("retention.ms") == "604800000"
    with pytest.raises(KafkaException) as refused:
        change("no.such.key", AlterConfigOpType.SET, "1")
    assert refused.value.args[0].code() == KafkaError.INVALID_CONFIG


@changed.cell("kafka-python")
def changed_python(world: World) -> None:
    topic = world.topic(max_message_bytes="5000")

    def work(client: Any) -> None:
        def change(name: str, operation: AlterConfigOp, to: Optional[str], **options: bool) -> Any:
            resource = PythonResource(ConfigResourceType.TOPIC, topic, {name: (operation, to)})
            return client.alter_configs([resource], incremental=True, **options)["topic"][topic]

        def value(name: str) -> str:
            return python_configs(client, ConfigResourceType.TOPIC, topic)[name]["value"]

        assert change("retention.ms", AlterConfigOp.SET, "7200000", validate_only=True) == "OK"
        assert value("retention.ms") == "604800000"
        assert change("retention.ms", AlterConfigOp.SET, "7200000") == "OK"
        assert (value("retention.ms"), value("max.message.bytes")) == ("7200000", "5000")
        assert change("cleanup.policy", AlterConfigOp.APPEND, "compact") == "OK"
        assert set(value("cleanup.policy").split(",")) == {"delete", "compact"}
        assert change("cleanup.policy", AlterConfigOp.SUBTRACT, "delete") == "OK"
        assert value("cleanup.policy") == "compact"
        client.reset_configs([PythonResource(ConfigResourceType.TOPIC, topic, {"retention.ms": None})])
        assert value("retention.ms") == "604800000"
        assert "InvalidConfig" in change("no.such.key", AlterConfigOp.SET, "1", raise_on_unknown=False)

    python_admin(world.endpoint, work)


replaced = feature(SECTION, "alter a topic's configuration as a whole (AlterConfigs)", NO_ADMIN)


@replaced.cell("confluent-kafka")
def replaced_confluent(world: World) -> None:
    topic = world.topic(max_message_bytes="5000")
    resource = ConfigResource(ResourceType.TOPIC, topic, set_config={"retention.ms": "7200000"})
    with pytest.deprecated_call():
        futures = admin(world).alter_configs([resource])
    assert only(futures) is None
    found = confluent_configs(world, ResourceType.TOPIC, topic)
    # What is not named goes back to its default.
    assert found["retention.ms"].value == "7200000" and found["max.message.bytes"].is_default


@replaced.cell("kafka-python")
def replaced_python(world: World) -> None:
    topic = world.topic(max_message_bytes="5000")

    def work(client: Any) -> None:
        resource = PythonResource(ConfigResourceType.TOPIC, topic, {"retention.ms": "7200000"})
        assert client.alter_configs([resource], incremental=False)["topic"][topic] == "OK"
        found = python_configs(client, ConfigResourceType.TOPIC, topic)
        assert found["retention.ms"]["value"] == "7200000"
        # This client fills in what it was not told to change.
        assert found["max.message.bytes"]["value"] == "5000"

    python_admin(world.endpoint, work)


@replaced.cell("aiokafka")
def replaced_aiokafka(world: World) -> None:
    topic = world.topic(max_message_bytes="5000")

    async def work(client: Any) -> None:
        await client.alter_configs([AioResource(AioType.TOPIC, topic, {"retention.ms": "7200000"})])
        (answer,) = await client.describe_configs([AioResource(AioType.TOPIC, topic)])
        values = {entry[0]: entry[1] for entry in answer.resources[0][4]}
        assert values["retention.ms"] == "7200000" and values["max.message.bytes"] != "5000"

    world.client.admin(world.endpoint, work)


dynamic = feature(SECTION, "alter the broker's configuration", {**NO_ADMIN, **AIO_LACKS})


@dynamic.cell("confluent-kafka")
def dynamic_confluent(world: World) -> None:
    name = node(world)
    key = "log.retention.ms"
    before = confluent_configs(world, ResourceType.BROKER, name)[key]
    incremental(world, ResourceType.BROKER, name, (key, AlterConfigOpType.SET, "604799000"))
    after = confluent_configs(world, ResourceType.BROKER, name)[key]
    assert (after.value, after.source) == ("604799000", ConfigSource.DYNAMIC_BROKER_CONFIG.value)
    incremental(world, ResourceType.BROKER, name, (key, AlterConfigOpType.DELETE, None))
    assert confluent_configs(world, ResourceType.BROKER, name)[key].value == before.value


@dynamic.cell("kafka-python")
def dynamic_python(world: World) -> None:
    name, key = node(world), "log.segment.bytes"

    def work(client: Any) -> None:
        def change(operation: AlterConfigOp, to: Optional[str]) -> Any:
            resource = PythonResource(ConfigResourceType.BROKER, name, {key: (operation, to)})
            return client.alter_configs([resource], incremental=True)["broker"][name]

        before = python_configs(client, ConfigResourceType.BROKER, name)[key]["value"]
        assert change(AlterConfigOp.SET, "1000000000") == "OK"
        after = python_configs(client, ConfigResourceType.BROKER, name)[key]
        assert (after["value"], after["config_source"]) == ("1000000000", "DYNAMIC_BROKER_CONFIG")
        assert change(AlterConfigOp.DELETE, None) == "OK"
        assert python_configs(client, ConfigResourceType.BROKER, name)[key]["value"] == before

    python_admin(world.endpoint, work)


group = feature(SECTION, "describe and alter a group's configuration", {**NO_ADMIN, **AIO_TYPES})


@group.cell("confluent-kafka")
def group_confluent(world: World) -> None:
    name, key = world.name("group"), "consumer.session.timeout.ms"
    before = confluent_configs(world, ResourceType.GROUP, name)[key].value
    incremental(world, ResourceType.GROUP, name, (key, AlterConfigOpType.SET, "50000"))
    assert before != confluent_configs(world, ResourceType.GROUP, name)[key].value == "50000"
    with pytest.raises(KafkaException) as refused:
        incremental(world, ResourceType.GROUP, name, (key, AlterConfigOpType.SET, "1"))
    assert refused.value.args[0].code() == KafkaError.INVALID_CONFIG


@group.cell("kafka-python")
def group_python(world: World) -> None:
    name, key = world.name("group"), "consumer.heartbeat.interval.ms"

    def work(client: Any) -> None:
        before = python_configs(client, ConfigResourceType.GROUP, name)[key]["value"]
        resource = PythonResource(ConfigResourceType.GROUP, name, {key: (AlterConfigOp.SET, "6000")})
        assert client.alter_configs([resource], incremental=True)["group"][name] == "OK"
        assert before != python_configs(client, ConfigResourceType.GROUP, name)[key]["value"] == "6000"

    python_admin(world.endpoint, work)


resources = feature(
    SECTION, "list the resources that have configurations",
    {**NO_ADMIN, **AIO_LACKS, "confluent-kafka": "no call for listing configuration resources"})


@resources.cell("kafka-python")
def resources_python(world: World) -> None:
    found = python_admin(world.endpoint, lambda client: client.list_config_resources())
    # Version 0, which a 4.0 node has, lists subscriptions to client metrics, and there is none.
    assert found.get("client_metrics", []) == []
