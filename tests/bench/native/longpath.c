/* A long, narrow path: a TCP relay that delays every byte and limits the rate, both ways.
 *   longpath LISTEN_PORT TARGET_PORT DELAY_MS MBIT_PER_SECOND
 * All connections share one line per direction. A chunk occupies the line for its size / rate and arrives DELAY_MS
 * later. Reading stops while the line is booked QUEUE_MS ahead (the router's buffer), so a sender meets back-pressure
 * instead of loss. TCP's own handshake and slow start end at the relay and are not stretched. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CHUNK = 32 << 10, MAX_PIPES = 128, QUEUE_MS = 10, SOCKET_BUFFER = 1 << 20, MAX_QUEUED = 32 << 20 };

struct chunk {
    struct chunk *next;
    double due; /* seconds, monotonic */
    int size, sent;
    char data[];
};

struct pipe { /* one direction of one connection */
    int from, to, direction, eof, done;
    size_t queued;
    struct chunk *head, **tail;
};

static struct pipe pipes[MAX_PIPES]; /* 2i and 2i + 1 are the two directions of a connection */
static int pipe_count;
static double line_free[2]; /* when each direction's line has sent all that was booked */
static double delay, bytes_per_second;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static struct sockaddr_in loopback(int port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return a;
}

static void prepare(int fd) {
    int on = 1, size = SOCKET_BUFFER;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    fcntl(fd, F_SETFL, O_NONBLOCK);
}

static void add_pipe(int from, int to, int direction) {
    struct pipe *p = &pipes[pipe_count++];
    *p = (struct pipe){.from = from, .to = to, .direction = direction};
    p->tail = &p->head;
}

static void add_connection(int listener, int target_port) {
    struct sockaddr_in address = loopback(target_port);
    int in = accept(listener, NULL, NULL);
    if (in < 0) return;
    int out = socket(AF_INET, SOCK_STREAM, 0);
    if (pipe_count + 2 > MAX_PIPES || connect(out, (void *)&address, sizeof address)) {
        close(in);
        close(out);
        return;
    }
    prepare(in);
    prepare(out);
    add_pipe(in, out, 0);
    add_pipe(out, in, 1);
}

static int may_read(struct pipe *p, double t) {
    return !p->eof && p->queued < MAX_QUEUED && line_free[p->direction] < t + QUEUE_MS / 1e3;
}

static void receive(struct pipe *p, double t) {
    double *line = &line_free[p->direction];
    struct chunk *c = malloc(sizeof *c + CHUNK);
    c->size = recv(p->from, c->data, CHUNK, 0);
    if (c->size < 0 && (errno == EAGAIN || errno == EINTR)) {
        free(c);
        return;
    }
    if (c->size <= 0) p->eof = 1, c->size = 0;
    *line = (*line > t ? *line : t) + c->size / bytes_per_second;
    c->due = *line + delay;
    c->sent = 0;
    c->next = NULL;
    *p->tail = c;
    p->tail = &c->next;
    p->queued += c->size;
}

static void drop_head(struct pipe *p) {
    struct chunk *c = p->head;
    p->head = c->next;
    if (!p->head) p->tail = &p->head;
    p->queued -= c->size;
    free(c);
}

static void deliver(struct pipe *p, double t) {
    while (p->head && p->head->due <= t) {
        struct chunk *c = p->head;
        if (c->size) {
            ssize_t n = send(p->to, c->data + c->sent, c->size - c->sent, MSG_NOSIGNAL);
            if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
            if (n < 0) { /* nobody takes it: end both ways */
                shutdown(p->from, SHUT_RD);
                p->eof = p->done = 1;
                while (p->head) drop_head(p);
                return;
            }
            if ((c->sent += n) < c->size) return;
        } else {
            shutdown(p->to, SHUT_WR);
            p->done = 1;
        }
        drop_head(p);
    }
}

static void remove_finished(void) {
    for (int i = pipe_count - 2; i >= 0; i -= 2) {
        if (!pipes[i].done || !pipes[i + 1].done) continue;
        close(pipes[i].from);
        close(pipes[i].to);
        pipe_count -= 2;
        for (int k = 0; k < 2; k++) {
            pipes[i + k] = pipes[pipe_count + k];
            if (!pipes[i + k].head) pipes[i + k].tail = &pipes[i + k].head;
        }
    }
}

/* When something will next be due or readable again; at most a second ahead. */
static struct timespec until_next(double t) {
    double next = t + 1;
    for (int i = 0; i < pipe_count; i++) {
        struct pipe *p = &pipes[i];
        double readable = line_free[p->direction] - QUEUE_MS / 1e3;
        if (p->head && p->head->due > t && p->head->due < next) next = p->head->due;
        if (!p->eof && readable > t && readable < next) next = readable;
    }
    return (struct timespec){(time_t)(next - t), (long)((next - t - (time_t)(next - t)) * 1e9)};
}

static int fill_poll_set(struct pollfd *set, double t) {
    for (int i = 0; i < pipe_count; i++) {
        struct pipe *p = &pipes[i];
        set[2 * i] = (struct pollfd){may_read(p, t) ? p->from : -1, POLLIN, 0};
        set[2 * i + 1] = (struct pollfd){p->head && p->head->due <= t ? p->to : -1, POLLOUT, 0};
    }
    return 2 * pipe_count;
}

int main(int argc, char **argv) {
    static struct pollfd set[2 * MAX_PIPES + 1];
    if (argc != 5) return fputs("usage: longpath LISTEN TARGET DELAY_MS MBIT\n", stderr), 2;
    struct sockaddr_in address = loopback(atoi(argv[1]));
    int on = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    delay = atof(argv[3]) / 1e3;
    bytes_per_second = atof(argv[4]) * 1e6 / 8;
    signal(SIGPIPE, SIG_IGN);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (void *)&address, sizeof address) || listen(listener, 64)) return perror("listen"), 1;
    for (;;) {
        double t = now();
        struct timespec timeout = until_next(t);
        int count = fill_poll_set(set, t);
        set[count] = (struct pollfd){listener, POLLIN, 0};
        ppoll(set, count + 1, &timeout, NULL);
        t = now();
        for (int i = 0; i < pipe_count; i++) {
            if (set[2 * i].revents && may_read(&pipes[i], t)) receive(&pipes[i], t);
            deliver(&pipes[i], t);
        }
        if (set[count].revents & POLLIN) add_connection(listener, atoi(argv[2]));
        remove_finished();
    }
}
