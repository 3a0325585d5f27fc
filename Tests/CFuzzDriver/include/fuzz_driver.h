#pragma once
#include <stddef.h>
#include <stdint.h>

// libFuzzer's own functions: https://llvm.org/docs/LibFuzzer.html
int LLVMFuzzerRunDriver(int *argc, char ***argv, int (*test)(const uint8_t *data, size_t size));
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t limit);

/// From here on the process may allocate `bytes` in all, freed or not; more than that aborts it.
void allocation_budget_begin(size_t bytes);
/// Lifts the limit. Returns the bytes that were allocated since it was set.
size_t allocation_budget_end(void);
