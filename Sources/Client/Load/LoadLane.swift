// SPDX-License-Identifier: Apache-2.0
// Martlet, Client: the connections of a load run that share one loop.
//
// Safe to use from any thread: everything that changes belongs to the loop and is reached by
// executing on it.

import NIOCore

struct LoadLane: Sendable {
    private final class Connections {
        var all: [any LoadConnection] = []
    }

    let loop: any EventLoop
    let progress = LoadProgress()
    /// Kept with what was counted when the lane is done.
    let finished: EventLoopFuture<LoadCounts>
    private let recorder: NIOLoopBoundBox<LoadRecorder>
    private let connections: NIOLoopBoundBox<Connections>

    /// - Parameter records: the lane's share of the run; `.max` for a run by time.
    init(loop: any EventLoop, records: Int) {
        self.loop = loop
        let promise = loop.makePromise(of: LoadCounts.self)
        finished = promise.futureResult
        recorder = .makeBoxSendingValue(
            LoadRecorder(records: records, progress: progress, finished: promise), eventLoop: loop)
        connections = .makeBoxSendingValue(Connections(), eventLoop: loop)
    }

    func open(_ index: Int, with driver: any LoadDriver) -> EventLoopFuture<Void> {
        loop.flatSubmit { [loop, recorder, connections] in
            let bound = NIOLoopBound(recorder.value, eventLoop: loop)
            return driver.connect(index, recorder: bound, on: loop).map { connection in
                connections.value.all.append(connection.value)
            }
        }
    }

    func start() {
        loop.execute { [recorder, connections] in
            recorder.value.start()
            for connection in connections.value.all { connection.start() }
        }
    }

    /// Does something with the recorder after a while.
    func later(
        _ ms: Int64, _ body: @escaping @Sendable (LoadRecorder) -> Void
    ) -> EventLoopFuture<Void> {
        loop.scheduleTask(in: .milliseconds(ms)) { [recorder] in body(recorder.value) }.futureResult
    }

    func stopConnections() {
        loop.execute { [connections] in
            for connection in connections.value.all { connection.stop() }
        }
    }

    /// What is on its way does not come any more.
    func giveUp() {
        loop.execute { [recorder] in
            recorder.value.fail(
                ClientError(.timeout, "answers are missing 10 s after the end of the run"))
        }
    }
}
