"""Grafana dashboards, written as code; the JSON beside it is generated and provisioned as files."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dashboards.parts import Dashboard

HERE = Path(__file__).parent


def all_dashboards() -> dict[str, "Callable[[], Dashboard]"]:
    """What makes each dashboard, by the name of its JSON file."""
    from dashboards import link, province_overview, site

    return {
        "province-overview.json": province_overview.dashboard,
        "site.json": site.dashboard,
        "link.json": link.dashboard,
    }


def generated() -> dict[Path, str]:
    """The files as the code makes them."""
    from dashboards.parts import as_json

    return {HERE / name: as_json(make()) for name, make in all_dashboards().items()}
