/* The shortest way from a notification to an answer, without Python.
 *
 * A server waits for listeners and answers what its rules decide: a call gives a value, fails, goes
 * on, is a plain open and performed, or makes a device node that is listed. Everything else, and
 * whatever is not quite plain, is left as it was received to the caller of serve(), who has the
 * whole supervisor. So each look here may say "not mine", and none has to be complete. Numbers in
 * parentheses are facts of docs/kernel-facts.md.
 *
 * Memory of the target is read once, and may stall us (M4), as may its file systems. So each
 * notification can be taken away by another thread (take) as long as no answer is under way.
 */
#define _GNU_SOURCE
#define Py_LIMITED_API 0x030b0000
#include "_server.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

static long long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

/* -- answering */

static int claim(struct server *s)
{
	int expected = UNANSWERED;

	return atomic_compare_exchange_strong(&s->state, &expected, ANSWERING);
}

/* Nobody else acts for it from now on. */
int begin(struct server *s)
{
	int expected = UNANSWERED;

	return atomic_compare_exchange_strong(&s->state, &expected, ACTING);
}

/* Nothing came of it: it is anybody's again. */
void give_up(struct server *s)
{
	int expected = ACTING;

	atomic_compare_exchange_strong(&s->state, &expected, UNANSWERED);
}

/* Whether nobody has been told that it is acted for; nor is anybody from now on. */
static int is_unknown(struct server *s)
{
	int expected = ACTING;

	return atomic_compare_exchange_strong(&s->state, &expected, ANSWERING) ||
	       expected != SHARED;
}

static void let_go(struct server *s)
{
	if (s->start >= 0)
		close(s->start);
	if (s->fd >= 0)
		close(s->fd);
	s->start = s->fd = -1;
}

/* What is open is closed before the target goes on, which may count on being the only one who
 * has it: for leases and locks, to unmount, to run it. */
enum outcome answer(struct server *s, int64_t value, int32_t error, uint32_t flags)
{
	struct seccomp_notif_resp response = { s->notification.id, value, error, flags };

	let_go(s);
	while (ioctl(s->from.fd, SECCOMP_IOCTL_NOTIF_SEND, &response))
		if (errno != EINTR)
			return GONE_AWAY;
	return flags ? CONTINUED : error ? FAILED : ANSWERED;
}

enum outcome fail(struct server *s, int number)
{
	return claim(s) ? answer(s, 0, -number, 0) : ASK;
}

static enum outcome give_value(struct server *s, int64_t value)
{
	return claim(s) ? answer(s, value, 0, 0) : ASK;
}

/* After the path was read the kernel reads it again (C2); somebody has accepted that. */
static enum outcome go_on(struct server *s)
{
	enum outcome outcome = ASK;

	if (claim(s))
		outcome = answer(s, 0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE);
	if (outcome == CONTINUED && s->read != NONE)
		s->racy++;
	return outcome;
}

/* In two steps, as LinuxListener.send_fd and for its reason (A14). */
enum outcome give(struct server *s, int flags)
{
	struct seccomp_notif_addfd request = { .id = s->notification.id,
					       .srcfd = s->fd,
					       .newfd_flags = flags & O_CLOEXEC };
	int number;

	if (!claim(s))
		return ASK;
	do
		number = ioctl(s->from.fd, SECCOMP_IOCTL_NOTIF_ADDFD, &request);
	while (number < 0 && errno == EINTR);
	if (number < 0 && (errno == ENOENT || errno == ESRCH || errno == EINPROGRESS))
		return GONE_AWAY;
	/* EMFILE is the target's own (A7): what was decided is a descriptor. */
	if (answer(s, number < 0 ? 0 : number, number < 0 ? -errno : 0, 0) == GONE_AWAY)
		return GONE_AWAY;
	return INSTALLED;
}

static enum outcome settle(struct server *s)
{
	const struct seccomp_data *data = &s->notification.data;

	if (data->arch != s->audit)
		return ASK;
	s->read = NONE;
	for (size_t i = 0; i < s->rule_count; i++) {
		const struct rule *rule = &s->rules[i];
		int match = rule->nr == data->nr ? matches(s, rule) : 0;

		if (match < 0)
			return ASK;
		if (match) {
			if (rule->verdict < 0)
				return fail(s, -rule->verdict);
			if (rule->verdict == VERDICT_CONTINUE)
				return go_on(s);
			if (rule->verdict == VERDICT_MAKE)
				return make_node(s, rule);
			if (rule->verdict == VERDICT_RETURN)
				return give_value(s, rule->value);
			return rule->verdict == VERDICT_PERFORM ? perform(s, rule) : ASK;
		}
	}
	return ASK;
}

/* -- the loop */

/* Whether what comes at that descriptor is received here. */
static int is_ours(struct server *s, int fd)
{
	int found;

	pthread_mutex_lock(&s->lock);
	found = fd >= 0 && fd < s->source_count && s->sources[fd].fd == fd && !s->sources[fd].held;
	if (found)
		s->from = s->sources[fd];
	pthread_mutex_unlock(&s->lock);
	return found;
}

/* One target of this source is where we are, so all are. */
void is_here(struct server *s)
{
	struct source *from;

	pthread_mutex_lock(&s->lock);
	from = &s->sources[s->from.fd];
	if (from->number == s->from.number)
		from->here = 1;
	pthread_mutex_unlock(&s->lock);
}

/* Into the journal, if there is one: what was received is there until it was answered
 * (unotify.protocol.journaling). */
static int receive(struct server *s)
{
	struct seccomp_notif *into = s->from.slot ? s->from.slot : &s->notification;

	memset(into, 0, sizeof *into); /* N5 */
	if (ioctl(s->from.fd, SECCOMP_IOCTL_NOTIF_RECV, into))
		return -1;
	s->notification = *into;
	return 0;
}

int loop(struct server *s)
{
	for (;;) {
		struct epoll_event event;
		enum outcome outcome;
		uint64_t one = 1;
		ssize_t rung = 0;
		int state, unknown;

		if (s->tallied >= TALLIES - TALLIES / 4)
			return FULL;
		if (epoll_wait(s->epoll, &event, 1, -1) != 1 || event.events != EPOLLIN)
			return LOOK;
		/* What we know of listeners and rules is old. */
		if (atomic_load(&s->retired) || !is_ours(s, event.data.fd))
			return LOOK;
		if (receive(s)) {
			if (errno == ENOENT || errno == EINTR) /* N8 */
				continue;
			return LOOK;
		}
		atomic_store(&s->since, now());
		atomic_store(&s->state, UNANSWERED);
		if (atomic_exchange(&s->dozing, 0))
			rung = write(s->ring, &one, sizeof one);
		(void)rung; /* if its counter is full it rings already */
		/* What was asked after retire() is decided by new rules only. */
		outcome = atomic_load(&s->retired) ? ASK : settle(s);
		let_go(s);
		unknown = outcome == ASK || is_unknown(s);
		/* Whoever knows of it finds out, too, that nobody waits; and has the slot. */
		if (outcome != ASK && (unknown || outcome != GONE_AWAY)) {
			if (s->from.slot && unknown)
				memset(s->from.slot, 0, sizeof *s->from.slot);
			count(s, outcome, now() - atomic_load(&s->since));
		}
		atomic_store(&s->since, 0);
		state = atomic_exchange(&s->state, IDLE);
		if (state == TAKEN_AWAY)
			return TAKEN;
		if (state == HANDED_ON)
			return LOST;
		if (state == SHARED)
			return outcome == ASK || outcome == GONE_AWAY ? TAKEN : LOST;
		if (outcome == ASK)
			return YOURS;
	}
}
