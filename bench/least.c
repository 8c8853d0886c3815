// A lower bound for bench/engines.py that follows the protocol: reads and sends every datagram that an SRTLA engine
// must read and send, many at a time, but makes no decision. It has one group, IPv4 only, no timers, and no checks.
// usage: least recv PORT SRT_PORT PAUSE          (the SRT server is on 127.0.0.1)
//        least send PORT RECEIVER RECEIVER_PORT LINKS_FILE PAUSE
// PAUSE: microseconds between two reads of the sockets; 0: each packet of the stream wakes it up.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { SLOTS = 64, SIZE = 1536, LINKS = 8, ACK = 44, REG = 258 };

typedef struct {
    struct mmsghdr headers[SLOTS];
    struct iovec vectors[SLOTS];
    struct sockaddr_in names[SLOTS];
    uint8_t bytes[SLOTS][SIZE];
} Batch;

static Batch in, answers, out;
static int out_count;

static void prepare(Batch *b) {
    for (int i = 0; i < SLOTS; i++) {
        b->vectors[i] = (struct iovec){b->bytes[i], SIZE};
        b->headers[i].msg_hdr = (struct msghdr){.msg_iov = &b->vectors[i], .msg_iovlen = 1, .msg_name = &b->names[i],
                                                .msg_namelen = sizeof b->names[i]};
    }
}

static struct sockaddr_in address(const char *host, int port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_aton(host, &a.sin_addr);
    return a;
}

static int udp(struct sockaddr_in here, const struct sockaddr_in *there) {
    int fd = socket(AF_INET, SOCK_DGRAM, 0), size = 4 << 20;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    if (bind(fd, (void *)&here, sizeof here) || (there && connect(fd, (const void *)there, sizeof *there))) {
        perror("least");
        exit(1);
    }
    return fd;
}

static void look_again(int fd, int pause) {
    struct timespec t = {0, pause * 1000L};
    struct pollfd ready = {fd, POLLIN, 0};
    if (pause) nanosleep(&t, NULL);
    else poll(&ready, 1, -1);
}

static int same(const struct sockaddr_in *a, const struct sockaddr_in *b) {
    return a->sin_port == b->sin_port && a->sin_addr.s_addr == b->sin_addr.s_addr;
}

static void queue(const void *data, size_t size, struct sockaddr_in *to) {
    if (out_count == SLOTS) return;
    out.vectors[out_count] = (struct iovec){(void *)data, size};
    out.headers[out_count].msg_hdr = (struct msghdr){.msg_iov = &out.vectors[out_count], .msg_iovlen = 1, .msg_name = to,
                                                     .msg_namelen = to ? sizeof *to : 0};
    out_count++;
}

static void send_queued(int fd) {
    if (out_count) sendmmsg(fd, out.headers, out_count, MSG_DONTWAIT);
    out_count = 0;
}

static void receiver(int port, int srt_port, int pause) {
    struct sockaddr_in server = address("127.0.0.1", srt_port), links[LINKS];
    int listener = udp(address("0.0.0.0", port), NULL), srt = udp(address("0.0.0.0", 0), &server), count = 0;
    uint8_t acks[LINKS][ACK], full[SLOTS][ACK];
    int waiting[LINKS] = {0};
    for (;;) {
        int due[SLOTS], dues = 0; // links whose SRTLA ACKs are full
        look_again(listener, pause);
        prepare(&in);
        int got = recvmmsg(listener, in.headers, SLOTS, MSG_DONTWAIT, NULL);
        for (int i = 0; i < got; i++) {
            uint8_t *data = in.bytes[i];
            int size = in.headers[i].msg_len, link = 0;
            while (link < count && !same(&links[link], &in.names[i])) link++;
            if (data[0] >= 0x90 && data[0] < 0xA0) { // a registration or keepalive packet, which is rare
                if (data[0] == 0x92 && data[1] == 1 && link == count && count < LINKS) links[count++] = in.names[i];
                if (data[0] == 0x92) size = data[1]++ ? 2 : REG;
                sendto(listener, data, size, 0, (void *)&in.names[i], sizeof in.names[i]);
                continue;
            }
            queue(data, size, NULL);
            if (data[0] & 0x80 || link == count) continue;
            memcpy(acks[link] + 4 + 4 * waiting[link]++, data, 4);
            if (waiting[link] < 10) continue;
            memcpy(full[dues], (uint8_t[4]){0x91}, 4);
            memcpy(full[dues] + 4, acks[link] + 4, ACK - 4);
            due[dues++] = link, waiting[link] = 0;
        }
        send_queued(srt);
        prepare(&answers);
        got = recvmmsg(srt, answers.headers, SLOTS / LINKS, MSG_DONTWAIT, NULL);
        for (int i = 0; i < dues; i++) queue(full[i], ACK, &links[due[i]]);
        for (int i = 0; i < got; i++)
            for (int link = 0; link < count; link++) queue(answers.bytes[i], answers.headers[i].msg_len, &links[link]);
        send_queued(listener);
    }
}

static void sender(int port, struct sockaddr_in receiver, const char *file, int pause) {
    struct sockaddr_in caller = {0};
    int listener = udp(address("127.0.0.1", port), NULL), links[LINKS], count = 0, next = 0;
    char line[64];
    FILE *list = fopen(file, "r");
    while (list && count < LINKS && fgets(line, sizeof line, list)) {
        line[strcspn(line, "\n")] = 0;
        links[count++] = udp(address(line, 0), &receiver);
    }
    if (!count) exit(1);
    uint8_t id[REG] = {0x92, 0x00}, group[SIZE] = {0}, last[4] = {0};
    while (group[0] != 0x92 || group[1] != 0x01) {
        send(links[0], id, REG, 0);
        usleep(100000);
        if (recv(links[0], group, sizeof group, MSG_DONTWAIT) < REG) group[0] = 0;
    }
    for (int link = 0; link < count; link++) send(links[link], group, REG, 0);
    for (;;) {
        look_again(listener, pause);
        prepare(&in);
        int got = recvmmsg(listener, in.headers, SLOTS, MSG_DONTWAIT, NULL);
        if (got > 0) caller = in.names[0];
        for (int link = 0; link < count && got > 0; link++) {
            for (int i = 0; i < got; i++)
                if ((next + i) % count == link) queue(in.bytes[i], in.headers[i].msg_len, NULL);
            send_queued(links[link]);
        }
        next += got > 0 ? got : 0;
        for (int link = 0; link < count; link++) {
            prepare(&answers);
            got = recvmmsg(links[link], answers.headers, SLOTS / 4, MSG_DONTWAIT, NULL);
            for (int i = 0; i < got; i++) {
                uint8_t *data = answers.bytes[i];
                if (data[0] >= 0x90 && data[0] < 0xA0) continue; // an SRTLA ACK, which is ignored
                if (data[0] == 0x80 && data[1] == 0x02) {        // SRT's ACK; only the first of its copies is forwarded
                    if (!memcmp(last, data + 4, 4)) continue;
                    memcpy(last, data + 4, 4);
                }
                sendto(listener, data, answers.headers[i].msg_len, 0, (void *)&caller, sizeof caller);
            }
        }
    }
}

int main(int argc, char **argv) {
    if (argc == 5 && !strcmp(argv[1], "recv")) receiver(atoi(argv[2]), atoi(argv[3]), atoi(argv[4]));
    if (argc == 7 && !strcmp(argv[1], "send"))
        sender(atoi(argv[2]), address(argv[3], atoi(argv[4])), argv[5], atoi(argv[6]));
    return 64;
}
