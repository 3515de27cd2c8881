"""The commands of rportctl: what there is to say of each."""

from rport.ctl.command import Command
from rport.options import Option, lazily, one_of, path

ABOUT = "Look after the machines and tunnels of an rportd, by its API."

EPILOG = """\
A CLIENT is an id, a name, or how one begins, as long as only one does. `client rm` wants the whole.
Each command has a --help.

examples:
  rportctl login https://tunnel.example.com
  rportctl clients --tag shop --state connected
  rportctl ssh web-1 --user admin -- uptime
  rportctl tunnel open web-1 3389 --source caller --expires 8h

RPORT_URL and RPORT_TOKEN serve scripts that have no profile; RPORT_PROFILE, RPORT_CA, RPORT_INSECURE, RPORT_TIMEOUT and
RPORT_JSON stand for the options of these names.

exit codes: 0 done, 1 usage, 2 not found, 3 not allowed or no valid login, 4 in the way of something that is there,
5 trouble of the server or on the way to it; ssh and rdp end with the code of the program that they start
"""

ROLES = ("viewer", "operator", "admin")
SCHEMES = ("tcp", "ssh", "rdp", "vnc", "http", "https")
SORTS = ("name", "id", "last_seen", "first_seen", "os", "rtt", "address")


def _reads(name: str):  # type: ignore[no-untyped-def]
    return lazily("rport.ctl.readers", name)


def _arg(name: str, help: str, *, many: bool = False, hint: str | tuple[str, ...] = (), read=str) -> Option:  # type: ignore[no-untyped-def]
    return Option(name, help, name.upper().replace("_", "-"), read, positional=True, many=many, hint=hint)


WHOLE_CLIENT = _arg("client", "its whole id or name", hint="client")
CLIENT = _arg("client", "id, name, or how one begins", hint="client")
TUNNEL = _arg("tunnel", "its id, how that begins, or :PORT that it listens on")
TAG = Option("tag", "a tag", "T", many=True)
NOTE = Option("note", "what it is for", "TEXT")
LIMIT = Option("limit", "at most so many", "N", _reads("count"))
WATCH = Option("watch", "show it again whenever it changes", short="-w")
ROLE = Option("role", f"one of {', '.join(ROLES)}", "ROLE", one_of(*ROLES), hint=ROLES)
USER = Option("user", "come in as this user there", "NAME", short="-u")
PASSWORD = Option("password", "read it from @FILE instead of asking for it", "@FILE", secret=True)

_LIMITS = (
    Option("source", "addresses that may come in, such as 192.0.2.0/24; caller = yours, any = all", "CIDR", many=True),
    Option("idle", "close it when nobody was there for so long", "D", _reads("duration_or_none")),
    Option("expires", "close it after so long", "D", _reads("duration_or_none")),
    Option("connections", "at most so many at once", "N", _reads("count_or_none")),
    Option("rate-to-target", "octets a second to the target, such as 500k", "N", _reads("rate")),
    Option("rate-to-visitor", "octets a second from the target", "N", _reads("rate")),
    Option("scheme", f"what is spoken: {', '.join(SCHEMES)}", "NAME", hint=SCHEMES),
    NOTE,
)

_PASSING = (  # of tunnels that last as long as a program
    Option("port", "the target's port there", "N", _reads("one_port"), short="-p"),
    Option("target", "what the client dials: [HOST:]PORT, if it is not on itself", "TARGET"),
    Option("lhost", "where the server listens; else its loopback if it is this machine, and everywhere if not", "HOST"),
    Option("at", "the server's name for this machine, if another than in its URL", "HOST"),
    Option("source", "addresses that may come in; else yours alone", "CIDR", many=True),
)

