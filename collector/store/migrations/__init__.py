"""Alembic migrations, shipped inside the package; :func:`collector.store.store.Store.open` runs them."""
