// SPDX-License-Identifier: Apache-2.0
// Martlet, RecordsTests: keys land where Kafka's clients put them.

import NIOCore
import Testing

@testable import Records

@Suite struct KeyPartitionerTests {
    /// Computed by kafka-python 3.0.12, kafka.partitioner.default.murmur2.
    private static let vectors: [(key: [UInt8], hash: UInt32, ofTwelve: Int32)] = [
        ([], 0x106e_08d9, 9), (Array("a".utf8), 0xa2d0_b27c, 4), (Array("ab".utf8), 0x12d8_262a, 2),
        (Array("abc".utf8), 0x1c94_221b, 3), (Array("21".utf8), 0xc5f2_f8ec, 0),
        (Array("foobar".utf8), 0xd0e4_7bbe, 6),
        (Array("a-little-bit-longer-string".utf8), 0xa768_c9c3, 11),
        (Array(0...255), 0x8bde_9476, 10),
    ]

    /// Vectors of Kafka's own UtilsTest (testMurmur2).
    @Test(arguments: [
        ("21", -973_932_308), ("foobar", -790_332_482), ("a-little-bit-long-string", -985_981_536),
        ("a-little-bit-longer-string", -1_486_304_829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971), ("abc", 479_470_107),
    ])
    func theHashIsKafkas(key: String, hash: Int) {
        let bytes = Array(key.utf8)
        #expect(Int32(bitPattern: unsafe bytes.withUnsafeBytes { unsafe KeyPartitioner.murmur2($0) }) == Int32(hash))
    }

    @Test(arguments: 0..<vectors.count)
    func aKeyHashesAsInKafka(_ index: Int) {
        let vector = Self.vectors[index]
        let hash = unsafe vector.key.withUnsafeBytes { unsafe KeyPartitioner.murmur2($0) }
        #expect(hash == vector.hash)
        let key = ByteBuffer(bytes: vector.key)
        #expect(KeyPartitioner.partition(ofKey: key, count: 12) == vector.ofTwelve)
    }
}
