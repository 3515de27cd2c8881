"""Has setuptools build for another Python, C library and processor: by what that Python's sysconfig would say."""

from pathlib import Path

from . import zig
from .targets import Target

COMPILE = "-fwrapv -fstack-protector-strong -ffile-prefix-map={source}=."
LINK = "-Wl,-z,relro -Wl,-z,now -Wl,--gc-sections"  # the last, or 32-bit ARM gets all of compiler-rt


def environment(target: Target, include: Path, source: Path, at: Path, epoch: str) -> dict[str, str]:
    """For a build of what is in `source`; `at` keeps what it takes, and compiled things of nobody else."""
    tools = zig.commands(target.platform, at / "bin" / target.platform.tag)
    own = at / "sysconfig" / target.name
    own.mkdir(parents=True, exist_ok=True)
    said = _configuration(target, include, tools, COMPILE.format(source=source))
    (own / "_sysconfigdata_target.py").write_text(f"build_time_vars = {said!r}\n")
    return {
        "PYTHONPATH": str(own),
        "_PYTHON_SYSCONFIGDATA_NAME": "_sysconfigdata_target",
        "_PYTHON_HOST_PLATFORM": target.platform.tag,
        "SOURCE_DATE_EPOCH": epoch,
        **zig.caches(at / "zig"),
    }


def _configuration(target: Target, include: Path, tools: dict[str, str], compile_args: str) -> dict[str, object]:
    """setuptools takes the compiler, the headers and the names of modules from it, and the wheel's tags too."""
    number = target.interpreter[2:]
    soabi = f"cpython-{number}-{target.platform.triplet}"
    return {
        **tools,
        "CFLAGS": compile_args,
        "OPT": "",
        "CCSHARED": "-fPIC",
        "LDSHARED": f"{tools['CC']} -shared {LINK}",
        "LDCXXSHARED": f"{tools['CXX']} -shared {LINK}",
        "ARFLAGS": "rcs",
        "SOABI": soabi,
        "EXT_SUFFIX": f".{soabi}.so",
        "SHLIB_SUFFIX": ".so",
        "INCLUDEPY": str(include),
        "CONFINCLUDEPY": str(include),
        "VERSION": target.version,
        "py_version_nodot": number,
        "py_version_short": target.version,
        "Py_DEBUG": 0,
        "Py_GIL_DISABLED": 0,
        "Py_ENABLE_SHARED": 0,
    }
