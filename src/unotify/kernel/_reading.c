/* A string in a target's memory, read with one call where that is enough.
 *
 * Up to the end of a page at a time: a string may end just before one that is not there (M5). As
 * process_vm_readv(2) may be refused, or the string not all there, this may say that it is not
 * ours; unotify.kernel.memory knows more ways, and which errno it is.
 */
#define _GNU_SOURCE
#define Py_LIMITED_API 0x030b0000
#include "_native.h"

#include <string.h>
#include <sys/uio.h>

enum { SHORT = 256 }; /* most strings are */

/* Its length without the NUL, which is copied too; -1: there is none within `limit` bytes. */
Py_ssize_t copy_string(pid_t tid, uint64_t address, char *into, size_t limit)
{
	size_t had = 0;

	if (address > UINTPTR_MAX - limit) /* not of our kind of process */
		return -1;
	while (had < limit) {
		size_t room = PAGE - (address + had) % PAGE;
		size_t most = had || limit < SHORT ? limit - had : SHORT;
		struct iovec ours, its;
		const char *end;
		ssize_t got;

		if (room > most)
			room = most;
		ours = (struct iovec){ into + had, room };
		its = (struct iovec){ (void *)(uintptr_t)(address + had), room };
		got = process_vm_readv(tid, &ours, 1, &its, 1, 0);
		if (got <= 0)
			return -1;
		end = memchr(into + had, 0, got);
		if (end)
			return end - into;
		had += got;
	}
	return -1;
}

PyObject *read_string(PyObject *module, PyObject *args)
{
	char found[PAGE];
	unsigned long long address;
	Py_ssize_t limit, length;
	int tid;

	(void)module;
	if (!PyArg_ParseTuple(args, "iKn", &tid, &address, &limit))
		return NULL;
	if (limit < 0 || limit > PAGE)
		return Py_NewRef(Py_None);
	Py_BEGIN_ALLOW_THREADS
	length = copy_string(tid, address, found, limit);
	Py_END_ALLOW_THREADS
	if (length < 0)
		return Py_NewRef(Py_None);
	return PyBytes_FromStringAndSize(found, length);
}
