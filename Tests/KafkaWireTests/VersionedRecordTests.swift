// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWireTests: records with a version in front, against bytes made from Kafka's own
// definitions (`golden/generate.py records`), and against damage.

import NIOCore
import Testing

@testable import KafkaWire

@Suite struct VersionedRecordTests {
    private struct Key: Hashable {
        let name: String
        let version: Int16
        let content: FillingCoder.Content
    }

    private static let contents: [FillingCoder.Content] = [.full, .sparse]

    @Test func everyRecordInEveryVersionHasTheBytesOfKafkasDefinitions() throws {
        var vectors: [Key: ByteBuffer] = [:]
        for vector in try GoldenFile.read("records.txt") {
            let version = try #require(Int16(vector.words[1]))
            let content = vector.words[2] == "full" ? FillingCoder.Content.full : .sparse
            vectors[Key(name: vector.words[0], version: version, content: content)] = vector.bytes
        }
        for record in CataloguedRecord.all {
            for version in record.versions {
                for content in Self.contents {
                    let key = Key(name: record.name, version: version, content: content)
                    let vector = vectors.removeValue(forKey: key)
                    let golden = try #require(vector, "no vector for \(key)")
                    #expect(try record.filled(version, content) == golden, "\(key)")
                    let (isFilled, unread) = try record.decodesToFilled(golden, version, content)
                    #expect(isFilled, "\(key)")
                    #expect(unread == 0, "\(key)")
                }
            }
        }
        #expect(vectors.isEmpty, "vectors of records that are not catalogued")
    }

    @Test(arguments: CataloguedRecord.all)
    func aRecordCutShortAtAnyByteIsAnError(record: CataloguedRecord) throws {
        for version in record.versions {
            for content in Self.contents {
                let bytes = try record.filled(version, content)
                for length in 0..<bytes.readableBytes {
                    let cut = bytes.getSlice(at: bytes.readerIndex, length: length)!
                    #expect(throws: WireError.self, "\(record.name) v\(version) at \(length)") {
                        _ = try record.footprint(cut)
                    }
                }
            }
        }
    }

    @Test(arguments: CataloguedRecord.all)
    func aVersionThatIsNotDefinedIsRefused(record: CataloguedRecord) throws {
        let newer = record.versions.upperBound + 1
        for version in [record.versions.lowerBound - 1, newer, .min, .max] {
            #expect(throws: WireError.self) { try record.filled(version, .full) }
            if record.readsNewerVersions, version > 0 { continue }
            var bytes = ByteBuffer(integer: version)
            bytes.writeRepeatingByte(0, count: 256)
            #expect {
                try record.footprint(bytes)
            } throws: { ($0 as? WireError)?.kind == .unsupportedVersion(version) }
        }
    }

    @Test(arguments: CataloguedRecord.all.filter(\.readsNewerVersions))
    func aNewerVersionIsReadAsTheNewestKnown(record: CataloguedRecord) throws {
        let known = record.versions.upperBound
        var bytes = try record.filled(known, .full)
        bytes.setInteger(known + 7, at: bytes.readerIndex)
        bytes.writeString("more")
        let (isFilled, unread) = try record.decodesToFilled(bytes, known, .full)
        #expect(isFilled)
        #expect(unread == 4)
    }

    @Test func onlyWhatOthersThanTheCoordinatorWroteIsReadInNewerVersions() {
        let newer = CataloguedRecord.all.filter(\.readsNewerVersions).map(\.name)
        #expect(
            newer == [
                "ControlRecordType", "EndTxnMarker", "ConsumerProtocolSubscription",
                "ConsumerProtocolAssignment",
            ])
    }

    /// A coordinator tells its records apart by the version of their keys.
    @Test func everyKindOfGroupRecordHasAKeyVersionOfItsOwn() {
        let keys = CataloguedRecord.all.filter { $0.name.hasSuffix("Key") }
        #expect(keys.allSatisfy { $0.versions.count == 1 })
        let group = keys.filter { $0.name.contains("Group") }.map(\.versions.lowerBound)
        // 0 and 1 are committed offsets.
        #expect(group.sorted() == [2, 3, 4, 5, 6, 7, 8, 16])
    }

    @Test func anErrorCountsItsBytesFromTheVersionOnAndLeavesTheBuffer() throws {
        var bytes = ByteBuffer(bytes: [0, 3, 0, 9, 0x67])
        let before = bytes
        #expect(
            throws: WireError(
                .truncated(needed: 9, remaining: 1), offset: 4, message: "ConsumerGroupMetadataKey")
        ) { try ConsumerGroupMetadataKey(from: &bytes) }
        #expect(bytes == before)
        var empty = ByteBuffer(bytes: [0])
        #expect(
            throws: WireError(
                .truncated(needed: 2, remaining: 1), offset: 0, message: "EndTxnMarker")
        ) { try EndTxnMarker(from: &empty) }

        var key = ConsumerGroupMetadataKey()
        key.groupId = String(repeating: "g", count: 40_000)
        var target = ByteBuffer(string: "kept")
        #expect(
            throws: WireError(.tooLong(40_000), offset: 2, message: "ConsumerGroupMetadataKey")
        ) { try key.encode(into: &target, version: 3) }
        #expect(target == ByteBuffer(string: "kept"))
    }

    @Test(arguments: CataloguedRecord.all)
    func randomAndDamagedBytesNeverTrapNorSwell(record: CataloguedRecord) throws {
        var generator = SeededGenerator(state: 4242)
        var decoded = 0
        for version in record.versions {
            let filled = try record.filled(version, .full)
            for round in 0..<120 {
                var bytes = ByteBuffer(integer: version)
                if round % 2 == 0 {
                    bytes.writeImmutableBuffer(generator.bytes())
                } else {
                    bytes = generator.damaged(filled)
                }
                do {
                    let footprint = try record.footprint(bytes)
                    #expect(
                        footprint <= 64 * bytes.readableBytes + 256,
                        "\(record.name) v\(version) holds \(footprint)")
                    decoded += 1
                } catch {
                    #expect(error is WireError)
                }
            }
        }
        // Otherwise the damage never gets past the version, and the test tests little.
        #expect(decoded > 0)
    }

    /// Of real records: a commit marker as Kafka's brokers write it.
    @Test func aCommitMarkerIsTypeOneAndTheCoordinatorsEpoch() throws {
        var key = ByteBuffer()
        var type = ControlRecordType()
        type.type = ControlRecordType.commit
        try type.encode(into: &key, version: 0)
        #expect(key == ByteBuffer(bytes: [0, 0, 0, 1]))
        var value = ByteBuffer()
        var marker = EndTxnMarker()
        marker.coordinatorEpoch = 5
        try marker.encode(into: &value, version: 0)
        #expect(value == ByteBuffer(bytes: [0, 0, 0, 0, 0, 5]))
    }
}
