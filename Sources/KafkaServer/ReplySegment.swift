// SPDX-License-Identifier: Apache-2.0
// Martlet, KafkaServer: the parts of a reply that carries records: bytes made here, and stretches of log files.
//
// A stretch with a descriptor leaves by sendfile; without one (a simulated disk) it is read into memory.

import NIOCore
import Storage

enum ReplySegment {
    case bytes(ByteBuffer)
    case slice(LogSlice)

    var bytesInMemory: Int {
        if case .bytes(let bytes) = self { bytes.readableBytes } else { 0 }
    }
}

extension LogSlice {
    /// Writes the slice to the channel, not flushed. The file stays open until the channel is done with it.
    func write(to context: ChannelHandlerContext) {
        guard let descriptor = file.descriptor else {
            var bytes = ByteBuffer()
            do {
                try read(into: &bytes)
                context.write(NIOAny(IOData.byteBuffer(bytes)), promise: nil)
            } catch {
                // The frame's length is on its way: nothing but closing tells the client that its bytes are missing.
                context.fireErrorCaught(error)
                context.close(promise: nil)
            }
            return
        }
        // A handle of this write's own: NIO refuses to use one handle from two event loops at a time.
        let handle = NIOFileHandle(_deprecatedTakingOwnershipOfDescriptor: descriptor)
        let region = FileRegion(
            fileHandle: handle, readerIndex: Int(position), endIndex: Int(position) + length)
        let done = context.eventLoop.makePromise(of: Void.self)
        let file = file
        done.futureResult.whenComplete { _ in
            // The descriptor belongs to `file`; taking it back can only fail if it was taken before.
            _ = try? handle.takeDescriptorOwnership()
            withExtendedLifetime(file) {}
        }
        context.write(NIOAny(IOData.fileRegion(region)), promise: done)
    }
}
