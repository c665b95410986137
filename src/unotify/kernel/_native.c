/* The native part as Python sees it; unotify.kernel.native has the words for Server. */
#define _GNU_SOURCE
#define Py_LIMITED_API 0x030b0000
#include "_server.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static PyObject *server_serve(PyObject *self, PyObject *unused)
{
	struct server *s = (struct server *)self;
	int came;

	(void)unused;
	if (s->running || s->epoll < 0) {
		PyErr_SetString(PyExc_RuntimeError, "this server runs already, or is closed");
		return NULL;
	}
	s->running = 1;
	Py_BEGIN_ALLOW_THREADS
	came = loop(s);
	Py_END_ALLOW_THREADS
	s->running = 0;
	return PyLong_FromLong(came);
}

static PyObject *server_take(PyObject *self, PyObject *unused)
{
	struct server *s = (struct server *)self;
	int unanswered = UNANSWERED, answering = ANSWERING, acting = ACTING;

	(void)unused;
	if (atomic_compare_exchange_strong(&s->state, &unanswered, TAKEN_AWAY))
		return PyLong_FromLong(TAKEN);
	if (atomic_compare_exchange_strong(&s->state, &answering, HANDED_ON))
		return PyLong_FromLong(LOST);
	if (atomic_compare_exchange_strong(&s->state, &acting, SHARED))
		return PyLong_FromLong(TAKEN);
	return PyLong_FromLong(LOOK);
}

static PyObject *server_received(PyObject *self, PyObject *unused)
{
	struct server *s = (struct server *)self;

	(void)unused;
	return Py_BuildValue("iN", s->from.fd,
			     PyBytes_FromStringAndSize((char *)&s->notification,
						       sizeof s->notification));
}

/* -- its sources, while it serves or not */

/* The one with that descriptor, or NULL; under the lock. */
static struct source *known(struct server *s, int fd)
{
	return fd >= 0 && fd < s->source_count && s->sources[fd].fd == fd ? &s->sources[fd] : NULL;
}

static int has_room(struct server *s, int fd)
{
	int count = s->source_count ? s->source_count : 16;
	struct source *sources;

	while (count <= fd)
		count *= 2;
	if (count == s->source_count)
		return 1;
	sources = realloc(s->sources, count * sizeof *sources);
	if (!sources)
		return 0;
	for (int i = s->source_count; i < count; i++)
		sources[i].fd = -1;
	s->sources = sources;
	s->source_count = count;
	return 1;
}

static PyObject *server_add(PyObject *self, PyObject *args)
{
	struct server *s = (struct server *)self;
	unsigned long long slot;
	int fd, ours, stays, home, added;

	if (!PyArg_ParseTuple(args, "ipppK", &fd, &ours, &stays, &home, &slot))
		return NULL;
	if (fd < 0 || fd > MOST_FD) {
		PyErr_Format(PyExc_ValueError, "%d is no descriptor of a listener", fd);
		return NULL;
	}
	pthread_mutex_lock(&s->lock);
	added = has_room(s, fd);
	if (added)
		s->sources[fd] = (struct source){ .fd = fd,
						  .ours = ours,
						  .stays = stays,
						  .home = home,
						  .number = ++s->last,
						  .slot = (void *)(uintptr_t)slot };
	pthread_mutex_unlock(&s->lock);
	return added ? Py_NewRef(Py_None) : PyErr_NoMemory();
}

static PyObject *server_drop(PyObject *self, PyObject *args)
{
	struct server *s = (struct server *)self;
	struct source *source;
	int fd;

	if (!PyArg_ParseTuple(args, "i", &fd))
		return NULL;
	pthread_mutex_lock(&s->lock);
	source = known(s, fd);
	if (source)
		*source = (struct source){ .fd = -1 };
	pthread_mutex_unlock(&s->lock);
	return Py_NewRef(Py_None);
}

