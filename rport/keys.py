"""X25519 key pairs: the server's, with the fingerprint by which users know it, and those of clients.

A key comes from a file that is made once, or from a text that gives the same key on every machine. The text may be a
phrase that a human thought of, so it goes through a slow, memory-hard function; the salt has to be constant, since
there is no place to keep another.
"""

import os
import stat
from dataclasses import dataclass, field

from rport import files, sodium
from rport.errors import UsageError
from rport.files import StrPath
from rport.sodium import KEY_LEN

FINGERPRINT_DIGITS_MIN = 16  # 64 bits: a second key with the same prefix is out of reach of a guesser

# Changing any of these changes every fingerprint that came from a seed. A tenth of a second and 64 MiB a guess.
_SEED_SALT = b"rport key seed 1"
_SEED_OPSLIMIT = 3
_SEED_MEMLIMIT = 64 * 1024 * 1024

_FILE_HEADER = "rport-key-1 "
_PUBLIC_PREFIX = "rport-pub-"


@dataclass(frozen=True, slots=True)
class KeyPair:
    """An X25519 key pair, 32 bytes each; the private one is never printed."""

    private: bytes = field(repr=False)
    public: bytes


def from_private(private: bytes) -> KeyPair:
    """The pair of a private key of 32 bytes."""
    return KeyPair(private, sodium.public_key(private))


def from_seed(text: str) -> KeyPair:
    """The same pair for the same text, everywhere and always: Argon2id v1.3, UTF-8. Takes about 0.1 s and 64 MiB.

    Raises UsageError as `parse_seed` does.
    """
    seed = parse_seed(text).encode()
    from nacl import bindings  # here: no client needs it, and it is heavy

    private = bindings.crypto_pwhash_alg(
        KEY_LEN,
        seed,
        _SEED_SALT,
        _SEED_OPSLIMIT,
        _SEED_MEMLIMIT,
        bindings.crypto_pwhash_ALG_ARGON2ID13,
    )
    return from_private(private)


def parse_seed(text: str) -> str:
    """Raises UsageError for an empty text, which everybody guesses, and for what no UTF-8 can be."""
    if not text:
        raise UsageError("the seed is empty: write a long random text, or leave it out for a key file")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError("the seed is not UTF-8") from None
    return text


def load_or_create(path: StrPath) -> KeyPair:
    """The pair in the file at `path`, which is made with a random key when it is not there.

    Raises UsageError for a file that cannot be used or that others can read.
    """
    try:
        if not os.path.exists(path):  # two servers that start at once agree on one key
            files.write(path, f"{_FILE_HEADER}{os.urandom(KEY_LEN).hex()}\n", replace=False)
        return from_private(_load(path))
    except OSError as error:
        raise UsageError(
            f"key file {path}: {error.strerror or error}; set RPORT_STATE_DIR to another directory"
        ) from error


def create(path: StrPath) -> KeyPair:
    """A new pair in a new file. Raises UsageError where a file is already, or none can be made."""
    private = os.urandom(KEY_LEN)
    try:
        if os.path.lexists(path):
            raise FileExistsError
        files.write(path, f"{_FILE_HEADER}{private.hex()}\n", replace=False)
        if _load(path) != private:
            raise FileExistsError
    except FileExistsError:
        raise UsageError(f"{path} is there already, and what was made with it would be lost: name another") from None
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from error
    return from_private(private)


def load(path: StrPath) -> KeyPair:
    """The pair in a file that create() made. Raises UsageError."""
    try:
        return from_private(_load(path))
    except OSError as error:
        advice = f"; make it with: rport key {path}" if isinstance(error, FileNotFoundError) else ""
        raise UsageError(f"key file {path}: {error.strerror or error}{advice}") from error


def public_text(public: bytes) -> str:
    """A client's public key as users pass it on."""
    return _PUBLIC_PREFIX + public.hex()


def parse_public(text: object) -> bytes:
    """What `public_text` made. Raises UsageError."""
    digits = text.removeprefix(_PUBLIC_PREFIX) if isinstance(text, str) and text.startswith(_PUBLIC_PREFIX) else ""
    try:
        public = bytes.fromhex(digits) if len(digits) == 2 * KEY_LEN else b""
    except ValueError:
        public = b""
    if len(public) != KEY_LEN:
        raise UsageError(f"give {_PUBLIC_PREFIX} and {2 * KEY_LEN} hex digits, as `rport key` prints it")
    return public


def fingerprint(public: bytes) -> str:
    """SHA-256 of a public key as 32 colon-separated hex pairs."""
    return sodium.sha256(public).hex(":")


def parse_fingerprint(text: str) -> str:
    """A fingerprint or its beginning as a user writes it, in the form that `fingerprint` prints.

    Colons are optional, case does not matter. Raises UsageError.
    """
    digits = text.strip().replace(":", "").lower()
    if not set(digits) <= set("0123456789abcdef"):
        raise UsageError(f"fingerprint {text!r} is not hexadecimal: copy it from the server's log")
    if not FINGERPRINT_DIGITS_MIN <= len(digits) <= 2 * sodium.SHA256_LEN:
        raise UsageError(f"fingerprint {text!r} has {len(digits)} hex digits: give {FINGERPRINT_DIGITS_MIN} to 64")
    return ":".join(digits[i : i + 2] for i in range(0, len(digits), 2))


def fingerprint_matches(expected_prefix: str, actual: str) -> bool:
    """Whether `actual` begins with `expected_prefix`, both as `parse_fingerprint` gives them."""
    return actual.startswith(expected_prefix)


def _load(path: StrPath) -> bytes:
    with open(path, "rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        content = file.read(256)
    if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
        raise UsageError(f"key file {path} can be read or written by others: chmod 600 {path}, or delete it")
    try:
        text = content.decode("ascii").rstrip("\n")
        private = bytes.fromhex(text.removeprefix(_FILE_HEADER))
    except ValueError:
        text, private = "", b""
    if not text.startswith(_FILE_HEADER) or len(private) != KEY_LEN:
        raise UsageError(f"key file {path} is damaged: restore it, or delete it for a new key and fingerprint")
    return private
