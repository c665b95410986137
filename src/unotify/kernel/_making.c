/* A name that is made for a target in one go: mknodat(2) and mkdirat(2) without Python.
 *
 * This is the plain case of what unotify.kernel.acting does step by step, in the same order: look
 * at the target, find the directory with its rights, ask whether it still waits (P8), act with its
 * rights. Plain is: the target is in our user namespace (whoever asks has seen to that) and has our
 * umask, its path has no symbolic link in it, and all that is asked of it holds. Of anything else it
 * is said that it is not ours; nothing has been done then, and whoever asked goes the long way,
 * which has the right errno for what is wrong.
 *
 * Credentials belong to a thread; the raw calls tell no other one (unotify.kernel.rights). If the
 * way back fails, the process ends.
 */
#define _GNU_SOURCE
#define Py_LIMITED_API 0x030b0000
#include "_native.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

/* 32-bit ABIs of old have 16-bit ids in the calls without a number in their name. */
#ifdef SYS_setresuid32
#define SET(what) SYS_set##what##32
#else
#define SET(what) SYS_set##what
#endif

enum { MOST_GROUPS = 64, STATUS = 8192 };

struct rights {
	uid_t uid, fsuid;
	gid_t gid, fsgid;
	uint64_t effective, permitted, inheritable;
	int mask; /* the umask, of a target */
	int count;
	gid_t groups[MOST_GROUPS];
};

struct job {
	/* In: whose, where, what, and on what conditions. */
	int listener;
	unsigned long long id;
	int home, theirs; /* its directory in /proc, and its status */
	struct bytes path;
	int dirfd;
	unsigned long long needed, lent;
	unsigned long refused;
	long nr, mode, device;
	/* Out. */
	long value;
	int directory;
	struct statx made;
	char status[STATUS];
	ssize_t status_length;
};

/* -- who it is, and who we are */

/* From its beginning, as it is now. */
static int read_all(int fd, char *buffer, ssize_t *length)
{
	*length = pread(fd, buffer, STATUS - 1, 0);
	/* Of somebody in very many groups it is longer. */
	if (*length <= 0 || *length == STATUS - 1)
		return 0;
	buffer[*length] = 0;
	return 1;
}

/* Numbers of a line at or after `from`, as many as there are, at most `most`; -1: there is no such
 * line, or more. A name, which is the first line, has no line break in it. */
static int numbers(const char **from, const char *line, int base, unsigned long long *found, int most)
{
	const char *at = strstr(*from, line);
	int count = 0;

	if (!at)
		return -1;
	for (at += strlen(line); *at && *at != '\n';) {
		char *end;

		if (*at == ' ' || *at == '\t') {
			at++;
			continue;
		}
		if (count == most)
			return -1;
		found[count++] = strtoull(at, &end, base);
		if (end == at)
			return -1;
		at = end;
	}
	*from = at;
	return count;
}

/* This thread's umask when it was last read: threads may have one each (CLONE_FS). */
static _Thread_local int our_umask = -1;

static int is_our_umask(int theirs)
{
	char status[STATUS];
	const char *at = status;
	unsigned long long found;
	ssize_t length;
	int fd = open("/proc/thread-self/status", O_RDONLY | O_CLOEXEC);

	our_umask = -1;
	if (fd >= 0 && read_all(fd, status, &length) &&
	    numbers(&at, "\nUmask:", 8, &found, 1) == 1)
		our_umask = (int)found;
	if (fd >= 0)
		close(fd);
	return our_umask == theirs;
}

/* In one pass: the lines are in this order. */
static int rights_of(const char *status, struct rights *theirs)
{
	unsigned long long mask, uids[4], gids[4], groups[MOST_GROUPS], effective;

	if (numbers(&status, "\nUmask:", 8, &mask, 1) != 1 ||
	    numbers(&status, "\nUid:", 10, uids, 4) != 4 ||
	    numbers(&status, "\nGid:", 10, gids, 4) != 4 ||
	    (theirs->count = numbers(&status, "\nGroups:", 10, groups, MOST_GROUPS)) < 0 ||
	    numbers(&status, "\nCapEff:", 16, &effective, 1) != 1)
		return 0;
	theirs->mask = (int)mask;
	theirs->uid = (uid_t)uids[1];
	theirs->fsuid = (uid_t)uids[3];
	theirs->gid = (gid_t)gids[1];
	theirs->fsgid = (gid_t)gids[3];
	theirs->effective = effective;
	for (int i = 0; i < theirs->count; i++)
		theirs->groups[i] = (gid_t)groups[i];
	return 1;
}

