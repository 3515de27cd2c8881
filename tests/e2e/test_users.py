"""Users in a file: who comes in, where each may have the server listen, and what a change of the file does at once."""

import contextlib
import json
import os
import select
import signal
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgpack
import pytest

from rport.errors import ConnectError
from rport.server.passwords import make_hash
from tests.support.neighbours import free_port
from tests.support.programs import Client, Program, Server, Target, echo, until
from tests.support.visitors import carries, is_reset, refused, visit
from tests.support.wire import CONTROL, WirePeer, connect

Keep = Callable[[Any], Any]
EVERYTHING = {"me:secret": [".*"]}
AUTH = ("--auth", "me:secret")

EXAMPLE = (
    '{"user1:foobaz": [".*"], "user2:bingo": ["210\\\\.211\\\\.212.*", "107\\\\.108\\\\.109.*"], '
    '"rport:password123": ["^999"]}'
)


def write(path: Path, users: dict[str, list[str]] | str) -> None:
    """In place."""
    path.write_text(users if isinstance(users, str) else json.dumps(users))


@pytest.fixture
def authfile(tmp_path: Path) -> Path:
    path = tmp_path / "users.json"
    write(path, EVERYTHING)
    return path


@pytest.fixture
def target(keep: Keep) -> Target:
    found: Target = keep(Target(echo))
    return found


def hello(peer: WirePeer, auth: str = "", *remotes: dict[str, object], identity: str = "00" * 32) -> None:
    user, _, password = auth.partition(":")
    peer.control(
        type="hello", version="test", identity=identity, user=user, password=password, remotes=list(remotes), caps=[]
    )


def answer(peer: WirePeer) -> dict[str, Any]:
    message: dict[str, Any] = msgpack.unpackb(peer.wait_for(CONTROL)[2])
    return message


def attempt(port: int, auth: str, source: str = "127.0.0.1", identity: str = "00" * 32) -> str:
    """What a login is answered: welcome, or the code of the refusal."""
    with contextlib.closing(connect(port, source)) as peer:
        hello(peer, auth, identity=identity)
        message = answer(peer)
        return str(message["type"] if message["type"] == "welcome" else message["code"])


def remote(lhost: str, lport: int) -> dict[str, object]:
    return {"lhost": lhost, "lport": lport, "rhost": "127.0.0.1", "rport": 1}


def declared(server: Server, auth: str, lhost: str, lport: int) -> dict[str, Any]:
    """The answer to one remote."""
    with contextlib.closing(connect(server.port)) as peer:
        hello(peer, auth, remote(lhost, lport))
        assert answer(peer)["type"] == "welcome"
        return answer(peer)


# --- what each may listen on -----------------------------------------------------------------------------------------


