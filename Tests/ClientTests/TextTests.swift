// SPDX-License-Identifier: Apache-2.0
// Martlet, ClientTests: what people write on the command line, and what is printed for them.

import Glibc
import NIOCore
import Records
import Testing

@testable import Client

@Suite struct EndpointTests {
    @Test(arguments: [
        ("localhost:9093", "localhost", 9093), ("broker", "broker", 9092),
        ("[::1]:19092", "::1", 19092),
        ("[::1]", "::1", 9092), ("::1", "::1", 9092), ("a:1,b:2", "a", 1),
    ])
    func addressesAreRead(_ text: String, _ host: String, _ port: Int) throws {
        #expect(try Endpoint(text) == Endpoint(host: host, port: port))
    }

    @Test(arguments: ["", ":9092", "a:", "a:0", "a:65536", "a:port", "[]:1", "[::1]9"])
    func whatIsNoAddressIsRefused(_ text: String) {
        #expect(throws: ClientError(.invalidArgument, "")) { try Endpoint(text) }
    }

    @Test func addressesArePrintedAsTheyAreWritten() throws {
        #expect(Endpoint(host: "::1", port: 1).description == "[::1]:1")
        #expect(Endpoint(host: "h", port: 1).description == "h:1")
    }
}

@Suite struct StartPositionTests {
    @Test func startsAreRead() throws {
        #expect(try StartPosition("earliest") == .earliest)
        #expect(try StartPosition("latest") == .latest)
        #expect(try StartPosition("42") == .offset(42))
        #expect(try StartPosition("@1700000000000") == .timestamp(1_700_000_000_000))
        for text in ["", "-1", "@", "@-5", "first"] {
            #expect(throws: ClientError(.invalidArgument, "")) { try StartPosition(text) }
        }
    }
}

@Suite struct RecordFormatTests {
    private let found = ReadRecord(
        topic: "t", partition: 3,
        record: Record(
            offset: 42, timestamp: 1234, key: ByteBuffer(string: "k\"1"),
            value: ByteBuffer(bytes: [0x61, 0x0a, 0x01, 0xc3, 0xa9]),
            headers: [
                RecordHeader(key: "a", value: ByteBuffer(string: "x")),
                RecordHeader(key: "b", value: nil),
            ]))

    private func printed(_ format: String, _ record: ReadRecord) throws(ClientError) -> String {
        var buffer = ByteBuffer()
        try RecordFormat(format).write(record, into: &buffer)
        return String(buffer: buffer)
    }

    @Test func everyPlaceholderIsFilled() throws {
        let text = try printed("%t|%p|%o|%T|%k|%K|%S|%h|%%|\\t\\x41\\\\\\n", found)
        #expect(text == "t|3|42|1234|k\"1|3|5|a=x,b=NULL|%|\tA\\\n")
        #expect(try printed("%s", found) == "a\n\u{1}é")
    }

    @Test func absentKeysAndValuesArePrintedAsNothing() throws {
        var record = found
        record.record.key = nil
        record.record.value = nil
        record.record.headers = []
        #expect(try printed("[%k%s%h] %K %S", record) == "[] -1 -1")
    }

    @Test func jsonEscapesWhatItMust() throws {
        let expected = """
            {"topic":"t","partition":3,"offset":42,"timestamp":1234,"key":"k\\"1",\
            "value":"a\\n\\u0001é","headers":[{"key":"a","value":"x"},{"key":"b","value":null}]}

            """
        #expect(try printed("json", found) == expected)
    }

    @Test(arguments: ["%", "%q", "\\", "\\q", "\\x4", "\\xzz"])
    func unknownPlaceholdersAreRefused(_ format: String) {
        #expect(throws: ClientError(.invalidArgument, "")) { try RecordFormat(format) }
    }
}

@Suite struct LineOptionsTests {
    private func parts(_ line: String, _ change: (inout LineOptions) -> Void) -> [String?] {
        var options = LineOptions()
        change(&options)
        let parts = options.parts(of: ByteBuffer(string: line))
        return [parts.key.map { String(buffer: $0) }, parts.value.map { String(buffer: $0) }]
    }

    @Test func linesAreSplitAtTheFirstSeparator() {
        #expect(parts("a:b:c") { $0.keySeparator = ":" } == ["a", "b:c"])
        #expect(parts("a=>b") { $0.keySeparator = "=>" } == ["a", "b"])
        #expect(parts("a=b=>c") { $0.keySeparator = "=>" } == ["a=b", "c"])
        #expect(parts("abc") { $0.keySeparator = ":" } == [nil, "abc"])
        #expect(parts("abc") { _ in } == [nil, "abc"])
        #expect(parts(":v") { $0.keySeparator = ":" } == ["", "v"])
    }

    @Test func emptyValuesAreTombstonesOnlyIfAsked() {
        #expect(parts("k:") { $0.keySeparator = ":" } == ["k", ""])
        #expect(
            parts("k:") {
                $0.keySeparator = ":"
                $0.emptyIsTombstone = true
            } == ["k", nil])
    }

    @Test func headersAreNamesAndValues() throws {
        var options = LineOptions()
        try options.setHeaders(["a=1", "b=x=y", "c="])
        #expect(options.headers.map(\.key) == ["a", "b", "c"])
        #expect(options.headers.map { $0.value.map { String(buffer: $0) } } == ["1", "x=y", ""])
        #expect(throws: ClientError(.invalidArgument, "")) { try options.setHeaders(["none"]) }
        #expect(throws: ClientError(.invalidArgument, "")) { try options.setHeaders(["=v"]) }
    }
}

@Suite struct StandardStreamsTests {
    /// The two ends of a pipe.
    private func pipe() -> (read: CInt, write: CInt) {
        var ends: [CInt] = [0, 0]
        let result = unsafe Glibc.pipe(&ends)
        precondition(result == 0, "a process may have a pipe")
        return (ends[0], ends[1])
    }

    private func send(_ text: String, to descriptor: CInt) {
        var output = StandardOutput(descriptor: descriptor)
        output.write { _ = $0.writeString(text) }
        output.flush()
    }

    @Test func linesPausesAndTheEndAreTold() throws {
        let ends = pipe()
        defer { close(ends.read) }
        var reader = LineReader(descriptor: ends.read)
        send("one\ntwo\n\nhal", to: ends.write)
        #expect(try reader.next() == .line(ByteBuffer(string: "one")))
        #expect(try reader.next() == .line(ByteBuffer(string: "two")))
        #expect(try reader.next() == .line(ByteBuffer()))
        #expect(try reader.next() == .pause)
        send("f\nno end", to: ends.write)
        close(ends.write)
        #expect(try reader.next() == .line(ByteBuffer(string: "half")))
        #expect(try reader.next() == .line(ByteBuffer(string: "no end")))
        #expect(try reader.next() == .end)
    }

    @Test func aReaderThatHasGoneIsNoError() {
        signal(SIGPIPE, SIG_IGN)
        let ends = pipe()
        close(ends.read)
        defer { close(ends.write) }
        var output = StandardOutput(descriptor: ends.write)
        output.write { _ = $0.writeString("nobody reads this") }
        #expect(!output.isClosed)
        output.flush()
        #expect(output.isClosed)
    }
}
