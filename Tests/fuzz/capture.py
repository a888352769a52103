#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes seeds for the fuzz targets out of what real clients and this broker say to each other.

    capture.py BROKER-BINARY DIRECTORY

A recording proxy stands between a broker of its own and librdkafka, kcat, kafka-python, aiokafka, grpcio,
curl and openssl s_client. Each conversation becomes inputs of the targets that read it, as files in
DIRECTORY/TARGET; put them into
.build-fuzz/corpus, run `make fuzz`, and `fuzz.py pack` keeps a selection. Loopback only; ends by itself.
"""
import asyncio
import base64
import pathlib
import re
import socket
import struct
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "interop"))
from broker import Broker, Endpoint  # noqa: E402
from stubs import generate  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
# As `ApiTable` and the target's list order them.
APIS = [0, 1, 2, 3, 8, 9, 10, 11, 12, 14, 15, 16, 18, 19, 20, 21, 22, 23, 32, 37, 42, 44, 47, 60]
RESPONSE_ORDER = [0, 1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 19, 20, 21, 22, 23, 32, 37, 42, 44, 47, 60]
FIRST_VERSION = {0: 3, 1: 4, 2: 1, 8: 2, 9: 1, 19: 2, 20: 1, 23: 2, 32: 1}
OUT = pathlib.Path()
COUNT = 0


def keep(target, *parts):
    global COUNT
    data = b"".join(parts)
    folder = OUT / target
    folder.mkdir(parents=True, exist_ok=True)
    COUNT += 1
    (folder / f"{COUNT:05}").write_bytes(data)


class Proxy:
    """Passes connections on to a port that is set later, and remembers both directions."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.target = None
        self.conversations = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            server = socket.create_connection(("127.0.0.1", self.target))
            said = (bytearray(), bytearray())
            self.conversations.append(said)
            for source, sink, record in ((client, server, said[0]), (server, client, said[1])):
                threading.Thread(target=self.copy, args=(source, sink, record), daemon=True).start()

    @staticmethod
    def copy(source, sink, record):
        try:
            while data := source.recv(65536):
                if len(record) < 1 << 20:
                    record += data
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass


def frames(stream):
    position = 0
    while position + 4 <= len(stream):
        (length,) = struct.unpack_from(">i", stream, position)
        frame = bytes(stream[position + 4:position + 4 + length])
        if len(frame) < length:
            return
        yield frame
        position += 4 + length


def keep_batches(frame):
    for start in range(len(frame) - 61):
        (base, length) = struct.unpack_from(">qi", frame, start)
        if frame[start + 16] == 2 and 49 <= length <= len(frame) - start - 12 and 0 <= base < 1000:
            batch = frame[start:start + 12 + length]
            keep("record-batch", b"\0", batch)
            keep("record-batch", b"\1", batch)
            if codec := batch[22] & 7:
                keep("decompressor", bytes([codec]), batch[61:])


def keep_kafka(client, server):
    keep("kafka-connection", b"\0\0", client[:16000])
    keep("kafka-connection", b"\1\7", client[:4000])
    keep("kafka-client", b"\0\0", server[:4000])
    asked = {}
    for frame in frames(client):
        key, version, correlation = struct.unpack_from(">hhi", frame)
        asked[correlation] = key, version
        keep("kafka-request", frame[:4000])
        if key == 0:
            keep_batches(frame)
    for frame in frames(server):
        (correlation,) = struct.unpack_from(">i", frame)
        key, version = asked.get(correlation, (None, 0))
        if key in RESPONSE_ORDER:
            number = bytes([RESPONSE_ORDER.index(key), version - FIRST_VERSION.get(key, 0)])
            keep("kafka-response", number, frame[:4000])
        if key == 1:
            keep_batches(frame)
            keep("kafka-client", b"\0\1", frame[-2000:])


def keep_http2(client, server):
    keep("grpc-connection", b"\0\0\0", client[:16000])
    after_preface = client[24:]
    length = int.from_bytes(after_preface[:3], "big")
    keep("grpc-connection", b"\0\5\1", after_preface[9 + length:][:8000])
    keep("http2-client", b"\0\0", server[:8000])
    keep("http2-client", b"\0\3", server[:2000])
    for stream in (client[24:], server):
        position = 0
        while position + 9 <= len(stream):
            length = int.from_bytes(stream[position:position + 3], "big")
            if stream[position + 3] == 0 and length:
                keep("grpc-messages", b"\0\3", stream[position + 9:position + 9 + length][:4000])
            position += 9 + length


