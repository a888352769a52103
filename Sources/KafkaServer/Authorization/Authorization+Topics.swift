// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: who may see, make, change and remove topics.

import Bytes
import Engine
import KafkaWire

extension MetadataRequest: AuthorizedRequest {
    mutating func authorize(_ rights: Rights) -> Authorization<MetadataResponse> {
        let wantsTopicOperations = includeTopicAuthorizedOperations
        let wantsClusterOperations = includeClusterAuthorizedOperations
        let isList = topics.map { $0.isEmpty && rights.version == 0 } ?? true
        let denied = deniedTopics(rights)
        return .amended { response in
            if isList { response.topics.removeAll { !rights.maySee(.describe, .topic, $0.name ?? "") } }
            response.topics.removeAll { $0.name == "" && $0.topicId == .zero }
            if wantsTopicOperations {
                for index in response.topics.indices where response.topics[index].errorCode == .none {
                    response.topics[index].topicAuthorizedOperations = rights.operations(
                        .topic, response.topics[index].name ?? "", within: AuthorizedOperations.topic)
                }
            }
            if wantsClusterOperations, (8...10).contains(rights.version) {
                response.clusterAuthorizedOperations = rights.clusterOperations
            }
            response.topics += denied
        }
    }

    /// Takes out what may not be described, and what is missing and may not be made.
    private mutating func deniedTopics(_ rights: Rights) -> [MetadataResponse.Topic] {
        guard var wanted = topics, !wanted.isEmpty else { return [] }
        var denied: [MetadataResponse.Topic] = []
        wanted.removeAll { topic in
            let isById = topic.topicId != .zero && rights.version >= 12
            let name = isById ? rights.name(ofTopic: topic.topicId) : topic.name
            guard let name else { return false }
            let isAllowed = rights.mayUse(topic: name, .describe)
            let isMade = rights.exists(name) || !allowAutoTopicCreation && rights.version >= 4
            let mayMake = isMade || rights.maySee(.create, .cluster, AccessRule.clusterName)
                || rights.maySee(.create, .topic, name)
            guard !isAllowed || !mayMake else { return false }
            var answer = MetadataResponse.Topic()
            answer.name = isById ? nil : topic.name
            answer.topicId = topic.topicId
            // Who asks by id does not learn that there is such a topic.
            answer.errorCode = isById ? .unknownTopicId : .topicAuthorizationFailed
            denied.append(answer)
            return true
        }
        // An empty list means all topics in version 0: this name means none, and is taken out of the answer.
        if wanted.isEmpty { wanted = [MetadataRequest.Topic.nothing] }
        topics = wanted
        return denied
    }
}

extension MetadataRequest.Topic {
    fileprivate static var nothing: MetadataRequest.Topic {
        var topic = MetadataRequest.Topic()
        topic.name = ""
        return topic
    }
}

extension DescribeTopicPartitionsRequest: AuthorizedRequest {
    mutating func authorize(_ rights: Rights) -> Authorization<DescribeTopicPartitionsResponse> {
        let isList = topics.isEmpty
        let denied = rights.takeOut(&topics, .describe) { $0.name }.map { topic in
            var answer = DescribeTopicPartitionsResponse.Topic()
            answer.name = topic.name
            answer.errorCode = .topicAuthorizationFailed
            return answer
        }
        if topics.isEmpty, !isList {
            var response = DescribeTopicPartitionsResponse()
            response.topics = denied
            return .refused(response)
        }
        return .amended { response in
            if isList { response.topics.removeAll { !rights.maySee(.describe, .topic, $0.name ?? "") } }
            for index in response.topics.indices where response.topics[index].errorCode == .none {
                response.topics[index].topicAuthorizedOperations = rights.operations(
                    .topic, response.topics[index].name ?? "", within: AuthorizedOperations.topic)
            }
            response.topics += denied
        }
    }
}

extension CreateTopicsRequest: AuthorizedRequest {
    mutating func authorize(_ rights: Rights) -> Authorization<CreateTopicsResponse> {
        var denied: [Topic] = []
        if !rights.maySee(.create, .cluster, AccessRule.clusterName) {
            denied = rights.takeOut(&topics, .create) { $0.name }
        }
        return .amended { [denied] response in
            for index in response.topics.indices where response.topics[index].errorCode == .none {
                guard !rights.maySee(.describeConfigs, .topic, response.topics[index].name) else { continue }
                response.topics[index].topicConfigErrorCode = .topicAuthorizationFailed
                response.topics[index].configs = rights.version >= 5 ? nil : []
                response.topics[index].numPartitions = -1
                response.topics[index].replicationFactor = -1
            }
            response.topics += denied.map { topic in
                var answer = CreateTopicsResponse.Topic()
                answer.name = topic.name
                answer.errorCode = .topicAuthorizationFailed
                answer.errorMessage = "Authorization failed."
                return answer
            }
        }
    }
}

extension DeleteTopicsRequest: AuthorizedRequest {
    mutating func authorize(_ rights: Rights) -> Authorization<DeleteTopicsResponse> {
        func refusal(_ name: String?, _ topic: Topic?) -> DeleteTopicsResponse.Topic {
            var answer = DeleteTopicsResponse.Topic()
            answer.name = name
            answer.topicId = topic?.topicId ?? .zero
            answer.errorCode = .topicAuthorizationFailed
            return answer
        }
        let names = rights.takeOut(&topicNames, .delete) { $0 }.map { refusal($0, nil) }
        let denied = rights.takeOut(&topics, .delete) { $0.name ?? rights.name(ofTopic: $0.topicId) }
        let refused = names + denied.map { refusal($0.name, $0) }
        return refused.isEmpty ? .granted : .amended { $0.topics += refused }
    }
}

extension CreatePartitionsRequest: AuthorizedRequest {
    mutating func authorize(_ rights: Rights) -> Authorization<CreatePartitionsResponse> {
        let denied = rights.takeOut(&topics, .alter) { $0.name }
        guard !denied.isEmpty else { return .granted }
        return .amended { response in
            response.results += denied.map { topic in
                var result = CreatePartitionsResponse.Result()
                result.name = topic.name
                result.errorCode = .topicAuthorizationFailed
                return result
            }
        }
    }
}
