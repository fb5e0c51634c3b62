"""The inventory: what it refuses, word by word; the example province; what agents are given of it."""
# ruff: noqa: E501 - messages stand whole, to be read and searched

import datetime as dt
from pathlib import Path

import msgspec
import pytest

from agent.directory import Directory, of_collector
from agent.findings import decoded
from agent.probe import load as load_probe
from collector.inventory import Inventory, agent_settings, load, occurrences
from collector.inventory.assignments import NoSuchPlace
from collector.inventory.files import contract_on, from_texts
from wire.clock import HOUR, MINUTE
from wire.meetings import Load, may_run
from wire.reasons import Reason
from wire.settings import AgentSettings, Role, revision_of
from wire.yaml_settings import SettingsError

EXAMPLE = Path(__file__).parents[3] / "collector" / "inventory" / "example"

GROUND = """\
province: {id: udon, name: {th: อุดร}}
contacts:
- {id: it, name: {th: ไอที}, phone: 042000001}
sites:
- id: na-yung
  name: {th: นายูง, en: Na Yung}
  links:
  - id: fibre
    circuit: EXAMPLE-1
    provider: NT
    contracts:
    - {from: 2018-04-01, to: 2025-03-31, download_mbps: 200, upload_mbps: 80}
    - {from: 2025-04-01, download_mbps: 500, upload_mbps: 500}
- {id: phen, name: {th: เพ็ญ}}
platforms:
- {id: zoom, name: Zoom, endpoints: [{id: web, probe: http, url: "https://zoom.us/join", source: x}]}
"""


def made(*texts: str) -> Inventory:
    return from_texts({f"{name}.yaml": text for name, text in zip("abcdef", (GROUND, *texts), strict=False)})


