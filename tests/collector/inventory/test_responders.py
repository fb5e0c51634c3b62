"""The section ``responders``: what it refuses, word by word, and who uses which."""
# ruff: noqa: E501 - messages stand whole, to be read and searched

from pathlib import Path

import pytest

from collector.inventory import Inventory, agent_settings, load
from collector.inventory.files import from_texts
from collector.inventory.link_assignments import responders_of
from wire.settings import Role
from wire.yaml_settings import SettingsError

EXAMPLE = Path(__file__).parents[3] / "collector" / "inventory" / "example"
GROUND = "province: {id: udon, name: {th: อุดร}}\nsites: [{id: hall, name: {th: ก}}, {id: phen, name: {th: ข}}, {id: nong-han, name: {th: ค}}]\n"
RATES = "sends_mbps: 80, takes_mbps: 200"


def made(*responders: str) -> Inventory:
    text = "responders:\n" + "".join(f"  - {{{one}, {RATES}}}\n" for one in responders)
    return from_texts({"a.yaml": GROUND, "b.yaml": text if responders else ""})


def mistakes(*responders: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        made(*responders)
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("responders", "expected"),
    [
        (
            ["id: hall, site: hal"],
            ['b.yaml:2: responders[0].site: found "hal", expected the id of a site: did you mean "hall"?'],
        ),
        (
            ["id: hall, sites: [phen, nonghan]"],
            ['b.yaml:2: responders[0].sites[1]: found "nonghan", expected the id of a site: did you mean "nong-han"?'],
        ),
        (
            ["id: hall, site: hall, sites: [phen, hall]"],
            [
                'b.yaml:2: responders[0].sites[1]: found "hall", expected a site other than hall, before whose line it stands: it cannot measure that one'
            ],
        ),
        (
            ["id: hall, stamp_port: 8481"],
            [
                'b.yaml:2: responders[0].stamp_port: found "8481", expected a port other than 8481 (udp_port), because both are UDP'
            ],
        ),
        (
            ["id: hall", "id: core"],
            [
                "b.yaml:3: responders[1].host: found nothing, expected its host: hall already stands beside the collector, which starts one"
            ],
        ),
        (
            ["id: hall, host: a.example", "id: core, host: a.example"],
            [
                'b.yaml:3: responders[1].tcp_port: found "8481", expected a port of its own: hall has 8481/tcp of a.example',
                'b.yaml:3: responders[1].udp_port: found "8481", expected a port of its own: hall has 8481/udp of a.example',
                'b.yaml:3: responders[1].stamp_port: found "8862", expected a port of its own: hall has 8862/udp of a.example',
            ],
        ),
        (
            ["id: hall, host: a.example, tcp_port: 1, udp_port: 2, stamp_port: 3", "id: core, host: a.example, tcp_port: 4, udp_port: 3, stamp_port: 5"],
            ['b.yaml:3: responders[1].udp_port: found "3", expected a port of its own: hall has 3/udp of a.example'],
        ),
        (
            ["id: hall", "id: hall, host: b.example"],
            ['b.yaml:3: responders[1].id: found "hall" again, first in b.yaml:2, expected an id of its own'],
        ),
    ],
)  # fmt: skip
def test_each_mistake_has_its_words(responders: list[str], expected: list[str]) -> None:
    assert mistakes(*responders) == expected


def test_a_rate_that_is_none_is_told() -> None:
    with pytest.raises(SettingsError) as caught:
        from_texts({"a.yaml": GROUND + "responders: [{id: hall, sends_mbps: 0, takes_mbps: 200}]\n"})
    assert str(caught.value) == (
        'a.yaml:3: responders[0].sends_mbps: found "0", expected a number of megabits per second, such as 1000'
    )


def test_one_host_may_have_two_with_ports_of_their_own() -> None:
    ports = "tcp_port: 9481, udp_port: 9481, stamp_port: 9862"
    assert len(made("id: a, host: a.example", f"id: b, host: a.example, {ports}", "id: c").responders) == 3


def test_who_names_a_site_is_preferred_and_none_measures_its_own() -> None:
    inventory = made(
        "id: hall, site: hall", "id: core, host: core.example, sites: [phen]", "id: old, host: old.example"
    )
    assert [one.id for one in responders_of(inventory, "phen")] == ["core", "hall", "old"]
    assert [one.id for one in responders_of(inventory, "nong-han")] == ["hall", "old"]
    assert [one.id for one in responders_of(inventory, "hall")] == ["old"]


def test_the_example_has_one_beside_the_collector_in_the_hall() -> None:
    inventory = load(EXAMPLE)
    (hall,) = inventory.responders.values()
    assert (hall.id, hall.host, hall.site, hall.sends_mbps, hall.takes_mbps) == ("hall", "", "hall", 80, 200)
    settings = agent_settings(inventory, "na-yung", "fibre", Role.LINK, 1_790_000_000_000_000)
    assert [(one.id, one.host, one.shared) for one in settings.responders] == [("hall", "@collector", True)]
    assert agent_settings(inventory, "hall", "fibre", Role.LINK, 1_790_000_000_000_000).responders == []
