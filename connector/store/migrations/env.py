"""Alembic's entry: runs the migrations on the connection of `connector.store.migrate`."""

from alembic import context

from connector.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transaction_per_migration=True,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
