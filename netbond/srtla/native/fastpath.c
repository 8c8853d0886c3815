// The data path of both engines: their sockets, many datagrams per system call, a few looks per packet.
//
// The receiver's links that are up are served here: packets to the SRT server, SRTLA ACKs, the SRT server's ACKs to
// two of them in turn. What that does is what receiver.py does for the same datagrams (tests/unit/srtla/native/test_fastpath.py holds
// the two against each other); everything else goes to receiver.py, and without this file receiver.py does all.
// For the sender it only reads and writes: sender.py decides on every packet.
//
// Plain C; fastmodule.c makes it a class of Python. One thread, no callbacks, no allocation after
// nb_new. Nothing in here trusts a length that came from outside: the kernel bounds what it writes by what it is
// given, and datagrams are only looked at up to their length.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <netinet/in.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#define UDP_GRO 104
#endif

enum {
    SLOTS = 64, PACKED = 65536, SLOT = PACKED + 24 * 64, // so that slots do not share the lines of a cache
    CONTROL = 96, NAME = 32, KEY = 96, MTU = 1500, SRT_HEADER = 16, ACK_EVERY = 10,
    LINKS = 8192, TABLE = 16384, GROUPS = 1024, GROUP_LINKS = 64, SERVER_SLOTS = 16, SERVER_SIZE = 2048,
    SEGMENTS = 64, PACKED_ROOM = 65000, FORWARDS = SLOTS * 64, OVERHEAD = 28, CREDIT_MAX = 65536, EARNED = 2,
    RESERVE = 4 + 4 * ACK_EVERY + OVERHEAD, ACK_COPIES = 2, READY = 64,
    REPORT = 8 << 20, OUTGOING = 64, COPIES = 16, COPY = 64, ALONE = 4, WINDOW = 1 << 15, BITS = 15, ASKED = 0x80,
};

static const uint32_t SEQUENCES = 0x7fffffff;

static const double FRESH = 0.5, SETTLE = 5.0; // s
static const double CALM = 1.2;                // times `pause`: between looks if packets may wait so long

// What is noted about the packets of a group's stream: memory of Python's, kept by figures.py, too.
typedef struct {
    uint8_t laps[WINDOW];
    uint64_t packets, payload, dropped;
    double acked_at, counts_from;
    uint32_t next, known, most, filtered, told[6]; // RTT, its variance, room, packets/s, capacity, bytes/s
} Tally;

typedef struct {
    int used, group, dirty, key_length, name_length, control_length, waiting;
    uint8_t key[KEY], name[NAME], control[CONTROL], sequences[ACK_EVERY * 4];
    double due, last_heard;
    uint32_t packets;
    uint64_t bytes;
    int64_t credit;
} Link;

typedef struct {
    int fd, count, turn, links[GROUP_LINKS];
    uint64_t offered; // packets sent to the SRT server since it answered
    Tally *tally;     // NULL: none
} Group;

typedef struct { int32_t link; uint32_t packets; uint64_t bytes; double last_heard; } Heard;

typedef struct {
    int listener, epoll, more, fresh;
    double pause, flush_after, worth_it, enough, gap, span, count, looked, paced, next_flush;
    uint64_t send_failed, unreachable;
    Link links[LINKS];
    int32_t table[TABLE];
    int top, live;
    int dirty[LINKS], dirty_count;
    Group groups[GROUPS];
    struct mmsghdr headers[SLOTS];
    struct iovec vectors[SLOTS];
    uint8_t names[SLOTS][NAME], controls[SLOTS][CONTROL];
    uint8_t server[SERVER_SLOTS][SERVER_SIZE];
    int drop_copies, copy_at, copy_size[COPIES]; // of ACKs that the last of several links brought, too
    uint8_t copies[COPIES][COPY];
    struct { int group; struct iovec data; } forwards[FORWARDS];
    int forward_count;
    uint8_t caller[KEY];      // the sender's: who writes the stream, as the key of a link; length 0: not known
    int caller_length;
    struct iovec stream[FORWARDS]; // what it has written, in `data`
    int stream_count;
    struct mmsghdr outgoing[OUTGOING]; // for links, sent together
    struct iovec outgoing_data[OUTGOING];
    uint8_t outgoing_bytes[OUTGOING][SERVER_SIZE];
    int outgoing_count;
    size_t reported;
    uint8_t report[REPORT]; // for Python: records of {int32 kind or fd, int32 length, int32 record length}, then both
    uint8_t data[SLOTS][SLOT];
} Path;

