/* What _making.c has for the module that _native.c makes. */
#include <Python.h>

PyObject *make_name(PyObject *module, PyObject *args);
