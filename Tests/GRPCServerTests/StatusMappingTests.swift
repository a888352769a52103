// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServerTests: every refusal of the engine has its gRPC status.

import Engine
import GRPCWire
import Storage
import Testing

@testable import GRPCServer

@Suite struct StatusMappingTests {
    private static let expected: [EngineError.Code: GRPCStatus.Code] = [
        .unknownTopic: .notFound, .unknownTopicId: .notFound, .unknownPartition: .notFound, .topicExists: .alreadyExists,
        .invalidTopicName: .invalidArgument, .invalidPartitionCount: .invalidArgument,
        .invalidReplicationFactor: .invalidArgument, .invalidConfiguration: .invalidArgument, .invalidRequest: .invalidArgument,
        .offsetOutOfRange: .outOfRange, .corruptData: .dataLoss, .corruptMessage: .invalidArgument,
        .invalidRecord: .invalidArgument, .messageTooLarge: .resourceExhausted, .invalidTimestamp: .invalidArgument,
        .unsupportedCompression: .invalidArgument, .unsupportedMessageFormat: .invalidArgument,
        .outOfOrderSequence: .aborted, .duplicateSequence: .alreadyExists, .invalidProducerEpoch: .aborted,
        .partitionNotInTransaction: .failedPrecondition, .noTransactionalId: .failedPrecondition,
        .concurrentTransactions: .aborted,
        .invalidTransactionState: .failedPrecondition, .invalidProducerIdMapping: .failedPrecondition, .transactionCoordinatorFenced: .aborted,
        .storageFull: .resourceExhausted, .logReadOnly: .failedPrecondition, .storageFailure: .internal,
        .limitReached: .resourceExhausted, .topicAuthorization: .permissionDenied, .shuttingDown: .unavailable,
        .tooManyOpenFiles: .unavailable,
    ]

    @Test(arguments: EngineError.Code.allCases)
    func `Every engine error has the status that is written down`(code: EngineError.Code) throws {
        let status = GRPCStatus(EngineError(code, "why"))
        #expect(status.code == Self.expected[code])
        #expect(status.message == "why")
    }

    @Test(arguments: GroupError.allCases)
    func `Every group error has a status that is an error, and says why`(error: GroupError) {
        let status = GRPCStatus(error)
        #expect(status.code != .ok && status.code != .unknown && status.message == error.description)
        #expect(status.reason == status.reason.uppercased() && status.reason.contains("_"))
        if error == .staleMemberEpoch { #expect(status.reason == "STALE_MEMBER_EPOCH") }
    }

    @Test(arguments: ShareError.allCases)
    func `Every share group's error has a status that is an error, and details`(error: ShareError) {
        let status = GRPCStatus(error)
        #expect(status.code != .ok && status.code != .unknown && status.message == error.description)
        #expect(status.reason == status.reason.uppercased() && status.reason.contains("_"))
    }

    @Test func `Errors that lost their type keep their meaning`() {
        let engine: any Error = EngineError(.topicExists, "there")
        let status: any Error = GRPCStatus(.aborted, "so")
        let other: any Error = StorageError(.inputOutput, "disk")
        #expect(GRPCStatus(engine) == GRPCStatus(.alreadyExists, "there"))
        #expect(GRPCStatus(status) == GRPCStatus(.aborted, "so"))
        #expect(GRPCStatus(other).code == .internal)
    }
}
