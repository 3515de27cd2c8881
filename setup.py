"""Builds the compiled core; everything else is in pyproject.toml.

RPORT_SANITIZE=1 builds it with AddressSanitizer and UBSan instead (see ci/sanitize). RPORT_ABI3=1 builds it for the
limited API: one wheel for every Python from 3.11 on, whose calls into the core cost two to three times as much (see
wheels/build).
"""

import os
import sys

from Cython.Build import cythonize
from setuptools import Extension, setup

if os.environ.get("RPORT_SANITIZE"):
    flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
    compile_args, link_args = [*flags, "-g", "-O1"], flags
elif sys.platform == "win32":
    compile_args, link_args = [], []
else:
    compile_args = ["-O3", "-g0"]
    link_args = ["-s"] if sys.platform.startswith("linux") else []

abi3 = bool(os.environ.get("RPORT_ABI3"))

setup(
    ext_modules=cythonize(
        [
            Extension(
                "rport.*",
                ["rport/*.pyx"],
                extra_compile_args=compile_args,
                extra_link_args=link_args,
                define_macros=[("Py_LIMITED_API", "0x030B0000")] if abi3 else [],
                py_limited_api=abi3,
            ),
        ],
        build_dir="build/cython",
        language_level=3,
    ),
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if abi3 else {},
)
