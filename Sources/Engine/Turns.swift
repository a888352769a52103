// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: the turn of each event loop.

import NIOConcurrencyHelpers
import NIOCore

/// One `Turn` per event loop, made when it is first asked for. Connections ask once and keep it.
package final class Turns: Sendable {
    private let turns = NIOLockedValueBox<[ObjectIdentifier: Turn]>([:])

    init() {}

    package func turn(for loop: any EventLoop) -> Turn {
        turns.withLockedValue { turns in
            if let turn = turns[ObjectIdentifier(loop)] { return turn }
            let turn = Turn(loop: loop)
            turns[ObjectIdentifier(loop)] = turn
            return turn
        }
    }
}