def test_the_example_of_the_original(keep: Keep, tmp_path: Path, authfile: Path) -> None:
    write(authfile, EXAMPLE)
    server = keep(Server(tmp_path, "--authfile", str(authfile)))
    anywhere, within_999 = free_port(), next(port for port in range(9990, 10000) if refused(port))
    assert "error" not in declared(server, "user1:foobaz", "127.0.0.1", anywhere)
    assert "error" not in declared(server, "rport:password123", "127.0.0.1", within_999)
    for auth, host, port in (
        ("rport:password123", "127.0.0.1", anywhere if anywhere // 10 != 999 else 1024),
        ("user2:bingo", "127.0.0.1", anywhere),
    ):
        user = auth.partition(":")[0]
        said = f"listening on {host}:{port} is not allowed for user '{user}'"
        assert declared(server, auth, host, port)["error"] == said
    # An address that the machine has not: the rule lets it through, the system does not.
    assert "no such address" in declared(server, "user2:bingo", "107.108.109.1", anywhere)["error"]
    assert attempt(server.port, "user1:bingo") == "auth"


def test_no_spelling_of_an_address_evades_its_rule(keep: Keep, tmp_path: Path, authfile: Path) -> None:
    write(authfile, {"in:x": [r"^127\.0\.0\.1:"], "out:x": [r"^(?!127\.0\.0\.1:)\D", "^localhost", "ffff"]})
    server = keep(Server(tmp_path, "--authfile", str(authfile)))
    for host in ("127.0.0.1", "localhost", "LOCALHOST", "::ffff:127.0.0.1", "0:0::ffff:7f00:1"):
        assert "error" not in declared(server, "in:x", host, free_port())
        assert "is not allowed" in declared(server, "out:x", host, free_port())["error"]


def test_what_is_no_address_is_not_listened_on(keep: Keep, tmp_path: Path, authfile: Path) -> None:
    write(authfile, {"all:x": ["*"]})
    server = keep(Server(tmp_path, "--authfile", str(authfile)))
    for host in ("127.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.0.0.01", "::1%2222", "x.test"):
        with contextlib.closing(connect(server.port)) as peer:
            hello(peer, "all:x", remote(host, free_port()))
            with contextlib.suppress(EOFError):  # or the session ends, where it cannot be a host at all
                assert answer(peer)["type"] == "welcome"
                assert "error" in answer(peer)
    assert "=> 127.0.0.1:1 Listening" not in server.log


def test_a_port_that_the_server_picks_has_to_be_allowed(keep: Keep, tmp_path: Path, authfile: Path) -> None:
    write(authfile, {"none:x": ["^1$"], "all:x": ["^127.*:[1-9][0-9]+$"]})
    server = keep(Server(tmp_path, "--authfile", str(authfile)))
    assert declared(server, "all:x", "127.0.0.1", 0)["lport"] > 0
    said = declared(server, "none:x", "127.0.0.1", 0)["error"]
    assert said.endswith("is not allowed for user 'none'; the server picked that port: ask for one that is")


def test_a_user_without_rules_has_no_tunnel(keep: Keep, tmp_path: Path, authfile: Path) -> None:
    write(authfile, {"none:x": []})
    server = keep(Server(tmp_path, "--authfile", str(authfile)))
    assert "is not allowed" in declared(server, "none:x", "127.0.0.1", free_port())["error"]


def test_the_api_is_bound_by_the_sessions_user(keep: Keep, tmp_path: Path, authfile: Path, target: Target) -> None:
    good, bad = free_port(), free_port()
    write(authfile, {"me:secret": [f"^127.0.0.1:{good}$"]})
    server = keep(Server(tmp_path, "--authfile", str(authfile)))
    client = keep(Client(server, *AUTH, state=tmp_path))
    path = f"/api/v1/sessions/{server.sessions()[0]['id']}/tunnels?remote={target.port}&local="
    status, body = server.api(f"{path}127.0.0.1:{bad}", "PUT")
    assert status == 403
    assert body["error"] == f"listening on 127.0.0.1:{bad} is not allowed for user 'me'"
    assert server.api(f"{path}127.0.0.1:{good}", "PUT")[0] == 200
    with visit(good) as visitor:
        assert carries(visitor)
        write(authfile, {"me:secret": []})
        assert is_reset(visitor)
    client.wait_for("The server closed its tunnel to 127.0.0.1:\\d+: listening on 127.0.0.1:\\d+ is not allowed")
    assert refused(good)
    assert client.process.poll() is None


def test_auth_and_authfile_together(keep: Keep, tmp_path: Path, authfile: Path) -> None:
    server = keep(Server(tmp_path, "--authfile", str(authfile), "--auth", "root:pass"))
    assert attempt(server.port, "root:pass") == attempt(server.port, "me:secret") == "welcome"
    assert "error" not in declared(server, "root:pass", "127.0.0.1", free_port())


# --- changes of the file ---------------------------------------------------------------------------------------------


def rename_over(path: Path, users: dict[str, list[str]]) -> None:
    fresh = path.with_suffix(".new")
    write(fresh, users)
    fresh.rename(path)


def in_place(path: Path, users: dict[str, list[str]]) -> None:
    """Emptied first, as shells and many editors do, and in two pieces."""
    text = json.dumps(users)
    with path.open("w") as file:
        file.write(text[:10])
        file.flush()
        file.write(text[10:])


@contextlib.contextmanager
def mounted(directory: Path) -> Iterator[tuple[Path, Callable[[Path, dict[str, list[str]]], None]]]:
    """As Kubernetes mounts a ConfigMap: the file is a link to ..data/users.json, ..data one to a directory."""

    def swap(path: Path, users: dict[str, list[str]]) -> None:
        version = directory / f"..{len(os.listdir(directory))}"
        version.mkdir()
        write(version / "users.json", users)
        fresh = directory / "..data_tmp"
        fresh.symlink_to(version.name)
        fresh.rename(directory / "..data")

    directory.mkdir()
    swap(directory, EVERYTHING)
    (directory / "users.json").symlink_to("..data/users.json")
    yield directory / "users.json", swap


@pytest.mark.parametrize("how", ["in place", "renamed over", "mounted", "relative"])
def test_a_change_is_noticed_however_it_is_made(how: str, keep: Keep, tmp_path: Path, authfile: Path) -> None:
    with contextlib.ExitStack() as stack:
        change: Callable[[Path, dict[str, list[str]]], None] = in_place
        shown, wrap = str(authfile), ()
        if how == "renamed over":
            change = rename_over
        elif how == "mounted":
            authfile, change = stack.enter_context(mounted(tmp_path / "mount"))
            shown = str(authfile)
        elif how == "relative":
            shown, wrap = authfile.name, ("sh", "-c", f'cd "{tmp_path}" && exec "$@"', "sh")  # type: ignore[assignment]
        server = keep(Server(tmp_path, "--authfile", shown, wrap=wrap))
        client = keep(Client(server, "127.0.0.1:0:127.0.0.1:1", *AUTH, state=tmp_path))
        change(authfile, {"you:too": [".*"]})
        assert client.exit_code() == 5
        assert "the server has no such user any more" in client.log
        assert attempt(server.port, "me:secret", "127.0.0.2") == "auth"
        assert attempt(server.port, "you:too", "127.0.0.2") == "welcome"


def test_narrowing_ends_what_is_no_longer_allowed_and_nothing_else(
    keep: Keep, tmp_path: Path, authfile: Path, target: Target
) -> None:
    one, two = free_port(), free_port()
    server = keep(Server(tmp_path, "--authfile", str(authfile)))
    spec = f":127.0.0.1:{target.port}"
    client = keep(Client(server, f"127.0.0.1:{one}{spec}", f"127.0.0.1:{two}{spec}", *AUTH, state=tmp_path))
    client.wait_for("INFO Tunnel ", 2)
    with visit(one) as cut, visit(one) as idle, visit(two) as kept:
        assert all(map(carries, (cut, idle, kept)))
        write(authfile, {"me:secret": [f":{two}$"]})
        assert is_reset(cut)
        assert is_reset(idle)
        until(lambda: refused(one), "its port is free")
        assert carries(kept)
        client.wait_for(f"Tunnel 127.0.0.1:{one} .*: listening on 127.0.0.1:{one} is not allowed for user 'me'")
        assert [item["lport"] for item in server.sessions()[0]["remotes"]] == [str(two)]
        write(authfile, EVERYTHING)
        client.wait_for(f"INFO Tunnel 127.0.0.1:{one} ", 2)  # the client asks again by itself
        assert carries(kept)
    with visit(one) as visitor:
        assert carries(visitor)


def test_a_stream_in_full_flow_is_cut(keep: Keep, tmp_path: Path, authfile: Path) -> None:
    """Narrowed while a target sends without end, and for a visitor that reads and one that does not."""

    def flood(sock: socket.socket) -> None:
        while True:
            sock.sendall(bytes(1 << 18))

    source = keep(Target(flood))
    server = keep(Server(tmp_path, "--authfile", str(authfile)))
    client = keep(Client(server, f"127.0.0.1:0:127.0.0.1:{source.port}", *AUTH, state=tmp_path))
    with visit(client.tunnel_port()) as reader, visit(client.tunnel_port()) as sleeper:
        assert reader.recv(1 << 20)
        until(lambda: source.accepted == 2, "both flow")
        write(authfile, {"me:secret": []})
        assert is_reset(reader)
        assert is_reset(sleeper)


@pytest.mark.parametrize(
    ("users", "reason"),
    [
        ({}, "the server has no such user any more"),
        ({"me:changed": [".*"]}, "the password of this user was changed at the server"),
    ],
)
def test_whoever_may_no_longer_come_in_goes(
    users: dict[str, list[str]], reason: str, keep: Keep, tmp_path: Path, authfile: Path, target: Target
) -> None:
    server = keep(Server(tmp_path, "--authfile", str(authfile)))
    client = keep(Client(server, f"127.0.0.1:0:127.0.0.1:{target.port}", *AUTH, state=tmp_path))
    port = client.tunnel_port()
    with visit(port) as visitor:
        assert carries(visitor)
        write(authfile, users)
        assert is_reset(visitor)
    assert client.exit_code() == 5
    assert reason in client.log
    assert refused(port)
    assert not server.sessions()


def test_a_client_that_reads_nothing_loses_its_visitors_all_the_same(
    keep: Keep, tmp_path: Path, authfile: Path, target: Target
) -> None:
    server = keep(Server(tmp_path, "--authfile", str(authfile)))
    client = keep(Client(server, f"127.0.0.1:0:127.0.0.1:{target.port}", *AUTH, state=tmp_path))
    port = client.tunnel_port()
    with visit(port) as visitor:
        assert carries(visitor)
        client.signal(signal.SIGSTOP)
        write(authfile, {})
        assert is_reset(visitor)
    assert refused(port)
    until(lambda: not server.sessions(), "its session has ended")


def test_a_takeover_asks_the_rules_again(keep: Keep, tmp_path: Path, authfile: Path) -> None:
    """The successor of a session has what its user may have, and a stranger with the same identity takes nothing."""
    port = free_port()
    write(authfile, {"me:secret": [f":{port}$"], "you:too": [".*"]})
    server = keep(Server(tmp_path, "--authfile", str(authfile)))
    with contextlib.closing(connect(server.port)) as first, contextlib.closing(connect(server.port)) as second:
        hello(first, "me:secret", remote("127.0.0.1", port))
        assert answer(first)["type"] == "welcome"
        assert "error" not in answer(first)
        hello(second, "you:too", remote("127.0.0.1", port))
        assert answer(second)["type"] == "welcome"
        assert "is taken by another tunnel" in answer(second)["error"]
        with contextlib.closing(connect(server.port)) as third:
            hello(third, "me:secret", remote("127.0.0.1", port), remote("127.0.0.1", free_port()))
            assert answer(third)["type"] == "welcome"
            answers = [answer(third), answer(third)]
            assert ["error" in item for item in answers] == [False, True]


def test_a_broken_file_changes_nothing_and_is_told_once(keep: Keep, tmp_path: Path, authfile: Path) -> None:
    server = keep(Server(tmp_path, "--authfile", str(authfile)))
    client = keep(Client(server, *AUTH, state=tmp_path))
    write(authfile, '{"me:top-secret": [".*"')
    said = server.wait_for(f"ERROR authfile {authfile}, line 1, column \\d+: this is no JSON.*")
    assert said[0].endswith("who may come in stays as it was")
    assert attempt(server.port, "me:secret", "127.0.0.2") == "welcome"
    authfile.unlink()
    server.wait_for(f"ERROR authfile {authfile}: No such file or directory")
    write(authfile, {"me:secret": [], "you:too": []})
    until(lambda: attempt(server.port, "you:too", "127.0.0.3") == "welcome", "it is read again")
    assert server.log.count("this is no JSON") == 1
    assert server.log.count("No such file") == 1
    assert "top-secret" not in server.log
    assert client.process.poll() is None


def test_a_broken_file_at_the_start_is_an_error(keep: Keep, tmp_path: Path, authfile: Path) -> None:
    write(authfile, '{"me:top-secret": "*"}')
    server = keep(Program("rport.server", "-p", "0", "--authfile", str(authfile), state=tmp_path))
    assert server.exit_code() == 1
    assert server.lines[-1].startswith(f"rportd: authfile {authfile}, user 'me': give a list")
    assert "top-secret" not in server.log


def test_an_empty_file_lets_nobody_in_and_says_so(keep: Keep, tmp_path: Path, authfile: Path) -> None:
    write(authfile, {})
    server = keep(Server(tmp_path, "--authfile", str(authfile)))
    server.wait_for("WARNING The authfile is empty: nobody is let in")
    assert attempt(server.port, "") == "auth"


def test_an_authfile_that_a_reload_brings_ends_strangers(keep: Keep, tmp_path: Path, authfile: Path) -> None:
    config = tmp_path / "rportd.toml"
    config.write_text("")
    server = keep(Server(tmp_path, "--config", str(config)))
    client = keep(Client(server, "127.0.0.1:0:127.0.0.1:1", state=tmp_path))
    config.write_text(f'authfile = "{authfile}"\n')
    server.signal(signal.SIGHUP)
    assert client.exit_code() == 5
    assert "the server wants a login now" in client.log
    rename_over(authfile, {"you:too": []})
    until(lambda: attempt(server.port, "you:too", "127.0.0.2") == "welcome", "the new file is watched")


# --- passwords -------------------------------------------------------------------------------------------------------


def test_many_hashed_logins_hold_up_nobody(keep: Keep, tmp_path: Path, authfile: Path, target: Target) -> None:
    """While hashes are worked at, the API answers and a tunnel carries."""
    write(authfile, {f"me:{make_hash('secret')}": [".*"], "plain:x": []})
    server = keep(Server(tmp_path, "--authfile", str(authfile)))
    client = keep(Client(server, f"127.0.0.1:0:127.0.0.1:{target.port}", *AUTH, state=tmp_path))
    with visit(client.tunnel_port()) as visitor:

        def goes_on_beside_them() -> bool:
            with contextlib.ExitStack() as stack:
                sources = [f"127.0.1.{n}" for n in range(1, 13)]
                peers = [stack.enter_context(contextlib.closing(connect(server.port, source))) for source in sources]
                for n, peer in enumerate(peers):
                    hello(peer, "me:secret", identity=f"{n:064x}")
                assert server.api("/api/v1/status")[0] == 200
                assert carries(visitor, bytes(1 << 20))
                answered = select.select([peer.sock for peer in peers], [], [], 0)[0]
                with ThreadPoolExecutor(len(peers)) as pool:
                    assert {message["type"] for message in pool.map(answer, peers)} == {"welcome"}
                return len(answered) < len(peers)

        # A server that did nothing else meanwhile would never do so; we may look too late on a busy machine.
        until(goes_on_beside_them, "some still wait for their turn")


def test_nothing_may_come_before_the_answer_to_a_hello(keep: Keep, tmp_path: Path, authfile: Path) -> None:
    write(authfile, {f"me:{make_hash('secret')}": [".*"]})
    server = keep(Server(tmp_path, "--authfile", str(authfile)))
    for further in ("hello", "declare", "unheard-of"):
        with contextlib.closing(connect(server.port)) as peer:
            hello(peer, "me:secret")
            peer.control(type=further)
            peer.drain()
            server.wait_for(f"{further}.* before the welcome")
    assert not server.sessions()


def test_a_client_that_leaves_while_it_is_checked(keep: Keep, tmp_path: Path, authfile: Path) -> None:
    write(authfile, {f"me:{make_hash('secret')}": [".*"]})
    server = keep(Server(tmp_path, "--authfile", str(authfile)))
    for n in range(8):
        with contextlib.closing(connect(server.port)) as peer:
            hello(peer, "me:secret", identity=f"{n:064x}")
    assert attempt(server.port, "me:secret", "127.0.0.2") == "welcome"
    until(lambda: not server.sessions(), "none of them has a session")
    assert "Traceback" not in server.log
    assert "ERROR" not in server.log


# --- wrong logins ----------------------------------------------------------------------------------------------------


def guessed_at(keep: Keep, tmp_path: Path, authfile: Path, guesses: int) -> Server:
    """A server at which somebody at 127.0.0.1 guesses at the password of `me`, all at once: a hash is slow enough for
    them to be under way before the first has failed."""
    write(authfile, {f"me:{make_hash('secret')}": [".*"], "you:too": [".*"]})
    server: Server = keep(Server(tmp_path, "--authfile", str(authfile)))
    assert attempt(server.port, "me:secret", identity="ab" * 32) == "welcome"
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(contextlib.closing(connect(server.port))) for _ in range(guesses)]
        server.signal(signal.SIGSTOP)  # that all are there when it looks
        for peer in peers:
            hello(peer, "me:wrong")
        server.signal(signal.SIGCONT)
        server.wait_for("login failed for user 'me' from 127.0.0.1|too soon", guesses)
    assert server.log.count("login failed") > guesses // 2
    return server


