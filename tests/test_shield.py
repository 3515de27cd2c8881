"""What is around each answer, and how long one may take."""

import asyncio
from typing import Any

import pytest

from rport.server.api.shield import Shield

SCOPE = {"type": "http", "path": "/api/v1/status", "headers": []}


def ask(app: Any, time: float = 0.05, messages: tuple[dict[str, Any], ...] = (), **scope: Any) -> list[Any]:
    """What is sent. Behind `messages` nothing more comes from the client."""
    sent: list[Any] = []
    waiting = list(messages)

    async def receive() -> Any:
        return waiting.pop(0) if waiting else await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    async def main() -> None:
        async with asyncio.timeout(10):
            await Shield(app, time)(SCOPE | scope, receive, send)

    asyncio.run(main())
    return sent


def answering(status: int = 200, *headers: tuple[bytes, bytes], before: float = 0.0, after: float = 0.0) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(before)
        await send({"type": "http.response.start", "status": status, "headers": list(headers)})
        await asyncio.sleep(after)
        await send({"type": "http.response.body", "body": b"x"})

    return app


async def hearing(scope: Any, receive: Any, send: Any) -> None:
    """Wants the whole body."""
    while (await receive()).get("more_body"):
        pass
    await answering()(scope, receive, send)


def test_a_route_that_takes_too_long_is_given_up() -> None:
    start, body = ask(answering(before=5))
    assert start["status"] == 503
    assert b"not done within 0.05 s" in body["body"]
    assert (b"connection", b"close") in start["headers"]


def test_an_answer_that_has_begun_may_go_on() -> None:
    start, body = ask(answering(after=0.2))
    assert (start["status"], body["body"]) == (200, b"x")


def test_what_goes_on_for_long_may_begin_late() -> None:
    assert ask(answering(before=0.2), path="/api/v1/events")[0]["status"] == 200


def test_a_body_that_does_not_come() -> None:
    part = {"type": "http.request", "body": b"{", "more_body": True}
    scope = {"headers": [(b"content-length", b"10")]}
    start, body = ask(hearing, messages=(part,), **scope)
    assert start["status"] == 408
    assert b"body did not come within 0.05 s" in body["body"]
    whole = {"type": "http.request", "body": b"}", "more_body": False}
    assert ask(hearing, messages=(part, whole), **scope)[0]["status"] == 200


def test_a_route_may_say_otherwise() -> None:
    start, _ = ask(answering(200, (b"Content-Security-Policy", b"default-src 'self'")))
    names = [name.lower() for name, _ in start["headers"]]
    assert names.count(b"content-security-policy") == 1
    assert (b"Content-Security-Policy", b"default-src 'self'") in start["headers"]


@pytest.mark.parametrize(("field", "basic"), [(None, True), (b"navigate", True), (b"cors", False)])
def test_a_401_says_how(field: bytes | None, basic: bool) -> None:
    headers = [] if field is None else [(b"sec-fetch-mode", field)]
    start, _ = ask(answering(401), headers=headers)
    ways = [value.partition(b" ")[0] for name, value in start["headers"] if name == b"www-authenticate"]
    assert ways == [b"Bearer", b"Basic"][: 1 + basic]


def test_other_scopes_pass() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(scope["type"])

    assert ask(app, type="lifespan") == ["lifespan"]
