// SPDX-License-Identifier: Apache-2.0
// Martlet, Martlet: docs/kafka-support.md for the command line, which does not know the Kafka edge.

import KafkaServer

package enum KafkaReference {
    package static var markdown: String { SupportReference.markdown }
}
