# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: the matrix, a broker that ends and comes back.
"""A producer and a reader go on over a clean restart and over kill -9; nothing is lost and nothing comes twice."""

from __future__ import annotations

import asyncio
from typing import Any, Callable

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka import TopicPartition as AioPartition
from confluent_kafka import Producer, TopicPartition
from kafka import KafkaProducer
from kafka import TopicPartition as PythonPartition

from broker import Broker, Endpoint, wait_until

from .table import World, feature

SECTION = "Restarts"
KCAT_ENDS = {"kcat": "ends by itself when its last broker is away"}
COUNT = 300
VALUES = [b"%d" % number for number in range(COUNT)]


def own(world: World) -> tuple[Broker, Endpoint]:
    broker = world.start_broker(world.name("restarted"), stable=True)
    world.broker = broker
    return broker, Endpoint(broker, world.endpoint.tls)


def run(cell: Callable[[World, str], None], world: World, how: str) -> None:
    try:
        cell(world, how)
    except BaseException as error:
        raise AssertionError(f"{error!r}; the broker said:\n{world.broker.log()[-4000:]}") from error
    finally:
        world.broker.close()


def end(broker: Broker, how: str) -> None:
    broker.stop() if how == "restart" else broker.kill()
    broker.start()


def confluent(world: World, how: str) -> None:
    broker, endpoint = own(world)
    topic = world.topic()
    producer = Producer(endpoint.librdkafka(enable_idempotence=True, message_timeout_ms=60_000))
    consumer = world.client.consumer(endpoint, enable_partition_eof=False)
    consumer.assign([TopicPartition(topic, 0, 0)])
    seen: list[bytes] = []

    def read(count: int) -> bool:
        for message in consumer.consume(100, 0.2):
            assert message.error() is None, message.error()
            seen.append(message.value())
        return len(seen) >= count

    for number, value in enumerate(VALUES):
        producer.produce(topic, value)
        if number == 100:
            wait_until(lambda: read(50), "the first records", pause=0)
            end(broker, how)
    assert producer.flush(50) == 0
    wait_until(lambda: read(COUNT), "all records", 50, pause=0)
    consumer.close()
    assert seen == VALUES


def python(world: World, how: str) -> None:
    broker, endpoint = own(world)
    topic = world.topic()
    producer = KafkaProducer(**endpoint.kafka_python(acks="all", reconnect_backoff_max_ms=200))
    consumer = world.client.consumer(endpoint, reconnect_backoff_max_ms=200)
    place = PythonPartition(topic, 0)
    consumer.assign([place])
    consumer.seek(place, 0)
    seen: list[bytes] = []

    def read(count: int) -> bool:
        seen.extend(record.value for record in consumer.poll(200).get(place, []))
        return len(seen) >= count

    futures = [producer.send(topic, value) for value in VALUES[:100]]
    wait_until(lambda: read(50), "the first records", pause=0)
    end(broker, how)
    futures += [producer.send(topic, value) for value in VALUES[100:]]
    producer.flush(50)
    assert [future.get(1).offset for future in futures] == list(range(COUNT))
    wait_until(lambda: read(COUNT), "all records", 50, pause=0)
    producer.close(10)
    consumer.close(autocommit=False)
    assert seen == VALUES


def aio(world: World, how: str) -> None:
    broker, endpoint = own(world)
    topic = world.topic()

    async def run() -> None:
        place = AioPartition(topic, 0)
        seen: list[bytes] = []
        async with (
            AIOKafkaProducer(**endpoint.aiokafka(enable_idempotence=True)) as producer,
            AIOKafkaConsumer(**endpoint.aiokafka()) as consumer,
        ):
            consumer.assign([place])
            consumer.seek(place, 0)

            async def read(count: int) -> None:
                while len(seen) < count:
                    seen.extend(record.value for record in (await consumer.getmany(timeout_ms=200)).get(place, []))

            futures = [await producer.send(topic, value) for value in VALUES[:100]]
            await read(50)
            await asyncio.to_thread(end, broker, how)
            futures += [await producer.send(topic, value) for value in VALUES[100:]]
            assert [entry.offset for entry in await asyncio.gather(*futures)] == list(range(COUNT))
            await read(COUNT)
        assert seen == VALUES

    world.client.run(run())


CELLS = {"confluent-kafka": confluent, "kafka-python": python, "aiokafka": aio}
for way, title in (("restart", "a clean restart"), ("kill", "kill -9")):
    row = feature(SECTION, f"producer and reader go on over {title}", KCAT_ENDS, slow=True, tls=way == "kill")
    for client, cell in CELLS.items():
        row.cell(client)(lambda world, cell=cell, way=way: run(cell, world, way))
