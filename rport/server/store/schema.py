"""The tables. Times are seconds since 1970 in UTC; secrets are kept as hashes alone.

A change here needs a migration of the same name in migrations/versions: a test compares the two.
"""

import sqlalchemy as sa

REVISION = "0001"  # of migrations/versions, the newest

NAMING = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}
metadata = sa.MetaData(naming_convention=NAMING)

_Time = sa.Float(53)  # a double on both
# SQLite numbers a row by itself only where its key is INTEGER; and with AUTOINCREMENT it uses no number twice.
_Number = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def _numbered(name: str, *columns: sa.Column) -> sa.Table:  # type: ignore[type-arg]
    number: sa.Column[int] = sa.Column("id", _Number, primary_key=True, autoincrement=True)
    return sa.Table(name, metadata, number, *columns, sqlite_autoincrement=True)


# Facts about the database itself: `changes` is a number that everybody who writes raises; `clients_closed` says that
# there were client credentials once, so that a server without any other login stays closed when the last one goes.
facts = sa.Table(
    "facts",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

# --- who may use the API ---------------------------------------------------------------------------------------------

users = sa.Table(
    "users",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("secret", sa.String(128), nullable=False),  # Argon2id
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("tags", sa.JSON, nullable=True),  # sees clients that have one of these alone; null = all
    sa.Column("totp", sa.String(64), nullable=True),  # base32; null = not asked for
    sa.Column("totp_used", sa.BigInteger, nullable=False, default=0),  # the last step that was used: none counts twice
    sa.Column("created", _Time, nullable=False),
)

tokens = sa.Table(
    "tokens",
    metadata,
    sa.Column("id", sa.String(16), primary_key=True),
    sa.Column("hash", sa.String(64), nullable=False, unique=True),  # BLAKE2b of the token, in hex
    sa.Column("user", sa.String(64), sa.ForeignKey("users.name", ondelete="CASCADE"), nullable=False),
    sa.Column("note", sa.String(200), nullable=False),
    sa.Column("role", sa.String(16), nullable=False),  # not above the user's
    sa.Column("tags", sa.JSON, nullable=True),
    sa.Column("created", _Time, nullable=False),
    sa.Column("expires", _Time, nullable=True),
    sa.Column("used", _Time, nullable=True),
    sa.Column("used_from", sa.String(64), nullable=True),
)

cookies = sa.Table(
    "cookies",
    metadata,
    sa.Column("hash", sa.String(64), primary_key=True),
    sa.Column("user", sa.String(64), sa.ForeignKey("users.name", ondelete="CASCADE"), nullable=False),
    sa.Column("created", _Time, nullable=False),
    sa.Column("expires", _Time, nullable=False),
)

# --- the machines ----------------------------------------------------------------------------------------------------

clients = sa.Table(
    "clients",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    # By what it comes in: "managed" = credentials below; else "user:NAME", "key:HEX" or "" where nobody has a login.
    sa.Column("owner", sa.String(160), nullable=False),
    sa.Column("name", sa.String(64), nullable=False),
    sa.Column("named", sa.Boolean, nullable=False),  # through the API: what the client calls itself counts no more
    sa.Column("tags", sa.JSON, nullable=False),  # given through the API
    sa.Column("note", sa.String(1000), nullable=False),
    sa.Column("listen", sa.JSON, nullable=True),  # rules as in an authfile; null = anywhere
    sa.Column("facts", sa.JSON, nullable=False),  # what the client told last: its own name and tags, os, ...
    sa.Column("version", sa.String(64), nullable=False),
    sa.Column("address", sa.String(64), nullable=False),
    sa.Column("created", _Time, nullable=False),
    sa.Column("first_seen", _Time, nullable=True),
    sa.Column("last_seen", _Time, nullable=True),
    sa.Column("cloned", _Time, nullable=True),  # when two machines were last seen to alternate
)

credentials = sa.Table(
    "credentials",
    metadata,
    sa.Column("id", sa.String(16), primary_key=True),
    sa.Column("client", sa.String(64), sa.ForeignKey("clients.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("kind", sa.String(8), nullable=False),  # "secret" or "key"
    sa.Column("value", sa.String(64), nullable=False, unique=True),  # BLAKE2b of the secret; or the public key; in hex
    sa.Column("created", _Time, nullable=False),
)

enrolments = sa.Table(
    "enrolments",
    metadata,
    sa.Column("id", sa.String(16), primary_key=True),
    sa.Column("hash", sa.String(64), nullable=False, unique=True),
    sa.Column("note", sa.String(200), nullable=False),
    sa.Column("tags", sa.JSON, nullable=False),
    sa.Column("uses", sa.Integer, nullable=False),  # allowed in all
    sa.Column("used", sa.Integer, nullable=False),
    sa.Column("created", _Time, nullable=False),
    sa.Column("created_by", sa.String(64), nullable=False),
    sa.Column("expires", _Time, nullable=False),
)

connections = _numbered(
    "connections",
    sa.Column("client", sa.String(64), sa.ForeignKey("clients.id", ondelete="CASCADE"), nullable=False),
    sa.Column("session", sa.String(64), nullable=False, unique=True),
    sa.Column("address", sa.String(64), nullable=False),
    sa.Column("version", sa.String(64), nullable=False),
    sa.Column("since", _Time, nullable=False),
    sa.Column("until", _Time, nullable=True),  # null = it is there, or the server was killed
    sa.Column("reason", sa.String(300), nullable=True),
)
sa.Index("ix_connections_client_since", connections.c.client, connections.c.since)

# --- tunnels that come back ------------------------------------------------------------------------------------------

tunnels = sa.Table(
    "tunnels",
    metadata,
    sa.Column("id", sa.String(16), primary_key=True),
    sa.Column("client", sa.String(64), sa.ForeignKey("clients.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("lhost", sa.String(64), nullable=False),
    sa.Column("lport", sa.Integer, nullable=False),  # the real one: it stays reserved
    sa.Column("target", sa.String(300), nullable=False),  # as the API shows it
    sa.Column("properties", sa.JSON, nullable=False),  # scheme, sources, limits, note
    sa.Column("expires", _Time, nullable=True),
    sa.Column("created", _Time, nullable=False),
    sa.Column("created_by", sa.String(64), nullable=False),
)

# --- what happened ---------------------------------------------------------------------------------------------------

audit = _numbered(
    "audit",
    sa.Column("at", _Time, nullable=False, index=True),
    sa.Column("actor", sa.String(160), nullable=False),  # "user me", "token ab12 of me", "local", "client ID", "rportd"
    sa.Column("source", sa.String(64), nullable=False),  # address
    sa.Column("action", sa.String(40), nullable=False),  # "tunnel.open"
    sa.Column("subject", sa.String(200), nullable=False),  # "client web-1 tunnel 3f..": on what
    sa.Column("client", sa.String(64), nullable=True, index=True),
    sa.Column("result", sa.String(300), nullable=False),  # "ok", or why not
    sa.Column("details", sa.JSON, nullable=False),
)

events = _numbered(
    "events",
    sa.Column("at", _Time, nullable=False, index=True),
    sa.Column("type", sa.String(40), nullable=False),
    sa.Column("client", sa.String(64), nullable=True),
    sa.Column("data", sa.JSON, nullable=False),
)

webhooks = sa.Table(
    "webhooks",
    metadata,
    sa.Column("id", sa.String(16), primary_key=True),
    sa.Column("url", sa.String(2000), nullable=False),
    # In clear, since what is sent is signed with it; never shown.
    sa.Column("secret", sa.String(128), nullable=False),
    sa.Column("types", sa.JSON, nullable=True),  # of events; null = all
    sa.Column("note", sa.String(200), nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("created", _Time, nullable=False),
)

deliveries = _numbered(
    "deliveries",
    sa.Column("webhook", sa.String(16), sa.ForeignKey("webhooks.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("event", sa.BigInteger, nullable=False),
    sa.Column("type", sa.String(40), nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("due", _Time, nullable=True, index=True),  # null = no more tries: dead
    sa.Column("status", sa.Integer, nullable=True),  # of the last answer
    sa.Column("error", sa.String(300), nullable=True),
    sa.Column("created", _Time, nullable=False),  # or when somebody wanted it tried again
)
