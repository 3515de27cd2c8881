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
from rport.cli import complain, run
from rport.config import reload
from rport.errors import UsageError
from rport.remote import host_port
from rport.server import commands, ports
from rport.server.api import create_app
from rport.server.errors import PortUnavailable
from rport.server.front import make_protocol
from rport.server.options import TABLE
from rport.server.service import Service
from rport.server.settings import Settings, build

log = logging.getLogger("rport")


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] in commands.NAMES:
        return commands.run(argv)
    words = TABLE.parser(__version__).parse(argv)
    try:
        settings = _load(words)
        pair = _key_pair(settings)
        sock = ports.listen(settings.host, settings.port)
    except PortUnavailable as error:
        return complain("rportd", UsageError(f"{error}; choose another with --port or --host"))
    except UsageError as error:
        return complain("rportd", error)
    return run("rportd", serve(sock, pair, settings, words))


def _load(words: Namespace) -> Settings:
    """What is configured now; the log goes where it says. Raises UsageError."""
    settings = TABLE.load(words, build)
    logs.start_as(settings)
    return settings


def _key_pair(settings: Settings) -> keys.KeyPair:
    if settings.key is None:
        return keys.load_or_create(os.path.join(settings.state_dir, "key"))
    return keys.from_seed(settings.key)


async def serve(sock: socket.socket, pair: keys.KeyPair, settings: Settings, words: Namespace) -> None:
    """Run until SIGTERM or SIGINT; a second one stops at once."""
    service = Service(pair, sock.getsockname()[1], settings)
    config = uvicorn.Config(
        create_app(service),
        http=make_protocol(service.on_arrival, rules=service.rules),
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
    if settings.auth is None:
        log.warning("No login configured: every client is let in; set one with --auth or RPORT_AUTH")
    log.info("Listening on %s...", host_port(*sock.getsockname()[:2]))
    stopping = asyncio.get_running_loop().create_task(_stop_on_signal(service, server))
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, _reload, service, words)
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
    await first.wait()
    log.info("Stopping: waiting for carried connections to end; a second signal stops at once")
    drain = loop.create_task(service.drain())
    await asyncio.wait({drain, loop.create_task(second.wait())}, return_when=asyncio.FIRST_COMPLETED)
    server.force_exit = second.is_set()
    service.pump.close()
    server.should_exit = True


def _reload(service: Service, words: Namespace) -> None:
    """SIGHUP."""
    service.reconfigure(reload(TABLE, service.settings, lambda: _load(words)))
