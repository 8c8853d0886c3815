// Everything of netbond/srtla/native/fastpath.c that reads what strangers send, for a fuzzer: an input is a program.
//
// It adds and drops groups and links, lets datagrams come in, time pass and sending fail, and calls what Python calls.
// tests/fuzz_fastpath.h plays the kernel, and has a plain model of what has to come of it: each datagram of a known
// link reaches its group's server in order or is reported as refused, each other one is reported or is the stream's, no
// link is sent more than it has earned, an SRTLA ACK names what came over its link, nb_run ends and never waits in vain.
//
// scripts/fuzz builds it with clang's libFuzzer; with -DREPLAY it has a main that runs the files it is given
// (tests/unit/across/test_fuzz_native.py; tests/fuzz_native.py knows how a program is written). tests/corpus holds
// what was found.
#include "fuzz_fastpath.h"

// --- programs ------------------------------------------------------------------------------------------------

// How a packet begins; the rest tells it from others.
static void begin(uint8_t *data, int size, int kind, int a, int b) {
    static const uint8_t starts[][2] = {{0, 0}, {0x80, 6}, {0x80, 2}, {0x90, 0}, {0x91, 0}, {0x92, 1}, {0xC0, 0}};
    int stamp = w.stamp++;
    uint8_t head[8] = {a, b, stamp >> 8, stamp, a, b, 0, kind};
    if (kind == 0) head[0] = 0, head[1] = stamp >> 16;
    else if (kind < 7) head[0] = starts[kind][0], head[1] = starts[kind][1];
    if (kind == 2) head[2] = head[3] = 0; // there may be copies
    memcpy(data, head, size < 8 ? size : 8);
}

// One or several equal datagrams come to a socket, now or later, together or not.
static void arrive(int fd, Sender from, int kind, int size, int repeat) {
    static const double delays[] = {0, 0.0001, 0.001, 0.005, 0.03, 0.2, 1.5, 30}, gaps[] = {0, 0.0003, 0.002, 0.02};
    double due = time_now() + delays[kind >> 3 & 7], gap = gaps[kind >> 6];
    int a = number(), b = number(), parts = 1, segment = from.segment;
    if (from.packed && segment > 0 && segment < size) {
        if (size / segment >= PACKED_BY_KERNEL) segment = from.segment = size / PACKED_BY_KERNEL + 1;
        parts = size / segment + 1;
    } else {
        segment = size ? size : 1;
    }
    for (kind &= 7; repeat && reserve(parts, size); repeat--, due += gap) {
        uint8_t *data = bytes + w.byte_count;
        memset(data, a, size);
        for (int at = 0; at < size; at += segment)
            begin(data + at, size - at < segment ? size - at : segment, kind == 7 && at ? b % 7 : kind, a, b);
        w.byte_count += size;
        Node *last = w.arriving[fd].length ? &nodes[w.arriving[fd].last] : NULL;
        int node = put(&w.arriving[fd], data, size, fd, last && last->due > due ? last->due : due);
        senders[node] = from;
        nodes[node].about = parts;
    }
}

static void from_peer(void) {
    int peer = number() % PEERS, shape = number(), kind = number(), size = number16(), count = number();
    Sender from = {.peer = peer, .variant = shape & 7, .more = shape & 0x80 ? number() : 1,
                   .packed_last = shape >> 3 & 1, .packed = (shape >> 4 & 3) > 1};
    int repeat = count < 192 ? 1 : count - 191;
    if ((shape >> 4 & 3) == 2) { // as a device or the kernel packs: so many of one size, the last may be shorter
        int cut = number(), packed = 1 + number() % PACKED_BY_KERNEL;
        from.segment = 1 + size % 2000;
        if (from.segment * packed > 65507) packed = 65507 / from.segment;
        size = from.segment * packed - cut % from.segment;
        if (packed == 1) from.packed = 0;
    } else if (from.packed) { // whatever it may mean
        from.segment = (int)((unsigned)number16() << 16 | number16());
    } else {
        size = size < 0x8000 ? size % 1600 : size % 65508;
    }
    arrive(LISTENER, from, kind, size, repeat);
}

static void from_srt(void) {
    int fd = number() % 16, kind = number(), size = number16(), count = number();
    size = size < 0x8000 ? size % 100 : size % 65508;
    fd = fd < 8 ? SERVERS + fd : OTHER + fd % OTHER_COUNT;
    if (w.watched[fd]) arrive(fd, (Sender){0}, kind, size, count < 192 ? 1 : count - 191);
}

