#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the vectors: every message in every version Martlet defines, as others encode it.

kafka-python 3 carries Apache Kafka's own message definitions and an encoder that follows them; the
messages it does not have come from kio, whose classes are generated from Kafka's definitions and
which has an encoder of its own. So these bytes come from neither Martlet's field lists nor
Martlet's encoder. Every field gets a value that depends only on how many fields were visited
before; FillingCoder.swift gives the same values.

    python3 generate.py messages > messages.txt        (kafka-python 3.0.12, kio 0.6.5)

One line: API, request or response, version, full or sparse, bytes in hex (- for none).

    python3 generate.py fields > fields.txt

says which field has which of the values in the full messages, under Kafka's names, for as many
versions as it takes to see every field: API, request or response, version, name=value.

    python3 generate.py records DIRECTORY... > records.txt

encodes the records of internal topics and the like with kafka-python from the definitions
themselves: the JSON files of Apache Kafka 4.2 in `src/main/resources/common/message` of its modules
clients, group-coordinator and transaction-coordinator. One line: name, version, full or sparse,
bytes in hex with the version in front.
"""
import dataclasses
import datetime
import importlib
import importlib.metadata
import io
import json
import pathlib
import re
import sys
import typing
import uuid

# API, first and last version: what Apache Kafka 4.0 accepts, or 4.2 where 4.0 accepts none.
VERSIONS = {
    "Produce": (3, 12), "Fetch": (4, 17), "ListOffsets": (1, 10), "Metadata": (0, 13),
    "OffsetCommit": (2, 9), "OffsetFetch": (1, 9), "FindCoordinator": (0, 6), "JoinGroup": (0, 9),
    "Heartbeat": (0, 4), "LeaveGroup": (0, 5), "SyncGroup": (0, 5), "DescribeGroups": (0, 6),
    "ListGroups": (0, 5), "SaslHandshake": (0, 1), "ApiVersions": (0, 4), "CreateTopics": (2, 7),
    "DeleteTopics": (1, 6), "DeleteRecords": (0, 2), "InitProducerId": (0, 5),
    "OffsetForLeaderEpoch": (2, 4), "AddPartitionsToTxn": (0, 5), "AddOffsetsToTxn": (0, 4),
    "EndTxn": (0, 5), "WriteTxnMarkers": (1, 1), "TxnOffsetCommit": (0, 5), "DescribeAcls": (1, 3),
    "CreateAcls": (1, 3), "DeleteAcls": (1, 3), "DescribeConfigs": (1, 4), "AlterConfigs": (0, 2),
    "AlterReplicaLogDirs": (1, 2), "DescribeLogDirs": (1, 4), "SaslAuthenticate": (0, 2),
    "CreatePartitions": (0, 3), "DeleteGroups": (0, 2), "ElectLeaders": (0, 2),
    "IncrementalAlterConfigs": (0, 1), "AlterPartitionReassignments": (0, 0),
    "ListPartitionReassignments": (0, 0), "OffsetDelete": (0, 0), "DescribeClientQuotas": (0, 1),
    "AlterClientQuotas": (0, 1), "DescribeUserScramCredentials": (0, 0),
    "AlterUserScramCredentials": (0, 0), "DescribeQuorum": (0, 2), "UpdateFeatures": (0, 2),
    "DescribeCluster": (0, 2), "DescribeProducers": (0, 0), "DescribeTransactions": (0, 0),
    "ListTransactions": (0, 1), "ConsumerGroupHeartbeat": (0, 1), "ConsumerGroupDescribe": (0, 1),
    "GetTelemetrySubscriptions": (0, 0), "PushTelemetry": (0, 0), "ListConfigResources": (0, 1),
    "DescribeTopicPartitions": (0, 0), "ShareGroupHeartbeat": (1, 1), "ShareGroupDescribe": (1, 1),
    "ShareFetch": (1, 2), "ShareAcknowledge": (1, 2), "DescribeShareGroupOffsets": (0, 1),
    "AlterShareGroupOffsets": (0, 0), "DeleteShareGroupOffsets": (0, 0),
}
# The APIs that kafka-python does not have.
KIO = {
    "ConsumerGroupHeartbeat", "ConsumerGroupDescribe", "GetTelemetrySubscriptions", "PushTelemetry",
    "ShareGroupHeartbeat", "ShareGroupDescribe", "ShareFetch", "ShareAcknowledge",
    "DescribeShareGroupOffsets", "AlterShareGroupOffsets", "DeleteShareGroupOffsets",
}
# Records with a version in front, under the names of their definitions, and Martlet's where they
# differ.
RECORDS = [
    "GroupMetadataKey", "GroupMetadataValue", "ConsumerGroupMetadataKey",
    "ConsumerGroupMetadataValue", "ConsumerGroupPartitionMetadataKey",
    "ConsumerGroupPartitionMetadataValue", "ConsumerGroupRegularExpressionKey",
    "ConsumerGroupRegularExpressionValue", "ConsumerGroupMemberMetadataKey",
    "ConsumerGroupMemberMetadataValue", "ConsumerGroupCurrentMemberAssignmentKey",
    "ConsumerGroupCurrentMemberAssignmentValue", "ConsumerGroupTargetAssignmentMetadataKey",
    "ConsumerGroupTargetAssignmentMetadataValue", "ConsumerGroupTargetAssignmentMemberKey",
    "ConsumerGroupTargetAssignmentMemberValue", "TransactionLogKey", "TransactionLogValue",
    "ControlRecordTypeSchema", "EndTxnMarker", "ConsumerProtocolSubscription",
    "ConsumerProtocolAssignment",
]
RENAMED = {"ControlRecordTypeSchema": "ControlRecordType"}
MODULES = ["admin", "consumer", "metadata", "producer", "producer.transaction", "sasl"]


def message_class(name):
    for module in MODULES:
        found = getattr(importlib.import_module(f"kafka.protocol.{module}"), name, None)
        if found is not None:
            return found
    raise LookupError(name)


class Filler:
    def __init__(self, version, full):
        self.version, self.full, self.count, self.depth = version, full, 0, 0

    def next(self):
        self.count += 1
        return self.count

    def primitive(self, kind):
        n = self.next()
        if kind == "bool":
            return (n % 2 == 1) == self.full
        if kind == "int8":
            return n % 100 + 1
        if kind == "int16":
            return n % 130 + 1
        if kind == "int32":
            return 1000 + n
        if kind == "int64":
            return (1 << 33) + n
        if kind == "uint16":
            return 40_000 + n
        if kind == "float64":
            return n + 0.5
        if kind == "uuid":
            return uuid.UUID(int=(0x0102030405060708 << 64) | n)
        if kind == "bitfield":  # kafka-python's name for an int32 of authorised operations
            return {bit for bit in range(32) if (1000 + n) >> bit & 1}
        if kind == "string":
            return f"s{n}" + ("x" * 130 if n % 16 == 0 else "")
        if kind == "bytes":
            return f"b{n}".encode()
        if kind == "records":
            return f"r{n}".encode()
        raise TypeError(kind)

    def value(self, field):
        kind = field._json["type"]
        if field.nullable_for_version_q(self.version) and not self.full:
            return None
        if not kind.startswith("[]"):
            return self.structure(field) if field.is_struct() else self.primitive(kind)
        if not field.is_struct_array():
            return [self.primitive(kind[2:]) for _ in range(2 if self.full else 0)]
        self.depth += 1
        count = 2 if self.full and self.depth == 1 else 1
        elements = [self.structure(field) for _ in range(count)]
        self.depth -= 1
        return elements

    def values(self, structure):
        fields = [f for f in structure.fields.values() if f.for_version_q(self.version)]
        tagged = [f for f in fields if f.tagged_field_q(self.version)]
        values = {f.name: self.value(f) for f in fields if f not in tagged}
        if self.full:
            values |= {f.name: self.value(f) for f in sorted(tagged, key=lambda f: f.tag)}
        return values

    def structure(self, field):
        return field.data_class(version=self.version, **self.values(field))


class KioFiller(Filler):
    """Fills the dataclasses of kio, one class for each version of a structure."""

    def message(self, cls):
        fields = dataclasses.fields(cls)
        tagged = [f for f in fields if "tag" in f.metadata]
        values = {f.name: self.field(f) for f in fields if f not in tagged}
        if self.full:
            tagged.sort(key=lambda f: f.metadata["tag"])
            values |= {f.name: self.field(f) for f in tagged}
        return cls(**values)

    def field(self, field):
        kind = field.metadata.get("kafka_type")
        if kind == "records" and type(None) not in typing.get_args(field.type):
            field.type = field.type | None  # as in Kafka's definition; kio leaves it out
        options = typing.get_args(field.type)
        nullable = type(None) in options
        # None to kio is a uuid of zeros, which is not null.
        if nullable and not self.full and kind != "uuid":
            return None
        inner = next(t for t in options if t is not type(None)) if nullable else field.type
        if typing.get_origin(inner) is not tuple:
            return self.plain(kind) if kind else self.message(inner)
        if kind:
            return tuple(self.plain(kind) for _ in range(2 if self.full else 0))
        self.depth += 1
        count = 2 if self.full and self.depth == 1 else 1
        elements = tuple(self.message(typing.get_args(inner)[0]) for _ in range(count))
        self.depth -= 1
        return elements

    def plain(self, kind):
        if kind == "timedelta_i32":
            return datetime.timedelta(milliseconds=self.primitive("int32"))
        if kind == "error_code":
            from kio.schema.errors import ErrorCode
            return ErrorCode(self.primitive("int16"))
        return self.primitive(kind)


def kio_class(name, version):
    api, kind = re.fullmatch("(.*)(Request|Response)", name).groups()
    module = re.sub("(?<!^)([A-Z])", r"_\1", api).lower()
    return getattr(importlib.import_module(f"kio.schema.{module}.v{version}.{kind.lower()}"), name)


def filled(api, kind, version, content):
    if api in KIO:
        return KioFiller(version, content == "full").message(kio_class(api + kind, version))
    cls = message_class(api + kind)
    return cls[version](**Filler(version, content == "full").values(cls._struct))


def encoded(api, message):
    if api not in KIO:
        return bytes(message.encode())
    from kio.serial import entity_writer
    buffer = io.BytesIO()
    entity_writer(type(message))(buffer, message)
    return buffer.getvalue()


def every_version():
    for api, (first, last) in VERSIONS.items():
        for kind in ("Request", "Response"):
            yield api, kind, range(first, last + 1)


def print_messages():
    for api, kind, versions in every_version():
        for version in versions:
            for content in ("full", "sparse"):
                message = filled(api, kind, version, content)
                print(api, kind, version, content, encoded(api, message).hex() or "-")


def definition(name, directories):
    path = next(p for d in directories if (p := pathlib.Path(d, name + ".json")).exists())
    found = json.loads(re.sub(r"(?m)^\s*//.*$", "", path.read_text()))
    found["type"] = "data"  # kafka-python does not know a coordinator's keys and values by name

    def complete(fields, common):
        for field in fields:
            field.setdefault("versions", field.get("taggedVersions"))
            field["name"] += "_"  # names such as Version are kafka-python's own
            inner = field["type"].removeprefix("[]")
            if inner in common:
                field.setdefault("fields", common[inner])
            complete(field.get("fields", []), common)

    complete(found["fields"], {s["name"]: s["fields"] for s in found.get("commonStructs", [])})
    return found


def print_records():
    from kafka.protocol import api_data
    for name in RECORDS:
        found = definition(name, sys.argv[2:])
        api_data.load_json = lambda *_, **__: found
        cls = type(api_data.ApiData)(name, (api_data.ApiData,), {})
        first, last = cls.valid_versions
        for version in range(first, last + 1):
            for content in ("full", "sparse"):
                values = Filler(version, content == "full").values(cls._struct)
                record = cls(version=version, **values)
                print(RENAMED.get(name, name), version, content, bytes(record.encode()).hex())


def text(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, uuid.UUID):
        return "id" + str(value.int & 0xFFFFFFFF)
    if isinstance(value, datetime.timedelta):
        return str(value // datetime.timedelta(milliseconds=1))
    if isinstance(value, int):
        return str(int(value))  # also of an enumeration
    if isinstance(value, set):
        return str(sum(1 << bit for bit in value))
    return str(value)


def leaves(item, structure, version, path=""):
    for field in structure.fields.values():
        if not field.for_version_q(version) or field._json["type"] == "bitfield":
            continue  # kafka-python has renamed the bit fields
        value = getattr(item, field.name)
        for element in value if isinstance(value, list) else [value]:
            if field.is_struct() or field.is_struct_array():
                yield from leaves(element, field, version, path + field._name + ".")
            else:
                yield path, field._name[0].lower() + field._name[1:], text(element)


def kio_leaves(item, path=""):
    for field in dataclasses.fields(item):
        value = getattr(item, field.name)
        first, *rest = field.name.split("_")
        name = first + "".join(word.title() for word in rest)
        if field.metadata.get("kafka_type") == "timedelta_i32":
            name += "Ms"
        for element in value if isinstance(value, tuple) else [value]:
            if dataclasses.is_dataclass(element):
                yield from kio_leaves(element, path + name + ".")
            else:
                yield path, name, text(element)


def print_fields():
    for api, kind, versions in every_version():
        seen = set()
        for version in reversed(versions):
            message = filled(api, kind, version, "full")
            if api in KIO:
                found = list(kio_leaves(message))
            else:
                found = list(leaves(message, message_class(api + kind)._struct, version))
            names = {(path, name) for path, name, _ in found}
            if not names <= seen:
                seen |= names
                print(api, kind, version, *(f"{name}={value}" for _, name, value in found))


if __name__ == "__main__":
    packages = ["kafka-python"] if sys.argv[1] == "records" else ["kafka-python", "kio"]
    versions = " and ".join(f"{p} {importlib.metadata.version(p)}" for p in packages)
    print(f"# By generate.py {sys.argv[1]} with {versions}.")
    {"messages": print_messages, "fields": print_fields, "records": print_records}[sys.argv[1]]()
