// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: grpc.reflection.v1.ServerReflection, and v1alpha, whose messages are the same.
//
// Methods: ServerReflectionInfo.
// Behaviour: every question has its answer, in order; what is not found is an error in the answer, not the end of the call.

import Contract
import FoundationEssentials
import GRPCWire
import SwiftProtobuf

private typealias Request = Grpc_Reflection_V1_ServerReflectionRequest
private typealias Response = Grpc_Reflection_V1_ServerReflectionResponse

struct ReflectionService: Sendable {
    static let names = ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"]

    /// Full names of all services, these two included.
    let services: [String]

    var methods: [GRPCMethod] {
        Self.names.map { name in
            GRPCMethod(name, "ServerReflectionInfo", .bidirectional) { (request: Request, call) in
                call.send(
                    Response.with {
                        $0.validHost = request.host
                        $0.originalRequest = request
                        $0.messageResponse = answer(request)
                    })
            }
        }
    }

    private func answer(_ request: Request) -> Response.OneOf_MessageResponse {
        switch request.messageRequest {
        case .listServices:
            .listServicesResponse(
                .with { $0.service = services.sorted().map { name in .with { $0.name = name } } })
        case .fileByFilename(let name):
            files(DescriptorIndex.contract.files(named: name), "there is no file \(name)")
        case .fileContainingSymbol(let symbol):
            files(DescriptorIndex.contract.files(containing: symbol), "there is no symbol \(symbol)")
        case .fileContainingExtension(let wanted):
            error(.notFound, "there is no extension \(wanted.extensionNumber) of \(wanted.containingType)")
        case .allExtensionNumbersOfType(let type):
            DescriptorIndex.contract.isMessage(type)
                ? .allExtensionNumbersResponse(.with { $0.baseTypeName = type })
                : error(.notFound, "there is no message \(type)")
        case nil:
            error(.invalidArgument, "the request asks for nothing")
        }
    }

    private func files(_ found: [[UInt8]]?, _ missing: String) -> Response.OneOf_MessageResponse {
        guard let found else { return error(.notFound, missing) }
        return .fileDescriptorResponse(.with { $0.fileDescriptorProto = found.map { .init($0) } })
    }

    private func error(_ code: GRPCStatus.Code, _ message: String) -> Response.OneOf_MessageResponse {
        .errorResponse(
            .with {
                $0.errorCode = Int32(code.rawValue)
                $0.errorMessage = message
            })
    }
}
