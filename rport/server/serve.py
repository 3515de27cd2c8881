"""The server's run, from listening sockets to the end: what is built of what, and signals."""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable
from typing import Any

import uvicorn

from rport import __version__, keys
from rport.config import reload
from rport.hosts import host_port
from rport.notify import Supervisor
from rport.server.api import create_app
from rport.server.door.front import make_protocol
from rport.server.door.relay import Relays
from rport.server.door.secure import secured
from rport.server.options import TABLE
from rport.server.plane import Plane
from rport.server.service import Service
from rport.server.settings import Settings
from rport.server.store import Store
from rport.server.store.engine import MEMORY, url_of
from rport.statistics import OnStatistics

ACCEPTED_TIME = 2.0  # seconds that whoever was accepted before a stop gets to send a request: a few round trips

NO_USERS = (
    "The API has no users, and answers on this machine only; make the first one: rportd user add NAME --role admin "
    "(with the same --config, --db or --state-dir)"
)
NO_USERS_IN_MEMORY = (
    "The API has no users, and answers on this machine only; make the first one: rportctl --url URL "
    "user add NAME --role admin"
)

log = logging.getLogger("rport")


async def serve(
    socks: list[socket.socket], lasting: bool, pair: keys.KeyPair, settings: Settings, load: Callable[[], Settings]
) -> None:
    """Run until SIGTERM or SIGINT; a second one stops at once. `lasting`: the sockets are there after this process.

    `load` gives the settings anew at SIGHUP; it raises UsageError.
    """
    where = [sock.getsockname()[:2] for sock in socks]
    service = Service(pair, where[0][1], settings)
    service.ports.update(port for _, port in where)
    plane = Plane(service, Store(url_of(settings.db, settings.state_dir)))
    await plane.start()
    OnStatistics(asyncio.get_running_loop(), service.log_statistics)
    relays = Relays()
    supervisor = Supervisor(service.describe)
    service.on_change = supervisor.changed
    config = uvicorn.Config(
        create_app(plane, settings.cors_origin, settings.otel),
        http=secured(make_protocol(service.on_arrival, rules=service.rules, relays=relays), service.certificates),
        ws="none",
        lifespan="on" if settings.otel else "off",  # nothing else begins and ends with the application
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # who asks is the TCP peer, whatever a header says
        timeout_graceful_shutdown=2,
    )
    server: Any = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext  # ours drain first
    loop, ends = asyncio.get_running_loop(), _ends()
    loop.add_signal_handler(signal.SIGHUP, _reload, service, supervisor, load)
    log.info("rportd %s", __version__)
    log.info("Fingerprint %s", keys.fingerprint(pair.public))
    for text in service.admission.warnings():
        log.warning("%s", text)
    if not plane.people.any_users:
        log.info("%s", NO_USERS_IN_MEMORY if settings.db == MEMORY else NO_USERS)
    for host, port in where:
        log.info("Listening on %s...", host_port(host, port))
    if lasting and (settings.host, settings.port) not in where:
        log.info("The service manager opened what is listened on; --host and --port do not count")
    stopping = loop.create_task(_stop_on_signal(ends, service, server, supervisor, relays, lasting))
    supervisor.ready()  # the kernel takes connections already
    try:
        await server.serve(sockets=socks)
    finally:
        stopping.cancel()
        relays.close()
        await plane.close()
        supervisor.close()


def _ends() -> tuple[asyncio.Event, asyncio.Event]:
    """Set by the first SIGINT or SIGTERM, and by the second."""
    first, second = asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        (second if first.is_set() else first).set()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    return first, second


async def _stop_on_signal(
    ends: tuple[asyncio.Event, asyncio.Event],
    service: Service,
    server: Any,
    supervisor: Supervisor,
    relays: Relays,
    lasting: bool,
) -> None:
    loop = asyncio.get_running_loop()
    first, second = ends
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


def _reload(service: Service, supervisor: Supervisor, load: Callable[[], Settings]) -> None:
    """SIGHUP."""
    supervisor.reloading()
    service.reconfigure(reload(TABLE, service.settings, load))
    supervisor.ready()
