"""How much of the link is in use: the router's counters first, this machine's own where nobody else tells."""

import asyncio

import pytest

from agent.probe import Finding, Span, Target
from agent.probes.utilisation import LINK, OWN, Utilisation, UtilisationSettings, found
from agent.router_counters import Counters, CountersUnavailable
from tests.support.warp import warp
from wire.reasons import Outcome, Reason

CONTRACT = UtilisationSettings(download=200_000_000, upload=80_000_000)


class Counting:
    """Counters that grow by the second of the loop's time, or cannot be read."""

    def __init__(self, down: int, up: int) -> None:
        self.down, self.up = down, up
        self.broken = False
        self.base = 0

    async def read(self) -> Counters:
        if self.broken:
            raise CountersUnavailable("router: no answer")
        at = asyncio.get_running_loop().time()
        return Counters(self.base + round(self.down * at), self.base + round(self.up * at), at)


def measured(probe: Utilisation, *pauses: float) -> list[Finding]:
    """One measurement, and one more after each pause."""

    async def story() -> list[Finding]:
        results = [await probe.measure(Target("link", "", CONTRACT), Span(0, 30))]
        for pause in pauses:
            await asyncio.sleep(pause)
            results.append(await probe.measure(Target("link", "", CONTRACT), Span(0, 30)))
        return results

    return warp(story())


def probe_of(router: Counting | None, own: Counting, *, inline: bool = False) -> Utilisation:
    probe = Utilisation()
    probe.ask = lambda: router
    probe.inline = inline
    probe._own = own  # type: ignore[assignment]
    return probe


def test_the_routers_counters_are_the_links() -> None:
    first, second = measured(probe_of(Counting(12_500_000, 1_000_000), Counting(1, 1)), 60)
    for one in (first, second):
        assert one.outcome is Outcome.OK
        assert one.facts == {"counted": LINK}
        assert one.values == pytest.approx(
            {"receive_rate": 1e8, "send_rate": 8e6, "utilisation_down": 0.5, "utilisation_up": 0.1}, rel=1e-6
        )


def test_this_machine_as_the_router_counts_for_the_link_without_asking() -> None:
    (one,) = measured(probe_of(Counting(9, 9), Counting(25_000_000, 0), inline=True))
    assert one.values["utilisation_down"] == pytest.approx(1.0)
    assert one.facts == {"counted": LINK}


def test_what_this_machine_alone_moved_is_no_share_of_the_link() -> None:
    (one,) = measured(probe_of(None, Counting(1_000, 2_000)))
    assert one.values == pytest.approx({"receive_rate": 8e3, "send_rate": 16e3})
    assert one.facts == {"counted": OWN}


def test_router_that_stops_answering_is_not_mixed_with_what_was_before() -> None:
    router, own = Counting(12_500_000, 0), Counting(1_000, 0)

    async def story() -> list[Finding]:
        probe, target = probe_of(router, own), Target("link", "", CONTRACT)
        results = [await probe.measure(target, Span(0, 30))]
        router.broken = True
        await asyncio.sleep(60)
        results.append(await probe.measure(target, Span(0, 30)))
        router.broken = False
        await asyncio.sleep(60)
        return [*results, await probe.measure(target, Span(0, 30))]

    first, broken, again = warp(story())
    assert [one.facts["counted"] for one in (first, broken, again)] == [LINK, OWN, LINK]
    assert broken.values == pytest.approx({"receive_rate": 8e3, "send_rate": 0.0})
    assert again.values["utilisation_down"] == pytest.approx(0.5)


def test_an_old_reading_is_not_compared_with() -> None:
    router = Counting(12_500_000, 0)
    first, second = measured(probe_of(router, Counting(0, 0)), 301)
    assert first.values["utilisation_down"] == second.values["utilisation_down"] == pytest.approx(0.5)


def test_counters_that_began_anew_say_nothing() -> None:
    one = found(Counters(100, 100, 1.0), Counters(50, 200, 2.0), LINK, CONTRACT)
    assert (one.outcome, one.reason) == (Outcome.SKIPPED, Reason.NOT_LEARNED_YET)
    assert one.facts == {"detail": "the counters went backwards: they began anew"}


def test_without_any_counters_nothing_is_measured() -> None:
    own = Counting(0, 0)
    own.broken = True
    (one,) = measured(probe_of(None, own))
    assert (one.outcome, one.reason, one.values) == (Outcome.SKIPPED, Reason.NOT_LEARNED_YET, {})


def test_without_a_contract_there_is_no_share() -> None:
    one = found(Counters(0, 0, 1.0), Counters(1_000, 0, 2.0), LINK, UtilisationSettings())
    assert one.values == {"receive_rate": 8e3, "send_rate": 0.0}
