// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: who may see and change what belongs to the whole broker: rules, passwords, directories, leaders;
// and the few requests that everybody may send.

import Engine
import KafkaWire

extension ApiVersionsRequest: AuthorizedRequest {
    func authorize(_ rights: Rights) -> Authorization<ApiVersionsResponse> { .granted }
}

extension SaslHandshakeRequest: AuthorizedRequest {
    func authorize(_ rights: Rights) -> Authorization<SaslHandshakeResponse> { .granted }
}

extension SaslAuthenticateRequest: AuthorizedRequest {
    func authorize(_ rights: Rights) -> Authorization<SaslAuthenticateResponse> { .granted }
}

extension GetTelemetrySubscriptionsRequest: AuthorizedRequest {
    func authorize(_ rights: Rights) -> Authorization<GetTelemetrySubscriptionsResponse> { .granted }
}

extension PushTelemetryRequest: AuthorizedRequest {
    func authorize(_ rights: Rights) -> Authorization<PushTelemetryResponse> { .granted }
}

extension DescribeClusterRequest: AuthorizedRequest {
    func authorize(_ rights: Rights) -> Authorization<DescribeClusterResponse> {
        guard includeClusterAuthorizedOperations else { return .granted }
        return .amended { response in
            guard response.errorCode == .none else { return }
            response.clusterAuthorizedOperations = rights.clusterOperations
        }
    }
}

extension DescribeQuorumRequest: AuthorizedRequest {
    func authorize(_ rights: Rights) -> Authorization<DescribeQuorumResponse> {
        .when(rights.mayUseCluster(.describe)) {
            var response = DescribeQuorumResponse()
            response.errorCode = .clusterAuthorizationFailed
            return response
        }
    }
}

// MARK: Rules and passwords

extension DescribeAclsRequest: AuthorizedRequest {
    func authorize(_ rights: Rights) -> Authorization<DescribeAclsResponse> {
        .when(rights.mayUseCluster(.describe)) {
            var response = DescribeAclsResponse()
            response.errorCode = .clusterAuthorizationFailed
            return response
        }
    }
}

extension CreateAclsRequest: AuthorizedRequest {
    func authorize(_ rights: Rights) -> Authorization<CreateAclsResponse> {
        .when(rights.mayUseCluster(.alter)) {
            var response = CreateAclsResponse()
            response.results = creations.map { _ in
                var result = CreateAclsResponse.Result()
                result.errorCode = .clusterAuthorizationFailed
                return result
            }
            return response
        }
    }
}

extension DeleteAclsRequest: AuthorizedRequest {
    func authorize(_ rights: Rights) -> Authorization<DeleteAclsResponse> {
        .when(rights.mayUseCluster(.alter)) {
            var response = DeleteAclsResponse()
            response.filterResults = filters.map { _ in
                var result = DeleteAclsResponse.FilterResult()
                result.errorCode = .clusterAuthorizationFailed
                return result
            }
            return response
        }
    }
}

extension DescribeUserScramCredentialsRequest: AuthorizedRequest {
    func authorize(_ rights: Rights) -> Authorization<DescribeUserScramCredentialsResponse> {
        .when(rights.mayUseCluster(.describe)) {
            var response = DescribeUserScramCredentialsResponse()
            response.errorCode = .clusterAuthorizationFailed
            return response
        }
    }
}

extension AlterUserScramCredentialsRequest: AuthorizedRequest {
    func authorize(_ rights: Rights) -> Authorization<AlterUserScramCredentialsResponse> {
        .when(rights.mayUseCluster(.alter)) {
            var response = AlterUserScramCredentialsResponse()
            response.results = Set(deletions.map(\.name) + upsertions.map(\.name)).sorted().map { user in
                var result = AlterUserScramCredentialsResponse.Result()
                result.user = user
                result.errorCode = .clusterAuthorizationFailed
                return result
            }
            return response
        }
    }
}

// MARK: Directories, leaders, replicas

extension DescribeLogDirsRequest: AuthorizedRequest {
    func authorize(_ rights: Rights) -> Authorization<DescribeLogDirsResponse> {
        .when(rights.mayUseCluster(.describe)) {
            var response = DescribeLogDirsResponse()
            response.errorCode = .clusterAuthorizationFailed
            return response
        }
    }
}

extension AlterReplicaLogDirsRequest: AuthorizedRequest {
    func authorize(_ rights: Rights) -> Authorization<AlterReplicaLogDirsResponse> {
        .when(rights.mayUseCluster(.alter)) {
            var response = AlterReplicaLogDirsResponse()
            response.results = dirs.flatMap(\.topics).map { topic in
                var answer = AlterReplicaLogDirsResponse.Topic()
                answer.topicName = topic.name
                answer.partitions = topic.partitions.map {
                    var partition = AlterReplicaLogDirsResponse.Partition()
                    partition.partitionIndex = $0
                    partition.errorCode = .clusterAuthorizationFailed
                    return partition
                }
                return answer
            }
            return response
        }
    }
}

extension ElectLeadersRequest: AuthorizedRequest {
    func authorize(_ rights: Rights) -> Authorization<ElectLeadersResponse> {
        .when(rights.mayUseCluster(.alter)) {
            var response = ElectLeadersResponse()
            response.errorCode = .clusterAuthorizationFailed
            // Version 0 has no error of the whole response.
            response.replicaElectionResults = (topicPartitions ?? []).map { topic in
                var answer = ElectLeadersResponse.Topic()
                answer.topic = topic.topic
                answer.partitionResult = topic.partitions.map {
                    var partition = ElectLeadersResponse.Partition()
                    partition.partitionId = $0
                    partition.errorCode = .clusterAuthorizationFailed
                    return partition
                }
                return answer
            }
            return response
        }
    }
}

extension AlterPartitionReassignmentsRequest: AuthorizedRequest {
    func authorize(_ rights: Rights) -> Authorization<AlterPartitionReassignmentsResponse> {
        .when(rights.mayUseCluster(.alter)) {
            var response = AlterPartitionReassignmentsResponse()
            response.errorCode = .clusterAuthorizationFailed
            return response
        }
    }
}

extension ListPartitionReassignmentsRequest: AuthorizedRequest {
    func authorize(_ rights: Rights) -> Authorization<ListPartitionReassignmentsResponse> {
        .when(rights.mayUseCluster(.describe)) {
            var response = ListPartitionReassignmentsResponse()
            response.errorCode = .clusterAuthorizationFailed
            return response
        }
    }
}
