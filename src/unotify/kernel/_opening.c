/* Opens without Python.
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
 */
#define _GNU_SOURCE
#define Py_LIMITED_API 0x030b0000
#include "_server.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

static int openat2_(int start, const char *path, uint64_t flags, uint64_t resolve)
{
	struct open_how how = { .flags = flags | O_CLOEXEC,
				.resolve = resolve | RESOLVE_NO_MAGICLINKS };

	return (int)syscall(SYS_openat2, start, path, &how, sizeof how);
}

int look(int start, const char *path, struct statx *found)
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

int is_plain_type(long type)
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
		plain = is_plain_type(kind.f_type);
		s->mounts[s->next_mount++ % MOUNTS] = (struct mount){ mount, plain };
	}
	close(pin);
	return plain;
}

/* -- who it is */

void drop(struct kept *kept)
{
	if (kept->tid) {
		close(kept->directory);
		close(kept->user);
		if (kept->status >= 0)
			close(kept->status);
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

struct kept *entry(struct server *s, pid_t tid)
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
	kept->status = -1;
	kept->tid = tid;
	return in_ours(s, kept) == 1 ? kept : NULL;
}

static int as_we_are(struct server *s, pid_t tid)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, tid };
	struct __user_cap_data_struct data[2];
	struct statx root;
	struct kept *who;

	if (s->privileged &&
	    (syscall(SYS_capget, &header, data) || (data[0].effective & FILES) != FILES))
		return 0;
	if (s->from.here)
		return 1;
	who = entry(s, tid);
	if (!who)
		return 0;
	if (s->privileged ? look(who->directory, "root", &root) || !same(&root, &s->root) :
			    !s->from.ours)
		return 0;
	if (s->from.stays)
		is_here(s);
	return 1;
}

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

enum outcome perform(struct server *s, const struct rule *rule)
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
	if (!as_we_are(s, tid))
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
