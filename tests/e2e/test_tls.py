"""TLS between the two programs, as users have it: certificates good and bad, strangers, new files, the end."""

import contextlib
import http.client
import signal
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import test_tunnel
from tests.e2e.test_tunnel import *  # noqa: F403  # all of it once more, over TLS
from tests.e2e.test_user_errors import ONCE, run, says
from tests.support.certificates import FUTURE, PAST, Authority, openssl
from tests.support.neighbours import certificate, free_port, tool
from tests.support.programs import Client, Server, Target, carry, echo, read_all, until
from tests.support.proxies import tinyproxy

Keep = Callable[[Any], Any]

HERE = "https://127.0.0.1"
MANY = 64 << 20  # octets each way


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def pair(authority: Authority) -> tuple[Path, Path]:
    return authority.issue("IP:127.0.0.1", "DNS:localhost")


def shows(pair: tuple[Path, Path]) -> tuple[str, ...]:
    """The options of either program for a certificate."""
    return ("--tls-cert", str(pair[0]), "--tls-key", str(pair[1]))


def trusts(authority: Authority) -> tuple[str, ...]:
    return ("--tls-ca", str(authority.ca))


@pytest.fixture(autouse=True)
def _over_tls(authority: Authority, pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """For what is taken from test_tunnel."""

    def server(state: Path, *words: str, **more: Any) -> Server:
        return Server(state, *shows(pair), *words, **more)

    def client(server: Server, *words: str, **more: Any) -> Client:
        return Client(server, *trusts(authority), *words, host=HERE, **more)

    monkeypatch.setattr(test_tunnel, "Server", server)
    monkeypatch.setattr(test_tunnel, "Client", client)


@pytest.fixture
def server(pair: tuple[Path, Path], keep: Keep, tmp_path: Path) -> Server:
    return keep(Server(tmp_path, *shows(pair)))  # type: ignore[no-any-return]


def connect(server: Server, authority: Authority, keep: Keep, state: Path, *words: str) -> Client:
    return keep(Client(server, *trusts(authority), *words, state=state, host=HERE))  # type: ignore[no-any-return]


# --- what is carried --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_many_octets_each_way(
    version: str, authority: Authority, pair: tuple[Path, Path], keep: Keep, tmp_path: Path
) -> None:
    (tmp_path / "openssl.cnf").write_text(
        "openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\n"
        f"MinProtocol = TLSv{version}\nMaxProtocol = TLSv{version}\n"
    )
    server = keep(Server(tmp_path, *shows(pair), env={"OPENSSL_CONF": str(tmp_path / "openssl.cnf")}))
    target = keep(Target(echo))
    client = connect(server, authority, keep, tmp_path, f"127.0.0.1:0:127.0.0.1:{target.port}")
    carry(client.tunnel_port(), MANY if version == "1.3" else MANY // 8)


def test_through_a_proxy(server: Server, authority: Authority, keep: Keep, tmp_path: Path) -> None:
    proxy, target = keep(tinyproxy(tmp_path)), keep(Target(echo))
    words = ("--proxy", f"http://127.0.0.1:{proxy.port}", f"127.0.0.1:0:127.0.0.1:{target.port}")
    carry(connect(server, authority, keep, tmp_path, *words).tunnel_port(), 1 << 20)


@pytest.mark.parametrize("victim", ["server", "client"])
def test_a_killed_end_is_noticed(victim: str, server: Server, authority: Authority, keep: Keep, tmp_path: Path) -> None:
    target = keep(Target(echo))
    client = connect(server, authority, keep, tmp_path, f"127.0.0.1:0:127.0.0.1:{target.port}")
    with socket.create_connection(("127.0.0.1", client.tunnel_port()), timeout=20) as sock:
        sock.sendall(b"x")
        assert sock.recv(1) == b"x"
        if victim == "server":
            server.signal(signal.SIGKILL)
            client.wait_for("Disconnected: the connection was cut off")
            return
        client.signal(signal.SIGKILL)
        with pytest.raises(ConnectionResetError):  # not an end, which could be taken for a whole answer
            sock.recv(1)
    server.wait_for(r"Closed \(the connection was cut off\)")


# --- certificates -----------------------------------------------------------------------------------------------------

NAMED = ("IP:127.0.0.1",)
Case = tuple[Callable[[Authority, Path], tuple[Path, Path]], Sequence[str], Sequence[str]]

# The server's certificate, what the client is given ("CA" = where the authority's certificate is), what it says.
REFUSED: dict[str, Case] = {
    "expired": (lambda ca, _: ca.issue(*NAMED, valid=PAST), ("--tls-ca", "CA"), ["certificate has expired"]),
    "not yet valid": (lambda ca, _: ca.issue(*NAMED, valid=FUTURE), ("--tls-ca", "CA"), ["is not valid yet", "clock"]),
    "another name": (
        lambda ca, _: ca.issue("DNS:elsewhere"),
        ("--tls-ca", "CA"),
        ["is for another name than 127.0.0.1", "--tls-server-name"],
    ),
    "another server name": (
        lambda ca, _: ca.issue(*NAMED),
        ("--tls-ca", "CA", "--tls-server-name", "elsewhere"),
        ["is for another name than elsewhere"],
    ),
    "unknown to the system": (
        lambda ca, _: ca.issue(*NAMED),
        (),
        ["authority of its certificate is not known to this system", "--tls-ca"],
    ),
    "unknown authority": (
        lambda _, path: Authority(path, "another").issue(*NAMED),
        ("--tls-ca", "CA"),
        ["authority of its certificate is not in ", "ca.pem"],
    ),
    "self-signed": (lambda _, path: certificate(path), (), ["authority of its certificate is not known", "--tls-ca"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_certificate_is_told(name: str, authority: Authority, keep: Keep, tmp_path: Path) -> None:
    make, words, fragments = REFUSED[name]
    server = keep(Server(tmp_path, *shows(make(authority, tmp_path))))
    words = [str(authority.ca) if word == "CA" else word for word in words]
    ended = run("rport.client", *ONCE, *words, f"{HERE}:{server.port}", state=tmp_path)
    says(ended, 6, [f"127.0.0.1:{server.port}: ", *fragments])
    server.wait_for("INFO 127.0.0.1: refused: it does not accept this server's certificate: ")


def test_what_makes_up_for_it(authority: Authority, keep: Keep, tmp_path: Path) -> None:
    server = keep(Server(tmp_path, *shows(authority.issue("DNS:elsewhere", valid=PAST))))
    where = f"{HERE}:{server.port}"
    says(run("rport.client", "--tls-insecure", where, state=tmp_path), 1, ["--tls-insecure needs --fingerprint"])
    keep(Client(server, "--tls-insecure", "--fingerprint", server.fingerprint, state=tmp_path, host=HERE))
    wrong = run("rport.client", "--tls-insecure", "--fingerprint", "0" * 64, where, state=tmp_path)
    says(wrong, 4, ["this is not the expected server"])
    other = keep(Server(tmp_path / "other", *shows(authority.issue("DNS:elsewhere"))))
    connect(other, authority, keep, tmp_path, "--tls-server-name", "elsewhere")


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_client_certificates(
    version: str, authority: Authority, pair: tuple[Path, Path], keep: Keep, tmp_path: Path
) -> None:
    (tmp_path / "openssl.cnf").write_text(
        f"openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\nMaxProtocol = TLSv{version}\n"
    )
    env = {"OPENSSL_CONF": str(tmp_path / "openssl.cnf")}
    server = keep(Server(tmp_path, *shows(pair), "--tls-client-ca", str(authority.ca), env=env))
    connect(server, authority, keep, tmp_path, *shows(authority.issue()))
    for words, fragments in (
        ((), ["it wants a certificate from its clients: give --tls-cert and --tls-key"]),
        (
            shows(Authority(tmp_path, "another").issue()),
            ["refuses the certificate of --tls-cert", "authority is unknown"],
        ),
        (shows(authority.issue(valid=PAST)), ["refuses the certificate of --tls-cert", "expired"]),
    ):
        where = f"{HERE}:{server.port}"
        says(run("rport.client", *ONCE, *trusts(authority), *words, where, state=tmp_path), 6, fragments)
    server.wait_for("refused: no client certificate came, and --tls-client-ca wants one")
    server.wait_for("refused: its client certificate is not accepted: ", 2)


def test_files_that_cannot_be_used(authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "no").write_text("nothing")
    locked = tmp_path / "locked.pem"
    cert, key = authority.issue()
    openssl("pkey", "-in", key, "-aes256", "-passout", "pass:x", "-out", locked)
    no, gone = str(tmp_path / "no"), str(tmp_path / "gone")
    for words, fragments in (
        (("--tls-ca", gone), [f"--tls-ca: {gone} cannot be read: No such file"]),
        (("--tls-ca", no), [f"--tls-ca: there is no certificate in PEM form in {no}"]),
        (("--tls-cert", str(cert), "--tls-key", str(locked)), [f"--tls-key: {locked} is encrypted"]),
    ):
        nobody = f"{HERE}:{free_port()}"  # a mistake is told at once, not when the server comes back
        says(run("rport.client", *words, nobody, state=tmp_path), 1, fragments)
    for words, fragments in (
        (("--tls-cert", gone, "--tls-key", str(key)), [f"--tls-cert: {gone} cannot be read"]),
        (("--tls-cert", str(cert), "--tls-key", str(locked)), [f"--tls-key: {locked} is encrypted"]),
        (
            (*shows((cert, key)), "--tls-client-ca", no),
            [f"--tls-client-ca: there is no certificate in PEM form in {no}"],
        ),
    ):
        says(run("rport.server", "--host", "127.0.0.1", "-p", "0", *words, state=tmp_path), 1, fragments)


# --- TLS where there is none, and the other way round ----------------------------------------------------------------


def hear_and_leave(sock: socket.socket) -> None:
    """What is left unread would make a reset of the end."""
    sock.recv(65536)


def test_plain_and_tls_ports(server: Server, authority: Authority, keep: Keep, tmp_path: Path) -> None:
    plain = run("rport.client", *ONCE, f"http://127.0.0.1:{server.port}", state=tmp_path)
    says(plain, 6, ["answered HTTP 400: it is a TLS port: write https://"])
    other = keep(Server(tmp_path / "other"))
    encrypted = run("rport.client", *ONCE, f"{HERE}:{other.port}", state=tmp_path)
    says(encrypted, 6, ["speaks plain HTTP on this port, not TLS: use http:// instead of https://"])
    ssh = keep(Target(lambda sock: (sock.sendall(b"SSH-2.0-x\r\n"), read_all(sock))))  # type: ignore[arg-type,return-value]
    says(run("rport.client", *ONCE, f"{HERE}:{ssh.port}", state=tmp_path), 6, ["does not speak TLS", "an SSH server"])
    silent = keep(Target(hear_and_leave))
    says(run("rport.client", *ONCE, f"{HERE}:{silent.port}", state=tmp_path), 6, ["closed during the TLS handshake"])


def test_a_server_with_old_tls_only(pair: tuple[Path, Path], tmp_path: Path) -> None:
    port = free_port()
    words = ["-accept", f"127.0.0.1:{port}", "-cert", pair[0], "-key", pair[1], "-cipher", "ALL:@SECLEVEL=0", "-tls1_1"]
    with subprocess.Popen(
        [tool("openssl"), "s_server", *words], stdout=subprocess.PIPE, stdin=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        while b"ACCEPT" not in other.stdout.readline():
            pass
        ended = run("rport.client", *ONCE, f"{HERE}:{port}", state=tmp_path)
        other.kill()
    says(ended, 6, ["no common version of TLS: 1.2 and newer are spoken here"])


@pytest.mark.parametrize(("version", "works"), [("-tls1_1", False), ("-tls1_2", True), ("-tls1_3", True)])
def test_versions_of_others(server: Server, authority: Authority, version: str, works: bool) -> None:
    command = ["s_client", "-connect", f"127.0.0.1:{server.port}", "-CAfile", authority.ca, "-verify_return_error"]
    done = subprocess.run(
        [tool("openssl"), *command, version, "-cipher", "ALL:@SECLEVEL=0", "-brief"],
        input=b"",
        capture_output=True,
        check=False,
        timeout=20,
    )
    assert (done.returncode == 0) == works, done.stderr
    if not works:
        server.wait_for("refused: no common version of TLS: 1.2 and newer are spoken here")


# --- the API ----------------------------------------------------------------------------------------------------------


def test_the_api_on_a_kept_connection(server: Server, authority: Authority) -> None:
    context = ssl.create_default_context(cafile=str(authority.ca))
    connection = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=20, context=context)
    connection.connect()
    sock = connection.sock
    for _ in range(3):
        connection.request("GET", "/api/openapi.json")
        answer = connection.getresponse()
        assert answer.status == 200
        assert len(answer.read()) > 1000
        assert connection.sock is sock
    connection.close()


def test_keys_may_be_updated(server: Server, authority: Authority) -> None:
    """`K` has s_client change its key and ask for the same; then another request, with the new ones."""
    command = [
        tool("openssl"),
        "s_client",
        "-connect",
        f"127.0.0.1:{server.port}",
        "-CAfile",
        str(authority.ca),
        "-crlf",
    ]
    request = b"GET /api/v1/status HTTP/1.1\nHost: 127.0.0.1\n\n"
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        seen = b""
        for words in (request, b"K\n", request):
            client.stdin.write(words)
            client.stdin.flush()
            wanted = b"KEYUPDATE" if words == b"K\n" else b'"sessions_count":0}'
            while not seen.endswith(wanted):
                octet = client.stdout.read(1)
                assert octet, seen
                seen += octet
            seen = b""
        client.kill()


# --- strangers --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def unfinished(port: int, count: int) -> Iterator[None]:
    """Handshakes that stop half way, thirty from each address. test_secure has them end, in their time."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    outgoing = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="x").do_handshake()
    hello = outgoing.read()
    with contextlib.ExitStack() as stack:
        for number in range(count):
            source = (f"127.0.0.{2 + number // 30}", 0)
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", port), 20, source_address=source))
            sock.sendall(hello[: len(hello) - number % 2])
        yield


def test_unfinished_handshakes_keep_nobody_out(
    server: Server, authority: Authority, keep: Keep, tmp_path: Path
) -> None:
    before = server.descriptors()
    with unfinished(server.port, 200):
        until(lambda: server.descriptors() >= before + 200, "all of them are in")
        connect(server, authority, keep, tmp_path)
    until(lambda: server.descriptors() <= before + 1, "only the client is left")


# --- new files, and the end -------------------------------------------------------------------------------------------


def serial(server: Server) -> int:
    """Of the certificate that a new connection is shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", server.port), timeout=20) as sock,
        context.wrap_socket(sock, server_hostname="x") as wrapped,
    ):
        return hash(wrapped.getpeercert(binary_form=True))


def test_new_files_are_used_without_a_restart(authority: Authority, keep: Keep, tmp_path: Path) -> None:
    """As certbot does it: links that are exchanged, one after the other."""

    def put(pair: tuple[Path, Path]) -> None:
        for name, path in zip(files, pair, strict=True):
            (tmp_path / "new").symlink_to(path)
            (tmp_path / "new").rename(name)

    files = (tmp_path / "fullchain.pem", tmp_path / "privkey.pem")
    pairs = [authority.issue("IP:127.0.0.1") for _ in range(3)]
    put(pairs[0])
    server = keep(Server(tmp_path, *shows(files)))
    target = keep(Target(echo))
    client = connect(server, authority, keep, tmp_path, f"127.0.0.1:0:127.0.0.1:{target.port}")
    first = serial(server)
    put(pairs[1])
    server.wait_for("The certificate was read again")
    second = serial(server)
    assert second != first

    put((pairs[2][0], pairs[1][1]))
    server.wait_for("does not belong to the certificate in .*; the certificate that was read before stays in use")
    assert serial(server) == second
    server.signal(signal.SIGHUP)
    server.wait_for("does not belong to", 2)
    put(pairs[2])
    server.wait_for("The certificate was read again", 2)
    assert serial(server) not in (first, second)
    carry(client.tunnel_port(), 1 << 20)  # which has been there all the time
    assert server.log.count("does not belong to") == 2


def test_a_client_that_was_connected_outlives_files_that_are_half_written(
    authority: Authority, pair: tuple[Path, Path], keep: Keep, tmp_path: Path
) -> None:
    mine = (tmp_path / "client.pem", tmp_path / "client.key")
    for path, source in zip(mine, authority.issue(), strict=True):
        path.touch(0o600)
        path.write_bytes(source.read_bytes())
    wants = (*shows(pair), "--tls-client-ca", str(authority.ca))
    server = keep(Server(tmp_path, *wants))
    client = connect(server, authority, keep, tmp_path, *shows(mine))
    mine[1].write_bytes(mine[1].read_bytes()[:100])
    server.stop()
    keep(Server(tmp_path, *wants, port=server.port))
    client.wait_for("Connected", 2)
    client.wait_for("WARNING --tls-cert: .* cannot be used: .*; what was read before stays in use")


def test_sighup_reads_again(server: Server) -> None:
    server.signal(signal.SIGHUP)
    server.wait_for("The certificate was read again")


def test_an_orderly_stop(server: Server, authority: Authority, keep: Keep, tmp_path: Path) -> None:
    def slow(sock: socket.socket) -> None:
        sock.sendall(b"begin")
        sock.recv(1)
        sock.sendall(b"end" * 1_000_000)

    target = keep(Target(slow))
    client = connect(server, authority, keep, tmp_path, f"127.0.0.1:0:127.0.0.1:{target.port}")
    context = ssl.create_default_context(cafile=str(authority.ca))
    api = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=20, context=context)
    api.request("GET", "/api/v1/status")
    api.getresponse().read()
    with (
        socket.create_connection(("127.0.0.1", client.tunnel_port()), timeout=20) as sock,
        socket.create_connection(("127.0.0.1", server.port), timeout=20) as half_way,
    ):
        half_way.sendall(b"\x16\x03\x01")
        assert sock.recv(5) == b"begin"
        server.signal(signal.SIGTERM)
        server.wait_for("Stopping")
        sock.sendall(b"x")
        assert read_all(sock) == b"end" * 1_000_000
    assert server.exit_code() == 0
    assert api.sock.recv(1) == b""
    api.close()
    client.wait_for("the server is going down")
