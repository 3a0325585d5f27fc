#include "fuzz_driver.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

// Glibc's own names, there for programs that replace malloc.
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

// Per thread: libFuzzer's other threads allocate too.
static _Thread_local size_t limit;
static _Thread_local size_t used;

void allocation_budget_begin(size_t bytes) {
  used = 0;
  limit = bytes;
}

size_t allocation_budget_end(void) {
  limit = 0;
  return used;
}

static void take(size_t size) {
  used += size;
  if (limit == 0 || used <= limit) return;
  size_t bytes = limit;
  limit = 0;
  fprintf(stderr, "an input of this size may not make the parser allocate more than %zu bytes\n", bytes);
  abort();
}

void *malloc(size_t size) {
  take(size);
  return __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
  take(count * size);
  return __libc_calloc(count, size);
}

void *realloc(void *block, size_t size) {
  take(size);
  return __libc_realloc(block, size);
}

void *memalign(size_t alignment, size_t size) {
  take(size);
  return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
  take(size);
  return __libc_memalign(alignment, size);
}

int posix_memalign(void **block, size_t alignment, size_t size) {
  take(size);
  *block = __libc_memalign(alignment, size);
  return *block == NULL ? ENOMEM : 0;
}