def sort(conversations):
    for client, server in conversations:
        client, server = bytes(client), bytes(server)
        if client[:3] == b"PRI":
            keep_http2(client, server)
        elif client[:1] == b"\x16":
            keep("tls", b"\0\0\0", client[:4000])
            keep("tls", b"\0\3\0", client[:4000])
        elif client[:4] in (b"GET ", b"POST", b"HEAD"):
            keep("http1", b"\0\0", client[:4000])
            keep("http1", b"\0\3", client[:4000])
        elif client:
            keep_kafka(client, server)


# --- clients


def librdkafka(endpoint):
    from confluent_kafka import Consumer, Producer, TopicPartition
    from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic

    admin = AdminClient(endpoint.librdkafka())
    done = lambda futures: [future.result(20) for future in futures.values()]
    done(admin.create_topics([NewTopic("rd", 2, 1, config={"retention.ms": "60000"})]))
    for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
        producer = Producer(endpoint.librdkafka(**{"compression.type": codec, "enable.idempotence": True}))
        for number in range(5):
            producer.produce("rd", f"value {number} {codec} " * 6, key=f"k{number}", headers={"h": b"x"})
        producer.flush(20)
    consumer = Consumer(endpoint.librdkafka(**{"group.id": "rd", "auto.offset.reset": "earliest"}))
    consumer.subscribe(["rd"])
    seen = 0
    while seen < 25 and (message := consumer.poll(20)):
        seen += 0 if message.error() else 1
    consumer.commit(asynchronous=False)
    consumer.committed([TopicPartition("rd", 0), TopicPartition("rd", 1)], timeout=20)
    consumer.offsets_for_times([TopicPartition("rd", 0, 1_600_000_000_000)], timeout=20)
    consumer.close()
    done(admin.describe_configs([ConfigResource("TOPIC", "rd"), ConfigResource("BROKER", "1")]))
    done(admin.create_partitions([NewPartitions("rd", 3)]))
    done(admin.describe_consumer_groups(["rd"]))
    admin.list_consumer_groups().result(20)
    done(admin.delete_consumer_groups(["rd"]))
    done(admin.delete_records([TopicPartition("rd", 0, 1)]))
    done(admin.delete_topics(["rd"]))


def kcat(endpoint):
    run = lambda *more, **kw: subprocess.run(["kcat", *endpoint.kcat(), *more], check=True, timeout=30, capture_output=True, **kw)
    run("-P", "-t", "kcat", "-K", ":", "-z", "lz4", input=b"a:1\nb:2\nc:3\n")
    run("-C", "-t", "kcat", "-e", "-o", "beginning")
    run("-L")


def kafka_python(endpoint):
    from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
    from kafka.admin import NewTopic

    admin = KafkaAdminClient(**endpoint.kafka_python())
    admin.create_topics([NewTopic("kp", 1, 1)])
    producer = KafkaProducer(**endpoint.kafka_python())
    for number in range(3):
        producer.send("kp", f"value {number}".encode(), key=b"k", headers=[("h", b"1")])
    producer.flush(20)
    producer.close()
    consumer = KafkaConsumer(
        "kp", group_id="kp", auto_offset_reset="earliest", consumer_timeout_ms=3000, **endpoint.kafka_python())
    for _, message in zip(range(3), consumer):
        assert message.value
    consumer.commit()
    consumer.close()
    admin.describe_groups(["kp"]) if hasattr(admin, "describe_groups") else None
    admin.delete_topics(["kp"])
    admin.close()


def aiokafka(endpoint):
    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

    async def talk():
        producer = AIOKafkaProducer(compression_type="gzip", **endpoint.aiokafka())
        await producer.start()
        for number in range(3):
            await producer.send_and_wait("aio", f"value {number}".encode() * 20)
        await producer.stop()
        consumer = AIOKafkaConsumer("aio", group_id="aio", auto_offset_reset="earliest", **endpoint.aiokafka())
        await consumer.start()
        for _ in range(3):
            await asyncio.wait_for(consumer.getone(), 20)
        await consumer.commit()
        await consumer.stop()

    asyncio.run(talk())


