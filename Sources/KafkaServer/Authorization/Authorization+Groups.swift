// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: who may be in a group, see it, commit for it and remove it.

import Engine
import KafkaWire

extension FindCoordinatorRequest: AuthorizedRequest {
    mutating func authorize(_ rights: Rights) -> Authorization<FindCoordinatorResponse> {
        let isTransaction = keyType == KeyType.transaction
        let resource = isTransaction ? ResourceType.transactionalId : .group
        let code = isTransaction ? KafkaErrorCode.transactionalIdAuthorizationFailed : .groupAuthorizationFailed
        guard rights.version >= 4 else {
            return .when(rights.may(.describe, resource, key)) {
                var response = FindCoordinatorResponse()
                response.errorCode = code
                response.nodeId = -1
                response.port = -1
                return response
            }
        }
        let denied = rights.takeOut(&coordinatorKeys, .describe, of: resource) { $0 }
        guard !denied.isEmpty else { return .granted }
        return .amended { response in
            response.coordinators += denied.map { key in
                var coordinator = FindCoordinatorResponse.Coordinator()
                coordinator.key = key
                coordinator.nodeId = -1
                coordinator.port = -1
                coordinator.errorCode = code
                return coordinator
            }
        }
    }
}

extension JoinGroupRequest: AuthorizedRequest {
    func authorize(_ rights: Rights) -> Authorization<JoinGroupResponse> {
        .when(rights.mayUse(group: groupId, .read)) {
            var response = JoinGroupResponse()
            response.errorCode = .groupAuthorizationFailed
            response.memberId = memberId
            return response
        }
    }
}

extension SyncGroupRequest: AuthorizedRequest {
    func authorize(_ rights: Rights) -> Authorization<SyncGroupResponse> {
        .when(rights.mayUse(group: groupId, .read)) {
            var response = SyncGroupResponse()
            response.errorCode = .groupAuthorizationFailed
            return response
        }
    }
}

extension HeartbeatRequest: AuthorizedRequest {
    func authorize(_ rights: Rights) -> Authorization<HeartbeatResponse> {
        .when(rights.mayUse(group: groupId, .read)) {
            var response = HeartbeatResponse()
            response.errorCode = .groupAuthorizationFailed
            return response
        }
    }
}

extension LeaveGroupRequest: AuthorizedRequest {
    func authorize(_ rights: Rights) -> Authorization<LeaveGroupResponse> {
        .when(rights.mayUse(group: groupId, .read)) {
            var response = LeaveGroupResponse()
            response.errorCode = .groupAuthorizationFailed
            return response
        }
    }
}

extension ConsumerGroupHeartbeatRequest: AuthorizedRequest {
    func authorize(_ rights: Rights) -> Authorization<ConsumerGroupHeartbeatResponse> {
        var response = ConsumerGroupHeartbeatResponse()
        guard rights.mayUse(group: groupId, .read) else {
            response.errorCode = .groupAuthorizationFailed
            return .refused(response)
        }
        rights.preparePattern(groupId: groupId, memberId: memberId, pattern: subscribedTopicRegex)
        return .when((subscribedTopicNames ?? []).allSatisfy { rights.mayUse(topic: $0, .describe) }) {
            response.errorCode = .topicAuthorizationFailed
            return response
        }
    }
}

extension OffsetCommitRequest: AuthorizedRequest {
    mutating func authorize(_ rights: Rights) -> Authorization<OffsetCommitResponse> {
        guard rights.mayUse(group: groupId, .read) else {
            var response = OffsetCommitResponse()
            response.topics = Self.refusals(of: topics, .groupAuthorizationFailed)
            return .refused(response)
        }
        let denied = rights.takeOut(&topics, .read) { $0.name }
        return denied.isEmpty
            ? .granted : .amended { $0.topics += Self.refusals(of: denied, .topicAuthorizationFailed) }
    }

    private static func refusals(of topics: [Topic], _ code: KafkaErrorCode) -> [OffsetCommitResponse.Topic] {
        topics.map { topic in
            var answer = OffsetCommitResponse.Topic()
            answer.name = topic.name
            answer.partitions = topic.partitions.map {
                var partition = OffsetCommitResponse.Partition()
                partition.partitionIndex = $0.partitionIndex
                partition.errorCode = code
                return partition
            }
            return answer
        }
    }
}

extension OffsetFetchRequest: AuthorizedRequest {
    mutating func authorize(_ rights: Rights) -> Authorization<OffsetFetchResponse> {
        rights.version >= 8 ? authorizeGroups(rights) : authorizeGroup(rights)
    }

    private mutating func authorizeGroup(_ rights: Rights) -> Authorization<OffsetFetchResponse> {
        guard rights.mayUse(group: groupId, .describe) else {
            var response = OffsetFetchResponse()
            response.errorCode = .groupAuthorizationFailed
            // Version 1 has no error of the whole response.
            response.topics = Self.refusals(of: topics ?? [], .groupAuthorizationFailed)
            return .refused(response)
        }
        guard var wanted = topics else {
            return .amended { $0.topics.removeAll { !rights.maySee(.describe, .topic, $0.name) } }
        }
        let denied = rights.takeOut(&wanted, .describe) { $0.name }
        topics = wanted
        return denied.isEmpty
            ? .granted : .amended { $0.topics += Self.refusals(of: denied, .topicAuthorizationFailed) }
    }

