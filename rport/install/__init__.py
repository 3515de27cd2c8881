"""`PROG service install|uninstall|status`: a program as a service of the machine's systemd."""

import argparse
import os
import re
import shutil
import sys
from collections.abc import Sequence

from rport.cli import Parser, complain
from rport.config import File, Table, example
from rport.errors import UsageError
from rport.hosts import listen_address
from rport.install import elsewhere
from rport.install.host import ROOT, Host, Owner
from rport.install.units import PROGRAMS, Program, service_unit, socket_unit

INACTIVE, NOT_INSTALLED = 3, 4  # exit codes of status, as systemctl's

HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # from a service with ProtectHome and PrivateTmp

_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")  # a number would be an id, 0 that of root
_WORD = re.compile(r"[!-~]+")

EPILOG = """\
examples:
  {0} service install --dry-run      show all that it would do, and the unit
  {0} service install                make a user, directories, a configuration file to fill in, and the unit
  {0} service install --now          and start it, or restart it with what changed
  {0} service status
  {0} service uninstall              stop it and take the unit away; the configuration and the keys stay
  {0} service uninstall --purge      these go too

Nothing is asked, nothing of yours is overwritten, and a second run changes nothing.

exit codes of status: 0 running, 3 not running, 4 not installed
"""


def parser(program: Program) -> Parser:
    """The command line of `PROG service`."""
    p = Parser(
        prog=f"{program.name} service",
        description=f"Let systemd run {program.name} at every start of the machine.",
        epilog=EPILOG.format(program.name),
    )
    p.add_argument("verb", metavar="install|uninstall|status", choices=["install", "uninstall", "status"],
                   help="what to do")  # fmt: skip
    p.option("dry-run", action="store_true", help="say what would be done, and do nothing")
    p.option("root", metavar="DIR", default="/", help="the machine's files are there: for building images")
    p.option("now", action="store_true", help="install: also start it, or restart what runs and changed")
    p.option("user", metavar="NAME", default=program.name, help=f"install: run as this user (default {program.name})")
    p.option("allow-root", action="store_true", help="install: let --user be root")
    p.option("exec", metavar="PATH", help="install: where the program is, if not where this one is")
    if program.listens:
        p.option("no-socket", action="store_true", help="install: no socket unit; a restart then refuses connections")
    p.option("purge", action="store_true", help="uninstall: also remove configuration, keys and user")
    return p


def main(table: Table, argv: Sequence[str]) -> int:
    """Returns the exit code. `table`: of the program that is meant."""
    program = PROGRAMS[table.prog]
    words = parser(program).parse(argv)
    prog = f"{program.name} service"
    if not sys.platform.startswith("linux"):
        return elsewhere.explain(program, sys.platform)
    host = Host(words.root, dry=words.dry_run)
    try:
        if words.verb == "status":
            return _status(program, host)
        if os.geteuid() != 0 and not words.dry_run:
            raise UsageError(f"only root can do that: sudo {prog} {words.verb}; --dry-run shows what it would do")
        if words.verb == "install":
            _install(program, table, host, words)
        else:
            _uninstall(program, host, purge=words.purge)
    except UsageError as error:
        return complain(prog, error)
    except OSError as error:
        return complain(prog, UsageError(f"{error.filename or ''}: {error.strerror or error}".lstrip(": ")))
    return 0


# --- install ----------------------------------------------------------------------------------------------------------


