/* Ping-pong of 64 bytes over TCP: one in flight, as fast as the answers come.
 *   pingpong serve PORT
 *   pingpong ping PORT SECONDS      prints "COUNT P50_US P99_US" */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { SIZE = 64, MAX_SAMPLES = 1 << 20, MAX_CONNECTIONS = 64, TIMEOUT_SECONDS = 10 };

static double now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static struct sockaddr_in loopback(int port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return a;
}

static void no_delay(int fd) {
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static int serve(int port) {
    struct sockaddr_in address = loopback(port);
    struct pollfd set[MAX_CONNECTIONS];
    char buffer[4096];
    int on = 1, count = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (void *)&address, sizeof address) || listen(listener, 64)) return perror("listen"), 1;
    set[0] = (struct pollfd){listener, POLLIN, 0};
    for (;;) {
        set[0].events = count < MAX_CONNECTIONS ? POLLIN : 0;
        poll(set, count, -1);
        for (int i = count - 1; i > 0; i--) {
            if (!set[i].revents) continue;
            ssize_t n = read(set[i].fd, buffer, sizeof buffer);
            if (n > 0 && send(set[i].fd, buffer, n, MSG_NOSIGNAL) == n) continue;
            close(set[i].fd);
            set[i] = set[--count];
        }
        if (set[0].revents & POLLIN) {
            int fd = accept(listener, NULL, NULL);
            if (fd < 0) continue;
            no_delay(fd);
            set[count++] = (struct pollfd){fd, POLLIN, 0};
        }
    }
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int round_trip(int fd, char *buffer) {
    if (send(fd, buffer, SIZE, MSG_NOSIGNAL) != SIZE) return 0;
    for (int got = 0, n; got < SIZE; got += n)
        if ((n = read(fd, buffer + got, SIZE - got)) <= 0) return 0;
    return 1;
}

static int ping(int port, double seconds) {
    struct sockaddr_in address = loopback(port);
    struct timeval patience = {TIMEOUT_SECONDS, 0};
    static double samples[MAX_SAMPLES];
    char buffer[SIZE];
    int count = 0, fd = socket(AF_INET, SOCK_STREAM, 0);
    memset(buffer, 'p', sizeof buffer);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (connect(fd, (void *)&address, sizeof address)) return perror("connect"), 1;
    no_delay(fd);
    if (!round_trip(fd, buffer)) return perror("first round trip"), 1; /* the tunnel's dial is not latency */
    double end = now_us() + seconds * 1e6;
    while (count < MAX_SAMPLES) {
        double before = now_us();
        if (before > end) break;
        if (!round_trip(fd, buffer)) return perror("round trip"), 1;
        samples[count++] = now_us() - before;
    }
    if (!count) return fputs("no round trip in the time given\n", stderr), 1;
    qsort(samples, count, sizeof *samples, compare);
    printf("%d %.1f %.1f\n", count, samples[count / 2], samples[(int)(count * 0.99)]);
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 3 && !strcmp(argv[1], "serve")) return serve(atoi(argv[2]));
    if (argc == 4 && !strcmp(argv[1], "ping")) return ping(atoi(argv[2]), atof(argv[3]));
    return fputs("usage: pingpong serve PORT | ping PORT SECONDS\n", stderr), 2;
}
