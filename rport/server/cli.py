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
from rport.cli import complain, printing, run
from rport.config import reload
from rport.errors import UsageError
from rport.hosts import host_port
from rport.notify import Supervisor
from rport.privileges import check_root
from rport.server import activation, commands, ports
from rport.server.api import create_app
from rport.server.errors import PortUnavailable
from rport.server.front import make_protocol
from rport.server.options import TABLE
from rport.server.relay import Relays
from rport.server.secure import secured
from rport.server.service import Service
from rport.server.settings import Settings, build
from rport.statistics import OnStatistics

ACCEPTED_TIME = 2.0  # seconds that whoever was accepted before a stop gets to send a request: a few round trips

log = logging.getLogger("rport")


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] in commands.NAMES:
        return printing("rportd", lambda: commands.run(argv))
    words = TABLE.parser(__version__).parse(argv)
    try:
        settings = _load(words)
        socks = activation.inherited()
        pair = _key_pair(settings)
        lasting = bool(socks)
        if not socks:
            socks = [ports.listen(settings.host, settings.port, dual=True)]
        check_root("rportd", settings.allow_root)
    except PortUnavailable as error:
        return complain("rportd", UsageError(f"{error}; choose another with --port or --host"))
    except UsageError as error:
        return complain("rportd", error)
    return run("rportd", serve(socks, lasting, pair, settings, words))


def _load(words: Namespace) -> Settings:
    """What is configured now; the log goes where it says. Raises UsageError."""
    settings = TABLE.load(words, build)
    logs.start_as(settings)
    return settings


def _key_pair(settings: Settings) -> keys.KeyPair:
    if settings.key is None:
        return keys.load_or_create(os.path.join(settings.state_dir, "key"))
    return keys.from_seed(settings.key)


async def serve(
    socks: list[socket.socket], lasting: bool, pair: keys.KeyPair, settings: Settings, words: Namespace
) -> None:
    """Run until SIGTERM or SIGINT; a second one stops at once. `lasting`: the sockets are there after this process."""
    where = [sock.getsockname()[:2] for sock in socks]
    service = Service(pair, where[0][1], settings)
    service.ports.update(port for _, port in where)
    OnStatistics(asyncio.get_running_loop(), service.log_statistics)
    relays = Relays()
    supervisor = Supervisor(service.describe)
    service.on_change = supervisor.changed
    config = uvicorn.Config(
        create_app(service),
        http=secured(make_protocol(service.on_arrival, rules=service.rules, relays=relays), service.certificates),
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
    for text in service.admission.warnings():
        log.warning("%s", text)
    for host, port in where:
        log.info("Listening on %s...", host_port(host, port))
    if lasting and (settings.host, settings.port) not in where:
        log.info("The service manager opened what is listened on; --host and --port do not count")
    stopping = asyncio.get_running_loop().create_task(_stop_on_signal(service, server, supervisor, relays, lasting))
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, _reload, service, supervisor, words)
    supervisor.ready()  # the kernel takes connections already
    try:
        await server.serve(sockets=socks)
    finally:
        stopping.cancel()
        relays.close()
        supervisor.close()


async def _stop_on_signal(service: Service, server: Any, supervisor: Supervisor, relays: Relays, lasting: bool) -> None:
    loop = asyncio.get_running_loop()
    first, second = asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        (second if first.is_set() else first).set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal)
    await first.wait()
    log.info("Stopping: waiting for carried connections to end; a second signal stops at once")
    supervisor.stopping()
    drain = loop.create_task(_drain(service, relays, server, lasting))
    await asyncio.wait({drain, loop.create_task(second.wait())}, return_when=asyncio.FIRST_COMPLETED)
    server.force_exit = second.is_set()
    service.pump.close()
    server.should_exit = True


async def _drain(service: Service, relays: Relays, server: Any, lasting: bool) -> None:
    if lasting:  # who comes now waits for the next process, instead of hearing that this one goes
        for listener in server.servers:
            listener.close()
        await _hear_out(server)
    await asyncio.gather(service.drain(), relays.drain())


async def _hear_out(server: Any) -> None:
    """Nobody is accepted any more; who was, just now, has a request on the way and shall have its answer."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + ACCEPTED_TIME
    while loop.time() < deadline and any(connection.awaited() for connection in server.server_state.connections):
        await asyncio.sleep(0.01)


def _reload(service: Service, supervisor: Supervisor, words: Namespace) -> None:
    """SIGHUP."""
    supervisor.reloading()
    service.reconfigure(reload(TABLE, service.settings, lambda: _load(words)))
    supervisor.ready()
