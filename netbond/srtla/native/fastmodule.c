// fastpath.c as an extension of Python: the class FastPath, and functions that send. Its numbers are checked, what it
// is given is copied or only read during the call, and its memory goes with the object.
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "fastpath.c"

enum { OTHERS = 64, HEARD = 64 };

typedef struct {
    PyObject_HEAD
    Path *path;
    int running;           // in `run`, without the lock of the interpreter
    PyObject *last_record; // a caller writes under the same record each time: the one before is at hand
    Py_buffer tallies[GROUPS];
} FastPath;

// --- arguments -----------------------------------------------------------------------------------------------

static int count_is(const char *name, Py_ssize_t count, Py_ssize_t wanted) {
    if (count == wanted) return 1;
    PyErr_Format(PyExc_TypeError, "%s() takes %zd arguments (%zd given)", name, wanted, count);
    return 0;
}

// An int from `least` to `most`; -1 with an exception if it is none.
static int number_of(PyObject *object, int least, int most) {
    long value = PyLong_AsLong(object);
    if (value == -1 && PyErr_Occurred()) return -1;
    if (value < least || value > most) {
        PyErr_Format(PyExc_ValueError, "%ld is not from %d to %d", value, least, most);
        return -1;
    }
    return (int)value;
}

static int is_bytes(PyObject *object) {
    if (PyBytes_Check(object)) return 1;
    PyErr_Format(PyExc_TypeError, "bytes are needed, not %s", Py_TYPE(object)->tp_name);
    return 0;
}

static Path *path_of(PyObject *self) {
    if (!((FastPath *)self)->running) return ((FastPath *)self)->path;
    PyErr_SetString(PyExc_RuntimeError, "the data path runs in another thread");
    return NULL;
}

// --- reports -------------------------------------------------------------------------------------------------

static PyObject *record_object(FastPath *self, const uint8_t *record, int length) {
    PyObject *last = self->last_record;
    if (!last || PyBytes_GET_SIZE(last) != length || memcmp(PyBytes_AS_STRING(last), record, length)) {
        PyObject *fresh = PyBytes_FromStringAndSize((const char *)record, length);
        if (!fresh) return NULL;
        Py_XSETREF(self->last_record, fresh);
    }
    return Py_NewRef(self->last_record);
}

static PyObject *report_object(FastPath *self, const uint8_t *at, const int32_t head[3]) {
    int error = 0;
    PyObject *record, *data, *number = NULL, *code = NULL, *out = NULL;
    if (head[0] != -1 && head[2] == sizeof error) memcpy(&error, at, sizeof error);
    record = head[0] == -1 ? record_object(self, at, head[2])
                           : PyBytes_FromStringAndSize((const char *)at, head[2]);
    data = PyBytes_FromStringAndSize((const char *)at + head[2], head[1]);
    number = PyLong_FromLong(head[0]);
    code = PyLong_FromLong(error);
    if (record && data && number && code) out = PyTuple_Pack(4, number, record, data, code);
    Py_XDECREF(record), Py_XDECREF(data), Py_XDECREF(number), Py_XDECREF(code);
    return out;
}

static PyObject *reports_object(FastPath *self) {
    Path *p = self->path;
    PyObject *list = PyList_New(0);
    for (size_t at = 0; list && at < p->reported;) {
        int32_t head[3];
        memcpy(head, p->report + at, sizeof head);
        at += sizeof head;
        PyObject *item = report_object(self, p->report + at, head);
        if (!item || PyList_Append(list, item) < 0) Py_CLEAR(list);
        Py_XDECREF(item);
        at += (size_t)head[1] + head[2];
    }
    return list;
}

static PyObject *stream_object(Path *p) {
    int count;
    const struct iovec *stream = nb_stream(p, &count);
    PyObject *list = PyList_New(count);
    for (int i = 0; list && i < count; i++) {
        PyObject *data = PyBytes_FromStringAndSize(stream[i].iov_base, stream[i].iov_len);
        if (!data) Py_CLEAR(list);
        else PyList_SET_ITEM(list, i, data);
    }
    return list;
}

