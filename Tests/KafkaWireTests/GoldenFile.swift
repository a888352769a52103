// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaWireTests: reads the files of `golden/`: one vector a line, words first, hex last.

import Foundation
import NIOCore

struct GoldenVector: Sendable {
    let words: [String]
    let bytes: ByteBuffer
}

enum GoldenFile {
    struct Unreadable: Error {
        let name: String
        let line: Int
    }

    /// The words of each line; lines that start with # are comments.
    static func lines(_ name: String) throws -> [[String]] {
        let directory = Bundle.module.resourceURL?.appendingPathComponent("golden")
        guard let url = directory?.appendingPathComponent(name) else {
            throw Unreadable(name: name, line: 0)
        }
        return try String(contentsOf: url, encoding: .utf8).split(separator: "\n")
            .filter { !$0.hasPrefix("#") }
            .map { $0.split(separator: " ").map(String.init) }
    }

    /// The vectors of a file: the last word is the bytes.
    static func read(_ name: String) throws -> [GoldenVector] {
        try lines(name).enumerated().map { index, line in
            guard let hex = line.last, let bytes = parse(hex) else {
                throw Unreadable(name: name, line: index + 1)
            }
            return GoldenVector(words: Array(line.dropLast()), bytes: bytes)
        }
    }

    private static func parse(_ hex: String) -> ByteBuffer? {
        let digits = hex == "-" ? [] : Array(hex.utf8)
        guard digits.count % 2 == 0 else { return nil }
        var buffer = ByteBuffer()
        for index in stride(from: 0, to: digits.count, by: 2) {
            let pair = String(decoding: digits[index...(index + 1)], as: UTF8.self)
            guard let byte = UInt8(pair, radix: 16) else { return nil }
            buffer.writeInteger(byte)
        }
        return buffer
    }
}
