// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: who may take from share groups, see them and move them.

import Bytes
import Engine
import KafkaWire

extension ShareGroupHeartbeatRequest: AuthorizedRequest {
    func authorize(_ rights: Rights) -> Authorization<ShareGroupHeartbeatResponse> {
        var response = ShareGroupHeartbeatResponse()
        guard rights.mayUse(group: groupId, .read) else {
            response.errorCode = .groupAuthorizationFailed
            return .refused(response)
        }
        return .when((subscribedTopicNames ?? []).allSatisfy { rights.mayUse(topic: $0, .describe) }) {
            response.errorCode = .topicAuthorizationFailed
            return response
        }
    }
}

extension ShareGroupDescribeRequest: AuthorizedRequest {
    mutating func authorize(_ rights: Rights) -> Authorization<ShareGroupDescribeResponse> {
        let wantsOperations = includeAuthorizedOperations
        let denied = rights.takeOut(&groupIds, .describe, of: .group) { $0 }
        return .amended { response in
            for index in response.groups.indices where response.groups[index].reveals(beyond: rights) {
                var answer = ShareGroupDescribeResponse.Group()
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
                var answer = ShareGroupDescribeResponse.Group()
                answer.groupId = group
                answer.errorCode = .groupAuthorizationFailed
                return answer
            }
        }
    }
}

extension ShareGroupDescribeResponse.Group {
    /// Whether its assignments name a topic that the client may not know of.
    fileprivate func reveals(beyond rights: Rights) -> Bool {
        members.contains { member in
            member.assignment.topicPartitions.contains { !rights.maySee(.describe, .topic, $0.topicName) }
        }
    }
}

extension ShareFetchRequest: AuthorizedRequest {
    func authorize(_ rights: Rights) -> Authorization<ShareFetchResponse> {
        guard rights.mayUse(group: groupId ?? "", .read) else {
            var response = ShareFetchResponse()
            response.errorCode = .groupAuthorizationFailed
            return .refused(response)
        }
        // A session remembers its partitions, also those that may not be read now: it is the handler that passes them over.
        let session = ShareSessionKey(groupId: groupId, memberId: memberId)
        let ids = Set(topics.map(\.topicId) + (session.map(rights.topics) ?? []))
        for name in ids.compactMap(rights.name).sorted() { _ = rights.mayUse(topic: name, .read) }
        return .granted
    }
}

extension Exchange {
    /// Whether a topic may be read, if there is one.
    func mayRead(_ id: TopicId) -> Bool {
        guard isRestricted, let topic = engine.topics.topic(id: id) else { return true }
        return Rights(self).maySee(.read, .topic, topic.name)
    }
}

extension ShareAcknowledgeRequest: AuthorizedRequest {
    mutating func authorize(_ rights: Rights) -> Authorization<ShareAcknowledgeResponse> {
        guard rights.mayUse(group: groupId ?? "", .read) else {
            var response = ShareAcknowledgeResponse()
            response.errorCode = .groupAuthorizationFailed
            return .refused(response)
        }
        let denied = rights.takeOut(&topics, .read) { rights.name(ofTopic: $0.topicId) }
        guard !denied.isEmpty else { return .granted }
        return .amended { response in
            guard response.errorCode == .none else { return }
            response.responses += denied.map { topic in
                var answer = ShareAcknowledgeResponse.Topic()
                answer.topicId = topic.topicId
                answer.partitions = topic.partitions.map {
                    var partition = ShareAcknowledgeResponse.Partition()
                    partition.partitionIndex = $0.partitionIndex
                    partition.errorCode = .topicAuthorizationFailed
                    return partition
                }
                return answer
            }
        }
    }
}

extension DescribeShareGroupOffsetsRequest: AuthorizedRequest {
    mutating func authorize(_ rights: Rights) -> Authorization<DescribeShareGroupOffsetsResponse> {
        let denied = rights.takeOut(&groups, .describe, of: .group) { $0.groupId }
        return .amended { response in
            for index in response.groups.indices {
                response.groups[index].topics.removeAll { !rights.maySee(.describe, .topic, $0.topicName) }
            }
            response.groups += denied.map { group in
                var answer = DescribeShareGroupOffsetsResponse.Group()
                answer.groupId = group.groupId
                answer.errorCode = .groupAuthorizationFailed
                return answer
            }
        }
    }
}

extension AlterShareGroupOffsetsRequest: AuthorizedRequest {
    mutating func authorize(_ rights: Rights) -> Authorization<AlterShareGroupOffsetsResponse> {
        guard rights.mayUse(group: groupId, .read) else {
            var response = AlterShareGroupOffsetsResponse()
            response.errorCode = .groupAuthorizationFailed
            return .refused(response)
        }
        let denied = rights.takeOut(&topics, .read) { $0.topicName }
        guard !denied.isEmpty else { return .granted }
        return .amended { response in
            response.responses += denied.map { topic in
                var answer = AlterShareGroupOffsetsResponse.Topic()
                answer.topicName = topic.topicName
                answer.partitions = topic.partitions.map {
                    var partition = AlterShareGroupOffsetsResponse.Partition()
                    partition.partitionIndex = $0.partitionIndex
                    partition.errorCode = .topicAuthorizationFailed
                    return partition
                }
                return answer
            }
        }
    }
}

extension DeleteShareGroupOffsetsRequest: AuthorizedRequest {
    mutating func authorize(_ rights: Rights) -> Authorization<DeleteShareGroupOffsetsResponse> {
        guard rights.mayUse(group: groupId, .delete) else {
            var response = DeleteShareGroupOffsetsResponse()
            response.errorCode = .groupAuthorizationFailed
            return .refused(response)
        }
        let denied = rights.takeOut(&topics, .read) { $0.topicName }
        guard !denied.isEmpty else { return .granted }
        return .amended { response in
            response.responses += denied.map { topic in
                var answer = DeleteShareGroupOffsetsResponse.Topic()
                answer.topicName = topic.topicName
                answer.errorCode = .topicAuthorizationFailed
                return answer
            }
        }
    }
}
