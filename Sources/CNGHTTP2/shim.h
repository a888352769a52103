// CNGHTTP2: the C library as Swift sees it; macros and varargs are wrapped here.
#pragma once
#include <nghttp2/nghttp2.h>
