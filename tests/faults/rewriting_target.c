/* Calls whose arguments another thread rewrites all the time. Prints what came of them.
 *
 * Arguments: path COUNT GOOD EVIL [ROOT] | how COUNT GOOD | address COUNT GOODPORT EVILPORT |
 *            unix COUNT GOOD EVIL, two sockets or names of them
 * Output: how many succeeded, were refused, failed otherwise, and had a forbidden result.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

struct how { uint64_t flags, mode, resolve; };

static volatile int done;
static char shared[4096], good[4096], evil[4096];
static size_t size;

static void *rewrite(void *unused)
{
	(void)unused;
	while (!done) {
		/* Byte by byte, so that there are mixtures too. */
		for (int turn = 0; turn < 2; turn++) {
			const char *from = turn ? good : evil;
			for (size_t at = 0; at < size; at++)
				((volatile char *)shared)[at] = from[at];
			for (volatile int pause = 0; pause < 200; pause++)
				;
		}
	}
	return NULL;
}

/* 0: what is allowed; 1: what is forbidden; below: an errno. */
static int by_path(void)
{
	char text[5] = "";
	int fd = syscall(SYS_openat, AT_FDCWD, shared, O_RDONLY, 0);
	if (fd < 0)
		return -errno;
	int wrong = read(fd, text, 4) != 4 || strcmp(text, "good");
	close(fd);
	return wrong;
}

static int by_how(void)
{
	int fd = syscall(SYS_openat2, AT_FDCWD, good + 2048, shared, sizeof(struct how));
	if (fd < 0)
		return -errno;
	int wrong = (fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDONLY;
	close(fd);
	return wrong;
}

static int by_address(void)
{
	struct sockaddr_in found;
	socklen_t length = sizeof found;
	int fd = socket(AF_INET, SOCK_DGRAM, 0), result = 0;
	if (syscall(SYS_connect, fd, shared, sizeof found) < 0)
		result = -errno;
	else if (getpeername(fd, (struct sockaddr *)&found, &length))
		result = 1;
	else
		result = memcmp(&found, good, 8) != 0;
	close(fd);
	return result;
}

static int by_unix(void)
{
	struct sockaddr_un found = { 0 };
	socklen_t length = sizeof found;
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0), result = 0;
	if (syscall(SYS_connect, fd, shared, sizeof found) < 0)
		result = -errno;
	else if (getpeername(fd, (struct sockaddr *)&found, &length))
		result = 1;
	else
		result = strcmp(found.sun_path, good + 2) != 0;
	close(fd);
	return result;
}

int main(int argc, char **argv)
{
	int (*call)(void) = by_path;
	long count = atol(argv[2]), ok = 0, refused = 0, failed = 0, wrong = 0;

	if (!strcmp(argv[1], "path")) {
		size = strlen(argv[3]) + 1;
		strcpy(good, argv[3]);
		strcpy(evil, argv[4]);
	} else if (!strcmp(argv[1], "how")) {
		struct how *allowed = (void *)good, *forbidden = (void *)evil;
		call = by_how;
		size = sizeof *allowed;
		strcpy(good + 2048, argv[3]);
		allowed->flags = O_RDONLY | O_CLOEXEC;
		forbidden->flags = O_RDWR | O_TRUNC | O_CLOEXEC;
	} else if (!strcmp(argv[1], "unix")) {
		struct sockaddr_un *allowed = (void *)good, *forbidden = (void *)evil;
		call = by_unix;
		size = sizeof *allowed;
		allowed->sun_family = forbidden->sun_family = AF_UNIX;
		strncpy(allowed->sun_path, argv[3], sizeof allowed->sun_path - 1);
		strncpy(forbidden->sun_path, argv[4], sizeof forbidden->sun_path - 1);
	} else {
		struct sockaddr_in *allowed = (void *)good, *forbidden = (void *)evil;
		call = by_address;
		size = sizeof *allowed;
		allowed->sin_family = forbidden->sin_family = AF_INET;
		allowed->sin_port = htons(atoi(argv[3]));
		forbidden->sin_port = htons(atoi(argv[4]));
		inet_pton(AF_INET, "127.0.0.1", &allowed->sin_addr);
		inet_pton(AF_INET, "127.99.98.97", &forbidden->sin_addr);
	}
	memcpy(shared, good, sizeof shared);

	if (argc > 5 && (chroot(argv[5]) || chdir("/")))
		return 3;
	pthread_t thread;
	if (argc < 4 || pthread_create(&thread, NULL, rewrite, NULL))
		return 2;
	for (long turn = 0; turn < count; turn++) {
		int result = call();
		ok += result == 0;
		wrong += result == 1;
		refused += result == -EACCES;
		failed += result < 0 && result != -EACCES;
	}
	done = 1;
	pthread_join(thread, NULL);
	printf("%ld %ld %ld %ld\n", ok, refused, failed, wrong);
	return 0;
}
