/* The shortest way from a notification to an answer, without Python.
 *
 * A server waits for listeners and answers what its rules decide: a call fails with an errno, goes
 * on, or is a plain open and performed. Everything else, and whatever is not quite plain, is left as it was
 * received to the caller of serve(), who has the whole supervisor. So each look here may say "not
 * mine", and none has to be complete. Numbers in parentheses are facts of docs/kernel-facts.md.
 *
 * What is performed: an open of a regular file, a directory, or a device that is memory
 * (/dev/null), that exists on a mount of a plain file system, without O_PATH and the like. O_CREAT
 * and O_TRUNC are of no effect on such a device, and only there they are taken. As whom: the
 * target's rights and root must be as good as our own. Two kinds of targets are:
 *
 * - We have CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, and so has the target, in our user
 *   namespace. Then neither ids nor groups matter to such an open. Its root is compared with ours.
 * - We have no capability at all, and the target is in our user namespace and was started by us.
 *   Such a task has none either, and cannot change ids, groups or root: that takes a capability,
 *   set-user-ID programs give it none under no_new_privs (S6), and from another user namespace
 *   there is no way back.
 *
 * Where the filter of a listener lets nobody leave the user namespace and root that he has, all
 * its targets share those of the first, and one look at one of them is enough.
 *
 * From one root the same path leads to the same thing, but for what /proc has for each task: its
 * magic links are not followed, and nothing on a mount of it is opened or said to be missing.
 *
 * Which thread: a descriptor of /proc/TID belongs to a task, and is kept; that its link to the
 * user namespace can be read says that the task lives, so the number is still its own. No
 * NOTIF_ID_VALID is needed (P8): nothing that is done here has an effect but for the answer, and
 * ADDFD and SEND refuse a notification that is over (N10, N11).
 *
 * Memory of the target is read once, and may stall us (M4), as may its file systems. So each
 * notification can be taken away by another thread (take) as long as no answer is under way.
 */
#define _GNU_SOURCE
#define Py_LIMITED_API 0x030b0000
#include "_native.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

/* As in unotify.kernel.native: another number whenever what is exchanged with Python changes. */
enum { FACE = 4 };

enum { SOURCES = 8, KEPT = 64, MOUNTS = 16 };

/* What serve() returns. */
enum { LOOK, YOURS, TAKEN, LOST };
/* What is under way: nothing; a call without an answer; one that is being answered; and the
 * same two when another thread has taken the call, or the lead, meanwhile. */
enum { IDLE, UNANSWERED, ANSWERING, TAKEN_AWAY, HANDED_ON };
/* What came of one call. */
enum outcome { ASK, ANSWERED, GONE_AWAY };

/* As unotify.kernel.native packs them. */
enum { VERDICT_ASK = 0, VERDICT_PERFORM = 1, VERDICT_CONTINUE = 2 }; /* negative: an errno */
enum { TEST_IS, TEST_UNDER };
enum { NONE = 255 }; /* instead of the number of an argument */

struct rule {
	int32_t nr, verdict;
	uint32_t program, instructions; /* its test of registers; none: always */
	uint32_t test, tests;
	uint8_t dirfd, path, flags, unused; /* which arguments these are */
};

struct test {
	uint32_t kind, negated, text, count; /* one of so many texts, each with its NUL */
};

struct source {
	int32_t fd;
	uint8_t ours; /* its targets were started by us, and are as we are */
	uint8_t stays, here; /* none of them can leave where they are; and that is where we are */
	uint8_t unused;
};

struct kept {
	pid_t tid;
	int directory, user;
};

struct mount {
	uint64_t id;
	int plain;
};

struct server {
	PyObject_HEAD
	PyObject *tables;
	const struct rule *rules;
	const struct test *tests;
	const struct sock_filter *programs;
	const char *texts;
	size_t rule_count;
	struct source sources[SOURCES];
	int source_count, epoll, ring, privileged, large, running;
	uint32_t audit;
	char user[64];
	ssize_t user_length;
	struct statx root;

