// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: group ids are one namespace: what share groups ask of the other groups.

import Synchronization

extension GroupCoordinator {
    /// Whether there is a classic or consumer group of this id.
    package func hasGroup(_ groupId: String) -> Bool { table.withLock { $0.groups[groupId] != nil } }
}
