"""The ``link`` watcher: looks once a second whether the link carries, and if not, how far one comes.

:mod:`classify` judges a second, :mod:`history` makes changes and windows of the seconds, :mod:`memory` learns whose
silence proves anything; they are pure. :mod:`look`, :mod:`trace` and :mod:`aims` touch the world.
"""

from collections.abc import AsyncIterator, Callable
from typing import Annotated

import msgspec

from agent.addresses import Host
from agent.probe import Right, Sighting, Span, Surroundings, Target, watcher
from agent.probes.icmp.pinger import Pinger
from agent.probes.link.aims import Others, Out, way_out
from agent.probes.link.watch import Watch
from wire.meetings import Load

Id = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class AnchorAt(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """An address beyond the provider."""

    id: Annotated[Id, msgspec.Meta(description="how changes and windows name it", examples=["anchor-1"])]
    address: Host


class FarEnd(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A responder of ours."""

    id: Annotated[Id, msgspec.Meta(description="its name; changes and windows say `responder:ID`", examples=["hall"])]
    host: Host


class LinkSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Whom to ask beside the gateway and the edge, which the machine knows itself."""

    anchors: Annotated[
        tuple[AnchorAt, ...],
        msgspec.Meta(description="addresses beyond the provider that are expected to answer always; two or more"),
    ] = ()
    responders: Annotated[tuple[FarEnd, ...], msgspec.Meta(description="our own far ends of throughput tests")] = ()
    collector: Annotated[str, msgspec.Meta(description="host of the collector; empty = not asked", max_length=253)] = (
        "@collector"
    )

    @property
    def others(self) -> Others:
        """Those beyond the edge, by role."""
        ours = [(f"responder:{one.id}", one.host) for one in self.responders]
        return Others(
            tuple((one.id, one.address) for one in self.anchors),
            (*ours, *([("collector", self.collector)] if self.collector else [])),
        )


@watcher(
    "link",
    load=Load.TRICKLE,
    costs="60 B a second each way to each of gateway, edge, anchors, responders and collector; twice that in a fault",
    needs=Right.ICMP_SOCKET,
)
class Link:
    """Looks once a second whether the link carries; if not, whose fault it is."""

    Settings = LinkSettings

    def __init__(self, pinger: Pinger | None = None, look: Callable[[Out], Out] = way_out) -> None:
        self._pinger = pinger or Pinger()
        self._look = look

    async def watch(self, target: Target, span: Span, around: Surroundings) -> AsyncIterator[Sighting]:
        """Changes three seconds after they began, windows three seconds after their end at most, until cancelled."""
        settings: LinkSettings = target.settings
        async with Watch(self._pinger, self._look, target.name, settings.others, span.seconds, around) as watch:
            async for sighting in watch.sightings():
                yield sighting

    def close(self) -> None:
        """Closes the sockets."""
        self._pinger.close()
