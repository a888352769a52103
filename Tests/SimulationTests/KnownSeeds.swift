// SPDX-License-Identifier: Apache-2.0
// Martlet, SimulationTests: every seed that ever found a defect, and what it found. Seeds are only added.
//
// A change of the simulation changes what a seed draws, so an old one may not lead to the same events any more; the defect
// then has a test of its own in the module where it was.

struct KnownSeed: Sendable, CustomStringConvertible {
    var seed: UInt64
    /// What was wrong.
    var defect: String

    var description: String { "\(seed): \(defect)" }

    static let all: [KnownSeed] = [
        KnownSeed(
            seed: 3_683_481_122, defect: "a deleted topic's committed offsets were still served after the deletion was answered"),
        KnownSeed(
            seed: 5_246_522_532, defect: "a gap that a power cut left in an internal log kept the broker from starting"),
        KnownSeed(
            seed: 2_486_179_355, defect: "the same, after a clean stop with a failed log"),
        KnownSeed(
            seed: 46_636_950, defect: "committed offsets of a topic that is gone were served after a start"),
        KnownSeed(
            seed: 1_502_884_756,
            defect: "acks=all was answered for a batch that DeleteRecords had dropped when it rolled the log on a full disk"),
        KnownSeed(
            seed: 1_580_144_231,
            defect: "a topic found in the page cache after kill -9 was used, and then lost with the machine"),
        KnownSeed(
            seed: 1_060_079_786, defect: "the same for committed offsets"),
        KnownSeed(
            seed: 3_141_499_034,
            defect: "a sync that failed during recovery hid the whole log, offsets that were acknowledged included"),
        KnownSeed(
            seed: 9_212_789_825, defect: "a topic made again after a crash served the records of the old one"),
        KnownSeed(
            seed: 1_563_898_781, defect: "a flipped base offset was no error but silence"),
        KnownSeed(
            seed: 5_870_943_949, defect: "a flipped base offset was served"),
        KnownSeed(
            seed: 7_018_863_529, defect: "a flipped record count at the end of a log was no error but silence"),
        KnownSeed(
            seed: 1_639_116_020,
            defect: "a sync that failed during recovery was forgotten, and the next process trusted the page cache"),
        KnownSeed(
            seed: 198_105_939,
            defect: "an empty segment whose file a power cut took was sealed, and retention removed its successor's file"),
        KnownSeed(
            seed: 8_790_204_472, defect: "segments that were dropped before their sync cost a log its last offsets"),
        KnownSeed(
            seed: 7_360_474_288, defect: "DeleteRecords before the middle of missing records removed the rest of that range too"),
        KnownSeed(
            seed: 5_130_855_173, defect: "a power cut brought back what a full disk had refused"),
        KnownSeed(
            seed: 2_548_928_844, defect: "a topic that could not be made, an error said, was there after the next start"),
        KnownSeed(seed: 3_069_077_476, defect: "the same"),
        KnownSeed(
            seed: 3_180_036_207, defect: "none: what a failed log shows after a start was taken for durable by the simulation"),
        KnownSeed(
            seed: 7_961_058_739, defect: "a batch that a power cut took was called a duplicate when it came again"),
        KnownSeed(
            seed: 6_601_338_426,
            defect: "an aborted transaction was read after a failed sync of its index's directory and a power cut"),
        KnownSeed(
            seed: 2_318_322_259, defect: "what a crash had left in an index of aborted transactions was believed"),
        KnownSeed(
            seed: 8_603_630_977, defect: "a directory whose id had found no room kept none, and was set aside with its records"),
        KnownSeed(
            seed: 1_939_636_625, defect: "a sync that succeeded after another one had failed was believed"),
        KnownSeed(
            seed: 6_012_159_117, defect: "a topic was used although the log of topics could not be synced at the start"),
        KnownSeed(
            seed: 7_343_060_228, defect: "a batch was stored twice after a power cut had taken its producer's next one"),
        KnownSeed(
            seed: 7_569_793_127, defect: "a batch was stored twice after records of it were deleted"),
        KnownSeed(
            seed: 2_291_781_335, defect: "none: an answer that came after its lock had ended was taken for a second holder by the simulation"),
    ]
}