static double monotonic(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

// --- links ---------------------------------------------------------------------------------------------------

static uint32_t hash(const uint8_t *key, int length) {
    uint32_t h = 2166136261u;
    for (int i = 0; i < length; i++) h = (h ^ key[i]) * 16777619u;
    return h ^ h >> 15;
}

static int find(Path *p, const uint8_t *key, int length) {
    for (uint32_t at = hash(key, length) % TABLE; p->table[at] >= 0; at = (at + 1) % TABLE) {
        Link *link = &p->links[p->table[at]];
        if (link->key_length == length && !memcmp(link->key, key, length)) return p->table[at];
    }
    return -1;
}

static void enter(Path *p, int number) {
    uint32_t at = hash(p->links[number].key, p->links[number].key_length) % TABLE;
    while (p->table[at] >= 0) at = (at + 1) % TABLE;
    p->table[at] = number;
}

Path *nb_new(int listener, int epoll, double pause, double worth_it, double enough, double flush_after) {
    Path *p = calloc(1, sizeof *p);
    if (!p) return NULL;
    p->listener = listener, p->epoll = epoll;
    p->pause = pause, p->worth_it = worth_it, p->enough = enough, p->flush_after = flush_after;
    p->gap = p->span = ALONE * pause, p->count = 1.0, p->next_flush = 1e18;
    memset(p->table, 0xff, sizeof p->table);
    for (int i = 0; i < GROUPS; i++) p->groups[i].fd = -1;
    return p;
}

void nb_free(Path *p) { free(p); }

// The sender's: of SRT's ACKs, which come over every link, report one.
void nb_drop_copies(Path *p) { p->drop_copies = 1; }

// The sender's: give out what comes under this key without its record, by nb_stream.
void nb_expect(Path *p, const uint8_t *key, int length) {
    memcpy(p->caller, key, length);
    p->caller_length = length;
}

int nb_add_group(Path *p, int fd) {
    for (int i = 0; i < GROUPS; i++)
        if (p->groups[i].fd < 0) {
            p->groups[i] = (Group){.fd = fd};
            return i;
        }
    return -1;
}

void nb_drop_link(Path *p, int number) {
    Link *link = &p->links[number];
    if (!link->used) return;
    Group *group = &p->groups[link->group];
    int kept = 0;
    for (int i = 0; i < group->count; i++)
        if (group->links[i] != number) group->links[kept++] = group->links[i];
    group->count = kept;
    link->used = 0;
    p->live--;
    memset(p->table, 0xff, sizeof p->table);
    for (int i = 0; i < p->top; i++)
        if (p->links[i].used) enter(p, i);
}

void nb_drop_group(Path *p, int number) {
    while (p->groups[number].count) nb_drop_link(p, p->groups[number].links[0]);
    p->groups[number].fd = -1;
    p->groups[number].tally = NULL;
}

int nb_add_link(Path *p, int group, const uint8_t *key, int key_length, int name_length, const uint8_t *control,
                int control_length, int credit, double now) {
    int number = 0;
    while (number < LINKS && p->links[number].used) number++;
    if (number == LINKS || key_length > KEY || name_length > NAME || control_length > CONTROL ||
        p->groups[group].count == GROUP_LINKS || find(p, key, key_length) >= 0)
        return -1;
    Link *link = &p->links[number];
    memset(link, 0, sizeof *link);
    link->used = 1, link->group = group, link->credit = credit, link->last_heard = now;
    link->key_length = key_length, link->name_length = name_length, link->control_length = control_length;
    memcpy(link->key, key, key_length);
    memcpy(link->name, key, name_length);
    memcpy(link->control, control, control_length);
    p->groups[group].links[p->groups[group].count++] = number;
    if (number >= p->top) p->top = number + 1;
    p->live++;
    enter(p, number);
    return number;
}

// Note the group's packets in this memory, which stays until the group is dropped.
void nb_tally(Path *p, int group, Tally *tally) { p->groups[group].tally = tally; }

// What links have carried since the last call; how many entries.
int nb_heard(Path *p, Heard *out, int room) {
    int count = 0;
    while (p->dirty_count && count < room) {
        int number = p->dirty[--p->dirty_count];
        Link *link = &p->links[number];
        link->dirty = 0;
        if (!link->used || !link->packets) continue;
        out[count++] = (Heard){number, link->packets, link->bytes, link->last_heard};
        link->packets = 0, link->bytes = 0;
    }
    return count;
}

uint64_t nb_failed(Path *p, int unreachable) {
    uint64_t *counter = unreachable ? &p->unreachable : &p->send_failed, n = *counter;
    *counter = 0;
    return n;
}

// --- sending -------------------------------------------------------------------------------------------------

static void send_outgoing(Path *p) {
    for (int done = 0; done < p->outgoing_count;) {
        int sent = sendmmsg(p->listener, p->outgoing + done, p->outgoing_count - done, MSG_DONTWAIT);
        if (sent <= 0) p->send_failed++; // this one; the others may go
        done += sent > 0 ? sent : 1;
    }
    p->outgoing_count = 0;
}

// `size` is at most SERVER_SIZE. Leaves with the next send_outgoing: before nb_run returns. The link's credit has room.
static void to_link(Path *p, Link *link, const void *data, size_t size) {
    link->credit -= size + OVERHEAD;
    if (p->outgoing_count == OUTGOING) send_outgoing(p);
    int at = p->outgoing_count++;
    memcpy(p->outgoing_bytes[at], data, size);
    p->outgoing_data[at] = (struct iovec){p->outgoing_bytes[at], size};
    p->outgoing[at].msg_hdr = (struct msghdr){
        .msg_name = link->name, .msg_namelen = link->name_length, .msg_iov = &p->outgoing_data[at],
        .msg_iovlen = 1, .msg_control = link->control_length ? link->control : NULL,
        .msg_controllen = link->control_length};
}

static void acknowledge(Path *p, Link *link) {
    uint8_t packet[4 + ACK_EVERY * 4] = {0x91, 0x00, 0, 0};
    memcpy(packet + 4, link->sequences, link->waiting * 4);
    to_link(p, link, packet, 4 + link->waiting * 4);
    link->waiting = 0;
}

static void report(Path *p, int kind, const uint8_t *record, int record_length, const uint8_t *data, int length) {
    int32_t head[3] = {kind, length, record_length};
    if (p->reported + sizeof head + length + record_length > REPORT) return;
    memcpy(p->report + p->reported, head, sizeof head);
    p->reported += sizeof head;
    if (record_length) memcpy(p->report + p->reported, record, record_length);
    p->reported += record_length;
    if (length) memcpy(p->report + p->reported, data, length);
    p->reported += length;
}

// The kernel tells of an ICMP error once, however many datagrams were refused: all since the last answer.
static void refused(Path *p, Group *group) {
    p->unreachable += group->offered;
    group->offered = 0;
}

static void send_one(Path *p, Group *group, struct iovec *data) {
    int sent = send(group->fd, data->iov_base, data->iov_len, MSG_DONTWAIT) >= 0;
    if (!sent && errno == ECONNREFUSED) { // of an earlier datagram; this one was not sent yet
        refused(p, group);
        sent = send(group->fd, data->iov_base, data->iov_len, MSG_DONTWAIT) >= 0;
    }
    group->offered += sent;
    if (sent) return;
    int error = errno;
    p->unreachable++;
    report(p, group->fd, (const uint8_t *)&error, sizeof error, NULL, 0);
}

// Datagrams of equal length, the last may be shorter, in one system call; whether it could.
static int send_packed(int fd, struct iovec *data, int count) {
    union { char space[CMSG_SPACE(sizeof(uint16_t))]; struct cmsghdr align; } control = {{0}};
    struct msghdr message = {.msg_iov = data, .msg_iovlen = count, .msg_control = &control,
                             .msg_controllen = sizeof control.space};
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(&message);
    uint16_t size = data[0].iov_len;
    cmsg->cmsg_level = IPPROTO_UDP, cmsg->cmsg_type = UDP_SEGMENT, cmsg->cmsg_len = CMSG_LEN(sizeof size);
    memcpy(CMSG_DATA(cmsg), &size, sizeof size);
    return sendmsg(fd, &message, MSG_DONTWAIT) >= 0;
}

// The sender's: datagrams over a connected socket. How many went out before the error, if there was one.
// (batch.send in Python; tests/unit/srtla/process/test_batch.py has both do the same.)
int nb_send(int fd, struct iovec *data, int total, int *error) {
    *error = 0;
    for (int start = 0; start < total;) {
        size_t size = data[start].iov_len, most = size ? PACKED_ROOM / size : 1;
        int end = start + 1, limit = most < SEGMENTS ? most : SEGMENTS;
        if (limit > total - start) limit = total - start;
        while (end < start + limit && data[end].iov_len == size) end++;
        if (end < start + limit && data[end].iov_len && data[end].iov_len < size) end++;
        if (end - start > 1) {
            if (send_packed(fd, data + start, end - start)) {
                start = end;
                continue;
            }
            // What a device or kernel cannot do goes singly.
            if (errno != EINVAL && errno != EIO && errno != EMSGSIZE && errno != EOPNOTSUPP &&
                errno != ENOPROTOOPT && errno != ECONNREFUSED) {
                *error = errno;
                return start;
            }
        }
        for (; start < end; start++) {
            ssize_t sent = send(fd, data[start].iov_base, data[start].iov_len, MSG_DONTWAIT);
            if (sent < 0 && errno == ECONNREFUSED) // of an earlier datagram; this one was not sent yet
                sent = send(fd, data[start].iov_base, data[start].iov_len, MSG_DONTWAIT);
            if (sent < 0) {
                *error = errno;
                return start;
            }
        }
    }
    return total;
}

static void send_run(Path *p, Group *group, struct iovec *data, int count) {
    if (count > 1) {
        if (send_packed(group->fd, data, count)) {
            group->offered += count;
            return;
        }
        if (errno == ECONNREFUSED) refused(p, group);
    }
    for (int i = 0; i < count; i++) send_one(p, group, &data[i]);
}

static void forward(Path *p) {
    for (int start = 0; start < p->forward_count; start++) {
        int group = p->forwards[start].group, count = 0;
        size_t room = PACKED_ROOM;
        struct iovec run[SEGMENTS];
        if (group < 0) continue;
        for (int i = start; i < p->forward_count; i++) {
            if (p->forwards[i].group != group) continue;
            struct iovec data = p->forwards[i].data;
            p->forwards[i].group = -1;
            if (count && (data.iov_len > run[0].iov_len || count == SEGMENTS || data.iov_len > room)) {
                send_run(p, &p->groups[group], run, count);
                count = 0, room = PACKED_ROOM;
            }
            run[count++] = data;
            room -= data.iov_len;
            if (data.iov_len < run[0].iov_len) {
                send_run(p, &p->groups[group], run, count);
                count = 0, room = PACKED_ROOM;
            }
        }
        if (count) send_run(p, &p->groups[group], run, count);
    }
    p->forward_count = 0;
}

// --- figures of SRT's ----------------------------------------------------------------------------------------

static uint32_t word(const uint8_t *data) {
    return (uint32_t)data[0] << 24 | (uint32_t)data[1] << 16 | (uint32_t)data[2] << 8 | data[3];
}

static uint8_t lap_of(uint32_t sequence) { return (sequence >> BITS & 0x3f) + 1; }

// A data packet. (Figures.arrived in figures.py.)
static void tally_data(Tally *t, const uint8_t *data, int length) {
    uint32_t sequence = word(data);
    uint8_t *lap = &t->laps[sequence % WINDOW];
    if (*lap == lap_of(sequence)) return;
    *lap = lap_of(sequence);
    t->packets++;
    t->payload += length - SRT_HEADER;
}

// An ACK of the SRT server. (Figures.acknowledged in figures.py.)
static void tally_ack(Tally *t, const uint8_t *data, int size, double now) {
    if (size < SRT_HEADER + 4) return;
    uint32_t end = word(data + SRT_HEADER) & SEQUENCES;
    if (!t->known) t->next = end, t->known = 1, t->counts_from = now + SETTLE;
    uint32_t ahead = (end - t->next) & SEQUENCES, behind = (t->next - end) & SEQUENCES;
    if (ahead < 1u << 30) {
        if (ahead <= WINDOW && now >= t->counts_from)
            for (uint32_t i = 0; i < ahead; i++) {
                uint32_t sequence = (t->next + i) & SEQUENCES;
                uint8_t lap = t->laps[sequence % WINDOW], arrived = lap_of(sequence);
                t->dropped += t->filtered ? lap == (arrived | ASKED) : lap != arrived;
            }
        t->next = end;
    } else if (behind > WINDOW) {
        t->next = end;
    }
    int told = size >= SRT_HEADER + 28 ? 6 : size >= SRT_HEADER + 16 ? 3 : 0;
    for (int i = 0; i < told; i++) t->told[i] = word(data + SRT_HEADER + 4 + 4 * i);
    if (t->told[2] > t->most) t->most = t->told[2];
    t->acked_at = now;
}

// --- receiving -----------------------------------------------------------------------------------------------

static void from_link(Path *p, int number, uint8_t *data, int length, double now) {
    Link *link = &p->links[number];
    if (!link->dirty && p->dirty_count < LINKS) {
        link->dirty = 1;
        p->dirty[p->dirty_count++] = number;
    }
    link->last_heard = now;
    link->packets++;
    link->bytes += length;
    link->credit += EARNED * (length + OVERHEAD);
    if (link->credit > CREDIT_MAX) link->credit = CREDIT_MAX;
    if (p->forward_count == FORWARDS) forward(p);
    p->forwards[p->forward_count].group = link->group;
    p->forwards[p->forward_count++].data = (struct iovec){data, length};
    if (data[0] & 0x80) return;
    if (p->groups[link->group].tally) tally_data(p->groups[link->group].tally, data, length);
    memcpy(link->sequences + 4 * link->waiting++, data, 4);
    if (link->waiting == 1) {
        link->due = now + p->flush_after;
        if (link->due < p->next_flush) p->next_flush = link->due;
    }
    if (link->waiting == ACK_EVERY) acknowledge(p, link);
}

static int from_peers(Path *p, double now) {
    for (; p->fresh < SLOTS; p->fresh++) { // the kernel has written to those before
        int i = SLOTS - 1 - p->fresh;
        p->vectors[i] = (struct iovec){p->data[i], PACKED - 1};
        p->headers[i].msg_hdr = (struct msghdr){.msg_name = p->names[i], .msg_namelen = NAME, .msg_iov = &p->vectors[i],
                                                .msg_iovlen = 1, .msg_control = p->controls[i],
                                                .msg_controllen = CONTROL};
    }
    int got = recvmmsg(p->listener, p->headers, SLOTS, MSG_DONTWAIT, NULL), packets = 0;
    if (got > 0) p->fresh = SLOTS - got;
    for (int i = 0; i < got; i++) {
        struct msghdr *header = &p->headers[i].msg_hdr;
        int total = p->headers[i].msg_len, segment = 0, length = NAME;
        uint8_t key[KEY] = {0};
        if (header->msg_namelen > NAME) continue;
        memcpy(key, p->names[i], header->msg_namelen);
        for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c)) {
            if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO) {
                if (c->cmsg_len >= CMSG_LEN(sizeof segment)) memcpy(&segment, CMSG_DATA(c), sizeof segment);
            } else if (length + CMSG_ALIGN(c->cmsg_len) <= KEY) {
                memcpy(key + length, c, c->cmsg_len);
                length += CMSG_ALIGN(c->cmsg_len);
            }
        }
        int link = p->live ? find(p, key, length) : -1;
        int caller = length == p->caller_length && !memcmp(key, p->caller, length);
        if (segment <= 0) segment = total > 0 ? total : 1;
        if (segment > MTU) continue; // no packet of either protocol
        int at = 0;
        do {
            int size = total - at < segment ? total - at : segment;
            uint8_t *data = p->data[i] + at;
            packets++;
            int srt = size >= SRT_HEADER && !(data[0] >= 0x90 && data[0] < 0xC0);
            if (link >= 0 && srt && !(data[0] == 0x80 && data[1] == 0)) // handshakes are Python's
                from_link(p, link, data, size, now);
            else if (caller && p->stream_count < FORWARDS)
                p->stream[p->stream_count++] = (struct iovec){data, size};
            else
                report(p, -1, key, length, data, size);
            at += segment;
        } while (at < total);
    }
    forward(p);
    p->more = p->more || got == SLOTS;
    return packets;
}

