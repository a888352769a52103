// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: the doctor looks at the machine: addresses, data directory, disk, descriptors, clock.

import Bytes
import Glibc
import NIOCore
import Storage

extension Doctor {
    /// Files of the future are from a clock that was ahead, or the clock is behind now.
    private static let clockSkewMs: Int64 = 60_000
    private static let inodesMin: UInt64 = 1000

    private var dataPath: String { absolute(configuration.dataDirectory) }

    /// Whether a broker runs in the data directory.
    private var isInUse: Bool {
        guard !configuration.isEphemeral, let files = try? ReadOnlyFileSystem(root: dataPath) else { return false }
        return files.isLocked("martlet.lock") ?? false
    }

    mutating func examineListeners() {
        let isInUse = isInUse
        for address in configuration.listeners {
            let setting = configuration.port == nil ? "listen" : "port"
            switch Self.bindError(address) {
            case nil: break
            case Self.isUnknownName:
                add(
                    "no-such-address", .error, "the host name \(address.host) cannot be resolved", setting: "listen",
                    next: "an address that `ip addr` lists, or 0.0.0.0")
            case EADDRINUSE where isInUse:
                add("broker-runs", .note, "a broker runs in \(dataPath), and \(address) is in use", next: "--connect \(address.reachable) asks it")
            case EADDRINUSE:
                add(
                    "port-in-use", .error, "another process listens on \(address)", setting: setting,
                    next: "another port, or stop that process (`ss -ltnp 'sport = :\(address.port)'` shows it)")
            case EADDRNOTAVAIL:
                add("no-such-address", .error, "this machine has no address \(address.host)", setting: "listen", next: "one that `ip addr` lists, or 0.0.0.0")
            case EACCES:
                add("port-needs-root", .error, "no permission to listen on \(address)", setting: setting, next: "a port from 1024")
            case .some(let number):
                add("cannot-listen", .error, "cannot listen on \(address): \(TextFile.reason(number))", setting: "listen", next: "an address of this machine")
            }
        }
        if let host = configuration.advertise?.host, (try? SocketAddress.makeAddressResolvingHost(host, port: 0)) == nil {
            add(
                "advertise-unresolvable", .warning, "clients are told to connect to \(host), which this machine cannot resolve",
                setting: "advertise", next: "a name that clients can resolve; nothing if only they can")
        }
        if configuration.listeners.contains(where: \.isEverywhere), configuration.tls.certificate != nil,
            configuration.advertise == nil
        {
            add(
                "names-not-checked", .note, "the broker listens on every address: which names clients use is not known here",
                setting: "advertise", next: "host:port, if clients are to use one name; the certificate must have it")
        }
    }

    /// No error number of the system's.
    private static let isUnknownName: Int32 = -1