static int get_capabilities(struct rights *ours)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &header, data))
		return 0;
	ours->effective = data[0].effective | (uint64_t)data[1].effective << 32;
	ours->permitted = data[0].permitted | (uint64_t)data[1].permitted << 32;
	ours->inheritable = data[0].inheritable | (uint64_t)data[1].inheritable << 32;
	return 1;
}

static int get_ours(struct rights *ours)
{
	uid_t real, saved;
	gid_t real_group, saved_group;

	ours->count = getgroups(MOST_GROUPS, ours->groups);
	if (ours->count < 0 || !get_capabilities(ours) || getresuid(&real, &ours->uid, &saved) ||
	    getresgid(&real_group, &ours->gid, &saved_group))
		return 0;
	ours->fsuid = (uid_t)syscall(SET(fsuid), -1);
	ours->fsgid = (gid_t)syscall(SET(fsgid), -1);
	return 1;
}

/* -- acting as somebody */

static int set_effective(const struct rights *ours, uint64_t effective)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2] = {
		{ (uint32_t)effective, (uint32_t)ours->permitted, (uint32_t)ours->inheritable },
		{ effective >> 32, ours->permitted >> 32, ours->inheritable >> 32 },
	};

	return !syscall(SYS_capset, &header, data);
}

static int same_groups(const struct rights *one, const struct rights *other)
{
	return one->count == other->count &&
	       !memcmp(one->groups, other->groups, one->count * sizeof *one->groups);
}

static int same_ids(const struct rights *one, const struct rights *other)
{
	return one->uid == other->uid && one->gid == other->gid && one->fsuid == other->fsuid &&
	       one->fsgid == other->fsgid && same_groups(one, other);
}

static int take_ids(const struct rights *theirs, const struct rights *ours)
{
	if (!same_groups(theirs, ours) && syscall(SET(groups), theirs->count, theirs->groups))
		return 0;
	if (syscall(SET(resgid), -1, theirs->gid, -1) || syscall(SET(resuid), -1, theirs->uid, -1))
		return 0;
	if (theirs->fsuid == theirs->uid && theirs->fsgid == theirs->gid)
		return 1;
	/* Others than the effective ones take a capability, which may have gone with our user id;
	 * and these two return the id that was, whatever happens. */
	if (!set_effective(ours, ours->permitted))
		return 0;
	syscall(SET(fsgid), theirs->fsgid);
	syscall(SET(fsuid), theirs->fsuid);
	return (gid_t)syscall(SET(fsgid), -1) == theirs->fsgid &&
	       (uid_t)syscall(SET(fsuid), -1) == theirs->fsuid;
}

static int take(const struct rights *theirs, const struct rights *ours, uint64_t lent)
{
	if (!same_ids(theirs, ours) && !take_ids(theirs, ours))
		return 0;
	return set_effective(ours, (theirs->effective | lent) & ours->permitted);
}

static void give_back(const struct rights *theirs, const struct rights *ours)
{
	struct rights now;
	int back = 1, alike = same_ids(theirs, ours);

	if (!alike) {
		back = set_effective(ours, ours->permitted) &&
		       !syscall(SET(resuid), -1, ours->uid, -1) &&
		       !syscall(SET(resgid), -1, ours->gid, -1) &&
		       (same_groups(theirs, ours) ||
			!syscall(SET(groups), ours->count, ours->groups));
		syscall(SET(fsuid), ours->fsuid);
		syscall(SET(fsgid), ours->fsgid);
	}
	back = set_effective(ours, ours->effective) && back &&
	       (alike ? get_capabilities(&now) : get_ours(&now) && same_ids(&now, ours)) &&
	       now.effective == ours->effective;
	if (!back)
		abort();
}

/* -- one call */

static int is_waiting(const struct job *job)
{
	unsigned long long id = job->id;

	while (ioctl(job->listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &id))
		if (errno != EINTR)
			return 0;
	return 1;
}

/* The last name of a path, and the directory that it is in; NULL: that takes a walk. */
static const char *split(const struct job *job, char *directory)
{
	const char *slash = strrchr(job->path.start, '/');
	const char *name = slash ? slash + 1 : job->path.start;
	size_t length = name - job->path.start;

	if (job->path.size >= PAGE || strlen(job->path.start) != (size_t)job->path.size)
		return NULL;
	if (!*name || !strcmp(name, ".") || !strcmp(name, ".."))
		return NULL;
	/* Above where it starts only a walk knows where the root is. */
	if (*job->path.start != '/' && strstr(job->path.start, ".."))
		return NULL;
	memcpy(directory, job->path.start, length);
	strcpy(directory + length, length ? "" : ".");
	return name;
}

