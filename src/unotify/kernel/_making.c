/* A name that is made for a target in one go: mknodat(2) and mkdirat(2) without Python.
 *
 * This is the plain case of what unotify.kernel.acting does step by step, in the same order: look
 * at the target, find the directory with its rights, ask whether it still waits (P8), act with its
 * rights. Plain is: the target is in our user namespace (whoever asks has seen to that) and has our
 * umask, its path has no symbolic link in it, and all that is asked of it holds. Of anything else
 * it is said that it is not ours; nothing is left of it then, and whoever asked goes the long way,
 * which has the right errno for what is wrong.
 *
 * That we have its umask is what we remember; what was made tells whether it is so: without a
 * default ACL its permissions are those that were asked for without the target's umask. If they are
 * not, our umask is read again. If it has changed the name is removed; if not, there was an ACL
 * (acl(5)), which no umask is anything to.
 *
 * A server makes device nodes that are listed, as unotify.handlers.devices does. Before anything is
 * done it takes the call for its own, so that nobody else does it too; and where nobody takes its
 * answer, since the target has gone or its deadline was over, what it has made is removed. It does
 * so only on mounts where a device is of use. Python finds that out, for each mount with the first
 * node that is made there, and tells us.
 */
#define _GNU_SOURCE
#define Py_LIMITED_API 0x030b0000
#include "_rights.h"
#include "_server.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

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
	struct server *server; /* who answers it; or whoever has asked does */
	/* Out. */
	long value;
	int directory;
	enum outcome outcome; /* of a server's */
	struct statx made;
	char status[STATUS];
	ssize_t status_length;
};

/* -- mounts where devices are of use: see unotify.kernel.nodes.is_usable */

enum { USABLE = 4096 }; /* containers have several each */

static _Atomic uint64_t usable[USABLE]; /* each at its remainder; told again if it had to go */

PyObject *tell_usable(PyObject *module, PyObject *mount)
{
	unsigned long long id = PyLong_AsUnsignedLongLong(mount);

	(void)module;
	if (PyErr_Occurred())
		return NULL;
	atomic_store(&usable[id % USABLE], id);
	return Py_NewRef(Py_None);
}

static int is_usable(int directory)
{
	struct statx found;

	return !look(directory, "", &found) &&
	       atomic_load(&usable[found.stx_mnt_id % USABLE]) == found.stx_mnt_id;
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

/* In the target's rights: find the directory. What is not in the kernel's caches may take a file
 * system as long as it likes; a server leaves that to others. */
static int find(struct job *job, int start, const char *directory)
{
	struct open_how how = { .flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
				.resolve = RESOLVE_NO_SYMLINKS };
	struct statfs mount;

	if (*job->path.start == '/')
		how.resolve |= RESOLVE_IN_ROOT;
	if (job->server)
		how.resolve |= RESOLVE_CACHED;
	job->directory = (int)syscall(SYS_openat2, start, directory, &how, sizeof how);
	if (job->directory < 0)
		return 0;
	if (!fstatfs(job->directory, &mount) && !((unsigned long)mount.f_flags & job->refused) &&
	    (!job->server || (is_plain_type(mount.f_type) && is_usable(job->directory))))
		return 1;
	close(job->directory);
	return 0;
}

/* There. 0: not ours, and nothing is left. */
static int act(struct job *job, const char *name, const struct rights *theirs,
	       const struct rights *ours)
{
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
		return 0;
	}
	return 1;
}

/* The same for a call that is nobody else's from now on. */
static int act_and_answer(struct job *job, const char *name, const struct rights *theirs,
			  const struct rights *ours)
{
	struct server *s = job->server;

	if (!begin(s))
		return 0;
	if (!is_waiting(job)) {
		job->outcome = GONE_AWAY;
		return 1;
	}
	/* There may be another way; or not (an immutable directory). */
	if (!act(job, name, theirs, ours) || job->value == -EPERM) {
		give_up(s);
		return 0;
	}
	job->outcome = answer(s, 0, (int32_t)job->value, 0);
	if (job->outcome == GONE_AWAY && job->made.stx_ino)
		take_back(job, name, ours);
	return 1;
}

static int make(struct job *job)
{
	char directory[PAGE];
	struct rights theirs, ours;
	const char *name = split(job, directory);
	int start, done = 0;

	if (!name)
		return 0;
	if (!read_status(job->theirs, job->status, &job->status_length) ||
	    !rights_of(job->status, &theirs) || job->needed & ~theirs.effective)
		return 0;
	if (!may_be_our_umask(theirs.mask) || !get_ours(&ours))
		return 0;
	start = start_of(job);
	if (start < 0)
		return 0;
	if (!take(&theirs, &ours, job->lent) || !find(job, start, directory))
		job->directory = -1;
	close(start); /* its mount is not to be busy when the target goes on */
	if (job->directory >= 0) {
		if (job->server)
			done = act_and_answer(job, name, &theirs, &ours);
		else
			done = is_waiting(job) && act(job, name, &theirs, &ours);
		if (job->server || !done)
			close(job->directory);
	}
	give_back(&theirs, &ours);
	return done;
}

static int is_listed(const struct server *s, const struct making *what, mode_t mode, dev_t device)
{
	if (S_ISCHR(mode) && !device) /* a whiteout: anybody may make these */
		return 0;
	for (uint32_t i = 0; i < what->count; i++) {
		const struct device *each = &s->devices[what->device + i];

		if ((mode & S_IFMT) == each->kind && each->major[0] <= major(device) &&
		    major(device) <= each->major[1] && each->minor[0] <= minor(device) &&
		    minor(device) <= each->minor[1])
			return 1;
	}
	return 0;
}

enum outcome make_node(struct server *s, const struct rule *rule)
{
	const __u64 *args = s->notification.data.args;
	const struct making *what = &s->makings[rule->making];
	pid_t tid = (pid_t)s->notification.pid;
	struct kept *who;
	struct job job;

	if (!s->from.home || tid <= 0)
		return ASK;
	job.mode = (uint16_t)args[what->mode];
	job.device = (uint32_t)args[what->dev];
	if (!is_listed(s, what, job.mode, job.device) || !read_path(s, rule))
		return ASK;
	who = entry(s, tid);
	if (!who)
		return ASK;
	if (who->status < 0)
		who->status = openat(who->directory, "status", O_RDONLY | O_CLOEXEC);
	if (who->status < 0)
		return ASK;
	job.listener = s->from.fd;
	job.id = s->notification.id;
	job.home = who->directory;
	job.theirs = who->status;
	job.path = (struct bytes){ s->path, (Py_ssize_t)strlen(s->path) };
	job.dirfd = rule->dirfd == NONE ? AT_FDCWD : (int)args[rule->dirfd];
	job.needed = what->needed;
	job.lent = what->lent;
	job.refused = what->refused;
	job.nr = SYS_mknodat;
	job.server = s;
	return make(&job) ? job.outcome : ASK;
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
	job.server = NULL;
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