def mistakes(*texts: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        made(*texts)
    return str(caught.value).splitlines()


def utc(*when: int) -> int:
    """Microseconds of a local time at Bangkok, which is UTC+7 without exception since 1920."""
    local = dt.datetime(*when, tzinfo=dt.timezone(dt.timedelta(hours=7)))  # type: ignore[arg-type, misc]
    return round(local.timestamp() * 1_000_000)


@pytest.fixture(scope="module")
def example() -> Inventory:
    return load(EXAMPLE)


def meeting(more: str) -> str:
    return "meetings:\n- id: m\n  title: t\n  start: 2026-12-01 09:00\n" + more


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sites: [{id: phen, name: {th: x}}]", '1: sites[0].id: found "phen" again, first in a.yaml:14, expected an id of its own'),
        (
            "sites:\n- id: x\n  name: {th: x}\n  rooms:\n  - {id: r, name: {th: x}}\n  - {id: r, name: {th: x}}",
            '6: sites[0].rooms[1].id: found "r" again, first in b.yaml:5, expected an id of its own',
        ),
        (
            "sites: [{id: x, name: {th: x}, links: [{id: l, circuit: c, provider: p}]}]",
            "1: sites[0].links[0].contracts: found nothing (the key is missing), expected a list of at least 1 entry",
        ),
        (
            "sites: [{id: x, name: {th: x}, links: [{id: l, circuit: c, provider: p, contracts: []}]}]",
            "1: sites[0].links[0].contracts: found a list of 0, expected a list of at least 1 entry",
        ),
        (
            "sites: [{id: x, name: {th: x}, contacts: [itt]}]",
            '1: sites[0].contacts[0]: found "itt", expected the id of a contact: did you mean "it"?',
        ),
        (
            "sites: [{id: Na Yung, name: {th: x}}]",
            '1: sites[0].id: found "Na Yung", expected a short name in lower case, digits and hyphens, such as na-yung',
        ),
        (
            meeting("  platform: zom"),
            '5: meetings[0].platform: found "zom", expected the id of a platform: did you mean "zoom"?',
        ),
        (
            meeting("  sites: [na-yung, na-yong]"),
            '5: meetings[0].sites[1]: found "na-yong", expected the id of a site: did you mean "na-yung"?',
        ),
        (
            meeting("  sites: [somewhere]"),
            '5: meetings[0].sites[0]: found "somewhere", expected the id of a site: one of na-yung, phen',
        ),
        (
            meeting("  doors: 2026-12-01 09:01"),
            '5: meetings[0].doors: found "2026-12-01 09:01", expected a time not after the start, 2026-12-01 09:00',
        ),
        (
            meeting("  end: 2026-12-01 09:00"),
            '5: meetings[0].end: found "2026-12-01 09:00", expected a time after the start, 2026-12-01 09:00',
        ),
        (
            meeting("  rehearsals: [{start: 2026-11-30 15:00, end: 2026-11-30 13:00}]"),
            '5: meetings[0].rehearsals[0].end: found "2026-11-30 13:00", expected a time after its start, 2026-11-30 15:00',
        ),
        (
            meeting("  repeat: [2026-12-02, 2026-12-01]"),
            '5: meetings[0].repeat[1]: found "2026-12-01" again, expected each day once',
        ),
        (
            "sites: [{id: x, name: {th: x}, links: [{id: l, circuit: EXAMPLE-1, provider: p, contracts: [{from: 2020-01-01, download_mbps: 1, upload_mbps: 1}]}]}]",
            '1: sites[0].links[0].circuit: found "EXAMPLE-1" again, first in a.yaml:9, expected a circuit number of its own',
        ),
        (
            "anchors: [{id: a, address: 192.0.2.1}, {id: b, address: 192.0.2.1}]",
            '1: anchors[1].address: found "192.0.2.1" again, first in b.yaml:1, expected an address of its own',
        ),
        (
            "time_server: time.province example",
            '1: time_server: found "time.province example", expected a host name or an IP address',
        ),
        (
            "platforms: [{id: " + 40 * "x" + ", name: X}]",
            f'1: platforms[0].id: found "{40 * "x"}", expected a short name in lower case, digits and hyphens, such as zoom',
        ),
        (
            "platforms: [{id: x, name: X}]",
            "1: platforms[0]: found neither endpoints nor missing, expected what can be measured, or whom to ask for it",
        ),
        (
            "platforms: [{id: x, name: X, endpoints: [{id: w, probe: http, source: s}]}]",
            "1: platforms[0].endpoints[0].url: found nothing, expected the address of a page, such as https://zoom.us/join",
        ),
        (
            "platforms: [{id: x, name: X, endpoints: [{id: w, probe: tls, source: s}]}]",
            "1: platforms[0].endpoints[0].host: found nothing, expected a name or address, which tls measures",
        ),
        (
            "platforms: [{id: x, name: X, endpoints: [{id: w, probe: tcp, host: h, source: s}]}]",
            "1: platforms[0].endpoints[0].port: found nothing, expected a port from 1 to 65535, because tcp has no usual one",
        ),
        (
            "platforms: [{id: x, name: X, endpoints: [{id: w, probe: stun, host: h, controls: [c], source: s}]}]",
            '1: platforms[0].endpoints[0].controls[0]: found "c", expected host:port, such as stun.l.google.com:19302',
        ),
        (
            "platforms: [{id: x, name: X, endpoints: [{id: w, probe: tls, host: h, every: 30 s, source: s}]}]",
            '1: platforms[0].endpoints[0].every: found "30 s", expected a duration from 1 min to 24 h, such as 60 s',
        ),
        (
            "anchors: [{id: a, address: one.one.one.one}]",
            ('1: anchors[0].address: found "one.one.one.one", expected an IP address, because a name would test the '
            "resolver too"),
        ),
        ("province: {id: b, name: {th: b}}", "1: province: found it again, first in a.yaml, expected it once"),
        (
            "cadence: {third_party_echo: 1 s}",
            '1: cadence.third_party_echo: found "1 s", expected a duration from 5 s to 1 min, such as 5 s',
        ),
    ],
)  # fmt: skip
def test_each_mistake_is_named_with_its_place(text, message):
    assert mistakes(text) == [f"b.yaml:{message}"]


