"""`rport enroll`: a fresh machine becomes a known one, by a code that somebody who runs the server gave out."""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from typing import Any

from rport import __version__, control, files, keys
from rport._pump import Conn, Pump
from rport._seal import preferred_ciphers
from rport.cli import Parser, complain, default_state_dir, run
from rport.client.address import parse_address
from rport.client.dial import Dialled, dial, proxy_for
from rport.client.enrolled import CONNECTION, Place
from rport.client.facts import gather
from rport.client.identity import FILE
from rport.client.options import TABLE
from rport.client.resolve import Resolver
from rport.client.settings import Settings, build
from rport.config import add
from rport.enrolment import CODE_MAX, EnrolmentCode, read_code
from rport.errors import AuthFailed, ConnectError, FingerprintMismatch, LinkLost, ProtocolError, Refused, UsageError
from rport.facts import Facts, clean, parse_id
from rport.session import CLOSE_OK, CODE_FAILED, Session

PROG = "rport enroll"
_PERHAPS_OLD = "no answer came: if it is an older rportd, which knows no enrolments, update it"
ANSWER_TIMEOUT = 20.0  # seconds: the server holds the answer to a wrong code back

# The options of `rport` that are taken here, and what they are about here where that differs.
_WORDS = {
    "config": "the file to write; else ~/.config/rport/rport.toml, or /etc/rport/rport.toml for root; none = no file",
    "state-dir": "where the key pair is made; else ~/.local/state/rport, or /var/lib/rport for root",
    "tls-insecure": "take any certificate: the code says who the server is",
} | dict.fromkeys(("id", "name", "tag", *CONNECTION, "verbose"), "")

_ABOUT = "Become known to a server by a one-time code of it, and write the configuration for it."
_EPILOG = """\
The key pair that is there is used, else one is made. What is given here of the connection, such as --proxy, goes into
the configuration, too. Typed once more, with the same code, it changes nothing.

While it runs everybody on the machine can see CODE in a list of processes. @FILE has it read from there, and - from the
input: for codes that are good for many machines.

examples:
  rport enroll rpe_haFz2SNodHRwczov...
  rport enroll --name 'Till 3' --tag site=berlin --tag till @code.txt

exit codes: 0 it is known now, 1 usage, 3 refused by the server, 4 wrong fingerprint, 5 wrong code, 6 not connected
"""


def enroll_command(argv: Sequence[str]) -> int:
    """`rport enroll CODE`: the exit code."""
    p = Parser(prog=PROG, usage=f"{PROG} [options] CODE", description=_ABOUT, epilog=_EPILOG)
    p.add_argument("code", metavar="CODE", nargs="?", help="what the server's administrator gave out, rpe_...")
    for option in TABLE.options:
        if option.name in _WORDS:
            add(p, option._replace(help=_WORDS[option.name] or option.help))
    p.option("force", action="store_true", help="write over a configuration file that says something else")
    words = p.parse(argv)
    if words.code is None:
        p.error(f"give the code, @FILE, or - for the input; see {PROG} --help")
    try:
        code = read_code(_text(words.code))
        settings = _settings(words, code)
        place = Place.find(words, settings)
        made = _make_key(settings)
    except UsageError as error:
        return complain(PROG, error)
    answers: list[tuple[str, str]] = []
    if failed := run(PROG, _enroll(settings, code.secret, answers)):
        return failed
    ((client, name),) = answers
    print(f"This machine is known as {client}{f' ({name})' if name not in ('', client) else ''} at {settings.address}")
    print(f"Key pair: {settings.identity}, {'made' if made else 'unchanged'}")
    try:
        done = place.write(client, name or settings.name or "")
    except UsageError as error:
        return complain(PROG, error)
    print(f"Configuration: {place.path}, {done}" if place.path else f"Configuration, written nowhere:\n\n{done}")
    _advise(place)
    return 0


def _advise(place: Place) -> None:
    if not place.usual:
        print(f"next: rport --config {place.path}" if place.path else "next: put that where rport finds it")
    elif os.geteuid() == 0:
        from rport.install.units import PROGRAMS

        packaged = os.path.exists(PROGRAMS[TABLE.prog].packaged("service"))
        print("next: systemctl enable --now rport" if packaged else "next: rport service install --now")
    else:
        print("next: rport; for a service of the whole machine, enroll as root")


