// SPDX-License-Identifier: Apache-2.0
// Martlet, Transport: OpenSSL's error queue, which belongs to the calling thread.

import COpenSSL

/// Empties the error queue, so that what is in it after the next call comes from that call. Looking
/// first is much cheaper than clearing, and the queue is empty unless other code on this thread
/// left something.
func dropStaleErrors() {
    if ERR_peek_error() != 0 { ERR_clear_error() }
}

/// Takes everything from the error queue and returns the first entry in OpenSSL's words.
func takeOpenSSLError() -> String {
    let error = ERR_get_error()
    ERR_clear_error()
    guard error != 0 else { return "no reason given" }
    return openSSLReason(error)
}

/// OpenSSL's words for the reason of an error code.
func openSSLReason(_ error: UInt) -> String {
    // SAFETY: reason strings are static.
    unsafe ERR_reason_error_string(error).map { unsafe String(cString: $0) } ?? "error \(error)"
}