// Whether this is byte for byte an ACK that was here a moment ago.
static int is_copy(Path *p, const uint8_t *data, int size) {
    if (size > COPY || size < SRT_HEADER || data[0] != 0x80 || data[1] != 0x02) return 0;
    for (int i = 0; i < COPIES; i++)
        if (p->copy_size[i] == size && !memcmp(p->copies[i], data, size)) return 1;
    memcpy(p->copies[p->copy_at], data, size);
    p->copy_size[p->copy_at] = size;
    p->copy_at = (p->copy_at + 1) % COPIES;
    return 0;
}

// To two links in turn, of those that have earned it: the next that were heard lately, else those heard last. How many
// got it. (in_turn in groups.py.)
static int to_links_in_turn(Path *p, Group *group, const uint8_t *data, int size, double now) {
    Link *chosen[ACK_COPIES];
    int copies = 0, need = size + OVERHEAD + RESERVE;
    for (int i = 0, turn = group->turn; i < group->count && copies < ACK_COPIES; i++) {
        int at = (turn + i) % group->count;
        Link *link = &p->links[group->links[at]];
        if (link->credit < need || now - link->last_heard > FRESH) continue;
        chosen[copies++] = link;
        if (copies == ACK_COPIES) group->turn = at + 1;
    }
    while (copies < ACK_COPIES) {
        Link *last = NULL;
        for (int i = 0; i < group->count; i++) {
            Link *link = &p->links[group->links[i]];
            int known = copies && chosen[0] == link;
            if (link->credit >= need && !known && (!last || link->last_heard > last->last_heard)) last = link;
        }
        if (!last) break;
        chosen[copies++] = last;
    }
    for (int i = 0; i < copies; i++) to_link(p, chosen[i], data, size);
    return copies;
}

