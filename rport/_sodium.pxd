# libsodium's functions as PyNaCl's own copy exposes them: types only, no logic. The addresses are looked up once, when
# rport._mux is imported, so that the build needs no libsodium of its own.

ctypedef int (*aead_encrypt_t)(
    unsigned char *c, unsigned long long *clen_p,
    const unsigned char *m, unsigned long long mlen,
    const unsigned char *ad, unsigned long long adlen,
    const unsigned char *nsec, const unsigned char *npub, const unsigned char *k) noexcept nogil

ctypedef int (*aead_decrypt_t)(
    unsigned char *m, unsigned long long *mlen_p, unsigned char *nsec,
    const unsigned char *c, unsigned long long clen,
    const unsigned char *ad, unsigned long long adlen,
    const unsigned char *npub, const unsigned char *k) noexcept nogil
