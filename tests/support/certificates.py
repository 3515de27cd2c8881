"""Certificates of all kinds, made by openssl for one test."""

import subprocess
from pathlib import Path

from tests.support.neighbours import tool

_CONFIG = """\
[ca]
default_ca = here
[here]
dir = {directory}
database = $dir/index.txt
new_certs_dir = $dir
rand_serial = yes
unique_subject = no
default_md = sha256
policy = any
[any]
commonName = supplied
"""
_NEW_KEY = ("-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")

PAST = ("200101000000Z", "210101000000Z")
PRESENT = ("200101000000Z", "491231000000Z")  # two digits of a year end in 2049
FUTURE = ("480101000000Z", "491231000000Z")


class Authority:
    """A CA in a directory of its own; `ca` is its certificate."""

    def __init__(self, directory: Path, name: str = "test CA") -> None:
        self.directory = directory / name.replace(" ", "-")
        self.directory.mkdir()
        self.ca, self._key = self.directory / "ca.pem", self.directory / "ca.key"
        self._count = 0
        openssl("req", "-x509", *_NEW_KEY, "-subj", f"/CN={name}", "-days", "30", "-keyout", self._key, "-out", self.ca)
        (self.directory / "index.txt").touch()
        (self.directory / "ca.cnf").write_text(_CONFIG.format(directory=self.directory))

    def issue(self, *names: str, valid: tuple[str, str] = PRESENT) -> tuple[Path, Path]:
        """A certificate for these (`DNS:...`, `IP:...`) and its key."""
        self._count += 1
        base = self.directory / f"leaf{self._count}"
        cert, key, request, extra = (base.with_suffix(suffix) for suffix in (".pem", ".key", ".csr", ".ext"))
        openssl("req", "-new", *_NEW_KEY, "-subj", f"/CN=leaf {self._count}", "-keyout", key, "-out", request)
        extra.write_text(f"subjectAltName = {', '.join(names)}\n" if names else "basicConstraints = CA:FALSE\n")
        openssl(
            *("ca", "-batch", "-notext", "-config", self.directory / "ca.cnf", "-keyfile", self._key, "-cert", self.ca),
            *("-startdate", valid[0], "-enddate", valid[1], "-extfile", extra, "-in", request, "-out", cert),
        )
        return cert, key


def openssl(*argv: str | Path) -> None:
    subprocess.run([tool("openssl"), *argv], check=True, capture_output=True, stdin=subprocess.DEVNULL)
