// SPDX-License-Identifier: Apache-2.0
// Martlet, HTTP2: the bounds of one connection, each with the answer given when it is reached.

/// What a connection promises and tolerates. The same for both roles, unless it says otherwise.
package struct HTTP2Configuration: Sendable {
    /// Streams the peer may have open (SETTINGS_MAX_CONCURRENT_STREAMS); one more is refused.
    package var streamsMax: UInt32 = 1024
    /// Bytes the peer may send on a stream before it is granted more (SETTINGS_INITIAL_WINDOW_SIZE).
    package var streamWindowBytes: UInt32 = 1 << 20
    /// The same for the whole connection.
    package var connectionWindowBytes: Int32 = 8 << 20
    /// Largest frame the peer may send (SETTINGS_MAX_FRAME_SIZE); a larger one ends the connection.
    package var frameBytesMax: UInt32 = 64 << 10
    /// Largest header block, names and values plus 32 bytes a field (SETTINGS_MAX_HEADER_LIST_SIZE). Beyond it fields are
    /// dropped and `HTTP2Fields.isTruncated` is set.
    package var headerListBytesMax: UInt32 = 16 << 10
    /// Largest DATA frame that is sent, where the peer takes as much.
    package var dataFrameBytesMax: UInt32 = 64 << 10
    /// Answers to PING and SETTINGS that may wait to be sent; one more ends the connection.
    package var answersQueuedMax = 256
    /// Entries of one SETTINGS frame; more end the connection.
    package var settingsEntriesMax = 32
    /// Server only. Streams that end abnormally (reset by either side) all at once, and how many a second in the long run;
    /// more: GOAWAY with ENHANCE_YOUR_CALM (the "rapid reset" attack, CVE-2023-44487).
    package var resetBurst = 1000
    package var resetsPerSecond = 200
    /// Server only. Frames that bring nothing (empty DATA that does not end its stream, PRIORITY, unknown types) all at once, and how
    /// many a second in the long run; a request makes up for ten, DATA with content for one. More: GOAWAY with ENHANCE_YOUR_CALM.
    package var idleFrameBurst = 1000
    package var idleFramesPerSecond = 100

    package init() {}
}
