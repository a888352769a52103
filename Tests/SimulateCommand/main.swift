// SPDX-License-Identifier: Apache-2.0
// Martlet, simulate: runs many lives of a simulated broker, or one again.
//
//   simulate --seeds 1000             a thousand lives, of seeds that follow from a random base
//   simulate --seed 42                one life, and its trace
//   simulate --seed 42 --verbose      every step of it
//
// Progress goes to a terminal only. Exit status 1: a promise was broken; 2: the arguments are wrong.

import Glibc
import Simulation

exit(SimulateCommand(Array(CommandLine.arguments.dropFirst())).run())
