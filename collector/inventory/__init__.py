"""The inventory: what the province has, from YAML files that are the truth (DESIGN §4)."""

from collector.inventory.assignments import agent_settings
from collector.inventory.calendar import Occurrence, occurrences
from collector.inventory.files import Inventory, load
from collector.inventory.model import (
    Contact,
    Contract,
    Device,
    Link,
    Meeting,
    PlanB,
    Province,
    Room,
    ServiceHours,
    Sheet,
    Site,
)
from collector.inventory.parts import Name
from collector.inventory.platforms import Capacity, Endpoint, Missing, Platform, Thresholds

__all__ = [
    "Capacity",
    "Contact",
    "Contract",
    "Device",
    "Endpoint",
    "Inventory",
    "Link",
    "Meeting",
    "Missing",
    "Name",
    "Occurrence",
    "PlanB",
    "Platform",
    "Province",
    "Room",
    "ServiceHours",
    "Sheet",
    "Site",
    "Thresholds",
    "agent_settings",
    "load",
    "occurrences",
]
