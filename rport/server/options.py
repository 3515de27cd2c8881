"""The options of `rportd`."""

from rport.config import Table
from rport.errors import UsageError
from rport.hosts import PORT_MAX, is_port
from rport.options import ALLOW_ROOT, LOGGING, STATE, Option, lazily, path

ABOUT = "Let rport clients in and listen for their visitors."

EPILOG = """\
examples:
  rportd -p 9999
  RPORT_AUTH=me:secret rportd --host 203.0.113.7 --port 443
  RPORT_KEY='four words nobody guesses' rportd
  rportd -p 443 --tls-cert fullchain.pem --tls-key privkey.pem --authfile users.json

other commands (each has a --help):
  rportd config check FILE        say what is wrong in a configuration file
  rportd config example           show a file in which every option is explained
  rportd hash-password            turn a password into what an authfile may hold instead
  rportd service install          run at every start of the machine

Every option is also a variable, RPORT_TLS_CERT for --tls-cert, and a key of the TOML file that --config names. The
command line goes first, then the environment, then the file. SIGHUP reads the file again.

The API and its documentation are at /api/docs on the same port.
"""


def parse_port(text: str) -> int:
    """0 = any free one. Raises UsageError."""
    if not is_port(text, lowest=0):
        raise UsageError(f"port {text[:20]!r}: give a number from 0 to {PORT_MAX}")
    return int(text)


def parse_host(text: str) -> str:
    """An address to listen on, without brackets."""
    return text.removeprefix("[").removesuffix("]")


TABLE = Table("rportd", [
    Option("host", "address to listen on", "H", parse_host, "0.0.0.0", env=("HOST",)),
    Option("port", "port to listen on, 0 = any free one", "N", parse_port, "8080", short="-p", env=("PORT",)),
    Option("key", "derive the key pair from this text; else a key file is made once", "SEED",
           lazily("rport.keys", "parse_seed"), secret=True),
    Option("auth", "a login that lets clients in, for all tunnels", "USER:PASSWORD",
           lazily("rport.login", "parse_login"), secret=True, live=True),
    Option("authfile", "JSON file of users and of what each may listen on; read again when it changes", "FILE", path,
           live=True, hint="file"),
    Option("authorized-keys", "TOML file of client keys: nobody else comes in; read again when it changes", "FILE",
           path, live=True, hint="file"),
    Option("proxy", "pass other HTTP requests on to this server", "URL",
           lazily("rport.server.backend", "parse_backend"), live=True),
    Option("trusted-proxy", "believe what this reverse proxy (an address or a network) says of who its client is",
           "CIDR", lazily("rport.server.networks", "parse_network"), many=True, live=True),
    Option("tls-cert", "certificate chain (PEM): speak TLS; read again when it changes", "FILE", path, live=True,
           hint="file"),
    Option("tls-key", "its private key (PEM)", "FILE", path, live=True, hint="file"),
    Option("tls-client-ca", "let in only whoever shows a certificate of these authorities (PEM)", "FILE", path,
           live=True, hint="file"),
    STATE,
    *LOGGING,
    ALLOW_ROOT,
], ABOUT, EPILOG)  # fmt: skip
