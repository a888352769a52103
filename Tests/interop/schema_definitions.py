# SPDX-License-Identifier: Apache-2.0
# Martlet, interop: the layouts of messages that kafka-python does not carry.
"""Groups of the consumer protocol (KIP-848), telemetry (KIP-714) and share groups (KIP-932), in the form of Kafka's definitions.

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
_LEADER: Fields = ["LeaderId:int32", "LeaderEpoch:int32"]
_NODE: Fields = ["NodeId:int32", "Host:string", "Port:int32", "Rack:string?"]
_ACKNOWLEDGED: Fields = [
    "TopicId:uuid",
    ("Partitions:[]Partition", [
        "PartitionIndex:int32",
        ("AcknowledgementBatches:[]Batch", ["FirstOffset:int64", "LastOffset:int64", "AcknowledgeTypes:[]int8"]),
    ]),
]

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
    _message(76, "ShareGroupHeartbeatRequest", "1", [
        "GroupId:string", "MemberId:string", "MemberEpoch:int32", "RackId:string?", "SubscribedTopicNames:[]string?",
    ]),
    _message(76, "ShareGroupHeartbeatResponse", "1", [
        "ThrottleTimeMs:int32", "ErrorCode:int16", "ErrorMessage:string?", "MemberId:string?", "MemberEpoch:int32",
        "HeartbeatIntervalMs:int32", ("Assignment:Assignment?", [("TopicPartitions:[]Places", _PLACES)]),
    ]),
    _message(77, "ShareGroupDescribeRequest", "1", ["GroupIds:[]string", "IncludeAuthorizedOperations:bool"]),
    _message(77, "ShareGroupDescribeResponse", "1", [
        "ThrottleTimeMs:int32",
        ("Groups:[]Group", [
            "ErrorCode:int16", "ErrorMessage:string?", "GroupId:string", "GroupState:string", "GroupEpoch:int32",
            "AssignmentEpoch:int32", "AssignorName:string",
            ("Members:[]Member", [
                "MemberId:string", "RackId:string?", "MemberEpoch:int32", "ClientId:string", "ClientHost:string",
                "SubscribedTopicNames:[]string", ("Assignment:Assignment", _ASSIGNMENT),
            ]),
            "AuthorizedOperations:int32",
        ]),
    ]),
    _message(78, "ShareFetchRequest", "1-2", [
        "GroupId:string?", "MemberId:string?", "ShareSessionEpoch:int32", "MaxWaitMs:int32", "MinBytes:int32",
        "MaxBytes:int32", "MaxRecords:int32", "BatchSize:int32", "ShareAcquireMode:int8@2+", "IsRenewAck:bool@2+",
        ("Topics:[]Topic", _ACKNOWLEDGED), ("ForgottenTopicsData:[]Forgotten", _PLACES),
    ]),
    _message(78, "ShareFetchResponse", "1-2", [
        "ThrottleTimeMs:int32", "ErrorCode:int16", "ErrorMessage:string?", "AcquisitionLockTimeoutMs:int32",
        ("Responses:[]Topic", [
            "TopicId:uuid",
            ("Partitions:[]Partition", [
                "PartitionIndex:int32", "ErrorCode:int16", "ErrorMessage:string?", "AcknowledgeErrorCode:int16",
                "AcknowledgeErrorMessage:string?", ("CurrentLeader:Leader", _LEADER), "Records:records?",
                ("AcquiredRecords:[]Range", ["FirstOffset:int64", "LastOffset:int64", "DeliveryCount:int16"]),
            ]),
        ]),
        ("NodeEndpoints:[]Node", _NODE),
    ]),
    _message(79, "ShareAcknowledgeRequest", "1-2", [
        "GroupId:string?", "MemberId:string?", "ShareSessionEpoch:int32", "IsRenewAck:bool@2+",
        ("Topics:[]Topic", _ACKNOWLEDGED),
    ]),
    _message(79, "ShareAcknowledgeResponse", "1-2", [
        "ThrottleTimeMs:int32", "ErrorCode:int16", "ErrorMessage:string?", "AcquisitionLockTimeoutMs:int32@2+",
        ("Responses:[]Topic", [
            "TopicId:uuid",
            ("Partitions:[]Partition", [
                "PartitionIndex:int32", "ErrorCode:int16", "ErrorMessage:string?", ("CurrentLeader:Leader", _LEADER),
            ]),
        ]),
        ("NodeEndpoints:[]Node", _NODE),
    ]),
    _message(90, "DescribeShareGroupOffsetsRequest", "0-1", [
        ("Groups:[]Group", ["GroupId:string", ("Topics:[]Topic?", ["TopicName:string", "Partitions:[]int32"])]),
    ]),
    _message(90, "DescribeShareGroupOffsetsResponse", "0-1", [
        "ThrottleTimeMs:int32",
        ("Groups:[]Group", [
            "GroupId:string",
            ("Topics:[]Topic", [
                "TopicName:string", "TopicId:uuid",
                ("Partitions:[]Partition", [
                    "PartitionIndex:int32", "StartOffset:int64", "LeaderEpoch:int32", "Lag:int64@1+", "ErrorCode:int16",
                    "ErrorMessage:string?",
                ]),
            ]),
            "ErrorCode:int16", "ErrorMessage:string?",
        ]),
    ]),
    _message(91, "AlterShareGroupOffsetsRequest", "0", [
        "GroupId:string",
        ("Topics:[]Topic", [
            "TopicName:string", ("Partitions:[]Partition", ["PartitionIndex:int32", "StartOffset:int64"])]),
    ]),
    _message(91, "AlterShareGroupOffsetsResponse", "0", [
        "ThrottleTimeMs:int32", "ErrorCode:int16", "ErrorMessage:string?",
        ("Responses:[]Topic", [
            "TopicName:string", "TopicId:uuid",
            ("Partitions:[]Partition", ["PartitionIndex:int32", "ErrorCode:int16", "ErrorMessage:string?"])]),
    ]),
    _message(92, "DeleteShareGroupOffsetsRequest", "0", ["GroupId:string", ("Topics:[]Topic", ["TopicName:string"])]),
    _message(92, "DeleteShareGroupOffsetsResponse", "0", [
        "ThrottleTimeMs:int32", "ErrorCode:int16", "ErrorMessage:string?",
        ("Responses:[]Topic", ["TopicName:string", "TopicId:uuid", "ErrorCode:int16", "ErrorMessage:string?"]),
    ]),
]
