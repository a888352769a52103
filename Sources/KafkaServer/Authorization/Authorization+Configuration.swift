// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: who may see and change configurations.

import Engine
import KafkaWire

extension Rights {
    /// nil: it may. Configurations of topics and groups are theirs, all others are the cluster's.
    func refusal(ofConfig type: Int8, _ name: String, _ operation: AccessOperation) -> KafkaErrorCode? {
        switch type {
        case ConfigResourceType.topic: mayUse(topic: name, operation) ? nil : .topicAuthorizationFailed
        case ConfigResourceType.group: mayUse(group: name, operation) ? nil : .groupAuthorizationFailed
        default: mayUseCluster(operation) ? nil : .clusterAuthorizationFailed
        }
    }

    /// Takes out the resources that may not be used so; with why.
    func takeOutConfigs<Resource>(
        _ resources: inout [Resource], _ operation: AccessOperation, _ name: (Resource) -> (type: Int8, name: String)
    ) -> [(resource: Resource, code: KafkaErrorCode)] {
        var denied: [(resource: Resource, code: KafkaErrorCode)] = []
        resources.removeAll { resource in
            let (type, name) = name(resource)
            guard let code = refusal(ofConfig: type, name, operation) else { return false }
            denied.append((resource, code))
            return true
        }
        return denied
    }
}

extension DescribeConfigsRequest: AuthorizedRequest {
    mutating func authorize(_ rights: Rights) -> Authorization<DescribeConfigsResponse> {
        let denied = rights.takeOutConfigs(&resources, .describeConfigs) { ($0.resourceType, $0.resourceName) }
            .map { resource, code in
                var result = DescribeConfigsResponse.Result()
                result.resourceType = resource.resourceType
                result.resourceName = resource.resourceName
                result.errorCode = code
                return result
            }
        return denied.isEmpty ? .granted : .amended { $0.results += denied }
    }
}

extension AlterConfigsRequest: AuthorizedRequest {
    mutating func authorize(_ rights: Rights) -> Authorization<AlterConfigsResponse> {
        let denied = rights.takeOutConfigs(&resources, .alterConfigs) { ($0.resourceType, $0.resourceName) }
            .map { resource, code in
                var result = AlterConfigsResponse.Resource()
                result.resourceType = resource.resourceType
                result.resourceName = resource.resourceName
                result.errorCode = code
                return result
            }
        return denied.isEmpty ? .granted : .amended { $0.responses += denied }
    }
}

extension IncrementalAlterConfigsRequest: AuthorizedRequest {
    mutating func authorize(_ rights: Rights) -> Authorization<IncrementalAlterConfigsResponse> {
        let denied = rights.takeOutConfigs(&resources, .alterConfigs) { ($0.resourceType, $0.resourceName) }
            .map { resource, code in
                var result = IncrementalAlterConfigsResponse.Resource()
                result.resourceType = resource.resourceType
                result.resourceName = resource.resourceName
                result.errorCode = code
                return result
            }
        return denied.isEmpty ? .granted : .amended { $0.resources += denied }
    }
}

extension ListConfigResourcesRequest: AuthorizedRequest {
    func authorize(_ rights: Rights) -> Authorization<ListConfigResourcesResponse> {
        .when(rights.mayUseCluster(.describeConfigs)) {
            var response = ListConfigResourcesResponse()
            response.errorCode = .clusterAuthorizationFailed
            return response
        }
    }
}

extension DescribeClientQuotasRequest: AuthorizedRequest {
    func authorize(_ rights: Rights) -> Authorization<DescribeClientQuotasResponse> {
        .when(rights.mayUseCluster(.describeConfigs)) {
            var response = DescribeClientQuotasResponse()
            response.errorCode = .clusterAuthorizationFailed
            return response
        }
    }
}

extension AlterClientQuotasRequest: AuthorizedRequest {
    func authorize(_ rights: Rights) -> Authorization<AlterClientQuotasResponse> {
        .when(rights.mayUseCluster(.alterConfigs)) {
            var response = AlterClientQuotasResponse()
            response.entries = entries.map { entry in
                var answer = AlterClientQuotasResponse.Entry()
                answer.errorCode = .clusterAuthorizationFailed
                answer.entity = entry.entity.map {
                    var entity = AlterClientQuotasResponse.Entity()
                    entity.entityType = $0.entityType
                    entity.entityName = $0.entityName
                    return entity
                }
                return answer
            }
            return response
        }
    }
}

extension UpdateFeaturesRequest: AuthorizedRequest {
    func authorize(_ rights: Rights) -> Authorization<UpdateFeaturesResponse> {
        .when(rights.mayUseCluster(.alter)) {
            var response = UpdateFeaturesResponse()
            response.errorCode = .clusterAuthorizationFailed
            return response
        }
    }
}
