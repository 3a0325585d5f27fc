// libfuse 3, low-level API, and the kernel's wire format (for INIT and for flags of requests that
// libfuse does not hand on). Only what Swift cannot import by itself is wrapped here.
#pragma once
#define FUSE_USE_VERSION 312
#include <fuse3/fuse_log.h>
#include <fuse3/fuse_lowlevel.h>
#include <linux/fuse.h>
#include <pthread.h>

// Glibc's module is built without _GNU_SOURCE and so does not show this one.
int pthread_setname_np(pthread_t thread, const char *name);
