// SPDX-License-Identifier: Apache-2.0
// Martlet, MartletCommand: where passwords come from: a file, standard input, or the terminal without echo; never an
// argument, which other users of the machine could read.

import Glibc

enum Password {
    private static let bytesMax = 1_024

    /// `file` nil: asks on the terminal; `-`: standard input.
    static func read(from file: String?, asking question: String, twice: Bool = false) throws(CommandError) -> String {
        let password: String
        switch file {
        case "-": password = try line(of: STDIN_FILENO, "standard input")
        case let file?: password = try content(of: file)
        case nil:
            password = try ask(question)
            if twice, try ask("Again: ") != password { throw CommandError("the two passwords differ; try again") }
        }
        guard !password.isEmpty else { throw CommandError("the password is empty") }
        return password
    }

    private static func content(of file: String) throws(CommandError) -> String {
        // SAFETY: the path is a C string for the duration of the call.
        let descriptor = unsafe open(file, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw CommandError("password file \(file): \(unsafe String(cString: strerror(errno)))")
        }
        defer { close(descriptor) }
        return try line(of: descriptor, "password file \(file)")
    }

    private static func ask(_ question: String) throws(CommandError) -> String {
        // SAFETY: the path is a C string for the duration of the call.
        let terminal = unsafe open("/dev/tty", O_RDWR | O_CLOEXEC)
        guard terminal >= 0 else {
            throw CommandError("there is no terminal to ask for a password; give a file with one (see --help)", isUsage: true)
        }
        defer { close(terminal) }
        var before = termios()
        // SAFETY: both are live locals.
        guard unsafe tcgetattr(terminal, &before) == 0 else { throw CommandError("the terminal cannot be asked") }
        var silent = before
        silent.c_lflag &= ~tcflag_t(ECHO)
        unsafe tcsetattr(terminal, TCSAFLUSH, &silent)
        defer { unsafe tcsetattr(terminal, TCSAFLUSH, &before) }
        Terminal.write(question, to: terminal)
        let password = try line(of: terminal, "the terminal")
        Terminal.write("\n", to: terminal)
        return password
    }

    /// Up to the end of the line.
    private static func line(of descriptor: CInt, _ name: String) throws(CommandError) -> String {
        var bytes: [UInt8] = []
        var byte: UInt8 = 0
        // SAFETY: one byte is read into a live local.
        while unsafe Glibc.read(descriptor, &byte, 1) == 1, byte != UInt8(ascii: "\n") {
            bytes.append(byte)
            guard bytes.count <= bytesMax else { throw CommandError("\(name): a password has at most \(bytesMax) bytes") }
        }
        if bytes.last == UInt8(ascii: "\r") { bytes.removeLast() }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw CommandError("\(name): the password is not UTF-8")
        }
        return text
    }
}
