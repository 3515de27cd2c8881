"""Who may ask the API: looked at before any route is (a pure ASGI layer).

While there are no users, only this machine may. The peer's address alone would not do: a web page can make a browser on
this machine ask (DNS rebinding), hence the Host; a proxy on this machine asks for others, hence no field that proxies
add. From the first user on, everybody shows credentials.
"""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from rport.server.api import origin
from rport.server.api.credentials import shown
from rport.server.api.problems import MEDIA_TYPE
from rport.server.api.problems import body as problem
from rport.server.api_login import ApiLogin, Session
from rport.server.door.caller import EXTENSION
from rport.server.door.fields import Headers, values
from rport.server.errors import NotAllowed, ServerError, Unauthorized
from rport.server.paths import HEALTH, is_api, is_ours
from rport.server.people import People
from rport.server.principal import Principal

Scope = MutableMapping[str, Any]
Send = Callable[[Any], Awaitable[None]]
App = Callable[[Scope, Callable[[], Awaitable[Any]], Send], Awaitable[None]]

PUBLIC = {"/api/v1/login", "/api/openapi.json", "/api/docs"}
BODY_MAX = 65536  # bytes: bulk codes for a fleet are asked for in a few hundred

ELSEWHERE = "rportd is here: rport clients connect to it, and its API is at /api/docs"
REFUSAL = (
    "the API has no users yet, and so answers callers on its own machine only, by the name localhost, 127.0.0.1 or "
    "[::1], and through no proxy. Make a user there: rportd user add NAME --role admin; or forward a port: "
    "ssh -L 8080:127.0.0.1:PORT SERVER, then http://localhost:8080"
)
WANTED = "credentials are wanted here: a token, a user with his password, or a login by POST /api/v1/login"
OTHER_PAGE = "this was asked for by a web page from elsewhere, which may not"
NO_HOST = "a request has one Host field with the server's name"
SLASH = "a path with %2F or %5C: no id has a slash in it"


class Guard:
    """Answers what may not be asked itself; lets the rest through, with `rport.principal` in its scope, and with
    `rport.stands`, which says whether somebody still may do all that he could."""

    def __init__(self, app: App, people: People, login: ApiLogin) -> None:
        self.app = app
        self._people = people
        self._login = login

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            try:
                scope["rport.principal"] = await self._admit(scope)
                scope["rport.stands"] = self._people.stands
                _check_body(scope["headers"])
            except _Refused as refused:
                return await refuse(send, refused.status, str(refused))
            except ServerError as error:
                return await refuse(send, error.status, str(error), error.kind, error.headers)
        return await self.app(scope, receive, send)

    async def _admit(self, scope: Scope) -> Principal | None:
        """None: a stranger, at a public place. Raises ServerError."""
        path, headers = scope["path"], list(scope["headers"])
        if not is_ours(path):
            raise _Refused(404, ELSEWHERE)
        if path in HEALTH and not values(headers, b"authorization"):
            return _local(scope) if not self._people.any_users and _is_local(scope, headers) else None
        if not origin.has_host(headers):
            raise _Refused(400, NO_HOST)
        if is_api(path) and any(mark in scope.get("raw_path", b"").lower() for mark in (b"%2f", b"%5c")):
            raise _Refused(400, SLASH)
        if not self._people.any_users:
            if not _is_local(scope, headers):
                raise _Refused(403, REFUSAL)
            if origin.from_elsewhere(headers, reached(scope)):
                raise _Refused(403, OTHER_PAGE)
            return _local(scope)
        return None if path in PUBLIC else await self._identify(scope, headers)

    async def _identify(self, scope: Scope, headers: Headers) -> Principal:
        credentials = shown(headers)
        if credentials is None:
            raise Unauthorized(WANTED)
        who = await self._login.authenticate(credentials, source(scope))
        own = not isinstance(credentials, Session) or scope["method"] in origin.SAFE
        if not own and not origin.from_own_page(headers, reached(scope)):
            raise NotAllowed(OTHER_PAGE)
        return who


class _Refused(Exception):
    """Before anybody's credentials matter."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def source(scope: Scope) -> str:
    """The address that a request came from, by the word of a trusted proxy where there is one."""
    found: str | None = scope.get("extensions", {}).get(EXTENSION, {}).get("source")
    return found or (scope["client"][0] if scope.get("client") else "unknown")


def reached(scope: Scope) -> origin.Reached:
    """By TLS: to this server, or to a trusted proxy in front of it."""
    trusted = bool(scope.get("extensions", {}).get(EXTENSION, {}).get("trusted"))
    schemes = values(scope["headers"], b"x-forwarded-proto") if trusted else []
    return origin.Reached(scope.get("scheme") == "https" or [s.lower() for s in schemes] == [b"https"], trusted)


def _is_local(scope: Scope, headers: Headers) -> bool:
    return origin.loopback_peer(scope.get("client")) and origin.from_here(headers)


def _local(scope: Scope) -> Principal:
    return Principal("local", "admin", "local", source=source(scope))


def _check_body(headers: Headers) -> None:
    """A length, a small one, and JSON; the route reads it. Raises _Refused."""
    if values(headers, b"transfer-encoding"):
        raise _Refused(411, "a request body needs a Content-Length")
    lengths = values(headers, b"content-length")
    if any(_too_long(value) for value in lengths):
        raise _Refused(413, f"a request body has at most {BODY_MAX} bytes")
    if any(int(value) for value in lengths) and not _is_json(headers):
        raise _Refused(415, "a request body is JSON: Content-Type: application/json")


def _too_long(value: bytes) -> bool:
    # The length first: int() refuses thousands of digits.
    return not value.isdigit() or len(value) > 20 or int(value) > BODY_MAX


def _is_json(headers: Headers) -> bool:
    kinds = values(headers, b"content-type")
    return len(kinds) == 1 and kinds[0].partition(b";")[0].strip().lower() == b"application/json"


async def refuse(send: Any, status: int, text: str, kind: str = "", more: dict[str, str] | None = None) -> None:
    """The connection ends with it: an unwanted body is not read, and a stranger holds nothing open."""
    body = json.dumps(problem(status, text, kind)).encode()
    headers = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
        *((name.lower().encode(), value.encode()) for name, value in (more or {}).items()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
