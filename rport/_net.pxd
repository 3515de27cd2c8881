# The socket calls of the copy loops, under their own names, and the few one-liners that C says more shortly.

from libc.stdint cimport uint8_t, uint64_t

cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <errno.h>
    #include <stdint.h>
    #include <stdio.h>
    #include <fcntl.h>
    #include <string.h>
    #include <time.h>
    #include <unistd.h>
    #include <sys/types.h>
    #include <sys/socket.h>
    #include <sys/un.h>
    #include <sys/resource.h>
    #include <sys/mman.h>
    #if defined(__linux__)
    #include <sys/syscall.h>
    #endif
    #include <netinet/in.h>
    #include <netinet/tcp.h>
    #include <arpa/inet.h>
    #ifndef MSG_NOSIGNAL
    #define MSG_NOSIGNAL 0
    #endif
    #ifndef TCP_NOTSENT_LOWAT
    #define TCP_NOTSENT_LOWAT 25
    #endif
    static inline int rp_nonblocking(int fd) {
        int flags = fcntl(fd, F_GETFL);
        return fcntl(fd, F_SETFL, flags | O_NONBLOCK) | fcntl(fd, F_SETFD, FD_CLOEXEC);
    }
    static inline int rp_accept(int fd) {
    #if defined(__linux__)
        return accept4(fd, 0, 0, SOCK_NONBLOCK | SOCK_CLOEXEC);
    #else
        int got = accept(fd, 0, 0);
        if (got >= 0) rp_nonblocking(got);
        return got;
    #endif
    }
    static inline int rp_stream_socket(int family) {
        int fd = socket(family, SOCK_STREAM, 0);
        if (fd >= 0) rp_nonblocking(fd);
        return fd;
    }
    static inline void rp_nodelay(int fd) { int one = 1; setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); }
    static inline void rp_notsent_lowat(int fd, int n) { setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &n, sizeof n); }
    /* whether new connections pace what they send by timers */
    static inline int rp_paces(void) {
        int yes = 0;
    #ifdef TCP_CONGESTION
        char name[16] = ""; socklen_t n = sizeof name;
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        if (fd < 0) return 0;
        yes = !getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &n) && !strncmp(name, "bbr", 3);
        close(fd);
    #endif
        return yes;
    }
    /* Within one machine there is nothing to pace for, and the timers cost a quarter of a bulk stream's whole cost. */
    static inline void rp_unpace(int fd) {
    #ifdef TCP_CONGESTION
        struct sockaddr_storage a; socklen_t n = sizeof a;
        struct sockaddr_in *v4 = (struct sockaddr_in *)&a;
        struct in6_addr *v6 = &((struct sockaddr_in6 *)&a)->sin6_addr;
        if (getpeername(fd, (struct sockaddr *)&a, &n)) return;
        if (a.ss_family == AF_INET ? ntohl(v4->sin_addr.s_addr) >> 24 == 127 : a.ss_family == AF_INET6
            && (IN6_IS_ADDR_LOOPBACK(v6) || (IN6_IS_ADDR_V4MAPPED(v6) && v6->s6_addr[12] == 127)))
            setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4);
    #endif
    }
    /* How long this thread runs before others on its processor get their turn, in ns; 0 = as the system has it. A short
       slice is also given sooner. Linux from 6.12 on; elsewhere nothing happens. */
    static inline void rp_slice(uint64_t ns) {
    #if defined(__linux__) && defined(SYS_sched_setattr)
        struct {
            uint32_t size, policy; uint64_t flags; int32_t nice; uint32_t priority; uint64_t runtime, deadline, period;
        } a = {sizeof a, 0, 8 /* SCHED_FLAG_KEEP_POLICY */, getpriority(PRIO_PROCESS, 0), 0, ns, 0, 0};
        syscall(SYS_sched_setattr, 0, &a, 0);
    #else
        (void)ns;
    #endif
    }
    static inline void rp_set_errno(int e) { errno = e; }
    static inline int rp_socket_error(int fd) {
        int e = 0; socklen_t n = sizeof e;
        return getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &n) ? errno : e;
    }
    /* close with a reset: the peer must not take a cut-off for an end */
    static inline void rp_abort(int fd) {
        struct linger l = {1, 0};
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof l);
        close(fd);
    }
    static inline double rp_now(void) {
        struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t);
        return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
    }
    static inline int rp_descriptor_limit(void) {
        struct rlimit r;
        return getrlimit(RLIMIT_NOFILE, &r) || r.rlim_cur > 1000000 ? 1000000 : (int)r.rlim_cur;
    }
    static inline int rp_sockaddr(struct sockaddr_storage *out, const char *ip, int port, int scope) {
        struct sockaddr_in *a = (struct sockaddr_in *)out;
        struct sockaddr_in6 *b = (struct sockaddr_in6 *)out;
        memset(out, 0, sizeof *out);
        if (inet_pton(AF_INET, ip, &a->sin_addr) == 1) {
            a->sin_family = AF_INET; a->sin_port = htons(port);
            return sizeof *a;
        }
        if (inet_pton(AF_INET6, ip, &b->sin6_addr) == 1) {
            b->sin6_family = AF_INET6; b->sin6_port = htons(port); b->sin6_scope_id = scope;
            return sizeof *b;
        }
        return 0;
    }
    /* 0 where the path is longer than this system's sockets may have: connect() refuses such an address */
    static inline int rp_unix_address(struct sockaddr_storage *out, const char *path, size_t size) {
        struct sockaddr_un *a = (struct sockaddr_un *)out;
        memset(out, 0, sizeof *out);
        a->sun_family = AF_UNIX;
        if (size >= sizeof a->sun_path) return 0;
        memcpy(a->sun_path, path, size);
        return sizeof *a;
    }
    /* An IPv4 address that came in over IPv6 (RFC 4291, section 2.5.5.2) is shown and told as what it is. */
    static inline void rp_unmap(struct sockaddr_storage *a) {
        struct sockaddr_in6 v6;
        struct sockaddr_in *v4 = (struct sockaddr_in *)a;
        if (a->ss_family != AF_INET6) return;
        memcpy(&v6, a, sizeof v6);
        if (!IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) return;
        memset(a, 0, sizeof *a);
        v4->sin_family = AF_INET;
        v4->sin_port = v6.sin6_port;
        memcpy(&v4->sin_addr, &v6.sin6_addr.s6_addr[12], 4);
    }
    /* "1.2.3.4:5" or "[::1]:5"; empty when there is nobody any more */
    static inline void rp_peer_name(int fd, char *out, size_t size) {
        struct sockaddr_storage a; socklen_t n = sizeof a;
        char host[INET6_ADDRSTRLEN];
        out[0] = 0;
        if (getpeername(fd, (struct sockaddr *)&a, &n)) return;
        rp_unmap(&a);
        if (a.ss_family == AF_INET) {
            struct sockaddr_in *v4 = (struct sockaddr_in *)&a;
            if (inet_ntop(AF_INET, &v4->sin_addr, host, sizeof host))
                snprintf(out, size, "%s:%d", host, ntohs(v4->sin_port));
        } else if (a.ss_family == AF_INET6) {
            struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&a;
            if (inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof host))
                snprintf(out, size, "[%s]:%d", host, ntohs(v6->sin6_port));
        }
    }
    static inline int rp_family(const struct sockaddr_storage *a) { return a->ss_family; }
    static inline int rp_connect(int fd, const struct sockaddr_storage *a, int n) {
        return connect(fd, (const struct sockaddr *)a, n);
    }
    /* anonymous pages: they go back to the system when freed, whatever the allocator thinks of large blocks */
    static inline uint8_t *rp_pages(size_t n) {
        void *p = mmap(0, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        return p == MAP_FAILED ? 0 : (uint8_t *)p;
    }
    static inline void rp_unpages(uint8_t *p, size_t n) { munmap(p, n); }
    """
    cdef struct sockaddr_storage:
        pass
    int MSG_NOSIGNAL, SHUT_WR
    int EAGAIN, EWOULDBLOCK, EINPROGRESS, EINTR, EMFILE, ENFILE, ECONNREFUSED, ETIMEDOUT, EHOSTUNREACH, ENETUNREACH
    int EIO, ENOENT, EACCES, EPROTOTYPE, EINVAL
    ssize_t recv(int fd, void *p, size_t n, int flags) nogil
    ssize_t send(int fd, const void *p, size_t n, int flags) nogil
    int shutdown(int fd, int how) nogil
    int close(int fd) nogil
    int rp_nonblocking(int fd) nogil
    int rp_accept(int fd) nogil
    int rp_stream_socket(int family) nogil
    void rp_nodelay(int fd) nogil
    void rp_notsent_lowat(int fd, int n) nogil
    int rp_paces() nogil
    void rp_unpace(int fd) nogil
    void rp_slice(uint64_t ns) nogil
    void rp_set_errno(int e) nogil
    int rp_socket_error(int fd) nogil
    void rp_abort(int fd) nogil
    double rp_now() nogil
    int rp_descriptor_limit() nogil
    int rp_sockaddr(sockaddr_storage *out, const char *ip, int port, int scope) nogil
    int rp_unix_address(sockaddr_storage *out, const char *path, size_t size) nogil
    void rp_peer_name(int fd, char *out, size_t size) nogil
    int rp_family(const sockaddr_storage *a) nogil
    int rp_connect(int fd, const sockaddr_storage *a, int n) nogil
    uint8_t *rp_pages(size_t n) nogil
    void rp_unpages(uint8_t *p, size_t n) nogil
