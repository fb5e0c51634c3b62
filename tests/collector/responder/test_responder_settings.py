"""``responder.yaml``: every mistake with its exact words."""

from pathlib import Path

import pytest

from collector.responder.settings import load
from wire.yaml_settings import SettingsError

GOOD = "id: core\nsends_mbps: 1000\ntakes_mbps: 500\nkey_file: core.key\n"


def mistakes(tmp_path: Path, text: str) -> str:
    file = tmp_path / "responder.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError) as wrong:
        load(file)
    return str(wrong.value).replace(f"{file}:", "")


def test_the_least_that_must_be_said(tmp_path: Path) -> None:
    file = tmp_path / "responder.yaml"
    file.write_text(GOOD)
    found = load(file)
    assert (found.id, found.bind, found.tcp_port, found.udp_port, found.stamp_port) == (
        "core",
        "127.0.0.1",
        8481,
        8481,
        8862,
    )
    assert found.key_file == str(tmp_path / "core.key")
    capacity = found.capacity()
    assert (capacity.down, capacity.up, capacity.sessions) == (1_000_000_000, 500_000_000, 500)
    assert found.metrics_port == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            GOOD + "bind: core\n",
            '5: bind: found "core", expected an IP address of this machine, such as 127.0.0.1 or 0.0.0.0',
        ),
        (
            GOOD + "stamp_port: 8481\n",
            '5: stamp_port: found "8481", expected a port other than 8481 (udp_port), because both are UDP',
        ),
        (
            GOOD + "bind: 0.0.0.0\nudp_port: 8862\n",
            '1: stamp_port: found "8862", expected a port other than 8862 (udp_port), because both are UDP',
        ),
        (GOOD + "tcp_prot: 1\n", '5: tcp_prot: found an unknown key, expected a known key: did you mean "tcp_port"?'),
        (
            GOOD.replace("core", "Core", 1),
            '1: id: found "Core", expected its id in the inventory, in lower case, digits and hyphens, such as core',
        ),
        (
            GOOD.replace("1000", "0"),
            '2: sends_mbps: found "0", expected a number of megabits per second, such as 1000',
        ),
    ],
)
def test_each_mistake_has_its_words(tmp_path: Path, text: str, expected: str) -> None:
    assert mistakes(tmp_path, text) == expected


def test_what_is_missing_is_told_at_once(tmp_path: Path) -> None:
    told = mistakes(tmp_path, "bind: 0.0.0.0\n")
    assert [line.partition(": found")[0] for line in told.splitlines()] == [
        "1: id",
        "1: sends_mbps",
        "1: takes_mbps",
        "1: key_file",
    ]


def test_without_a_file_it_says_where_it_looked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.responder.settings.PLACES", (tmp_path / "a.yaml", tmp_path / "b.yaml"))
    with pytest.raises(SettingsError) as wrong:
        load(None)
    assert str(wrong.value) == (
        f"responder: found no settings file, expected its name, or one at {tmp_path}/a.yaml or {tmp_path}/b.yaml"
    )
    (tmp_path / "b.yaml").write_text(GOOD)
    assert load(None).id == "core"
