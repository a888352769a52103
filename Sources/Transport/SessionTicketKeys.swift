// SPDX-License-Identifier: Apache-2.0
// Martlet, Transport: the keys that session tickets are sealed with.
//
// Owned by one TLSContext and shared by all its connections, on whatever loop. A key seals tickets for `sealingMs`;
// after that a new one does, and the former still opens what it has sealed until the last of those tickets is too old,
// `ticketMs` later. Then it is forgotten: whoever takes the process's memory later can read no connection that was
// resumed with it. Keys are random, never written anywhere, and wiped when the last handshake that uses them is over.
// Time is monotonic, so that a clock set back keeps no key alive.

import COpenSSL
import Synchronization

/// One key: its name in the ticket, the key of the cipher, the key of the authentication.
@safe final class SessionTicketKey: Sendable {
    static let nameBytes = 16
    fileprivate static let partBytes = 32
    private static let bytes = nameBytes + 2 * partBytes

    // SAFETY: owned by self, `bytes` long, written before `init` returns and only read until `deinit` wipes it.
    private nonisolated(unsafe) let memory: UnsafeMutablePointer<UInt8>

    /// Nil if the machine gives no random bytes.
    init?() {
        unsafe memory = .allocate(capacity: Self.bytes)
        guard unsafe RAND_priv_bytes(memory, Int32(Self.bytes)) == 1 else { return nil }
    }

    deinit {
        unsafe OPENSSL_cleanse(memory, Self.bytes)
        unsafe memory.deallocate()
    }

    fileprivate func has(name: UnsafePointer<UInt8>) -> Bool {
        unsafe UnsafeBufferPointer(start: memory, count: Self.nameBytes)
            .elementsEqual(UnsafeBufferPointer(start: name, count: Self.nameBytes))
    }

    /// Names the key in a ticket to be, and chooses its initialisation vector.
    fileprivate func begin(name: UnsafeMutablePointer<UInt8>, vector: UnsafeMutablePointer<UInt8>) -> Bool {
        // SAFETY: the library gives room for 16 bytes of each.
        unsafe name.update(from: memory, count: Self.nameBytes)
        return unsafe RAND_bytes(vector, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) == 1
    }

    /// Sets cipher and authentication (AES-256-CBC and HMAC-SHA256, which is what the library's own tickets have).
    fileprivate func use(
        _ cipher: OpaquePointer, _ authentication: OpaquePointer, vector: UnsafePointer<UInt8>, isSealing: Bool
    ) -> Bool {
        // SAFETY: both contexts are live for the callback and copy the keys, whose bytes lie within `memory`.
        let cipherKey = unsafe memory + Self.nameBytes
        guard unsafe EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), nil, cipherKey, vector, isSealing ? 1 : 0) == 1 else {
            return false
        }
        return unsafe martlet_HMAC_SHA256_set_key(authentication, cipherKey + Self.partBytes, Self.partBytes) == 1
    }
}

/// The keys in use; safe to use from any thread, and nothing is called while the lock is held.
final class SessionTicketKeys: Sendable {
    /// How long a key seals tickets.
    static let sealingMs: Int64 = 12 * 3_600_000
    /// How long a ticket is good for.
    static let ticketMs: Int64 = 2 * 3_600_000

    private struct State {
        var current: SessionTicketKey?
        var former: SessionTicketKey?
        /// When `current` was made.
        var madeMs: Int64 = 0
    }

    private let state = Mutex(State())

    /// Puts a new key in the place of one that has sealed for long enough, and forgets what is of no use any more.
    func rotate(nowMs: Int64) {
        let forgotten = state.withLock { Self.rotate(&$0, nowMs) }
        // Wiped here, outside of the lock.
        _ = forgotten
    }

    /// The key for new tickets; nil if none can be made.
    func sealing(nowMs: Int64) -> SessionTicketKey? {
        state.withLock { state in
            Self.rotate(&state, nowMs)
            // The first one is made when it is needed.
            if state.current == nil {
                state.current = SessionTicketKey()
                state.madeMs = nowMs
            }
            return state.current
        }
    }

    /// The key of that name, and whether it still seals; nil if it is not known, or not any more.
    func opening(name: UnsafePointer<UInt8>, nowMs: Int64) -> (key: SessionTicketKey, seals: Bool)? {
        state.withLock { state in
            Self.rotate(&state, nowMs)
            if let key = state.current, unsafe key.has(name: name) { return (key, true) }
            if let key = state.former, unsafe key.has(name: name) { return (key, false) }
            return nil
        }
    }

    /// Returns what is forgotten.
    @discardableResult
    private static func rotate(_ state: inout State, _ nowMs: Int64) -> [SessionTicketKey] {
        guard state.current != nil else { return [] }
        var forgotten: [SessionTicketKey] = []
        let ageMs = nowMs - state.madeMs
        if ageMs >= ticketMs, let former = state.former.take() { forgotten.append(former) }
        guard ageMs >= sealingMs, let current = state.current.take() else { return forgotten }
        if ageMs < sealingMs + ticketMs {
            // Its last ticket may be as young as its end of sealing.
            state.former = current
            state.madeMs += sealingMs
            state.current = SessionTicketKey()
        } else {
            forgotten.append(current)
        }
        return forgotten
    }
}

/// What the library asks for a ticket's keys: 1 they are set, 2 they are set and the client should get a new ticket, 0 there are
/// none, which means a full handshake, or no ticket.
func chooseTicketKey(
    ssl: OpaquePointer?, name: UnsafeMutablePointer<UInt8>?, vector: UnsafeMutablePointer<UInt8>?,
    cipher: OpaquePointer?, authentication: OpaquePointer?, isSealing: Int32
) -> Int32 {
    guard let context = unsafe TLSSession.owner(of: ssl)?.context, let name = unsafe name, let vector = unsafe vector,
        let cipher = unsafe cipher, let authentication = unsafe authentication
    else { return 0 }
    let nowMs = context.monotonicMs
    if isSealing == 1 {
        guard let key = context.ticketKeys.sealing(nowMs: nowMs), unsafe key.begin(name: name, vector: vector),
            unsafe key.use(cipher, authentication, vector: vector, isSealing: true)
        else { return 0 }
        return 1
    }
    guard let (key, seals) = unsafe context.ticketKeys.opening(name: name, nowMs: nowMs),
        unsafe key.use(cipher, authentication, vector: vector, isSealing: false)
    else { return 0 }
    return seals ? 1 : 2
}
