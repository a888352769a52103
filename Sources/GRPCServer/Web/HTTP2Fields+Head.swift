// SPDX-License-Identifier: Apache-2.0
// Martlet, GRPCServer: an HTTP/2 header block as the head of a web request.

import HTTP2
import Transport

extension HTTP2Fields {
    var head: HTTPHead {
        HTTPHead(method: string(.method) ?? "", target: string(.path) ?? "", fields: all)
    }
}