def _text(word: str) -> str:
    """The code, wherever it is. Raises UsageError."""
    if word == "-":
        return sys.stdin.buffer.readline(CODE_MAX + 2).decode("ascii", "replace") if sys.stdin is not None else ""
    return files.read(word[1:], CODE_MAX + 2, "file") if word.startswith("@") else word


def _settings(words: argparse.Namespace, code: EnrolmentCode) -> Settings:
    """As the client's that comes of it, as far as it needs them to connect. Raises UsageError."""
    from rport import logs

    values: dict[str, Any] = TABLE.resolve(words, os.environ, None)[0]
    values |= {"server": parse_address(code.server), "fingerprint": code.fingerprint, "auth": None, "remotes": ()}
    identity = os.path.join(os.path.abspath(values["state_dir"] or _state_dir()), FILE)
    settings = build(values | {"identity": identity})
    logs.start_as(settings)
    return settings


def _state_dir() -> str:
    """Root's is the service's: nothing else here needs root."""
    if os.geteuid() != 0 or os.environ.get("STATE_DIRECTORY") or os.environ.get("XDG_STATE_HOME"):
        return default_state_dir()
    from rport.install.units import PROGRAMS

    return PROGRAMS[TABLE.prog].state


def _make_key(settings: Settings) -> bool:
    """Whether there was none. Raises UsageError."""
    path = settings.identity
    assert path is not None
    made = not os.path.exists(path)
    keys.load_or_create(path)
    if made and os.geteuid() == 0:  # a service's user must be able to read it, and his is the directory
        owner = os.stat(os.path.dirname(path))
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
    return made


async def _enroll(settings: Settings, secret: str, answers: list[tuple[str, str]]) -> None:
    """Append the id and the name that the server gives. Raises RportError."""
    loop = asyncio.get_running_loop()
    proxy = proxy_for(settings)
    dialled = await dial(settings, proxy, preferred_ciphers(), Resolver(), lambda public: _trust(settings, public))
    facts = gather(settings, dialled.channel.sock)
    pump = Pump(loop)
    try:
        session = EnrolSession(pump, dialled)
        session.ask(secret, facts)
        session.link.start(dialled.early)
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                answers.append(await asyncio.shield(session.answer))
        except TimeoutError:
            where = settings.address.netloc
            raise ConnectError(f"{where} did not answer the enrolment within {ANSWER_TIMEOUT:g} s; try again") from None
        session.link.finish_session(CLOSE_OK)
        await session.ended.wait()
    finally:
        pump.close()


def _trust(settings: Settings, public: bytes) -> None:
    """The code has all of the fingerprint."""
    came = keys.fingerprint(public)
    if came != settings.fingerprint:
        raise FingerprintMismatch(
            f"this is not the server that the code is of: expected fingerprint {settings.fingerprint}, came {came}"
        )


class EnrolSession(Session):
    """A connection that asks one thing."""

    def __init__(self, pump: Pump, dialled: Dialled) -> None:
        super().__init__(pump, dialled.channel, dialled.keys, client=True)
        self.answer: asyncio.Future[tuple[str, str]] = asyncio.get_running_loop().create_future()
        self.link.admit_peer()

    def ask(self, secret: str, facts: Facts) -> None:
        """Queue the question."""
        self.send({"type": "enroll", "version": __version__, "code": secret, **facts.to_wire()})

    def on_message(self, kind: str, message: control.Message) -> None:
        if self.answer.done():
            return
        if kind == "enrolled":
            self.answer.set_result((_id(control.get_str(message, "id")), clean(control.get_str(message, "name", ""))))
        elif kind == "refuse":
            code, text = control.get_str(message, "code"), control.get_str(message, "message")
            self.answer.set_exception(AuthFailed(text) if code == "auth" else Refused(code, text))

    def on_dial(self, conn: Conn, tunnel: int) -> None:
        self.link.refuse_dial(conn, CODE_FAILED, "no tunnels")

    def on_closed(self, error: Exception | None) -> None:
        super().on_closed(error)
        if not self.answer.done():
            self.answer.set_exception(LinkLost(f"{error or 'the server ended the session'}; {_PERHAPS_OLD}"))
        self.answer.exception()  # looked at, whether or not anybody waits


def _id(text: str) -> str:
    try:
        return parse_id(text)
    except UsageError as error:
        raise ProtocolError(f"the server's answer: {error}") from None
