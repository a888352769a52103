// SPDX-License-Identifier: Apache-2.0
// Martlet, MartletCommand: what is printed.
//
// Goes to the descriptor at once: nothing is left in a buffer when the process ends by a signal.

import Glibc

enum Terminal {
    static func print(_ text: String) {
        write(text + "\n", to: STDOUT_FILENO)
    }

    static func write(_ text: String, to descriptor: CInt) {
        var text = text
        text.withUTF8 { bytes in
            var written = 0
            while written < bytes.count {
                // SAFETY: `written` is below `count`, so the rest lies within the buffer, which is valid for the closure.
                let count = unsafe Glibc.write(descriptor, bytes.baseAddress! + written, bytes.count - written)
                if count < 0, errno == EINTR { continue }
                guard count > 0 else { return }
                written += count
            }
        }
    }
}
