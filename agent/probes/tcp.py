"""Whether a TCP port answers, and how fast."""

import msgspec

from agent import addresses
from agent.addresses import Host, Port
from agent.neterrors import Unresolved, finding_of, no_ipv6, without_ipv6
from agent.probe import Finding, Span, Target, ok, probe
from wire.histogram import Histogram
from wire.meetings import Load

SHARE = 0.8
"""How much of the limit the network may take; the rest is ours, so that a slow target is never "overran"."""


@probe("tcp", every=60.0, load=Load.TRICKLE, costs="about 400 B a measurement (SYN to FIN), and a DNS answer")
class Tcp:
    """Opens a TCP connection and closes it at once: the time to connect."""

    class Settings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
        """What to connect to."""

        host: Host
        port: Port

    async def measure(self, target: Target, span: Span) -> Finding:
        """One connection to the first address that answers; the fact ``family`` says which family the time is of."""
        settings: Tcp.Settings = target.settings
        within = span.limit * SHARE
        durations: dict[str, Histogram] = {}
        only_ipv6 = False
        try:
            resolved = await addresses.resolve(settings.host, settings.port, within / 2)
            if resolved.took is not None:
                durations["lookup"] = Histogram.of([resolved.took])
            only_ipv6 = all(one.family_name == "ipv6" for one in resolved.addresses)
            connected = await addresses.connect(resolved.addresses, within / 2)
        except (Unresolved, OSError) as problem:
            if only_ipv6 and without_ipv6(problem):
                return no_ipv6(durations=durations)
            return finding_of(problem, durations=durations)
        connected.sock.close()
        durations["connect"] = Histogram.of([connected.took])
        facts = connected.address.facts
        if connected.failures:
            facts["failed_before"] = "; ".join(connected.failures)
        return ok(durations=durations, facts=facts)
