"""Who may use a responder when: meetings of both ends, contracts, profiles and capacity."""

import pytest

from collector.inventory import Inventory
from collector.inventory.files import from_texts
from collector.lending import CALL_RATE, NotNow, call_rates, check_quiet, judge, responder_for
from collector.store import Source
from tests.support.lending import MBPS
from wire.clock import HOUR, MINUTE, SECOND, Instant
from wire.lease import Lease, LeaseRequest, NoLease, Purpose
from wire.meetings import Load

NINE: Instant = 1_796_090_400 * SECOND
"""2026-12-01 09:00 in Bangkok."""

PROVINCE = """
province: {id: udon-thani, name: {th: อุดรธานี}}
sites:
  - id: hall
    name: {th: ศาลากลาง}
    links:
      - {id: fibre, circuit: "0", provider: NT, contracts: [{from: 2018-04-01, download_mbps: 200, upload_mbps: 80}]}
  - id: phen
    name: {th: เพ็ญ}
    links:
      - {id: fibre, circuit: "1", provider: NT, contracts: [{from: 2018-04-01, download_mbps: 200, upload_mbps: 80}]}
  - {id: local, name: {th: เทศบาล}}
platforms:
  - id: zoom
    name: Zoom
    missing: [{id: media, ask: provider, what: addresses}]
    capacity: {download_mbps: 4, upload_mbps: 2, source: test}
  - {id: webex, name: Webex, missing: [{id: media, ask: provider, what: addresses}]}
responders:
  - {id: core, host: core.example, sends_mbps: 1000, takes_mbps: 1000, sites: [phen]}
  - {id: hall, site: hall, sends_mbps: 80, takes_mbps: 200}
"""
MEETING = """
meetings:
  - id: monthly
    title: ประชุม
    sites: [{site}]
    doors: 2026-12-01 08:30
    start: 2026-12-01 09:00
    end: 2026-12-01 11:00
    rehearsals: [{{start: 2026-12-01 08:00, end: 2026-12-01 08:20}}]
"""
PHEN = Source("a1", "phen", "fibre", "link")


def province(*meeting_of: str, text: str = PROVINCE) -> Inventory:
    return from_texts({"a.yaml": text} | {f"{one}.yaml": MEETING.format(site=one) for one in meeting_of})


CALL_TAKES, LIGHT_TAKES = 35 * SECOND, 15 * SECOND
"""From the grant of a lease to its end: the longest session, and ten seconds to open it."""


def asked(purpose: Purpose, now: Instant, inventory: Inventory | None = None, responder: str = "hall") -> Lease:
    return judge(inventory or province("phen"), PHEN, LeaseRequest(purpose=purpose, responder=responder), now)


def refused(purpose: Purpose, now: Instant, inventory: Inventory | None = None, responder: str = "hall") -> NotNow:
    with pytest.raises(NotNow) as no:
        asked(purpose, now, inventory, responder)
    return no.value


def test_stamp_is_a_trickle_and_always_allowed() -> None:
    lease = asked(Purpose.STAMP, NINE)
    assert (lease.site, lease.link, lease.responder, lease.purpose) == ("phen", "fibre", "hall", Purpose.STAMP)
    assert (lease.issued, lease.expires, lease.seconds) == (NINE, NINE + 24 * HOUR, 86_400)
    assert max(lease.down, lease.up) <= 50_000


def test_a_call_may_run_until_the_doors_open_and_again_after_the_end() -> None:
    doors = NINE - 30 * MINUTE
    assert asked(Purpose.CALL, doors - CALL_TAKES - 1).expires <= doors
    no = refused(Purpose.CALL, doors - CALL_TAKES)  # it would still run when the doors open
    assert (no.why, no.detail) == (NoLease.QUIET_TIME, "quiet time of this site: call is not allowed now")
    assert refused(Purpose.CALL, NINE + 2 * HOUR + 15 * MINUTE).why is NoLease.QUIET_TIME
    assert asked(Purpose.CALL, NINE + 2 * HOUR + 16 * MINUTE).purpose is Purpose.CALL


def test_a_light_check_keeps_quiet_time_but_for_the_rehearsal() -> None:
    quiet = NINE - 90 * MINUTE
    assert asked(Purpose.LIGHT, quiet - MINUTE - 1)
    assert refused(Purpose.LIGHT, quiet).why is NoLease.QUIET_TIME
    rehearsal = NINE - HOUR
    assert asked(Purpose.LIGHT, rehearsal + 2 * MINUTE)
    assert refused(Purpose.LIGHT, rehearsal + 20 * MINUTE - 10 * SECOND).why is NoLease.QUIET_TIME