static int start_of(const struct job *job)
{
	char path[64];

	if (*job->path.start == '/')
		strcpy(path, "root");
	else if (job->dirfd == AT_FDCWD)
		strcpy(path, "cwd");
	else if (job->dirfd >= 0)
		snprintf(path, sizeof path, "fd/%d", job->dirfd);
	else
		return -1;
	return openat(job->home, path, O_PATH | O_CLOEXEC);
}

static int look_at(int directory, const char *name, struct statx *found)
{
	return !statx(directory, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT,
		      STATX_BASIC_STATS | STATX_MNT_ID_UNIQUE, found);
}

/* Remove what was made, if it is still that, with the target's ids and without any capability:
 * others may have put something else there, which is theirs to remove. */
static void take_back(const struct job *job, const char *name, const struct rights *ours)
{
	struct statx now;

	if (set_effective(ours, 0) && look_at(job->directory, name, &now) &&
	    now.stx_ino == job->made.stx_ino && now.stx_dev_major == job->made.stx_dev_major &&
	    now.stx_dev_minor == job->made.stx_dev_minor)
		unlinkat(job->directory, name, S_ISDIR(job->made.stx_mode) ? AT_REMOVEDIR : 0);
}

/* In the target's rights: find the directory, and act in it. 0: not ours, and nothing is left. */
static int act(struct job *job, int start, const char *directory, const char *name,
	       const struct rights *theirs, const struct rights *ours)
{
	struct open_how how = { .flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
				.resolve = RESOLVE_NO_SYMLINKS |
					   (*job->path.start == '/' ? RESOLVE_IN_ROOT : 0) };
	struct statfs mount;

	job->directory = (int)syscall(SYS_openat2, start, directory, &how, sizeof how);
	if (job->directory < 0)
		return 0;
	if (fstatfs(job->directory, &mount) || (unsigned long)mount.f_flags & job->refused ||
	    !is_waiting(job)) {
		close(job->directory);
		return 0;
	}
	do
		job->value = syscall(job->nr, job->directory, name, job->mode, job->device);
	while (job->value < 0 && errno == EINTR);
	if (job->value < 0)
		job->value = -errno;
	/* Whoever has removed it already gets zeros, which no file has. */
	if (job->value || !look_at(job->directory, name, &job->made))
		memset(&job->made, 0, sizeof job->made);
	else if ((job->made.stx_mode ^ (job->mode & ~theirs->mask)) & 0777 &&
		 !is_our_umask(theirs->mask)) {
		take_back(job, name, ours);
		close(job->directory);
		return 0;
	}
	return 1;
}

static int make(struct job *job)
{
	char directory[PAGE];
	struct rights theirs, ours;
	const char *name = split(job, directory);
	int start, done;

	if (!name)
		return 0;
	if (!read_all(job->theirs, job->status, &job->status_length) ||
	    !rights_of(job->status, &theirs) || job->needed & ~theirs.effective)
		return 0;
	if ((our_umask != theirs.mask && !is_our_umask(theirs.mask)) || !get_ours(&ours))
		return 0;
	start = start_of(job);
	if (start < 0)
		return 0;
	done = take(&theirs, &ours, job->lent) && act(job, start, directory, name, &theirs, &ours);
	give_back(&theirs, &ours);
	close(start);
	return done;
}

PyObject *make_name(PyObject *module, PyObject *args)
{
	struct job job;
	int done;

	(void)module;
	if (!PyArg_ParseTuple(args, "iKiiO&iKKklll", &job.listener, &job.id, &job.home,
			      &job.theirs, to_bytes, &job.path, &job.dirfd, &job.needed, &job.lent,
			      &job.refused, &job.nr, &job.mode, &job.device))
		return NULL;
	Py_BEGIN_ALLOW_THREADS
	done = make(&job);
	Py_END_ALLOW_THREADS
	if (!done)
		return Py_NewRef(Py_None);
	return Py_BuildValue("liNIIKIK", job.value, job.directory,
			     PyBytes_FromStringAndSize(job.status, job.status_length),
			     job.made.stx_dev_major, job.made.stx_dev_minor,
			     (unsigned long long)job.made.stx_ino, job.made.stx_uid,
			     job.made.stx_mask & STATX_MNT_ID_UNIQUE ?
				     (unsigned long long)job.made.stx_mnt_id :
				     0ULL);
}
