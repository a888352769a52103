// CZlib: the C library as Swift sees it; macros and varargs are wrapped here.
#pragma once
#include <zlib.h>

/// inflateInit2 for gzip or zlib heads, told apart by their first bytes.
static inline int martlet_inflate_init(z_stream *stream) { return inflateInit2(stream, 15 + 32); }

/// deflateInit2 for a gzip head at the default level.
static inline int martlet_deflate_init(z_stream *stream) {
    return deflateInit2(stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
}