	atomic_int state, dozing, retired;
	atomic_llong since;
	uint64_t gone, racy, buckets[64];
	int from; /* the listener that the notification came from */
	int start, fd; /* what is open for it: where its path begins, what it named; or -1 */
	struct seccomp_notif notification;

	struct kept kept[KEPT];
	struct mount mounts[MOUNTS];
	unsigned next_mount;
	int read; /* which argument path is a copy of, or NONE */
	char path[PAGE + 1];
};

static long long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static int openat2_(int start, const char *path, uint64_t flags, uint64_t resolve)
{
	struct open_how how = { .flags = flags | O_CLOEXEC,
				.resolve = resolve | RESOLVE_NO_MAGICLINKS };

	return (int)syscall(SYS_openat2, start, path, &how, sizeof how);
}

static int look(int start, const char *path, struct statx *found)
{
	int flags = AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT;

	if (statx(start, path, path[0] ? flags : flags | AT_EMPTY_PATH,
		  STATX_TYPE | STATX_INO | STATX_MNT_ID_UNIQUE, found))
		return -1;
	if (!(found->stx_mask & STATX_MNT_ID_UNIQUE)) { /* before Linux 6.8 */
		errno = ENOSYS;
		return -1;
	}
	return 0;
}

static int same(const struct statx *one, const struct statx *other)
{
	/* The number of a file that is gone may be that of another kind of file by now. */
	return !((one->stx_mode ^ other->stx_mode) & S_IFMT) &&
	       one->stx_mnt_id == other->stx_mnt_id && one->stx_ino == other->stx_ino &&
	       one->stx_dev_major == other->stx_dev_major &&
	       one->stx_dev_minor == other->stx_dev_minor &&
	       one->stx_rdev_major == other->stx_rdev_major &&
	       one->stx_rdev_minor == other->stx_rdev_minor;
}

/* A device that does nothing when it is opened: null, zero, full, random and urandom. */
static int is_memory(const struct statx *found)
{
	return S_ISCHR(found->stx_mode) && found->stx_rdev_major == 1 &&
	       found->stx_rdev_minor < 10 && (1 << found->stx_rdev_minor & 0x3a8);
}

/* -- mounts: their ids are never used again, and what is mounted there stays the same */

static int plain_type(long type)
{
	switch (type & 0xffffffffL) {
	case 0x0000ef53: /* ext2 to ext4 */
	case 0x58465342: /* xfs */
	case 0x9123683e: /* btrfs */
	case 0x01021994: /* tmpfs */
	case 0x858458f6: /* ramfs */
	case 0x794c7630: /* overlay */
	case 0x73717368: /* squashfs */
	case 0xe0f5e1e2: /* erofs */
	case 0xf2f52010: /* f2fs */
		return 1;
	}
	return 0; /* above all not proc, whose files tell who opened them, and not fuse */
}

static int is_plain(struct server *s, uint64_t mount, int start, const char *path)
{
	struct statx found;
	struct statfs kind;
	int pin, plain = 0;

	for (int i = 0; i < MOUNTS; i++)
		if (s->mounts[i].id == mount)
			return s->mounts[i].plain;
	pin = openat2_(start, path, O_PATH, 0);
	if (pin < 0)
		return 0;
	if (!look(pin, "", &found) && found.stx_mnt_id == mount && !fstatfs(pin, &kind)) {
		plain = plain_type(kind.f_type);
		s->mounts[s->next_mount++ % MOUNTS] = (struct mount){ mount, plain };
	}
	close(pin);
	return plain;
}

/* -- who it is */

static void drop(struct kept *kept)
{
	if (kept->tid) {
		close(kept->directory);
		close(kept->user);
	}
	kept->tid = 0;
}

/* 1: it is in our user namespace; 0: in another; -1: it has ended. */
static int in_ours(struct server *s, struct kept *kept)
{
	char link[sizeof s->user];
	ssize_t length = readlinkat(kept->user, "", link, sizeof link);

	if (length < 0)
		return -1;
	return length == s->user_length && !memcmp(link, s->user, length);
}