PyDoc_STRVAR(run_doc,
    "run(until, patience)\n--\n\n"
    "Carry packets until a time (monotonic s) at most. The descriptors that Python must look after, the reports\n"
    "(wakeup.Report) of what else is left to it, and what the writer that `expect` has named has sent.\n"
    "`patience`: s that packets may wait for others.");

static PyObject *run(PyObject *object, PyObject *const *args, Py_ssize_t count) {
    FastPath *self = (FastPath *)object;
    int others[OTHERS], other;
    Path *p = path_of(object);
    if (!p || !count_is("run", count, 2)) return NULL;
    double until = PyFloat_AsDouble(args[0]), patience = PyFloat_AsDouble(args[1]);
    if (PyErr_Occurred()) return NULL;
    self->running = 1;
    Py_BEGIN_ALLOW_THREADS
    other = nb_run(p, until, patience, others, OTHERS);
    Py_END_ALLOW_THREADS
    self->running = 0;
    PyObject *reports = reports_object(self), *list = PyList_New(other), *stream = stream_object(p), *out = NULL;
    for (int i = 0; list && i < other; i++) {
        PyObject *number = PyLong_FromLong(others[i]);
        if (!number) Py_CLEAR(list);
        else PyList_SET_ITEM(list, i, number);
    }
    if (reports && list && stream) out = PyTuple_Pack(3, list, reports, stream);
    Py_XDECREF(reports), Py_XDECREF(list), Py_XDECREF(stream);
    return out;
}

// --- groups and links ----------------------------------------------------------------------------------------

PyDoc_STRVAR(add_group_doc, "add_group(descriptor)\n--\n\n"
                            "A group and its socket to the SRT server; its number here, or -1: no room.");

static PyObject *add_group(PyObject *self, PyObject *descriptor) {
    Path *p = path_of(self);
    int fd = p ? number_of(descriptor, 0, INT_MAX) : -1;
    return fd < 0 ? NULL : PyLong_FromLong(nb_add_group(p, fd));
}

PyDoc_STRVAR(drop_group_doc, "drop_group(number)\n--\n\nWith all its links.");

