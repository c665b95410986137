/* What the rules say of a call. */
#define _GNU_SOURCE
#define Py_LIMITED_API 0x030b0000
#include "_server.h"

#include <string.h>

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
int read_path(struct server *s, const struct rule *rule)
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
int matches(struct server *s, const struct rule *rule)
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
