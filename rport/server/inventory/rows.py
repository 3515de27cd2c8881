"""Clients as rows of the store, and back. Pure."""

from collections.abc import Mapping
from typing import Any

from rport.facts import Facts
from rport.server.acl import Acl
from rport.server.inventory.client import Client


def row_of(client: Client) -> dict[str, Any]:
    """All of it."""
    return {
        "id": client.id,
        "owner": client.owner,
        "name": client.name,
        "named": client.named,
        "tags": list(client.tags),
        "note": client.note,
        "listen": None if client.listen is None else list(client.listen.texts),
        "created": client.created,
        **seen(client),
    }


def seen(client: Client) -> dict[str, Any]:
    """What its sessions change."""
    return {
        "owner": client.owner,
        "facts": client.facts._asdict(),
        "version": client.version,
        "address": client.address,
        "first_seen": client.first_seen,
        "last_seen": client.last_seen,
        "cloned": client.cloned,
    }


def client_of(row: Mapping[str, Any]) -> Client:
    """A row that was saved."""
    return Client(
        id=row["id"],
        owner=row["owner"],
        created=row["created"],
        saved=True,
        name=row["name"],
        named=row["named"],
        tags=tuple(row["tags"]),
        note=row["note"],
        listen=None if row["listen"] is None else Acl.parse(row["listen"]),
        facts=facts_of(row["facts"]),
        version=row["version"],
        address=row["address"],
        first_seen=row["first_seen"],
        last_seen=row["last_seen"],
        cloned=row["cloned"],
    )


def facts_of(stored: Mapping[str, Any]) -> Facts:
    """Those that this version knows."""
    known: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in stored.items()
        if name in Facts._fields
    }
    return Facts(**known)
