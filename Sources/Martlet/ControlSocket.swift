// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: how a command on the same machine asks a running broker for something: a socket in the data directory,
// or beside the ready file of a broker that has no directory.
//
// Whoever may write in that directory may ask; nobody else can reach it, neither by network nor as another user. One
// request a connection: a JSON object on one line; the answer is another one. The name is bound and connected to through
// the directory's descriptor, because the path of a socket may have 107 bytes only. Connections belong to the loop; what is
// asked for runs elsewhere.

import Bytes
import Glibc
import NIOCore
import NIOPosix
import Telemetry

package enum ControlSocket {
    package static let name = "martlet.control"

    /// Where a broker in memory listens.
    package static func path(besideReadyFile file: String) -> String { file + ".control" }

    /// The directory and the name in it.
    private static func parts(_ path: String) -> (directory: String, name: String) {
        (Doctor.parent(of: path), path.split(separator: "/").last.map { String($0) } ?? "")
    }

    static let lineBytesMax = 16 * 1024
    static let answerBytesMax = JSONValue.bytesMax

    /// Takes what was asked for and says what became of it; on a thread that may wait.
    typealias Answer = @Sendable (JSONValue) -> String

    /// Starts to listen at `path`, whose directory must be this process's own.
    static func bind(
        at path: String, on group: any EventLoopGroup, answer: @escaping Answer
    ) async throws -> any Channel {
        let (directory, name) = parts(path)
        _ = unsafe unlink(path)
        let descriptor = unsafe open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw BrokerError("cannot open \(directory): \(TextFile.reason(errno))") }
        defer { close(descriptor) }
        let channel = try await ServerBootstrap(group: group)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(ControlHandler(answer: answer))
                }
            }
            .bind(unixDomainSocketPath: "/proc/self/fd/\(descriptor)/\(name)").get()
        _ = unsafe chmod(path, 0o600)
        return channel
    }

    /// Asks the broker that runs in `directory`; waits for its answer, for as long as it may take (0: as long as it takes).
    package static func ask(_ request: String, in directory: String, seconds: Int = 0) throws(BrokerError) -> JSONValue {
        try ask(
            request, at: "\(directory)/\(name)", place: directory, seconds: seconds,
            noBroker: "no broker runs in \(directory), or this user may not ask it; name its data directory (--data), and be its user")
    }

    /// The same of a broker in memory, by its ready file.
    package static func ask(_ request: String, besideReadyFile file: String, seconds: Int) throws(BrokerError) -> JSONValue {
        try ask(
            request, at: path(besideReadyFile: file), place: "memory", seconds: seconds,
            noBroker: "the broker of \(file) does not listen at \(path(besideReadyFile: file)), or this user may not ask it; be its user")
    }

    private static func ask(
        _ request: String, at path: String, place: String, seconds: Int, noBroker: String
    ) throws(BrokerError) -> JSONValue {
        let (directory, name) = parts(path)
        let noBroker = BrokerError(noBroker)
        let parent = unsafe open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard parent >= 0 else { throw BrokerError("cannot open \(directory): \(TextFile.reason(errno)); name the broker's data directory (--data)") }
        defer { close(parent) }
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0, let address = try? SocketAddress(unixDomainSocketPath: "/proc/self/fd/\(parent)/\(name)") else {
            throw noBroker
        }
        defer { close(descriptor) }
        // SAFETY: the address is live for the call and its size is passed.
        let isConnected = unsafe address.withSockAddr { pointer, size in
            unsafe connect(descriptor, pointer, socklen_t(size)) == 0
        }
        guard isConnected else { throw noBroker }
        var limit = timeval(tv_sec: seconds, tv_usec: 0)
        // SAFETY: the option is live for the call and its size is passed.
        _ = unsafe setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        var line = request + "\n"
        let isSent = line.withUTF8 { bytes in
            // SAFETY: reads at most `count` bytes of a buffer that is valid for the call.
            unsafe write(descriptor, bytes.baseAddress, bytes.count) == bytes.count
        }
        let bytes = isSent ? readAll(descriptor) : []
        guard bytes != nil else { throw BrokerError("the broker in \(place) did not answer in \(seconds) s") }
        guard let answer = JSONValue(bytes ?? []) else {
            throw BrokerError("the broker in \(place) ended before it answered; its log says why")
        }
        return answer
    }

    /// nil: nothing more came in time.
    private static func readAll(_ descriptor: Int32) -> [UInt8]? {
        var bytes: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 4096)
        while bytes.count < answerBytesMax {
            // SAFETY: at most `count` bytes are written into the live array.
            let count = unsafe read(descriptor, &piece, piece.count)
            if count < 0, errno == EINTR { continue }
            if count < 0, errno == EAGAIN { return nil }
            guard count > 0 else { break }
            bytes += piece[..<count]
        }
        return bytes
    }
}

/// One connection: reads a line, answers, closes. Owned by its loop.
private final class ControlHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let answer: ControlSocket.Answer
    private var received = ByteBuffer()
    private var isAsked = false

    init(answer: @escaping ControlSocket.Answer) { self.answer = answer }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var bytes = unwrapInboundIn(data)
        guard !isAsked else { return }
        received.writeBuffer(&bytes)
        guard received.readableBytes <= ControlSocket.lineBytesMax else { return context.close(promise: nil) }
        guard let end = received.readableBytesView.firstIndex(of: UInt8(ascii: "\n")) else { return }
        isAsked = true
        let line = String(decoding: received.readableBytesView[..<end], as: UTF8.self)
        let channel = context.channel
        NIOThreadPool.singleton.submit { [answer] _ in
            let text = JSONValue(line).map(answer) ?? "{\"error\":\"this is no request\"}"
            channel.writeAndFlush(ByteBuffer(string: text + "\n")).whenComplete { _ in channel.close(promise: nil) }
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
