// SPDX-License-Identifier: Apache-2.0
// Martlet, FuzzTests: every fuzz target over the inputs that are kept, without the fuzzer.
//
// corpus/TARGET.bin      inputs that reach much of the code, each after its length (four bytes)
// regressions/TARGET/*   inputs that failed once, one a file

import Foundation
import KafkaWire
import NIOCore
import Testing

extension FuzzTarget: CustomTestStringConvertible {
    var testDescription: String { name }
}

@Suite(.serialized) struct ReplayTests {
    /// Where the inputs lie: read from the sources, so that a new one needs no build.
    private static let directory = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent()

    private static func corpus(_ target: FuzzTarget) throws -> [ByteBuffer] {
        let url = directory.appendingPathComponent("corpus/\(target.name).bin")
        var rest = ByteBuffer(bytes: try Data(contentsOf: url))
        var inputs: [ByteBuffer] = []
        while let length = rest.readInteger(as: UInt32.self) {
            guard let input = rest.readSlice(length: Int(length)) else { break }
            inputs.append(input.ownCopy)
        }
        return inputs
    }

    private static func regressions(_ target: FuzzTarget) throws -> [(name: String, bytes: ByteBuffer)] {
        let url = directory.appendingPathComponent("regressions/\(target.name)")
        guard FileManager.default.fileExists(atPath: url.path) else { return [] }
        return try FileManager.default.contentsOfDirectory(atPath: url.path).sorted().map { name in
            (name, ByteBuffer(bytes: try Data(contentsOf: url.appendingPathComponent(name))))
        }
    }

    @Test(arguments: FuzzTarget.all)
    func `What failed once holds`(target: FuzzTarget) throws {
        for (name, bytes) in try Self.regressions(target) {
            #expect(throws: Never.self, "\(name)") { try target.run(bytes) }
        }
    }

    @Test(arguments: FuzzTarget.all)
    func `The kept inputs hold`(target: FuzzTarget) throws {
        let inputs = try Self.corpus(target)
        #expect(!inputs.isEmpty)
        for (number, bytes) in inputs.enumerated() {
            #expect(throws: Never.self, "input \(number)") { try target.run(bytes) }
        }
    }

    @Test(arguments: FuzzTarget.all)
    func `Nothing and next to nothing is taken`(target: FuzzTarget) throws {
        for bytes: [UInt8] in [[], [0], [1], [0xff], [0, 0, 0], [0, 0, 1], [0xff, 0xff, 0xff, 0xff]] {
            #expect(throws: Never.self) { try target.run(ByteBuffer(bytes: bytes)) }
        }
    }

    @Test func `Every API has its messages under test`() {
        #expect(apisWithoutFuzzing == [])
    }
}
