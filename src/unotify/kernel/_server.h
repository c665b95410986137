/* What _native.c, _serving.c, _deciding.c, _opening.c, _making.c and _counting.c share: a server,
 * and what it is told. */
#include "_native.h"

#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdatomic.h>

/* As in unotify.kernel.native: another number whenever what is exchanged with Python changes. */
enum { FACE = 10 };

enum { KEPT = 64, MOUNTS = 16, MOST_FD = 1 << 20, TALLIES = 1024 };

/* What serve() returns. */
enum { LOOK, YOURS, TAKEN, LOST, FULL };
/* What is under way: nothing; a call without an answer; one that is being answered; and the
 * same two when another thread has taken the call, or the lead, meanwhile. One that is acted for
 * is not served by anybody else, but made known to whoever takes the lead: its deadline may be over
 * before, or its target call again. */
enum { IDLE, UNANSWERED, ANSWERING, TAKEN_AWAY, HANDED_ON, ACTING, SHARED };
/* What came of one call; but for the first as in unotify.kernel.interface.serving. */
enum outcome { ASK, ANSWERED, FAILED, CONTINUED, INSTALLED, GONE_AWAY };

/* As unotify.kernel.native packs them; a negative verdict is an errno. */
enum { VERDICT_ASK, VERDICT_PERFORM, VERDICT_CONTINUE, VERDICT_MAKE, VERDICT_RETURN };
enum { TEST_IS, TEST_UNDER };
enum { NONE = 255 }; /* instead of the number of an argument */

struct rule {
	int64_t value; /* what VERDICT_RETURN gives */
	int32_t nr, verdict;
	uint32_t program, instructions; /* its test of registers; none: always */
	uint32_t test, tests;
	uint32_t making; /* what VERDICT_MAKE takes */
	uint8_t dirfd, path, flags, unused; /* which arguments these are */
};

struct test {
	uint32_t kind, negated, text, count; /* one of so many texts, each with its NUL */
};

/* Device nodes that may be made, by whom and where. */
struct making {
	uint64_t needed, lent; /* capabilities: what the target has to have; ours */
	uint32_t refused; /* ST_* of mounts */
	uint32_t device, count;
	uint8_t mode, dev, unused[2]; /* which arguments these are */
};

struct device {
	uint32_t kind, major[2], minor[2]; /* from and to */
};

struct source {
	int fd; /* -1: there is none */
	uint8_t ours; /* its targets were started by us, and are as we are */
	uint8_t stays, here; /* none of them can leave where they are; and that is where we are */
	uint8_t home; /* its container began in our user namespace */
	uint8_t held; /* it is not received from here for now */
	uint64_t number; /* no other has it, whatever descriptor that has */
	struct seccomp_notif *slot; /* where its journal wants what is received; or NULL */
};

struct kept {
	pid_t tid;
	int directory, user, status; /* status: perhaps -1 */
};

struct mount {
	uint64_t id;
	int plain;
};

/* How often one thing came of one call of one listener, in a time of so many bits. */
struct tally {
	int32_t fd, nr, outcome, bits;
	int known; /* that is set */
	atomic_ullong count, nanoseconds;
};

struct server {
	PyObject_HEAD
	PyObject *tables;
	const struct rule *rules;
	const struct test *tests;
	const struct making *makings;
	const struct device *devices;
	const struct sock_filter *programs;
	const char *texts;
	size_t rule_count;
	pthread_mutex_t lock; /* of the sources, by their descriptors */
	struct source *sources;
	int source_count;
	uint64_t last;
	int epoll, ring, privileged, large, running;
	uint32_t audit;
	char user[64];
	ssize_t user_length;
	struct statx root;

	atomic_int state, dozing, retired;
	atomic_llong since;
	atomic_ullong gone, racy, buckets[64]; /* who asks may be another thread */
	struct tally *tallies; /* or NULL: nobody wants them */
	int tallied; /* how many are known */
	struct source from; /* where the notification came from, as it was then */
	int start, fd; /* what is open for it: where its path begins, what it named; or -1 */
	struct seccomp_notif notification;

	struct kept kept[KEPT];
	struct mount mounts[MOUNTS];
	unsigned next_mount;
	int read; /* which argument path is a copy of, or NONE */
	char path[PAGE + 1];
};

/* What it takes to open whatever there is. */
#define FILES ((1U << CAP_DAC_OVERRIDE) | (1U << CAP_DAC_READ_SEARCH))

/* _serving.c: the loop, and answers. */
int loop(struct server *s);
int begin(struct server *s);
void give_up(struct server *s);
void is_here(struct server *s);
enum outcome answer(struct server *s, int64_t value, int32_t error, uint32_t flags);
enum outcome fail(struct server *s, int number);
enum outcome give(struct server *s, int flags);

/* _counting.c: what came of it. */
void count(struct server *s, enum outcome outcome, long long nanoseconds);
PyObject *told(struct server *s);

/* _deciding.c: what the rules say. */
int read_path(struct server *s, const struct rule *rule);
int matches(struct server *s, const struct rule *rule);

/* _opening.c: opens, and who it is. */
int look(int start, const char *path, struct statx *found);
int is_plain_type(long type);
struct kept *entry(struct server *s, pid_t tid);
void drop(struct kept *kept);
enum outcome perform(struct server *s, const struct rule *rule);

/* _making.c: device nodes. */
enum outcome make_node(struct server *s, const struct rule *rule);
