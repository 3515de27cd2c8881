"""What a route needs of whoever asks: stated once, shown in the document, held against each request."""

from typing import Annotated, Any

from fastapi import Depends, Request

from rport.server.errors import RoleTooSmall
from rport.server.principal import Principal


def principal(request: Request) -> Principal:
    """Whom the guard has let in."""
    found: Principal = request.scope["rport.principal"]
    return found


Who = Annotated[Principal, Depends(principal)]


def needs(role: str) -> dict[str, Any]:
    """Keywords of a route that `role` and those above it may ask."""

    def check(who: Who) -> None:
        if not who.at_least(role):
            raise RoleTooSmall(f"this takes the role {role}, and {who} has {who.role}")

    return {"dependencies": [Depends(check)], "openapi_extra": {"x-role": role}}
