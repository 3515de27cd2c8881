# What a tunnel is limited by: who may come to it, and how fast it carries. Header-only, no sockets; time comes in.

from libc.stdint cimport uint8_t

from rport cimport _net

cdef extern from *:
    """
    #include <netinet/in.h>
    #include <stdint.h>
    #include <string.h>
    #include <sys/socket.h>
    #define RP_QUANTUM 1460     /* octets, a segment: less is not worth a frame */
    #define RP_BURST 0.05       /* seconds' worth that may go at once: shorter than anybody notices */

    typedef struct { uint8_t address[16]; int octets, bits; } rp_network;

    /* Whether the peer is in one of the networks; an IPv4 address that came over IPv6 is looked at as one. */
    static int rp_is_in(const rp_network *networks, int count, struct sockaddr_storage *peer) {
        const uint8_t *a; int octets, i;
        rp_unmap(peer);
        if (peer->ss_family == AF_INET) { a = (uint8_t *)&((struct sockaddr_in *)peer)->sin_addr; octets = 4; }
        else { a = (uint8_t *)&((struct sockaddr_in6 *)peer)->sin6_addr; octets = 16; }
        for (i = 0; i < count; i++) {
            int whole = networks[i].bits / 8, rest = networks[i].bits % 8;
            if (networks[i].octets != octets || memcmp(a, networks[i].address, whole)) continue;
            if (!rest || !((a[whole] ^ networks[i].address[whole]) >> (8 - rest))) return 1;
        }
        return 0;
    }
    static int rp_peer_is_in(const rp_network *networks, int count, int fd) {
        struct sockaddr_storage peer; socklen_t n = sizeof peer;
        return !getpeername(fd, (struct sockaddr *)&peer, &n) && rp_is_in(networks, count, &peer);
    }

    typedef struct { double rate, tokens, at; } rp_bucket; /* octets a second, 0 = as fast as it goes; octets; seconds */

    static inline double rp_burst(const rp_bucket *b) {
        return b->rate * RP_BURST > 2 * RP_QUANTUM ? b->rate * RP_BURST : 2 * RP_QUANTUM;
    }
    static inline void rp_bucket_set(rp_bucket *b, double rate, double now) {
        b->rate = rate; b->tokens = rp_burst(b); b->at = now;
    }
    /* How many of `size` octets may go now: 0 until it is a segment's worth, or all of them. */
    static inline size_t rp_bucket_room(rp_bucket *b, double now, size_t size) {
        double most = rp_burst(b);
        if (!b->rate) return size;
        if (now > b->at) { b->tokens += (now - b->at) * b->rate; b->at = now; }
        if (b->tokens > most) b->tokens = most;
        if (b->tokens >= size) return size;
        return b->tokens >= RP_QUANTUM ? (size_t)b->tokens : 0;
    }
    """
    cdef enum:
        RP_QUANTUM
    ctypedef struct rp_network:
        uint8_t address[16]
        int octets
        int bits
    ctypedef struct rp_bucket:
        double rate
        double tokens
        double at
    bint rp_peer_is_in(const rp_network *networks, int count, int fd) nogil
    double rp_burst(const rp_bucket *b) nogil
    void rp_bucket_set(rp_bucket *b, double rate, double now) nogil
    size_t rp_bucket_room(rp_bucket *b, double now, size_t size) nogil