COMMANDS = (
    # --- servers and logins
    Command("login", "make a token for this machine, and keep it", "logins:login", (
        _arg("server", "URL of the server, such as https://tunnel.example.com"),
        Option("user", "the login's name; else asked for", "NAME", short="-u"),
        PASSWORD,
        Option("expires", "how long the token lasts, none = for ever", "D", _reads("duration_or_none"), "90d"),
        Option("anonymous", "keep no login: for a server on this machine that has no users yet"),
    ), examples=("rportctl login https://tunnel.example.com --user me",
                 "rportctl login --profile lab https://10.0.0.5:8443 --ca lab.pem",
                 "rportctl login https://tunnel.example.com --token @token.txt")),
    Command("logout", "revoke the token that login made, and forget it", "logins:logout"),
    Command("profile list", "the servers that are known", "logins:list_profiles"),
    Command("profile use", "which one is asked from now on", "logins:use_profile", (
        _arg("name", "of a profile", hint="profile"),)),
    Command("profile rm", "forget a server; its token stays valid", "logins:remove_profile", (
        _arg("name", "of a profile", hint="profile"),)),
    Command("status", "how the server does", "status:status"),

    # --- machines
    Command("clients", "the machines", "clients:list_clients", (
        TAG,
        Option("os", "with this operating system", "NAME"),
        Option("state", "connected or disconnected", "STATE", one_of("connected", "disconnected"),
               hint=("connected", "disconnected")),
        Option("query", "with this text in name, id, note and the like", "TEXT", short="-q"),
        Option("sort", f"by {', '.join(SORTS)}; a dash before it turns the order round", "KEY",
               hint=(*SORTS, *(f"-{key}" for key in SORTS))),
        LIMIT,
        WATCH,
    ), examples=("rportctl clients --tag shop --state connected --sort=-last_seen", "rportctl clients --json -q web")),
    Command("client show", "all that is known of one", "clients:show", (CLIENT,)),
    Command("client add", "make one that has not connected yet", "clients:add", (
        _arg("name", "its name"), Option("id", "its id; else one is made", "ID"), TAG, NOTE)),
    Command("client rm", "remove one with its credentials and tunnels", "clients:remove", (WHOLE_CLIENT,)),
    Command("client tag", "give it tags", "clients:tag", (CLIENT, _arg("tag", "a tag", many=True))),
    Command("client untag", "take tags away", "clients:untag", (CLIENT, _arg("tag", "a tag", many=True))),
    Command("client rename", "give it another name", "clients:rename", (CLIENT, _arg("name", "the new one"))),
    Command("client note", "say what it is", "clients:note", (CLIENT, _arg("text", "the new note"))),
    Command("client disconnect", "end its session; it may come back", "clients:disconnect", (CLIENT,)),
    Command("client history", "its connections, the newest first", "clients:history", (CLIENT, LIMIT)),
    Command("check", "whether a target answers from a client's side", "clients:check", (
        CLIENT, _arg("target", "[HOST:]PORT")), examples=("rportctl check web-1 db.internal:5432",)),

    # --- credentials
    Command("credential list", "by what a client may come in", "credentials:list_credentials", (CLIENT,)),
    Command("credential create", "make a secret, shown once; or let a key in", "credentials:create", (
        CLIENT, Option("public", "a public key, as `rport key` prints it, instead of a secret", "KEY"))),
    Command("credential rotate", "a new secret for an old one, which is valid no more", "credentials:rotate", (
        CLIENT, _arg("credential", "its id"))),
    Command("credential revoke", "take it back, and end what came in by it", "credentials:revoke", (
        CLIENT, _arg("credential", "its id"))),
    Command("enroll create", "make codes by which machines become clients", "enrolments:create", (
        TAG,
        NOTE,
        Option("uses", "how many machines may use a code", "N", _reads("count"), "1"),
        Option("expires", "how long a code is valid", "D", _reads("duration"), "24h"),
        Option("count", "how many codes", "N", _reads("count"), "1"),
        Option("server", "URL that the codes name; else its --public-url, else as this program reaches it", "URL"),
    ), examples=("rportctl enroll create --tag shop --uses 50 --expires 7d",)),
    Command("enroll list", "codes that were made", "enrolments:list_enrolments"),
    Command("enroll revoke", "let nobody use a code any more", "enrolments:revoke", (_arg("enrolment", "its id"),)),

    # --- tunnels
    Command("tunnel open", "have the server listen, and a client dial", "tunnels:open_tunnel", (
        CLIENT,
        _arg("target", "what the client dials: [HOST:]PORT or unix:/PATH"),
        Option("lport", "where the server listens; auto = it chooses", "PORT", _reads("port"), "auto"),
        Option("lhost", "... on which address; else as the server is configured", "HOST"),
        Option("passing", "not kept: gone when the client goes"),
        Option("proxy-protocol", "tell the target each visitor's address: v1 or v2", "V", one_of("v1", "v2"),
               hint=("v1", "v2")),
        *_LIMITS,
    ), examples=("rportctl tunnel open web-1 22 --source caller --expires 8h",
                 "rportctl tunnel open web-1 db.internal:5432 --lport 15432 --rate-to-visitor 2M")),
    Command("tunnel list", "of a client, or all", "tunnels:list_tunnels", (
        CLIENT,
        Option("query", "with this text", "TEXT", short="-q"),
        WATCH,
    ), needed=0),
    Command("tunnel show", "all that is known of one", "tunnels:show", (CLIENT, TUNNEL)),
    Command("tunnel change", "change what may change while it is open", "tunnels:change", (CLIENT, TUNNEL, *_LIMITS),
            examples=("rportctl tunnel change web-1 :2222 --source 192.0.2.0/24 --rate-to-visitor none",)),
    Command("tunnel close", "close it, with all its connections", "tunnels:close", (CLIENT, TUNNEL)),
    Command("tunnel watch", "its figures, live", "tunnels:watch", (CLIENT, TUNNEL)),
    Command("tunnel connections", "who is connected", "tunnels:connections", (CLIENT, TUNNEL)),
    Command("tunnel cut", "end one connection", "tunnels:cut", (CLIENT, TUNNEL, _arg("connection", "its id"))),
    Command("ssh", "ssh to a client, through a tunnel that lasts as long", "programs:ssh", (CLIENT, USER, *_PASSING),
            behind="arguments for ssh",
            examples=("rportctl ssh web-1", "rportctl ssh web-1 --user admin -- -L 8080:localhost:80 uptime")),
    Command("rdp", "a remote desktop, through a tunnel that lasts as long", "programs:rdp", (
        CLIENT,
        USER,
        Option("program", "instead of the first that is there of xfreerdp, remmina and mstsc", "NAME"),
        Option("file", "write an .rdp file there instead of starting a program, and wait for Ctrl-C", "FILE", path,
               hint="file"),
        *_PASSING,
    ), behind="arguments for it"),
    Command("http", "a client's web page, through a tunnel that lasts until Ctrl-C", "programs:http", (
        CLIENT,
        _arg("web_port", "of the page; else 80, or 443 with --https", read=_reads("one_port")),
        Option("https", "the page speaks TLS"),
        Option("no-browser", "only print the URL"),
        *_PASSING[1:],
    ), needed=1),

    # --- what happened
    Command("audit", "who did what, the newest last", "audit:audit", (
        Option("since", "from then on: a time, or how long ago", "WHEN", _reads("moment")),
        Option("until", "up to then", "WHEN", _reads("moment")),
        Option("actor", "by whom", "NAME"),
        Option("action", "what: tunnel.open, or tunnel. for all that begin so", "NAME"),
        Option("client", "on which client", "CLIENT", hint="client"),
        Option("query", "with this text", "TEXT", short="-q"),
        Option("limit", "at most so many", "N", _reads("count"), "100"),
        Option("follow", "wait for what comes", short="-f"),
    ), examples=("rportctl audit --since 2h --action tunnel.open", "rportctl audit --json --since 30d --limit 100000")),
    Command("events", "what happens", "events:events", (
        Option("type", "only such, as tunnel.opened", "NAME", many=True),
        Option("client", "only of this one", "CLIENT", hint="client"),
        Option("after", "from the event behind this number on; 0 = all that are kept", "ID",
               _reads("event_id")),
        Option("follow", "wait for what comes; else those of the past", short="-f"),
    ), examples=("rportctl events --follow --json | while read -r line; do ...; done",)),

    # --- who may ask
    Command("token list", "tokens for the API", "tokens:list_tokens"),
    Command("token create", "make one, shown once", "tokens:create", (
        NOTE,
        Option("user", "for this user instead of you", "NAME"),
        ROLE,
        TAG,
        Option("expires", "how long it lasts, none = for ever", "D", _reads("duration_or_none"), "90d"),
    )),
    Command("token revoke", "take one back", "tokens:revoke", (_arg("token_id", "its id"),)),
    Command("user list", "who may use the API", "users:list_users"),
    Command("user add", "let somebody in", "users:add", (
        _arg("name", "of the user"), ROLE, TAG, PASSWORD)),
    Command("user rm", "remove one, with his tokens", "users:remove", (_arg("name", "of the user"),)),
    Command("user passwd", "set a password; your own without a name", "users:passwd", (
        _arg("name", "of the user"), PASSWORD), needed=0),
    Command("user role", "what he may do, and on which clients", "users:role", (
        _arg("name", "of the user"), _arg("role", f"one of {', '.join(ROLES)}", hint=ROLES, read=one_of(*ROLES)),
        Option("tag", "sees clients with one of these alone; none = all", "T", many=True))),
    Command("webhook list", "whom the server tells of events", "webhooks:list_webhooks"),
    Command("webhook add", "tell a URL; its secret is shown once", "webhooks:add", (
        _arg("to", "the URL"), Option("type", "only such events", "NAME", many=True), NOTE)),
    Command("webhook rm", "tell it no more", "webhooks:remove", (_arg("webhook", "its id"),)),
    Command("webhook test", "send it a test", "webhooks:test", (_arg("webhook", "its id"),)),
    Command("webhook deliveries", "what waits, and what was given up", "webhooks:deliveries", (
        _arg("webhook", "its id"),
        Option("state", "waiting or dead", "STATE", one_of("waiting", "dead"), hint=("waiting", "dead")))),
    Command("webhook retry", "try a delivery again", "webhooks:retry", (
        _arg("webhook", "its id"), _arg("delivery", "its id"))),
    Command("completion", "print the completions for a shell", "completion:show", (
        _arg("shell", "bash, zsh or fish", hint=("bash", "zsh", "fish"), read=one_of("bash", "zsh", "fish")),),
        examples=("rportctl completion bash > ~/.local/share/bash-completion/completions/rportctl",)),
)  # fmt: skip
