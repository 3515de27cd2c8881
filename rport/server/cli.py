"""The `rportd` command."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import Any

import uvicorn

from rport import __version__, keys, logs
from rport.cli import Parser, complain, lookup, parse_login, read, run, state_dir
from rport.errors import UsageError
from rport.remote import PORT_MAX, host_port, is_port
from rport.server import ports
from rport.server.api import create_app
from rport.server.errors import PortUnavailable
from rport.server.front import make_protocol
from rport.server.service import Service

EPILOG = """\
examples:
  rportd -p 9999
  RPORT_AUTH=me:secret rportd --host 203.0.113.7 --port 443
  RPORT_KEY='four words nobody guesses' rportd

The API and its documentation are at /api/docs on the same port.
"""

log = logging.getLogger("rport")


def parser() -> Parser:
    """The command line of `rportd`."""
    p = Parser(prog="rportd", description="Let rport clients in and listen for their visitors.", epilog=EPILOG)
    p.option("host", metavar="H", help="address to listen on (RPORT_HOST, HOST; default 0.0.0.0)")
    p.option("port", "-p", metavar="N", help="port to listen on, 0 = any free one (RPORT_PORT, PORT; default 8080)")
    p.option("key", metavar="SEED", help="derive the key pair from this text (RPORT_KEY); else a key file is made once")
    p.option("auth", metavar="USER:PASSWORD", help="the login that clients need (RPORT_AUTH)")
    p.option("verbose", "-v", action="store_true", help="log more")
    p.option("version", action="version", version=f"rportd {__version__}")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    words = parser().parse(sys.argv[1:] if argv is None else argv)
    logs.start(words.verbose)
    try:
        auth, source = lookup(words, "auth", "RPORT_AUTH")
        login = read(parse_login, auth, source) if auth is not None else None
        pair = _key_pair(words)
        sock = _listen(words)
    except UsageError as error:
        return complain("rportd", error)
    return run("rportd", serve(sock, pair, login))


def _key_pair(words: Namespace) -> keys.KeyPair:
    seed, source = lookup(words, "key", "RPORT_KEY")
    return keys.load_or_create(os.path.join(state_dir(), "key")) if seed is None else read(keys.from_seed, seed, source)


def _listen(words: Namespace) -> socket.socket:
    host, host_source = lookup(words, "host", "RPORT_HOST", "HOST")
    port, port_source = lookup(words, "port", "RPORT_PORT", "PORT")
    number = read(_parse_port, "8080" if port is None else port, port_source)
    host = "0.0.0.0" if host is None else host.removeprefix("[").removesuffix("]")
    try:
        return ports.listen(host, number)
    except PortUnavailable as error:
        raise UsageError(f"{error}; choose another with {port_source} or {host_source}") from None


def _parse_port(text: str) -> int:
    if not is_port(text, lowest=0):
        raise UsageError(f"port {text!r}: give a number from 0 to {PORT_MAX}")
    return int(text)


async def serve(sock: socket.socket, pair: keys.KeyPair, auth: tuple[str, str] | None) -> None:
    """Run until SIGTERM or SIGINT; a second one stops at once."""
    service = Service(pair, sock.getsockname()[1], auth)
    config = uvicorn.Config(
        create_app(service),
        http=make_protocol(service.on_arrival),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # who asks is the TCP peer, whatever a header says
        timeout_graceful_shutdown=2,
    )
    server: Any = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext  # ours drain first
    log.info("rportd %s", __version__)
    log.info("Fingerprint %s", keys.fingerprint(pair.public))
    if auth is None:
        log.warning("No login configured: every client is let in; set one with --auth or RPORT_AUTH")
    log.info("Listening on %s...", host_port(*sock.getsockname()[:2]))
    stopping = asyncio.get_running_loop().create_task(_stop_on_signal(service, server))
    try:
        await server.serve(sockets=[sock])
    finally:
        stopping.cancel()


async def _stop_on_signal(service: Service, server: Any) -> None:
    loop = asyncio.get_running_loop()
    first, second = asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        (second if first.is_set() else first).set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal)
    loop.add_signal_handler(signal.SIGHUP, log.info, "SIGHUP: there is nothing to read again")  # and no reason to die
    await first.wait()
    log.info("Stopping: waiting for carried connections to end; a second signal stops at once")
    drain = loop.create_task(service.drain())
    await asyncio.wait({drain, loop.create_task(second.wait())}, return_when=asyncio.FIRST_COMPLETED)
    server.force_exit = second.is_set()
    service.pump.close()
    server.should_exit = True