@pytest.mark.parametrize(
    ("contracts", "message"),
    [
        (
            ["from: 2020-01-01, to: 2019-12-31"],
            '6: sites[0].links[0].contracts[0].to: found "2019-12-31", expected a day not before 2020-01-01 (its from)',
        ),
        (
            ["from: 2020-01-01, to: 2020-12-31", "from: 2020-12-31"],
            ('7: sites[0].links[0].contracts[1].from: found "2020-12-31", expected a day after 2020-12-31, '
            "when the contract before it ends"),
        ),
        (
            ["from: 2020-01-01", "from: 2019-01-01"],
            '7: sites[0].links[0].contracts[1].from: found "2019-01-01", expected a day after 2020-01-01, oldest first',
        ),
    ],
)  # fmt: skip
def test_contracts_follow_one_another(contracts, message):
    text = "sites:\n- id: x\n  name: {th: x}\n  links:\n  - {id: l, circuit: c, provider: p, contracts: [\n"
    text += "".join(f"    {{{one}, download_mbps: 1, upload_mbps: 1}},\n" for one in contracts) + "  ]}\n"
    assert mistakes(text) == [f"b.yaml:{message}"]


def test_mistakes_of_all_files_come_at_once():
    assert mistakes("sites: 3", "meetings: [{id: m}]\nanchor: []") == [
        'b.yaml:1: sites: found "3", expected a list',
        ("c.yaml:1: meetings[0].title: found nothing (the key is missing), expected a text of 1 to 300 characters, "
        "such as ประชุมกรมการจังหวัด"),
        "c.yaml:1: meetings[0].start: found nothing (the key is missing), expected a date and time, such as 2026-12-01 09:00",
        'c.yaml:2: anchor: found an unknown key, expected a known key: did you mean "anchors"?',
    ]  # fmt: skip


def test_a_folder_without_a_province_says_so(tmp_path):
    with pytest.raises(SettingsError) as caught:
        load(tmp_path)
    assert str(caught.value) == f"{tmp_path}: found no file *.yaml, expected the province's YAML files"
    (tmp_path / "a.yaml").write_text("sites: []\n")
    with pytest.raises(SettingsError) as caught:
        load(tmp_path)
    assert (
        str(caught.value) == f"{tmp_path}: province: found nothing in any file, expected a group of keys (id, name, …)"
    )
    with pytest.raises(SettingsError) as caught:
        load(tmp_path / "none")
    assert str(caught.value) == (
        f"{tmp_path / 'none'}: found no readable folder (No such file or directory), "
        "expected the folder of the province's YAML files"
    )


def test_a_telephone_number_keeps_its_zero():
    assert made().contacts["it"].phone == "042000001"


def test_the_contract_of_a_day():
    link = made().link("na-yung", "fibre")
    assert link is not None
    speeds = {
        day: found.download_mbps if (found := contract_on(link, day)) else None
        for day in (dt.date(2018, 3, 31), dt.date(2018, 4, 1), dt.date(2025, 3, 31), dt.date(2025, 4, 1))
    }
    assert list(speeds.values()) == [None, 200, 200, 500]


def test_the_hash_names_the_content_and_not_the_order():
    first = from_texts({"a.yaml": GROUND, "b.yaml": "anchors: []"})
    second = from_texts({"b.yaml": "anchors: []", "a.yaml": GROUND})
    assert first.hash == second.hash != made("anchors: []\n").hash
    assert from_texts(first.files) == first


def test_files_that_would_be_overlooked_are_refused_and_editors_leftovers_are_not(tmp_path):
    (tmp_path / "a.yaml").write_text(GROUND)
    (tmp_path / ".a.yaml.swp").write_text("\x00")
    (tmp_path / ".#a.yaml").write_text("nonsense: 3")
    (tmp_path / "a.yaml~").write_text("nonsense: 3")
    assert list(load(tmp_path).files) == ["a.yaml"]
    (tmp_path / "b.yml").write_text("anchors: []")
    with pytest.raises(SettingsError) as caught:
        load(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / 'b.yml'}: found a file *.yml, expected the name *.yaml, or it would be overlooked"
    )