def _install(program: Program, table: Table, host: Host, words: argparse.Namespace) -> None:
    _check_user(words.user, host, allow_root=words.allow_root)
    command = _command(program, words.exec, host)
    kinds = ["service", *(["socket"] if program.listens and not words.no_socket else [])]
    for kind in ("service", "socket"):
        _refuse_foreign(program, host, kind)
    units = {"service": service_unit(program, command, words.user, socket="socket" in kinds)}
    if "socket" in kinds:
        units["socket"] = socket_unit(program, *_listens(program, table, host))

    owner = host.user(words.user, program.title, program.state) if words.user != "root" else ROOT
    host.directory(os.path.dirname(program.config), 0o755, ROOT)
    host.directory(program.state, 0o700, owner)
    new = host.file(program.config, example(table), 0o640, Owner(0, owner.group), keep=True)
    host.let_read(program.config, owner)
    changed = _drop_socket(program, host) if "socket" not in kinds else False
    for kind in kinds:
        changed |= host.file(program.unit(kind), units[kind], 0o644, ROOT)
        if host.dry:
            print("".join(f"    {line}\n" for line in units[kind].splitlines()), end="")
    _enable(program, host, kinds, changed, now=words.now, new=new)


def _check_user(name: str, host: Host, *, allow_root: bool) -> None:
    if not _USER.fullmatch(name):
        raise UsageError(f"--user {name[:40]!r}: give a user's name")
    if name == "root" and not allow_root:
        raise UsageError("--user root: nothing here needs root; --allow-root if it is meant")
    found = host.find_user(name)
    if name != "root" and found is not None and found.user == 0:
        raise UsageError(f"--user {name}: this is root by another name")


def _command(program: Program, given: str | None, host: Host) -> str:
    """The absolute path of the program, where a service can see it."""
    if given is not None:
        if not given.isprintable():
            raise UsageError(f"--exec {given}: a unit cannot name it")
        if not os.path.isabs(given):
            raise UsageError(f"--exec {given}: give an absolute path")
        if not (os.access(given, os.X_OK) if host.here else os.path.lexists(host.path(given))):
            raise UsageError(f"--exec {given}: no program is there")
        parts = [given, os.path.realpath(given)] if host.here else [given]
    else:
        given = _own_path(program)
        parts = [given, os.path.realpath(given), sys.prefix, sys.base_prefix]
    for part in parts:
        if any(f"{part}/".startswith(f"{hidden}/") for hidden in HIDDEN):
            raise UsageError(
                f"{part}: a service sees nothing of {', '.join(HIDDEN)}; install the program elsewhere, for example "
                f"{_elsewhere()}"
            )
    return given


def _elsewhere() -> str:
    if getattr(sys, "frozen", False):  # there is no Python to install it with
        return "unpack the archive in /opt"
    return "from a clone: python3 -m venv /opt/rport && /opt/rport/bin/pip install '.[server]'"


def _own_path(program: Program) -> str:
    """The program that was started, else the one beside this Python, else the one on the PATH."""
    started = os.path.abspath(sys.argv[0])
    beside = os.path.join(os.path.dirname(sys.executable), program.name)
    for path in (started, beside, shutil.which(program.name)):
        if path and os.path.basename(path) == program.name and os.access(path, os.X_OK):
            return path
    raise UsageError(f"there is no program {program.name} beside {sys.executable}; name it with --exec")


def _refuse_foreign(program: Program, host: Host, kind: str) -> None:
    text = host.read(program.unit(kind))
    if text is not None and not text.startswith(program.mark):
        raise UsageError(
            f"{program.unit(kind)} is not from here, and stays: remove it first, or keep it and leave this be"
        )


def _listens(program: Program, table: Table, host: Host) -> tuple[str, int]:
    """Host and port of the configuration file that is there, else the defaults. Raises UsageError."""
    path = host.path(program.config)
    try:
        file = File.load(path, table) if os.path.exists(path) else None
        values, _ = table.resolve(argparse.Namespace(), {}, file)
    except UsageError as error:
        raise UsageError(f"{error}; see {program.name} config check {path}") from None
    if values["port"] == 0:
        raise UsageError(f"{path}: a socket unit needs a port, and 0 is none; or install with --no-socket")
    try:
        address = str(listen_address(values["host"]))
    except ValueError:
        address = ""
    if not _WORD.fullmatch(address):  # a zone may be anything
        raise UsageError(f"{path}: a socket unit needs an address, and host {values['host'][:80]!r} is none")
    return address, values["port"]


