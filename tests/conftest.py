"""What holds for every test: a blocked event loop is an error, and a missing tool is a skip that CI does not allow."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from blockbuster import BlockBuster, blockbuster_ctx
from hypothesis import settings

settings.register_profile("phrom", deadline=None, max_examples=100, print_blob=True)
settings.load_profile("phrom")

IN_CI = os.environ.get("CI", "").lower() == "true"


@pytest.fixture(autouse=True)
def no_blocked_loop() -> Iterator[BlockBuster]:
    """Calls that block (files, sleep, subprocess, sqlite) raise BlockingError when made on the event loop."""
    with blockbuster_ctx() as guard:
        yield guard


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips what this machine cannot run, saying why; with CI=true a missing tool fails instead."""
    if item.get_closest_marker("root") and os.geteuid() != 0:
        _lacks("needs root (raw sockets, namespaces, nft)")
    for marker in item.iter_markers("tool"):
        for tool in marker.args:
            if shutil.which(tool) is None and not Path("/usr/sbin", tool).exists():
                _lacks(f"needs the system tool {tool!r}: make tools")


def _lacks(why: str) -> None:
    if IN_CI:
        pytest.fail(why, pytrace=False)
    pytest.skip(why)
