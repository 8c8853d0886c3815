// The kernel and the model of tests/fuzz_fastpath.c.
//
// The kernel is played: recvmmsg and its like are macros, so that the input decides what the sockets hand over (who
// wrote, how long, packed by UDP_GRO or not, under which ancillary messages), what sending comes to, and how time
// passes; only what a kernel can do. What it has written less of than there was room for is poisoned for
// AddressSanitizer. The model says what has to come of it all; what differs aborts.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, size) ((void)(at), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(at, size) ((void)(at), (void)(size))
#endif

static void *get_memory(size_t count, size_t size);
static void release(void *memory);
static int read_clock(clockid_t clock, struct timespec *out);
static int sleep_for(const struct timespec *wanted, struct timespec *left);
static int wait_for(int epoll, struct epoll_event *out, int room, int ms);
static int read_from(int fd, struct mmsghdr *headers, unsigned room, int flags, struct timespec *patience);
static int send_many(int fd, struct mmsghdr *headers, unsigned count, int flags);
static ssize_t send_message(int fd, const struct msghdr *message, int flags);
static ssize_t send_single(int fd, const void *data, size_t size, int flags);

#define calloc get_memory
#define free release
#define clock_gettime read_clock
#define nanosleep sleep_for
#define epoll_wait wait_for
#define recvmmsg read_from
#define sendmmsg send_many
#define sendmsg send_message
#define send send_single
#ifndef FASTPATH
#define FASTPATH "../netbond/srtla/native/fastpath.c"
#endif
#include FASTPATH
#undef calloc
#undef free

#define MUST(what) ((what) ? (void)0 : broken(#what, __LINE__))

static const char *running = "the input"; // which one

static void broken(const char *what, int line) {
    fprintf(stderr, "%s: line %d: not so: %s\n", running, line, what);
    abort();
}

// --- the world -----------------------------------------------------------------------------------------------

enum {
    LISTENER = 3, EPOLL = 4, SERVERS = 10, SERVER_COUNT = 8, OTHER = 20, OTHER_COUNT = 8, DESCRIPTORS = 32,
    PEERS = 128, KNOWN = 256, NODES = 1 << 15, BYTES = 4 << 20, ERRORS = 256, CMSGS = 6, PACKED_BY_KERNEL = 128,
    STEPS = 400, GUARDS = 3 * SLOTS + SERVER_SLOTS,
};

// A datagram, or a part of one, that waits for something, in a List, oldest first. `about`: a descriptor, or a size;
// `due`: when it arrives or has to be acknowledged.
typedef struct { const uint8_t *data; int size, next, about; double due; } Node;
typedef struct { int first, last, length; } List;

// Who wrote, and what the kernel says of it: `variant` and `more` choose ancillary messages, `packed` one of UDP_GRO.
typedef struct { int peer, variant, more, packed, packed_last, segment; } Sender;

// A link.
typedef struct {
    int used, group, name_length, control_length, record_length, waiting, serial;
    uint8_t record[KEY], control[CONTROL];
    int64_t credit;
    uint32_t packets;
    uint64_t bytes;
    double last_heard;
    List sequences, answers; // to be acknowledged; of the server, to be sent
} Known;

// An ancillary message.
typedef struct {
    int level, type, length;
    uint8_t value[CONTROL];
} Message;

static uint8_t bytes[BYTES], nothing[70000];
static Node nodes[NODES];
static Sender senders[NODES]; // of the node with the same number
static uint8_t records[NODES][KEY]; // under which the node with the same number was handed over
static Path *arena;

static struct {
    const uint8_t *at, *end;
    Path *path;
    int64_t ns;
    double now;
    int tick, reserved, node_count, byte_count, stamp, turn;
    List arriving[DESCRIPTORS], to_server[DESCRIPTORS], reports, received, stream, errors; // from `reports` on: Python's
    uint8_t caller[KEY]; // whose datagrams are the stream
    int caller_length;
    int pending[DESCRIPTORS], spurious[DESCRIPTORS], again[DESCRIPTORS], group_of[DESCRIPTORS], watched[DESCRIPTORS];
    int results[ERRORS], result_at, result_count, interrupts, copying, direct, insisted, in_run, waits, events, most;
    uint64_t failed, unreachable, offered[DESCRIPTORS]; // the last: to a server since it answered
    int live, top, serial; // links: how many, below which number, and how many there have been
    int turns[GROUPS]; // whose the next ACK of a group is
    uint8_t acks[COPIES][COPY];
    int ack_size[COPIES], ack_at;
    int last_others[READY], last_other_count;
    Known links[KNOWN];
} w;