def _drop_socket(program: Program, host: Host) -> bool:
    if not host.has(program.unit("socket")):
        return False
    _stop(program, host, ["socket"])
    return host.remove(program.unit("socket"))


def _enable(program: Program, host: Host, kinds: list[str], changed: bool, *, now: bool, new: bool) -> None:
    names = [f"{program.name}.{kind}" for kind in reversed(kinds)]  # the socket first
    if shutil.which("systemctl") is None:
        print(f"systemctl is not here; where systemd runs, type: systemctl enable --now {' '.join(names)}")
        return
    if any(host.ask("is-enabled", name) != "enabled" for name in names):
        host.systemctl("enable", *names)
    else:
        host.say(f"systemctl enable {' '.join(names)}", "unchanged")
    if not host.booted:
        print(f"systemd is not running here; where it does, {program.name} starts with the machine, or type: "
              f"systemctl start {' '.join(names)}")  # fmt: skip
        return
    if changed:
        host.systemctl("daemon-reload")
    active = host.ask("is-active", f"{program.name}.service") == "active"
    if now and (changed or not active):
        host.systemctl("restart", *names)
    elif new or not active:
        print(f"next: edit {program.config}, then: systemctl start {program.name}")
    elif changed:
        print(f"next, for the change to count: systemctl restart {' '.join(names)}")


# --- uninstall --------------------------------------------------------------------------------------------------------


def _uninstall(program: Program, host: Host, *, purge: bool) -> None:
    kinds = [kind for kind in ("socket", "service") if host.has(program.unit(kind))]
    for kind in kinds:
        _refuse_foreign(program, host, kind)
    if kinds:
        _stop(program, host, kinds)
    gone = [host.remove(program.unit(kind)) for kind in kinds]
    if gone and host.booted:
        host.systemctl("daemon-reload")
        host.ask("reset-failed", *(f"{program.name}.{kind}" for kind in kinds))  # or it is listed for ever
    if purge:
        gone += [host.remove(path) for path in (program.config, program.state)]
        _remove_empty(os.path.dirname(program.config), host)
        host.remove_user(program.name)
    elif not kinds:
        print(f"{program.unit('service')}: not there")
    kept = [path for path in (program.config, program.state) if host.has(path)]
    if kept and not purge:
        print(f"kept: {', '.join(kept)}; --purge removes them")


def _remove_empty(name: str, host: Host) -> None:
    path = host.path(name)
    if os.path.isdir(path) and not os.listdir(path):
        host.remove(name)


def _stop(program: Program, host: Host, kinds: list[str]) -> None:
    names = [f"{program.name}.{kind}" for kind in kinds]
    if shutil.which("systemctl") is not None:
        host.systemctl("disable", *(["--now"] if host.booted else []), *names)


# --- status -----------------------------------------------------------------------------------------------------------


def _status(program: Program, host: Host) -> int:
    unit = next(filter(host.has, (program.unit("service"), program.packaged("service"))), None)
    if unit is None:
        print(f"{program.name}: not installed; {program.name} service install does it")
        return NOT_INSTALLED
    print(f"unit: {unit}")
    if host.has(program.unit("socket")):
        print(f"socket: {program.unit('socket')}")
    print(f"configuration: {program.config}{'' if host.has(program.config) else ' (not there)'}")
    print(f"starts with the machine: {host.ask('is-enabled', f'{program.name}.service') or 'unknown'}")
    if not host.booted:
        print("runs: no, systemd is not running here")
        return INACTIVE
    shown = host.ask("show", "--property=ActiveState,SubState,StatusText,MainPID", f"{program.name}.service")
    facts = dict(line.partition("=")[::2] for line in shown.splitlines())
    active = facts.get("ActiveState") in ("active", "reloading")
    text = f" ({facts['StatusText']})" if facts.get("StatusText") else ""
    state = f"yes, as process {facts.get('MainPID')}{text}" if active else f"no ({facts.get('SubState', 'unknown')})"
    print(f"runs: {state}")
    return 0 if active else INACTIVE
