// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: who may take from share groups, see them and move them.

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

extension ShareFetchRequest: AuthorizedRequest {
    func authorize(_ rights: Rights) -> Authorization<ShareFetchResponse> {
        var response = ShareFetchResponse()
        guard rights.mayUse(group: groupId ?? "", .read) else {
            response.errorCode = .groupAuthorizationFailed
            return .refused(response)
        }
        // A session remembers what it was asked for, so a part that is denied refuses the whole.
        let wanted = Set(topics.map(\.topicId) + remembered(rights).map(\.topicId))
        let names = wanted.compactMap { rights.name(ofTopic: $0) }.sorted()
        return .when(names.allSatisfy { rights.mayUse(topic: $0, .read) }) {
            response.errorCode = .topicAuthorizationFailed
            return response
        }
    }

    /// What its session goes on with beyond what the request names: rights may have been taken away since, and whoever knows the
    /// member's id may be somebody else. A session that begins or ends reads nothing of that.
    private func remembered(_ rights: Rights) -> [SharePlace] {
        guard shareSessionEpoch > 0, let key = ShareSessionKey(groupId: groupId, memberId: memberId) else { return [] }
        let forgotten = Set(forgottenTopicsData.flatMap { topic in
            topic.partitions.map { SharePlace(topicId: topic.topicId, partition: $0) }
        })
        return rights.places(ofShareSession: key).filter { !forgotten.contains($0) }
    }
}

extension ShareAcknowledgeRequest: AuthorizedRequest {
    func authorize(_ rights: Rights) -> Authorization<ShareAcknowledgeResponse> {
        var response = ShareAcknowledgeResponse()
        guard rights.mayUse(group: groupId ?? "", .read) else {
            response.errorCode = .groupAuthorizationFailed
            return .refused(response)
        }
        let names = topics.compactMap { rights.name(ofTopic: $0.topicId) }
        return .when(names.allSatisfy { rights.mayUse(topic: $0, .read) }) {
            response.errorCode = .topicAuthorizationFailed
            return response
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
