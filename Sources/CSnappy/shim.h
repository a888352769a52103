// CSnappy: the C library as Swift sees it; macros and varargs are wrapped here.
#pragma once
#include <snappy-c.h>