def grpcio(endpoint, api):
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc
    from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

    channel = endpoint.grpc_channel()
    streams, admin = api.StreamsStub(channel), api.AdminStub(channel)

    def say(choice, call, request):
        keep("protobuf", bytes([choice]), request.SerializeToString())
        return call(request, timeout=20)

    say(6, admin.CreateTopic, api.CreateTopicRequest(name="grpc", partition_count=2, configs={"retention.ms": "1000000"}))
    record = lambda number: api.PublishRecord(
        key=b"k%d" % number, value=b"value %d" % number, headers=[api.Header(key="h", value=b"x")],
        timestamp_ms=1_700_000_000_000)
    request = api.PublishRequest(topic="grpc", records=[record(number) for number in range(4)])
    keep("protobuf", b"\1", request.SerializeToString())
    say(0, streams.Publish, request)
    say(0, streams.Publish, api.PublishRequest(topic="grpc", partition=1, records=[api.PublishRecord(value=b"x")]))
    request = api.SubscribeRequest(
        topics=[api.TopicSelection(topic="grpc")], origin=api.ORIGIN_EARLIEST, until_end=True)
    for answer in say(2, streams.Subscribe, request):
        keep("protobuf", b"\3", answer.SerializeToString())
    offset = api.PartitionOffset(topic="grpc", partition=0, offset=1)
    say(4, streams.Commit, api.CommitRequest(group="g", offsets=[offset]))
    say(5, streams.Committed, api.CommittedRequest(group="g"))
    keep("protobuf", b"\7", admin.ListTopics(api.ListTopicsRequest(), timeout=20).SerializeToString())
    keep("protobuf", bytes([8]), admin.DescribeTopic(api.DescribeTopicRequest(name="grpc"), timeout=20).SerializeToString())
    say(9, health_pb2_grpc.HealthStub(channel).Check, health_pb2.HealthCheckRequest(service="martlet.v1.Streams"))
    ProtoReflectionDescriptorDatabase(channel).get_services()
    for path in ("/martlet.v1.Streams/Nothing", "/x/y"):
        try:
            channel.unary_unary(path)(b"", timeout=5)
        except grpc.RpcError:
            pass
    compressed = grpc.Compression.Gzip
    streams.Publish(api.PublishRequest(topic="grpc", records=[record(9)]), timeout=20, compression=compressed)
    channel.close()


def curl(address):
    for arguments in (["/healthz"], ["-I", "/metrics"], ["-X", "POST", "-d", "x=1", "/readyz?verbose"], ["-0", "/"]):
        subprocess.run(
            ["curl", "-s", "-m", "10", *arguments[:-1], f"http://{address}{arguments[-1]}"],
            stdout=subprocess.DEVNULL, check=True)