def test_the_example_is_udon_thani_with_its_hall_and_twenty_districts(example):
    assert example.province.name.th == "จังหวัดอุดรธานี"
    kinds = [site.kind for site in example.sites.values()]
    assert (kinds[0], kinds.count("hall"), kinds.count("district")) == ("hall", 1, 20)
    assert example.sites["na-yung"].name.text() == "อำเภอนายูง"
    for site in example.sites.values():
        [link] = site.links
        [contract] = link.contracts
        assert (contract.download_mbps, contract.upload_mbps, contract.fee_baht) == (200, 80, 1250)
        assert contract.from_day == dt.date(2018, 4, 1)
        assert contract.availability_percent is None
        assert link.circuit.startswith("EXAMPLE-")
    assert len({site.links[0].circuit for site in example.sites.values()}) == 21


def test_the_contacts_of_the_example_are_plainly_fictional(example):
    for contact in example.contacts.values():
        assert "สมมติ" in contact.name.th
        assert contact.phone.startswith("000-000-")
        assert not contact.email or contact.email.endswith(".example")


def test_the_first_meetings_of_the_example_are_the_mornings_of_songkran(example):
    found = occurrences(example.meetings.values(), "Asia/Bangkok")
    assert [one.times.start for one in found] == [utc(2018, 4, day, 9) for day in range(12, 19)]
    assert [one.times.id for one in found[:2]] == ["songkran-2018", "songkran-2018@2018-04-13"]
    assert all(one.end_assumed and one.times.end == one.times.start + 3 * HOUR for one in found)


def test_a_link_agent_gets_its_own_targets_as_evidence_and_platforms_as_none(example):
    settings = agent_settings(example, "na-yung", "fibre", Role.LINK, utc(2026, 11, 21))
    by_name = {one.name: one for one in settings.assignments}
    assert len(by_name) == len(settings.assignments)
    evidence = {name for name, one in by_name.items() if one.evidence}
    assert evidence == {
        "gateway:gateway", "icmp:gateway", "edge:edge", "icmp:edge", "icmp:collector",
        "icmp:anchor-1", "icmp:anchor-2", "icmp:anchor-3", "link:link", "stamp:hall",
        "call:zoom", "call:webex",
    }  # fmt: skip
    assert by_name["icmp:gateway"].settings == {"host": "@gateway", "interval": 1.0}
    assert by_name["stamp:hall"].settings == {"responder": "hall", "host": "@collector", "port": 8862}
    assert by_name["edge:edge"].settings == {"destination": "1.1.1.1"}
    assert by_name["http:zoom.web"].settings["url"] == "https://zoom.us/join"
    assert settings.site_name == {"th": "อำเภอนายูง", "en": "Na Yung"}
    assert settings.revision == revision_of(settings)


def test_an_agent_of_the_room_gives_no_evidence(example):
    settings = agent_settings(example, "na-yung", "", "room", utc(2026, 11, 21))
    assert not any(one.evidence for one in settings.assignments)
    assert settings.role is Role.ROOM


def test_endpoints_of_others_are_asked_once_a_minute_at_most(example):
    settings = agent_settings(example, "na-yung", "fibre", "link", 0)
    for one in settings.assignments:
        if one.platform:
            assert one.every is not None
            assert one.every >= 60
            assert one.settings.get("interval", 5.0) >= 5.0


def test_what_is_not_known_of_a_platform_is_skipped_with_whom_to_ask(example):
    settings = agent_settings(example, "na-yung", "fibre", "link", 0)
    skips = {one.target: one.skip for one in settings.assignments if one.skip}
    assert skips == {
        "webex.media": Reason.ASK_THE_ORGANISER,
        "scopia.media": Reason.ASK_THE_ORGANISER,
        "tot-cloud-conference.service": Reason.ASK_THE_PROVIDER,
    }
    assert not [one for one in settings.assignments if one.platform == "tot-cloud-conference" and not one.skip]


