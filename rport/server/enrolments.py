"""One-time codes with which a fresh machine becomes a known one: `rport enroll CODE`."""

import asyncio
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from rport.enrolment import make_code
from rport.errors import Refused
from rport.facts import clean
from rport.server import opaque
from rport.server.door.gate import source_of
from rport.server.errors import ServerError
from rport.server.hello import Enrolment as Newcomer
from rport.server.inventory import Client
from rport.server.inventory.changes import Changes, made, managed
from rport.server.inventory.rows import row_of
from rport.server.principal import Principal
from rport.server.store import Store, schema
from rport.throttle import KEPT_ALL_RATE, KEPT_RATE, Throttle

ENROLMENTS_MAX = 10_000  # codes that are kept, used up or not; those that have expired go when others are made
EXPIRED_KEPT = 7 * 86400.0  # seconds that a code is still listed behind its end

_table = schema.enrolments


class EnrolmentNotFound(ServerError):
    """There is none of that id."""

    status = 404
    kind = "no-such-enrolment"


class TooManyEnrolments(ServerError):
    """The table is full."""

    status = 409
    kind = "too-many-enrolments"


class CodeSpent(ServerError):
    """The code is right, and counts no more."""

    status = 403
    kind = "code-spent"


@dataclass(slots=True)
class Enrolment:
    """Of a code; what it is made of is told once. Times in seconds since 1970."""

    id: str
    hash: str
    note: str
    tags: tuple[str, ...]
    uses: int
    used: int
    created: float
    created_by: str
    expires: float

    def is_for(self, who: Principal) -> bool:
        """Whose machines it makes, or who had it made."""
        return who.sees(self.tags) or self.created_by == who.name[:64]

    def check(self, now: float) -> None:
        """Whether one more machine may come in by it. Raises CodeSpent."""
        if now >= self.expires:
            raise CodeSpent("the enrolment code has expired: have a new one made")
        if self.used >= self.uses:
            times = "once" if self.uses == 1 else f"{self.uses} times"
            raise CodeSpent(f"the enrolment code was used {times}, as often as it may be: have a new one made")


