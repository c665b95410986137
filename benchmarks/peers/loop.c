/* The least that a supervisor can do: receive, answer 42, again.
 *
 * loop LISTENER COUNT: serves the descriptor it has inherited, COUNT times.
 */
#include <errno.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP 1
#endif

int main(int argc, char **argv)
{
	struct seccomp_notif notification;
	struct seccomp_notif_resp response;

	if (argc != 3) {
		fputs("usage: loop LISTENER COUNT\n", stderr);
		return 2;
	}
	int listener = atoi(argv[1]);
	long left = atol(argv[2]);

	/* Before Linux 6.6 there is no such flag. */
	ioctl(listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP);

	while (left > 0) {
		memset(&notification, 0, sizeof notification);
		if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &notification)) {
			if (errno == EINTR)
				continue;
			perror("SECCOMP_IOCTL_NOTIF_RECV");
			return 1;
		}
		memset(&response, 0, sizeof response);
		response.id = notification.id;
		response.val = 42;
		if (ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response)) {
			perror("SECCOMP_IOCTL_NOTIF_SEND");
			return 1;
		}
		left--;
	}
	return 0;
}
