"""What a window of STAMP says: its counts, delays and quality, or why there are none. Pure."""

from typing import Any

from agent.neterrors import finding_of
from agent.probe import Finding, error, failed, ok, skipped
from agent.probes.stamp.flow import Window
from agent.probes.stamp.ledger import Tally
from agent.probes.stamp.transit import ONE_WAY_LIMIT, Ways, above_least, jitter, ways
from wire.histogram import LARGEST, Histogram
from wire.mos import mos
from wire.reasons import Reason
from wire.stamp import ErrorEstimate

BUSY = frozenset({"busy", "too_many_of_source"})
"""Denials that tell of the responder's load and of nothing else."""


def finding(window: Window, peer: ErrorEstimate | None) -> Finding:
    """``ok`` with one answer or more. That no session could be opened for want of a lease is no fault of the link."""
    tally = window.tally
    found = _measured(window, peer)
    if tally.transits:
        return ok(**found)
    if tally.sent or tally.set_aside:
        return failed(Reason.RESPONDER_SILENT, **found)
    trouble = window.trouble
    if trouble.refused is not None:
        return skipped(trouble.refused.reason, facts={"detail": trouble.refused.detail[:200]})
    if trouble.denied:
        reason = Reason.RESPONDER_BUSY if trouble.denied in BUSY else Reason.NO_LEASE
        return skipped(reason, facts={"detail": f"the responder says {trouble.denied}"})
    if trouble.problem is not None:
        seen = finding_of(trouble.problem)
        return seen if seen.reason is not Reason.REFUSED else failed(Reason.RESPONDER_SILENT, facts={"said": "refused"})
    if window.knocked:
        return failed(Reason.RESPONDER_SILENT)
    return error(Reason.SUSPENDED, facts={"detail": "the machine slept through the window"})


def _measured(window: Window, peer: ErrorEstimate | None) -> dict[str, Any]:
    tally = window.tally
    facts: dict[str, str] = {}
    if window.forgotten:
        facts["forgotten"] = str(window.forgotten)
    if tally.set_aside:
        facts["set_aside"] = str(tally.set_aside)
    durations = {"rtt": Histogram.of((min(one.rtt, LARGEST) for one in tally.transits), tally.lost)}
    values: dict[str, float] = {}
    if tally.transits:
        _add_delays(window, peer, durations, values, facts)
    return {"counts": _counts(tally), "durations": durations, "values": values, "facts": facts}


def _counts(tally: Tally) -> dict[str, int]:
    return {
        "sent": tally.sent,
        "lost": tally.lost,
        "late": tally.late,
        "duplicates": tally.duplicates,
        "reordered": tally.reordered,
        "sent_up": tally.sent_up,
        "lost_up": tally.lost_up,
        "reordered_up": tally.reordered_up,
        "sent_down": tally.sent_down,
        "lost_down": tally.lost_down,
        "reordered_down": tally.reordered_down,
    }


def _add_delays(
    window: Window,
    peer: ErrorEstimate | None,
    durations: dict[str, Histogram],
    values: dict[str, float],
    facts: dict[str, str],
) -> None:
    """Jitter is that of the worse way; where the clocks contradict each other, that of the round trip."""
    tally = window.tally
    kept = _kept(window, peer) == ""
    seen = ways(tally.transits, kept=kept)
    rtts = [one.rtt for one in tally.transits]
    if seen.stepped:
        facts["one_way"] = "clock_set"
        found = jitter(rtts)
    else:
        durations["delay_variation_up"] = Histogram.of(above_least(seen.up))
        durations["delay_variation_down"] = Histogram.of(above_least(seen.down))
        found = max((one for one in (jitter(seen.up), jitter(seen.down)) if one is not None), default=None)
        _add_one_way(window, peer, seen, durations, values, facts)
    if found is not None:
        values["jitter"] = found / 1e9
    values["mos"] = mos(sum(rtts) / len(rtts) / 1e9, values.get("jitter", 0.0), tally.lost / tally.sent)


def _add_one_way(
    window: Window,
    peer: ErrorEstimate | None,
    seen: Ways,
    durations: dict[str, Histogram],
    values: dict[str, float],
    facts: dict[str, str],
) -> None:
    """One-way delays where both clocks are good enough for them; else a fact says why not."""
    why = _unfit(window, peer)
    if why:
        facts["one_way"] = why
        return
    assert peer is not None  # noqa: S101 - it is fit
    up = [one - window.offset for one in seen.up]
    down = [one + window.offset for one in seen.down]
    bound = max(one.error for one in window.own) + peer.nanoseconds
    if min(*up, *down) < -bound:
        facts["one_way"] = "clocks_disagree"
        return
    values["one_way_error"] = bound / 1e9
    durations["delay_up"] = Histogram.of(max(0, one) for one in up)
    durations["delay_down"] = Histogram.of(max(0, one) for one in down)


def _unfit(window: Window, peer: ErrorEstimate | None) -> str:
    """Why one-way delays would say nothing; empty where they say something."""
    why = "clock_set" if window.stepped else _kept(window, peer)
    if why or peer is None:
        return why
    bound = max(one.error for one in window.own) + peer.nanoseconds
    return "" if bound <= ONE_WAY_LIMIT else f"clocks_off_by_{bound // 1_000_000}_ms"


def _kept(window: Window, peer: ErrorEstimate | None) -> str:
    """Which clock nobody keeps right; empty where both are kept."""
    if not window.own or not all(one.synchronised for one in window.own):
        return "own_clock_unsynchronised"
    return "" if peer is not None and peer.synchronised else "responder_clock_unsynchronised"
