"""A request through a real tunnel: starts rportd, an rport client and a web page, and fetches the page. See main()."""

import argparse
import contextlib
import http.server
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from queue import Empty, Queue

PATIENCE = 20.0  # seconds for each step; each takes well under one on an idle machine


class Failed(Exception):
    """The proof did not come about; the text says at which step."""


class Program:
    """One of rport's programs as a child process; its log lines come through a queue, bounded in time."""

    def __init__(self, module: str, *words: str, state: str) -> None:
        self.name = module
        self.seen: list[str] = []
        self._lines: Queue[str | None] = Queue()
        # A session of its own: Ctrl-C reaches only this script, which then stops its children in order.
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *words],
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            env=os.environ | {"RPORT_STATE_DIR": state},
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def expect(self, *patterns: str) -> list[str]:
        """The first group of each pattern, in whatever order the lines come. Raises Failed with the log so far."""
        found: dict[str, str] = {}
        until = time.monotonic() + PATIENCE
        while len(found) < len(patterns):
            try:
                line = self._lines.get(timeout=max(until - time.monotonic(), 0))
            except Empty:
                raise self._failure(f"said nothing of {set(patterns) - set(found)} in {PATIENCE:.0f} s") from None
            if line is None:
                raise self._failure("ended")
            self.seen.append(line)
            for pattern in patterns:
                if match := re.search(pattern, line):
                    found.setdefault(pattern, match[1])
        return [found[pattern] for pattern in patterns]

    def check(self) -> None:
        """Raises Failed when it has ended by itself."""
        if self._process.poll() is not None:
            self.seen.extend(iter(self._lines.get, None))
            raise self._failure(f"ended by itself with {self._process.returncode}")

    def _failure(self, what: str) -> Failed:
        return Failed("\n    ".join([f"{self.name} {what}; its log:", *self.seen]))

    def stop(self) -> None:
        """Ask, wait, then insist."""
        self._process.terminate()
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(5)
        finally:  # also at a second Ctrl-C
            self._process.kill()
            self._process.wait()


@contextlib.contextmanager
def running(program: Program) -> Iterator[Program]:
    try:
        yield program
    finally:
        program.stop()


@contextlib.contextmanager
def web_page(page: bytes) -> Iterator[int]:
    """Serve `page` on a free port of the loopback; yields the port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.server_port
        finally:
            server.shutdown()


def fetch(url: str) -> bytes:
    """The page at `url`, past any proxy that the environment names."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=PATIENCE) as answer:
        body: bytes = answer.read()
    return body


def prove(stack: contextlib.ExitStack) -> list[Program]:
    """Bring everything up and fetch the page through the tunnel; the programs that stay up. Raises Failed."""
    token = secrets.token_hex(16)
    page = (
        f"<!doctype html><title>rport</title><h1>It works</h1><p>This page came through the tunnel: {token}\n".encode()
    )
    target = stack.enter_context(web_page(page))
    print(f"1. A web page is served on 127.0.0.1:{target}, as on a machine that nobody can reach from outside.")

    state = stack.enter_context(tempfile.TemporaryDirectory(prefix="rport-quickstart-"))
    server = stack.enter_context(running(Program("rport.server", "--host", "127.0.0.1", "--port", "0", state=state)))
    fingerprint, port = server.expect(r"Fingerprint ([0-9a-f:]+)", r"Listening on 127\.0\.0\.1:(\d+)")
    print(f"2. rportd listens on 127.0.0.1:{port}. Its key's fingerprint: {fingerprint}")

    remote = f"127.0.0.1:0:127.0.0.1:{target}"
    words = ("--fingerprint", fingerprint, f"127.0.0.1:{port}", remote)
    client = stack.enter_context(running(Program("rport.client", *words, state=state)))
    latency, address = client.expect(r"Connected \(Latency (.+)\)", rf"Tunnel (\S+) => 127\.0\.0\.1:{target}\b")
    print(f"3. rport connected out to it in {latency}; the server now listens on {address} for the page's visitors.")

    url = f"http://{address}/"
    try:
        body = fetch(url)
    except OSError as error:
        raise Failed(f"{url} through the tunnel: {error}") from None
    if body != page:
        raise Failed(f"{url} gave {len(body)} bytes that are not the {len(page)} of the page")
    print(f"4. {url} was fetched through the encrypted tunnel: {len(body)} bytes, equal to the page, {token}.")
    print(f"""
Try it:        curl {url}
The API:       curl http://127.0.0.1:{port}/api/v1/sessions      (docs: http://127.0.0.1:{port}/api/docs)
For real, on a server:             rportd --port 9999
and on the machine behind NAT:     rport SERVER:9999 8080:80    # SERVER:8080 then reaches its port 80
""")
    return [server, client]


def main() -> int:
    """0 when the bytes matched (with --once) or at Ctrl-C, 1 when anything failed."""
    parser = argparse.ArgumentParser(prog="ci/quickstart", description=__doc__)
    parser.add_argument("--once", action="store_true", help="end after the proof instead of at Ctrl-C")
    once = parser.parse_args().once
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # in order with the errors, in files too
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # so that the children are stopped, whichever comes
    try:
        with contextlib.ExitStack() as stack:
            programs = prove(stack)
            if once:
                return 0
            print("Everything stays up until Ctrl-C.", flush=True)
            while True:
                for program in programs:
                    program.check()
                time.sleep(0.5)
    except Failed as failure:
        print(f"ci/quickstart: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped.")
        return 0


if __name__ == "__main__":
    sys.exit(main())
