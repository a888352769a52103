// SPDX-License-Identifier: Apache-2.0
// Martlet, HTTPServer: which page answers which path.
//
// Pure apart from the closures it was given; it knows no channel.

import NIOHTTP1
import Telemetry
import Transport

/// What is sent back.
struct HTTPAnswer: Equatable, Sendable {
    var status: HTTPResponseStatus
    var contentType = "text/plain; charset=utf-8"
    var body: String
    /// Of the path, for counting; one of a few.
    var page: String
    /// No more requests on this connection.
    var closes = false
    /// How to log in (`www-authenticate`).
    var challenges: [String] = []
}

/// The pages of the broker.
struct HTTPPages: Sendable {
    let version: String
    let metrics: Metrics
    let readiness: @Sendable () -> Readiness
    let offload: HTTPServer.Offload

    /// Calls `answer` once, at once or from another thread.
    func respond(
        to method: HTTPMethod, _ target: String, answer: @escaping @Sendable (HTTPAnswer) -> Void
    ) {
        let path = String(target.prefix { $0 != "?" })
        guard let page = Self.pages[path] else {
            return answer(Self.refusal(.notFound, "There is no page at this path; / lists them all.\n"))
        }
        guard method == .GET || method == .HEAD else {
            return answer(Self.refusal(.methodNotAllowed, "Pages can be read (GET, HEAD), not changed.\n"))
        }
        switch page {
        case .index: answer(HTTPAnswer(status: .ok, body: index, page: path))
        case .alive: answer(HTTPAnswer(status: .ok, body: "ok\n", page: path))
        case .ready: offload { answer(readinessAnswer(path)) }
        case .metrics:
            offload {
                answer(
                    HTTPAnswer(
                        status: .ok, contentType: Exposition.contentType, body: metrics.text(), page: path))
            }
        }
    }

    /// Whether this page is not for everybody who may connect: it names what is stored here.
    static func isGuarded(_ target: String) -> Bool { pages[String(target.prefix { $0 != "?" })] == .metrics }

    static func refusal(_ login: HTTPLoginRefusal) -> HTTPAnswer {
        HTTPAnswer(status: .unauthorized, body: login.message + "\n", page: "none", challenges: login.challenges)
    }

    static func refusal(_ status: HTTPResponseStatus, _ body: String, closes: Bool = false) -> HTTPAnswer {
        HTTPAnswer(status: status, body: body, page: "none", closes: closes)
    }

    private enum Page { case index, alive, ready, metrics }

    private static let pages: [String: Page] = [
        "/": .index, "/healthz": .alive, "/readyz": .ready, "/metrics": .metrics,
    ]

    private var index: String {
        """
        Martlet \(version): a Kafka broker with a gRPC front.

        /healthz   200 while the process answers
        /readyz    200 while it takes work, 503 and the reason when not (JSON)
        /metrics   counters for Prometheus; elsewhere than here with a login, where one is wanted

        Kafka and gRPC clients use this same port.

        """
    }

    private func readinessAnswer(_ path: String) -> HTTPAnswer {
        let readiness = readiness()
        return HTTPAnswer(
            status: readiness.isReady ? .ok : .serviceUnavailable, contentType: "application/json",
            body: readiness.json(version: version), page: path)
    }
}
