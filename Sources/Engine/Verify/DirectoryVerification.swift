// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: checks a data directory against what the engine's own logs say of it.
//
// The storage's check looks at bytes; this one knows the topics. It reads the metadata log first, then every log with
// the topic it belongs to, then compares: directories without a topic, topic ids, partitions that should have files. Reads
// only, like the check below it. Confined to its caller's thread.

import Bytes
import NIOCore
import Records
import Storage

package struct DirectoryVerification {
    private let verifier: DataDirectoryVerifier
    private var topics: [String: MetadataRecord.TopicRecord] = [:]
    private static let metadataLog = "\(Engine.metadataTopic)-0"

    private init(_ verifier: DataDirectoryVerifier) { self.verifier = verifier }

    /// Checks everything; what was found is in the verifier. Throws what keeps it from checking.
    package static func run(_ verifier: DataDirectoryVerifier) throws(StorageError) {
        var verification = DirectoryVerification(verifier)
        // Listed before the topics are read: a topic that is created meanwhile has no directory yet, which is no error.
        let names = try verifier.logNames()
        if names.contains(metadataLog) { try verification.readMetadata() }
        for name in names where name != metadataLog { try verification.verify(name) }
        try verification.checkMissing(names)
    }

    private mutating func readMetadata() throws(StorageError) {
        var found: [String: MetadataRecord.TopicRecord] = [:]
        let verifier = verifier
        _ = try verifier.verifyLog(Self.metadataLog) { record in
            switch record.key.flatMap({ MetadataRecord(key: $0, value: record.value) }) {
            case .topic(let topic): found[topic.name] = topic
            case .topicDeleted(let name): found[name] = nil
            case .producerIds, .features, .access, .configuration, .quota: break
            case nil:
                verifier.report(
                    VerifyFinding(
                        .metadataRecord, file: Self.metadataLog, offsets: record.offset..<record.offset + 1,
                        "the record is none that this version knows",
                        meaning: "the broker ignores it: a topic, its configuration or its deletion may be missing",
                        next: "use the version that wrote it, or restore the directory from a copy"))
            }
        }
        topics = found
    }

    private func verify(_ name: String) throws(StorageError) {
        let split = DataDirectoryVerifier.split(name)
        let topic = split.flatMap { topics[$0.topic] }
        var readsOffsets: ((Record) -> Void)?
        if split?.topic == Engine.offsetsTopic { readsOffsets = { self.checkOffset($0, in: name) } }
        let found = try verifier.verifyLog(name, onRecord: readsOffsets)
        guard let split, let topic, split.partition < topic.partitions else {
            return try reportWithoutTopic(name, topic)
        }
        if let found, found != topic.id {
            verifier.report(
                VerifyFinding(
                    .topicId, file: "\(name)/partition.metadata",
                    "the directory belongs to topic id \(found), and topic \(topic.name) has id \(topic.id)",
                    meaning: "it is of an older topic of the same name: the next start sets it aside",
                    next: "nothing, unless its records are missed: copy the directory before the next start"))
        }
        if let known = verifier.checkpointedTopicId(name), known != topic.id, !verifier.options.isInUse {
            verifier.report(
                VerifyFinding(
                    .topicId, .notice, file: "martlet.checkpoint",
                    "it has topic id \(known) for \(name), and the topic has id \(topic.id)",
                    meaning: "the log is checked as a whole at the next start", next: "nothing"))
        }
    }

    private func checkOffset(_ record: Record, in name: String) {
        guard let key = record.key else { return }
        guard case .malformed = OffsetRecord(key: key, value: record.value) else { return }
        verifier.report(
            VerifyFinding(
                .offsetRecord, file: name, offsets: record.offset..<record.offset + 1,
                "the record of a committed offset cannot be read",
                meaning: "the group's earlier commit for that partition counts, if there is one",
                next: "look at the group's offsets, and set them where they are wrong"))
    }

    private func reportWithoutTopic(
        _ name: String, _ topic: MetadataRecord.TopicRecord?
    ) throws(StorageError) {
        // Deleted since it was listed, or created since the metadata was read.
        if verifier.options.isInUse { return }
        let why = topic.map { "topic \($0.name) has \($0.partitions) partitions" } ?? "the metadata log has no such topic"
        verifier.report(
            VerifyFinding(
                .noTopic, file: name, why, meaning: "nothing serves or removes these records",
                next: "move the directory away; or restore \(Self.metadataLog) if it is of an older copy"))
    }

    private func checkMissing(_ names: [String]) throws(StorageError) {
        for name in verifier.missing(from: names) {
            // In use: the topic may have been deleted since the checkpoint was written.
            if verifier.options.isInUse { continue }
            let split = DataDirectoryVerifier.split(name)
            let isTopics = name == Self.metadataLog
                || split.map { split in topics[split.topic].map { split.partition < $0.partitions } ?? false } ?? false
            // A topic that was deleted after the last checkpoint leaves an entry there and nothing else.
            guard isTopics || verifier.wasCleanlyClosed else { continue }
            verifier.report(
                VerifyFinding(
                    .noDirectory, file: name, "the checkpoint says that this log has records, and the directory is missing",
                    meaning: "its records are lost", next: "restore the directory from a copy while the broker is stopped"))
        }
    }
}
