"""By what single clients come in."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from rport.errors import UsageError
from rport.keys import parse_public, public_text
from rport.server.api.access import Who, needs
from rport.server.api.common import ClientId, Closed
from rport.server.api.fields import Line
from rport.server.api.paging import Cursor, Key, Limit, sorted_part
from rport.server.api.problems import may_fail
from rport.server.credentials import Credential
from rport.server.errors import Unprocessable
from rport.server.plane import Plane
from rport.server.times import moment

CredentialId = Annotated[str, Path(description="the credential's id", max_length=64, examples=["3f0c9a71be52"])]

_PUBLIC = f"rport-pub-{'0f' * 32}"
PublicKey = Annotated[Line, Field(max_length=100)]


class CredentialKind(StrEnum):
    SECRET = "secret"
    KEY = "key"


class NewCredential(Closed):
    """`public` belongs to a key."""

    kind: CredentialKind = Field(
        description="`secret`: a login, shown once; `key`: the client's own key pair, of which the server has the "
        "public half",
        examples=["secret"],
    )
    public: PublicKey | None = Field(default=None, description="of a key, as `rport key` prints it", examples=[_PUBLIC])


class Rotation(Closed):
    """What comes in the place of the old one."""

    public: PublicKey | None = Field(
        default=None, description="the new one of a key; of a secret, leave it out", examples=[_PUBLIC]
    )


class CredentialView(BaseModel):
    """By what a client comes in."""

    id: str = Field(examples=["3f0c9a71be52"])
    client_id: str = Field(examples=["web-1"])
    kind: CredentialKind = Field(examples=["secret"])
    public: str | None = Field(description="of a key", examples=[None])
    created_at: datetime = Field(examples=["2026-01-31T12:00:00Z"])


class CredentialMade(CredentialView):
    """A credential, with what is told but once."""

    secret: str | None = Field(description="shown this once", examples=[f"rpc_{'0f' * 20}1a2b3c4d"])
    login: str | None = Field(
        description="what the client is given as --auth, or better as RPORT_AUTH", examples=[f"web-1:rpc_{'0f' * 24}"]
    )


class CredentialPage(BaseModel):
    """Some of a client's."""

    items: list[CredentialView]
    next: str | None = Field(description="cursor of the next page; null = this is the last one", examples=[None])


def _view(credential: Credential) -> CredentialView:
    return CredentialView(**_fields(credential))


def _made(credential: Credential, secret: str) -> CredentialMade:
    login = f"{credential.client}:{secret}" if secret else None
    return CredentialMade(secret=secret or None, login=login, **_fields(credential))


def _fields(credential: Credential) -> dict[str, Any]:
    public = public_text(bytes.fromhex(credential.value)) if credential.kind == "key" else None
    return {
        "id": credential.id,
        "client_id": credential.client,
        "kind": CredentialKind(credential.kind),
        "public": public,
        "created_at": moment(credential.created),
    }


def _public(kind: str, text: str | None) -> bytes | None:
    """Raises Unprocessable."""
    if kind == "secret":
        if text is not None:
            raise Unprocessable("public: a secret is made by the server; leave it out, or give the kind key")
        return None
    try:
        return parse_public(text)
    except UsageError as error:
        raise Unprocessable(f"public: {error}") from None


def _oldest_first(credential: Credential) -> Key:
    return [credential.created, credential.id]


def router(plane: Plane) -> APIRouter:
    routes = APIRouter(tags=["credentials"], prefix="/clients/{client_id}/credentials")

    @routes.get("", operation_id="list_credentials", responses=may_fail(404, 422), **needs("admin"))
    async def list_credentials(
        who: Who, client_id: ClientId, limit: Limit = 100, cursor: Cursor = None
    ) -> CredentialPage:
        """A client's credentials, the oldest first, without the secrets, which the server does not know."""
        client = plane.inventory.visible(who, client_id)
        found, after = sorted_part(plane.credentials.of(client), _oldest_first, limit, cursor)
        return CredentialPage(items=[_view(credential) for credential in found], next=after)

    @routes.post(
        "",
        operation_id="create_credential",
        status_code=201,
        responses=may_fail(404, 409, 422, 503, 507),
        **needs("admin"),
    )
    async def create_credential(who: Who, client_id: ClientId, body: NewCredential) -> CredentialMade:
        """Make one. The first one ever closes a server that had no login for all who have none."""
        client = plane.inventory.visible(who, client_id)
        return _made(*await plane.changes.add_credential(who, client, _public(body.kind, body.public)))

    @routes.post(
        "/{credential_id}/rotate",
        operation_id="rotate_credential",
        responses=may_fail(404, 409, 422, 503, 507),
        **needs("admin"),
    )
    async def rotate_credential(
        who: Who, client_id: ClientId, credential_id: CredentialId, body: Rotation | None = None
    ) -> CredentialMade:
        """Another secret, or key, in its place: the old one counts no more, and a session by it ends."""
        client = plane.inventory.visible(who, client_id)
        old = plane.credentials.require(client, credential_id)
        public = _public(old.kind, body.public if body is not None else None)
        return _made(*await plane.changes.rotate(who, client, old, public))

    @routes.delete(
        "/{credential_id}",
        operation_id="revoke_credential",
        status_code=204,
        responses=may_fail(404, 503, 507),
        **needs("admin"),
    )
    async def revoke_credential(who: Who, client_id: ClientId, credential_id: CredentialId) -> None:
        """It counts no more, and a session by it ends."""
        client = plane.inventory.visible(who, client_id)
        await plane.changes.revoke(who, client, plane.credentials.require(client, credential_id))

    return routes
