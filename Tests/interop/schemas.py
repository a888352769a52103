# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: Kafka's messages from their definitions, with every byte in the test's hands.
"""Encodes any request at any version and says where each field lies, so that a test can break it.

The definitions are Kafka's own, as kafka-python carries them; `MORE` has those it lacks, copied field by field. Values
are dictionaries by the definitions' names; what is missing has the definition's default. `unknown_tags` puts a tagged
field that nobody knows into the header and into every structure of a flexible version.
"""

from __future__ import annotations

import struct
import uuid
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from typing import Any, Iterator, Optional

import wire
from wire import unsigned_varint

UNKNOWN_TAG = b"\x01" + unsigned_varint(9999) + unsigned_varint(7) + b"unknown"
NUMBERS = {"int8": ">b", "int16": ">h", "uint16": ">H", "int32": ">i", "uint32": ">I", "int64": ">q", "float64": ">d"}


@dataclass(frozen=True)
class Versions:
    first: int
    last: int

    @staticmethod
    def parse(text: Optional[str]) -> "Versions":
        if not text or text == "none":
            return Versions(0, -1)
        if text.endswith("+"):
            return Versions(int(text[:-1]), 32767)
        low, _, high = text.partition("-")
        return Versions(int(low), int(high or low))

    def __contains__(self, version: int) -> bool:
        return self.first <= version <= self.last


@dataclass
class Field:
    name: str
    type: str
    versions: Versions
    nullable: Versions
    tagged: Versions
    tag: int
    default: Any
    fields: list["Field"]

    @property
    def element(self) -> str:
        return self.type.removeprefix("[]")

    @property
    def is_array(self) -> bool:
        return self.type.startswith("[]")

    def missing(self, version: int) -> Any:
        """The value of a field that the test does not name."""
        if self.default == "null" and version in self.nullable:
            return None
        if self.is_array:
            return []
        if self.type in NUMBERS:
            return int(str(self.default), 0) if self.default not in (None, "") else 0
        if self.type == "bool":
            return str(self.default).lower() == "true"
        return {"string": self.default or "", "bytes": b"", "records": b"", "uuid": uuid.UUID(int=0)}.get(self.type, {})


@dataclass
class Mark:
    """Where a field lies in an encoded body: of a list, a string or bytes the length, and `after` ends the content."""

    kind: str
    path: str
    start: int
    end: int
    after: int = 0


@dataclass
class Message:
    key: int
    name: str
    flexible: Versions
    fields: list[Field]
    valid: Versions = field(default_factory=lambda: Versions(0, -1))


def _parse_field(raw: dict[str, Any], common: dict[str, Any]) -> Field:
    versions = Versions.parse(raw["versions"])
    element = raw["type"].removeprefix("[]")
    inner = raw.get("fields") or common.get(element) or []
    return Field(
        raw["name"], raw["type"], versions, Versions.parse(raw.get("nullableVersions")),
        Versions.parse(raw.get("taggedVersions")), raw.get("tag", -1), raw.get("default"),
        [_parse_field(one, common) for one in inner],
    )


def parse(raw: dict[str, Any]) -> Message:
    common = {one["name"]: one["fields"] for one in raw.get("commonStructs", [])}
    return Message(
        raw["apiKey"], raw["name"], Versions.parse(raw["flexibleVersions"]),
        [_parse_field(one, common) for one in raw["fields"]], Versions.parse(raw["validVersions"]),
    )


@lru_cache(maxsize=None)
def messages() -> dict[tuple[int, str], Message]:
    """By API key and "request" or "response"."""
    from kafka.protocol.schemas.load_json import load_json

    from schema_definitions import MORE

    files = resources.files("kafka.protocol.schemas.resources").iterdir()
    names = [file.name.removesuffix(".json") for file in files]
    found = {}
    for raw in [load_json(name) for name in names if name.endswith(("Request", "Response"))] + MORE:
        if "apiKey" in raw:
            message = parse(raw)
            found[message.key, "request" if message.name.endswith("Request") else "response"] = message
    return found