def s_client(address, broker):
    for more in ([], ["-alpn", "h2"], ["-tls1_2"], ["-servername", "localhost", "-alpn", "http/1.1"]):
        subprocess.run(
            ["openssl", "s_client", "-connect", address, "-cert", broker.certificate, "-key", broker.key,
             "-CAfile", broker.ca, *more],
            input=b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", timeout=20, capture_output=True)


# --- what no conversation shows


def attribute(oid, tag, value):
    content = b"\x06" + bytes([len(oid)]) + oid + bytes([tag, len(value)]) + value
    content = b"\x30" + bytes([len(content)]) + content
    return b"\x31" + bytes([len(content)]) + content


def keep_certificates(broker):
    for path in (broker.ca, broker.certificate, broker.key):
        text = pathlib.Path(path).read_bytes()
        keep("certificates", b"\0", text)
        if b"CERTIFICATE" in text:
            body = b"".join(text.split(b"-----")[2].split())
            keep("certificates", b"\1", base64.b64decode(body))
    parts = [attribute(b"\x55\x04\x06", 0x13, b"DE"), attribute(b"\x55\x04\x0a", 0x0c, "Öl, Gas\n#1".encode()),
             attribute(b"\x55\x04\x03", 0x1e, "é=x".encode("utf-16-be")), attribute(b"\x2a\x03\x04", 0x02, b"\x05")]
    for count in range(1, len(parts) + 1):
        content = b"".join(parts[:count])
        keep("certificates", b"\2", b"\x30" + bytes([len(content)]) + content)


def keep_files(data):
    for path in sorted(data.rglob("*")):
        if not path.is_file():
            continue
        content = path.read_bytes()
        match path.name:
            case "martlet.checkpoint": keep("storage-files", b"\0", content[8:-4][:4000])
            case "martlet.properties": keep("storage-files", b"\1", content)
            case "partition.metadata": keep("storage-files", b"\2", content)
        if path.suffix == ".log":
            for record in re.findall(rb"(?s)\x01[\w.-]+[\x00-\xff]{0,60}", content[:2000])[:4]:
                keep("storage-files", b"\4", bytes([8]), record)
    index = b"".join(struct.pack(">II", 10 * n, 100 * n) for n in range(1, 7))
    times = b"".join(struct.pack(">qI", 1000 * n, 10 * n) for n in range(1, 5))
    keep("storage-files", b"\3\3\xe8", index + times)
    name = lambda text: struct.pack(">h", len(text)) + text
    topic = b"\1orders"
    value = b"\1" + bytes(15) + b"\7" + struct.pack(">iBH", 3, 0, 1) + name(b"retention.ms") + name(b"5")
    keep("storage-files", b"\4", bytes([len(topic)]), topic, value)
    keep("storage-files", b"\4\1\2", b"\1" + struct.pack(">q", 1000))
    key = struct.pack(">h", 1) + name(b"group") + name(b"orders") + struct.pack(">i", 0)
    for version, rest in ((3, struct.pack(">i", 0) + name(b"meta") + struct.pack(">q", 5)),
                          (1, name(b"") + struct.pack(">qq", 5, 6))):
        keep("storage-files", b"\5", bytes([len(key)]), key, struct.pack(">hq", version, 42) + rest)
    keep("storage-files", b"\6", struct.pack(">hi", 1, 2) + name(b"a") + name(b"b"))


def keep_texts():
    for text in ("port: 9092\nlog.retention.ms: 60000\n", "log: {retention.ms: 5}\ntls:\n  ca: 'x'\n  key: \"y\"\n",
                 "# nothing\n", "host: [a, b]\n", "a: &x 1\nb: *x\n", "port: 1\nport: 2\n", "---\n...\n---\nx: 1\n",
                 "durability: disk\nadvertise: h:1\n", "x: !!str |\n  block\n  text\n", "\ufeffport: 1\n"):
        keep("yaml", text.encode())
    for flags in range(4):
        keep("recovery", bytes([flags]))
        for kind, rest in ((0, b"\4\0\0\1\2"), (1, b""), (2, b"\3abc"), (3, b""), (4, b"\x10"), (5, b""), (6, b""),
                           (7, b""), (8, b"")):
            for file, place in ((1, 5), (3, 300), (7, 90), (10, 23), (14, 2)):
                keep("recovery", bytes([flags, kind, file, place >> 8, place & 255]), rest)
    for change in (b"", b"\0\0\5\1", b"\1\1\0\x80", b"\2\0\6\1", b"\3\0\x20\1", b"\1\0\2\1\2\0\0\4"):
        keep("tls", b"\0\0\1", change)
        keep("tls", b"\0\1\1", change)
    for first in (b"SSH-2.0-x", b"AMQP\0", b"PRI * HT", b"\x16\3\1", b"\0\0\0\x10\0\x12\0\0"):
        keep("http1", b"\0\0", first)
    for message in (b"\0\0\0\0\0", b"\1\0\0\0\5hello", b"5S", b"100m", b"99999999H", b"a%20b\xc3\xa4"):
        keep("grpc-messages", b"\0\1", message)


def main():
    global OUT
    binary, OUT = sys.argv[1], pathlib.Path(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        api = generate(ROOT / "proto", folder)
        proxy = Proxy()
        broker = Broker(binary, folder / "broker", arguments=["--advertise", f"127.0.0.1:{proxy.port}"])
        broker.start()
        proxy.target = broker.port
        # Clients are told the proxy's port wherever they would use the broker's.
        broker.ready["address"] = f"127.0.0.1:{proxy.port}"
        plain, secure = Endpoint(broker, tls=False), Endpoint(broker, tls=True)
        flows = [
            ("librdkafka", lambda: librdkafka(plain)), ("kcat", lambda: kcat(plain)),
            ("kafka-python", lambda: kafka_python(plain)), ("aiokafka", lambda: aiokafka(plain)),
            ("grpcio", lambda: grpcio(plain, api)), ("curl", lambda: curl(broker.address)),
            ("s_client", lambda: s_client(broker.address, broker)), ("kcat TLS", lambda: kcat(secure)),
        ]
        for name, flow in flows:
            before = COUNT
            flow()
            print(f"{name}: {len(proxy.conversations)} connections so far", flush=True)
            del before
        keep_certificates(broker)
        broker.stop()
        sort(proxy.conversations)
        keep_files(folder / "broker")
        broker.close()
    keep_texts()
    print(f"{COUNT} inputs in {OUT}")


if __name__ == "__main__":
    main()
