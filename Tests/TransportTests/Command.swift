// SPDX-License-Identifier: Apache-2.0
// Martlet, TransportTests: another program, run to its end.
//
// Not Foundation's Process: it looks at the limit of descriptors twice, and another test may raise that in between.

import Glibc

struct CommandFailed: Error {}

/// Runs a program of the path; what it wrote to both of its outputs, and its status.
func run(_ arguments: [String]) throws -> (status: Int32, output: String) {
    let quoted = arguments.map { "'" + $0.replacing("'", with: "'\\''") + "'" }.joined(separator: " ")
    // SAFETY: the stream is closed once, below; the buffer outlives each read.
    guard let stream = unsafe popen(quoted + " 2>&1", "r") else { throw CommandFailed() }
    var output: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 4096)
    while true {
        let count = unsafe fread(&buffer, 1, buffer.count, stream)
        if count == 0 { break }
        output += buffer.prefix(count)
    }
    let status = unsafe pclose(stream)
    // The exit status as wait(2) packs it.
    return (status & 0x7f == 0 ? (status >> 8) & 0xff : -1, String(decoding: output, as: UTF8.self))
}
