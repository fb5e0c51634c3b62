"""The daemon gives the throughput probe what the machine's own settings say of the router."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agent.clock import SystemClock
from agent.daemon import Daemon
from agent.probes.throughput import Throughput
from agent.router_counters import SnmpCounters
from agent.router_settings import RouterSettings
from agent.settings import OwnSettings
from agent.spool import Limits, Spool
from agent.state import State


def daemon(tmp_path: Path, router: RouterSettings) -> Daemon:
    own = OwnSettings(router=router)
    clock = SystemClock()
    spool = Spool(tmp_path / "spool.db", clock, Limits(), "machine")
    return Daemon(own, State(tmp_path), spool, clock)


@pytest.mark.parametrize(("counters", "inline"), [("this-machine", True), ("none", False)])
async def test_whether_this_machine_is_the_router(tmp_path: Path, counters: Any, inline: bool):
    made = await asyncio.to_thread(daemon, tmp_path, RouterSettings(counters=counters))
    probe = made._runner.prepare("throughput", Throughput())
    assert probe.inline is inline
    assert probe.ask() is None


async def test_the_router_is_the_gateway_of_the_moment(tmp_path: Path):
    settings = RouterSettings(counters="snmp", interface="ppp0", community="public")
    made = await asyncio.to_thread(daemon, tmp_path, settings)
    probe = made._runner.prepare("throughput", Throughput())
    assert probe.ask() is None
    made._directory.learn({"gateway": "192.0.2.1"})
    assert isinstance(probe.ask(), SnmpCounters)


async def test_other_probes_are_left_as_they_are(tmp_path: Path):
    made = await asyncio.to_thread(daemon, tmp_path, RouterSettings())
    other = object()
    assert made._runner.prepare("icmp", other) is other
