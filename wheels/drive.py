"""Installed programs at work: a server with TLS and a database, a machine that enrols, a tunnel, 64 MiB both ways.

drive.py BIN [--rportd PATH] [--root DIR]

BIN: the directory of rport and rportctl, and of rportd if --rportd is not given
--root: the programs are in this tree, and are started in it (chroot)

Prints a line for each step that was seen to work; ends with 1 at the first that does not, and the logs.
Needs Python's own library and openssl here, and nothing in the tree but the programs.
"""

import argparse
import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
PATIENCE = 60.0  # seconds for each step, of which none takes more than a few
SIZE = 64 << 20  # octets that go each way
STEPS: list[str] = []  # that were seen to work


class Failed(Exception):
    """A step did not come about; the text says which."""


class Programs:
    """Where they are, and how they are started."""

    def __init__(self, bin_dir: str, rportd: str | None, root: str) -> None:
        self.root = Path(root)
        self.paths = {name: f"{bin_dir}/{name}" for name in ("rport", "rportctl", "rportd")}
        self.paths["rportd"] = rportd or self.paths["rportd"]
        self.place = tempfile.mkdtemp(prefix="rport-drive-", dir=self.root / "tmp")  # as we see it
        self.inside = f"/{Path(self.place).relative_to(self.root)}"  # ... and as they do
        self.processes: list[tuple[str, subprocess.Popen[bytes], str]] = []

    def argv(self, name: str, words: tuple[str, ...]) -> list[str]:
        wrap = [] if self.root == Path("/") else ["chroot", str(self.root)]
        return [*wrap, self.paths[name], *words]

    def environment(self, more: Mapping[str, str]) -> dict[str, str]:
        """Nothing of ours: no Python, no proxy, no certificates."""
        return {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "HOME": self.inside, "LANG": "C.UTF-8",
                "RPORT_ALLOW_ROOT": "yes", **more}  # fmt: skip

    def run(self, name: str, *words: str, text: str = "", env: Mapping[str, str] = {}) -> str:
        """What it prints. Raises Failed."""
        done = subprocess.run(self.argv(name, words), input=text.encode(), stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, env=self.environment(env), timeout=PATIENCE)  # fmt: skip
        said = done.stdout.decode("utf-8", "replace")
        if done.returncode:
            raise Failed(f"{name} {' '.join(words)} ended with {done.returncode}:\n{said}")
        return said

    def start(self, name: str, *words: str) -> None:
        log = f"{self.place}/{name}.log"
        with open(log, "wb") as file:
            process = subprocess.Popen(self.argv(name, words), stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                                       env=self.environment({}))  # fmt: skip
        self.processes.append((name, process, log))

    def said(self, name: str, pattern: str) -> str:
        """The first group in its log, as soon as it is there. Raises Failed."""

        def look() -> str | None:
            for known, process, log in self.processes:
                if known == name:
                    if match := re.search(pattern, Path(log).read_text(errors="replace")):
                        return match[1]
                    if process.poll() is not None:
                        raise Failed(f"{name} ended with {process.returncode}")
            return None

        return until(look, f"{name} says {pattern}")

    def stop(self) -> None:
        """Each ends with 0 when it is asked to. Raises Failed."""
        for name, process, _ in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
            if process.wait(PATIENCE) != 0:
                raise Failed(f"{name} ended with {process.returncode} after SIGTERM")
        self.processes.clear()

    def close(self) -> None:
        for _, process, _ in self.processes:
            process.kill()
            process.wait()
        shutil.rmtree(self.place)

    def logs(self) -> str:
        return "\n".join(
            f"--- {path.name}\n{path.read_text(errors='replace')}" for path in Path(self.place).glob("*.log")
        )


def until(condition: Callable[[], T | None], what: str) -> T:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.02)
    raise Failed(f"it never came, within {PATIENCE:.0f} s, that {what}")


def make_certificate(place: str) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=place, check=True, capture_output=True,
    )  # fmt: skip