static struct kept *entry(struct server *s, pid_t tid)
{
	struct kept *kept = &s->kept[tid % KEPT];
	char name[32];
	int ours;

	if (kept->tid == tid && (ours = in_ours(s, kept)) >= 0)
		return ours ? kept : NULL;
	drop(kept);
	snprintf(name, sizeof name, "/proc/%d", tid);
	kept->directory = open(name, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (kept->directory < 0)
		return NULL;
	kept->user = openat(kept->directory, "ns/user", O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (kept->user < 0) {
		close(kept->directory);
		return NULL;
	}
	kept->tid = tid;
	return in_ours(s, kept) == 1 ? kept : NULL;
}

#define FILES ((1U << CAP_DAC_OVERRIDE) | (1U << CAP_DAC_READ_SEARCH))

static int as_we_are(struct server *s, struct source *from, pid_t tid)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, tid };
	struct __user_cap_data_struct data[2];
	struct statx root;
	struct kept *who;

	if (s->privileged &&
	    (syscall(SYS_capget, &header, data) || (data[0].effective & FILES) != FILES))
		return 0;
	if (from->here)
		return 1;
	who = entry(s, tid);
	if (!who)
		return 0;
	if (s->privileged ? look(who->directory, "root", &root) || !same(&root, &s->root) :
			    !from->ours)
		return 0;
	from->here = from->stays;
	return 1;
}

/* -- what the rules say */

/* What a filter returns; -1 for an instruction that our compiler does not use. */
static long long run(const struct sock_filter *program, uint32_t count,
		     const struct seccomp_data *data)
{
	uint32_t a = 0;

	for (uint32_t pc = 0; pc < count; pc++) {
		const struct sock_filter *i = &program[pc];

		switch (i->code) {
		case BPF_LD | BPF_W | BPF_ABS:
			if (i->k > sizeof *data - 4)
				return -1;
			memcpy(&a, (const char *)data + i->k, 4);
			break;
		case BPF_ALU | BPF_AND | BPF_K:
			a &= i->k;
			break;
		case BPF_JMP | BPF_JA:
			pc += i->k;
			break;
		case BPF_JMP | BPF_JEQ | BPF_K:
			pc += a == i->k ? i->jt : i->jf;
			break;
		case BPF_JMP | BPF_JGT | BPF_K:
			pc += a > i->k ? i->jt : i->jf;
			break;
		case BPF_JMP | BPF_JGE | BPF_K:
			pc += a >= i->k ? i->jt : i->jf;
			break;
		case BPF_JMP | BPF_JSET | BPF_K:
			pc += a & i->k ? i->jt : i->jf;
			break;
		case BPF_RET | BPF_K:
			return i->k;
		default:
			return -1;
		}
	}
	return -1;
}

/* Copy the path, unless that was done. A rule about the other path of a call is not ours: to
 * come back to the first one after that would be to read it twice. */
static int read_path(struct server *s, const struct rule *rule)
{
	uint64_t address = s->notification.data.args[rule->path];

	if (s->read != NONE)
		return s->read == rule->path;
	if (copy_string(s->notification.pid, address, s->path, PAGE) < 0)
		return 0;
	s->read = rule->path;
	return 1;
}

/* As unotify.policy.where.looks.is_below: the names of the one begin with those of the other. */
static int below(const char *path, const char *directory)
{
	if (path[0] != '/')
		return 0;
	for (const char *name = path; *name; name += strcspn(name, "/")) {
		name += strspn(name, "/");
		if (name[0] == '.' && name[1] == '.' && (!name[2] || name[2] == '/'))
			return 0;
	}
	for (;;) {
		size_t length;

		directory += strspn(directory, "/");
		if (!*directory)
			return 1;
		path += strspn(path, "/");
		if (path[0] == '.' && (path[1] == '/' || !path[1])) {
			path++;
			continue;
		}
		length = strcspn(directory, "/");
		if (strcspn(path, "/") != length || memcmp(path, directory, length))
			return 0;
		path += length;
		directory += length;
	}
}

