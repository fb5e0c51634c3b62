"""A store on a disk of its own for each test."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from collector.store import Store


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """An open, empty store."""
    opened = await asyncio.to_thread(Store.open, tmp_path / "phrom.db")
    yield opened
    await asyncio.to_thread(opened.close)
