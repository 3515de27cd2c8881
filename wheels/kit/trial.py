"""One wheel with one Python: published vectors, what the programs say of themselves, and bytes through a tunnel."""

import os
import shutil
import zipfile
from dataclasses import dataclass
from email.parser import BytesParser
from pathlib import Path

from .places import Place, place, requirements
from .shell import CACHE, ROOT, Failure
from .targets import Target, of_wheel
from .transfer import Program, transfer

VECTORS = ("tests/test_handshake.py", "tests/test_seal.py", "tests/test_hkdf.py", "tests/test_sodium.py")
LACKS = "rportd needs its server parts: pip install 'rport[server]'"
CLIENT_ALONE = """\
import os, sys
import rport, rport.client.agent, rport._pump
extra = {"fastapi", "uvicorn", "pydantic"} & set(sys.modules)
assert not extra, f"the client loads {extra}"
print(os.path.dirname(rport.__file__), rport._pump.__file__, sep="\\n")
"""
EMULATED = "300"  # seconds that a condition gets there


@dataclass
class Result:
    wheel: str
    python: str
    vectors: str = "-"
    server: str = "-"
    transfer: str = "-"
    note: str = ""
    failed: bool = False
    sha256: str = ""  # its beginning


def trial(wheel: Path, version: str, natively: Path) -> Result:
    """`natively`: a wheel for this machine's processor, whose server is used where the wheel's own cannot run."""
    target = of_wheel(wheel.name)
    result = Result(target.name, version)
    at = CACHE / "work/trial" / f"{target.name}-{version}"
    shutil.rmtree(at, ignore_errors=True)  # of one that was interrupted
    try:
        tried = place(version, target.platform, at / "client")
    except Failure as error:
        result.note = f"not run: {str(error).splitlines()[0]}"
        return result
    try:
        _try(wheel, target, tried, at, natively, result)
    except (Failure, AssertionError) as error:
        result.failed = True
        result.note = f"FAILED: {str(error).strip()}"
    shutil.rmtree(at, ignore_errors=True)
    return result


def _try(wheel: Path, target: Target, client: Place, at: Path, natively: Path, result: Result) -> None:
    install(wheel, client, "")
    starts(client, at)
    result.vectors = vectors(client, at)
    server = own_server(wheel, target, client.version, at, result)
    if server is None:
        server = place(of_wheel(natively.name).version, of_wheel(natively.name).platform, at / "server")
        install(natively, server, "server")
    os.environ["RPORT_TEST_DEADLINE"] = EMULATED
    transfer(Program(server.python, server.environment), Program(client.python, client.environment), at)
    result.transfer = "ok"


def install(wheel: Path, into: Place, extra: str) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        lines = BytesParser().parsebytes(archive.read(name)).get_all("Requires-Dist", [])
    links = wheel.parent / "armv7l-dependencies" if into.platform.arch == "armv7l" else None
    if links is not None and not links.is_dir():
        raise Failure(f"{links} is not there: run wheels/build armv7l-dependencies")
    into.install(wheel, requirements(lines, into.platform, into.version, extra), extra, links)


def starts(client: Place, at: Path) -> None:
    """The wheel alone: the client starts without the server's parts, and rportd says what it lacks."""
    client.script("rport", "--version", cwd=at)
    package, module = client.run("-c", CLIENT_ALONE, cwd=at).split()
    if not (Path(package).is_relative_to(at) and Path(module).is_relative_to(at)):
        raise Failure(f"not the wheel was tried, but {module}")
    try:
        client.script("rportd", "--version", cwd=at)
    except Failure as error:
        if LACKS not in str(error):
            raise
    else:
        raise Failure("rportd started without its server parts")


def vectors(client: Place, at: Path) -> str:
    """How many tests of published vectors and of PROTOCOL.md's bytes passed."""
    client.add(["pytest", "hypothesis"])
    shutil.copytree(ROOT / "tests", at / "tests", ignore=shutil.ignore_patterns("e2e", "bench", "stories"))
    shutil.copy(ROOT / "PROTOCOL.md", at)
    words = ["-m", "pytest", "-q", "--noconftest", "-c", os.devnull, "--rootdir", str(at), "-p", "no:cacheprovider"]
    last = client.run(*words, "-k", "vector or document or hkdf or sodium", *VECTORS, cwd=at).strip().splitlines()[-1]
    return last.split(",")[0]


def own_server(wheel: Path, target: Target, version: str, at: Path, result: Result) -> Place | None:
    """With the wheel's server in it; nothing, and a note why, where it cannot run."""
    server = place(version, target.platform, at / "server")
    try:
        install(wheel, server, "server")
    except Failure as error:
        missing = [line for line in str(error).splitlines() if "No matching distribution found for" in line]
        if not missing:
            raise
        result.server, result.note = "native", f"no wheel: {missing[-1].rpartition(' for ')[2]}"
        return None
    try:
        server.run("-c", "import rport.server.serve", cwd=at)  # what is missing shows at once
    except Failure as error:
        if not target.platform.qemu:
            raise
        result.server, result.note = "native", f"its own does not start under qemu: {str(error).splitlines()[-1]}"
        return None
    result.server = "own"
    return server
