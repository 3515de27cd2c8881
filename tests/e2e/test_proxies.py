"""Through the proxies that companies have: what they carry, and what is said when they do not."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_user_errors import ONCE, run, says
from tests.support.neighbours import certificate, free_port, http_answer
from tests.support.programs import Program, Server, Target, carry, echo, until
from tests.support.proxies import PASSWORD, USER, Squid, dante, microsocks, tinyproxy

Keep = Callable[[Any], Any]

NAME = "server.test"  # known to the proxy alone
AMOUNT = 8 << 20  # octets each way
ODD = "p@ss:w/rd%"
ODD_ESCAPED = "p%40ss:w%2Frd%25"
WRONG = "verysecret"  # which run() looks for

# What is shown, what is written, and how to start it.
KINDS = {
    "squid": ("http", "http://", lambda path, **more: Squid(**more)),
    "squid with a login": ("http", f"http://{USER}:{ODD_ESCAPED}@", lambda path, **more: Squid(password=ODD, **more)),
    "squid over TLS": ("https", "https://", lambda path, **more: Squid(pem=certificate(path), **more)),
    "tinyproxy": ("http", "", tinyproxy),
    "tinyproxy with a login": (
        *("http", f"{USER}:{PASSWORD}@"),
        lambda path, **more: tinyproxy(path, password=PASSWORD, **more),
    ),
    "microsocks": ("socks5", "socks5://", lambda path, **more: microsocks(**more)),
    "microsocks with a login": (
        *("socks5", f"socks5h://{USER}:{ODD_ESCAPED}@"),
        lambda path, **more: microsocks(password=ODD, **more),
    ),
    "dante": ("socks5", "socks://", dante),
}


@pytest.fixture
def hosts(tmp_path: Path) -> Path:
    path = tmp_path / "hosts"
    path.write_text(f"127.0.0.1 localhost {NAME}\n")
    return path


def tunnel(keep: Keep, state: Path, server: Server, *words: str, env: dict[str, str] | None = None) -> Program:
    """A client of the server under its name, with a tunnel to an echo."""
    target = keep(Target(echo))
    remote = f"127.0.0.1:0:127.0.0.1:{target.port}"
    return keep(Program("rport.client", "-v", f"{NAME}:{server.port}", remote, *words, state=state, env=env))  # type: ignore[no-any-return]


def carries(program: Program, amount: int) -> None:
    carry(int(program.wait_for(r"Tunnel \S*:(\d+) => ").group(1)), amount)


@pytest.mark.parametrize("kind", KINDS)
def test_a_tunnel_through_it(kind: str, keep: Keep, tmp_path: Path, hosts: Path) -> None:
    """Only the proxy knows the server's name."""
    shown, beginning, start = KINDS[kind]
    proxy, server = keep(start(tmp_path, hosts=hosts)), keep(Server(tmp_path))
    url = tmp_path / "url"
    url.write_text(f"{beginning}localhost:{proxy.port}\n")
    trusted = {"SSL_CERT_FILE": str(tmp_path / "cert.pem")} if shown == "https" else None
    program = tunnel(keep, tmp_path, server, "--proxy", f"@{url}", env=trusted)
    carries(program, AMOUNT)
    assert f"Connecting to ws://{NAME}:{server.port} through the proxy {shown}://localhost:{proxy.port}" in program.log
    assert not [secret for secret in (ODD, ODD_ESCAPED, PASSWORD) if secret in program.log]
    program.process.terminate()
    assert program.exit_code() == 0
    until(lambda: not server.sessions(), "the server knows that the client is gone")


@pytest.mark.parametrize("kind", ["squid over TLS", "microsocks"])
def test_a_proxy_that_starts_again(kind: str, keep: Keep, tmp_path: Path, hosts: Path) -> None:
    shown, beginning, start = KINDS[kind]
    proxy, server = keep(start(tmp_path, hosts=hosts)), keep(Server(tmp_path))
    options = ("--proxy", f"{beginning}localhost:{proxy.port}", "--max-retry-interval", "200ms")
    trusted = ("--tls-ca", str(tmp_path / "cert.pem")) if shown == "https" else ()
    program = tunnel(keep, tmp_path, server, *options, *trusted)
    carries(program, 1)
    proxy.close()
    program.wait_for("Disconnected")
    program.wait_for(f"cannot connect to the proxy {shown}://localhost:{proxy.port}: Connection refused")
    keep(start(tmp_path, hosts=hosts, port=proxy.port))
    program.wait_for("Connected", count=2)
    carries(program, AMOUNT)


