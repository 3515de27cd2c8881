"""The options of `rport`."""

from rport.config import Table
from rport.errors import UsageError
from rport.options import ALLOW_ROOT, LOGGING, STATE, Option, lazily, path

ABOUT = "Make services behind this machine reachable through a server."

EPILOG = """\
remotes (what listens on the server => what this client dials):
  3000                            0.0.0.0:3000 => 127.0.0.1:3000
  2222:22                         0.0.0.0:2222 => 127.0.0.1:22
  3000:example.com:80             0.0.0.0:3000 => example.com:80
  127.0.0.1:0:db.internal:5432    a free port on the server's loopback => db.internal:5432
  8080:unix:/run/app.sock         0.0.0.0:8080 => the Unix socket /run/app.sock
  '443:8443?proxy=v2'             0.0.0.0:443 => 127.0.0.1:8443, told of each visitor by the PROXY protocol

examples:
  rport tunnel.example.com:9999 3389
  rport --auth me:secret tunnel.example.com:9999 2222:22 8080:80
  rport --proxy http://proxy.corp:3128 https://tunnel.example.com 2222:22
  rport tunnel.example.com:9999                       # stand by for tunnels asked for at the server

other commands (each has a --help):
  rport config check FILE         say what is wrong in a configuration file
  rport config example            show a file in which every option is explained
  rport enroll CODE               become known to a server that gave this code, and write the configuration
  rport key [FILE]                make a key pair for --identity
  rport service install           run at every start of the machine

Every option is also a variable, RPORT_MAX_RETRY_COUNT for --max-retry-count, and a key of the TOML file that --config
names. The command line goes first, then the environment, then the file.

exit codes: 0 ordered stop, 1 usage, 3 refused by the server, 4 wrong fingerprint, 5 wrong login, 6 retries used up
"""


def parse_count(text: str) -> int | None:
    """None = for ever. Raises UsageError."""
    try:
        count = int(text)
        if count < -1:
            raise ValueError
    except ValueError:
        raise UsageError(f"{text[:20]!r} is not a whole number: write it like 5; -1 = for ever") from None
    return None if count < 0 else count


def _host_name(text: str) -> str:
    from rport.hosts import clean_host  # here: --help need not wait for it

    try:
        clean_host(text)
    except ValueError as error:
        raise UsageError(f"{error}; give a host name") from None
    if not text.isascii():
        raise UsageError(f"{text!r}: write it in ASCII (xn--...)")
    return text


TABLE = Table("rport", [
    Option("server", "[http[s]://]HOST[:PORT][/PATH] of rportd; port 80, or 443 with https, if left out", "SERVER",
           lazily("rport.client.address", "parse_address"), positional=True),
    Option("remotes", "a tunnel; none = stand by", "REMOTE", lazily("rport.remote", "Remote.parse"), many=True,
           positional=True),
    Option("fingerprint", "the server's key, or its first 16 or more hex digits", "F",
           lazily("rport.keys", "parse_fingerprint"), live=True),
    Option("auth", "login; better in the environment or as @FILE", "USER:PASSWORD",
           lazily("rport.login", "parse_login"), env=("AUTH",), secret=True, live=True),
    Option("identity", "this client's key pair, made by `rport key`", "FILE", path, live=True, hint="file"),
    Option("id", "what the server knows this machine by; else it goes by the key of --identity", "ID",
           lazily("rport.facts", "parse_id"), live=True),
    Option("name", "what this machine is called; else its host name", "NAME", lazily("rport.facts", "parse_name"),
           live=True),
    Option("tag", "what sorts this machine among others, such as site=berlin", "TAG",
           lazily("rport.facts", "parse_tag"), many=True, live=True),
    Option("keepalive", "time between pings, 0 = off", "D", lazily("rport.duration", "parse_duration"), "25s",
           live=True),
    Option("max-retry-count", "tries after the first; -1 = for ever", "N", parse_count, "-1", live=True),
    Option("max-retry-interval", "longest wait between tries", "D", lazily("rport.duration", "parse_duration"), "5m",
           live=True),
    Option("allow", "also dial this for the server: HOST:PORT, HOST:*, a network, unix:PATH, or any", "RULE",
           lazily("rport.client.policy", "Rule.parse"), many=True, live=True),
    Option("proxy", "reach the server through this: http://, https:// or socks5://[USER:PASSWORD@]HOST:PORT; none = "
           "not even through HTTPS_PROXY or ALL_PROXY", "URL", lazily("rport.client.proxy", "parse_proxy"),
           secret=True, live=True),
    Option("header", "add this field to the request that the server or a proxy before it gets", "NAME:VALUE",
           lazily("rport.client.headers", "parse_header"), many=True, lines=True, secret=True, live=True),
    Option("hostname", "the request's Host instead of the server's name", "NAME",
           lazily("rport.client.headers", "parse_hostname"), live=True),
    Option("tls-ca", "trust these authorities (PEM) instead of the system's", "FILE", path, live=True, hint="file"),
    Option("tls-cert", "certificate to show to the server (PEM)", "FILE", path, live=True, hint="file"),
    Option("tls-key", "its private key (PEM)", "FILE", path, live=True, hint="file"),
    Option("tls-server-name", "the name that the server's certificate must have", "NAME", _host_name, live=True),
    Option("tls-insecure", "take any certificate; only together with --fingerprint", live=True),
    STATE,
    *LOGGING,
    ALLOW_ROOT,
], ABOUT, EPILOG)  # fmt: skip