static PyObject *drop_group(PyObject *self, PyObject *object) {
    Path *p = path_of(self);
    int number = p ? number_of(object, 0, GROUPS - 1) : -1;
    if (number < 0) return NULL;
    nb_drop_group(p, number);
    PyBuffer_Release(&((FastPath *)self)->tallies[number]);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(tally_doc, "tally(group, memory)\n--\n\n"
                        "Note the packets of a group in this bytearray, until the group is dropped (figures.py).");

static PyObject *tally(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    Path *p = path_of(self);
    if (!p || !count_is("tally", count, 2)) return NULL;
    int group = number_of(args[0], 0, GROUPS - 1);
    if (group < 0) return NULL;
    Py_buffer *memory = &((FastPath *)self)->tallies[group], fresh;
    if (PyObject_GetBuffer(args[1], &fresh, PyBUF_WRITABLE) < 0) return NULL;
    if (p->groups[group].fd < 0 || fresh.len != sizeof(Tally) || (uintptr_t)fresh.buf % _Alignof(Tally)) {
        PyBuffer_Release(&fresh);
        return PyErr_Format(PyExc_ValueError, "there is no such group, or this is not a tally's memory");
    }
    PyBuffer_Release(memory);
    *memory = fresh;
    nb_tally(p, group, fresh.buf);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(add_link_doc,
    "add_link(group, record, name_length, control, credit, now)\n--\n\n"
    "A link that is up, by the record of its packets, which begins with its address; `control`: the ancillary\n"
    "message to answer under. Its number here, or -1: no room.");

static PyObject *add_link(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    Path *p = path_of(self);
    if (!p || !count_is("add_link", count, 6) || !is_bytes(args[1]) || !is_bytes(args[3])) return NULL;
    Py_ssize_t length = PyBytes_GET_SIZE(args[1]), control_length = PyBytes_GET_SIZE(args[3]);
    int group = number_of(args[0], 0, GROUPS - 1);
    int name_length = group < 0 ? -1 : number_of(args[2], 0, length < NAME ? (int)length : NAME);
    int credit = name_length < 0 ? -1 : number_of(args[4], 0, INT_MAX);
    double now = PyFloat_AsDouble(args[5]);
    if (PyErr_Occurred()) return NULL;
    if (p->groups[group].fd < 0 || length > KEY || control_length > CONTROL)
        return PyErr_Format(PyExc_ValueError, "there is no such group, or what names the link is too long");
    return PyLong_FromLong(nb_add_link(p, group, (const uint8_t *)PyBytes_AS_STRING(args[1]), (int)length,
                                       name_length, (const uint8_t *)PyBytes_AS_STRING(args[3]),
                                       (int)control_length, credit, now));
}

PyDoc_STRVAR(drop_link_doc, "drop_link(number)\n--\n\nIts packets are Python's again.");

static PyObject *drop_link(PyObject *self, PyObject *object) {
    Path *p = path_of(self);
    int number = p ? number_of(object, 0, LINKS - 1) : -1;
    if (number < 0) return NULL;
    nb_drop_link(p, number);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(heard_doc,
    "heard()\n--\n\n"
    "(link, packets, bytes, last heard) of the links that carried something since the last call.");

static PyObject *heard(PyObject *self, PyObject *unused) {
    (void)unused;
    Heard some[HEARD];
    int found = HEARD;
    Path *p = path_of(self);
    PyObject *list = p ? PyList_New(0) : NULL;
    while (list && found == HEARD) {
        found = nb_heard(p, some, HEARD);
        for (int i = 0; list && i < found; i++) {
            PyObject *item = Py_BuildValue("iIKd", some[i].link, some[i].packets,
                                           (unsigned long long)some[i].bytes, some[i].last_heard);
            if (!item || PyList_Append(list, item) < 0) Py_CLEAR(list);
            Py_XDECREF(item);
        }
    }
    return list;
}

PyDoc_STRVAR(failed_doc,
    "failed()\n--\n\n"
    "Datagrams that the kernel did not take, and that the SRT server refused, since the last call.");

static PyObject *failed(PyObject *self, PyObject *unused) {
    (void)unused;
    Path *p = path_of(self);
    if (!p) return NULL;
    unsigned long long kernel = nb_failed(p, 0), server = nb_failed(p, 1);
    return Py_BuildValue("KK", kernel, server);
}

PyDoc_STRVAR(drop_copies_doc,
    "drop_copies()\n--\n\nOf SRT's ACKs, which a receiver sends over every link, report one.");

static PyObject *drop_copies(PyObject *self, PyObject *unused) {
    (void)unused;
    Path *p = path_of(self);
    if (!p) return NULL;
    nb_drop_copies(p);
    Py_RETURN_NONE;
}

// --- the class -----------------------------------------------------------------------------------------------

PyDoc_STRVAR(path_doc,
    "FastPath(listener, epoll, pause, worth_packets, enough_packets, flush_after)\n--\n\n"
    "The data path of one listener. `epoll` has the listener and the groups' sockets, and others that are\n"
    "Python's. Looks are `pause` s apart while `worth_packets` come within one, or longer, until\n"
    "`enough_packets` are there; SRTLA ACKs wait for `flush_after` s at most.");

static PyObject *make(PyTypeObject *type, PyObject *args, PyObject *keywords) {
    int listener, epoll;
    double pause, worth_it, enough, flush_after;
    if (keywords && PyDict_GET_SIZE(keywords))
        return PyErr_Format(PyExc_TypeError, "FastPath() takes no keyword arguments");
    if (!PyArg_ParseTuple(args, "iidddd:FastPath", &listener, &epoll, &pause, &worth_it, &enough, &flush_after))
        return NULL;
    FastPath *self = (FastPath *)type->tp_alloc(type, 0);
    if (!self) return NULL;
    self->path = nb_new(listener, epoll, pause, worth_it, enough, flush_after);
    if (!self->path) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    return (PyObject *)self;
}

static void drop(PyObject *object) {
    FastPath *self = (FastPath *)object;
    PyTypeObject *type = Py_TYPE(object);
    nb_free(self->path);
    for (int i = 0; i < GROUPS; i++) PyBuffer_Release(&self->tallies[i]);
    Py_XDECREF(self->last_record);
    type->tp_free(object);
    Py_DECREF(type);
}

#define FAST(name) {#name, (PyCFunction)(void (*)(void))name, METH_FASTCALL, name##_doc}

PyDoc_STRVAR(expect_doc,
    "expect(record)\n--\n\n"
    "Give out what is written under this record as it is, apart from the reports; b\"\": nobody's.");

static PyObject *expect(PyObject *self, PyObject *record) {
    Path *p = path_of(self);
    if (!p || !is_bytes(record)) return NULL;
    if (PyBytes_GET_SIZE(record) > KEY) return PyErr_Format(PyExc_ValueError, "the record is too long");
    nb_expect(p, (const uint8_t *)PyBytes_AS_STRING(record), (int)PyBytes_GET_SIZE(record));
    Py_RETURN_NONE;
}

static PyMethodDef path_methods[] = {
    FAST(run),
    FAST(add_link),
    FAST(tally),
    {"add_group", add_group, METH_O, add_group_doc},
    {"drop_group", drop_group, METH_O, drop_group_doc},
    {"drop_link", drop_link, METH_O, drop_link_doc},
    {"expect", expect, METH_O, expect_doc},
    {"heard", heard, METH_NOARGS, heard_doc},
    {"failed", failed, METH_NOARGS, failed_doc},
    {"drop_copies", drop_copies, METH_NOARGS, drop_copies_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot path_slots[] = {
    {Py_tp_doc, (void *)path_doc}, {Py_tp_new, make},           {Py_tp_dealloc, drop},
    {Py_tp_methods, path_methods}, {0, NULL},
};

static PyType_Spec path_spec = {
    .name = "netbond.srtla.native._extension.FastPath", .basicsize = sizeof(FastPath), .flags = Py_TPFLAGS_DEFAULT,
    .slots = path_slots,
};

// --- sending -------------------------------------------------------------------------------------------------

PyDoc_STRVAR(send_doc, "send(fd, datagrams)\n--\n\n"
                       "Over a connected socket: how many went out, and the errno that ended it, or 0.");

static PyObject *send_object(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    (void)self;
    if (!count_is("send", count, 2)) return NULL;
    int fd = number_of(args[0], 0, INT_MAX), error = 0;
    if (fd < 0) return NULL;
    if (!PyList_Check(args[1])) return PyErr_Format(PyExc_TypeError, "send() takes a list of bytes");
    Py_ssize_t total = PyList_GET_SIZE(args[1]), sent = 0;
    while (sent < total && !error) {
        struct iovec data[SEGMENTS];
        int some = 0;
        for (; some < SEGMENTS && sent + some < total; some++) {
            PyObject *item = PyList_GET_ITEM(args[1], sent + some);
            if (!is_bytes(item)) return NULL;
            data[some] = (struct iovec){PyBytes_AS_STRING(item), PyBytes_GET_SIZE(item)};
        }
        sent += nb_send(fd, data, some, &error); // the sockets do not block: the GIL may be kept
    }
    return Py_BuildValue("ni", sent, error);
}

PyDoc_STRVAR(send_links_doc,
    "send_links(descriptors, datagrams)\n--\n\n"
    "(link, datagram) pairs over connected sockets, `descriptors` by link; those of others are left out. On each\n"
    "link SRT's control packets go last: data packets of equal length then leave in one system call. (link,\n"
    "errno, what did not go out) of links that failed.");

typedef struct {
    long link;
    int later, done;
    PyObject *data;
} Outgoing;

// Of `chosen`, what did not go out, with its link and why.
static int add_failure(PyObject *failures, long link, int error, const Outgoing *all, const int *chosen, int count) {
    PyObject *unsent = PyList_New(count), *item = NULL;
    for (int i = 0; unsent && i < count; i++) PyList_SET_ITEM(unsent, i, Py_NewRef(all[chosen[i]].data));
    if (unsent) item = Py_BuildValue("liN", link, error, unsent);
    int done = item ? PyList_Append(failures, item) : -1;
    Py_XDECREF(item);
    return done;
}

// All for the link of all[first]; -1: an exception.
static int send_link(PyObject *failures, PyObject *descriptors, Outgoing *all, int *chosen, int first, int total) {
    int count = 0, error = 0;
    long link = all[first].link;
    for (int later = 0; later < 2; later++)
        for (int i = first; i < total; i++)
            if (!all[i].done && all[i].link == link && all[i].later == later) all[i].done = 1, chosen[count++] = i;
    PyObject *key = PyLong_FromLong(link), *found = key ? PyDict_GetItemWithError(descriptors, key) : NULL;
    Py_XDECREF(key);
    if (!found) return PyErr_Occurred() ? -1 : 0;
    int fd = number_of(found, 0, INT_MAX);
    for (int sent = 0; fd >= 0 && sent < count;) {
        struct iovec data[SEGMENTS];
        int some = 0;
        for (; some < SEGMENTS && sent + some < count; some++) {
            PyObject *item = all[chosen[sent + some]].data;
            data[some] = (struct iovec){PyBytes_AS_STRING(item), PyBytes_GET_SIZE(item)};
        }
        sent += nb_send(fd, data, some, &error); // the sockets do not block: the GIL may be kept
        if (error) return add_failure(failures, link, error, all, chosen + sent, count - sent);
    }
    return fd < 0 ? -1 : 0;
}

static PyObject *send_links(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    (void)self;
    if (!count_is("send_links", count, 2)) return NULL;
    if (!PyDict_Check(args[0]) || !PyList_Check(args[1]) || PyList_GET_SIZE(args[1]) > INT_MAX)
        return PyErr_Format(PyExc_TypeError, "send_links() takes a dict and a list of pairs");
    int total = (int)PyList_GET_SIZE(args[1]), *chosen = PyMem_New(int, total);
    Outgoing *all = PyMem_New(Outgoing, total);
    PyObject *failures = chosen && all ? PyList_New(0) : PyErr_NoMemory();
    for (int i = 0; failures && i < total; i++) {
        PyObject *pair = PyList_GET_ITEM(args[1], i);
        if (!PyTuple_Check(pair) || PyTuple_GET_SIZE(pair) != 2) {
            PyErr_SetString(PyExc_TypeError, "send_links() takes a list of pairs");
            Py_CLEAR(failures);
        } else if (!is_bytes(PyTuple_GET_ITEM(pair, 1))) {
            Py_CLEAR(failures);
        } else {
            PyObject *data = PyTuple_GET_ITEM(pair, 1);
            const uint8_t *at = (const uint8_t *)PyBytes_AS_STRING(data);
            int later = PyBytes_GET_SIZE(data) && at[0] >= 0x80 && at[0] < 0x90;
            all[i] = (Outgoing){.link = PyLong_AsLong(PyTuple_GET_ITEM(pair, 0)), .later = later, .data = data};
            if (all[i].link == -1 && PyErr_Occurred()) Py_CLEAR(failures);
        }
    }
    for (int i = 0; failures && i < total; i++)
        if (!all[i].done && send_link(failures, args[0], all, chosen, i, total) < 0) Py_CLEAR(failures);
    PyMem_Free(all), PyMem_Free(chosen);
    return failures;
}

PyDoc_STRVAR(send_to_doc, "send_to(fd, name, control, datagrams)\n--\n\n"
                          "To one address, under one ancillary message (b\"\": none): how many were refused.");

static PyObject *send_to(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    (void)self;
    if (!count_is("send_to", count, 4)) return NULL;
    int fd = number_of(args[0], 0, INT_MAX);
    if (fd < 0 || !is_bytes(args[1]) || !is_bytes(args[2])) return NULL;
    if (!PyList_Check(args[3])) return PyErr_Format(PyExc_TypeError, "send_to() takes a list of bytes");
    long refused = 0;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(args[3]); i++) {
        PyObject *item = PyList_GET_ITEM(args[3], i);
        if (!is_bytes(item)) return NULL;
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
    {"send", (PyCFunction)(void (*)(void))send_object, METH_FASTCALL, send_doc},
    FAST(send_links),
    FAST(send_to),
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    .m_base = PyModuleDef_HEAD_INIT, .m_name = "_extension", .m_size = -1, .m_methods = methods,
};

PyMODINIT_FUNC PyInit__extension(void) {
    PyObject *self = PyModule_Create(&module), *type = self ? PyType_FromSpec(&path_spec) : NULL;
    if (!type || PyModule_AddObjectRef(self, "FastPath", type) < 0) Py_CLEAR(self);
    Py_XDECREF(type);
    return self;
}
