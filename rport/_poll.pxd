# Edge-triggered readiness for many descriptors behind one: epoll on Linux, kqueue on the BSDs and macOS. The event loop
# watches only the poller's own descriptor, so that a carried connection costs it nothing.

from libc.stdint cimport uint64_t, uint32_t

cdef extern from *:
    """
    #include <errno.h>
    #include <stdint.h>
    #include <unistd.h>
    #define RP_IN 1u
    #define RP_OUT 2u
    #define RP_HUP 4u
    #define RP_ERR 8u
    #define RP_EVENTS 256 /* at a time */
    typedef struct { uint64_t tag; uint32_t flags; } rp_event;
    #if defined(__linux__)
    #include <sys/epoll.h>
    static int rp_poll_new(void) { return epoll_create1(EPOLL_CLOEXEC); }
    static int rp_poll_add(int p, int fd, uint64_t tag, int both) {
        struct epoll_event e;
        e.events = both ? (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET) : EPOLLIN;
        e.data.u64 = tag;
        return epoll_ctl(p, EPOLL_CTL_ADD, fd, &e);
    }
    static int rp_poll_del(int p, int fd) { struct epoll_event e; return epoll_ctl(p, EPOLL_CTL_DEL, fd, &e); }
    static int rp_poll_wait(int p, rp_event out[RP_EVENTS]) {
        struct epoll_event e[RP_EVENTS];
        int i, n = epoll_wait(p, e, RP_EVENTS, 0);
        for (i = 0; i < n; i++) {
            uint32_t v = e[i].events;
            out[i].tag = e[i].data.u64;
            out[i].flags = ((v & (EPOLLIN | EPOLLRDHUP | EPOLLHUP)) ? RP_IN : 0) | ((v & EPOLLOUT) ? RP_OUT : 0)
                | ((v & (EPOLLRDHUP | EPOLLHUP)) ? RP_HUP : 0) | ((v & EPOLLERR) ? RP_ERR : 0);
        }
        return n;
    }
    #else
    #include <sys/types.h>
    #include <sys/event.h>
    #include <sys/time.h>
    static int rp_poll_new(void) { return kqueue(); }
    static int rp_poll_add(int p, int fd, uint64_t tag, int both) {
        struct kevent k[2];
        EV_SET(&k[0], fd, EVFILT_READ, EV_ADD | (both ? EV_CLEAR : 0), 0, 0, (void *)(uintptr_t)tag);
        EV_SET(&k[1], fd, EVFILT_WRITE, EV_ADD | EV_CLEAR, 0, 0, (void *)(uintptr_t)tag);
        return kevent(p, k, both ? 2 : 1, 0, 0, 0);
    }
    static int rp_poll_del(int p, int fd) {
        struct kevent k;
        EV_SET(&k, fd, EVFILT_READ, EV_DELETE, 0, 0, 0);
        return kevent(p, &k, 1, 0, 0, 0);
    }
    static int rp_poll_wait(int p, rp_event out[RP_EVENTS]) {
        struct kevent e[RP_EVENTS];
        struct timespec zero = {0, 0};
        int i, n = kevent(p, 0, 0, e, RP_EVENTS, &zero);
        for (i = 0; i < n; i++) {
            out[i].tag = (uint64_t)(uintptr_t)e[i].udata;
            out[i].flags = (e[i].filter == EVFILT_READ ? RP_IN : RP_OUT)
                | ((e[i].flags & EV_EOF) && e[i].filter == EVFILT_READ ? RP_HUP : 0)
                | ((e[i].flags & EV_EOF) && e[i].fflags ? RP_ERR : 0);
        }
        return n;
    }
    #endif
    """
    ctypedef struct rp_event:
        uint64_t tag
        uint32_t flags
    cdef uint32_t RP_IN, RP_OUT, RP_HUP, RP_ERR
    cdef enum:
        RP_EVENTS
    int rp_poll_new() nogil
    int rp_poll_add(int p, int fd, uint64_t tag, int both) nogil
    int rp_poll_del(int p, int fd) nogil
    int rp_poll_wait(int p, rp_event *out) nogil