/* 1: the rule matches; 0: it does not; -1: that takes more than we can. */
static int matches(struct server *s, const struct rule *rule)
{
	if (rule->instructions) {
		long long verdict = run(s->programs + rule->program, rule->instructions,
					&s->notification.data);

		if (verdict != SECCOMP_RET_ALLOW)
			return verdict == (long long)SECCOMP_RET_KILL_PROCESS ? 0 : -1;
	}
	for (uint32_t i = 0; i < rule->tests; i++) {
		const struct test *test = &s->tests[rule->test + i];
		const char *text = s->texts + test->text;
		uint32_t found = 0;

		if (!read_path(s, rule))
			return -1;
		for (uint32_t n = 0; n < test->count && !found; n++, text += strlen(text) + 1)
			found = test->kind == TEST_UNDER ? below(s->path, text) :
							   !strcmp(s->path, text);
		if (found == test->negated)
			return 0;
	}
	return 1;
}

/* -- answering */

static int claimed(struct server *s)
{
	int expected = UNANSWERED;

	return atomic_compare_exchange_strong(&s->state, &expected, ANSWERING);
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
static enum outcome answer(struct server *s, int64_t value, int32_t error, uint32_t flags)
{
	struct seccomp_notif_resp response = { s->notification.id, value, error, flags };

	let_go(s);
	while (ioctl(s->from, SECCOMP_IOCTL_NOTIF_SEND, &response))
		if (errno != EINTR)
			return GONE_AWAY;
	return ANSWERED;
}

static enum outcome fail(struct server *s, int number)
{
	return claimed(s) ? answer(s, 0, -number, 0) : ASK;
}

/* After the path was read the kernel reads it again (C2); somebody has accepted that. */
static enum outcome go_on(struct server *s)
{
	enum outcome outcome = ASK;

	if (claimed(s))
		outcome = answer(s, 0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE);
	if (outcome == ANSWERED && s->read != NONE)
		s->racy++;
	return outcome;
}

/* In two steps, as LinuxListener.send_fd and for its reason (A14). */
static enum outcome give(struct server *s, int flags)
{
	struct seccomp_notif_addfd request = { .id = s->notification.id,
					       .srcfd = s->fd,
					       .newfd_flags = flags & O_CLOEXEC };
	int number;

	if (!claimed(s))
		return ASK;
	do
		number = ioctl(s->from, SECCOMP_IOCTL_NOTIF_ADDFD, &request);
	while (number < 0 && errno == EINTR);
	if (number >= 0)
		return answer(s, number, 0, 0);
	if (errno == ENOENT || errno == ESRCH || errno == EINPROGRESS)
		return GONE_AWAY;
	return answer(s, 0, -errno, 0); /* EMFILE (A7) */
}

/* Whether nothing is called that: on a plain mount, and not where another one begins. */
static enum outcome missing(struct server *s, int start, int flags)
{
	struct statx found = s->root;
	int pin;

	if ((start != AT_FDCWD && look(start, "", &found)) ||
	    !is_plain(s, found.stx_mnt_id, start, start == AT_FDCWD ? "/" : "."))
		return ASK;
	pin = openat2_(start, s->path, O_PATH | (flags & O_NOFOLLOW), RESOLVE_NO_XDEV);
	if (pin >= 0)
		close(pin);
	return pin < 0 && errno == ENOENT ? fail(s, ENOENT) : ASK;
}

#define CHANGES (O_CREAT | O_TRUNC)
#define TAKES \
	(O_ACCMODE | O_CLOEXEC | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_APPEND | O_NOCTTY | CHANGES)

static enum outcome open_at(struct server *s, int start, int flags)
{
	struct statx before, after;

	if (look(start, s->path, &before))
		return errno == ENOENT && !(flags & CHANGES) ? missing(s, start, flags) : ASK;
	if (is_memory(&before)) {
		/* To truncate takes the right to write. Nor is a directory asked for and made. */
		if (flags & CHANGES && (!(flags & O_ACCMODE) || flags & O_DIRECTORY))
			return ASK;
		flags &= ~CHANGES;
	} else if (flags & CHANGES || (!S_ISREG(before.stx_mode) && !S_ISDIR(before.stx_mode))) {
		return ASK; /* others have effects, or may wait */
	}
	if (!is_plain(s, before.stx_mnt_id, start, s->path))
		return ASK;
	/* If something else is there by now, or somebody has a lease, nobody waits; and if it is a
	 * terminal, it does not become ours. */
	s->fd = openat2_(start, s->path, (flags & ~O_CLOEXEC) | O_NONBLOCK | O_NOCTTY | s->large, 0);
	if (s->fd < 0 || look(s->fd, "", &after) || !same(&before, &after) ||
	    (!(flags & O_NONBLOCK) && fcntl(s->fd, F_SETFL, flags & O_APPEND)))
		return ASK;
	return give(s, flags);
}

static enum outcome perform(struct server *s, struct source *from, const struct rule *rule)
{
	const __u64 *args = s->notification.data.args;
	pid_t tid = (pid_t)s->notification.pid;
	int flags = (int)args[rule->flags], at = AT_FDCWD;
	struct kept *who;
	char name[32] = "cwd";

	if (flags & ~(TAKES | s->large) || (flags & O_ACCMODE) == O_ACCMODE || tid <= 0)
		return ASK;
	if (!read_path(s, rule) || !s->path[0])
		return ASK;
	if (!as_we_are(s, from, tid))
		return ASK;
	if (s->path[0] != '/') {
		who = entry(s, tid);
		if (!who)
			return ASK;
		if (rule->dirfd != NONE)
			at = (int)args[rule->dirfd];
		if (at < 0 && at != AT_FDCWD)
			return ASK;
		if (at != AT_FDCWD)
			snprintf(name, sizeof name, "fd/%d", at);
		/* What is no directory is left to others: its errno depends on the path. */
		s->start = openat(who->directory, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (s->start < 0)
			return ASK;
	}
	return open_at(s, s->start < 0 ? AT_FDCWD : s->start, flags);
}

static enum outcome settle(struct server *s, struct source *from)
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
			return rule->verdict == VERDICT_PERFORM ? perform(s, from, rule) : ASK;
		}
	}
	return ASK;
}

