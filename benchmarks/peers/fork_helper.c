/* What managers of containers start for each call: it becomes like the caller, and makes the call.
 *
 * fork_helper PID mknod PATH MODE DEVICE
 * fork_helper PID bind SOURCE TARGET
 * Ends with the errno of the call, 0 for success.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

static int opened(const char *pid, const char *name)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/%s/%s", pid, name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0) {
		perror(path);
		exit(255);
	}
	return fd;
}

int main(int argc, char **argv)
{
	if (argc < 5) {
		fputs("usage: fork_helper PID mknod|bind ...\n", stderr);
		return 255;
	}
	int mounts = opened(argv[1], "ns/mnt"), root = opened(argv[1], "root");
	int directory = opened(argv[1], "cwd");

	if (setns(mounts, CLONE_NEWNS) || fchdir(root) || chroot(".") || fchdir(directory)) {
		perror("becoming like the caller");
		return 255;
	}
	if (!strcmp(argv[2], "bind"))
		return mount(argv[3], argv[4], NULL, MS_BIND, NULL) ? errno : 0;
	if (argc != 6)
		return 255;
	return mknod(argv[3], strtoul(argv[4], NULL, 0), strtoul(argv[5], NULL, 0)) ? errno : 0;
}
