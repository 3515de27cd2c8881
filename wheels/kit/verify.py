"""What must be true of a wheel before anybody gets it. Each check raises Failure."""

import re
import sys
import zipfile
from collections.abc import Iterator, Sequence
from email import message_from_bytes
from io import BytesIO
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import Symbol, SymbolTableSection

from .debian import Depot
from .shell import Failure, run
from .targets import ABI3, Target, of_wheel
from .wheelfile import pure_parts

MODULES = 4  # of the compiled core
SIZE_MAX = 400_000  # octets of one
MACHINES = {"x86_64": "EM_X86_64", "aarch64": "EM_AARCH64", "armv7l": "EM_ARM"}
OLD_MUSL = "bookworm"  # 1.2.3
VALIDATOR = JsonStrictValidator(SchemaVersion.V1_6)


def wheel(path: Path) -> Target:
    """All that can be said of one alone."""
    target = of_wheel(path.name)
    with zipfile.ZipFile(path) as archive:
        for check in (tags, modules, materials, *([old_musl] if target.platform.musl else [])):
            check(archive, target)
    consistent(path, target)
    if target.python == ABI3:
        limited(path)
    return target


def tags(archive: zipfile.ZipFile, target: Target) -> None:
    written = message_from_bytes(_only(archive, r"\.dist-info/WHEEL$")).get_all("Tag")
    if written != [target.tags]:
        raise Failure(f"{target.name}: its WHEEL file says {written}")


def modules(archive: zipfile.ZipFile, target: Target) -> None:
    names = [name for name in archive.namelist() if name.endswith(".so")]
    if len(names) != MODULES:
        raise Failure(f"{target.name}: {MODULES} compiled modules belong into it, it has {names}")
    for name in names:
        data = archive.read(name)
        if len(data) > SIZE_MAX:
            raise Failure(f"{target.name}: {name} has {len(data)} octets, more than {SIZE_MAX}")
        elf = ELFFile(BytesIO(data))
        if elf["e_machine"] != MACHINES[target.platform.arch]:
            raise Failure(f"{target.name}: {name} is for {elf['e_machine']}")
        if surplus := [s.name for s in elf.iter_sections() if s.name == ".symtab" or s.name.startswith(".debug")]:
            raise Failure(f"{target.name}: {name} is not stripped, it has {surplus}")


def old_musl(archive: zipfile.ZipFile, target: Target) -> None:
    """Its symbols have no versions, and zig's is newer: auditwheel cannot see what an old one has not."""
    package = Depot(OLD_MUSL, target.platform.debian).unpack("musl", needs=False)
    library = ELFFile(BytesIO(next(package.glob("usr/lib/*/libc.so")).read_bytes()))
    has = {symbol.name for symbol in symbols(library) if symbol["st_shndx"] != "SHN_UNDEF"}
    for name in (name for name in archive.namelist() if name.endswith(".so")):
        wants = {
            symbol.name
            for symbol in symbols(ELFFile(BytesIO(archive.read(name))))
            if symbol["st_shndx"] == "SHN_UNDEF" and symbol["st_info"]["bind"] == "STB_GLOBAL"
        }
        if lacking := sorted(symbol for symbol in wants - has if not symbol.startswith(("Py", "_Py"))):
            raise Failure(f"{target.name}: {name} asks for what musl of Debian {OLD_MUSL} has not: {lacking}")


def symbols(elf: ELFFile) -> Iterator[Symbol]:
    section = elf.get_section_by_name(".dynsym")
    assert isinstance(section, SymbolTableSection)
    return section.iter_symbols()


def materials(archive: zipfile.ZipFile, target: Target) -> None:
    if error := VALIDATOR.validate_str(_only(archive, r"\.dist-info/sboms/[^/]+\.cdx\.json$").decode()):
        raise Failure(f"{target.name}: its bill of materials is no CycloneDX: {error}")


def consistent(path: Path, target: Target) -> None:
    said = run(sys.executable, "-m", "auditwheel", "show", path)
    match = re.search(r'following\s+platform\s+tag:\s+"([^"]+)"', said)
    if match is None or match[1] != target.platform.policy:
        raise Failure(f"{target.name}: auditwheel finds it consistent with {match and match[1]}:\n{said}")


def limited(path: Path) -> None:
    """Nothing but the limited API is used."""
    run(Path(sys.executable).with_name("abi3audit"), "--strict", path)


def alike(wheels: Sequence[Path]) -> int:
    """How many members are the same in all of them: everything but what was compiled."""
    first, *others = wheels
    expected = pure_parts(first)
    for other in others:
        found = pure_parts(other)
        if found != expected:
            names = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
            raise Failure(f"{other.name} and {first.name} differ in {', '.join(names)}")
    return len(expected)


def _only(archive: zipfile.ZipFile, pattern: str) -> bytes:
    names = [name for name in archive.namelist() if re.search(pattern, name)]
    if len(names) != 1:
        raise Failure(f"{archive.filename}: one member like {pattern} belongs into it, it has {names}")
    return archive.read(names[0])