static uint8_t *guarded[GUARDS];
static size_t guarded_size[GUARDS];
static int guarded_count;

// The kernel wrote less than there was room for: the rest must not be looked at.
static void guard(uint8_t *at, size_t size) {
    if (!size) return;
    MUST(guarded_count < GUARDS);
    guarded[guarded_count] = at, guarded_size[guarded_count++] = size;
    ASAN_POISON_MEMORY_REGION(at, size);
}

static void unguard(const uint8_t *from, size_t size) {
    int kept = 0;
    for (int i = 0; i < guarded_count; i++) {
        if (guarded[i] >= from && guarded[i] < from + size) {
            ASAN_UNPOISON_MEMORY_REGION(guarded[i], guarded_size[i]);
        } else {
            guarded[kept] = guarded[i], guarded_size[kept++] = guarded_size[i];
        }
    }
    guarded_count = kept;
}

static void *get_memory(size_t count, size_t size) { // fresh pages of zeros, without asking for them anew each time
    MUST(count == 1 && size == sizeof(Path));
    size_t room = (size + 4095) / 4096 * 4096;
    if (!arena) {
        arena = mmap(NULL, room + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        MUST((void *)arena != MAP_FAILED);
        ASAN_POISON_MEMORY_REGION((uint8_t *)arena + size, room + 4096 - size);
    }
    return arena;
}

static void release(void *memory) {
    MUST(memory == arena);
    unguard((uint8_t *)arena, sizeof(Path));
    MUST(madvise(arena, sizeof(Path), MADV_DONTNEED) == 0);
}

// Whether there is room for what may come of `size` bytes in so many parts.
static int reserve(int parts, int size) {
    int needed = parts * 3 + GROUP_LINKS;
    if (w.reserved + needed > NODES - STEPS || w.byte_count + size > BYTES) return 0;
    w.reserved += needed;
    return 1;
}

static int number(void) { return w.at < w.end ? *w.at++ : 0; }
static int number16(void) { int high = number(); return high << 8 | number(); }

static int put(List *list, const uint8_t *data, int size, int about, double due) {
    int at = w.node_count++;
    MUST(at < NODES);
    nodes[at] = (Node){data, size, -1, about, due};
    if (list->length++) nodes[list->last].next = at;
    else list->first = at;
    list->last = at;
    return at;
}

static Node *first(List *list) { return list->length ? &nodes[list->first] : NULL; }
static void take(List *list) { list->first = nodes[list->first].next, list->length--; }

static int next_result(void) { return w.result_count ? w.result_count--, w.results[w.result_at++ % ERRORS] : 0; }

static int read_clock(clockid_t clock, struct timespec *out) {
    MUST(clock == CLOCK_MONOTONIC);
    w.ns += w.tick;
    *out = (struct timespec){w.ns / 1000000000, w.ns % 1000000000};
    w.now = out->tv_sec + out->tv_nsec * 1e-9; // as fastpath.c reckons: the same to the last bit
    return 0;
}

static double time_now(void) { return w.ns / 1000000000 + (w.ns % 1000000000) * 1e-9; }

static int sleep_for(const struct timespec *wanted, struct timespec *left) {
    MUST(!left && wanted->tv_sec >= 0 && wanted->tv_nsec >= 0 && wanted->tv_nsec < 1000000000);
    w.ns += wanted->tv_sec * 1000000000 + wanted->tv_nsec;
    return 0;
}

static int readable(int fd) {
    Node *node = first(&w.arriving[fd]);
    return (node && node->due <= time_now()) || w.pending[fd] || w.spurious[fd];
}

static int wait_for(int epoll, struct epoll_event *out, int room, int ms) {
    MUST(epoll == EPOLL && room > 0 && ms >= 0 && w.in_run);
    MUST(!w.received.length && !w.stream.length && !w.reports.length && !w.errors.length); // these do not wait
    // Each wait is for something: no busy loop.
    MUST(++w.waits <= w.most + 8 * w.events);
    double until = time_now() + ms * 1e-3;
    if (w.interrupts) {
        w.interrupts--, w.events++;
        errno = EINTR;
        return -1;
    }
    w.last_other_count = 0;
    for (;;) {
        int count = 0;
        double next = until;
        for (int i = 0; i < DESCRIPTORS; i++) {
            int fd = (i + w.turn) % DESCRIPTORS;
            if (!w.watched[fd]) continue;
            Node *node = first(&w.arriving[fd]);
            if (node && node->due < next) next = node->due;
            if (!readable(fd) || count == room) continue;
            out[count++] = (struct epoll_event){.events = EPOLLIN, .data.fd = fd};
            if (fd != LISTENER && w.group_of[fd] < 0) w.last_others[w.last_other_count++] = fd;
        }
        if (count) {
            w.events += count;
            return count;
        }
        if (next >= until) break;
        int64_t reached = (int64_t)(next * 1e9) + 1;
        w.ns = reached > w.ns ? reached : w.ns + 1;
    }
    w.ns += (int64_t)ms * 1000000 > 0 ? (int64_t)((until - time_now()) * 1e9) + 1 : 0;
    return 0;
}

// --- ancillary messages --------------------------------------------------------------------------------------

// As the kernel's put_cmsg does: what has no room is cut. It leaves the padding as it was.
static size_t put_message(const Message *message, uint8_t *control, size_t used, uint8_t *record, int *record_length,
                          int *segment) {
    size_t left = CONTROL - used, length = CMSG_LEN(message->length), space = CMSG_SPACE(message->length);
    if (left < sizeof(struct cmsghdr)) return used;
    if (length > left) length = left;
    if (space > left) space = left;
    struct cmsghdr head = {.cmsg_len = length, .cmsg_level = message->level, .cmsg_type = message->type};
    memcpy(control + used, &head, sizeof head);
    memcpy(control + used + sizeof head, message->value, length - sizeof head);
    if (message->level == IPPROTO_UDP && message->type == UDP_GRO) {
        if (length >= CMSG_LEN(sizeof *segment)) memcpy(segment, message->value, sizeof *segment);
    } else if (*record_length + CMSG_ALIGN(length) <= KEY) {
        memcpy(record + *record_length, control + used, length);
        *record_length += CMSG_ALIGN(length);
    }
    return used + space;
}

static Message message(int level, int type, int length, int fill) {
    Message out = {.level = level, .type = type, .length = length};
    memset(out.value, fill, sizeof out.value);
    return out;
}

// What comes with a datagram: ancillary messages, how many bytes of them; and by what the sender is known.
static size_t describe(const Sender *from, uint8_t *name, int *name_length, uint8_t *control, uint8_t *record,
                       int *record_length, int *segment) {
    Message list[CMSGS];
    int count = 0, v6 = from->peer & 1;
    Message packed = message(IPPROTO_UDP, UDP_GRO, sizeof(int), 0);
    memcpy(packed.value, &from->segment, sizeof from->segment);
    if (from->packed && !from->packed_last) list[count++] = packed;
    switch (from->variant % 8) {
    case 1: case 2:
        list[count++] = v6 ? message(IPPROTO_IPV6, IPV6_PKTINFO, 20, from->variant)
                           : message(IPPROTO_IP, IP_PKTINFO, 12, from->variant);
        break;
    case 3: // a socket for both families
        list[count++] = message(IPPROTO_IPV6, IPV6_PKTINFO, 20, from->more);
        list[count++] = message(IPPROTO_IP, IP_PKTINFO, 12, from->more);
        break;
    case 4:
        list[count++] = message(SOL_SOCKET, 40 /* SO_RXQ_OVFL */, 4, from->more);
        list[count++] = message(IPPROTO_IP, IP_PKTINFO, 12, from->more);
        break;
    case 5: // what somebody may have asked of the socket before
        list[count++] = message(SOL_SOCKET, from->more % 5, from->more % 90, from->more);
        break;
    case 6:
        for (int i = 0; i < 3; i++) list[count++] = message(SOL_SOCKET, i, from->more % 30, from->more);
        break;
    case 7:
        for (int i = 0; i < 5; i++) list[count++] = message(SOL_SOCKET, i, 0, 0);
        break;
    }
    if (from->packed && from->packed_last) list[count++] = packed;
    memset(name, 0, sizeof(struct sockaddr_in6));
    if (v6) {
        struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(1000 + from->peer)};
        in6.sin6_addr.s6_addr[from->peer & 2 ? 15 : 10] = 1, in6.sin6_scope_id = from->peer & 4;
        memcpy(name, &in6, *name_length = sizeof in6);
    } else {
        struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(1000 + from->peer), .sin_addr.s_addr = 1};
        memcpy(name, &in, *name_length = sizeof in);
    }
    memset(record, 0, KEY);
    memcpy(record, name, *name_length);
    *record_length = NAME, *segment = 0;
    size_t used = 0;
    for (int i = 0; i < count; i++) used = put_message(&list[i], control, used, record, record_length, segment);
    return used;
}

