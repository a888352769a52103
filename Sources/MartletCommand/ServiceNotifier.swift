// SPDX-License-Identifier: Apache-2.0
// Martlet, MartletCommand: tells a service manager what becomes of this process (sd_notify(3)).
//
// systemd passes the name of a datagram socket in NOTIFY_SOCKET; a message is a few lines of text. Without the variable nothing
// is sent. A plain value; sending never blocks for long and never fails anything.

import Glibc

struct ServiceNotifier: Sendable {
    private let socketName: String?
    /// How often a sign of life is wanted; nil: not at all.
    let watchdogInterval: Duration?

    init(_ environment: [(name: String, value: String)], processId: Int32 = getpid()) {
        func value(_ name: String) -> String? { environment.last { $0.name == name }?.value }
        let name = value("NOTIFY_SOCKET")
        socketName = name?.hasPrefix("/") == true || name?.hasPrefix("@") == true ? name : nil
        let isForUs = value("WATCHDOG_PID").map { Int32($0) == processId } ?? true
        let microseconds = value("WATCHDOG_USEC").flatMap { Int64($0) } ?? 0
        // Twice in the time, as systemd recommends.
        watchdogInterval = isForUs && microseconds > 0 ? .microseconds(microseconds / 2) : nil
    }

    func ready(_ status: String) { send("READY=1\nSTATUS=\(status)\nMAINPID=\(getpid())") }
    func stopping() { send("STOPPING=1\nSTATUS=draining connections") }
    func alive() { send("WATCHDOG=1") }

    /// To be followed by `ready`.
    func reloading() {
        var time = timespec()
        // SAFETY: `time` is a live local for the duration of the call.
        _ = unsafe clock_gettime(CLOCK_MONOTONIC, &time)
        send("RELOADING=1\nMONOTONIC_USEC=\(Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1000)")
    }

    private func send(_ message: String) {
        guard let socketName else { return }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        var name = Array(socketName.utf8)
        let room = MemoryLayout.size(ofValue: address.sun_path)
        guard name.count < room else { return }
        // A name that begins with @ is an abstract one.
        if name[0] == UInt8(ascii: "@") { name[0] = 0 }
        unsafe withUnsafeMutableBytes(of: &address.sun_path) { field in unsafe field.copyBytes(from: name) }
        let size = socklen_t(MemoryLayout<sa_family_t>.size + name.count + (socketName.hasPrefix("/") ? 1 : 0))
        let descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return }
        defer { close(descriptor) }
        let bytes = Array(message.utf8)
        // SAFETY: message and address are live for the call, and their sizes are passed.
        _ = unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
                unsafe sendto(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL), pointer, size)
            }
        }
    }
}
