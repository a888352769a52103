// SPDX-License-Identifier: Apache-2.0
// Martlet, Engine: for which topics a member's rights matter to its pattern.
//
// A pattern is matched under the coordinator's lock, where nobody can be asked. So where others decide about rights, they
// are asked before, about these topics.

import Synchronization

extension GroupCoordinator {
    /// What the pattern matches, if it is new with the next heartbeat or due for another look; else nothing. `text`: the
    /// pattern that the heartbeat brings; nil: as before.
    package func topicsToMatch(groupId: String, memberId: String, pattern text: String?) -> [String] {
        let nowMs = monotonicMs
        let (pattern, names) = table.withLock { table -> (TopicPattern?, [String]) in
            let group = table.groups[groupId]?.consumer
            let names = table.topics.byName.keys
            guard let text = text ?? group?.members[memberId]?.pattern, !text.isEmpty else { return (nil, []) }
            guard let known = group?.patterns[text] else { return (try? TopicPattern(text), Array(names)) }
            let isDue = known.mayDescribe == nil || nowMs - known.resolvedMs >= configuration.patternRefreshMs
            return isDue ? (known.pattern, Array(names)) : (nil, [])
        }
        guard let pattern else { return [] }
        return names.filter(pattern.matches)
    }
}