/* -- the loop */

static struct source *source_of(struct server *s, int fd)
{
	for (int i = 0; i < s->source_count; i++)
		if (s->sources[i].fd == fd)
			return &s->sources[i];
	return NULL;
}

static int loop(struct server *s)
{
	for (;;) {
		struct epoll_event event;
		struct source *from;
		enum outcome outcome;
		uint64_t one = 1;
		ssize_t rung = 0;
		int state;

		if (epoll_wait(s->epoll, &event, 1, -1) != 1 || event.events != EPOLLIN)
			return LOOK;
		/* What we know of listeners and rules is old. */
		if (atomic_load(&s->retired) || !(from = source_of(s, event.data.fd)))
			return LOOK;
		memset(&s->notification, 0, sizeof s->notification); /* N5 */
		if (ioctl(from->fd, SECCOMP_IOCTL_NOTIF_RECV, &s->notification)) {
			if (errno == ENOENT || errno == EINTR) /* N8 */
				continue;
			return LOOK;
		}
		s->from = from->fd;
		atomic_store(&s->since, now());
		atomic_store(&s->state, UNANSWERED);
		if (atomic_exchange(&s->dozing, 0))
			rung = write(s->ring, &one, sizeof one);
		(void)rung; /* if its counter is full it rings already */
		/* What was asked after retire() is decided by new rules only. */
		outcome = atomic_load(&s->retired) ? ASK : settle(s, from);
		let_go(s);
		if (outcome != ASK) {
			long long spent = (now() - atomic_load(&s->since)) / 1000;

			if (outcome == GONE_AWAY)
				s->gone++;
			else
				s->buckets[spent ? 64 - __builtin_clzll(spent) : 0]++;
		}
		atomic_store(&s->since, 0);
		state = atomic_exchange(&s->state, IDLE);
		if (state == TAKEN_AWAY)
			return TAKEN;
		if (state == HANDED_ON)
			return LOST;
		if (outcome == ASK)
			return YOURS;
	}
}

