"""A management plane without a server: a database in memory, and nobody in it."""

from types import SimpleNamespace
from typing import Any

from rport.server.api_login import ApiLogin
from rport.server.journal import Journal
from rport.server.metrics import Metrics
from rport.server.people import People
from rport.server.store import Store
from rport.server.store.engine import url_of


def bare_plane(service: Any, db: str = "memory", **more: Any) -> Any:
    """What routes are made with. Not started."""
    store = Store(url_of(db, ""))
    journal = Journal(store)
    people = People(store, journal)
    login = ApiLogin(people, journal)
    plane = SimpleNamespace(service=service, store=store, journal=journal, people=people, login=login, **more)
    plane.metrics = Metrics(plane)  # type: ignore[arg-type]
    return plane
