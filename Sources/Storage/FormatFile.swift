// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: `martlet.properties`, which says what a data directory is.
//
// Written once, when the directory is first used: the format's version, the cluster's id and when that was. A directory
// of a newer format is refused, before anything in it is touched.

import NIOCore

/// What `martlet.properties` says.
struct FormatFile: Equatable {
    static let path = "martlet.properties"
    /// The format that this version writes, and the newest that it reads.
    static let version = 1

    var clusterId: String
    var createdMs: Int64

    var contents: ByteBuffer {
        ByteBuffer(string: "version=\(Self.version)\ncluster.id=\(clusterId)\ncreated.ms=\(createdMs)\n")
    }

    /// Reads the file; nil if there is none.
    static func read(in fileSystem: any FileSystem) throws(StorageError) -> FormatFile? {
        let bytes: [UInt8]
        do throws(StorageError) {
            bytes = try fileSystem.open(path, create: false).readAll(limit: 4096)
        } catch {
            if error.code == .notFound { return nil }
            throw error
        }
        var values: [Substring: Substring] = [:]
        for line in String(decoding: bytes, as: UTF8.self).split(separator: "\n") {
            let parts = line.split(separator: "=", maxSplits: 1)
            if parts.count == 2 { values[parts[0]] = parts[1] }
        }
        guard let version = values["version"].flatMap({ Int($0) }) else {
            throw StorageError(
                .corrupt, "\(path) in the data directory does not say which format it describes; restore that file"
                    + " from a backup, or use another directory (--data)")
        }
        guard version <= Self.version else {
            throw StorageError(
                .newerFormat, "the data directory has format \(version), but this version of martlet reads formats up to"
                    + " \(Self.version); use a newer martlet, or another directory (--data)")
        }
        return FormatFile(
            clusterId: values["cluster.id"].map(String.init) ?? "",
            createdMs: values["created.ms"].flatMap { Int64($0) } ?? 0)
    }
}