// --- the model -----------------------------------------------------------------------------------------------

static int is_ack(const uint8_t *data, int size) { return size >= SRT_HEADER && data[0] == 0x80 && data[1] == 0x02; }

static void expect_error(int fd, int error) {
    put(&w.errors, NULL, error, fd, 0);
}

// An error tells of all datagrams that the server has not answered to.
static void was_refused(int fd) {
    w.unreachable += w.offered[fd];
    w.offered[fd] = 0;
}

static void came_over_link(Known *link, const uint8_t *data, int size) {
    link->packets++, link->bytes += size, link->last_heard = w.now;
    link->credit += 2 * (size + 28);
    if (link->credit > 65536) link->credit = 65536;
    for (int fd = 0; fd < DESCRIPTORS; fd++)
        if (w.group_of[fd] == link->group) put(&w.to_server[fd], data, size, 0, 0);
    if (data[0] >= 0x80) return;
    put(&link->sequences, data, 4, 0, w.now + w.path->flush_after);
    if (++link->waiting == 10) link->waiting = 0, link->credit -= 44 + 28;
}

// `data` is the sender's; `total` bytes of it were handed over under `record`.
static void came_from_peer(const uint8_t *data, int total, int segment, const uint8_t *record, int record_length) {
    Known *link = NULL;
    for (int i = 0; i < w.top; i++)
        if (w.links[i].used && w.links[i].record_length == record_length &&
            !memcmp(w.links[i].record, record, record_length))
            link = &w.links[i];
    if (segment <= 0) segment = total ? total : 1;
    if (segment > 1500) return;
    int caller = record_length == w.caller_length && !memcmp(w.caller, record, record_length);
    for (int at = 0; !at || at < total; at += segment) {
        int size = total - at < segment ? total - at : segment;
        int handshake = size >= 16 && data[at] == 0x80 && data[at + 1] == 0;
        if (link && size >= 16 && (data[at] < 0x90 || data[at] >= 0xC0) && !handshake) {
            came_over_link(link, data + at, size);
        } else {
            List *list = caller && w.stream.length < FORWARDS ? &w.stream : &w.received;
            memcpy(records[put(list, data + at, size, record_length, 0)], record, record_length);
        }
    }
}

