/* What a program in a container asks for, timed from inside.
 *
 * devices mknod COUNT: makes /tmp/node, COUNT times.
 * devices bind COUNT: binds /tmp to /mnt, COUNT times.
 * Prints the microseconds of one call; what undoes it is not counted.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return at.tv_sec * 1e6 + at.tv_nsec / 1e3;
}

int main(int argc, char **argv)
{
	if (argc != 3 || (strcmp(argv[1], "mknod") && strcmp(argv[1], "bind"))) {
		fputs("usage: devices mknod|bind COUNT\n", stderr);
		return 2;
	}
	int node = !strcmp(argv[1], "mknod");
	long count = atol(argv[2]);
	double taken = 0;

	for (long left = count; left > 0; left--) {
		double begun = now();
		int failed = node ? mknod("/tmp/node", S_IFCHR | 0600, makedev(1, 3))
				  : mount("/tmp", "/mnt", NULL, MS_BIND, NULL);

		taken += now() - begun;
		if (failed) {
			perror(argv[1]);
			return 1;
		}
		if (node ? unlink("/tmp/node") : umount2("/mnt", MNT_DETACH)) {
			perror("undo");
			return 1;
		}
	}
	printf("%.3f\n", taken / count);
	return 0;
}