static PyObject *server_hold(PyObject *self, PyObject *args)
{
	struct server *s = (struct server *)self;
	struct source *source;
	int fd, held;

	if (!PyArg_ParseTuple(args, "ip", &fd, &held))
		return NULL;
	pthread_mutex_lock(&s->lock);
	source = known(s, fd);
	if (source)
		source->held = held;
	pthread_mutex_unlock(&s->lock);
	return Py_NewRef(Py_None);
}

static PyObject *server_receive_at(PyObject *self, PyObject *args)
{
	struct server *s = (struct server *)self;
	struct source *source;
	unsigned long long slot;
	int fd;

	if (!PyArg_ParseTuple(args, "iK", &fd, &slot))
		return NULL;
	pthread_mutex_lock(&s->lock);
	source = known(s, fd);
	if (source)
		source->slot = (void *)(uintptr_t)slot;
	pthread_mutex_unlock(&s->lock);
	return Py_NewRef(Py_None);
}

static PyObject *server_since(PyObject *self, PyObject *unused)
{
	(void)unused;
	return PyLong_FromLongLong(atomic_load(&((struct server *)self)->since));
}

static PyObject *server_doze(PyObject *self, PyObject *dozing)
{
	int on = PyObject_IsTrue(dozing);

	if (on < 0)
		return NULL;
	atomic_store(&((struct server *)self)->dozing, on);
	return Py_NewRef(Py_None);
}

static PyObject *server_retire(PyObject *self, PyObject *unused)
{
	(void)unused;
	atomic_store(&((struct server *)self)->retired, 1);
	return Py_NewRef(Py_None);
}

static PyObject *server_counts(PyObject *self, PyObject *unused)
{
	struct server *s = (struct server *)self;
	PyObject *buckets = PyList_New(64);

	(void)unused;
	for (int i = 0; buckets && i < 64; i++) {
		PyObject *count = PyLong_FromUnsignedLongLong(atomic_load(&s->buckets[i]));

		if (!count || PyList_SetItem(buckets, i, count))
			Py_CLEAR(buckets);
	}
	if (!buckets)
		return NULL;
	return Py_BuildValue("KKN", atomic_load(&s->gone), atomic_load(&s->racy), buckets);
}

static PyObject *server_tallies(PyObject *self, PyObject *unused)
{
	(void)unused;
	return told((struct server *)self);
}

static PyObject *server_close(PyObject *self, PyObject *unused)
{
	struct server *s = (struct server *)self;

	(void)unused;
	if (s->running) {
		PyErr_SetString(PyExc_RuntimeError, "this server still runs");
		return NULL;
	}
	for (int i = 0; i < KEPT; i++)
		drop(&s->kept[i]);
	s->epoll = -1;
	return Py_NewRef(Py_None);
}

static PyObject *server_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2];
	struct bytes rules, tests, makings, devices, programs, texts;
	int epoll, ring, large, counting;
	unsigned int audit;
	struct server *s;

	(void)keywords;
	if (!PyArg_ParseTuple(args, "iiIiO&O&O&O&O&O&p", &epoll, &ring, &audit, &large, to_bytes,
			      &rules, to_bytes, &tests, to_bytes, &makings, to_bytes, &devices,
			      to_bytes, &programs, to_bytes, &texts, &counting))
		return NULL;
	s = (struct server *)PyType_GenericNew(type, NULL, NULL);
	if (!s)
		return NULL;
	s->tables = args; /* the tables live as long as this does */
	Py_INCREF(args);
	s->epoll = epoll;
	s->start = s->fd = -1;
	s->ring = ring;
	pthread_mutex_init(&s->lock, NULL);
	s->audit = audit;
	s->large = large;
	s->rules = (const struct rule *)rules.start;
	s->rule_count = rules.size / sizeof(struct rule);
	s->tests = (const struct test *)tests.start;
	s->makings = (const struct making *)makings.start;
	s->devices = (const struct device *)devices.start;
	s->programs = (const struct sock_filter *)programs.start;
	s->texts = texts.start;
	s->user_length = readlink("/proc/self/ns/user", s->user, sizeof s->user);
	if (s->user_length < 0 || look(AT_FDCWD, "/", &s->root) ||
	    syscall(SYS_capget, &header, data)) {
		PyErr_SetFromErrno(PyExc_OSError);
		Py_DECREF(s);
		return NULL;
	}
	if (counting && !(s->tallies = PyMem_Calloc(TALLIES, sizeof *s->tallies))) {
		Py_DECREF(s);
		return PyErr_NoMemory();
	}
	s->privileged = (data[0].effective & FILES) == FILES;
	return (PyObject *)s;
}

