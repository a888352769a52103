// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: the model of a disk that forgets what was not synced.
//
// Every file and directory exists twice: as a process sees it, and as it would be found after a power cut. Changes
// go to the first and are remembered until a sync moves them to the second. A crash applies some of what is remembered,
// in order, whole or torn, and makes the second the truth. Names are durable only when their directory was synced, a
// file's bytes only when the file was. A sync that fails forgets the changes (as kernels do), so that a second sync
// cannot bring them back. Not thread-safe: `SimulatedFileSystem` guards it.

/// What a crash does with changes that were not synced.
package enum CrashMode: Sendable {
    /// All are lost.
    case loseUnsynced
    /// All arrive.
    case keepUnsynced
    /// Any of them arrive, writes perhaps only in part; the disk's seed decides.
    case arbitrary
    /// The process dies (kill -9) and not the machine: its files are closed, what it wrote stays in the page cache, and
    /// a later loss of power can still take that.
    case processKilled
}

/// A small deterministic generator (SplitMix64).
package struct SeededGenerator: RandomNumberGenerator, Sendable {
    private var state: UInt64

    package init(seed: UInt64) { state = seed }

    package mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}

/// A disk with one tree of files.
struct SimulatedDisk {
    enum FileChange {
        case write(offset: Int, bytes: [UInt8])
        case truncate(size: Int)
    }

    enum DirectoryChange {
        case link(parent: Node, name: String, node: Node)
        case unlink(parent: Node, name: String)
        case rename(from: Node, String, to: Node, String, node: Node)
    }

    /// A file or directory.
    final class Node {
        let isDirectory: Bool
        /// What a process sees.
        var bytes: [UInt8] = []
        var entries: [String: Node] = [:]
        /// What would be found after a power cut.
        var durableBytes: [UInt8] = []
        var durableEntries: [String: Node] = [:]
        var changes: [FileChange] = []

        init(isDirectory: Bool) { self.isDirectory = isDirectory }
    }

    private(set) var root = Node(isDirectory: true)
    private var directoryChanges: [DirectoryChange] = []

    // MARK: Names

    /// What is at a path; nil if nothing.
    func node(_ path: String) -> Node? {
        var node = root
        for name in path.split(separator: "/") {
            guard let next = node.entries[String(name)] else { return nil }
            node = next
        }
        return node
    }

    /// The directory that a path lies in, and the path's last part; nil if there is no such directory.
    func parent(of path: String) -> (node: Node, name: String)? {
        let parts = path.split(separator: "/")
        guard let name = parts.last, let node = node(parts.dropLast().joined(separator: "/")), node.isDirectory else {
            return nil
        }
        return (node, String(name))
    }

    mutating func link(_ node: Node, in parent: Node, as name: String) {
        parent.entries[name] = node
        directoryChanges.append(.link(parent: parent, name: name, node: node))
    }

    mutating func unlink(_ name: String, in parent: Node) {
        parent.entries[name] = nil
        directoryChanges.append(.unlink(parent: parent, name: name))
    }

    mutating func rename(_ name: String, in parent: Node, to newName: String, in newParent: Node) {
        guard let node = parent.entries.removeValue(forKey: name) else { return }
        newParent.entries[newName] = node
        directoryChanges.append(.rename(from: parent, name, to: newParent, newName, node: node))
    }

    // MARK: Bytes

    func write(_ bytes: [UInt8], to node: Node, at offset: Int) {
        Self.apply(.write(offset: offset, bytes: bytes), to: &node.bytes)
        node.changes.append(.write(offset: offset, bytes: bytes))
    }

    func truncate(_ node: Node, to size: Int) {
        Self.apply(.truncate(size: size), to: &node.bytes)
        node.changes.append(.truncate(size: size))
    }

    // MARK: Syncs

    /// Makes the first `count` changes durable; later ones came while the sync was under way.
    func sync(_ node: Node, count: Int) {
        for change in node.changes.prefix(count) { Self.apply(change, to: &node.durableBytes) }
        node.changes.removeFirst(min(count, node.changes.count))
    }

    /// The failed sync: the first `count` changes will never arrive.
    func forgetChanges(of node: Node, count: Int) { node.changes.removeFirst(min(count, node.changes.count)) }

    mutating func syncDirectory(_ directory: Node) {
        directoryChanges.removeAll { change in
            guard Self.concerns(change, directory) else { return false }
            Self.apply(change)
            return true
        }
    }

    // MARK: Crashes

