/* The baseline of the benchmarks: the least that a FUSE filesystem in C can do.
 *
 *   passthrough FILE MOUNTPOINT
 *
 * shows one file, `file`, with FILE's size and content: READ is pread into a buffer of the thread and
 * fuse_reply_buf, WRITE is pwrite. The session has the settings that regionfs uses, so that the ratio
 * of the two shows what regionfs adds. It runs in the foreground and ends when it is unmounted.
 *
 *   gcc -O2 -o passthrough passthrough.c $(pkg-config --cflags --libs fuse3) -pthread
 */
#define FUSE_USE_VERSION 312
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	MAX_READ = 128 << 10,
	MAX_WRITE = 1 << 20,
	READ_AHEAD_KIB = 256,
	THREADS = 3,
	DATA_NODE = 2,
};
static const double forever = 86400;
static const char data_name[] = "file";
static int backing;
static _Thread_local char *buffer;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void init(void *user, struct fuse_conn_info *connection)
{
	(void)user;
	connection->want &= ~(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE |
			      FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_ASYNC_DIO);
	connection->want |= connection->capable & FUSE_CAP_EXPLICIT_INVAL_DATA;
	connection->max_read = MAX_READ;
	connection->max_write = MAX_WRITE;
	connection->max_background = 65535;
	connection->congestion_threshold = 65535;
}

static int attributes(fuse_ino_t node, struct stat *status)
{
	if (fstat(backing, status) != 0)
		return errno;
	status->st_ino = node;
	if (node == FUSE_ROOT_ID) {
		status->st_mode = S_IFDIR | 0755;
		status->st_size = 0;
	} else {
		status->st_mode = S_IFREG | 0644;
	}
	return 0;
}

static void lookup(fuse_req_t request, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param entry = {
		.ino = DATA_NODE, .attr_timeout = forever, .entry_timeout = forever};
	int error = parent == FUSE_ROOT_ID && strcmp(name, data_name) == 0
			    ? attributes(DATA_NODE, &entry.attr)
			    : ENOENT;
	if (error)
		fuse_reply_err(request, error);
	else
		fuse_reply_entry(request, &entry);
}

static void getattr(fuse_req_t request, fuse_ino_t node, struct fuse_file_info *file)
{
	struct stat status;
	int error = attributes(node, &status);
	(void)file;
	if (error)
		fuse_reply_err(request, error);
	else
		fuse_reply_attr(request, &status, forever);
}

static void open_data(fuse_req_t request, fuse_ino_t node, struct fuse_file_info *file)
{
	(void)node;
	file->keep_cache = 1;
	fuse_reply_open(request, file);
}

static void read_data(fuse_req_t request, fuse_ino_t node, size_t size, off_t offset,
		      struct fuse_file_info *file)
{
	(void)node, (void)file;
	ssize_t count = size > MAX_READ ? -1 : pread(backing, buffer, size, offset);
	if (count < 0)
		fuse_reply_err(request, EIO);
	else
		fuse_reply_buf(request, buffer, count);
}

static void write_data(fuse_req_t request, fuse_ino_t node, const char *data, size_t size,
		       off_t offset, struct fuse_file_info *file)
{
	(void)node, (void)file;
	ssize_t count = pwrite(backing, data, size, offset);
	if (count < 0)
		fuse_reply_err(request, errno);
	else
		fuse_reply_write(request, count);
}

static void fsync_data(fuse_req_t request, fuse_ino_t node, int data_only,
		       struct fuse_file_info *file)
{
	(void)node, (void)file;
	int result = data_only ? fdatasync(backing) : fsync(backing);
	fuse_reply_err(request, result == 0 ? 0 : errno);
}

static const struct fuse_lowlevel_ops operations = {
	.init = init,
	.lookup = lookup,
	.getattr = getattr,
	.open = open_data,
	.read = read_data,
	.write = write_data,
	.fsync = fsync_data,
};

/* Handles one message; 0 at the end of the session. */
static int serve_one(struct fuse_session *session, struct fuse_buf *message)
{
	int count = fuse_session_receive_buf(session, message);
	if (count > 0)
		fuse_session_process_buf(session, message);
	return count > 0 || count == -EINTR;
}

static void *serve(void *session)
{
	struct fuse_buf message = {.mem = NULL};
	buffer = aligned_alloc(4096, MAX_READ);
	if (!buffer)
		die("aligned_alloc");
	while (serve_one(session, &message))
		;
	free(message.mem);
	free(buffer);
	return NULL;
}

/* Finds the mount in mountinfo, so that nobody has to ask it, and sets its read-ahead. */
static void set_read_ahead(const char *mountpoint)
{
	char line[8192], seen[4096], path[128];
	unsigned major = 0, minor = 0, found = 0;
	FILE *table = fopen("/proc/self/mountinfo", "re");
	if (!table)
		die("mountinfo");
	while (fgets(line, sizeof line, table)) {
		unsigned a, b;
		if (sscanf(line, "%*d %*d %u:%u %*s %4095s", &a, &b, seen) == 3 &&
		    strcmp(seen, mountpoint) == 0)
			major = a, minor = b, found = 1;
	}
	fclose(table);
	if (!found) {
		fprintf(stderr, "%s is not in mountinfo\n", mountpoint);
		exit(1);
	}
	snprintf(path, sizeof path, "/sys/class/bdi/%u:%u/read_ahead_kb", major, minor);
	FILE *setting = fopen(path, "we");
	if (!setting || fprintf(setting, "%d", READ_AHEAD_KIB) < 0 || fclose(setting) != 0)
		die(path);
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: passthrough FILE MOUNTPOINT\n");
		return 2;
	}
	backing = open(argv[1], O_RDWR | O_CLOEXEC);
	if (backing < 0)
		die(argv[1]);
	char *mountpoint = realpath(argv[2], NULL);
	if (!mountpoint)
		die(argv[2]);

	char max_read[32];
	snprintf(max_read, sizeof max_read, "max_read=%d", MAX_READ);
	struct fuse_args arguments = FUSE_ARGS_INIT(0, NULL);
	fuse_opt_add_arg(&arguments, argv[0]);
	fuse_opt_add_arg(&arguments, "-ofsname=passthrough,default_permissions");
	fuse_opt_add_arg(&arguments, "-o");
	fuse_opt_add_arg(&arguments, max_read);
	struct fuse_session *session =
		fuse_session_new(&arguments, &operations, sizeof operations, NULL);
	if (!session || fuse_session_mount(session, mountpoint) != 0)
		return 1;

	/* INIT sets the read-ahead back, so it comes first. */
	struct fuse_buf message = {.mem = NULL};
	if (!serve_one(session, &message))
		return 1;
	free(message.mem);
	set_read_ahead(mountpoint);

	pthread_t threads[THREADS];
	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, serve, session) != 0)
			die("pthread_create");
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	fuse_session_unmount(session);
	fuse_session_destroy(session);
	fuse_opt_free_args(&arguments);
	return 0;
}