    private mutating func authorizeGroups(_ rights: Rights) -> Authorization<OffsetFetchResponse> {
        let refused = rights.takeOut(&groups, .describe, of: .group) { $0.groupId }.map { group in
            var answer = OffsetFetchResponse.Group()
            answer.groupId = group.groupId
            answer.errorCode = .groupAuthorizationFailed
            return answer
        }
        var denied: [String: [OffsetFetchResponse.Topic]] = [:]
        var isList: Set<String> = []
        for index in groups.indices {
            guard var wanted = groups[index].topics else {
                isList.insert(groups[index].groupId)
                continue
            }
            let taken = rights.takeOut(&wanted, .describe) { $0.name }
            groups[index].topics = wanted
            denied[groups[index].groupId] = Self.refusals(of: taken, .topicAuthorizationFailed)
        }
        return .amended { [denied, isList] response in
            for index in response.groups.indices {
                let id = response.groups[index].groupId
                if isList.contains(id) {
                    response.groups[index].topics.removeAll { !rights.maySee(.describe, .topic, $0.name) }
                }
                response.groups[index].topics += denied[id] ?? []
            }
            response.groups += refused
        }
    }

    private static func refusals(of topics: [Topic], _ code: KafkaErrorCode) -> [OffsetFetchResponse.Topic] {
        topics.map { topic in
            var answer = OffsetFetchResponse.Topic()
            answer.name = topic.name
            answer.partitions = topic.partitionIndexes.map {
                var partition = OffsetFetchResponse.Partition()
                partition.partitionIndex = $0
                partition.committedOffset = -1
                partition.errorCode = code
                return partition
            }
            return answer
        }
    }
}

extension DescribeGroupsRequest: AuthorizedRequest {
    mutating func authorize(_ rights: Rights) -> Authorization<DescribeGroupsResponse> {
        let wantsOperations = includeAuthorizedOperations
        let denied = rights.takeOut(&groups, .describe, of: .group) { $0 }
        return .amended { response in
            if wantsOperations {
                for index in response.groups.indices where response.groups[index].errorCode == .none {
                    response.groups[index].authorizedOperations = rights.operations(
                        .group, response.groups[index].groupId, within: AuthorizedOperations.group)
                }
            }
            response.groups += denied.map { group in
                var answer = DescribeGroupsResponse.Group()
                answer.groupId = group
                answer.errorCode = .groupAuthorizationFailed
                return answer
            }
        }
    }
}

extension ConsumerGroupDescribeRequest: AuthorizedRequest {
    mutating func authorize(_ rights: Rights) -> Authorization<ConsumerGroupDescribeResponse> {
        let wantsOperations = includeAuthorizedOperations
        let denied = rights.takeOut(&groupIds, .describe, of: .group) { $0 }
        return .amended { response in
            for index in response.groups.indices where response.groups[index].reveals(beyond: rights) {
                var answer = ConsumerGroupDescribeResponse.Group()
                answer.groupId = response.groups[index].groupId
                answer.errorCode = .topicAuthorizationFailed
                answer.errorMessage = "A topic is assigned in the group that this client may not describe."
                response.groups[index] = answer
            }
            if wantsOperations {
                for index in response.groups.indices where response.groups[index].errorCode == .none {
                    response.groups[index].authorizedOperations = rights.operations(
                        .group, response.groups[index].groupId, within: AuthorizedOperations.group)
                }
            }
            response.groups += denied.map { group in
                var answer = ConsumerGroupDescribeResponse.Group()
                answer.groupId = group
                answer.errorCode = .groupAuthorizationFailed
                return answer
            }
        }
    }
}

extension ConsumerGroupDescribeResponse.Group {
    /// Whether its assignments name a topic that the client may not know of.
    fileprivate func reveals(beyond rights: Rights) -> Bool {
        members.contains { member in
            (member.assignment.topicPartitions + member.targetAssignment.topicPartitions).contains {
                !rights.maySee(.describe, .topic, $0.topicName)
            }
        }
    }
}

extension ListGroupsRequest: AuthorizedRequest {
    func authorize(_ rights: Rights) -> Authorization<ListGroupsResponse> {
        if rights.maySee(.describe, .cluster, AccessRule.clusterName) { return .granted }
        return .amended { $0.groups.removeAll { !rights.maySee(.describe, .group, $0.groupId) } }
    }
}

extension DeleteGroupsRequest: AuthorizedRequest {
    mutating func authorize(_ rights: Rights) -> Authorization<DeleteGroupsResponse> {
        let denied = rights.takeOut(&groupsNames, .delete, of: .group) { $0 }
        guard !denied.isEmpty else { return .granted }
        return .amended { response in
            response.results += denied.map { group in
                var result = DeleteGroupsResponse.Result()
                result.groupId = group
                result.errorCode = .groupAuthorizationFailed
                return result
            }
        }
    }
}

extension OffsetDeleteRequest: AuthorizedRequest {
    mutating func authorize(_ rights: Rights) -> Authorization<OffsetDeleteResponse> {
        guard rights.mayUse(group: groupId, .delete) else {
            var response = OffsetDeleteResponse()
            response.errorCode = .groupAuthorizationFailed
            return .refused(response)
        }
        let denied = rights.takeOut(&topics, .read) { $0.name }
        guard !denied.isEmpty else { return .granted }
        return .amended { response in
            response.topics += denied.map { topic in
                var answer = OffsetDeleteResponse.Topic()
                answer.name = topic.name
                answer.partitions = topic.partitions.map {
                    var partition = OffsetDeleteResponse.Partition()
                    partition.partitionIndex = $0.partitionIndex
                    partition.errorCode = .topicAuthorizationFailed
                    return partition
                }
                return answer
            }
        }
    }
}
