// swift-tools-version: 6.2
//
// Martlet: module map. Layers only import downwards (docs/ARCHITECTURE.md):
//   6 MartletCommand -> 5 KafkaServer, GRPCServer, HTTPServer, PolicyClient, Client (joined by the library Martlet)
//   -> 4 Engine, Transport -> 3 Storage -> 2 KafkaWire, GRPCWire, HTTP2, Records -> 1 Bytes, Telemetry -> 0 C
import PackageDescription

/// Every hand-written target: strict memory safety, warnings are errors.
let settings: [SwiftSetting] = [
    .strictMemorySafety(),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .treatAllWarnings(as: .error),
]

func module(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: settings)
}

func tests(_ name: String, _ dependencies: [Target.Dependency], resources: [Resource] = []) -> Target {
    .testTarget(name: name, dependencies: dependencies, resources: resources, swiftSettings: settings)
}

func library(_ name: String, pkgConfig: String, apt: String) -> Target {
    .systemLibrary(name: name, pkgConfig: pkgConfig, providers: [.apt([apt])])
}

let nioCore: Target.Dependency = .product(name: "NIOCore", package: "swift-nio")
let nioPosix: Target.Dependency = .product(name: "NIOPosix", package: "swift-nio")
let nioEmbedded: Target.Dependency = .product(name: "NIOEmbedded", package: "swift-nio")
let nioHTTP1: Target.Dependency = .product(name: "NIOHTTP1", package: "swift-nio")
let nioConcurrency: Target.Dependency = .product(name: "NIOConcurrencyHelpers", package: "swift-nio")
let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")
let protobuf: Target.Dependency = .product(name: "SwiftProtobuf", package: "swift-protobuf")
let arguments: Target.Dependency = .product(name: "ArgumentParser", package: "swift-argument-parser")

/// What the fuzz targets reach into.
let fuzzed: [Target.Dependency] = [
    "Bytes", "Client", "Contract", "COpenSSL", "Engine", "GRPCServer", "GRPCWire", "HTTP2", "HTTPServer",
    "KafkaServer", "KafkaWire", "Martlet", "PolicyClient", "Records", "Security", "Storage", "Telemetry", "TestSupport", "Transport", logging,
    nioCore, nioEmbedded, nioHTTP1, protobuf,
]

/// The fuzz targets: replayed over kept inputs by a test, or, with MARTLET_FUZZ set, a program under libFuzzer
/// (docs/decisions/0014-fuzzing.md).
let isFuzzing = Context.environment["MARTLET_FUZZ"] != nil
let fuzzing: Target =
    isFuzzing
    ? .executableTarget(
        name: "martlet-fuzz", dependencies: fuzzed, path: "Tests/fuzz",
        exclude: ["Replay", "capture.py", "fuzz.py", "corpus", "regressions"], sources: ["Targets", "Driver"],
        swiftSettings: settings)
    : .testTarget(
        name: "FuzzTests", dependencies: fuzzed, path: "Tests/fuzz",
        exclude: ["Driver", "capture.py", "fuzz.py", "corpus", "regressions"], sources: ["Targets", "Replay"],
        swiftSettings: settings)

