"""Credentials that the API gives to single clients, in memory: a key, or a login whose name is the client's id.

They admit by themselves, beside the server's files. Once there was one, a server without such files lets in nobody
else, also when the last one was revoked.
"""

from collections.abc import Iterable
from typing import NamedTuple

from rport.server import opaque
from rport.server.acl import Acl
from rport.server.errors import ServerError
from rport.server.inventory import Client, Inventory
from rport.server.principal import Principal

SECRET = "rpc"  # what such secrets begin with
KINDS = ("secret", "key")
CREDENTIALS_MAX = 16  # of one client: enough to change them one behind the other


class CredentialNotFound(ServerError):
    """The client has none of that id."""

    status = 404
    kind = "no-such-credential"


class CredentialExists(ServerError):
    """The key is another's already, or there are too many."""

    status = 409
    kind = "credential-exists"


class Credential(NamedTuple):
    """`value`: the secret's hash, or the public key; in hex."""

    id: str
    client: str
    kind: str
    value: str
    created: float


class Managed(NamedTuple):
    """By which credential a session came in, and where its client may have the server listen."""

    client: str
    credential: Credential
    listen: Acl


class Credentials:
    """Those of all clients."""

    def __init__(self, inventory: Inventory) -> None:
        self.closed = False  # there was one
        self._inventory = inventory
        self._by_value: dict[str, Credential] = {}
        self._by_client: dict[str, dict[str, Credential]] = {}

    # --- what admission asks -------------------------------------------------------------------------------------

    def find(self, user: str, password: str, public: bytes | None) -> Managed | None:
        """The credential that is shown, if one is: the key first, since it is proved already."""
        found = self._by_value.get(public.hex()) if public is not None else None
        if found is None and opaque.well_formed(password, SECRET):
            found = self._by_value.get(opaque.digest(password))
            if found is not None and found.client != user:
                found = None
        return self._managed(found) if found is not None else None

    def renew(self, old: Managed) -> Managed | None:
        """As it is now; None = it was revoked, or is another."""
        return self._managed(old.credential) if self.get(old.client, old.credential.id) == old.credential else None

    def _managed(self, credential: Credential) -> Managed | None:
        client = self._inventory.get(credential.client)
        return Managed(client.id, credential, client.acl) if client is not None else None

    # --- what the API asks ---------------------------------------------------------------------------------------

    def of(self, client: Client) -> list[Credential]:
        """In the order in which they were made."""
        return [*self._by_client.get(client.id, {}).values()]

    def get(self, client: str, id: str) -> Credential | None:
        return self._by_client.get(client, {}).get(id)

    def require(self, client: Client, id: str) -> Credential:
        """Raises CredentialNotFound."""
        found = self.get(client.id, id)
        if found is None:
            raise CredentialNotFound(f"{client} has no credential {id[:32]!r}")
        return found

    def of_key(self, public: bytes) -> Credential | None:
        return self._by_value.get(public.hex())

    def check_room(self, client: Client, value: str, who: Principal) -> None:
        """Whether one more of that value can be. Raises CredentialExists."""
        self.check_key(client, value, who)
        if len(self.of(client)) >= CREDENTIALS_MAX:
            raise CredentialExists(f"{client} has {CREDENTIALS_MAX} credentials already: revoke one first")

    def check_key(self, client: Client, value: str, who: Principal) -> None:
        """Whether nobody else comes in by that key. Raises CredentialExists.

        A machine that has one of its own accord may be made another client by it, but not by somebody who does not see
        that machine: it would be his.
        """
        taken = self._by_value.get(value)
        other = self._inventory.get(taken.client) if taken is not None else None
        if taken is None and who.tags is not None:
            owner = f"key:{value}"
            hidden = (one for one in self._inventory if one.owner == owner and not who.sees(one.tags))
            other = next(hidden, None)
        if taken is not None or (other is not None and other is not client):
            whose = str(other) if other is not None and who.sees(other.tags) else "another client"
            raise CredentialExists(f"that key is {whose}'s already: a key belongs to one machine")

    # --- changes, behind the store's ------------------------------------------------------------------------------

    def load(self, credentials: Iterable[Credential], closed: bool) -> None:
        for credential in credentials:
            self.put(credential)
        self.closed = self.closed or closed

    def put(self, credential: Credential) -> None:
        """A new one, or another value for one that is there."""
        self.closed = True
        self.drop(credential)
        self._by_value[credential.value] = credential
        self._by_client.setdefault(credential.client, {})[credential.id] = credential

    def drop(self, credential: Credential) -> None:
        """Revoked."""
        own = self._by_client.get(credential.client, {})
        old = own.get(credential.id)
        if old is not None:
            self._by_value.pop(old.value, None)
            del own[credential.id]
        if not own:
            self._by_client.pop(credential.client, None)

    def drop_all(self, client: str) -> None:
        for credential in [*self._by_client.get(client, {}).values()]:
            self.drop(credential)
