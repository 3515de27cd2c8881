"""`rportd health`: whether the server of this machine lets clients in, for those who watch over it and have no curl."""

import http.client
import signal
import ssl
from collections.abc import Sequence

from rport.cli import Parser, complain
from rport.errors import UsageError
from rport.server.options import TABLE
from rport.server.settings import Settings, build

_EPILOG = """\
Asks for /readyz where rportd listens by the same options, variables and configuration file. The exit code is 0 when it
is ready, and 1 when it is not or does not answer within 5 seconds.

examples:
  rportd health
  rportd health --port 9999
  rportd health --config /etc/rport/rportd.toml
"""
_NAMES = ("config", "host", "port", "tls-cert", "tls-key", "tls-client-ca")  # the options that say where and how to ask
_TIMEOUT = 5.0  # seconds; below what Docker and others wait for a check
_HERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # what listens on all addresses is asked on the machine's own


def health_command(argv: Sequence[str]) -> int:
    """The exit code."""
    prog = "rportd health"
    p = Parser(prog=prog, description="Ask the server on this machine whether it lets clients in.", epilog=_EPILOG)
    for option in TABLE.options:
        if option.name in _NAMES:
            p.option(option.name, *((option.short,) if option.short else ()), metavar=option.metavar, help=option.help)
    try:
        print(_ask(TABLE.load(p.parse(argv), build)))
    except UsageError as error:
        return complain(prog, error)
    return 0


def _ask(settings: Settings) -> str:
    """What to print. Raises UsageError when it is not ready."""
    if settings.port == 0:
        raise UsageError("--port 0 does not say where rportd listens: give the port that its log names")
    host = _HERE.get(settings.host, settings.host)
    connection = _connection(host, settings)
    signal.signal(signal.SIGALRM, _too_late)  # the socket's own timeout begins again with each octet
    signal.setitimer(signal.ITIMER_REAL, _TIMEOUT)
    try:
        connection.connect()
        if settings.tls_client_ca is not None:
            return "listens; what it answers is only for those whom --tls-client-ca lets in"
        connection.request("GET", "/readyz")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise UsageError(f"no answer from {host} port {settings.port}: {_reason(error)}") from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        connection.close()
    if status != 200:
        raise UsageError(f"not ready: /readyz at {host} port {settings.port} answers {status}")
    return "ready"


def _too_late(*_: object) -> None:
    raise TimeoutError("timed out")


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _connection(host: str, settings: Settings) -> http.client.HTTPConnection:
    if settings.tls_cert is None or settings.tls_client_ca is not None:  # the latter would log a stranger each time
        return http.client.HTTPConnection(host, settings.port, timeout=_TIMEOUT)
    context = ssl._create_unverified_context()  # the certificate has the public name; nothing secret is told
    return http.client.HTTPSConnection(host, settings.port, timeout=_TIMEOUT, context=context)