class Enrolments:
    """All codes, by id and by the hash of their secret."""

    def __init__(self, store: Store, changes: Changes, fingerprint: str) -> None:
        self.store = store
        self.changes = changes
        self.fingerprint = fingerprint.replace(":", "")
        self._throttle = Throttle(time.monotonic(), KEPT_RATE, KEPT_ALL_RATE)  # of tries that the audit log has
        self._working: set[asyncio.Task[Client]] = set()
        self._by_id: dict[str, Enrolment] = {}
        self._by_hash: dict[str, Enrolment] = {}

    async def load(self) -> None:
        """Raises StoreUnavailable."""
        async with self.store.read() as db:
            for row in (await db.execute(sa.select(_table).order_by(_table.c.created))).mappings():
                self._put(Enrolment(**{**row, "tags": tuple(row["tags"])}))

    def _put(self, enrolment: Enrolment) -> None:
        self._by_id[enrolment.id] = self._by_hash[enrolment.hash] = enrolment

    def _drop(self, enrolment: Enrolment) -> None:
        self._by_id.pop(enrolment.id, None)
        self._by_hash.pop(enrolment.hash, None)

    def seen_by(self, who: Principal) -> Iterator[Enrolment]:
        """Those that he sees."""
        return (one for one in self._by_id.values() if one.is_for(who))

    # --- what administrators do ----------------------------------------------------------------------------------

    async def create(
        self, who: Principal, server: str, count: int, uses: int, expires_in: float, note: str, tags: Iterable[str]
    ) -> list[tuple[Enrolment, str]]:
        """`count` codes alike, each with its text, which nobody can be told again. Raises TooManyEnrolments."""
        now = time.time()
        new: list[tuple[Enrolment, str]] = []
        for _ in range(count):
            secret = opaque.new_secret("c")
            made = Enrolment(
                opaque.new_id(), opaque.digest(secret), note, tuple(tags), uses, 0, now, who.name[:64], now + expires_in
            )
            new.append((made, make_code(server, self.fingerprint, secret)))
        subject = f"enrolment {new[0][0].id}" if count == 1 else f"{count} enrolments"
        details: dict[str, Any] = {"tags": list(tags), "uses": uses, "note": note}
        async with self.changes.journal.deed(who, "enrolment.create", subject, **details) as deed:
            old = [one for one in self._by_id.values() if one.expires < now - EXPIRED_KEPT]
            if len(self._by_id) - len(old) + count > ENROLMENTS_MAX:
                raise TooManyEnrolments(f"there are {len(self._by_id)} enrolment codes: revoke some first")
            if old:
                await deed.db.execute(sa.delete(_table).where(_table.c.expires < now - EXPIRED_KEPT))
            await deed.db.execute(sa.insert(_table), [_row(made) for made, _ in new])
            deed.then(lambda: self._created([made for made, _ in new], old))
        return new

    def _created(self, new: list[Enrolment], old: list[Enrolment]) -> None:
        for enrolment in old:
            self._drop(enrolment)
        for enrolment in new:
            self._put(enrolment)

    async def revoke(self, who: Principal, id: str) -> None:
        """Those that came in by it stay. Raises EnrolmentNotFound."""
        async with self.changes.journal.deed(who, "enrolment.revoke", f"enrolment {id[:32]}") as deed:
            enrolment = self._by_id.get(id)
            if enrolment is None or not enrolment.is_for(who):
                raise EnrolmentNotFound(f"no enrolment {id[:32]!r}; GET /api/v1/enrolments lists them")
            await deed.db.execute(sa.delete(_table).where(_table.c.id == id))
            deed.then(lambda: self._drop(enrolment))

    # --- what a machine does -------------------------------------------------------------------------------------

    async def __call__(self, newcomer: Newcomer) -> tuple[str, str]:
        """Id and name of the client that this key is from now on, or was before. Raises Refused."""
        # In a task of its own: a session that ends meanwhile leaves nothing half done.
        work = asyncio.get_running_loop().create_task(self._welcome(newcomer))
        self._working.add(work)
        work.add_done_callback(self._working.discard)
        client = await asyncio.shield(work)
        return client.id, client.shown_name

    async def _welcome(self, newcomer: Newcomer) -> Client:
        code = self._by_hash.get(opaque.digest(newcomer.secret))
        if code is None:
            raise Refused("auth", "enrolment failed: the server does not know this code; have a new one made")
        before = self._known(newcomer.public_key)
        if before is not None:
            return before
        client = self._new_client(newcomer, code)
        try:
            self._check_unheard(client, code, newcomer)
            await self._enrol(client, code, newcomer)
        except ServerError as error:
            before = self._known(newcomer.public_key)  # two of its tries at once
            if before is not None:
                return before
            raise Refused("auth" if error.status in (403, 409) else "busy", f"enrolment failed: {error}") from None
        return client

    def _check_unheard(self, client: Client, code: Enrolment, newcomer: Newcomer) -> None:
        """What is refused is in the audit log, but no more often than strangers may. Raises ServerError."""
        if self._throttle.admits(source_of(newcomer.address), time.monotonic()):
            return
        code.check(time.time())
        self.changes.check_free(client.id)

    def _known(self, public: bytes) -> Client | None:
        credential = self.changes.credentials.of_key(public)
        return self.changes.inventory.get(credential.client) if credential is not None else None

    def _new_client(self, newcomer: Newcomer, code: Enrolment) -> Client:
        id = newcomer.facts.id or opaque.new_id()
        told = {"facts": newcomer.facts, "version": clean(newcomer.version), "address": newcomer.address}
        return managed(id, tags=code.tags, **told)

    async def _enrol(self, client: Client, code: Enrolment, newcomer: Newcomer) -> None:
        changes, public, name = self.changes, newcomer.public_key, client.shown_name
        who = Principal(client.id, "viewer", "client", source=newcomer.address)
        subject = f"{client} enrolment {code.id}"
        async with changes.journal.deed(who, "client.enroll", subject, client.id, name=name) as deed:
            if self._by_id.get(code.id) is not code:
                raise CodeSpent("the enrolment code was revoked")
            code.check(time.time())
            changes.check_free(client.id)
            credential = made(client.id, public.hex())
            changes.credentials.check_room(client, credential.value, who)
            used = sa.update(_table).where(_table.c.id == code.id).values(used=_table.c.used + 1)
            await deed.db.execute(used)
            await deed.db.execute(sa.insert(schema.clients), [row_of(client)])
            deed.then(lambda: self._enrolled(client, code))
            await changes.insert(deed, credential)
            deed.tell("client.enrolled", client.id, name=name, enrolment=code.id)

    def _enrolled(self, client: Client, code: Enrolment) -> None:
        code.used += 1
        client.saved = True
        self.changes.inventory.put(client)


def _row(enrolment: Enrolment) -> dict[str, Any]:
    return {name: getattr(enrolment, name) for name in Enrolment.__slots__} | {"tags": list(enrolment.tags)}
