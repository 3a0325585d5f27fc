// Linux calls that the Glibc module map leaves out: epoll, timerfd, signalfd, splice,
// fallocate, sync_file_range, extended attributes.
#pragma once
#include <linux/stat.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/types.h>
#include <sys/xattr.h>
#include <unistd.h>

// These need _GNU_SOURCE, which would make this module's view of the libc headers differ from
// that of the Glibc module; hence the calls by number. Constants are the kernel's ABI.
static inline long linux_splice(int from, int to, unsigned long count) {
  const unsigned int move_and_nonblock = 3;
  return syscall(SYS_splice, from, 0, to, 0, count, move_and_nonblock);
}
static inline int linux_pipe2(int descriptors[2], int flags) {
  return (int)syscall(SYS_pipe2, descriptors, flags);
}
static inline int linux_accept4(int listener, int flags) {
  return (int)syscall(SYS_accept4, listener, 0, 0, flags);
}
static inline int linux_set_pipe_size(int descriptor, int bytes) {
  const int f_setpipe_sz = 1031;
  return (int)syscall(SYS_fcntl, descriptor, f_setpipe_sz, bytes);
}
/// O_DIRECT, open(2).
static inline int linux_o_direct(void) {
#if defined(__aarch64__) || defined(__arm__)
  return 0200000;
#else
  return 040000;
#endif
}
/// fallocate(2).
static inline int linux_fallocate(int fd, int mode, off_t offset, off_t length) {
  return (int)syscall(SYS_fallocate, fd, mode, offset, length);
}
/// sync_file_range(2).
static inline int linux_sync_file_range(int fd, off_t offset, off_t length, unsigned flags) {
  return (int)syscall(SYS_sync_file_range, fd, offset, length, flags);
}

/// cachestat(2) (Linux 6.5): how many pages of a range are in the page cache; -1 where the kernel cannot tell.
static inline long long linux_cached_pages(int fd, off_t offset, unsigned long length) {
  const int cachestat = 451;
  struct { unsigned long long offset, length; } range = {(unsigned long long)offset, length};
  struct { unsigned long long cached, dirty, writeback, evicted, recently_evicted; } pages = {0};
  return syscall(cachestat, fd, &range, &pages, 0) == 0 ? (long long)pages.cached : -1;
}

/// readahead(2).
static inline int linux_readahead(int fd, off_t offset, unsigned long length) {
  return (int)syscall(SYS_readahead, fd, offset, length);
}
/// open_tree(2) with OPEN_TREE_CLONE (Linux 5.2): a detached copy of the mount at `path`, which ends
/// when the descriptor is closed. -1 without CAP_SYS_ADMIN.
static inline int linux_clone_mount(const char *path) {
  const int open_tree = 428, at_fdcwd = -100, clone = 1, cloexec = 02000000;
  return (int)syscall(open_tree, at_fdcwd, path, clone | cloexec);
}

/// statx(2) of a path's size in bytes, links not followed; -1 on failure. `is_fresh` asks a file system
/// behind a connection for it (AT_STATX_FORCE_SYNC), otherwise it is what the kernel knows.
static inline long long linux_size_of_path(const char *path, int is_fresh) {
  const int at_fdcwd = -100, no_follow = 0x100, force_sync = 0x2000, dont_sync = 0x4000;
  struct statx status;
  long result = syscall(SYS_statx, at_fdcwd, path, no_follow | (is_fresh ? force_sync : dont_sync),
                        STATX_SIZE, &status);
  return result == 0 ? (long long)status.stx_size : -1;
}

// close_range(2) with CLOSE_RANGE_UNSHARE (Linux 5.9): the calling thread leaves its process's table
// of descriptors for one of its own in which only those below `first` are open.
static inline int linux_leave_descriptors(unsigned int first) {
  const unsigned int close_range_unshare = 2;
  return (int)syscall(SYS_close_range, first, ~0U, close_range_unshare);
}

// gettid(2).
static inline int linux_gettid(void) { return (int)syscall(SYS_gettid); }

// Whether a thread is one of this process (tgkill(2) with no signal).
static inline int linux_is_own_thread(int thread) {
  return thread > 0 && syscall(SYS_tgkill, getpid(), thread, 0) == 0;
}

/// fork(2), for a process without other threads. The child goes on with `body` on a new thread, and its
/// first one runs nothing any more: the Swift runtime's locks note a thread's number when it first takes
/// one, and so know this thread by the parent's. Where it met another thread at such a lock, the kernel
/// would find no owner of that number, and both would ask for ever.
static inline pid_t linux_fork_onto_thread(void *(*body)(void *), void *argument) {
  pid_t child = fork();
  if (child != 0) return child;
  pthread_t thread;
  if (pthread_create(&thread, NULL, body, argument) != 0) _exit(71);  // EX_OSERR
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, NULL);
  for (;;) pause();
}

/// prctl(2), PR_SET_DUMPABLE.
static inline int linux_set_dumpable(int dumpable) {
  const int pr_set_dumpable = 4;
  return (int)syscall(SYS_prctl, pr_set_dumpable, dumpable, 0, 0, 0);
}