static void add_links(void) {
    int fd = SERVERS + number() % SERVER_COUNT, shape = number(), peer = number(), count = number(), credit = number16();
    int more = shape & 0x80 ? number() : 1;
    if (w.group_of[fd] < 0) return;
    for (count = count < 192 ? 1 : count - 191; count && w.live < 200; count--, peer++) {
        Sender from = {.peer = peer % PEERS, .variant = shape & 7, .more = more};
        uint8_t name[NAME], control[CONTROL], record[KEY], answer[CONTROL];
        int name_length, record_length, segment, links = 0, double_record = 0;
        describe(&from, name, &name_length, control, record, &record_length, &segment);
        memset(answer, peer, sizeof answer);
        int answer_length = shape >> 3 & 1 ? 40 : shape >> 4 & 1 ? 32 : 0;
        double now = time_now();
        int at = nb_add_link(w.path, w.group_of[fd], record, record_length, name_length, answer, answer_length,
                             credit, now);
        for (int i = 0; i < w.top; i++) {
            Known *link = &w.links[i];
            if (!link->used) continue;
            links += link->group == w.group_of[fd];
            double_record |= link->record_length == record_length && !memcmp(link->record, record, record_length);
        }
        MUST((at < 0) == (links == GROUP_LINKS || double_record));
        if (at < 0) continue;
        MUST(at < KNOWN && !w.links[at].used);
        if (at >= w.top) w.top = at + 1;
        Known *link = &w.links[at];
        *link = (Known){.used = 1, .group = w.group_of[fd], .name_length = name_length, .last_heard = now,
                        .control_length = answer_length, .record_length = record_length, .credit = credit,
                        .serial = w.serial++};
        memcpy(link->record, record, KEY);
        memcpy(link->control, answer, CONTROL);
        w.live++;
    }
}

static void drop_link(void) {
    int at = number();
    nb_drop_link(w.path, at);
    if (at >= w.top) return;
    w.live -= w.links[at].used;
    w.links[at].used = 0;
}

static Tally tallies[SERVER_COUNT];

static void add_group(void) {
    int fd = SERVERS + number() % SERVER_COUNT;
    if (w.group_of[fd] >= 0) return;
    MUST((w.group_of[fd] = nb_add_group(w.path, fd)) >= 0);
    tallies[fd - SERVERS] = (Tally){.filtered = fd & 1};
    nb_tally(w.path, w.group_of[fd], &tallies[fd - SERVERS]);
    w.turns[w.group_of[fd]] = 0, w.offered[fd] = 0;
    w.watched[fd] = 1;
}

static void drop_group(void) {
    int fd = SERVERS + number() % SERVER_COUNT;
    if (w.group_of[fd] < 0) return;
    Tally *tally = &tallies[fd - SERVERS];
    MUST(tally->next <= SEQUENCES && tally->payload <= tally->packets * MTU && tally->told[2] <= tally->most);
    nb_drop_group(w.path, w.group_of[fd]);
    for (int i = 0; i < w.top; i++)
        if (w.links[i].used && w.links[i].group == w.group_of[fd]) w.links[i].used = 0, w.live--;
    w.group_of[fd] = -1;
    w.watched[fd] = w.pending[fd] = w.spurious[fd] = 0; // closed
    w.arriving[fd] = (List){0};
}

// A record of what Python gets is the next of one list.
static void check_record(List *list, int about, const uint8_t *record, int record_length, const uint8_t *data, int size) {
    Node *node = first(list);
    MUST(node && node->about == about && node->size == size && !memcmp(node->data, data, size));
    MUST(list != &w.received || !memcmp(records[list->first], record, record_length));
    take(list);
}

static void check_error(int fd, const uint8_t *data, int size) {
    Node *node = first(&w.errors);
    MUST(node && node->about == fd && size == sizeof node->size && !memcmp(&node->size, data, size));
    take(&w.errors);
}

static void check_report(void) {
    size_t length = 0;
    const uint8_t *at = nb_report(w.path, &length), *end = at + length;
    while (at < end) {
        int32_t head[3];
        memcpy(head, at, sizeof head);
        const uint8_t *record = at + sizeof head, *data = record + head[2];
        MUST(head[1] >= 0 && head[2] >= 0 && data + head[1] <= end);
        if (head[0] == -1) check_record(&w.received, head[2], record, head[2], data, head[1]);
        else if (head[2]) check_error(head[0], record, head[2]);
        else check_record(&w.reports, head[0], NULL, 0, data, head[1]);
        at = data + head[1];
    }
    int count = -1;
    const struct iovec *stream = nb_stream(w.path, &count);
    MUST(count >= 0 && count <= FORWARDS);
    for (int i = 0; i < count; i++)
        check_record(&w.stream, w.caller_length, w.caller, w.caller_length, stream[i].iov_base, stream[i].iov_len);
    MUST(!w.received.length && !w.stream.length && !w.errors.length && !w.reports.length);
}