/* -- what Python sees */

static PyObject *server_serve(PyObject *self, PyObject *unused)
{
	struct server *s = (struct server *)self;
	int came;

	(void)unused;
	if (s->running || s->epoll < 0) {
		PyErr_SetString(PyExc_RuntimeError, "this server runs already, or is closed");
		return NULL;
	}
	s->running = 1;
	Py_BEGIN_ALLOW_THREADS
	came = loop(s);
	Py_END_ALLOW_THREADS
	s->running = 0;
	return PyLong_FromLong(came);
}

static PyObject *server_take(PyObject *self, PyObject *unused)
{
	struct server *s = (struct server *)self;
	int unanswered = UNANSWERED, answering = ANSWERING;

	(void)unused;
	if (atomic_compare_exchange_strong(&s->state, &unanswered, TAKEN_AWAY))
		return PyLong_FromLong(TAKEN);
	if (atomic_compare_exchange_strong(&s->state, &answering, HANDED_ON))
		return PyLong_FromLong(LOST);
	return PyLong_FromLong(LOOK);
}

static PyObject *server_received(PyObject *self, PyObject *unused)
{
	struct server *s = (struct server *)self;

	(void)unused;
	return Py_BuildValue("iN", s->from,
			     PyBytes_FromStringAndSize((char *)&s->notification,
						       sizeof s->notification));
}

static PyObject *server_since(PyObject *self, PyObject *unused)
{
	(void)unused;
	return PyLong_FromLongLong(atomic_load(&((struct server *)self)->since));
}

static PyObject *server_doze(PyObject *self, PyObject *dozing)
{
	int on = PyObject_IsTrue(dozing);

	if (on < 0)
		return NULL;
	atomic_store(&((struct server *)self)->dozing, on);
	return Py_NewRef(Py_None);
}

static PyObject *server_retire(PyObject *self, PyObject *unused)
{
	(void)unused;
	atomic_store(&((struct server *)self)->retired, 1);
	return Py_NewRef(Py_None);
}

static PyObject *server_counts(PyObject *self, PyObject *unused)
{
	struct server *s = (struct server *)self;
	PyObject *buckets = PyList_New(64);

	(void)unused;
	for (int i = 0; buckets && i < 64; i++) {
		PyObject *count = PyLong_FromUnsignedLongLong(s->buckets[i]);

		if (!count || PyList_SetItem(buckets, i, count))
			Py_CLEAR(buckets);
	}
	return buckets ? Py_BuildValue("KKN", s->gone, s->racy, buckets) : NULL;
}

static PyObject *server_close(PyObject *self, PyObject *unused)
{
	struct server *s = (struct server *)self;

	(void)unused;
	if (s->running) {
		PyErr_SetString(PyExc_RuntimeError, "this server still runs");
		return NULL;
	}
	for (int i = 0; i < KEPT; i++)
		drop(&s->kept[i]);
	s->epoll = -1;
	return Py_NewRef(Py_None);
}

