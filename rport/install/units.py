"""The systemd units of both programs, as text."""

from typing import NamedTuple

from rport.config import SYSTEM_PLACE

MARK = "# Written by `{} service install`"  # what does not begin so is not ours to change


class Program(NamedTuple):
    """What differs between the two."""

    name: str
    title: str
    capabilities: str
    restart_after: int  # seconds
    listens: bool

    @property
    def config(self) -> str:
        return f"{SYSTEM_PLACE}/{self.name}.toml"

    @property
    def state(self) -> str:
        return f"/var/lib/{self.name}"

    def unit(self, kind: str) -> str:
        """Where a unit is, `kind` being service or socket."""
        return f"/etc/systemd/system/{self.name}.{kind}"

    def packaged(self, kind: str) -> str:
        """Where a package of the system has it; one of ours goes before it."""
        return f"/usr/lib/systemd/system/{self.name}.{kind}"

    @property
    def mark(self) -> str:
        return MARK.format(self.name)


PROGRAMS = {
    program.name: program
    for program in (
        # A tunnel may ask for a port below 1024. The client asks the kernel for nothing special; what ends it for a
        # while may be mended at the server, and it may be the only way to its machine: it goes on, without haste.
        Program("rport", "Reverse tunnel client", "", 30, listens=False),
        Program("rportd", "Reverse tunnel server", "CAP_NET_BIND_SERVICE", 3, listens=True),
    )
}

_SERVICE = """\
{mark}; what you want otherwise: systemctl edit {name}

[Unit]
Description={title} ({name})
Wants=network-online.target
After=network-online.target nss-lookup.target
{unit}
[Service]
Type=notify
ExecStart={command} --config {config}
# The shell's own kill: /bin/kill is in a package that not every system has.
ExecReload=/bin/sh -c 'kill -HUP ${{MAINPID}}'
User={user}
StateDirectory={name}
StateDirectoryMode=0700
UMask=0077
{environment}# Status 1 is a mistake in the configuration, which no other try makes any better; all else may pass.
Restart=always
RestartSec={restart_after}s
RestartPreventExitStatus=1
WatchdogSec=30s
# Where it hung is in the journal then; a core could have keys in it.
Environment=PYTHONFAULTHANDLER=1
LimitCORE=0
TimeoutStopSec=30s
LimitNOFILE=524288

# What it may do to the machine: next to nothing.
AmbientCapabilities={capabilities}
CapabilityBoundingSet={capabilities}
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateMounts=yes
PrivateDevices=yes
DevicePolicy=closed
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProcSubset=pid
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
# To ask for its limits is to ask with the call that sets them.
SystemCallFilter=prlimit64

[Install]
WantedBy=multi-user.target
{install}"""

_SOCKET = """\
{mark} from the host and port in {config}: change them there and install again

[Unit]
Description=Where {name} listens

[Socket]
ListenStream={host}:{port}
BindIPv6Only=both
Backlog=1024
# An address that comes later than this does.
FreeBind=yes

[Install]
WantedBy=sockets.target
"""


def service_unit(program: Program, command: str, user: str, *, socket: bool, mark: str | None = None) -> str:
    """`command`: the absolute path of the program; `socket`: it has its listening sockets from a socket unit.

    `mark`: the first line's comment, of a unit that others install.
    """
    return _SERVICE.format(
        **program._asdict(),
        mark=mark or program.mark,
        config=program.config,
        command=quoted(command),
        user=user,
        unit=f"Requires={program.name}.socket\nAfter={program.name}.socket\n" if socket else "",
        environment="Environment=RPORT_ALLOW_ROOT=yes\n" if user == "root" else "",
        install=f"Also={program.name}.socket\n" if socket else "",
    )


def socket_unit(program: Program, host: str, port: int) -> str:
    """`host`: an address without brackets."""
    host = (f"[{host}]" if ":" in host else host).replace("%", "%%")
    return _SOCKET.format(mark=program.mark, name=program.name, config=program.config, host=host, port=port)


def quoted(path: str) -> str:
    """As a word of a unit file, systemd.syntax(7); `$` and `%` mean themselves."""
    path = path.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{path}"' if any(c in path for c in " \t;'\"\\") else path
