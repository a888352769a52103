// SPDX-License-Identifier: Apache-2.0
// Martlet, Simulation: what all clients of the life that have a Kafka connection do when it is gone.

protocol KafkaActor: AnyObject {
    var life: Life { get }
    var link: KafkaLink? { get }
    /// Begins anew over a connection of its own.
    func connect(_ broker: SimulatedBroker) throws
}

extension KafkaActor {
    /// The connection for this step; nil: it had ended, and making another one was the step, or no broker is there.
    func usableLink() throws -> KafkaLink? {
        guard let link, let broker = life.broker else { return nil }
        if link.isOpen { return link }
        try link.poll()
        link.discard()
        try connect(broker)
        return nil
    }
}
