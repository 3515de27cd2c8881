"""`ssh -R` to a private sshd with throw-away keys."""

from __future__ import annotations

import getpass
import os
import shutil
from contextlib import suppress
from pathlib import Path

from tests.bench.peers.base import Launch, Peer, Running
from tests.bench.ports import HOST, free_port

CIPHER = "aes128-gcm@openssh.com"
_SEPARATION = Path("/run/sshd")  # sshd that runs as root refuses to start without it
_CONFIG = """\
ListenAddress {host}
Port {port}
HostKey {key}
AuthorizedKeysFile {authorized}
Ciphers {cipher}
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
AllowTcpForwarding yes
LogLevel ERROR
"""
_OPTIONS = (
    f"Ciphers={CIPHER}",
    "Compression=no",
    "ExitOnForwardFailure=yes",
    "IdentitiesOnly=yes",
    "IdentityAgent=none",
    "BatchMode=yes",
    "LogLevel=ERROR",
    "StrictHostKeyChecking=no",
    "UserKnownHostsFile=/dev/null",
)


class SshReverse(Peer):
    """All tunnels in one SSH connection."""

    name = "ssh"
    label = "ssh -R aes128-gcm"
    programs = ("ssh", "sshd", "ssh-keygen")

    def start(self, launch: Launch) -> Running:
        host_key, user_key = _new_key(launch, "host"), _new_key(launch, "user")
        port = free_port()
        authorized = launch.write("authorized", user_key.with_suffix(".pub").read_text(), 0o644)
        text = _CONFIG.format(host=HOST, port=port, key=host_key, authorized=authorized, cipher=CIPHER)
        _provide_separation_directory(launch)
        sshd = shutil.which("sshd") or "sshd"  # sshd insists on an absolute path
        launch.server(sshd, "-D", "-e", "-f", launch.write("sshd_config", text), listens=port)
        options = [part for option in _OPTIONS for part in ("-o", option)]
        for visitor, target in launch.tunnels:
            options += ["-R", f"{HOST}:{visitor}:{HOST}:{target}"]
        way = str(launch.way(port))
        launch.client(
            "ssh", "-F", "none", "-N", "-T", *options, "-i", user_key, "-p", way, f"{getpass.getuser()}@{HOST}"
        )
        return launch.ready()


def _new_key(launch: Launch, name: str) -> Path:
    path = launch.directory / name
    launch.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path)
    return path


def _provide_separation_directory(launch: Launch) -> None:
    if os.geteuid() or _SEPARATION.exists():
        return
    _SEPARATION.mkdir(mode=0o755)

    def remove() -> None:
        with suppress(OSError):
            _SEPARATION.rmdir()

    launch.callback(remove)
