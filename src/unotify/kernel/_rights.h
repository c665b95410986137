/* What _making.c uses of _rights.c. */
#include "_native.h"

enum { MOST_GROUPS = 64, STATUS = 8192 };

struct rights {
	uid_t uid, fsuid;
	gid_t gid, fsgid;
	uint64_t effective, permitted, inheritable;
	int mask; /* the umask, of a target */
	int count;
	gid_t groups[MOST_GROUPS];
};

int read_status(int fd, char *buffer, ssize_t *length);
int rights_of(const char *status, struct rights *theirs);
int get_ours(struct rights *ours);
int is_our_umask(int theirs);
int may_be_our_umask(int theirs);
int set_effective(const struct rights *ours, uint64_t effective);
int take(const struct rights *theirs, const struct rights *ours, uint64_t lent);
void give_back(const struct rights *theirs, const struct rights *ours);