class Encoder:
    def __init__(self, message: Message, version: int, unknown_tags: bool = False):
        self.version = version
        self.flexible = version in message.flexible
        self.tags = UNKNOWN_TAG if unknown_tags else b"\0"
        self.marks: list[Mark] = []
        self.out = bytearray()
        self.message = message

    def encode(self, values: dict[str, Any]) -> bytes:
        self._struct(self.message.fields, values, "")
        return bytes(self.out)

    def _struct(self, fields: list[Field], values: dict[str, Any], path: str) -> None:
        unknown = set(values) - {one.name for one in fields}
        assert not unknown, f"{self.message.name} has no {unknown} at {path or 'the top'}"
        tagged: list[tuple[int, bytes]] = []
        for one in fields:
            if self.version not in one.versions:
                continue
            value = values.get(one.name, one.missing(self.version))
            where = f"{path}.{one.name}" if path else one.name
            if self.version in one.tagged:
                if one.name in values:
                    inner = Encoder(self.message, self.version)
                    inner._value(one, value, where)
                    tagged.append((one.tag, bytes(inner.out)))
                continue
            self._value(one, value, where)
        if not self.flexible:
            return
        if not tagged:
            self.out += self.tags
            return
        self.out += unsigned_varint(len(tagged))
        for tag, data in sorted(tagged):
            self.out += unsigned_varint(tag) + unsigned_varint(len(data)) + data

    def _length(self, kind: str, path: str, length: Optional[int], layout: str) -> None:
        start = len(self.out)
        if self.flexible:
            self.out += unsigned_varint(0 if length is None else length + 1)
        else:
            self.out += struct.pack(layout, -1 if length is None else length)
        self.marks.append(Mark(kind, path, start, len(self.out)))

    def _value(self, one: Field, value: Any, path: str) -> None:
        if one.is_array:
            self._length("array", path, None if value is None else len(value), ">i")
            mark = self.marks[-1]
            for number, item in enumerate(value or []):
                self._scalar(one, one.element, item, f"{path}.{number}")
            mark.after = len(self.out)
        else:
            self._scalar(one, one.type, value, path)

    def _scalar(self, one: Field, kind: str, value: Any, path: str) -> None:
        start = len(self.out)
        if kind in NUMBERS:
            self.out += struct.pack(NUMBERS[kind], value)
        elif kind == "bool":
            self.out += b"\1" if value else b"\0"
        elif kind == "uuid":
            self.out += value.bytes
        elif kind in ("string", "bytes", "records"):
            data = value.encode() if isinstance(value, str) else value
            self._length(kind, path, None if data is None else len(data), ">h" if kind == "string" else ">i")
            self.out += data or b""
            return
        else:
            if self.version in one.nullable and not one.is_array:
                self.out += b"\xff" if value is None else b"\1"
                if value is None:
                    return
            self._struct(one.fields, value, path)
            return
        self.marks.append(Mark(kind, path, start, len(self.out)))


def encode(
    key: int, version: int, values: dict[str, Any], *, unknown_tags: bool = False, client_id: str = "schemas"
) -> tuple[bytes, int, list[Mark]]:
    """A frame without its length, where its body starts, and the marks (relative to the body)."""
    encoder = Encoder(messages()[key, "request"], version, unknown_tags)
    body = encoder.encode(values)
    header = struct.pack(">hhi", key, version, 77) + wire.string(client_id)
    if encoder.flexible:
        header += encoder.tags
    return header + body, len(header), encoder.marks


class Decoder:
    def __init__(self, message: Message, version: int, data: bytes):
        self.reader = wire.Reader(data)
        self.version, self.message = version, message
        self.flexible = version in message.flexible

    def _length(self, wide: bool) -> int:
        if self.flexible:
            return self.reader.unsigned_varint() - 1
        return self.reader.i32() if wide else self.reader.i16()

    def struct(self, fields: list[Field]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for one in fields:
            if self.version in one.versions and self.version not in one.tagged:
                found[one.name] = self._value(one)
        if self.flexible:
            self.reader.skip_tags()
        return found

    def _value(self, one: Field) -> Any:
        if not one.is_array:
            return self._scalar(one, one.type)
        count = self._length(True)
        return None if count < 0 else [self._scalar(one, one.element) for _ in range(count)]

    def _scalar(self, one: Field, kind: str) -> Any:
        if kind in NUMBERS:
            return struct.unpack(NUMBERS[kind], self.reader.take(struct.calcsize(NUMBERS[kind])))[0]
        if kind == "bool":
            return self.reader.i8() != 0
        if kind == "uuid":
            return uuid.UUID(bytes=self.reader.take(16))
        if kind in ("string", "bytes", "records"):
            length = self._length(kind != "string")
            if length < 0:
                return None
            data = self.reader.take(length)
            return data.decode() if kind == "string" else data
        if self.version in one.nullable and not one.is_array and self.reader.i8() < 0:
            return None
        return self.struct(one.fields)


def decode(key: int, version: int, payload: bytes) -> dict[str, Any]:
    """An answer from its correlation id on, to its last byte."""
    message = messages()[key, "response"]
    decoder = Decoder(message, version, payload)
    decoder.reader.i32()
    if decoder.flexible and key != wire.API_VERSIONS:
        decoder.reader.skip_tags()
    answer = decoder.struct(message.fields)
    assert decoder.reader.finished(), f"bytes are left over in an answer of {message.name} v{version}"
    return answer


def codes(answer: Any) -> list[int]:
    """All error codes of an answer, at any depth, in order."""
    return list(_codes(answer))


def _codes(node: Any) -> Iterator[int]:
    if isinstance(node, dict):
        for name, value in node.items():
            if name.endswith("ErrorCode") and name != "TopicConfigErrorCode":
                yield value
            else:
                yield from _codes(value)
    elif isinstance(node, list):
        for item in node:
            yield from _codes(item)
