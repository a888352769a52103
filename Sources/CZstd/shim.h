// CZstd: the C library as Swift sees it; macros and varargs are wrapped here.
#pragma once
#include <zstd.h>
#include <zstd_errors.h>

/// Whether a result says that the destination was too small, which is no damage.
static inline int martlet_zstd_is_destination_too_small(size_t result) {
    return ZSTD_getErrorCode(result) == ZSTD_error_dstSize_tooSmall;
}

/// The content size a frame's head declares; UINT64_MAX where it declares none or is no head at all.
static inline unsigned long long martlet_zstd_content_size(const void *source, size_t size) {
    unsigned long long declared = ZSTD_getFrameContentSize(source, size);
    return declared == ZSTD_CONTENTSIZE_ERROR ? ZSTD_CONTENTSIZE_UNKNOWN : declared;
}
