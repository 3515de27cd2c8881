"""What alembic runs: the migrations on the connection that run_migrations() gives, in its transaction."""

from alembic import context

from rport.server.store.schema import metadata

connection = context.config.attributes.get("connection")
context.configure(connection=connection, target_metadata=metadata, render_as_batch=True, compare_type=True)
with context.begin_transaction():
    context.run_migrations()
