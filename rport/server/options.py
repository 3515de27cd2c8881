"""The options of `rportd`."""

from rport.config import Table
from rport.duration import parse_duration
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
  rportd db backup FILE           save the database; also restore, check, upgrade
  rportd user add NAME            let somebody use the API; also list, passwd, remove
  rportd token create USER        make a token for a program that uses it; also list, revoke
  rportd hash-password            turn a password into what an authfile may hold instead
  rportd health                   ask the server on this machine whether it lets clients in
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
           lazily("rport.server.door.backend", "parse_backend"), live=True),
    Option("trusted-proxy", "believe what this reverse proxy (an address or a network) says of who its client is",
           "CIDR", lazily("rport.server.networks", "parse_network"), many=True, live=True),
    Option("tls-cert", "certificate chain (PEM): speak TLS; read again when it changes", "FILE", path, live=True,
           hint="file"),
    Option("tls-key", "its private key (PEM)", "FILE", path, live=True, hint="file"),
    Option("tls-client-ca", "let in only whoever shows a certificate of these authorities (PEM)", "FILE", path,
           live=True, hint="file"),
    Option("port-range", "where ports are from that the server picks for tunnels; else the kernel picks any", "LO-HI",
           lazily("rport.server.tunnels.ranges", "parse_range"), live=True),
    Option("exclude-ports", "ports that no tunnel gets, such as 22,80,8000-8999", "LIST",
           lazily("rport.server.tunnels.ranges", "parse_ports"), live=True),
    Option("tunnel-host", "address that tunnels listen on which are opened through the API without one", "H",
           parse_host, "127.0.0.1", live=True),
    Option("db", "database of clients, users and what happened: sqlite+aiosqlite:////PATH or "
           "postgresql+asyncpg://USER@HOST/NAME; else rportd.db in the state directory", "URL", secret=True),
    Option("cors-origin", "let the web pages of this origin ask the API, with a token that they were given", "URL",
           lazily("rport.server.cors", "parse_origin"), many=True),
    Option("public-url", "the URL by which clients reach this server, for enrolment codes", "URL",
           lazily("rport.server.public_url", "parse_public_url"), live=True),
    Option("keep-disconnected", "how long clients are kept that are not there, unless they have credentials of the "
           "API; 0 = for ever", "D", parse_duration, "90d", live=True),
    Option("keep-audit", "how long the audit log is kept; 0 = for ever", "D", parse_duration, "365d", live=True),
    Option("keep-events", "how long events are kept, for those who were away; 0 = for ever", "D", parse_duration, "7d",
           live=True),
    Option("otel", "send traces and metrics of the API to a collector, as the variables OTEL_... say"),
    STATE,
    *LOGGING,
    ALLOW_ROOT,
], ABOUT, EPILOG)  # fmt: skip
