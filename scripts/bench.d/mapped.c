// Measures mappings of one file. Prints one line of JSON.
//
// mapped seq FILE                    read every word of the file through a mapping
// mapped random FILE COUNT SEED [readaround]
//                                    fault COUNT random pages, each once; MADV_RANDOM unless
//                                    "readaround"
// mapped faults FILE COUNT SEED      the same, MADV_RANDOM, and print when each began (seconds of
//                                    CLOCK_MONOTONIC) and how many microseconds it took
// mapped dirty FILE COUNT SEED [SPAN] store to COUNT random pages (of the first SPAN bytes), then
//                                    msync
// mapped check FILE COUNT SEED       do the pages that `dirty` stored to hold that? Fails if not
// mapped fill FILE BYTES SEED        store to every page, then msync
// mapped drop FILE                   drop the file's clean pages from the page cache; says how many
//                                    stay
// mapped warm BYTES                  touch that much memory, so that the host has given it to us
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096UL

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static void fail(const char *what) {
  fprintf(stderr, "mapped: %s: %s\n", what, strerror(errno));
  exit(1);
}

static uint64_t mix(uint64_t *state) {
  uint64_t value = (*state += 0x9E3779B97F4A7C15ULL);
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9ULL;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EBULL;
  return value ^ (value >> 31);
}

struct mapping {
  unsigned char *base;
  size_t length;
  int descriptor;
};

static struct mapping map(const char *path, int writable, size_t extend) {
  struct mapping m;
  struct stat status;
  m.descriptor = open(path, writable ? O_RDWR | O_CREAT : O_RDONLY, 0600);
  if (m.descriptor < 0) fail(path);
  if (extend && ftruncate(m.descriptor, (off_t)extend) != 0) fail("ftruncate");
  if (fstat(m.descriptor, &status) != 0) fail("fstat");
  m.length = (size_t)status.st_size;
  m.base = mmap(NULL, m.length, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED,
                m.descriptor, 0);
  if (m.base == MAP_FAILED) fail("mmap");
  return m;
}

static double processor_seconds(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
}

static int sequential(const char *path) {
  struct mapping m = map(path, 0, 0);
  uint64_t sum = 0;
  double start = now();
  const uint64_t *words = (const uint64_t *)m.base;
  for (size_t i = 0; i < m.length / 8; i++) sum += words[i];
  double seconds = now() - start;
  printf("{\"seconds\":%.6f,\"bytes\":%zu,\"rate\":%.0f,\"cpu\":%.3f,\"sum\":%llu}\n", seconds,
         m.length, (double)m.length / seconds, processor_seconds(), (unsigned long long)sum);
  return 0;
}

// COUNT different pages of the first `pages`, in random order.
static size_t *choose(size_t pages, size_t count, uint64_t seed) {
  size_t *chosen = malloc(count * sizeof *chosen);
  if (count > pages || !chosen) {
    fprintf(stderr, "mapped: %zu of %zu pages\n", count, pages);
    exit(1);
  }
  if (pages <= 1UL << 24) {
    size_t *all = malloc(pages * sizeof *all);
    if (!all) fail("malloc");
    for (size_t i = 0; i < pages; i++) all[i] = i;
    for (size_t i = 0; i < count; i++) {
      size_t other = i + mix(&seed) % (pages - i);
      chosen[i] = all[other];
      all[other] = all[i];
    }
    free(all);
  } else {
    // So many that two alike are rare; one slot each makes them different for certain.
    size_t slot = pages / count;
    for (size_t i = 0; i < count; i++) chosen[i] = i * slot + mix(&seed) % slot;
    for (size_t i = 0; i < count; i++) {
      size_t other = i + mix(&seed) % (count - i), kept = chosen[i];
      chosen[i] = chosen[other];
      chosen[other] = kept;
    }
  }
  return chosen;
}

static int order(const void *one, const void *other) {
  double a = *(const double *)one, b = *(const double *)other;
  return a < b ? -1 : a > b;
}

static int random_faults(const char *path, size_t count, uint64_t seed, int readaround) {
  struct mapping m = map(path, 0, 0);
  size_t *chosen = choose(m.length / PAGE, count, seed);
  double *times = malloc(count * sizeof *times);
  uint64_t sum = 0;
  if (!times) fail("malloc");
  if (!readaround && madvise(m.base, m.length, MADV_RANDOM) != 0) fail("madvise");
  double start = now(), before = start;
  for (size_t i = 0; i < count; i++) {
    sum += *(volatile uint64_t *)(m.base + chosen[i] * PAGE);
    double after = now();
    times[i] = after - before;
    before = after;
  }
  double seconds = now() - start;
  qsort(times, count, sizeof *times, order);
  printf("{\"seconds\":%.6f,\"mean_us\":%.3f,\"median_us\":%.3f,\"p99_us\":%.3f,\"sum\":%llu}\n",
         seconds, seconds * 1e6 / (double)count, times[count / 2] * 1e6,
         times[count * 99 / 100] * 1e6, (unsigned long long)sum);
  return 0;
}

