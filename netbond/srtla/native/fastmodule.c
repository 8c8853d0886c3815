// fastpath.c for Python without ctypes, which costs more than the packets: what is called at each wake-up. Built
// where Python's headers are; the same file serves ctypes, too.
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "fastpath.c"

enum { OTHERS = 64 };

// A caller writes under the same record each time: the one before is at hand, as an object.
static PyObject *last_record;

static PyObject *record_object(const uint8_t *record, int length) {
    if (!last_record || PyBytes_GET_SIZE(last_record) != length ||
        memcmp(PyBytes_AS_STRING(last_record), record, length)) {
        PyObject *fresh = PyBytes_FromStringAndSize((const char *)record, length);
        if (!fresh) return NULL;
        Py_XSETREF(last_record, fresh);
    }
    return Py_NewRef(last_record);
}

static PyObject *report_object(const uint8_t *at, const int32_t head[3]) {
    int error = 0;
    PyObject *record, *data, *number = NULL, *code = NULL, *out = NULL;
    if (head[0] != -1 && head[2] == sizeof error) memcpy(&error, at, sizeof error);
    record = head[0] == -1 ? record_object(at, head[2]) : PyBytes_FromStringAndSize((const char *)at, head[2]);
    data = PyBytes_FromStringAndSize((const char *)at + head[2], head[1]);
    number = PyLong_FromLong(head[0]);
    code = PyLong_FromLong(error);
    if (record && data && number && code) out = PyTuple_Pack(4, number, record, data, code);
    Py_XDECREF(record), Py_XDECREF(data), Py_XDECREF(number), Py_XDECREF(code);
    return out;
}

static PyObject *reports_object(Path *p) {
    PyObject *list = PyList_New(0);
    for (size_t at = 0; list && at < p->reported;) {
        int32_t head[3];
        memcpy(head, p->report + at, sizeof head);
        at += sizeof head;
        PyObject *item = report_object(p->report + at, head);
        if (!item || PyList_Append(list, item) < 0) Py_CLEAR(list);
        Py_XDECREF(item);
        at += (size_t)head[1] + head[2];
    }
    return list;
}

PyDoc_STRVAR(serve_doc, "serve(path, until, patience)\n--\n\nnb_run: the descriptors that Python must look after, and the reports.");

static PyObject *serve(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    (void)self;
    int others[OTHERS], other;
    if (count != 3) return PyErr_Format(PyExc_TypeError, "serve() takes 3 arguments (%zd given)", count);
    Path *p = PyLong_AsVoidPtr(args[0]);
    double until = PyFloat_AsDouble(args[1]), patience = PyFloat_AsDouble(args[2]);
    if (PyErr_Occurred()) return NULL;
    if (!p) return PyErr_Format(PyExc_ValueError, "the data path is closed");
    Py_BEGIN_ALLOW_THREADS
    other = nb_run(p, until, patience, others, OTHERS);
    Py_END_ALLOW_THREADS
    PyObject *reports = reports_object(p), *list = PyList_New(other), *out = NULL;
    for (int i = 0; list && i < other; i++) {
        PyObject *number = PyLong_FromLong(others[i]);
        if (!number) Py_CLEAR(list);
        else PyList_SET_ITEM(list, i, number);
    }
    if (reports && list) out = PyTuple_Pack(2, list, reports);
    Py_XDECREF(reports), Py_XDECREF(list);
    return out;
}

PyDoc_STRVAR(send_doc, "send(fd, datagrams)\n--\n\nnb_send: how many went out, and the errno that ended it, or 0.");

static PyObject *send_object(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    (void)self;
    if (count != 2) return PyErr_Format(PyExc_TypeError, "send() takes 2 arguments (%zd given)", count);
    int fd = (int)PyLong_AsLong(args[0]), error = 0;
    if (fd == -1 && PyErr_Occurred()) return NULL;
    if (!PyList_Check(args[1])) return PyErr_Format(PyExc_TypeError, "send() takes a list of bytes");
    Py_ssize_t total = PyList_GET_SIZE(args[1]), sent = 0;
    while (sent < total && !error) {
        struct iovec data[SEGMENTS];
        int some = 0;
        for (; some < SEGMENTS && sent + some < total; some++) {
            PyObject *item = PyList_GET_ITEM(args[1], sent + some);
            if (!PyBytes_Check(item)) return PyErr_Format(PyExc_TypeError, "send() takes a list of bytes");
            data[some] = (struct iovec){PyBytes_AS_STRING(item), PyBytes_GET_SIZE(item)};
        }
        sent += nb_send(fd, data, some, &error); // the sockets do not block: the GIL may be kept
    }
    return Py_BuildValue("ni", sent, error);
}

PyDoc_STRVAR(send_to_doc, "send_to(fd, name, control, datagrams)\n--\n\n"
                          "To one address, under one ancillary message (b\"\": none): how many were refused.");

static PyObject *send_to(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    (void)self;
    if (count != 4) return PyErr_Format(PyExc_TypeError, "send_to() takes 4 arguments (%zd given)", count);
    int fd = (int)PyLong_AsLong(args[0]);
    if (fd == -1 && PyErr_Occurred()) return NULL;
    if (!PyBytes_Check(args[1]) || !PyBytes_Check(args[2]) || !PyList_Check(args[3]))
        return PyErr_Format(PyExc_TypeError, "send_to() takes bytes, bytes and a list of bytes");
    long refused = 0;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(args[3]); i++) {
        PyObject *item = PyList_GET_ITEM(args[3], i);
        if (!PyBytes_Check(item)) return PyErr_Format(PyExc_TypeError, "send_to() takes a list of bytes");
        struct iovec data = {PyBytes_AS_STRING(item), PyBytes_GET_SIZE(item)};
        struct msghdr message = {.msg_name = PyBytes_AS_STRING(args[1]), .msg_namelen = PyBytes_GET_SIZE(args[1]),
                                 .msg_iov = &data, .msg_iovlen = 1};
        if (PyBytes_GET_SIZE(args[2])) {
            message.msg_control = PyBytes_AS_STRING(args[2]);
            message.msg_controllen = PyBytes_GET_SIZE(args[2]);
        }
        refused += sendmsg(fd, &message, MSG_DONTWAIT) < 0;
    }
    return PyLong_FromLong(refused);
}

static PyMethodDef methods[] = {
    {"serve", (PyCFunction)(void (*)(void))serve, METH_FASTCALL, serve_doc},
    {"send", (PyCFunction)(void (*)(void))send_object, METH_FASTCALL, send_doc},
    {"send_to", (PyCFunction)(void (*)(void))send_to, METH_FASTCALL, send_to_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    .m_base = PyModuleDef_HEAD_INIT, .m_name = "_fastpath", .m_size = -1, .m_methods = methods,
};

PyMODINIT_FUNC PyInit__fastpath(void) { return PyModule_Create(&module); }