static int seen_before(const uint8_t *data, int size) {
    if (!is_ack(data, size) || size > 64) return 0;
    for (int i = 0; i < COPIES; i++)
        if (w.ack_size[i] == size && !memcmp(w.acks[i], data, size)) return 1;
    memcpy(w.acks[w.ack_at], data, w.ack_size[w.ack_at] = size);
    w.ack_at = (w.ack_at + 1) % COPIES;
    return 0;
}

static int by_serial(const void *one, const void *other) {
    return (*(Known *const *)one)->serial - (*(Known *const *)other)->serial;
}

// An ACK goes to two links that can pay for it and for the SRTLA ACK of ten packets; who was heard within 0.5 s first.
static int answer(int group, const uint8_t *data, int size) {
    Known *links[GROUP_LINKS], *chosen[2];
    int count = 0, copies = 0;
    for (int i = 0; i < w.top; i++)
        if (w.links[i].used && w.links[i].group == group) links[count++] = &w.links[i];
    qsort(links, count, sizeof *links, by_serial);
    for (int i = 0, turn = w.turns[group]; i < count && copies < 2; i++) {
        int at = (turn + i) % count;
        if (links[at]->credit < size + 28 + 72 || w.now - links[at]->last_heard > 0.5) continue;
        chosen[copies++] = links[at];
        if (copies == 2) w.turns[group] = at + 1;
    }
    while (copies < 2) {
        Known *last = NULL;
        for (int i = 0; i < count; i++)
            if (links[i]->credit >= size + 28 + 72 && !(copies && chosen[0] == links[i]) &&
                (!last || links[i]->last_heard > last->last_heard))
                last = links[i];
        if (!last) break;
        chosen[copies++] = last;
    }
    for (int i = 0; i < copies; i++) {
        chosen[i]->credit -= size + 28;
        put(&chosen[i]->answers, data, size, 0, 0);
    }
    return copies;
}

