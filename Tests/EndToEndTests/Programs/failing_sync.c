// A library to preload that makes fdatasync(2) fail with EIO while the file FAIL_SYNC_IF exists.
//
// gcc -shared -fPIC -O2 -o failing_sync.so failing_sync.c
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

int fdatasync(int descriptor) {
  const char *trigger = getenv("FAIL_SYNC_IF");
  if (trigger && access(trigger, F_OK) == 0) {
    errno = EIO;
    return -1;
  }
  return (int)syscall(SYS_fdatasync, descriptor);
}
