// CLZ4: the C library as Swift sees it; macros and varargs are wrapped here.
#pragma once
#include <lz4frame.h>
