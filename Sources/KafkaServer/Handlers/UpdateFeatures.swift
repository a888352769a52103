// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: UpdateFeatures (key 57, KIP-584).
//
// Versions: 0 to 2.
// Behaviour: changes the levels of features, all or none, durably; with validateOnly nothing. INVALID_UPDATE_VERSION
//   for an unknown feature, an unsupported level, and a downgrade that is not called one; FEATURE_UPDATE_FAILED if the
//   change cannot be made durable. The error is at the top; results per feature come only with success, as in Kafka
//   4.0.
// Deviations from Kafka: metadata.version and kraft.version cannot be changed. In version 0 allowDowngrade counts,
//   which Kafka 4.0 overlooks. A feature that is named twice gets the last of its levels.
// Notes: 1 has the kind of upgrade and validateOnly, 2 has no results per feature.

import Engine
import KafkaWire

enum UpdateFeaturesHandler: KafkaHandler {
    static func handle(_ request: UpdateFeaturesRequest, _ exchange: Exchange) {
        guard request.featureUpdates.count <= Limits.featuresPerRequest else {
            var response = UpdateFeaturesResponse()
            response.errorCode = .invalidRequest
            response.errorMessage = "A request updates \(Limits.featuresPerRequest) features at most."
            return exchange.reply(response)
        }
        exchange.engine.features.update(
            updates(of: request, exchange.version), validateOnly: request.validateOnly, on: exchange.loop
        ) { result in
            var response = UpdateFeaturesResponse()
            switch result {
            case .success:
                response.results = request.featureUpdates.map { update in
                    var each = UpdateFeaturesResponse.Result()
                    each.feature = update.feature
                    return each
                }
            case .failure(let refusal):
                refuse(refusal, in: &response)
            }
            exchange.reply(response)
        }
    }

    private static func updates(of request: UpdateFeaturesRequest, _ version: Int16) -> [FeatureUpdate] {
        var updates: [FeatureUpdate] = []
        for update in request.featureUpdates {
            let kind: FeatureUpdate.Kind? =
                if version == 0 { update.allowDowngrade ? .safeDowngrade : .upgrade } else {
                    FeatureUpdate.Kind(rawValue: update.upgradeType)
                }
            updates.removeAll { $0.name == update.feature }
            updates.append(FeatureUpdate(name: update.feature, level: update.maxVersionLevel, kind: kind))
        }
        return updates
    }

    private static func refuse(_ refusal: FeatureRefusal, in response: inout UpdateFeaturesResponse) {
        switch refusal {
        case .invalidVersion(let reason):
            response.errorCode = .invalidUpdateVersion
            response.errorMessage =
                "The update failed for all features since the following feature had an error: \(reason)"
        case .failed(let reason):
            response.errorCode = .featureUpdateFailed
            response.errorMessage = "The update could not be made durable: \(reason)"
        }
    }
}
