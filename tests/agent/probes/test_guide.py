"""The guide's page on adding a probe holds a probe and its test: both are run as they stand there."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from agent import probe

PAGE = Path(__file__).parents[3] / "docs/guide/en/adding-a-probe.md"
CODE, TEST = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.fixture
def greeting() -> Iterator[None]:
    """The page's probe, as if its file stood in agent/probes."""
    module = ModuleType("agent.probes.greeting")
    sys.modules[module.__name__] = module
    exec(compile(CODE, PAGE.name, "exec"), module.__dict__)  # noqa: S102 — our own page
    yield
    del probe.PROBES["greeting"], sys.modules[module.__name__]


async def test_the_guide_s_probe_passes_the_guide_s_test(greeting):
    names: dict[str, object] = {}
    exec(compile(TEST, PAGE.name, "exec"), names)  # noqa: S102 — our own page
    tests = [one for name, one in names.items() if name.startswith("test_")]
    assert len(tests) == 1
    await tests[0]()  # type: ignore[operator]


def test_the_arguments_that_the_page_explains_are_those_that_there_are():
    explained = re.findall(r"^\| `(\w+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(explained) == set(probe.probe.__kwdefaults__ or {}) | {"load", "costs"}
