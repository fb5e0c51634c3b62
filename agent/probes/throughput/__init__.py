"""The ``throughput`` probe: what the link delivers against its contract."""

import importlib
from typing import Annotated, Literal

import msgspec

from agent.probe import Finding, Span, Target, probe
from agent.probes.throughput.engine import Direction, Engine, Terms
from agent.probes.throughput.verdict import summed_up
from wire.meetings import Load
from wire.settings import ContractTerms, ResponderAt, Role


def _about(what: str) -> msgspec.Meta:
    return msgspec.Meta(description=what)


class ThroughputSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Against which responder and contract, by which engine, and what the agent knows of itself."""

    responder: Annotated[ResponderAt, _about("the far end")]
    contract: Annotated[ContractTerms | None, _about("the contract in force; none = the rate alone is found")] = None
    engine: Annotated[Literal["tcp", "light", "iperf3", "speedtest"], _about("how to measure")] = "tcp"
    directions: Annotated[tuple[Direction, ...], _about("down, up or both, in this order")] = (
        Direction.DOWN,
        Direction.UP,
    )
    slot: Annotated[str, _about("the slot that it is for")] = ""
    role: Annotated[Role, _about("the agent's role: room gives no contract evidence")] = Role.BOTH
    on_link: Annotated[bool, _about("whether the agent stands on this link, as its vantage says")] = True
    time_known: Annotated[bool, _about("whether the agent's time is tied to the collector's")] = True


@probe(
    "throughput",
    every=86_400.0,
    limit=60.0,
    load=Load.FULL,
    costs="about 1 s at the full rate in each direction: 24 MB down and 11 MB up on 200/80 Mbps",
)
class Throughput:
    """Rate of the link in each direction against its contract, and what else could have limited it."""

    Settings = ThroughputSettings

    async def measure(self, target: Target, span: Span) -> Finding:
        """One test by the engine of the settings, judged; a result for each direction."""
        settings: ThroughputSettings = target.settings
        module = importlib.import_module(f"agent.probes.throughput.{settings.engine}")
        engine: Engine = module.ENGINE
        terms = Terms(settings.responder, settings.contract, target.leases, settings.directions, settings.slot)
        return summed_up(await engine.run(terms))