static void came_from_server(int fd, const uint8_t *data, int size) {
    if (size > 1500 || (w.copying && seen_before(data, size))) return;
    if (is_ack(data, size) && answer(w.group_of[fd], data, size)) return;
    put(&w.reports, data, size, fd, 0);
}

// --- what the kernel does ------------------------------------------------------------------------------------

static int read_from(int fd, struct mmsghdr *headers, unsigned room, int flags, struct timespec *patience) {
    MUST(flags == MSG_DONTWAIT && !patience && w.in_run && room > 0 && (fd == LISTENER || w.group_of[fd] >= 0));
    MUST(fd != LISTENER || room <= SLOTS);
    if (w.pending[fd]) {
        int error = errno = w.pending[fd];
        w.pending[fd] = 0;
        if (fd != LISTENER && error != EAGAIN && error != EINTR) {
            was_refused(fd);
            expect_error(fd, error);
        }
        return -1;
    }
    w.spurious[fd] = 0;
    unsigned count = 0;
    for (; count < room; count++) {
        Node *node = first(&w.arriving[fd]);
        if (!node || node->due > time_now()) break;
        struct msghdr *header = &headers[count].msg_hdr;
        MUST(header->msg_iovlen == 1);
        uint8_t *data = header->msg_iov->iov_base;
        size_t size = node->size, most = header->msg_iov->iov_len, whole = fd == LISTENER ? PACKED : SERVER_SIZE;
        MUST(most <= whole);
        unguard(data, whole);
        header->msg_flags = size > most ? MSG_TRUNC : 0;
        if (size > most) size = most;
        memcpy(data, node->data, size);
        headers[count].msg_len = size;
        guard(data + size, whole - size);
        if (fd == LISTENER) {
            uint8_t name[NAME], record[KEY];
            uint8_t *control = header->msg_control;
            int name_length = 0, record_length = 0, segment = 0;
            MUST(header->msg_namelen == NAME && header->msg_controllen == CONTROL);
            unguard(header->msg_name, NAME);
            unguard(control, CONTROL);
            size_t used = describe(&senders[w.arriving[fd].first], name, &name_length, control, record, &record_length,
                                   &segment);
            memcpy(header->msg_name, name, name_length);
            header->msg_namelen = name_length, header->msg_controllen = used;
            guard((uint8_t *)header->msg_name + name_length, NAME - name_length);
            guard(control + used, CONTROL - used);
            came_from_peer(node->data, size, segment, record, record_length);
        } else {
            header->msg_namelen = 0, header->msg_controllen = 0;
            came_from_server(fd, node->data, size);
        }
        take(&w.arriving[fd]);
    }
    if (count) {
        w.offered[fd] = 0;
        return count;
    }
    errno = EAGAIN;
    return -1;
}

