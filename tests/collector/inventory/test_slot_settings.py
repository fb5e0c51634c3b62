"""The section ``slots``: what it refuses, word by word, and how rules are made of it."""
# ruff: noqa: E501 - messages stand whole, to be read and searched

import datetime as dt

import pytest

from collector.inventory.files import from_texts
from collector.slots.places import quiet_times, world
from collector.slots.rules import Rules
from wire.clock import HOUR, MINUTE
from wire.yaml_settings import SettingsError

GROUND = """\
province: {id: udon, name: {th: อุดร}}
sites:
- id: hall
  name: {th: ก}
- id: phen
  name: {th: ข}
  service_hours: {from: "08:00", to: "22:00"}
  links: [{id: fibre, circuit: X, provider: NT, contracts: [{from: 2020-01-01, download_mbps: 200, upload_mbps: 80}]}]
responders: [{id: hall, site: hall, sends_mbps: 80, takes_mbps: 200}]
meetings:
- {id: m, title: ก, start: 2026-11-02 09:00, end: 2026-11-02 12:00, sites: [hall]}
- {id: n, title: ข, start: 2026-11-02 12:30, end: 2026-11-02 13:00, sites: [hall, phen]}
- {id: o, title: ค, start: 2026-11-03 12:30, end: 2026-11-03 13:00, cancelled: yes}
"""
NOW = round(dt.datetime(2026, 11, 1, tzinfo=dt.timezone(dt.timedelta(hours=7))).timestamp() * 1_000_000)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "{samples: 20}",
            'b.yaml:1: slots.busy_samples: found "30", expected at most 20 (samples), of which they are',
        ),
        (
            "{busy_from: 21:00, busy_to: 17:00}",
            'b.yaml:1: slots.busy_to: found "17:00", expected a time after 21:00 (busy_from) of the same day',
        ),
        (
            "{least_gap: 2 h, longest_gap: 3 h}",
            'b.yaml:1: slots.longest_gap: found "180 min", expected at least 240 min, twice the least_gap of 120 min: else tests come in a rhythm',
        ),
        (
            "{least_gap: 1 min}",
            'b.yaml:1: slots.least_gap: found "1 min", expected a duration from 5 min to 24 h, such as 36 min',
        ),
        (
            "{budget_gb: 0}",
            'b.yaml:1: slots.budget_gb: found "0", expected a number of more than 0 and 100000 or less, such as 10',
        ),
        (
            "{sample: 60}",
            'b.yaml:1: slots.sample: found an unknown key, expected a known key: did you mean "samples"?',
        ),
    ],
)
def test_mistakes(text: str, expected: str) -> None:
    with pytest.raises(SettingsError) as caught:
        from_texts({"a.yaml": GROUND, "b.yaml": f"slots: {text}"})
    assert str(caught.value).splitlines() == [expected]


def test_rules_and_places_come_from_the_files() -> None:
    text = "slots: {samples: 40, busy_samples: 20, busy_from: 18:00, least_gap: 1 h, budget_gb: 2.5, office_hours: no}"
    inventory = from_texts({"a.yaml": GROUND, "b.yaml": text})
    here = world(inventory, {("phen", "fibre"): "a1"}, NOW)
    assert here.rules == Rules(
        samples=40, busy_samples=20, busy_from=dt.time(18), least_gap=HOUR, budget=2_500_000_000, office_hours=False
    )
    (line,) = here.lines
    assert (line.agent, line.responders, line.terms and line.terms.download) == ("a1", ("hall",), 200_000_000)
    assert line.service is line.office is inventory.sites["phen"].service_hours
    noon = NOW + 36 * HOUR
    assert [(one.start - noon, one.end - noon) for one in line.quiet] == [(-30 * MINUTE, 75 * MINUTE)]
    # the two meetings of the hall are one quiet time; a cancelled one is none
    assert [(one.start - noon, one.end - noon) for one in here.fars["hall"].quiet] == [(-4 * HOUR, 75 * MINUTE)]
    assert set(quiet_times(inventory)) == {"hall", "phen"}
    assert here.line("phen", "") is line
    assert here.line("phen", "copper") is here.line("hall", "") is None
