"""The agent's own settings file: every mistake in its exact words, and the defaults without a file."""

from pathlib import Path

import pytest

from agent.router_settings import RouterSettings, counters_of
from agent.settings import (
    OwnSettings,
    default_state,
    effective,
    find,
    read_own,
    shown,
    starting_assignments,
)
from wire.settings import AgentSettings, Assignment
from wire.yaml_settings import SettingsError


def mistakes(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "agent.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        read_own(file)
    return [line.removeprefix(f"{tmp_path}/") for line in str(caught.value).splitlines()]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "collector: phrom.example",
            (
                'agent.yaml:1: collector: found "phrom.example", expected an address beginning with https://, '
                "such as https://phrom.example.go.th:8480"
            ),
        ),
        (
            "listen: 0.0.0.0:9848",
            (
                'agent.yaml:1: listen: found "0.0.0.0:9848", expected an address of this machine itself with a port, '
                "such as 127.0.0.1:9848"
            ),
        ),
        ("listen: 127.0.0.1:99999", 'agent.yaml:1: listen: found "127.0.0.1:99999", expected a port of 1 to 65535'),
        (
            "spool:\n  size: 1 MB",
            'agent.yaml:2: spool.size: found "1 MB", expected a size of at least 8 MiB, such as 256 MiB',
        ),
        (
            "spool:\n  age: 3",
            'agent.yaml:2: spool.age: found "3", expected a duration of at least 1 day, such as 30 days',
        ),
        ("stat: /tmp", 'agent.yaml:1: stat: found an unknown key, expected a known key: did you mean "state"?'),
        (
            "router: {counters: snmp, community: corridor}",
            (
                "agent.yaml:1: router.interface: found nothing, "
                "expected the name of the router's port towards the provider, such as ppp0"
            ),
        ),
        (
            "router: {counters: snmp, interface: ppp0}",
            "agent.yaml:1: router.community: found nothing, expected the community that may read the router's counters",
        ),
        (
            "router: {counters: netflow}",
            'agent.yaml:1: router.counters: found "netflow", expected one of upnp, snmp, this-machine, none',
        ),
        (
            "log_format: xml",
            'agent.yaml:1: log_format: found "xml", expected one of auto, console, json',
        ),
        (
            "assignments:\n  - {probe: tcp, target: Printer, settings: {host: 192.0.2.7, port: 80}}",
            (
                'agent.yaml:2: assignments[0].target: found "Printer", '
                "expected a name of small letters, digits and . _ : / -, "
                "such as printer"
            ),
        ),
        (
            "assignments:\n  - {probe: tcp, target: printer, every: 5, settings: {host: 192.0.2.7, port: 80}}",
            'agent.yaml:2: assignments[0].every: found "5", expected a duration with its unit, such as 60 s',
        ),
        (
            "assignments:\n  - {probe: tcp, target: printer, settings: {host: 192.0.2.7, port: many}}",
            'agent.yaml:2: assignments[0].settings.port: found "many", expected a whole number',
        ),
        (
            "assignments:\n  - {probe: tcp, target: printer, settings: {host: 192.0.2.7, port: 80, prot: 1}}",
            (
                "agent.yaml:2: assignments[0].settings.prot: found a key that the probe does not have, "
                "expected one of host, port"
            ),
        ),
        (
            "assignments:\n  - {probe: tcp, target: printer, settings: {port: 80}}",
            "agent.yaml:2: assignments[0].settings: found none, expected host, which the probe needs",
        ),
        (
            (
                "assignments:\n"
                "  - {probe: tcp, target: a, settings: {host: 192.0.2.7, port: 80}}\n"
                "  - {probe: tcp, target: a, settings: {host: 192.0.2.8, port: 80}}"
            ),
            'agent.yaml:3: assignments[1].target: found "a", expected one tcp assignment of that name',
        ),
    ],
)
def test_each_mistake_in_its_exact_words(tmp_path: Path, text: str, words: str) -> None:
    assert mistakes(tmp_path, text) == [words]


def test_an_unknown_probe_names_those_there_are(tmp_path: Path) -> None:
    (words,) = mistakes(tmp_path, "assignments:\n  - {probe: levitation, target: x}")
    assert words.startswith('agent.yaml:2: assignments[0].probe: found "levitation", expected one of call, dns, edge, ')


def test_all_mistakes_come_at_once(tmp_path: Path) -> None:
    assert len(mistakes(tmp_path, "stat: /tmp\nlisten: here\nspool: {size: 1}\nlog_level: loud")) == 4