// To a link: what its server said and it has earned, or an SRTLA ACK.
static void check_answer(const struct msghdr *header) {
    Known *link = NULL;
    for (int i = 0; i < w.top; i++)
        if (header->msg_name == w.path->links[i].name) link = &w.links[i];
    MUST(link && link->used && link->credit >= 0 && header->msg_iovlen == 1);
    MUST((int)header->msg_namelen == link->name_length && !memcmp(header->msg_name, link->record, link->name_length));
    MUST((int)header->msg_controllen == link->control_length && (link->control_length > 0) == !!header->msg_control);
    MUST(!link->control_length || !memcmp(header->msg_control, link->control, link->control_length));
    const uint8_t *data = header->msg_iov->iov_base;
    int size = header->msg_iov->iov_len;
    MUST(size >= 8);
    if (data[0] == 0x80) {
        Node *node = first(&link->answers);
        MUST(node && node->size == size && !memcmp(node->data, data, size));
        take(&link->answers);
        return;
    }
    MUST(data[0] == 0x91 && data[1] == 0 && data[2] == 0 && data[3] == 0 && size % 4 == 0 && size <= 44);
    MUST(link->sequences.length >= size / 4 - 1);
    MUST(size == 44 || first(&link->sequences)->due <= w.now);
    if (size < 44) link->waiting = 0, link->credit -= size + 28;
    for (int at = 4; at < size; at += 4) {
        MUST(!memcmp(first(&link->sequences)->data, data + at, 4));
        take(&link->sequences);
    }
}

static int send_many(int fd, struct mmsghdr *headers, unsigned count, int flags) {
    MUST(fd == LISTENER && flags == MSG_DONTWAIT && count > 0 && count <= OUTGOING && w.in_run);
    int result = next_result();
    if (result > 0) {
        check_answer(&headers->msg_hdr); // it was right to try
        w.failed++;
        errno = result;
        return -1;
    }
    if (result < 0 && (unsigned)-result < count) count = -result; // then there was an error
    for (unsigned i = 0; i < count; i++) check_answer(&headers[i].msg_hdr);
    return count;
}

static void check_datagram(int fd, const struct iovec *data) {
    Node *node = first(&w.to_server[fd]);
    MUST(node && (size_t)node->size == data->iov_len);
    MUST(w.direct ? node->data == data->iov_base : !memcmp(node->data, data->iov_base, node->size));
}

static ssize_t send_message(int fd, const struct msghdr *message, int flags) {
    MUST(flags == MSG_DONTWAIT && fd >= 0 && fd < DESCRIPTORS && !message->msg_name);
    MUST(message->msg_iovlen > 1 && message->msg_iovlen <= SEGMENTS);
    struct cmsghdr *head = CMSG_FIRSTHDR(message);
    uint16_t size;
    MUST(head->cmsg_level == IPPROTO_UDP && head->cmsg_type == UDP_SEGMENT && head->cmsg_len == CMSG_LEN(sizeof size));
    MUST(!CMSG_NXTHDR((struct msghdr *)message, head));
    memcpy(&size, CMSG_DATA(head), sizeof size);
    List before = w.to_server[fd];
    size_t total = 0;
    for (size_t i = 0; i < message->msg_iovlen; i++) {
        size_t length = message->msg_iov[i].iov_len;
        MUST(length == size || (i == message->msg_iovlen - 1 && length < size && length > 0));
        check_datagram(fd, &message->msg_iov[i]);
        take(&w.to_server[fd]);
        total += length;
    }
    MUST(total <= 65507);
    int result = next_result();
    if (result <= 0) {
        w.offered[fd] += w.direct ? 0 : message->msg_iovlen;
        return total;
    }
    if (result == ECONNREFUSED && !w.direct) was_refused(fd);
    w.to_server[fd] = before; // all of it must come again
    errno = result;
    return -1;
}

static ssize_t send_single(int fd, const void *data, size_t size, int flags) {
    MUST(flags == MSG_DONTWAIT && fd >= 0 && fd < DESCRIPTORS);
    check_datagram(fd, &(struct iovec){(void *)data, size});
    int result = next_result(), again = w.again[fd];
    if (size > 65507) result = EMSGSIZE;
    w.again[fd] = 0;
    if (result > 0) {
        errno = result;
        w.insisted = again;
        if (result == ECONNREFUSED && !again) {
            w.again[fd] = 1;
            if (!w.direct) was_refused(fd);
        } else if (!w.direct) {
            w.unreachable++;
            expect_error(fd, result);
            take(&w.to_server[fd]);
        }
        return -1;
    }
    take(&w.to_server[fd]);
    w.offered[fd] += !w.direct;
    return size;
}
