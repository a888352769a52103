# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: the layouts of messages that kafka-python does not carry.
"""Groups of the consumer protocol (KIP-848) and client telemetry (KIP-714), in the form of Kafka's definitions.

A field is written `Name:type`, `Name:type@versions` if it is not in all of them, with a `?` if it may be null.
"""

from __future__ import annotations

from typing import Any, Union

Fields = list[Union[str, tuple[str, "Fields"]]]


def _fields(fields: Fields) -> list[dict[str, Any]]:
    found = []
    for one in fields:
        text, inner = one if isinstance(one, tuple) else (one, [])
        nullable = text.endswith("?")
        name, _, rest = text.removesuffix("?").partition(":")
        kind, _, versions = rest.partition("@")
        versions = versions or "0+"
        entry: dict[str, Any] = {"name": name, "type": kind, "versions": versions}
        if nullable:
            entry |= {"nullableVersions": versions, "default": "null"}
        if inner:
            entry["fields"] = _fields(inner)
        found.append(entry)
    return found


def _message(key: int, name: str, versions: str, fields: Fields) -> dict[str, Any]:
    return {"apiKey": key, "name": name, "validVersions": versions, "flexibleVersions": "0+", "fields": _fields(fields)}


_PLACES: Fields = ["TopicId:uuid", "Partitions:[]int32"]
_ASSIGNMENT: Fields = [("TopicPartitions:[]Places", ["TopicId:uuid", "TopicName:string", "Partitions:[]int32"])]

MORE = [
    _message(68, "ConsumerGroupHeartbeatRequest", "0-1", [
        "GroupId:string", "MemberId:string", "MemberEpoch:int32", "InstanceId:string?", "RackId:string?",
        "RebalanceTimeoutMs:int32", "SubscribedTopicNames:[]string?", "SubscribedTopicRegex:string@1+?",
        "ServerAssignor:string?", ("TopicPartitions:[]Places?", _PLACES),
    ]),
    _message(68, "ConsumerGroupHeartbeatResponse", "0-1", [
        "ThrottleTimeMs:int32", "ErrorCode:int16", "ErrorMessage:string?", "MemberId:string?", "MemberEpoch:int32",
        "HeartbeatIntervalMs:int32", ("Assignment:Assignment?", [("TopicPartitions:[]Places", _PLACES)]),
    ]),
    _message(69, "ConsumerGroupDescribeRequest", "0-1", ["GroupIds:[]string", "IncludeAuthorizedOperations:bool"]),
    _message(69, "ConsumerGroupDescribeResponse", "0-1", [
        "ThrottleTimeMs:int32",
        ("Groups:[]Group", [
            "ErrorCode:int16", "ErrorMessage:string?", "GroupId:string", "GroupState:string", "GroupEpoch:int32",
            "AssignmentEpoch:int32", "AssignorName:string",
            ("Members:[]Member", [
                "MemberId:string", "InstanceId:string?", "RackId:string?", "MemberEpoch:int32", "ClientId:string",
                "ClientHost:string", "SubscribedTopicNames:[]string", "SubscribedTopicRegex:string?",
                ("Assignment:Assignment", _ASSIGNMENT), ("TargetAssignment:Assignment", _ASSIGNMENT),
                "MemberType:int8@1+",
            ]),
            "AuthorizedOperations:int32",
        ]),
    ]),
    _message(71, "GetTelemetrySubscriptionsRequest", "0", ["ClientInstanceId:uuid"]),
    _message(71, "GetTelemetrySubscriptionsResponse", "0", [
        "ThrottleTimeMs:int32", "ErrorCode:int16", "ClientInstanceId:uuid", "SubscriptionId:int32",
        "AcceptedCompressionTypes:[]int8", "PushIntervalMs:int32", "TelemetryMaxBytes:int32", "DeltaTemporality:bool",
        "RequestedMetrics:[]string",
    ]),
    _message(72, "PushTelemetryRequest", "0", [
        "ClientInstanceId:uuid", "SubscriptionId:int32", "Terminating:bool", "CompressionType:int8", "Metrics:bytes",
    ]),
    _message(72, "PushTelemetryResponse", "0", ["ThrottleTimeMs:int32", "ErrorCode:int16"]),
]
