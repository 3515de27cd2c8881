"""Passwords as the server keeps them: plain, or as an Argon2id string (`$argon2id$v=19$m=...,t=...,p=...$salt$hash`).

Pure, but for the time and the memory that Argon2id takes on purpose; whoever has a loop calls verify() in a thread.
"""

import hashlib
import hmac
import os
import re

from rport.errors import UsageError

# What `rportd hash-password` makes: a tenth of a second on a small server, so that a login is not felt, and 64 MiB, so
# that a stolen file is dear to guess at on graphics cards. Twice what OWASP asks for at the least.
OPSLIMIT = 2
MEMLIMIT = 64 << 20  # octets
PASSWORD_MAX = 4096  # octets: a control message carries no more (PROTOCOL.md, section 8)

# What a hash that somebody else's program made may take, so that logins cannot starve the server.
MEMORY_MAX = 1 << 20  # KiB
WORK_MAX = 8 << 20  # KiB times passes: some ten seconds are too long already, since a client has no more to come in

_PREFIX = "$argon2id$"
_FORM = re.compile(
    r"\$argon2id\$v=19\$m=([0-9]{1,9}),t=([0-9]{1,9}),p=([0-9]{1,3})\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{22,86}"
)
_OTHERS = re.compile(r"\$(argon2[id]|2[abxy]|1|5|6|7|y|gy|sha1|scrypt|pbkdf2[a-z0-9-]*)\$", re.IGNORECASE)
_HASH_LENGTH_MAX = 127  # libsodium takes no longer one

_KEY = os.urandom(32)


def is_hash(secret: str) -> bool:
    """Whether it is an Argon2id string; else it is the password itself."""
    return secret.startswith(_PREFIX)


def cost(secret: str) -> int:
    """How dear a hash is, in KiB times passes; 0 for a plain password."""
    match = _FORM.fullmatch(secret)
    return int(match[1]) * int(match[2]) if match else 0


def check_secret(secret: str) -> None:
    """Raises ValueError for a hash that could never be verified. The text is not shown."""
    if is_hash(secret):
        match = _FORM.fullmatch(secret)
        if match is None or len(secret) > _HASH_LENGTH_MAX:
            raise ValueError("its $argon2id$ hash is cut short or altered: copy it again, or make a new one")
        memory, passes, lanes = map(int, match.groups())
        if memory > MEMORY_MAX or memory * passes > WORK_MAX:
            raise ValueError("its $argon2id$ hash takes too much memory or time: make one with rportd hash-password")
        if not passes or not lanes or memory < 8 * lanes:
            raise ValueError("its $argon2id$ hash has impossible parameters: make a new one")
    elif _OTHERS.match(secret):
        raise ValueError("its hash is not Argon2id: make one with rportd hash-password")


def verify(secret: str, password: str) -> bool:
    """Whether `password` is the one that `secret` is, or was made from. Takes as long for a wrong one as for the right.

    Holds no lock of the interpreter's while Argon2id works.
    """
    if not is_hash(secret):
        return hmac.compare_digest(_digest(secret), _digest(password))
    from nacl import bindings  # here: it is heavy, and many servers have no hash
    from nacl.exceptions import InvalidkeyError

    try:
        return bool(bindings.crypto_pwhash_str_verify(secret.encode(), password.encode()))
    except InvalidkeyError:
        return False


def make_hash(password: str) -> str:
    """An Argon2id string. Raises UsageError for a password that is empty, or longer than a login can be."""
    data = password.encode()
    if not data:
        raise UsageError("the password is empty")
    if len(data) > PASSWORD_MAX:
        raise UsageError(f"the password has {len(data)} bytes: at most {PASSWORD_MAX} fit into a login")
    from nacl import bindings

    made: bytes = bindings.crypto_pwhash_str_alg(data, OPSLIMIT, MEMLIMIT, bindings.crypto_pwhash_ALG_ARGON2ID13)
    return made.rstrip(b"\0").decode()


def _digest(text: str) -> bytes:
    """Of one length, so that comparing takes as long whatever is compared."""
    return hashlib.blake2b(text.encode(), key=_KEY).digest()
