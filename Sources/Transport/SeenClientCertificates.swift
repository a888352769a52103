// SPDX-License-Identifier: Apache-2.0
// Martlet, Transport: which client certificates were seen last, and when they expire.
//
// One entry a subject, replaced when the subject shows another certificate, so that a client that renews in time is no
// news. Bounded: beyond `countMax` the one that was not seen for longest is forgotten. Safe to use from any thread; one
// lock, taken once a handshake.

import Synchronization

/// The last certificate of each client.
package final class SeenClientCertificates: Sendable {
    package static let countMax = 1000

    private struct State: Sendable {
        var bySubject: [String: (certificate: PeerCertificate, seen: UInt64)] = [:]
        var count: UInt64 = 0
    }

    private let state = Mutex(State())

    package init() {}

    func note(_ certificate: PeerCertificate) {
        state.withLock { state in
            state.count += 1
            if state.bySubject[certificate.subject] == nil, state.bySubject.count >= Self.countMax,
                let oldest = state.bySubject.min(by: { $0.value.seen < $1.value.seen })
            {
                state.bySubject[oldest.key] = nil
            }
            state.bySubject[certificate.subject] = (certificate, state.count)
        }
    }

    /// Those that have not expired, or did so less than a day ago; the first to expire first.
    package func all(nowMs: Int64) -> [PeerCertificate] {
        state.withLock { state in
            state.bySubject = state.bySubject.filter { $0.value.certificate.notAfterMs + 86_400_000 > nowMs }
            return state.bySubject.values.map(\.certificate).sorted {
                ($0.notAfterMs, $0.subject) < ($1.notAfterMs, $1.subject)
            }
        }
    }
}
