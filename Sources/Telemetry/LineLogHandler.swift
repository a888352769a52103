// SPDX-License-Identifier: Apache-2.0
// Martlet, Telemetry: the swift-log back end.
//
// A value, as swift-log demands: metadata, and a level if it was given one, belong to one logger; everything shared is in
// `LogOutput`.

import Logging

struct LineLogHandler: LogHandler {
    let label: String
    let output: LogOutput
    private var ownLevel: Logger.Level?
    var metadata: Logger.Metadata = [:]

    init(label: String, output: LogOutput) {
        self.label = label
        self.output = output
    }

    var logLevel: Logger.Level {
        get { ownLevel ?? output.level }
        set { ownLevel = newValue }
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        guard let own = event.metadata else { return output.write(event, label: label, metadata: metadata) }
        output.write(event, label: label, metadata: metadata.merging(own) { _, new in new })
    }
}