@pytest.mark.parametrize("kind", ["squid", "squid over TLS", "microsocks"])
def test_a_server_with_tls_behind_it(kind: str, keep: Keep, tmp_path: Path, hosts: Path) -> None:
    """Even TLS within TLS. Here --tls-ca is for both."""
    _, beginning, start = KINDS[kind]
    proxy = keep(start(tmp_path, hosts=hosts))
    if not (tmp_path / "cert.pem").exists():
        certificate(tmp_path)
    cert, key = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
    server, target = keep(Server(tmp_path, "--tls-cert", cert, "--tls-key", key)), keep(Target(echo))
    words = ("--proxy", f"{beginning}localhost:{proxy.port}", "--tls-ca", cert, "--tls-server-name", "localhost")
    remote = f"127.0.0.1:0:127.0.0.1:{target.port}"
    carries(keep(Program("rport.client", f"https://{NAME}:{server.port}", remote, *words, state=tmp_path)), AMOUNT)


# --- what is said -----------------------------------------------------------------------------------------------------


def attempt(keep: Keep, state: Path, proxy: Any, beginning: str, port: int, fragments: list[str]) -> None:
    where = f"localhost:{keep(proxy).port}"
    ended = run("rport.client", *ONCE, f"127.0.0.1:{port}", "--proxy", f"{beginning}{where}", state=state)
    says(ended, 6, [f"{where}: ", *fragments])


HTTP_WRONG = ["HTTP 407", "the user or the password for it is wrong"]
NO_LOGIN = "it wants a login: give "


