// SPDX-License-Identifier: Apache-2.0
// Martlet, Client: where the records of a command line go: Kafka's Produce or gRPC's PublishStream.

import NIOCore
import Records

package protocol RecordWriter: AnyObject {
    /// How many are acknowledged.
    var written: Int64 { get }
    /// Takes a record; may send it with later ones.
    func write(key: ByteBuffer?, value: ByteBuffer?, headers: [RecordHeader], timestamp: Int64) throws(ClientError)
    /// Sends what was taken, and waits until it is acknowledged.
    func finish() throws(ClientError)
}

extension TopicWriter: RecordWriter {}