static int from_server(Path *p, int fd, double now) {
    Group *group = NULL;
    struct mmsghdr headers[SERVER_SLOTS];
    struct iovec vectors[SERVER_SLOTS];
    for (int i = 0; i < GROUPS && !group; i++)
        if (p->groups[i].fd == fd) group = &p->groups[i];
    memset(headers, 0, sizeof headers);
    for (int i = 0; i < SERVER_SLOTS; i++) {
        vectors[i] = (struct iovec){p->server[i], SERVER_SIZE};
        headers[i].msg_hdr.msg_iov = &vectors[i], headers[i].msg_hdr.msg_iovlen = 1;
    }
    int got = recvmmsg(fd, headers, SERVER_SLOTS, MSG_DONTWAIT, NULL);
    if (got < 0) {
        int error = errno;
        if (error == EAGAIN || error == EINTR) return 0;
        if (group) refused(p, group);
        report(p, fd, (const uint8_t *)&error, sizeof error, NULL, 0);
        return 0;
    }
    if (group) group->offered = 0;
    for (int i = 0; i < got; i++) {
        uint8_t *data = p->server[i];
        int size = headers[i].msg_len;
        if (size > MTU || (p->drop_copies && is_copy(p, data, size))) continue;
        if (!group || !group->count || size < SRT_HEADER || data[0] != 0x80 || data[1] != 0x02) {
            report(p, fd, NULL, 0, data, size);
            continue;
        }
        if (group->tally) tally_ack(group->tally, data, size, now);
        if (!to_links_in_turn(p, group, data, size, now)) report(p, fd, NULL, 0, data, size);
    }
    return got;
}

