// SPDX-License-Identifier: Apache-2.0
// Martlet, fuzzing: one target under libFuzzer.
//
//   martlet-fuzz list
//   martlet-fuzz TARGET [libFuzzer's arguments: corpus directories, files to replay, -max_total_time=…]

import Glibc
import NIOCore

/// libFuzzer as a library (compiler-rt, FuzzerInterface.h).
@_silgen_name("LLVMFuzzerRunDriver")
private func runDriver(
    _ count: UnsafeMutablePointer<CInt>,
    _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>>,
    _ test: @convention(c) (UnsafePointer<UInt8>?, Int) -> CInt
) -> CInt

/// Chosen once, before libFuzzer begins.
nonisolated(unsafe) private var target = FuzzTarget.all[0]

private func test(_ bytes: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    // SAFETY: libFuzzer passes `count` readable bytes, which are copied.
    let input = unsafe ByteBuffer(bytes: UnsafeRawBufferPointer(start: bytes, count: count))
    do {
        try unsafe target.run(input)
    } catch {
        fatalError("\(unsafe target.name): \(error)")
    }
    return 0
}

let arguments = CommandLine.arguments.dropFirst()
if arguments.first == "list" {
    for target in FuzzTarget.all { print(target.name) }
    exit(0)
}
guard let name = arguments.first, let chosen = FuzzTarget.named(name) else {
    print("usage: martlet-fuzz list | martlet-fuzz TARGET [libFuzzer's arguments]")
    exit(2)
}
unsafe target = chosen
// What comes later on the command line wins.
let all = [CommandLine.arguments[0], "-max_len=\(chosen.inputBytesMax)"] + arguments.dropFirst()
// SAFETY: the strings are never freed, because libFuzzer keeps them.
var strings = unsafe all.map { unsafe strdup($0) } + [nil]
var count = CInt(all.count)
exit(
    unsafe strings.withUnsafeMutableBufferPointer { buffer in
        guard var start = buffer.baseAddress else { return 2 }
        return unsafe runDriver(&count, &start) { unsafe test($0, $1) }
    })
