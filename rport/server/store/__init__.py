"""What outlives the process: one database, SQLite in the state directory or PostgreSQL.

Nothing that a stream or a session's set-up waits for goes through here: what they ask is held in memory, and what they
tell is written behind them.
"""

from rport.server.store.database import Store
from rport.server.store.engine import StoreFull, StoreUnavailable

__all__ = ["Store", "StoreFull", "StoreUnavailable"]