static void flush(Path *p, double now) {
    p->next_flush = 1e18;
    for (int i = 0; i < p->top; i++) {
        Link *link = &p->links[i];
        if (!link->used || !link->waiting) continue;
        if (link->due <= now)
            acknowledge(p, link);
        else if (link->due < p->next_flush)
            p->next_flush = link->due;
    }
}

static void nap(double seconds) {
    struct timespec t = {0, (long)(seconds * 1e9)};
    if (seconds > 0) nanosleep(&t, NULL);
}

// Serve until `until` (monotonic s), or until there is something for Python: bytes in the report, datagrams of the
// stream, or descriptors in `others` (the count is the result), which are neither the listener nor a group's. Report and
// stream begin anew. While
// packets flow, a look comes when there are enough of them, `patience` s after the last one at most.
int nb_run(Path *p, double until, double patience, int *others, int room) {
    struct epoll_event ready[READY];
    int other = 0;
    p->reported = 0, p->stream_count = 0;
    for (;;) {
        double now = monotonic();
        if (now >= p->next_flush) flush(p, now);
        send_outgoing(p);
        if (other || p->reported || p->stream_count || now >= until) return other;
        int count = 0;
        int flows = !p->more && p->gap * p->worth_it < patience;
        if (flows) {
            double pause = p->gap * p->enough;
            if (pause < p->pause * CALM) pause = p->pause * CALM;
            if (pause > patience) pause = patience;
            if (pause < p->pause) pause = p->pause;
            nap(p->looked + (p->gap * SLOTS < pause ? p->gap * SLOTS : pause) - now);
        }
        if (flows || p->more) count = epoll_wait(p->epoll, ready, READY, 0);
        if (count <= 0) {
            now = monotonic();
            double wait = (until < p->next_flush ? until : p->next_flush) - now;
            int ms = wait <= 0 ? 0 : wait > 3600 ? 3600000 : (int)(wait * 1000) + 1;
            count = epoll_wait(p->epoll, ready, READY, ms);
        }
        now = monotonic();
        int packets = 0, read = 0;
        p->more = 0;
        for (int i = 0; i < count; i++) {
            int fd = ready[i].data.fd, known = fd == p->listener;
            for (int j = 0; j < GROUPS && !known; j++) known = p->groups[j].fd == fd;
            if (fd == p->listener)
                packets += from_peers(p, now);
            else if (known)
                read += from_server(p, fd, now);
            else if (other < room)
                others[other++] = fd;
        }
        if (packets) {
            double span = now - p->paced < ALONE * p->pause ? now - p->paced : ALONE * p->pause;
            // A stream that begins, or becomes a faster one, is not kept waiting by what was before.
            double weight = packets >= 1.5 * p->enough && span < p->gap / 2 * packets ? 1.0 : 1.0 / 16;
            p->span += (span - p->span) * weight;
            p->count += (packets - p->count) * weight;
            p->gap = p->span / p->count; // the mean of gaps would make much of a look amidst a burst
            p->paced = now;
        }
        if (packets || read) p->looked = now;
    }
}

// The datagrams of the caller that nb_expect has named; they stay until nb_run is called again.
const struct iovec *nb_stream(Path *p, int *count) {
    *count = p->stream_count;
    return p->stream;
}

const uint8_t *nb_report(Path *p, size_t *length) {
    *length = p->reported;
    return p->report;
}