    /// The system's error number, nil if a socket can be bound.
    private static func bindError(_ address: Address) -> Int32? {
        let host = ["*", ""].contains(address.host) ? "::" : address.host
        guard let socketAddress = try? SocketAddress.makeAddressResolvingHost(host, port: address.port) else { return isUnknownName }
        let family = socketAddress.protocol == .inet6 ? AF_INET6 : AF_INET
        let descriptor = socket(family, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return errno == EAFNOSUPPORT ? EADDRNOTAVAIL : errno }
        defer { close(descriptor) }
        var yes: Int32 = 1
        // SAFETY: the option and the address are live for the calls, and their sizes are passed.
        _ = unsafe setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &yes, socklen_t(MemoryLayout<Int32>.size))
        let isBound = unsafe socketAddress.withSockAddr { pointer, size in
            unsafe bind(descriptor, pointer, socklen_t(size)) == 0
        }
        return isBound ? nil : errno
    }

    mutating func examineData() {
        guard !configuration.isEphemeral else { return }
        guard let status = FileStatus(dataPath) else { return examineMissing() }
        guard status.isDirectory else {
            return add("data-unusable", .error, "\(dataPath) is a file", setting: "data", next: "a directory")
        }
        guard FileStatus.allows(dataPath, R_OK | W_OK | X_OK) else {
            if errno == EROFS { return addReadOnly(dataPath) }
            return add(
                "data-unusable", .error, "this user may not write in \(dataPath) (mode \(status.octal), owner \(status.owner))",
                setting: "data", next: "chown it to the user that the broker runs as, and ask as that user")
        }
        do throws(StorageError) {
            try DataDirectory.judge(ReadOnlyFileSystem(root: dataPath))
        } catch {
            return add("data-unusable", .error, "\(dataPath): \(error.message)", setting: "data", next: "a directory of this broker's own")
        }
        examineUse()
        if status.mode & 0o007 != 0 {
            add(
                "data-readable-by-others", status.mode & 0o002 != 0 ? .error : .warning,
                "\(dataPath) is open to every user of this machine (mode \(status.octal)): records, and salted passwords",
                setting: "data", next: "chmod o-rwx \(dataPath)")
        }
        for name in ["martlet.format", "martlet.checkpoint", "martlet.lock", "."] {
            guard let file = FileStatus("\(dataPath)/\(name)"), file.modifiedMs > clock.nowMs() + Self.clockSkewMs else { continue }
            add(
                "clock", .warning, "\(dataPath)/\(name) was changed \((file.modifiedMs - clock.nowMs()) / 1000) s in the future",
                next: "set this machine's clock right (timedatectl, chrony): retention, certificates and timestamps depend on it")
            break
        }
        examineDisk(of: dataPath)
    }

    /// The broker that runs may be the one whose configuration this is; it is not if it listens elsewhere.
    private mutating func examineUse() {
        guard isInUse else { return }
        let isThatOne = configuration.listeners.contains { $0.port == 0 || Self.bindError($0) == EADDRINUSE }
        if isThatOne {
            add("broker-runs", .note, "a broker runs in \(dataPath)", next: "nothing; a second one would be refused")
        } else {
            add(
                "data-in-use", .error, "another broker, which listens elsewhere, runs in \(dataPath)", setting: "data",
                next: "a directory of its own for each broker, or stop that one")
        }
    }

    private mutating func examineMissing() {
        guard FileStatus.allows(Self.parent(of: dataPath), W_OK | X_OK) else {
            let number = errno
            if number == EROFS { return addReadOnly(Self.parent(of: dataPath)) }
            return add(
                "data-unusable", .error, "\(dataPath) does not exist, and cannot be made: \(TextFile.reason(number))", setting: "data",
                next: "make it, and give it to the user that the broker runs as")
        }
        add("no-data-yet", .note, "\(dataPath) does not exist: the first start makes it", next: "nothing")
        examineDisk(of: Self.parent(of: dataPath))
    }

    private mutating func addReadOnly(_ path: String) {
        add(
            "data-unusable", .error, "\(path) is on a file system that is read-only", setting: "data",
            next: "mount it read-write, or a directory elsewhere")
    }

    private mutating func examineDisk(of path: String) {
        var status = statvfs()
        // SAFETY: `status` is a live local; the path is a C string for the duration of the call.
        guard unsafe statvfs(path, &status) == 0 else { return }
        let available = Int64(clamping: UInt64(status.f_bavail).multipliedReportingOverflow(by: UInt64(status.f_frsize)).partialValue)
        let wanted = max(Limits.diskWarningBytes, configuration.topicDefaults.segmentBytes)
        if available < Limits.diskWarningBytes {
            add(
                "disk-full", available < Limits.diskProblemBytes ? .error : .warning,
                "\(available >> 20) MiB are left on the data's disk", setting: "log.retention.bytes",
                next: "less than now, or make room")
        } else if available < wanted {
            add(
                "disk-full", .warning, "\(available >> 20) MiB are left on the data's disk, less than one segment",
                setting: "log.segment.bytes", next: "\(max(1 << 20, available / 16)), or make room")
        }
        if status.f_files > 0, UInt64(status.f_favail) < Self.inodesMin {
            add("disk-full", .warning, "\(status.f_favail) files can still be made on the data's disk", next: "remove files there")
        }
    }

    mutating func examineProcess() {
        var limit = rlimit()
        // SAFETY: `limit` is a live local for the duration of the call.
        guard unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return }
        // A broker raises its limit to what it may.
        let allowed = Int(clamping: limit.rlim_max)
        let shares = DescriptorShares(configuration, allowed: allowed)
        if shares.connections < configuration.maxConnections || shares.files < configuration.maxOpenFiles {
            add(
                "descriptors", .warning,
                "the system allows \(allowed) open files: \(shares.connections) connections and \(shares.files) log files",
                setting: "max.connections",
                next: "\(shares.connections), or raise the limit to \(configuration.maxConnections + DescriptorShares.filesEnough + DescriptorShares.reserve) (ulimit -Hn, LimitNOFILE= of the service)")
        }
        if let file = configuration.readyFile {
            if !FileStatus.allows(Self.parent(of: absolute(file)), W_OK | X_OK) {
                add("ready-file", .error, "\(file) cannot be written", setting: "ready.file", next: "a file in a directory that exists and is writable")
            }
        }
        if geteuid() == 0 {
            add("root", .note, "this is root; what others may read and write is not seen so", next: "run doctor as the user of the broker")
        }
    }
}
