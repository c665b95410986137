/* What came of the calls that a server answered, for whoever counts: by listener, call and outcome.
 *
 * The loop adds up, and anybody who has the GIL takes what there is (told), also while it runs: a
 * count is moved out in one step, so nothing is lost or taken twice. Only where no loop runs are
 * the places freed; when there are few left the loop ends for that.
 */
#define _GNU_SOURCE
#define Py_LIMITED_API 0x030b0000
#include "_server.h"

/* As unotify.kernel.native unpacks it. */
struct told {
	int32_t fd, nr, outcome, bits;
	uint64_t count, nanoseconds;
};

static struct tally *place(struct server *s, int nr, enum outcome outcome, int bits)
{
	uint32_t mixed = ((uint32_t)s->from.fd * 512 + (uint32_t)nr) * 512 + (uint32_t)outcome * 64 + bits;

	for (uint32_t at = mixed * 0x9E3779B1U >> 16;; at++) {
		struct tally *tally = &s->tallies[at % TALLIES];

		if (!tally->known) {
			tally->fd = s->from.fd;
			tally->nr = nr;
			tally->outcome = outcome;
			tally->bits = bits;
			tally->known = 1;
			s->tallied++;
			return tally;
		}
		if (tally->fd == s->from.fd && tally->nr == nr && tally->outcome == (int)outcome &&
		    tally->bits == bits)
			return tally;
	}
}

void count(struct server *s, enum outcome outcome, long long nanoseconds)
{
	long long microseconds = nanoseconds / 1000;
	int bits = microseconds ? 64 - __builtin_clzll(microseconds) : 0;

	if (outcome == GONE_AWAY)
		s->gone++;
	else
		s->buckets[bits]++;
	if (s->tallies) {
		struct tally *tally = place(s, s->notification.data.nr, outcome, bits);

		/* In this order: what has a count has its time. */
		atomic_fetch_add(&tally->nanoseconds, nanoseconds);
		atomic_fetch_add(&tally->count, 1);
	}
}

/* All that was counted since this was asked last; one asks at a time. */
PyObject *told(struct server *s)
{
	Py_ssize_t many = 0, left;
	PyObject *bytes;
	struct told *next;

	for (int i = 0; s->tallies && i < TALLIES; i++)
		many += atomic_load(&s->tallies[i].count) != 0;
	/* Before anything is taken: there may be no memory. What comes meanwhile can wait. */
	bytes = PyBytes_FromStringAndSize(NULL, many * (Py_ssize_t)sizeof *next);
	if (!bytes || !s->tallies)
		return bytes;
	next = (struct told *)PyBytes_AsString(bytes);
	left = many;
	for (int i = 0; left && i < TALLIES; i++) {
		struct tally *tally = &s->tallies[i];
		uint64_t taken = atomic_exchange(&tally->count, 0);

		if (!taken)
			continue;
		*next++ = (struct told){ tally->fd, tally->nr, tally->outcome, tally->bits, taken,
					 atomic_exchange(&tally->nanoseconds, 0) };
		left--;
	}
	if (!s->running) {
		for (int i = 0; i < TALLIES; i++)
			s->tallies[i].known = 0;
		s->tallied = 0;
	}
	return bytes;
}
