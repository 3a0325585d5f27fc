// The baseline of scripts/bench: one file, read by pread and fuse_reply_buf, nothing else.
//
// passthrough BACKING MOUNTPOINT     serves BACKING as MOUNTPOINT/file, read only, in the foreground
#define FUSE_USE_VERSION 312
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <fuse3/fuse_lowlevel.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int backing = -1;
static const fuse_ino_t file_inode = 2;
static const double timeout = 86400;

static int attributes(fuse_ino_t inode, struct stat *status) {
  if (inode == file_inode) {
    if (fstat(backing, status) != 0) return errno;
  } else if (inode == FUSE_ROOT_ID) {
    memset(status, 0, sizeof *status);
    status->st_mode = S_IFDIR | 0755;
    status->st_nlink = 2;
  } else {
    return ENOENT;
  }
  status->st_ino = inode;
  return 0;
}

static void lookup(fuse_req_t request, fuse_ino_t parent, const char *name) {
  struct fuse_entry_param entry = {
      .ino = file_inode, .attr_timeout = timeout, .entry_timeout = timeout};
  if (parent != FUSE_ROOT_ID || strcmp(name, "file") != 0) {
    fuse_reply_err(request, ENOENT);
  } else if (attributes(file_inode, &entry.attr) != 0) {
    fuse_reply_err(request, EIO);
  } else {
    fuse_reply_entry(request, &entry);
  }
}

static void getattr(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *info) {
  struct stat status;
  int code = attributes(inode, &status);
  (void)info;
  if (code != 0) {
    fuse_reply_err(request, code);
  } else {
    fuse_reply_attr(request, &status, timeout);
  }
}

static void open_file(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *info) {
  if (inode != file_inode) {
    fuse_reply_err(request, EISDIR);
  } else if ((info->flags & O_ACCMODE) != O_RDONLY) {
    fuse_reply_err(request, EROFS);
  } else {
    info->keep_cache = 1;
    fuse_reply_open(request, info);
  }
}

static void read_file(fuse_req_t request, fuse_ino_t inode, size_t size, off_t offset,
                      struct fuse_file_info *info) {
  static __thread char *buffer;
  static __thread size_t capacity;
  (void)inode;
  (void)info;
  if (capacity < size) {
    free(buffer);
    capacity = 0;
    if (posix_memalign((void **)&buffer, 4096, size) != 0) {
      buffer = NULL;
      fuse_reply_err(request, ENOMEM);
      return;
    }
    capacity = size;
  }
  ssize_t count = pread(backing, buffer, size, offset);
  if (count < 0) {
    fuse_reply_err(request, errno);
  } else {
    fuse_reply_buf(request, buffer, (size_t)count);
  }
}

static const struct fuse_lowlevel_ops operations = {
    .lookup = lookup, .getattr = getattr, .open = open_file, .read = read_file};

int main(int count, char **words) {
  if (count < 3) {
    fprintf(stderr, "passthrough BACKING MOUNTPOINT\n");
    return 2;
  }
  backing = open(words[1], O_RDONLY);
  if (backing < 0) {
    perror(words[1]);
    return 1;
  }
  char *arguments[] = {words[0], "-o", "ro,fsname=passthrough"};
  struct fuse_args args = FUSE_ARGS_INIT(3, arguments);
  struct fuse_session *session = fuse_session_new(&args, &operations, sizeof operations, NULL);
  if (!session || fuse_set_signal_handlers(session) != 0) return 1;
  if (fuse_session_mount(session, words[2]) != 0) return 1;
  struct fuse_loop_config *config = fuse_loop_cfg_create();
  fuse_loop_cfg_set_clone_fd(config, 0);
  fuse_loop_cfg_set_max_threads(config, 4);
  int result = fuse_session_loop_mt(session, config);
  fuse_loop_cfg_destroy(config);
  fuse_session_unmount(session);
  fuse_remove_signal_handlers(session);
  fuse_session_destroy(session);
  return result != 0;
}