let package = Package(
    name: "martlet",
    products: [
        .library(name: "Martlet", targets: ["Martlet"]),
        .executable(name: "martlet", targets: ["MartletCommand"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-protobuf", from: "1.39.0"),
    ],
    targets: [
        // Layer 0: C.
        library("CNGHTTP2", pkgConfig: "libnghttp2", apt: "libnghttp2-dev"),
        library("COpenSSL", pkgConfig: "openssl", apt: "libssl-dev"),
        library("CLZ4", pkgConfig: "liblz4", apt: "liblz4-dev"),
        library("CZstd", pkgConfig: "libzstd", apt: "libzstd-dev"),
        library("CSnappy", pkgConfig: "snappy", apt: "libsnappy-dev"),
        library("CZlib", pkgConfig: "zlib", apt: "zlib1g-dev"),
        library("CYAML", pkgConfig: "yaml-0.1", apt: "libyaml-dev"),
        .target(name: "CLinux"),

        // Layer 1.
        module("Bytes", ["CLinux", nioCore]),
        module("Telemetry", [logging]),

        // Layer 2: no I/O.
        module("Records", ["Bytes", "CLZ4", "CZstd", "CSnappy", "CZlib", nioCore]),
        module("KafkaWire", ["Bytes", nioCore]),
        .target(name: "Contract", dependencies: [protobuf]),
        module("GRPCWire", ["Bytes", "Records", "Contract", nioCore, protobuf]),
        module("HTTP2", ["Bytes", "CNGHTTP2", nioCore]),
        module("Security", ["Bytes", "COpenSSL"]),

        // Layer 3.
        module("Storage", ["Bytes", "CLinux", "Records", "Telemetry", logging, nioCore, nioConcurrency]),

        // Layer 4.
        module("Engine", ["Bytes", "Records", "Security", "Storage", "Telemetry", logging, nioCore, nioConcurrency]),
        module("Transport", ["Bytes", "COpenSSL", "Telemetry", logging, nioCore, nioPosix]),

        // Layer 5.
        module(
            "KafkaServer",
            [
                "Bytes", "KafkaWire", "Records", "Engine", "Security", "Storage", "Transport", "Telemetry", logging, nioCore,
            ]),
        module(
            "GRPCServer",
            [
                "Bytes", "GRPCWire", "HTTP2", "Contract", "Records", "Engine", "Security", "Storage", "Transport", "Telemetry",
                logging, nioCore, protobuf,
            ]),
        module("PolicyClient", ["Bytes", "Engine", "Transport", "Telemetry", nioCore, nioPosix, nioHTTP1]),
        module("HTTPServer", ["Engine", "Transport", "Telemetry", logging, nioCore, nioHTTP1]),
        module(
            "Client",
            [
                "Bytes", "KafkaWire", "Records", "Security", "GRPCWire", "HTTP2", "Contract", "Transport", logging, nioCore,
                nioPosix, protobuf,
            ]),

        // Layer 6.
        module(
            "Martlet",
            [
                "Bytes", "Engine", "Security", "Storage", "Transport", "KafkaServer", "GRPCServer", "HTTPServer",
                "PolicyClient", "Telemetry", "CYAML", logging, nioCore, nioPosix,
            ]),
        .executableTarget(
            name: "MartletCommand",
            dependencies: [
                "Martlet", "Client", "Engine", "Storage", "Records", "KafkaWire", "Security", "Transport", "Telemetry", "Bytes",
                logging, arguments, nioCore,
            ],
            swiftSettings: settings),

        // Tests, one target a module; what needs a running broker lives in Tests/interop (pytest).
        .target(
            name: "TestSupport",
            dependencies: ["Engine", "Storage", "Records", "Bytes", "Telemetry", logging, nioCore, nioEmbedded],
            path: "Tests/TestSupport", swiftSettings: settings),
        // The whole broker on a simulated disk, in one thread, from one seed (docs/decisions/0013-simulation.md).
        .target(
            name: "Simulation",
            dependencies: [
                "Engine", "Storage", "Records", "Bytes", "Telemetry", "KafkaServer", "KafkaWire", "GRPCServer",
                "GRPCWire", "HTTP2", "Contract", "Transport", logging, nioCore, nioEmbedded, protobuf,
            ],
            path: "Tests/Simulation", swiftSettings: settings),
        .executableTarget(
            name: "simulate", dependencies: ["Simulation"], path: "Tests/SimulateCommand", swiftSettings: settings),
        tests("SimulationTests", ["Simulation", "Bytes"]),
        tests("BytesTests", ["Bytes"]),
        tests("TelemetryTests", ["Telemetry"]),
        tests("RecordsTests", ["Records", "Bytes"]),
        tests("SecurityTests", ["Security", "Bytes"]),
        tests("KafkaWireTests", ["KafkaWire", "Bytes"], resources: [.copy("golden")]),
        tests("GRPCWireTests", ["GRPCWire", "Contract", "Records", "Bytes"]),
        tests("HTTP2Tests", ["HTTP2", "Bytes"]),
        tests("StorageTests", ["Storage", "Records", "Bytes", "Telemetry"]),
        tests(
            "EngineTests",
            [
                "Engine", "Storage", "Records", "Bytes", "Security", "Telemetry", "TestSupport", logging, nioEmbedded,
                nioPosix, nioConcurrency,
            ]),
        tests("TransportTests", ["Transport", "Bytes", "COpenSSL", nioEmbedded, nioPosix]),
        tests(
            "KafkaServerTests",
            [
                "KafkaServer", "KafkaWire", "Engine", "Security", "Storage", "Records", "Bytes", "Transport", "TestSupport",
                logging, nioEmbedded,
            ]),
        tests(
            "GRPCServerTests",
            [
                "GRPCServer", "GRPCWire", "HTTP2", "Contract", "Engine", "Storage", "Records", "Bytes", "Transport",
                "Telemetry", "TestSupport", "Security", logging, nioEmbedded, protobuf,
            ]),
        tests("PolicyClientTests", ["PolicyClient", "Engine", "Bytes", nioCore, nioPosix, nioHTTP1]),
        tests("HTTPServerTests", ["HTTPServer", "Transport", "Telemetry", nioEmbedded, nioHTTP1]),
        tests(
            "ClientTests",
            ["Client", "KafkaWire", "GRPCWire", "HTTP2", "Contract", "Records", "Bytes", nioEmbedded, nioPosix, protobuf]),
        tests("MartletTests", ["Martlet", "Client", "Bytes", "Transport", logging, nioCore, nioPosix]),
        fuzzing,
    ],
    swiftLanguageModes: [.v6]
)
