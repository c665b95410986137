/* What the other files have for the module that _native.c makes, and what all have. */
#ifndef UNOTIFY_NATIVE_H
#define UNOTIFY_NATIVE_H
#include <Python.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#ifndef STATX_MNT_ID_UNIQUE
#define STATX_MNT_ID_UNIQUE 0x4000U /* since Linux 6.8 */
#endif

enum { PAGE = 4096 };

PyObject *make_name(PyObject *module, PyObject *args);
PyObject *tell_usable(PyObject *module, PyObject *mount);
PyObject *read_string(PyObject *module, PyObject *args);
Py_ssize_t copy_string(pid_t tid, uint64_t address, char *into, size_t limit);

/* Bytes of an argument, for the format "O&". Not "#": what headers of 3.13 make of that is refused
 * by 3.11 and 3.12, and one build is to serve all. */
struct bytes {
	char *start; /* with a NUL behind it */
	Py_ssize_t size;
};

static inline int to_bytes(PyObject *object, void *into)
{
	struct bytes *bytes = into;

	return !PyBytes_AsStringAndSize(object, &bytes->start, &bytes->size);
}

#endif
