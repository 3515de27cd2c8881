"""What a route needs of whoever asks: stated once, shown in the document, held against each request."""

from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.dependencies.models import Dependant

from rport.errors import UsageError
from rport.server.errors import RoleTooSmall, Unauthorized
from rport.server.people import OVER
from rport.server.principal import Principal
from rport.text import quote


def principal(request: Request) -> Principal:
    """Whom the guard has let in."""
    found: Principal = request.scope["rport.principal"]
    return found


Who = Annotated[Principal, Depends(principal)]


def needs(role: str) -> dict[str, Any]:
    """Keywords of a route that `role` and those above it may ask."""

    def check(who: Who, request: Request) -> None:
        if not request.scope["rport.stands"](who):  # a body may come long behind its head, which was looked at then
            raise Unauthorized(OVER)
        if not who.at_least(role):
            raise RoleTooSmall(f"this takes the role {role}, and {who} has {who.role}")
        _known_alone(request)

    return {"dependencies": [Depends(check)], "openapi_extra": {"x-role": role}}


def _known_alone(request: Request) -> None:
    """Raises UsageError for a query parameter that the route does not have: a filter with a wrong name shows all."""
    if not request.query_params:
        return
    known = sorted(set(_query_parameters(request.scope["route"].dependant)))
    for name in request.query_params:
        if name not in known:
            raise UsageError(f"{quote(name)} is no query parameter here; there are: {', '.join(known) or 'none'}")


def _query_parameters(dependant: Dependant) -> Iterator[str]:
    yield from (field.alias for field in dependant.query_params)
    for part in dependant.dependencies:
        yield from _query_parameters(part)
