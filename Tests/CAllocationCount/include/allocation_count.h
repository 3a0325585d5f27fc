#pragma once
#include <stdint.h>

/// How many blocks of memory this process has allocated, by malloc(3) and its kin. Linking this
/// replaces them by functions that count and hand on to Glibc's.
uint64_t allocation_count(void);