def test_the_revision_depends_on_the_files_and_the_place_alone(example):
    now = utc(2026, 11, 21)
    again = load(EXAMPLE)
    first = agent_settings(example, "na-yung", "fibre", "link", now)
    assert agent_settings(again, "na-yung", "fibre", "link", now + HOUR).revision == first.revision
    assert agent_settings(again, "phen", "fibre", "link", now).revision != first.revision
    assert agent_settings(again, "na-yung", "fibre", "link", now, ["b", "a"]) == agent_settings(
        again, "na-yung", "fibre", "link", now, ["a", "b"]
    )


def test_meetings_reach_the_sites_that_take_part_and_no_others():
    inventory = made(meeting("  sites: [na-yung]\n  doors: 2026-12-01 08:30\n  repeat: [2026-12-03]"))
    now = utc(2026, 11, 21)
    assert agent_settings(inventory, "phen", "", "both", now).meetings == []
    settings = agent_settings(inventory, "na-yung", "fibre", "both", now)
    assert [one.id for one in settings.meetings] == ["m", "m@2026-12-03"]
    assert settings.meetings[0].doors == utc(2026, 12, 1, 8, 30)
    quiet_from = utc(2026, 12, 1, 7, 30)
    for at, allowed in ((quiet_from - MINUTE, True), (quiet_from, False), (utc(2026, 12, 1, 12, 15), True)):
        assert may_run(Load.LIGHT, at, 0, settings.meetings, settings.quiet) is allowed


def test_meetings_long_over_or_far_away_are_not_sent():
    inventory = made(meeting("  repeat: [2026-12-20]"))
    assert [one.id for one in agent_settings(inventory, "phen", "", "both", utc(2026, 12, 5)).meetings] == [
        "m@2026-12-20"
    ]
    assert agent_settings(inventory, "phen", "", "both", utc(2026, 10, 1)).meetings == []


def test_a_cancelled_meeting_is_no_reason_to_be_quiet():
    assert agent_settings(made(meeting("  cancelled: yes")), "phen", "", "both", utc(2026, 11, 30)).meetings == []


def test_a_place_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(NoSuchPlace, match=r"^site: found 'nowhere', expected one of na-yung, phen$"):
        agent_settings(made(), "nowhere", "", "link", 0)
    with pytest.raises(NoSuchPlace, match=r"^link: found 'fiber', expected one of fibre$"):
        agent_settings(made(), "na-yung", "fiber", "link", 0)


def test_every_probe_takes_the_settings_it_is_given(example):
    known_here = Directory(of_collector("https://phrom.example:8480") | {"gateway": "192.0.2.1", "edge": "192.0.2.2"})
    for one in agent_settings(example, "na-yung", "fibre", "link", 0).assignments:
        info = load_probe(one.probe)
        if not one.skip:
            settings = decoded(known_here.resolve(one.settings), info.settings)
            assert getattr(settings, "port", 1) in range(1, 65_536)
        if one.window is not None and one.every is not None:
            assert one.window <= one.every


def test_what_the_longest_names_and_cadences_make_is_still_valid_on_the_wire():
    long = "x" * 39
    endpoint = f"{{id: {long}, probe: icmp, host: h, every: 24 h, source: s}}"
    text = f"platforms: [{{id: {long}, name: X, endpoints: [{endpoint}]}}]"
    settings = agent_settings(made(text), "na-yung", "fibre", "both", 0)
    assert msgspec.json.decode(msgspec.json.encode(settings), type=AgentSettings) == settings
    assert max(len(one.target) for one in settings.assignments) == 79


def test_the_settings_of_the_example_are_valid_on_the_wire(example):
    settings = agent_settings(example, "na-yung", "fibre", "link", utc(2018, 4, 1), ["5d41402a"])
    assert msgspec.json.decode(msgspec.json.encode(settings), type=AgentSettings) == settings
    assert len(settings.meetings) == 7
