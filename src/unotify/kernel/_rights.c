/* Whose rights an act has: who a target is, who we are, and being the one instead of the other.
 *
 * As unotify.kernel.rights, which has the reasons. Credentials belong to a thread; the raw calls
 * tell no other one. If the way back fails, the process ends.
 *
 * To read our own umask takes as long as an act. So it is remembered; whoever makes something has
 * to see whether it still is what it was.
 */
#define _GNU_SOURCE
#define Py_LIMITED_API 0x030b0000
#include "_rights.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* 32-bit ABIs of old have 16-bit ids in the calls without a number in their name. */
#ifdef SYS_setresuid32
#define SET(what) SYS_set##what##32
#else
#define SET(what) SYS_set##what
#endif

/* -- who it is, and who we are */

/* From its beginning, as it is now. */
int read_status(int fd, char *buffer, ssize_t *length)
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
static int numbers(const char **from, const char *line, int base, unsigned long long *found,
		   int most)
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

int is_our_umask(int theirs)
{
	char status[STATUS];
	const char *at = status;
	unsigned long long found;
	ssize_t length;
	int fd = open("/proc/thread-self/status", O_RDONLY | O_CLOEXEC);

	our_umask = -1;
	if (fd >= 0 && read_status(fd, status, &length) &&
	    numbers(&at, "\nUmask:", 8, &found, 1) == 1)
		our_umask = (int)found;
	if (fd >= 0)
		close(fd);
	return our_umask == theirs;
}

/* As it was when it was last read, or else as it is. */
int may_be_our_umask(int theirs)
{
	return our_umask == theirs || is_our_umask(theirs);
}

/* In one pass: the lines are in this order. */
int rights_of(const char *status, struct rights *theirs)
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

int get_ours(struct rights *ours)
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

int set_effective(const struct rights *ours, uint64_t effective)
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

int take(const struct rights *theirs, const struct rights *ours, uint64_t lent)
{
	if (!same_ids(theirs, ours) && !take_ids(theirs, ours))
		return 0;
	return set_effective(ours, (theirs->effective | lent) & ours->permitted);
}

void give_back(const struct rights *theirs, const struct rights *ours)
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