def test_the_next_try_of_the_same_user_has_to_wait_and_nobody_else(keep: Keep, tmp_path: Path, authfile: Path) -> None:
    server = guessed_at(keep, tmp_path, authfile, 6)
    assert attempt(server.port, "me:secret") == "busy"  # not even looked at
    with contextlib.closing(connect(server.port)) as peer:
        hello(peer, "me:wrong")
        assert answer(peer)["message"].startswith("too soon after a login that failed; try again in ")
    assert attempt(server.port, "you:too") == "welcome"
    assert attempt(server.port, "me:secret", identity="ab" * 32) == "welcome"  # he was in before
    assert attempt(server.port, "me:secret", "127.0.0.2") == "welcome"


def test_a_client_with_the_right_password_comes_in_by_itself(keep: Keep, tmp_path: Path, authfile: Path) -> None:
    server = guessed_at(keep, tmp_path, authfile, 4)
    client = keep(Client(server, *AUTH, "--max-retry-interval", "300ms", state=tmp_path))
    assert "too soon after a login that failed" in client.log


def test_whoever_leaves_before_his_answer_guesses_no_faster(keep: Keep, tmp_path: Path) -> None:
    server = keep(Server(tmp_path, "--auth", "me:secret"))
    with pytest.raises(ConnectError, match="503"):
        for number in range(500):
            with contextlib.closing(connect(server.port, "127.0.0.2")) as peer:
                hello(peer, f"user{number}:guess")
                server.wait_for("login failed", number + 1)
    assert attempt(server.port, "me:secret") == "welcome"
    until(lambda: connects(server.port, "127.0.0.2"), "there is room again")


def connects(port: int, source: str) -> bool:
    with contextlib.suppress(ConnectError), contextlib.closing(connect(port, source)):
        return True
    return False
