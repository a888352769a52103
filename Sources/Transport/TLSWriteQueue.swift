// SPDX-License-Identifier: Apache-2.0
// Martlet, Transport: what was written and is not encrypted yet.
//
// Keeps buffers and stretches of files as they came, so that data waits for a slow peer in
// plaintext (which for files is no memory at all) and not as records. Encrypts in pieces that the
// handler chooses; small writes of one piece share a record, because a record costs about as much
// as 1 KiB of encryption. Owned by its TLSHandler, on its event loop. Its length is the writer's
// affair, like that of a channel's own queue: writers watch the channel's writability.

import Glibc
import NIOCore

/// What was written and is not encrypted yet.
struct TLSWriteQueue {
    private struct Entry {
        var data: IOData
        var promise: EventLoopPromise<Void>?
    }

    /// Buffers below this are gathered into one record if more follows.
    private static let smallBytesMax = 4 * 1024
    /// How much of a file is read at a time; stays within a core's second-level cache.
    private static let fileBytesMax = 64 * 1024

    private var entries = CircularBuffer<Entry>()
    /// How many entries from the front may be sent.
    private var flushedCount = 0
    private var gathered = ByteBuffer()
    private var fileBytes = ByteBuffer()

    var hasFlushed: Bool { flushedCount > 0 }

    mutating func append(_ data: IOData, _ promise: EventLoopPromise<Void>?) {
        entries.append(Entry(data: data, promise: promise))
    }

    mutating func flush() {
        flushedCount = entries.count
    }

    /// Encrypts flushed entries until about `bytesMax` bytes are outgoing or nothing flushed is
    /// left. Returns a promise to complete when those bytes are written.
    mutating func encrypt(
        with session: TLSSession, bytesMax: Int, on loop: any EventLoop
    ) throws(TLSError) -> EventLoopPromise<Void>? {
        var promise: EventLoopPromise<Void>?
        while flushedCount > 0,
            session.stream.outbound.readableBytes + gathered.readableBytes < bytesMax
        {
            var entry = entries.removeFirst()
            do throws(TLSError) {
                try encryptFront(of: &entry, with: session, bytesMax: bytesMax)
            } catch {
                // Put back, so that its promise fails with the others.
                entries.prepend(entry)
                throw error
            }
            guard entry.data.readableBytes == 0 else {
                entries.prepend(entry)
                continue
            }
            flushedCount -= 1
            if let next = entry.promise { promise = Self.join(promise, next) }
        }
        try encryptGathered(with: session)
        if entries.isEmpty { fileBytes = ByteBuffer() }
        return promise
    }

    /// Fails everything that is still here.
    mutating func fail(_ error: any Error) {
        flushedCount = 0
        gathered.clear()
        while let entry = entries.popFirst() { entry.promise?.fail(error) }
    }

    /// Encrypts some of `entry` and drops that from it.
    private mutating func encryptFront(
        of entry: inout Entry, with session: TLSSession, bytesMax: Int
    ) throws(TLSError) {
        switch entry.data {
        case .byteBuffer(var buffer):
            let isSmall = buffer.readableBytes < Self.smallBytesMax
            if isSmall, flushedCount > 1 || gathered.readableBytes > 0 {
                if gathered.readableBytes + buffer.readableBytes > TLSSession.recordBytesMax {
                    try encryptGathered(with: session)
                }
                gathered.writeBuffer(&buffer)
            } else {
                try encryptGathered(with: session)
                let count = min(buffer.readableBytes, bytesMax)
                if let piece = buffer.readSlice(length: count) { try session.write(piece) }
            }
            entry.data = .byteBuffer(buffer)
        case .fileRegion(var region):
            try encryptGathered(with: session)
            if region.readableBytes > 0 { try readFile(&region) }
            try session.write(fileBytes)
            fileBytes.clear(minimumCapacity: 0)
            entry.data = .fileRegion(region)
        }
    }

    private mutating func encryptGathered(with session: TLSSession) throws(TLSError) {
        guard gathered.readableBytes > 0 else { return }
        try session.write(gathered)
        gathered.clear()
    }

    /// Reads the next bytes of a file into `fileBytes`. Like sendfile, this may wait for the disk.
    private mutating func readFile(_ region: inout FileRegion) throws(TLSError) {
        let wanted = min(region.readableBytes, Self.fileBytesMax)
        let offset = off_t(region.readerIndex)
        fileBytes.clear(minimumCapacity: Self.fileBytesMax)
        var count = 0
        do {
            let handle = region.fileHandle
            // SAFETY: pread writes at most `wanted` bytes, for which the buffer has room; the
            // descriptor is open for the duration of the closure.
            count = try unsafe fileBytes.writeWithUnsafeMutableBytes(minimumWritableBytes: wanted) {
                target in
                try handle.withUnsafeFileDescriptor { descriptor in
                    try retryInterrupted {
                        unsafe pread(descriptor, target.baseAddress, wanted, offset)
                    }
                }
            }
        } catch {
            throw TLSError(.fileUnreadable, "cannot read a file that is being sent: \(error)")
        }
        guard count > 0 else {
            throw TLSError(.fileUnreadable, "a file became shorter while it was being sent")
        }
        region.moveReaderIndex(forwardBy: count)
    }

    /// One promise that completes both.
    private static func join(
        _ first: EventLoopPromise<Void>?, _ second: EventLoopPromise<Void>
    ) -> EventLoopPromise<Void> {
        guard let first else { return second }
        first.futureResult.cascade(to: second)
        return first
    }
}

/// Calls again while a signal interrupts; throws what errno says.
private func retryInterrupted(_ call: () -> Int) throws -> Int {
    while true {
        let result = call()
        if result >= 0 { return result }
        if errno != EINTR { throw IOError(errnoCode: errno, reason: "pread") }
    }
}