static PyObject *server_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2];
	struct bytes sources, rules, tests, programs, texts;
	int epoll, ring, large;
	unsigned int audit;
	struct server *s;

	(void)keywords;
	if (!PyArg_ParseTuple(args, "iiO&IiO&O&O&O&", &epoll, &ring, to_bytes, &sources, &audit,
			      &large, to_bytes, &rules, to_bytes, &tests, to_bytes, &programs,
			      to_bytes, &texts))
		return NULL;
	if ((size_t)sources.size > sizeof s->sources) {
		PyErr_Format(PyExc_ValueError, "a server has %d sources at most", SOURCES);
		return NULL;
	}
	s = (struct server *)PyType_GenericNew(type, NULL, NULL);
	if (!s)
		return NULL;
	s->tables = args; /* the tables live as long as this does */
	Py_INCREF(args);
	s->epoll = epoll;
	s->start = s->fd = -1;
	s->ring = ring;
	memcpy(s->sources, sources.start, sources.size);
	s->source_count = (int)(sources.size / sizeof(struct source));
	s->audit = audit;
	s->large = large;
	s->rules = (const struct rule *)rules.start;
	s->rule_count = rules.size / sizeof(struct rule);
	s->tests = (const struct test *)tests.start;
	s->programs = (const struct sock_filter *)programs.start;
	s->texts = texts.start;
	s->user_length = readlink("/proc/self/ns/user", s->user, sizeof s->user);
	if (s->user_length < 0 || look(AT_FDCWD, "/", &s->root) ||
	    syscall(SYS_capget, &header, data)) {
		PyErr_SetFromErrno(PyExc_OSError);
		Py_DECREF(s);
		return NULL;
	}
	s->privileged = (data[0].effective & FILES) == FILES;
	return (PyObject *)s;
}

static void server_free(PyObject *self)
{
	struct server *s = (struct server *)self;
	PyTypeObject *type = Py_TYPE(self);
	freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);

	for (int i = 0; i < KEPT; i++)
		drop(&s->kept[i]);
	Py_XDECREF(s->tables);
	release(self);
	Py_DECREF(type);
}

static PyMethodDef methods[] = {
	{ "serve", server_serve, METH_NOARGS, "Answer until LOOK, YOURS, TAKEN or LOST." },
	{ "take", server_take, METH_NOARGS, "Take what serve() is busy with: TAKEN, LOST or LOOK." },
	{ "received", server_received, METH_NOARGS, "The listener and the notification." },
	{ "since", server_since, METH_NOARGS, "Since when it is busy, in nanoseconds, or 0." },
	{ "doze", server_doze, METH_O, "Whether the next notification is to ring." },
	{ "retire", server_retire, METH_NOARGS, "Answer nothing more." },
	{ "counts", server_counts, METH_NOARGS, "Targets that were gone; racy continues; answers by bit length." },
	{ "close", server_close, METH_NOARGS, "Free what is kept." },
	{ NULL, NULL, 0, NULL },
};

static PyType_Slot slots[] = {
	{ Py_tp_new, server_new },
	{ Py_tp_dealloc, server_free },
	{ Py_tp_methods, methods },
	{ Py_tp_doc, "Answers plain notifications; unotify.kernel.native has the words." },
	{ 0, NULL },
};

static PyType_Spec spec = { "unotify.kernel._native.Server", sizeof(struct server), 0,
			    Py_TPFLAGS_DEFAULT, slots };

static int fill(PyObject *module)
{
	PyObject *type = PyType_FromSpec(&spec);

	if (!type || PyModule_AddObjectRef(module, "Server", type))
		return -1;
	Py_DECREF(type);
	return PyModule_AddIntMacro(module, LOOK) || PyModule_AddIntMacro(module, YOURS) ||
			       PyModule_AddIntMacro(module, TAKEN) ||
			       PyModule_AddIntMacro(module, LOST) ||
			       PyModule_AddIntMacro(module, SOURCES) ||
			       PyModule_AddIntMacro(module, FACE)
		       ? -1
		       : 0;
}

static PyModuleDef_Slot module_slots[] = { { Py_mod_exec, fill }, { 0, NULL } };

static PyMethodDef functions[] = {
	{ "make_name", make_name, METH_VARARGS, "Make a name as a target; None: the long way." },
	{ "read_string", read_string, METH_VARARGS, "Read up to a NUL; None: the long way." },
	{ NULL, NULL, 0, NULL },
};

static PyModuleDef module = { PyModuleDef_HEAD_INIT, "_native", NULL, 0, functions, module_slots,
			      NULL, NULL, NULL };

PyMODINIT_FUNC PyInit__native(void)
{
	return PyModuleDef_Init(&module);
}
