"""Being told to stop, while something has to be put away first."""

import os
import select
import signal
import subprocess
from types import TracebackType

from rport.errors import UsageError

NUMBERS = tuple(
    number for name in ("SIGINT", "SIGTERM", "SIGHUP") if (number := getattr(signal, name, None)) is not None
)


class Stop:
    """Within it, Ctrl-C, SIGTERM and SIGHUP only say that it is time; a program that is run meanwhile gets them."""

    def __init__(self) -> None:
        self.asked = False
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Stop":
        self._woken, self._wake = os.pipe()
        # What whoever started this ignores, as nohup does, stays ignored.
        mine = [number for number in NUMBERS if signal.getsignal(number) is not signal.SIG_IGN]
        self._before = {number: signal.signal(number, self._on_signal) for number in mine}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._woken)
        os.close(self._wake)

    def wait(self, seconds: float | None = None) -> bool:
        """Whether it is time; until then, or so long."""
        return bool(self.asked or select.select([self._woken], [], [], seconds)[0])

    def run(self, argv: list[str]) -> int:
        """A program's exit code, as a shell gives it. Raises UsageError when it cannot be started."""
        if self.asked:
            return 128 + signal.SIGINT
        try:
            self._child = child = subprocess.Popen(argv)
        except OSError as error:
            raise UsageError(f"{argv[0]} cannot be started: {error.strerror}") from None
        if self.asked:  # just now, and the program was not told
            child.terminate()
        code = child.wait()
        self._child = None
        return code if code >= 0 else 128 - code

    def _on_signal(self, number: int, frame: object) -> None:
        if not self.asked:
            self.asked = True
            os.write(self._wake, b".")
        # Ctrl-C comes to the program from the terminal, too.
        if self._child is not None and (number != signal.SIGINT or not os.isatty(0)):
            self._child.send_signal(number)
