"""Errors as the API answers them: RFC 9457, with the text that the original's `error` has beside it."""

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from rport.errors import UsageError
from rport.facts import TAG
from rport.server.accounts import NAME
from rport.server.api.common import CLIENT_ID, SCHEME
from rport.server.api.fields import LINE, PROSE
from rport.server.errors import ServerError, TunnelExists
from rport.text import escape

MEDIA_TYPE = "application/problem+json"
QUOTED = 40  # characters of what was sent that an error quotes
_PATTERNS = {
    f"^{TAG}$": "a tag has A-Z a-z 0-9 . _ : / = @ + - alone",
    NAME: "a name has A-Z a-z 0-9 . _ @ + - alone, and begins with a letter or a digit",
    CLIENT_ID: "an id has A-Z a-z 0-9 . _ - alone, and begins with a letter or a digit",
    SCHEME: "a scheme has a-z 0-9 + . - alone, begins with a letter, and has at most 32 of them, such as ssh",
    LINE: "this is one line, without control characters",
    PROSE: "of control characters there are tabs and line ends alone",
}


class Problem(BaseModel):
    type: str = Field(description="of which kind it is", examples=["urn:rport:port-unavailable"])
    title: str = Field(examples=["Conflict"])
    status: int = Field(examples=[409])
    detail: str = Field(description="what was wrong, and what to do", examples=["port 2222 is the server's own"])
    error: str = Field(description="the same as detail", examples=["port 2222 is the server's own"])


def may_fail(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses=` of a route: its own errors, and those that every route may have."""
    own: dict[int | str, dict[str, Any]] = {
        status: {"model": Problem, "description": _WORDS[status]} for status in sorted({*statuses, 400, 401, 403})
    }
    return {**own, "default": {"model": Problem, "description": _WORDS[0]}}


_WORDS = {
    0: "Any other error",
    400: "Something in the request is missing or cannot be read",
    401: "No credentials, or wrong ones",
    403: "The role does not suffice, or a rule or the client itself says no",
    404: "There is none, or none that you may see",
    409: "It is in the way of something that is there",
    413: "The body is too long",
    422: "It can be read, and means nothing or what cannot be",
    429: "Too soon after logins that failed",
    503: "The database or the server cannot do it now; nothing was saved",
    507: "The disk is full; nothing was saved",
}


def answer(status: int, detail: str, kind: str = "", headers: Any = None) -> JSONResponse:
    """One problem. `kind` is the last part of its type."""
    return JSONResponse(body(status, detail, kind), status, headers=headers, media_type=MEDIA_TYPE)


def body(status: int, detail: str, kind: str = "") -> dict[str, Any]:
    """As answer() sends it."""
    title = HTTPStatus(status).phrase
    detail = escape(detail)  # it may quote half a surrogate pair, which is no JSON
    kind = kind or title.lower().replace(" ", "-")
    return {"type": f"urn:rport:{kind}", "title": title, "status": status, "detail": detail, "error": detail}


def add_handlers(app: FastAPI, methods: Callable[[str], list[str]]) -> None:
    """What is raised in a route becomes its problem. `methods` of a path are those that a 405 names."""

    @app.exception_handler(ServerError)
    async def on_server_error(request: Request, error: ServerError) -> Response:
        if isinstance(error, TunnelExists):
            return Response(status_code=204)
        return answer(error.status, str(error), error.kind, error.headers)

    @app.exception_handler(UsageError)
    async def on_usage(request: Request, error: UsageError) -> Response:
        return answer(400, str(error))

    @app.exception_handler(RequestValidationError)
    async def on_invalid(request: Request, error: RequestValidationError) -> Response:
        return answer(400, "; ".join(map(_fault, error.errors())))

    @app.exception_handler(HTTPException)
    async def on_http(request: Request, error: HTTPException) -> Response:
        headers = dict(error.headers or {})
        if error.status_code == 405 and (allowed := methods(request.url.path)):
            headers["Allow"] = ", ".join(allowed)
        return answer(error.status_code, str(error.detail), headers=headers)

    @app.exception_handler(Exception)
    async def on_bug(request: Request, error: Exception) -> Response:
        return answer(500, "internal error; the server's log has more")  # never the text itself


def _fault(item: dict[str, Any]) -> str:
    """Where, and what: pydantic's text, but for what nobody could read."""
    loc, context = item["loc"], item.get("ctx") or {}
    if item["type"] == "json_invalid":
        return f"body: this is no JSON: {context.get('error')} at character {int(loc[-1]) + 1}"
    what = item["msg"]
    if item["type"] == "string_pattern_mismatch" and context.get("pattern") in _PATTERNS:
        what = f"{str(item['input'])[:QUOTED]!r}: {_PATTERNS[context['pattern']]}"
    return f"{_where(loc)}: {what}"


def _where(loc: Sequence[int | str]) -> str:
    """A field, or a member of a list, as tags[1]; what stands before it is body, query and the like."""
    named = loc[1:] if len(loc) > 1 and not isinstance(loc[1], int) else loc
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in named).lstrip(".")
