# The PROXY protocol's header for a connection that was accepted: who the visitor is and where he came to. HAProxy's
# proxy-protocol.txt, sections 2.1 (v1, a line of text) and 2.2 (v2, binary); header-only, no state.

from libc.stdint cimport uint8_t

from rport cimport _net

cdef extern from *:
    """
    #include <arpa/inet.h>
    #include <netinet/in.h>
    #include <stdint.h>
    #include <stdio.h>
    #include <string.h>
    #include <sys/socket.h>
    #define RP_PROXY_MAX 108 /* the longest line of v1 and its NUL; v2 needs 52 octets for two IPv6 addresses */
    static int rp_proxy_v1(const struct sockaddr_storage *from, const struct sockaddr_storage *to, uint8_t *out) {
        char a[INET6_ADDRSTRLEN], b[INET6_ADDRSTRLEN];
        const struct sockaddr_in *f4 = (const struct sockaddr_in *)from, *t4 = (const struct sockaddr_in *)to;
        const struct sockaddr_in6 *f6 = (const struct sockaddr_in6 *)from, *t6 = (const struct sockaddr_in6 *)to;
        if (from->ss_family == AF_INET) {
            inet_ntop(AF_INET, &f4->sin_addr, a, sizeof a); inet_ntop(AF_INET, &t4->sin_addr, b, sizeof b);
            return snprintf((char *)out, RP_PROXY_MAX, "PROXY TCP4 %s %s %d %d\\r\\n", a, b, ntohs(f4->sin_port),
                            ntohs(t4->sin_port));
        }
        inet_ntop(AF_INET6, &f6->sin6_addr, a, sizeof a); inet_ntop(AF_INET6, &t6->sin6_addr, b, sizeof b);
        return snprintf((char *)out, RP_PROXY_MAX, "PROXY TCP6 %s %s %d %d\\r\\n", a, b, ntohs(f6->sin6_port),
                        ntohs(t6->sin6_port));
    }
    static int rp_proxy_v2(const struct sockaddr_storage *from, const struct sockaddr_storage *to, uint8_t *out) {
        const struct sockaddr_in *f4 = (const struct sockaddr_in *)from, *t4 = (const struct sockaddr_in *)to;
        const struct sockaddr_in6 *f6 = (const struct sockaddr_in6 *)from, *t6 = (const struct sockaddr_in6 *)to;
        int size = from->ss_family == AF_INET ? 4 : 16;
        memcpy(out, "\\r\\n\\r\\n\\0\\r\\nQUIT\\n", 12);
        out[12] = 0x21; /* version 2, command PROXY */
        out[13] = size == 4 ? 0x11 : 0x21; /* TCP over IPv4, over IPv6 */
        out[14] = 0;
        out[15] = (uint8_t)(2 * size + 4);
        memcpy(out + 16, size == 4 ? (const void *)&f4->sin_addr : (const void *)&f6->sin6_addr, size);
        memcpy(out + 16 + size, size == 4 ? (const void *)&t4->sin_addr : (const void *)&t6->sin6_addr, size);
        memcpy(out + 16 + 2 * size, size == 4 ? &f4->sin_port : &f6->sin6_port, 2);
        memcpy(out + 18 + 2 * size, size == 4 ? &t4->sin_port : &t6->sin6_port, 2);
        return 20 + 2 * size;
    }
    /* Writes up to RP_PROXY_MAX octets and returns how many; 0 when the visitor is gone or has no address. */
    static int rp_proxy_header(int fd, int version, uint8_t *out) {
        struct sockaddr_storage from, to;
        socklen_t n = sizeof from, m = sizeof to;
        if (getpeername(fd, (struct sockaddr *)&from, &n) || getsockname(fd, (struct sockaddr *)&to, &m)) return 0;
        rp_unmap(&from); rp_unmap(&to);
        if (from.ss_family != to.ss_family || (from.ss_family != AF_INET && from.ss_family != AF_INET6)) return 0;
        return version == 1 ? rp_proxy_v1(&from, &to, out) : rp_proxy_v2(&from, &to, out);
    }
    """
    cdef enum:
        RP_PROXY_MAX
    int rp_proxy_header(int fd, int version, uint8_t *out) nogil
