// SPDX-License-Identifier: Apache-2.0
// Martlet, MartletTests: who gets how many descriptors.

import Testing

@testable import Martlet

@Suite("Shares of descriptors")
struct DescriptorSharesTests {
    private func shares(allowed: Int, connections: Int = 10_000, files: Int = 0) -> DescriptorShares {
        var configuration = Configuration.production
        configuration.maxConnections = connections
        configuration.maxOpenFiles = files
        return DescriptorShares(configuration, allowed: allowed)
    }

    @Test(arguments: [256, 1024, 4096, 20_000, 1_048_576], [0, 50, 5_000])
    func theSharesNeverExceedWhatIsAllowed(allowed: Int, files: Int) {
        let shares = shares(allowed: allowed, files: files)
        #expect(shares.connections + shares.files + DescriptorShares.reserve <= allowed)
        #expect(shares.connections >= 32 && shares.files >= DescriptorShares.filesMin)
    }

    @Test func withManyDescriptorsEverybodyGetsWhatTheyAskFor() {
        let plenty = shares(allowed: 1_048_576)
        #expect(plenty.connections == 10_000 && plenty.files == DescriptorShares.filesMax)
        #expect(shares(allowed: 1_048_576, files: 77).files == 77)
    }

    @Test func withFewDescriptorsEachGetsHalf() {
        let few = shares(allowed: 1024)
        #expect(few.connections == 448 && few.files == 448)
        // What connections do not want goes to files.
        #expect(shares(allowed: 1024, connections: 100).files == 796)
    }

    @Test func whoAsksForMoreThanThereIsIsTold() throws {
        var configuration = Configuration.production
        configuration.maxConnections = 1_000_000
        let shares = DescriptorShares(configuration, allowed: 1024)
        #expect(try #require(shares.warning(configuration)).contains("448 connections"))
        configuration.maxConnections = 100
        #expect(DescriptorShares(configuration, allowed: 1024).warning(configuration) == nil)
    }
}
