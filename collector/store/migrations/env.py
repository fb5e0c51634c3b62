"""Alembic's entry: it is handed an open connection and needs no settings file."""

from alembic import context

from collector.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=False,  # the caller holds one transaction around all of it
    render_as_batch=True,
)
context.run_migrations()
