"""The ``host`` probe: the machine the agent runs on, and the port it hangs on. It reports; it judges nothing."""

import asyncio
import time
from typing import Annotated, NamedTuple

import msgspec
import psutil

from agent.probe import Finding, Span, Target, ok, probe
from agent.vantage import Medium, Vantage, look
from wire.meetings import Load

SHORTEST = 0.2
"""Seconds between the two readings that rates are made of; any less and the counters' grain shows."""
_SENSORS = ("coretemp", "k10temp", "zenpower", "cpu_thermal", "cpu-thermal", "soc_thermal", "acpitz")
"""Names of processor sensors by preference: Intel, AMD, Raspberry Pi and other boards, the firmware's zone."""


class HostSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Whose disk is looked at."""

    disk_path: Annotated[str, msgspec.Meta(description="a path on the disk to watch; empty = the root disk")] = ""


class Reading(NamedTuple):
    """The counters that rates are made of, at one moment."""

    at: float
    """Seconds of CLOCK_MONOTONIC."""
    busy: float
    total: float
    """Seconds of all processors together."""
    interface: str
    received: int
    sent: int
    """Bytes of the default route's interface; 0 where there is none."""


@probe("host", every=60.0, window=60.0, load=Load.TRICKLE, costs="nothing on the line", watches=("interface", "medium"))
class Host:
    """Processor, memory, disk, power, temperature and network port of this machine."""

    Settings = HostSettings

    async def measure(self, target: Target, span: Span) -> Finding:
        """Reads the counters at the start and the end of the span."""
        settings: HostSettings = target.settings
        before = await asyncio.to_thread(read)
        await asyncio.sleep(max(SHORTEST, span.seconds - (time.monotonic() - before.at)))
        return await asyncio.to_thread(report, before, settings.disk_path or "/")


def read() -> Reading:
    """The counters now. Blocking: reads small files under ``/proc`` and ``/sys``."""
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    # The guests' share is part of user and nice already (proc_stat(5)).
    total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    place = look("")
    interface = place.interface if place else ""
    traffic = psutil.net_io_counters(pernic=True).get(interface)
    received, sent = (traffic.bytes_recv, traffic.bytes_sent) if traffic else (0, 0)
    return Reading(time.monotonic(), total - idle, total, interface, received, sent)


def report(before: Reading, disk_path: str) -> Finding:
    """Everything this machine tells of itself; what it does not know is left out. Blocking, as :func:`read` is."""
    after = read()
    counts, values = rates(before, after)
    place = look("")
    memory = psutil.virtual_memory()
    values["memory"] = 1 - memory.available / memory.total
    values["uptime"] = time.clock_gettime(time.CLOCK_BOOTTIME)
    facts = {}
    try:
        disk = psutil.disk_usage(disk_path)
        values |= {"disk": disk.percent / 100, "disk_free": float(disk.free)}
    except OSError as problem:
        facts["disk"] = f"{disk_path}: {problem.strerror}"
    values |= power() | temperature()
    if place:
        values |= port(place)
        facts |= {"interface": place.interface, "medium": place.medium.value}
    return ok(counts=counts, values=values, facts=facts)


def rates(before: Reading, after: Reading) -> tuple[dict[str, int], dict[str, float]]:
    """Counts and rates between two readings; none of the network where the interface changed or its counters fell."""
    values: dict[str, float] = {}
    counts: dict[str, int] = {}
    if after.total > before.total:
        values["cpu"] = min(1.0, max(0.0, (after.busy - before.busy) / (after.total - before.total)))
    seconds = after.at - before.at
    received, sent = after.received - before.received, after.sent - before.sent
    if after.interface and after.interface == before.interface and seconds > 0 and received >= 0 and sent >= 0:
        counts = {"bytes_received": received, "bytes_sent": sent}
        values |= {"receive_rate": received * 8 / seconds, "send_rate": sent * 8 / seconds}
    return counts, values


def port(place: Vantage) -> dict[str, float]:
    """The network port of the default route."""
    found = {}
    if place.medium in (Medium.WIFI, Medium.CABLE):
        found["wireless"] = float(place.medium is Medium.WIFI)
    if place.speed:
        found["interface_speed"] = float(place.speed)
    if place.duplex:
        found["full_duplex"] = float(place.duplex == "full")
    return found


def power() -> dict[str, float]:
    """Battery and mains, where there is a battery."""
    battery = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
    if battery is None:
        return {}
    found = {"battery": battery.percent / 100}
    if battery.power_plugged is not None:
        found["mains"] = float(battery.power_plugged)
    return found


def temperature() -> dict[str, float]:
    """The processor's temperature, where a sensor tells it."""
    sensors = psutil.sensors_temperatures() if hasattr(psutil, "sensors_temperatures") else {}
    for name in _SENSORS:
        for one in sensors.get(name, ()):
            if one.current is not None and -50 < one.current < 150:
                return {"temperature": float(one.current)}
    return {}
