"""Who asks something of the API, and what he may. Pure."""

from collections.abc import Collection
from typing import NamedTuple

ROLES = ("viewer", "operator", "admin")  # each may do what those before it may


class Principal(NamedTuple):
    """`kind`: "user", "token", or "local" where nobody has a login yet, "client", or "" for the
    server itself. `tags`: sees clients with one of them alone."""

    name: str
    role: str
    kind: str = "user"
    tags: frozenset[str] | None = None
    token: str = ""  # the id of the token that was shown
    source: str = ""  # the address that the request came from
    proof: str = ""  # by what he came in, see People.stands()

    def at_least(self, role: str) -> bool:
        return ROLES.index(self.role) >= ROLES.index(role)

    def sees(self, tags: Collection[str]) -> bool:
        """Whether a client with these tags is his."""
        return self.tags is None or not self.tags.isdisjoint(tags)

    def __str__(self) -> str:
        """For the audit log."""
        return f"token {self.token} of {self.name}" if self.token else f"{self.kind} {self.name}".strip()