static void expect(void) {
    int peer = number(), shape = number(), name_length, segment;
    Sender from = {.peer = peer % PEERS, .variant = shape & 7, .more = shape & 0x80 ? number() : 1};
    uint8_t name[NAME], control[CONTROL];
    memset(w.caller, 0, sizeof w.caller);
    describe(&from, name, &name_length, control, w.caller, &w.caller_length, &segment);
    if (peer == 255) w.caller_length = 0; // nobody
    nb_expect(w.path, w.caller, w.caller_length);
}

static void run(void) {
    static const double durations[] = {0, 0.001, 0.005, 0.02, 0.1, 2, 40, 10000};
    static const double patiences[] = {0.0045, 0.0045, 0.01, 0.05, 0.2, 0, 0.9, 0.0001};
    int choice = number(), room = 1 + number() % 64, others[64];
    w.turn = number();
    w.in_run = 1, w.waits = w.events = 0;
    double duration = durations[choice & 7];
    int sequences = 0;
    for (int i = 0; i < w.top; i++) sequences += w.links[i].used ? w.links[i].sequences.length : 0;
    for (int fd = 0; fd < DESCRIPTORS; fd++)
        for (int at = w.arriving[fd].length ? w.arriving[fd].first : -1; at >= 0; at = nodes[at].next)
            sequences += nodes[at].about;
    w.most = 8 + 2 * sequences + (int)(duration / 1800);
    int other = nb_run(w.path, time_now() + duration, patiences[choice >> 3 & 7], others, room);
    w.in_run = 0;
    MUST(other >= 0 && other <= room && (!other || other == (w.last_other_count < room ? w.last_other_count : room)));
    for (int i = 0; i < other; i++) MUST(others[i] == w.last_others[i]);
    if (other) // Python reads them
        for (int fd = OTHER; fd < OTHER + OTHER_COUNT; fd++)
            w.arriving[fd] = (List){0}, w.pending[fd] = w.spurious[fd] = 0;
    check_report();
    for (int fd = 0; fd < DESCRIPTORS; fd++) MUST(!w.to_server[fd].length && !w.again[fd]);
    for (int i = 0; i < w.top; i++) {
        Known *link = &w.links[i];
        if (!link->used) continue;
        MUST(!link->answers.length && link->credit >= 0 && link->credit == w.path->links[i].credit);
        MUST(link->sequences.length < ACK_EVERY);
        MUST(!link->sequences.length || first(&link->sequences)->due > w.now);
    }
}

static void heard(void) {
    Heard out[16];
    int room = 1 + number() % 16, count = nb_heard(w.path, out, room);
    MUST(count >= 0 && count <= room);
    for (int i = 0; i < count; i++) {
        MUST(out[i].link >= 0 && out[i].link < KNOWN && w.links[out[i].link].used);
        Known *link = &w.links[out[i].link];
        MUST(out[i].packets && out[i].packets == link->packets && out[i].bytes == link->bytes);
        MUST(out[i].last_heard == link->last_heard);
        link->packets = link->bytes = 0;
    }
    for (int i = 0; i < w.top && count < room; i++) MUST(!w.links[i].used || !w.links[i].packets);
}

static void failed(void) {
    MUST(nb_failed(w.path, 0) == w.failed && nb_failed(w.path, 1) == w.unreachable);
    w.failed = w.unreachable = 0;
}

static void send_some(void) {
    static const int sizes[] = {1316, 1316, 1316, 1332, 16, 0, 1, 100, 1500, 1472, 9000, 40000, 65000, 65507, 65508, 65536};
    struct iovec data[256];
    int total = number(), run = 0, size = 0, error = -1;
    List *list = &w.to_server[SERVERS];
    if (!reserve(total, 0)) return;
    for (int i = 0; i < total; i++, run--) {
        if (run <= 0) {
            int choice = number();
            size = sizes[choice & 15];
            run = 1 + (choice >> 4) * (choice >> 4);
        }
        data[i] = (struct iovec){nothing + i, size};
        put(list, nothing + i, size, 0, 0);
    }
    w.direct = 1, w.insisted = 0;
    int sent = nb_send(SERVERS, data, total, &error);
    w.direct = 0;
    MUST(sent >= 0 && sent <= total && list->length == total - sent && (error != 0) == (sent < total));
    MUST(error != ECONNREFUSED || w.insisted);
    *list = (List){0};
    w.again[SERVERS] = 0;
}

