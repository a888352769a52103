// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: reads the configuration file.

enum ConfigurationFile {
    /// More cannot be a list of settings.
    static let bytesMax = 1 << 20

    static func read(_ path: String) throws(ConfigurationError) -> String {
        let bytes: [UInt8]
        do {
            bytes = try TextFile.read(path, bytesMax: bytesMax)
        } catch {
            throw ConfigurationError(
                "cannot read the configuration \(path): \(error.reason); check the path and its permissions")
        }
        guard bytes.count <= bytesMax else {
            throw ConfigurationError("\(path) is larger than 1 MiB and so no configuration; is it the right file?")
        }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw ConfigurationError("\(path) is not UTF-8 text; save it as UTF-8")
        }
        // Some editors of Windows begin a file with it.
        return text.first == "\u{feff}" ? String(text.dropFirst()) : text
    }
}
