"""Whether targets answer, asked of the client that would dial them (PROTOCOL.md, section 8, `check`)."""

import asyncio
import itertools
from collections.abc import Callable, Mapping

from rport import control
from rport.errors import ProtocolError
from rport.remote import Remote
from rport.server.errors import NotAllowed, ServerError, TargetUnreachable, TooManyChecks
from rport.session import CHECKS_MAX, CODE_FAILED, CODE_FORBIDDEN, CODE_NAME, TUNNEL_MAX

TIMEOUT = 2.5  # seconds for the answer: the client gives the target 1.8
MS_MAX = 60_000.0  # no honest client has waited for longer

Result = float | ServerError  # milliseconds, or why not


class Checks:
    """Of one session: those that the client has not answered yet."""

    def __init__(self, send: Callable[[Mapping[str, object]], None]) -> None:
        self._send = send
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Result]] = {}

    async def ask(self, remote: Remote) -> float:
        """Milliseconds in which the client reached it. Raises NotAllowed, TargetUnreachable, TooManyChecks."""
        if len(self._waiting) >= CHECKS_MAX:
            raise TooManyChecks(f"{CHECKS_MAX} checks of this client are under way already; try again in a moment")
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            self._send({"type": "check", "id": number, "remote": remote.to_wire()})
            async with asyncio.timeout(TIMEOUT):
                result: Result = await answer
        except TimeoutError:
            raise TargetUnreachable(f"the client did not answer within {TIMEOUT:g} s") from None
        finally:
            self._waiting.pop(number, None)
        if isinstance(result, ServerError):
            raise result
        return result

    def answered(self, message: control.Message) -> None:
        """Raises ProtocolError. An answer that nobody waits for any more is dropped."""
        answer = self._waiting.get(control.get_int(message, "id", 1, TUNNEL_MAX))
        result = _read(message)
        if answer is not None and not answer.done():
            answer.set_result(result)

    def end(self) -> None:
        """The session is no more."""
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_result(TargetUnreachable("the client is gone"))


def _read(message: control.Message) -> Result:
    if "error" in message:
        forbidden = control.get_int(message, "code", CODE_FAILED, CODE_NAME, CODE_FAILED) == CODE_FORBIDDEN
        reason = control.get_str(message, "error")
        return NotAllowed(f"the client refuses: {reason}") if forbidden else TargetUnreachable(reason)
    took = message.get("ms")
    if not isinstance(took, int | float) or isinstance(took, bool) or not 0 <= took <= MS_MAX:
        raise ProtocolError('control message whose "ms" is no time')
    return float(took)
