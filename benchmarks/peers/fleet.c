/* As many containers as are wanted, as far as an agent can tell: processes with a filter each, whose
 * listeners they hand over as runtimes do.
 *
 * fleet SOCKET CONTAINERS BUSY SECONDS: BUSY of the CONTAINERS ask for getppid without a pause.
 * Prints calls per second, and the median and the 99th percentile of one call in microseconds.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ANSWER 7
/* Microseconds up to a millisecond, then tenths of milliseconds, then hundredths of seconds. */
#define STEPS 1000
#define BUCKETS (3 * STEPS)

struct shared {
	atomic_ulong counts[BUCKETS];
	atomic_int stop;
};

static int fleet;

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static double now(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return at.tv_sec * 1e6 + at.tv_nsec / 1e3;
}

static int bucket(double us)
{
	if (us < 1e3)
		return us;
	if (us < 1e5)
		return STEPS + us / 100;
	return us < 1e7 ? 2 * STEPS + (int)(us / 1e4) : BUCKETS - 1;
}

static double middle(int at)
{
	if (at < STEPS)
		return at + 0.5;
	return at < 2 * STEPS ? (at - STEPS + 0.5) * 100 : (at - 2 * STEPS + 0.5) * 1e4;
}

static double percentile(struct shared *shared, unsigned long total, double part)
{
	unsigned long seen = 0;

	for (int at = 0; at < BUCKETS; at++)
		if ((seen += shared->counts[at]) >= total * part)
			return middle(at);
	return 0;
}

static int filtered(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof code / sizeof *code, code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		fail("PR_SET_NO_NEW_PRIVS");
	int listener = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER,
			       &program);
	if (listener < 0)
		fail("seccomp");
	return listener;
}

static void hand_over(const char *path, int number, int listener)
{
	char state[512];
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int to = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strncpy(address.sun_path, path, sizeof address.sun_path - 1);
	if (to < 0 || connect(to, (struct sockaddr *)&address, sizeof address))
		fail(path);
	int pid = getpid();
	int length = snprintf(state, sizeof state,
			      "{\"ociVersion\":\"1.0.2\",\"fds\":[\"seccompFd\"],\"pid\":%d,"
			      "\"metadata\":\"fleet\",\"state\":{\"ociVersion\":\"1.0.2\","
			      "\"id\":\"fleet-%d-%d\",\"status\":\"running\",\"pid\":%d,\"bundle\":\"/\"}}",
			      pid, fleet, number, pid);
	char control[CMSG_SPACE(sizeof listener)] = { 0 };
	struct iovec part = { state, length };
	struct msghdr message = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof control,
	};
	struct cmsghdr *rights = CMSG_FIRSTHDR(&message);

	rights->cmsg_level = SOL_SOCKET;
	rights->cmsg_type = SCM_RIGHTS;
	rights->cmsg_len = CMSG_LEN(sizeof listener);
	memcpy(CMSG_DATA(rights), &listener, sizeof listener);
	if (sendmsg(to, &message, 0) != length)
		fail("sendmsg");
	close(to);
	close(listener);
}

static void container(const char *path, int number, int busy, int ready, int go,
		      struct shared *shared)
{
	char byte;

	hand_over(path, number, filtered());
	/* The first call waits until the agent serves this container. */
	if (syscall(SYS_getppid) != ANSWER || write(ready, "", 1) != 1)
		fail("the agent does not answer");
	if (read(go, &byte, 1) < 0)
		fail("read");
	while (busy && !shared->stop) {
		double begun = now();

		if (syscall(SYS_getppid) != ANSWER)
			fail("the agent does not answer any more");
		shared->counts[bucket(now() - begun)]++;
	}
	_exit(0);
}

int main(int argc, char **argv)
{
	int ready[2], go[2], idle[2];
	char byte;

	if (argc != 5) {
		fputs("usage: fleet SOCKET CONTAINERS BUSY SECONDS\n", stderr);
		return 2;
	}
	int containers = atoi(argv[2]), busy = atoi(argv[3]);
	double seconds = atof(argv[4]);
	struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (shared == MAP_FAILED || pipe(ready) || pipe(go) || pipe(idle))
		fail("preparing");
	fleet = getpid();
	for (int number = 0; number < containers; number++) {
		pid_t child = fork();

		if (child < 0)
			fail("fork");
		if (!child) {
			close(go[1]);
			close(idle[1]);
			close(ready[0]);
			container(argv[1], number, number < busy, ready[1],
				  number < busy ? go[0] : idle[0], shared);
		}
		/* One after the other, as an engine starts them. */
		if (number == containers - 1)
			close(ready[1]);
		if (read(ready[0], &byte, 1) != 1)
			fail("a container did not start");
	}
	double begun = now();

	close(go[1]);
	usleep(seconds * 1e6);
	shared->stop = 1;
	double taken = now() - begun;
	unsigned long total = 0;

	for (int at = 0; at < BUCKETS; at++)
		total += shared->counts[at];
	close(idle[1]);
	int status, failed = 0;

	while (wait(&status) > 0)
		failed |= status;
	if (failed || !total)
		return 1;
	printf("%.1f %.1f %.1f\n", total / taken * 1e6, percentile(shared, total, 0.5),
	       percentile(shared, total, 0.99));
	return 0;
}