    /// The machine loses power and comes back.
    mutating func crash(_ mode: CrashMode, using generator: inout SeededGenerator) {
        if mode == .processKilled { return }
        let nodes = allNodes()
        for change in directoryChanges where Self.arrives(mode, &generator) { Self.apply(change) }
        directoryChanges = []
        for node in nodes {
            Self.settle(node, mode, &generator)
            node.bytes = node.durableBytes
            node.entries = node.durableEntries
            node.changes = []
        }
    }

    /// Every node that is reachable now or would be after some crash, in a fixed order.
    private func allNodes() -> [Node] {
        var seen: Set<ObjectIdentifier> = []
        var nodes: [Node] = []
        func visit(_ node: Node) {
            guard seen.insert(ObjectIdentifier(node)).inserted else { return }
            nodes.append(node)
            for name in node.entries.keys.sorted() { node.entries[name].map(visit) }
            for name in node.durableEntries.keys.sorted() { node.durableEntries[name].map(visit) }
        }
        visit(root)
        for change in directoryChanges {
            switch change {
            case .link(_, _, let node), .rename(_, _, _, _, let node): visit(node)
            case .unlink: break
            }
        }
        return nodes
    }

    private static func arrives(_ mode: CrashMode, _ generator: inout SeededGenerator) -> Bool {
        switch mode {
        case .loseUnsynced: false
        case .keepUnsynced, .processKilled: true
        case .arbitrary: Bool.random(using: &generator)
        }
    }

    /// Decides what of a file's unsynced changes arrives.
    private static func settle(_ node: Node, _ mode: CrashMode, _ generator: inout SeededGenerator) {
        // A file's changes often arrive or get lost together, so that is made likely.
        let fate = mode == .arbitrary ? Int.random(in: 0..<4, using: &generator) : 0
        if fate == 1 { return }
        let cut = fate == 2 ? Int.random(in: 0...node.changes.count, using: &generator) : node.changes.count
        for (number, change) in node.changes.enumerated() {
            switch fate {
            case 0 where mode != .arbitrary:
                if mode == .keepUnsynced { apply(change, to: &node.durableBytes) }
            case 0:
                apply(change, to: &node.durableBytes)
            case 2:
                if number < cut { apply(change, to: &node.durableBytes) }
                if number == cut { for part in torn(change, &generator) { apply(part, to: &node.durableBytes) } }
            default:
                guard Bool.random(using: &generator) else { continue }
                for part in Bool.random(using: &generator) ? [change] : torn(change, &generator) {
                    apply(part, to: &node.durableBytes)
                }
            }
        }
    }

    /// A part of a write, cut at any byte at either end, or both ends of it without the middle.
    private static func torn(_ change: FileChange, _ generator: inout SeededGenerator) -> [FileChange] {
        guard case .write(let offset, let bytes) = change else { return [change] }
        let start = Bool.random(using: &generator) ? 0 : Int.random(in: 0...bytes.count, using: &generator)
        let end = Int.random(in: start...bytes.count, using: &generator)
        if Int.random(in: 0..<3, using: &generator) > 0 {
            return [.write(offset: offset + start, bytes: Array(bytes[start..<end]))]
        }
        return [
            .write(offset: offset, bytes: Array(bytes[..<start])),
            .write(offset: offset + end, bytes: Array(bytes[end...])),
        ]
    }

    private static func apply(_ change: FileChange, to bytes: inout [UInt8]) {
        switch change {
        case .write(let offset, let new):
            if new.isEmpty { return }
            if bytes.count < offset { bytes.append(contentsOf: repeatElement(0, count: offset - bytes.count)) }
            bytes.replaceSubrange(offset..<max(offset, min(bytes.count, offset + new.count)), with: new)
        case .truncate(let size):
            if size <= bytes.count {
                bytes.removeLast(bytes.count - size)
            } else {
                bytes.append(contentsOf: repeatElement(0, count: size - bytes.count))
            }
        }
    }

    private static func apply(_ change: DirectoryChange) {
        switch change {
        case .link(let parent, let name, let node): parent.durableEntries[name] = node
        case .unlink(let parent, let name): parent.durableEntries[name] = nil
        case .rename(let from, let name, let to, let newName, let node):
            if from.durableEntries[name] === node { from.durableEntries[name] = nil }
            to.durableEntries[newName] = node
        }
    }

    private static func concerns(_ change: DirectoryChange, _ directory: Node) -> Bool {
        switch change {
        case .link(let parent, _, _), .unlink(let parent, _): parent === directory
        case .rename(let from, _, let to, _, _): from === directory || to === directory
        }
    }
}
