// SPDX-License-Identifier: Apache-2.0
// Martlet, MartletTests: a broker as a test fixture: the example of the README, as a test.
//
// The client is the one of Martlet's command line; any Kafka or gRPC client works the same way with the address.

import Client
import Martlet
import NIOCore
import NIOPosix
import Records
import Testing

@Suite struct FixtureExample {
    @Test func `A test starts its own broker, writes to it, reads from it, and stops it`() async throws {
        let broker = try await Broker.start(.fixture)

        let endpoint = Endpoint(host: broker.address.host, port: broker.address.port)
        let read = try await exchange(ConnectionOptions(endpoint: endpoint))
        #expect(read == ["hello", "again"])

        try await broker.shutdown()
    }

    @Test func `The same over mutual TLS, with the certificates that the broker made`() async throws {
        let broker = try await Broker.start(.fixture)

        let endpoint = Endpoint(host: broker.address.host, port: broker.address.port)
        let files = try #require(broker.certificates)
        let read = try await exchange(
            ConnectionOptions(
                endpoint: endpoint,
                certificates: CertificateFiles(
                    authority: files.authority, certificate: files.certificate, key: files.key)))
        #expect(read == ["hello", "again"])

        try await broker.shutdown()
    }

    /// Creates a topic, writes two records and reads them back. The client waits for its answers, so it is used
    /// on a thread that may wait.
    private func exchange(_ options: ConnectionOptions) async throws -> [String] {
        try await NIOThreadPool.singleton.runIfActive {
            let kafka = try KafkaClient(options)
            try kafka.createTopic("greetings", partitions: 1)
            let writer = try TopicWriter(client: kafka, topic: "greetings")
            for text in ["hello", "again"] {
                try writer.write(key: nil, value: ByteBuffer(string: text), timestamp: 1_700_000_000_000)
            }
            try writer.finish()

            var values: [String] = []
            let reader = try TopicReader(client: kafka, topic: "greetings", from: .earliest, stopsAtEnd: true)
            while !reader.isDone {
                try reader.poll { found in
                    values.append(String(buffer: found.record.value ?? ByteBuffer()))
                    return true
                }
            }
            return values
        }
    }
}
