// SPDX-License-Identifier: Apache-2.0
// Martlet, Client: what a load run asks of a connection and of the kind of load.

import NIOCore

/// One connection of a load run; owned by its loop.
protocol LoadConnection: AnyObject {
    /// Sends the first requests.
    func start()
    /// Ends what would never end by itself; answers to requests are still waited for.
    func stop()
}

/// A kind of load. Immutable.
protocol LoadDriver: Sendable {
    /// Opens connection `index` on this loop. The future is kept when it can be started.
    func connect(
        _ index: Int, recorder: NIOLoopBound<LoadRecorder>, on loop: any EventLoop
    ) -> EventLoopFuture<NIOLoopBound<any LoadConnection>>
}