@contextlib.contextmanager
def target(data: bytes, got: list[str]) -> Iterator[int]:
    """Takes SIZE octets from a visitor, appends their SHA-256, then sends `data`; yields its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError), listener.accept()[0] as conn:
            got.append(digest_of(conn))
            conn.sendall(data)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with listener:
        yield listener.getsockname()[1]
    thread.join(PATIENCE)


def digest_of(sock: socket.socket) -> str:
    """Of all that comes until the other end has no more."""
    digest = hashlib.sha256()
    while block := sock.recv(1 << 18):
        digest.update(block)
    return digest.hexdigest()


def transfer(port: int, up: bytes) -> str:
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as sock:
        sock.sendall(up)
        sock.shutdown(socket.SHUT_WR)
        return digest_of(sock)


def ok(step: str) -> None:
    STEPS.append(step)
    print(f"ok  {step}", flush=True)


def versions(programs: Programs) -> None:
    for name in programs.paths:
        version = programs.run(name, "--version").strip()
        for words in ((), *COMMANDS[name]):
            if "usage: " not in programs.run(name, *words, "--help"):
                raise Failed(f"{name} {' '.join(words)} --help shows no usage")
        ok(f"{version}: --help of it and {len(COMMANDS[name])} commands")


COMMANDS: dict[str, list[tuple[str, ...]]] = {
    "rport": [("config",), ("enroll",), ("key",), ("service",)],
    "rportctl": [("clients",), ("enroll", "create"), ("tunnel", "open"), ("ssh",), ("login",), ("events",)],
    "rportd": [("config",), ("db",), ("hash-password",), ("service",), ("token",), ("user",)],
}


def commands(programs: Programs) -> None:
    """Those that need no server."""
    programs.run("rport", "key", f"{programs.inside}/some-key")
    for name in ("rport", "rportd"):
        Path(programs.place, f"{name}-example.toml").write_text(programs.run(name, "config", "example"))
    programs.run("rportd", "config", "check", f"{programs.inside}/rportd-example.toml")
    if not programs.run("rportd", "hash-password", text="correct horse battery\n").strip():
        raise Failed("rportd hash-password printed nothing")
    for shell in ("bash", "zsh", "fish"):
        if "rportctl" not in programs.run("rportctl", "completion", shell):
            raise Failed(f"rportctl completion {shell} is of something else")
    ok("rport key, config example and check, hash-password, completions for three shells")
    if programs.root == Path("/"):
        return  # they may well be where no service sees them
    for name in ("rport", "rportd"):
        shown = programs.run(name, "service", "install", "--dry-run", "--exec", programs.paths[name])
        if f"ExecStart={programs.paths[name]} --config /etc/rport/{name}.toml" not in shown:
            raise Failed(f"{name} service install --dry-run does not start it:\n{shown}")
    ok("rport and rportd service install --dry-run")


def database(programs: Programs) -> str:
    """Made, filled, copied, put back, checked; a token for its admin. Raises Failed."""
    state = ("--state-dir", f"{programs.inside}/server")
    os.mkdir(f"{programs.place}/server", 0o700)
    Path(programs.place, "password").write_text("correct horse battery staple\n")
    programs.run(
        "rportd", "user", "add", "admin", "--role", "admin", "--password", f"@{programs.inside}/password", *state
    )
    for words in (
        ("upgrade",),
        ("check",),
        ("backup", f"{programs.inside}/copy.db"),
        ("restore", f"{programs.inside}/copy.db"),
    ):
        programs.run("rportd", "db", *words, *state)
    if "admin" not in programs.run("rportd", "user", "list", *state):
        raise Failed("rportd user list does not know admin")
    token = programs.run("rportd", "token", "create", "admin", *state)
    ok("rportd user add, list, token create, db upgrade, check, backup, restore")
    match = re.search(r"rpt_\S+", token)
    if match is None:
        raise Failed(f"rportd token create printed no token:\n{token}")
    return match[0]


def serve(programs: Programs, token: str) -> str:
    """The URL of a server that answers, with TLS."""
    make_certificate(programs.place)
    tls = ("--tls-cert", f"{programs.inside}/cert.pem", "--tls-key", f"{programs.inside}/key.pem")
    words = ("--state-dir", f"{programs.inside}/server", "--config", "none", "--tunnel-host", "127.0.0.1")
    programs.start("rportd", "--host", "127.0.0.1", "--port", "0", *tls, *words)
    url = f"https://127.0.0.1:{programs.said('rportd', r'Listening on 127[.]0[.]0[.]1:([0-9]+)')}"
    context = ssl.create_default_context(cafile=f"{programs.place}/cert.pem")

    def get(path: str) -> bytes:
        request = urllib.request.Request(url + path, headers={"Authorization": f"Bearer {token}"})
        handlers = (urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
        answer: bytes = urllib.request.build_opener(*handlers).open(request, timeout=PATIENCE).read()
        return answer

    status = json.loads(get("/api/v1/status"))
    paths = json.loads(get("/api/openapi.json"))["paths"]
    get("/healthz")
    metrics = get("/metrics")
    ok(
        f"rportd serves TLS: {len(status)} facts of its status, {len(paths)} paths of the API, "
        f"{len(metrics.splitlines())} lines of metrics"
    )
    return url


def tunnel(programs: Programs, url: str, token: str) -> None:
    """A machine enrols and connects; a tunnel is asked for, and moves SIZE octets each way."""
    api = {"RPORT_URL": url, "RPORT_TOKEN": token}
    ca = ("--ca", f"{programs.inside}/cert.pem")
    code = re.search(r"rpe_\S+", programs.run("rportctl", "enroll", "create", "--server", url, *ca, env=api))
    if code is None:
        raise Failed("rportctl enroll create printed no code")
    where = ("--config", f"{programs.inside}/rport.toml", "--state-dir", f"{programs.inside}/client")
    programs.run("rport", "enroll", "--name", "machine", "--tls-ca", f"{programs.inside}/cert.pem", *where, code[0])
    programs.start("rport", "--config", f"{programs.inside}/rport.toml", "--state-dir", f"{programs.inside}/client")
    programs.said("rport", r"(Connected)")
    until(lambda: "machine" in programs.run("rportctl", "clients", *ca, env=api), "rportctl clients shows the machine")
    ok("rportctl enroll create, rport enroll, rport connects by TLS, rportctl clients")

    up, down, got = os.urandom(SIZE), os.urandom(SIZE), list[str]()
    with target(down, got) as port:
        opened = json.loads(programs.run("rportctl", "tunnel", "open", "machine", str(port), "--json", *ca, env=api))
        came = transfer(opened["lport"], up)
    if (came, got) != (hashlib.sha256(down).hexdigest(), [hashlib.sha256(up).hexdigest()]):
        raise Failed(f"what went through the tunnel is not what came: {opened}")
    ok(f"rportctl tunnel open; {SIZE >> 20} MiB each way, equal by SHA-256")

    keeps_its_libraries(programs, ca, api)


def keeps_its_libraries(programs: Programs, ca: tuple[str, str], api: dict[str, str]) -> None:
    """A program that brings libraries of its own must not force them on those that it starts, such as ssh."""
    ssh, seen = Path(programs.place, "bin/ssh"), Path(programs.place, "surroundings")
    ssh.parent.mkdir()
    ssh.write_text(f"#!/bin/sh\nexport -p >{programs.inside}/surroundings\n")
    ssh.chmod(0o755)
    programs.run(
        "rportctl", "ssh", "machine", *ca, env={**api, "PATH": f"{programs.inside}/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    )
    if "LD_LIBRARY_PATH" in seen.read_text():
        raise Failed(f"what rportctl starts gets its libraries:\n{seen.read_text()}")
    ok("rportctl ssh; what it starts has the system's libraries")


def main() -> int:
    p = argparse.ArgumentParser(usage=__doc__)
    p.add_argument("bin")
    p.add_argument("--rportd")
    p.add_argument("--root", default="/")
    words = p.parse_args()
    programs = Programs(words.bin, words.rportd, words.root)
    try:
        versions(programs)
        commands(programs)
        token = database(programs)
        url = serve(programs, token)
        tunnel(programs, url, token)
        programs.stop()
        ok("both end with 0 at SIGTERM")
    except (Failed, OSError, subprocess.SubprocessError) as error:
        print(f"FAILED  {error}\n{programs.logs()}", file=sys.stderr)
        return 1
    finally:
        programs.close()
    print(f"{len(STEPS)} steps")
    return 0


if __name__ == "__main__":
    sys.exit(main())
