import asyncio
import socket

import pytest

from rport.client.reach import reach
from rport.client.resolve import AddrInfo, Resolver
from rport.errors import ConnectError
from tests.support.neighbours import black_hole, free_port


class Never(Resolver):
    async def resolve(self, host: str, port: int) -> list[AddrInfo]:
        await asyncio.get_running_loop().create_future()
        raise AssertionError("never")


def attempt(host: str, port: int, resolver: type[Resolver] = Resolver, seconds: float = 60.0) -> socket.socket:
    async def main() -> socket.socket:
        deadline = asyncio.get_running_loop().time() + seconds
        return await reach(host, port, "the thing", "rportd", resolver(), deadline)

    return asyncio.run(main())


def test_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, attempt("127.0.0.1", listener.getsockname()[1]) as sock:
        assert sock.getpeername() == listener.getsockname()
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert not sock.getblocking()


def test_nobody_listens() -> None:
    with pytest.raises(
        ConnectError, match=r"^cannot connect to the thing: Connection refused; is rportd running there"
    ):
        attempt("127.0.0.1", free_port())


def test_nobody_answers() -> None:
    with black_hole() as port, pytest.raises(ConnectError, match=r"^the thing did not answer within .* rportd's port"):
        attempt("127.0.0.1", port, seconds=0.01)


def test_no_such_name() -> None:
    with pytest.raises(ConnectError, match=r"^the thing: the name 'a\.\.b' does not resolve: "):
        attempt("a..b", 80)


def test_silent_name_server() -> None:
    with pytest.raises(ConnectError, match=r"^the thing: the name 'a' was not resolved within .* name server up"):
        attempt("a", 80, Never, seconds=0.01)
