// SPDX-License-Identifier: Apache-2.0
// Martlet, Storage: the newest offset of each key, in bounded memory.
//
// Keys are kept as 128 bits of a keyed hash, as Kafka keeps their MD5: two keys that share them would be taken for one,
// which by chance does not happen, and cannot be brought about without the process's random seed. An open
// addressing table that grows up to its limit; full, it takes no new key. A value with one owner.

/// The newest offset of each key, up to `latestOffset`.
struct OffsetMap {
    private struct Slot {
        var high: UInt64 = 0
        var low: UInt64 = 0
        /// -1: free.
        var offset: Int64 = -1
    }

    /// Keys that it holds at most.
    let limit: Int
    private(set) var count = 0
    /// Everything up to this offset is in the map; records behind it are not judged by it.
    var latestOffset: Int64 = -1
    private var slots: [Slot]

    init(limit: Int = StorageLimits.compactionKeys) {
        self.limit = limit
        slots = Array(repeating: Slot(), count: 1024)
    }

    /// Notes a key's newer offset; false, and nothing is noted, if the key is new and there is no room.
    mutating func put(_ key: UnsafeRawBufferPointer, offset: Int64) -> Bool {
        let (high, low) = unsafe Self.digest(key)
        var at = find(high, low)
        if slots[at].offset < 0 {
            guard count < limit else { return false }
            if (count + 1) * 4 > slots.count * 3 {
                grow()
                at = find(high, low)
            }
            count += 1
        }
        slots[at] = Slot(high: high, low: low, offset: offset)
        return true
    }

    /// The newest offset of a key; nil if it is not in the map.
    func offset(of key: UnsafeRawBufferPointer) -> Int64? {
        let (high, low) = unsafe Self.digest(key)
        let offset = slots[find(high, low)].offset
        return offset < 0 ? nil : offset
    }

    /// The key's slot, or the free one that it would take. A quarter of the slots is always free.
    private func find(_ high: UInt64, _ low: UInt64) -> Int {
        let mask = slots.count - 1
        var at = Int(truncatingIfNeeded: low) & mask
        while slots[at].offset >= 0, slots[at].high != high || slots[at].low != low { at = (at + 1) & mask }
        return at
    }

    private mutating func grow() {
        let old = slots
        slots = Array(repeating: Slot(), count: old.count * 2)
        for slot in old where slot.offset >= 0 { slots[find(slot.high, slot.low)] = slot }
    }

    private static func digest(_ key: UnsafeRawBufferPointer) -> (UInt64, UInt64) {
        var first = Hasher()
        var second = Hasher()
        second.combine(UInt8(1))
        // SAFETY: the bytes are read within the calls only.
        unsafe first.combine(bytes: key)
        unsafe second.combine(bytes: key)
        return (
            UInt64(bitPattern: Int64(first.finalize())), UInt64(bitPattern: Int64(second.finalize()))
        )
    }
}
