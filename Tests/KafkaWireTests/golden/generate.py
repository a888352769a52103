#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the vectors: every message in every version Martlet defines, as kafka-python encodes it.

kafka-python 3 carries Apache Kafka's own message definitions and an encoder that follows them, so
these bytes come from neither Martlet's field lists nor Martlet's encoder. Every field gets a value
that depends only on how many fields were visited before; FillingCoder.swift gives the same values.

    python3 generate.py messages > messages.txt        (kafka-python 3.0.12)

One line: API, request or response, version, full or sparse, bytes in hex (- for none).

    python3 generate.py fields > fields.txt

says which field has which of the values in the full messages, under Kafka's names, for as many
versions as it takes to see every field: API, request or response, version, name=value.
"""
import importlib
import importlib.metadata
import sys
import uuid

# API, first and last version: what Apache Kafka 4.0 accepts.
VERSIONS = {
    "Produce": (3, 12), "Fetch": (4, 17), "ListOffsets": (1, 10), "Metadata": (0, 13),
    "OffsetCommit": (2, 9), "OffsetFetch": (1, 9), "FindCoordinator": (0, 6), "JoinGroup": (0, 9),
    "Heartbeat": (0, 4), "LeaveGroup": (0, 5), "SyncGroup": (0, 5), "DescribeGroups": (0, 6),
    "ListGroups": (0, 5), "ApiVersions": (0, 4), "CreateTopics": (2, 7), "DeleteTopics": (1, 6),
    "DeleteRecords": (0, 2), "InitProducerId": (0, 5), "OffsetForLeaderEpoch": (2, 4),
    "DescribeConfigs": (1, 4), "CreatePartitions": (0, 3), "DeleteGroups": (0, 2),
    "IncrementalAlterConfigs": (0, 1), "OffsetDelete": (0, 0), "DescribeCluster": (0, 2),
}
MODULES = ["admin", "consumer", "metadata", "producer"]


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


def filled(api, kind, version, content):
    cls = message_class(api + kind)
    return cls[version](**Filler(version, content == "full").values(cls._struct))


def every_version():
    for api, (first, last) in VERSIONS.items():
        for kind in ("Request", "Response"):
            yield api, kind, range(first, last + 1)


def print_messages():
    for api, kind, versions in every_version():
        for version in versions:
            for content in ("full", "sparse"):
                message = filled(api, kind, version, content)
                print(api, kind, version, content, bytes(message.encode()).hex() or "-")


def text(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, uuid.UUID):
        return "id" + str(value.int & 0xFFFFFFFF)
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


def print_fields():
    for api, kind, versions in every_version():
        seen = set()
        for version in reversed(versions):
            cls = message_class(api + kind)
            found = list(leaves(filled(api, kind, version, "full"), cls._struct, version))
            names = {(path, name) for path, name, _ in found}
            if not names <= seen:
                seen |= names
                print(api, kind, version, *(f"{name}={value}" for _, name, value in found))


if __name__ == "__main__":
    version = importlib.metadata.version("kafka-python")
    print(f"# By generate.py {sys.argv[1]} with kafka-python {version}.")
    {"messages": print_messages, "fields": print_fields}[sys.argv[1]]()