@pytest.mark.parametrize(
    ("start", "beginning", "fragments"),
    [
        (lambda _: Squid(password=ODD), "http://", ["HTTP 407", f"{NO_LOGIN}http://"]),
        (lambda _: Squid(password=ODD), f"http://{USER}:{WRONG}@", HTTP_WRONG),
        (lambda path: tinyproxy(path, password=PASSWORD), "http://", ["HTTP 407", f"{NO_LOGIN}http://"]),
        (lambda path: tinyproxy(path, password=PASSWORD), f"http://{USER}:{WRONG}@", HTTP_WRONG[1:]),
        (lambda _: microsocks(password=ODD), "socks5://", [f"{NO_LOGIN}socks5://"]),
        (lambda _: microsocks(password=ODD), f"socks5://{USER}:{WRONG}@", ["the user or the password", "is wrong"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_logins(start: Callable[[Path], Any], beginning: str, fragments: list[str], keep: Keep, tmp_path: Path) -> None:
    attempt(keep, tmp_path, start(tmp_path), beginning, 9, fragments)


@pytest.mark.parametrize(
    ("start", "beginning", "fragments"),
    [
        (lambda _: Squid(allowed=443), "http://", ["HTTP 403", "does not allow connections to 127.0.0.1:"]),
        (lambda path: tinyproxy(path, allowed=443), "http://", ["HTTP 403", "many allow port 443 alone"]),
        (lambda path: dante(path, allowed=443), "socks5://", ["its rules do not allow it"]),
        (lambda _: Squid(), "http://", ["HTTP 503", "cannot reach 127.0.0.1:"]),
        (tinyproxy, "http://", ["HTTP 500", "cannot reach 127.0.0.1:"]),
        (lambda _: microsocks(), "socks5://", ["does not connect to 127.0.0.1:", "connection refused"]),
        (dante, "socks5://", ["does not connect to 127.0.0.1:", "connection refused"]),
        (lambda _: microsocks(), "http://", ["no HTTP proxy but, it seems, SOCKS", "write socks5://"]),
        (lambda _: Squid(), "https://", ["it does not speak TLS: write http://"]),
        (lambda path: Squid(pem=certificate(path)), "https://", ["certificate is not accepted", "--tls-ca"]),
        (lambda path: Squid(pem=certificate(path)), "http://", ["if it speaks TLS, write https://"]),
    ],
)
def test_refusals(
    start: Callable[[Path], Any], beginning: str, fragments: list[str], keep: Keep, tmp_path: Path
) -> None:
    attempt(keep, tmp_path, start(tmp_path), beginning, free_port(), fragments)


def test_a_server_that_is_none_behind_a_proxy(keep: Keep, tmp_path: Path) -> None:
    web = keep(Target(lambda sock: (sock.recv(4096), sock.sendall(http_answer("404 Not Found")))))
    proxy = keep(microsocks())
    url = f"socks5://127.0.0.1:{proxy.port}"
    ended = run("rport.client", *ONCE, f"127.0.0.1:{web.port}", "--proxy", url, state=tmp_path)
    says(ended, 6, [f"127.0.0.1:{web.port} (through the proxy {url}): answered HTTP 404"])


# --- the environment --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
def test_the_environment_names_it(name: str, keep: Keep, tmp_path: Path, hosts: Path) -> None:
    proxy, server = keep(microsocks(hosts=hosts)), keep(Server(tmp_path))
    env = {name: f"socks5h://127.0.0.1:{proxy.port}", "NO_PROXY": "localhost,127.0.0.1,.example.com"}
    carries(tunnel(keep, tmp_path, server, env=env), 1)


@pytest.mark.parametrize(
    ("words", "env"),
    [
        ([], {"NO_PROXY": NAME}),
        ([], {"no_proxy": "example.com,.test"}),
        ([], {"NO_PROXY": "*"}),
        (["--proxy", "none"], {}),
        ([], {"RPORT_PROXY": "none"}),
    ],
)
def test_the_environment_is_passed_over(words: list[str], env: dict[str, str], tmp_path: Path) -> None:
    """So the name has to be resolved here."""
    env = {"HTTPS_PROXY": f"http://127.0.0.1:{free_port()}", **env}
    says(run("rport.client", *ONCE, NAME, *words, state=tmp_path, env=env), 6, [f"the name '{NAME}' does not resolve"])


def test_the_loopback_is_reached_without_a_proxy(keep: Keep, tmp_path: Path) -> None:
    server = keep(Server(tmp_path))
    env = {"HTTPS_PROXY": "http://127.0.0.1:1", "ALL_PROXY": "no proxy at all"}
    program = keep(Program("rport.client", f"127.0.0.1:{server.port}", state=tmp_path, env=env))
    program.wait_for("Connected")


@pytest.mark.parametrize(
    ("words", "env", "where"),
    [
        (["--proxy", f"ftp://{USER}:{WRONG}@h"], {}, "--proxy: "),
        ([], {"RPORT_PROXY": f"ftp://{USER}:{WRONG}@h"}, "RPORT_PROXY: "),
        ([], {"https_proxy": f"ftp://{USER}:{WRONG}@h"}, "https_proxy: "),
    ],
)
def test_unfit_urls(words: list[str], env: dict[str, str], where: str, tmp_path: Path) -> None:
    says(run("rport.client", NAME, *words, state=tmp_path, env=env), 1, [where, "must be http, https or socks5"])


# --- the request ------------------------------------------------------------------------------------------------------


def asked(keep: Keep, state: Path, path: str, *words: str, env: dict[str, str] | None = None) -> list[str]:
    """The lines of the request that a client makes."""
    requests: list[bytes] = []

    def serve(sock: socket.socket) -> None:
        requests.append(sock.recv(65536))
        sock.sendall(http_answer("403 Forbidden"))

    port = keep(Target(serve)).port
    ended = run("rport.client", *ONCE, f"http://127.0.0.1:{port}{path}", *words, state=state, env=env)
    says(ended, 6, ["HTTP 403"])
    (request,) = requests
    return request.decode("latin-1").replace(f":{port}", ":PORT").split("\r\n")


def test_path_and_query_are_kept(keep: Keep, tmp_path: Path) -> None:
    lines = asked(keep, tmp_path, "/some/path?x=1&y=%20")
    assert lines[:2] == ["GET /some/path?x=1&y=%20 HTTP/1.1", "Host: 127.0.0.1:PORT"]


def test_headers_and_hostname(keep: Keep, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(f"Authorization: Bearer {WRONG}\n")
    lines = asked(
        *(keep, tmp_path, "/"),
        *("--header", "X-One: 1", "--hostname", "tunnel.example.com", "--header", f"@{token}", "-v"),
    )
    assert lines[:2] == ["GET / HTTP/1.1", "Host: tunnel.example.com"]
    assert len([line for line in lines if line.startswith("Host:")]) == 1
    assert "X-One: 1" in lines
    assert f"Authorization: Bearer {WRONG}" in lines


@pytest.mark.parametrize(
    ("words", "fragments"),
    [
        (["--header", f"X: {WRONG}\r\nY: z"], ["--header", "the value of X must be one line"]),
        (["--header", WRONG], ["--header", "write it as 'Name: value'"]),
        (["--header", "Host: h"], ["--header", "--hostname"]),
        (["--header", "Upgrade: h2c"], ["--header", "Upgrade cannot be given"]),
        (["--hostname", "a b"], ["--hostname", "no host"]),
        (["--header", f"X: {WRONG * 1638}"], ["longer than 16384 bytes"]),
        (
            [word for i in range(59) for word in ("--header", f"X{i}: {WRONG}")],
            ["59 headers are too many: 58 may be given"],
        ),
    ],
)
def test_unfit_headers(words: list[str], fragments: list[str], tmp_path: Path) -> None:
    says(run("rport.client", "127.0.0.1:1", *words, state=tmp_path), 1, fragments)