static int faults(const char *path, size_t count, uint64_t seed) {
  struct mapping m = map(path, 0, 0);
  size_t *chosen = choose(m.length / PAGE, count, seed);
  uint64_t sum = 0;
  if (madvise(m.base, m.length, MADV_RANDOM) != 0) fail("madvise");
  printf("{\"faults\":[");
  for (size_t i = 0; i < count; i++) {
    double before = now();
    sum += *(volatile uint64_t *)(m.base + chosen[i] * PAGE);
    printf("%s[%.6f,%.1f]", i ? "," : "", before, (now() - before) * 1e6);
  }
  printf("],\"sum\":%llu}\n", (unsigned long long)sum);
  return 0;
}

static int dirty(const char *path, size_t count, uint64_t seed, size_t span) {
  struct mapping m = map(path, 1, 0);
  if (span == 0 || span > m.length) span = m.length;
  size_t *chosen = choose(span / PAGE, count, seed);
  double start = now();
  for (size_t i = 0; i < count; i++) {
    uint64_t *words = (uint64_t *)(m.base + chosen[i] * PAGE);
    uint64_t state = seed ^ chosen[i];
    for (size_t w = 0; w < PAGE / 8; w++) words[w] = mix(&state);
  }
  double stored = now();
  if (msync(m.base, m.length, MS_SYNC) != 0) fail("msync");
  double synced = now();
  printf("{\"store_seconds\":%.6f,\"msync_seconds\":%.6f}\n", stored - start, synced - stored);
  return 0;
}

static int check(const char *path, size_t count, uint64_t seed) {
  struct mapping m = map(path, 0, 0);
  size_t *chosen = choose(m.length / PAGE, count, seed), wrong = 0;
  for (size_t i = 0; i < count; i++) {
    const uint64_t *words = (const uint64_t *)(m.base + chosen[i] * PAGE);
    uint64_t state = seed ^ chosen[i];
    int same = 1;
    for (size_t w = 0; w < PAGE / 8; w++) same &= words[w] == mix(&state);
    wrong += !same;
  }
  printf("{\"pages\":%zu,\"wrong\":%zu}\n", count, wrong);
  return wrong != 0;
}

static int fill(const char *path, size_t bytes, uint64_t seed) {
  struct mapping m = map(path, 1, bytes);
  double start = now();
  uint64_t *words = (uint64_t *)m.base;
  for (size_t i = 0; i < bytes / 8; i++) words[i] = i * 0x9E3779B97F4A7C15ULL + seed;
  double stored = now();
  if (msync(m.base, m.length, MS_SYNC) != 0) fail("msync");
  double synced = now();
  printf("{\"store_seconds\":%.6f,\"msync_seconds\":%.6f,\"rate\":%.0f}\n", stored - start,
         synced - stored, (double)bytes / (synced - start));
  return 0;
}

static int drop(const char *path) {
  int descriptor = open(path, O_RDONLY);
  struct stat status;
  if (descriptor < 0) fail(path);
  if (fstat(descriptor, &status) != 0) fail("fstat");
  size_t resident = 0, pages = ((size_t)status.st_size + PAGE - 1) / PAGE;
  for (int attempt = 0; attempt < 5; attempt++) {
    int code = posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED);
    if (code != 0) fail("posix_fadvise");
    unsigned char *base = mmap(NULL, pages * PAGE, PROT_READ, MAP_SHARED, descriptor, 0);
    unsigned char *state = malloc(pages);
    if (base == MAP_FAILED || !state || mincore(base, pages * PAGE, state) != 0) fail("mincore");
    resident = 0;
    for (size_t i = 0; i < pages; i++) resident += state[i] & 1;
    munmap(base, pages * PAGE);
    free(state);
    if (resident == 0) break;
    usleep(20000);
  }
  printf("{\"pages\":%zu,\"resident\":%zu}\n", pages, resident);
  return 0;
}

static int warm(size_t bytes) {
  unsigned char *base =
      mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) fail("mmap");
  for (size_t at = 0; at < bytes; at += PAGE) base[at] = 1;
  printf("{\"bytes\":%zu}\n", bytes);
  return 0;
}

int main(int count, char **words) {
  if (count == 3 && !strcmp(words[1], "seq")) return sequential(words[2]);
  if (count >= 5 && !strcmp(words[1], "random")) {
    return random_faults(words[2], strtoul(words[3], 0, 10), strtoul(words[4], 0, 10), count > 5);
  }
  if (count == 5 && !strcmp(words[1], "faults")) {
    return faults(words[2], strtoul(words[3], 0, 10), strtoul(words[4], 0, 10));
  }
  if (count >= 5 && !strcmp(words[1], "dirty")) {
    return dirty(words[2], strtoul(words[3], 0, 10), strtoul(words[4], 0, 10),
                 count > 5 ? strtoul(words[5], 0, 10) : 0);
  }
  if (count == 5 && !strcmp(words[1], "check")) {
    return check(words[2], strtoul(words[3], 0, 10), strtoul(words[4], 0, 10));
  }
  if (count == 5 && !strcmp(words[1], "fill")) {
    return fill(words[2], strtoul(words[3], 0, 10), strtoul(words[4], 0, 10));
  }
  if (count == 3 && !strcmp(words[1], "drop")) return drop(words[2]);
  if (count == 3 && !strcmp(words[1], "warm")) return warm(strtoul(words[2], 0, 10));
  fprintf(stderr, "see the head of mapped.c\n");
  return 2;
}
