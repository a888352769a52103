// CYAML: the C library as Swift sees it; macros and varargs are wrapped here.
#pragma once
#include <yaml.h>