static void server_free(PyObject *self)
{
	struct server *s = (struct server *)self;
	PyTypeObject *type = Py_TYPE(self);
	freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);

	for (int i = 0; i < KEPT; i++)
		drop(&s->kept[i]);
	PyMem_Free(s->tallies);
	free(s->sources);
	pthread_mutex_destroy(&s->lock);
	Py_XDECREF(s->tables);
	release(self);
	Py_DECREF(type);
}

static PyMethodDef methods[] = {
	{ "serve", server_serve, METH_NOARGS, "Answer until LOOK, YOURS, TAKEN, LOST or FULL." },
	{ "take", server_take, METH_NOARGS, "Take what serve() is busy with: TAKEN, LOST or LOOK." },
	{ "received", server_received, METH_NOARGS, "The listener and the notification." },
	{ "add", server_add, METH_VARARGS, "Receive from this one too, there or into its journal." },
	{ "drop", server_drop, METH_VARARGS, "Receive from it no more." },
	{ "hold", server_hold, METH_VARARGS, "Whether it is received from for now." },
	{ "receive_at", server_receive_at, METH_VARARGS, "Where its journal wants what is next." },
	{ "since", server_since, METH_NOARGS, "Since when it is busy, in nanoseconds, or 0." },
	{ "doze", server_doze, METH_O, "Whether the next notification is to ring." },
	{ "retire", server_retire, METH_NOARGS, "Answer nothing more." },
	{ "counts", server_counts, METH_NOARGS,
	  "Targets that were gone; racy continues; answers by bit length." },
	{ "tallies", server_tallies, METH_NOARGS, "What came of which calls, since this was asked." },
	{ "close", server_close, METH_NOARGS, "Free what is kept." },
	{ NULL, NULL, 0, NULL },
};

static PyType_Slot slots[] = {
	{ Py_tp_new, server_new },
	{ Py_tp_dealloc, server_free },
	{ Py_tp_methods, methods },
	{ Py_tp_doc, "Answers plain notifications; unotify.kernel.native has the words." },
	{ 0, NULL },
};

static PyType_Spec spec = { "unotify.kernel._native.Server", sizeof(struct server), 0,
			    Py_TPFLAGS_DEFAULT, slots };

static int fill(PyObject *module)
{
	PyObject *type = PyType_FromSpec(&spec);

	if (!type || PyModule_AddObjectRef(module, "Server", type))
		return -1;
	Py_DECREF(type);
	return PyModule_AddIntMacro(module, LOOK) || PyModule_AddIntMacro(module, YOURS) ||
			       PyModule_AddIntMacro(module, TAKEN) ||
			       PyModule_AddIntMacro(module, LOST) ||
			       PyModule_AddIntMacro(module, FULL) ||
			       PyModule_AddIntMacro(module, FACE)
		       ? -1
		       : 0;
}

static PyModuleDef_Slot module_slots[] = { { Py_mod_exec, fill }, { 0, NULL } };

static PyMethodDef functions[] = {
	{ "make_name", make_name, METH_VARARGS, "Make a name as a target; None: the long way." },
	{ "tell_usable", tell_usable, METH_O, "Devices are of use on the mount of this number." },
	{ "read_string", read_string, METH_VARARGS, "Read up to a NUL; None: the long way." },
	{ NULL, NULL, 0, NULL },
};

static PyModuleDef module = { PyModuleDef_HEAD_INIT, "_native", NULL, 0, functions, module_slots,
			      NULL, NULL, NULL };

PyMODINIT_FUNC PyInit__native(void)
{
	return PyModuleDef_Init(&module);
}
