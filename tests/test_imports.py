"""Who may import whom (DESIGN §5), and that an agent carries nothing of the collector's weight."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
IMPORT_ALL = """\
import importlib, json, pkgutil, sys
import agent, wire
for package in (agent, wire):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""
IMPORTED_AS = {"protobuf": "google", "sqlalchemy": "sqlalchemy", "pyyaml": "yaml"}


def test_wire_imports_nothing_of_ours_and_agent_and_collector_never_each_other():
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_an_agent_imports_no_library_of_the_collector():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = [line.split(">")[0].split("=")[0].strip() for line in project["optional-dependencies"]["collector"]]
    heavy = {IMPORTED_AS.get(name, name) for name in names} - {"tzdata"}
    assert {"sqlalchemy", "alembic", "jinja2"} <= heavy
    done = subprocess.run([sys.executable, "-c", IMPORT_ALL], cwd=ROOT, capture_output=True, text=True, check=True)
    imported = set(json.loads(done.stdout))
    assert "msgspec" in imported
    assert not heavy & imported
    assert "collector" not in imported
