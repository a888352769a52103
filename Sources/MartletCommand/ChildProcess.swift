// SPDX-License-Identifier: Apache-2.0
// Martlet, MartletCommand: runs a command with some bytes as its standard input, and waits for it.
//
// The input is a file without a name, so that a command that does not read it, or reads it late, holds nobody up.

import Glibc
import NIOCore

enum ChildProcess {
    enum Outcome: Equatable {
        case exited(Int32)
        case killed(signal: Int32)
    }

    /// Runs `words` with these variables besides the process's own; output and errors go where the process's go.
    static func run(_ words: [String], variables: [String: String], input: ByteBuffer) throws -> Outcome {
        let file = try temporaryFile(input)
        defer { close(file) }
        var actions = unsafe posix_spawn_file_actions_t()
        var attributes = posix_spawnattr_t()
        var ignored = sigset_t()
        var process: pid_t = 0
        let environment = (Environment.variables.filter { variables[$0.name] == nil } + variables.map { (name: $0.key, value: $0.value) })
            .map { "\($0.name)=\($0.value)" }
        // SAFETY: actions, attributes and the C strings live until the child is started; each is freed once, here.
        let code = unsafe withCStrings(words) { arguments in
            unsafe withCStrings(environment) { environment in
                unsafe posix_spawn_file_actions_init(&actions)
                unsafe posix_spawnattr_init(&attributes)
                defer {
                    unsafe posix_spawn_file_actions_destroy(&actions)
                    unsafe posix_spawnattr_destroy(&attributes)
                }
                unsafe posix_spawn_file_actions_adddup2(&actions, file, STDIN_FILENO)
                // This process ignores SIGPIPE; commands expect that it ends them.
                unsafe sigemptyset(&ignored)
                unsafe sigaddset(&ignored, SIGPIPE)
                unsafe posix_spawnattr_setsigdefault(&attributes, &ignored)
                unsafe posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGDEF))
                return unsafe posix_spawnp(&process, words[0], &actions, &attributes, arguments, environment)
            }
        }
        guard code == 0 else {
            throw CommandError("cannot run \(words[0]): \(unsafe String(cString: strerror(code)))", isUsage: true)
        }
        return try wait(process, words[0])
    }

    private static func wait(_ process: pid_t, _ name: String) throws -> Outcome {
        var status: Int32 = 0
        // SAFETY: `status` is a live local for the duration of the call.
        while unsafe waitpid(process, &status, 0) < 0 {
            guard errno == EINTR else { throw CommandError("cannot wait for \(name): error \(errno)") }
        }
        return status & 0x7f == 0 ? .exited(status >> 8 & 0xff) : .killed(signal: status & 0x7f)
    }

    private static func temporaryFile(_ input: ByteBuffer) throws -> CInt {
        var path = ((Environment.variables.first { $0.name == "TMPDIR" }?.value ?? "/tmp") + "/martlet-job-XXXXXX").utf8CString.map { $0 }
        // SAFETY: the template is zero-terminated and lives for the calls.
        let file = unsafe path.withUnsafeMutableBufferPointer { bytes -> CInt in
            guard let name = bytes.baseAddress else { return -1 }
            let file = unsafe mkstemp(name)
            if file >= 0 { unsafe unlink(name) }
            return file
        }
        guard file >= 0, fcntl(file, F_SETFD, FD_CLOEXEC) == 0 else {
            throw CommandError("cannot make a temporary file for a job: error \(errno)")
        }
        var rest = input
        while rest.readableBytes > 0 {
            var count = 0
            // SAFETY: at most the readable bytes are written out, during the call.
            unsafe rest.readWithUnsafeReadableBytes { bytes in
                count = unsafe write(file, bytes.baseAddress, bytes.count)
                return max(0, count)
            }
            guard count > 0 || errno == EINTR else {
                close(file)
                throw CommandError("cannot write a job to a temporary file: error \(errno)")
            }
        }
        lseek(file, 0, SEEK_SET)
        return file
    }

    /// Lends zero-terminated copies of texts, and a zero after the last.
    private static func withCStrings<Result>(
        _ texts: [String], _ body: ([UnsafeMutablePointer<CChar>?]) -> Result
    ) -> Result {
        // SAFETY: every copy is freed after its last use.
        let copies = unsafe texts.map { unsafe strdup($0) }
        defer { for unsafe copy in unsafe copies { unsafe free(copy) } }
        return unsafe body(copies + [nil])
    }
}
