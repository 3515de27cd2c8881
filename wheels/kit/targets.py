"""What is made: a Python, or the limited API of all of them, on a platform."""

from dataclasses import dataclass

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
ABI3 = "abi3"
OLDEST = "3.11"  # whose limited API the catch-all keeps to; setup.py names it too


@dataclass(frozen=True)
class Platform:
    """`tag` is what pip looks for, `policy` what auditwheel must find the wheel consistent with."""

    tag: str
    policy: str
    zig: str
    debian: str  # the architecture's name there
    triplet: str  # in the names of extension modules
    qemu: str  # nothing where this processor runs it

    @property
    def arch(self) -> str:
        return self.tag.partition("_")[2].removeprefix("1_2_")

    @property
    def musl(self) -> bool:
        return self.tag.startswith("musllinux")


PLATFORMS = (
    Platform("manylinux2014_x86_64", "manylinux_2_17_x86_64", "x86_64-linux-gnu.2.17", "amd64", "x86_64-linux-gnu", ""),
    Platform(
        "manylinux2014_aarch64",
        "manylinux_2_17_aarch64",
        "aarch64-linux-gnu.2.17",
        "arm64",
        "aarch64-linux-gnu",
        "aarch64",
    ),
    Platform(
        "manylinux2014_armv7l",
        "manylinux_2_17_armv7l",
        "arm-linux-gnueabihf.2.17",
        "armhf",
        "arm-linux-gnueabihf",
        "arm",
    ),
    Platform("musllinux_1_2_x86_64", "musllinux_1_2_x86_64", "x86_64-linux-musl", "amd64", "x86_64-linux-musl", ""),
    Platform(
        "musllinux_1_2_aarch64",
        "musllinux_1_2_aarch64",
        "aarch64-linux-musl",
        "arm64",
        "aarch64-linux-musl",
        "aarch64",
    ),
)


@dataclass(frozen=True)
class Target:
    """One wheel. `python` is one of PYTHONS, or ABI3."""

    python: str
    platform: Platform

    @property
    def version(self) -> str:
        """Of the headers that it is compiled with."""
        return OLDEST if self.python == ABI3 else self.python

    @property
    def interpreter(self) -> str:
        return "cp" + self.version.replace(".", "")

    @property
    def abi(self) -> str:
        return ABI3 if self.python == ABI3 else self.interpreter

    @property
    def tags(self) -> str:
        return f"{self.interpreter}-{self.abi}-{self.platform.tag}"

    @property
    def name(self) -> str:
        return f"{self.abi}-{self.platform.tag}"

    @property
    def pythons(self) -> tuple[str, ...]:
        """Those that it is for."""
        return PYTHONS if self.python == ABI3 else (self.python,)


WHEELS = tuple(Target(python, platform) for platform in PLATFORMS for python in (*PYTHONS, ABI3))


def of_wheel(file_name: str) -> Target:
    """The target that a wheel's name tells. Raises ValueError."""
    tags = file_name.removesuffix(".whl").split("-", 2)[-1]
    for target in WHEELS:
        if target.tags == tags:
            return target
    raise ValueError(f"{file_name} is none of the wheels that `wheels/build --list` shows")
