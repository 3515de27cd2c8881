"""rportd in a container of the image that ci/image built, by podman: no daemon, and the network of whoever calls."""

import itertools
import os
import re
import subprocess
from collections.abc import Sequence

from tests.support.neighbours import free_port
from tests.support.programs import until

_numbers = itertools.count(1)


def podman(*argv: str, code: int = 0, typed: str = "") -> str:
    """What it printed, log lines included; `code` is how it has to end, `typed` its input."""
    done = subprocess.run(
        ["podman", *argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, input=typed, timeout=120
    )
    assert done.returncode == code, (argv, done.returncode, done.stdout)
    return done.stdout


class Volume:
    def __init__(self) -> None:
        self.name = f"rport-test-{os.getpid()}-{next(_numbers)}"
        podman("volume", "create", self.name)

    def close(self) -> None:
        podman("volume", "rm", "--force", self.name)


class Container:
    """As docs/docker.md runs it: no rights, a root that nobody can write to, the state in a volume."""

    def __init__(self, image: str, volume: Volume, *argv: str, env: dict[str, str] | None = None,
                 more: Sequence[str] = ()) -> None:  # fmt: skip
        self.name = f"rport-test-{os.getpid()}-{next(_numbers)}"
        self.port = free_port()
        variables = {"RPORT_PORT": str(self.port), **(env or {})}
        podman(
            *("run", "--detach", "--name", self.name, "--network", "host", "--read-only", "--tmpfs", "/tmp"),
            *("--cap-drop", "all", "--security-opt", "no-new-privileges", "--volume", f"{volume.name}:/var/lib/rport"),
            *(word for name, value in variables.items() for word in ("--env", f"{name}={value}")),
            *(*more, image, *argv),
        )
        try:
            until(lambda: "Listening on" in self.log(), "rportd listens")
        except AssertionError as error:
            log = self.log()
            self.close()
            raise AssertionError(f"{error}\n--- log:\n{log}") from None

    def log(self) -> str:
        return podman("logs", self.name)

    @property
    def fingerprint(self) -> str:
        found = re.search(r"Fingerprint ([0-9a-f:]+)", self.log())
        assert found is not None, self.log()
        return found[1]

    def run(self, *argv: str, code: int = 0, typed: str = "") -> str:
        """A program beside rportd."""
        return podman("exec", "--interactive", self.name, *argv, code=code, typed=typed)

    def add_user(self, name: str) -> None:
        self.run("rportd", "user", "add", name, "--role", "admin", typed="correct horse battery\n")

    def healthy(self) -> bool:
        """What the image's own health check says now."""
        return subprocess.run(["podman", "healthcheck", "run", self.name], capture_output=True).returncode == 0

    def end(self) -> int:
        """Stop it as `docker stop` does; its exit code."""
        podman("stop", "--time", "60", self.name)
        return int(podman("inspect", "--format", "{{.State.ExitCode}}", self.name))

    def close(self) -> None:
        podman("rm", "--force", "--time", "0", self.name)
