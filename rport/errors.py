"""Every error that rport raises on purpose, split by whose fault it is.

RportError                  root; its text is one line for the user's eyes
├── UsageError              the user's own input or files: correct them
├── ConnectError            no link could be made; worth another try
├── LinkLost                an established link broke; worth another try
├── ProtocolError           the peer broke the rules of PROTOCOL.md
│   └── HandshakeError      ... before the link was encrypted
├── Refused                 the server understood and said no
├── FingerprintMismatch     the server is not the one that was expected
├── AuthFailed              the credentials are wrong
└── RetriesExhausted        the allowed number of tries is used up

`exit_code` is what a program ends with when the error ends it. 0 is never an error. Errors that are worth another try
end a program only through the retry limit, so they share its code.
"""


class RportError(Exception):
    """Root of the tree."""

    exit_code: int = 1


class UsageError(RportError):
    """A command line, configuration or state file that cannot be used; the text says what to do about it."""

    exit_code = 1


class ConnectError(RportError):
    """No link could be made: the name, the network, or something that is no rport server."""

    exit_code = 6


class LinkLost(RportError):
    """An established link ended without an authenticated close."""

    exit_code = 6


class ProtocolError(RportError):
    """The peer sent what PROTOCOL.md does not allow; the link cannot go on."""

    exit_code = 6


class HandshakeError(ProtocolError):
    """The key exchange failed: a damaged or forged message, or no common cipher."""


class Refused(RportError):
    """The server's refusal: a short machine-readable `code` and a text for the user."""

    exit_code = 3

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class FingerprintMismatch(RportError):
    """The server's public key is not the pinned or remembered one."""

    exit_code = 4


class AuthFailed(RportError):
    """The server does not know this user with this password."""

    exit_code = 5


class RetriesExhausted(RportError):
    """The last allowed try failed; the text names its cause."""

    exit_code = 6
