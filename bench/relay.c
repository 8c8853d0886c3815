// A lower bound for bench/engines.py: forwards datagrams from one UDP port to another with recvmmsg and sendmmsg,
// and does nothing else. usage: relay LISTEN_PORT TO_PORT (both on 127.0.0.1)
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { SLOTS = 64, SIZE = 2048 };

static int udp(void) {
    int fd = socket(AF_INET, SOCK_DGRAM, 0), size = 4 << 20;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    return fd;
}

int main(int argc, char **argv) {
    static char data[SLOTS][SIZE];
    struct mmsghdr messages[SLOTS];
    struct iovec vectors[SLOTS];
    struct sockaddr_in here = {.sin_family = AF_INET}, there = {.sin_family = AF_INET};
    int in = udp(), out = udp();
    if (argc != 3) return 64;
    here.sin_addr.s_addr = there.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    here.sin_port = htons(atoi(argv[1]));
    there.sin_port = htons(atoi(argv[2]));
    if (bind(in, (void *)&here, sizeof here) || connect(out, (void *)&there, sizeof there)) return 1;
    memset(messages, 0, sizeof messages);
    for (int i = 0; i < SLOTS; i++) {
        vectors[i] = (struct iovec){data[i], SIZE};
        messages[i].msg_hdr.msg_iov = &vectors[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    for (;;) {
        struct pollfd ready = {in, POLLIN, 0};
        struct timespec pause = {0, 3000000};
        poll(&ready, 1, -1);
        int got = recvmmsg(in, messages, SLOTS, MSG_DONTWAIT, NULL);
        if (got < 0) continue;
        for (int i = 0; i < got; i++) vectors[i].iov_len = messages[i].msg_len;
        for (int sent = 0; sent < got;) {
            int n = sendmmsg(out, messages + sent, got - sent, 0);
            sent += n > 0 ? n : 1;
        }
        for (int i = 0; i < got; i++) vectors[i].iov_len = SIZE;
        if (got < SLOTS) nanosleep(&pause, NULL);
    }
}