def test_a_missing_file_that_was_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        read_own(tmp_path / "none.yaml")
    assert str(caught.value) == (
        f"{tmp_path}/none.yaml: found no readable file (No such file or directory), expected a YAML file"
    )


def test_no_file_is_fine() -> None:
    assert read_own(None) == OwnSettings()
    assert find(None) is None or Path("/etc/phrom/agent.yaml").exists()
    assert find("x.yaml") == Path("x.yaml")
    assert OwnSettings().listen_at == ("127.0.0.1", 9848)
    assert OwnSettings(listen="").listen_at is None
    assert OwnSettings(listen="[::1]:1").listen_at == ("::1", 1)


def test_a_whole_file(tmp_path: Path) -> None:
    file = tmp_path / "agent.yaml"
    file.write_text(
        "collector: https://phrom.example.go.th:8480\n"
        "state: /srv/phrom\n"
        "ntp: time.example.go.th\n"
        "spool: {size: 64 MiB, age: 10 days}\n"
        "assignments:\n"
        "  - probe: tcp\n"
        "    target: printer\n"
        "    every: 2 min\n"
        '    settings: {host: "@gateway", port: 9100}\n',
        encoding="utf-8",
    )
    own = read_own(file)
    assert (own.spool.size, own.spool.age) == (64 * 1024 * 1024, 864_000.0)
    assert own.state_dir == Path("/srv/phrom")
    assert own.assignments[0].assignment == Assignment(
        probe="tcp", target="printer", every=120.0, settings={"host": "@gateway", "port": 9100}
    )
    assert [one.name for one in starting_assignments(own)] == [
        "gateway:gateway",
        "icmp:gateway",
        "dns:resolver",
        "host:machine",
        "ntp:clock",
    ]


def test_where_state_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/one:/var/lib/two")
    assert default_state() == Path("/var/lib/one")
    monkeypatch.delenv("STATE_DIRECTORY")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert default_state() == Path("/var/lib/phrom-agent")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_STATE_HOME", "/home/somchai/.state")
    assert default_state() == Path("/home/somchai/.state/phrom-agent")


def test_own_assignments_stand_beside_the_fetched_and_replace_their_namesakes(tmp_path: Path) -> None:
    file = tmp_path / "agent.yaml"
    file.write_text(
        "assignments:\n  - {probe: tcp, target: a, settings: {host: 192.0.2.7, port: 80}}\n", encoding="utf-8"
    )
    own = read_own(file)
    fetched = AgentSettings(
        revision="r7",
        assignments=[Assignment(probe="tcp", target="a"), Assignment(probe="tcp", target="b")],
    )
    found = effective(own, fetched)
    assert found.revision == "r7"
    assert [(one.name, bool(one.settings)) for one in found.assignments] == [("tcp:b", False), ("tcp:a", True)]
    unjoined = effective(OwnSettings(), None)
    assert len(unjoined.revision) == 16
    assert effective(OwnSettings(), None, "udon-thani", "na-yung").site == "na-yung"


def test_the_routers_community_is_masked(tmp_path: Path) -> None:
    file = tmp_path / "agent.yaml"
    file.write_text("router: {counters: snmp, interface: ppp0, community: corridor}", encoding="utf-8")
    assert "corridor" not in str(shown(read_own(file), AgentSettings()))


@pytest.mark.parametrize(
    ("router", "gateway", "kind"),
    [
        (RouterSettings(), "192.168.1.1", "IgdCounters"),
        (RouterSettings(), "", "NoneType"),
        (RouterSettings(host="192.168.1.2"), "", "IgdCounters"),
        (RouterSettings(counters="snmp", interface="ppp0", community="x"), "192.168.1.1", "SnmpCounters"),
        (RouterSettings(counters="none"), "192.168.1.1", "NoneType"),
        (RouterSettings(counters="this-machine"), "192.168.1.1", "NoneType"),
    ],
)
def test_who_is_asked_for_the_links_counters(router: RouterSettings, gateway: str, kind: str) -> None:
    assert type(counters_of(router, gateway)).__name__ == kind


def test_secrets_are_masked_wherever_they_stand() -> None:
    running = AgentSettings(
        assignments=[
            Assignment(
                probe="http",
                target="a",
                settings={"url": "https://user:hunter2@example.go.th/", "token": "x", "list": ["pha_" + "a" * 43]},
            )
        ]
    )
    found = str(shown(OwnSettings(state="/srv"), running))
    assert "hunter2" not in found
    assert "aaaa" not in found
    assert "'token': 'x'" not in found
    assert "example.go.th" in found
