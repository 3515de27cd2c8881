"""64 MiB from a visitor through a tunnel to the client's target and back, compared by SHA-256.

`python -m kit.transfer` does it with the rport that is installed beside that Python.
"""

import sys
import tempfile
from contextlib import ExitStack, chdir
from dataclasses import dataclass, field
from pathlib import Path

from .shell import ROOT, Failure

AMOUNT = 64 << 20  # octets, each way


@dataclass(frozen=True)
class Program:
    """An interpreter with rport."""

    python: str | Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def wrap(self) -> tuple[str, ...]:
        """What starts it where the tests would start their own."""
        return ("sh", "-c", f'shift; exec "{self.python}" "$@"', "sh")


def transfer(server: Program, client: Program, at: Path) -> None:
    """Raises Failure, with what both programs logged; their state is in directory `at`."""
    sys.path.append(str(ROOT))
    from tests.support.programs import Client, Server, Target, carry, echo

    with ExitStack() as stack:
        stack.enter_context(chdir(at))  # `python -m` imports from there first
        target = Target(echo)
        stack.callback(target.close)
        listening = Server(at, env=server.environment, wrap=server.wrap)
        stack.callback(listening.stop)
        remote = f"127.0.0.1:0:127.0.0.1:{target.port}"
        dialling = Client(listening, remote, state=at, env=client.environment, wrap=client.wrap)
        stack.callback(dialling.stop)
        try:
            carry(dialling.tunnel_port(), AMOUNT)
        except (AssertionError, OSError) as error:
            raise Failure(f"{error}\n--- rportd:\n{listening.log}\n--- rport:\n{dialling.log}") from None


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        own = Program(sys.executable)
        transfer(own, own, Path(scratch))
    print("64 MiB went there and back")


if __name__ == "__main__":
    main()
