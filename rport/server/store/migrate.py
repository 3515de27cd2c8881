"""Bringing a database's tables to what this version wants. Nothing is ever taken back: go back with a backup.

An empty database gets all tables at once, and alembic is loaded only for one that an older version has made: it would
cost each first start a sixth of a second.
"""

from pathlib import Path

import sqlalchemy as sa

from rport.errors import UsageError
from rport.server.store.schema import REVISION, metadata

# alembic's own table. It is not of the schema, which alembic compares with what the migrations make.
_VERSION = sa.Table(
    "alembic_version",
    sa.MetaData(),
    sa.Column("version_num", sa.String(32), nullable=False),
    sa.PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)


def revision(connection: sa.Connection) -> str | None:
    """The one that the database is at; None = it has no tables yet."""
    if not sa.inspect(connection).has_table(_VERSION.name):
        return None
    found: str | None = connection.execute(sa.select(_VERSION.c.version_num)).scalar()
    return found


def migrate(connection: sa.Connection) -> str | None:
    """To REVISION; from which one. Raises UsageError for a database that a newer version has made."""
    before = revision(connection)
    if before is None:
        _create(connection)
    elif before != REVISION:
        run_migrations(connection, before)
    return before


def _create(connection: sa.Connection) -> None:
    """What all migrations together make; a table that is there already is an error, as it is to them."""
    metadata.create_all(connection, checkfirst=False)
    _VERSION.create(connection, checkfirst=True)  # an older version may have begun and left it empty
    connection.execute(sa.insert(_VERSION).values(version_num=REVISION))


def run_migrations(connection: sa.Connection, before: str | None) -> None:
    """Those behind `before`. Raises UsageError."""
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if before is not None and before not in known:
        raise UsageError(f"the database is at revision {before}, which a newer rportd has made; update this one")
    command.upgrade(config, "head")