def test_it_says_when_to_ask_again() -> None:
    no = refused(Purpose.LIGHT, NINE)
    assert no.retry_after == 2 * 3600 + 15 * 60 + LIGHT_TAKES / SECOND
    assert asked(Purpose.LIGHT, NINE + round(no.retry_after * SECOND))


def test_the_meetings_of_the_site_where_the_responder_stands_count_too() -> None:
    inventory = province("hall")
    for purpose in (Purpose.CALL, Purpose.LIGHT):
        no = refused(purpose, NINE, inventory)
        assert no.why is NoLease.QUIET_TIME
        assert f"quiet time of hall, where the responder hall stands: {purpose} is not allowed now" == no.detail
        assert asked(purpose, NINE, inventory, responder="core")  # stands at no site
    assert asked(Purpose.STAMP, NINE, inventory)


def test_rates_of_a_light_check_are_the_contracts_and_no_more_than_the_responder_has() -> None:
    core = asked(Purpose.LIGHT, NINE, province(), responder="core")
    assert (core.down, core.up) == (round(200 * MBPS * 0.95 * 1.1), round(80 * MBPS * 0.95 * 1.1))
    hall = asked(Purpose.LIGHT, NINE, province())
    assert (hall.down, hall.up) == (80 * MBPS, round(80 * MBPS * 0.95 * 1.1))
    assert core.seconds * core.down / 8 < 60e6


def test_without_a_contract_nothing_can_be_paced() -> None:
    local = Source("a2", "local", "", "both")
    with pytest.raises(NotNow) as no:
        judge(province(), local, LeaseRequest(purpose=Purpose.LIGHT), NINE)
    assert no.value.why is NoLease.CONTRACT_UNKNOWN
    assert no.value.detail == "local (no link): the inventory has no contract in force to pace by"
    assert judge(province(), local, LeaseRequest(purpose=Purpose.CALL), NINE).link == ""


def test_rates_of_a_call_are_the_platforms_with_headroom() -> None:
    assert call_rates(province(), "zoom") == (6 * MBPS, 3 * MBPS)
    assert call_rates(province(), "webex") == call_rates(province(), "") == (CALL_RATE, CALL_RATE)
    lease = judge(province(), PHEN, LeaseRequest(purpose=Purpose.CALL, profile="zoom"), NINE)
    assert (lease.down, lease.up) == (6 * MBPS, 3 * MBPS)


def test_a_site_uses_the_responder_that_names_it_first_and_never_its_own() -> None:
    assert responder_for(province(), "phen").id == "core"
    assert responder_for(province(), "phen", "hall").id == "hall"
    assert responder_for(province(), "local").id == "hall"
    with pytest.raises(NotNow) as no:
        responder_for(province(), "local", "core")
    assert (no.value.why, no.value.detail) == (
        NoLease.NO_RESPONDER,
        "responder: found 'core', expected one of hall",
    )
    with pytest.raises(NotNow, match="expected one of none: the inventory has no responder for this site"):
        responder_for(province(), "hall")


def test_a_full_test_needs_its_slot_even_outside_quiet_time() -> None:
    place = responder_for(province(), "phen", "hall")
    check_quiet(province(), "phen", place, Load.FULL, NINE, NINE + MINUTE)
    with pytest.raises(NotNow):
        check_quiet(province(), "phen", place, Load.FULL, NINE, NINE + MINUTE, slot=False)
    with pytest.raises(NotNow):
        check_quiet(province("hall"), "phen", place, Load.FULL, NINE, NINE + MINUTE)


def test_each_lease_has_an_id_of_its_own() -> None:
    assert asked(Purpose.STAMP, NINE).id != asked(Purpose.STAMP, NINE).id


@pytest.mark.parametrize(("purpose", "takes"), [(Purpose.CALL, CALL_TAKES), (Purpose.LIGHT, LIGHT_TAKES)])
def test_a_lease_ends_with_what_is_held_for_it(purpose: Purpose, takes: int) -> None:
    night = NINE - 8 * HOUR
    assert asked(purpose, night).expires == night + takes