static void bad_luck(void) {
    static const int errors[] = {0, ECONNREFUSED, EAGAIN, ENOBUFS, EMSGSIZE, EINVAL, EIO, EPERM, ENETUNREACH, EOPNOTSUPP,
                                 ENOMEM, ENOPROTOOPT, EHOSTUNREACH, ENETDOWN, EINTR, EACCES};
    int choice = number(), what = choice >> 6, fd = LISTENER + choice % 16;
    if (what == 0) w.interrupts += choice & 3;
    if (what == 1 && fd >= SERVERS && w.watched[fd]) w.spurious[fd] = 1;
    if (what == 1 && fd == LISTENER) w.spurious[fd] = 1;
    if (what == 2 && w.watched[fd]) w.pending[fd] = errors[number() & 15];
    if (what == 3)
        for (int i = choice & 15; i >= 0 && w.result_count < ERRORS; i--) {
            int result = number(); // a number of datagrams that go, or an error
            w.results[(w.result_at + w.result_count++) % ERRORS] = result & 0x80 ? -1 - (result & 63) : errors[result & 15];
        }
}

static void step(void) {
    switch (number() % 16) {
    case 0: add_group(); break;
    case 1: drop_group(); break;
    case 2: case 3: add_links(); break;
    case 4: drop_link(); break;
    case 5: case 6: case 7: from_peer(); break;
    case 8: case 9: from_srt(); break;
    case 10: run(); break;
    case 11: heard(); break;
    case 12: failed(); break;
    case 13: send_some(); break;
    case 14: bad_luck(); break;
    case 15: {
        int choice = number();
        if (choice == 255) nb_drop_copies(w.path), w.copying = 1;
        else if (choice == 254) expect();
        else if (choice >= 128) w.tick = 1 + 1000 * (choice - 128);
        else w.ns += (int64_t)choice * choice * choice * 1000;
    }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    for (int i = 0; i < w.top; i++) w.links[i].used = 0;
    memset(&w, 0, offsetof(__typeof__(w), links));
    w.at = data, w.end = data + size;
    w.ns = 100000000000, w.tick = 1000;
    for (int fd = 0; fd < DESCRIPTORS; fd++) w.group_of[fd] = -1, w.watched[fd] = fd >= OTHER && fd < OTHER + OTHER_COUNT;
    w.watched[LISTENER] = 1;
    w.path = nb_new(LISTENER, EPOLL, 0.0045, 2, 8, 0.02);
    for (int count = 0; w.at < w.end && count < STEPS; count++) step();
    run();
    heard();
    failed();
    nb_free(w.path);
    return 0;
}

// What no input gets to: as many groups and links as there can be, and more reports than have room.
static void limits(void) {
    uint8_t key[KEY] = {0}, data[1000] = {0};
    int reports = 0, made = 0;
    Path *p = nb_new(LISTENER, EPOLL, 0.0045, 2, 8, 0.02);
    for (int i = 0; i < GROUPS; i++) MUST(nb_add_group(p, SERVERS + i) == i);
    MUST(nb_add_group(p, SERVERS + GROUPS) == -1);
    for (; made < LINKS; made++) {
        memcpy(key, &made, sizeof made);
        MUST(nb_add_link(p, made / GROUP_LINKS, key, NAME, 16, key, 0, 0, 0) == made);
    }
    memcpy(key, &made, sizeof made);
    MUST(nb_add_link(p, GROUPS - 1, key, NAME, 16, key, 0, 0, 0) == -1);
    nb_drop_link(p, 77);
    MUST(nb_add_link(p, GROUPS - 1, key, NAME, 16, key, 0, 0, 0) == 77);
    MUST(nb_add_link(p, GROUPS - 1, key, KEY + 1, 16, key, 0, 0, 0) == -1);
    for (size_t before = -1; before != p->reported; reports++) {
        before = p->reported;
        report(p, -1, key, sizeof key, data, sizeof data);
    }
    size_t each = sizeof(int32_t[3]) + sizeof key + sizeof data;
    MUST(reports - 1 == (int)(REPORT / each) && p->reported == (reports - 1) * each);
    nb_drop_group(p, LINKS / GROUP_LINKS - 1);
    MUST(!p->links[LINKS - 1].used && p->links[LINKS - GROUP_LINKS - 1].used);
    MUST(nb_add_group(p, SERVERS + GROUPS) == LINKS / GROUP_LINKS - 1);
    nb_free(p);
}

int LLVMFuzzerInitialize(int *count, char ***names) {
    (void)count, (void)names;
    limits();
    return 0;
}

#ifdef REPLAY
int main(int count, char **names) {
    static uint8_t data[1 << 20];
    limits();
    for (int i = 1; i < count; i++) {
        FILE *file = fopen(running = names[i], "rb");
        MUST(file);
        size_t size = fread(data, 1, sizeof data, file);
        fclose(file);
        LLVMFuzzerTestOneInput(data, size);
    }
    printf("%d inputs\n", count - 1);
    return 0;
}
#endif
