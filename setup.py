"""Builds the compiled core; everything else is in pyproject.toml.

RPORT_SANITIZE=1 builds it with AddressSanitizer and UBSan instead (see ci/sanitize).
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

setup(
    ext_modules=cythonize(
        [
            Extension("rport.*", ["rport/*.pyx"], extra_compile_args=compile_args, extra_link_args=link_args),
        ],
        build_dir="build/cython",
        language_level=3,
    )
)
