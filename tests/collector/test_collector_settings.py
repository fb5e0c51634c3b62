"""``collector.yaml``: every mistake with its exact words."""

from pathlib import Path

import pytest

from collector.settings import CollectorSettings, load
from wire.yaml_settings import SettingsError


def mistakes(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "collector.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError) as wrong:
        load(file)
    return str(wrong.value).replace(f"{tmp_path}/collector.yaml:", "").replace(f"{tmp_path}/", "").splitlines()


def test_without_a_file_it_listens_on_loopback_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("collector.settings.PLACES", (Path("collector.yaml"),))
    assert load(None) == CollectorSettings()
    assert (load(None).bind, load(None).port, load(None).url) == ("127.0.0.1", 8480, "http://127.0.0.1:8480")


def test_paths_are_meant_from_the_files_folder(tmp_path: Path) -> None:
    file = tmp_path / "collector.yaml"
    file.write_text("data: state\ninventory: province\n")
    settings = load(file)
    assert (settings.data, settings.inventory) == (str(tmp_path / "state"), str(tmp_path / "province"))
    assert load(file, data=str(tmp_path / "other")).data == str(tmp_path / "other")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "bind: 0.0.0.0\n",
            (
                '1: bind: found "0.0.0.0", expected 127.0.0.1, or with another address TLS: set tls: own '
                "(or tls: files with certificate and key), or behind_tls_proxy: yes if a proxy ends TLS. Tokens would "
                "cross the network in clear otherwise"
            ),
        ),
        (
            "port: 1\nbind: hall\n",
            ('2: bind: found "hall", expected an IP address of this machine, such as 127.0.0.1 or 0.0.0.0'),
        ),
        (
            "tls: files\ncertificate: nowhere.pem\n",
            (
                '2: certificate: found "nowhere.pem", expected an existing PEM file, because tls is files\n'
                '1: key: found "", expected an existing PEM file, because tls is files'
            ),
        ),
        (
            "public_url: phrom\n",
            ('1: public_url: found "phrom", expected a scheme and host, such as https://phrom.udonthani.example:8480'),
        ),
        (
            "public_url: http://phrom.example\n",
            ('1: public_url: found "http://phrom.example", expected https, because agents send their tokens to it'),
        ),
        (
            "public_url: https://phrom.example\n",
            (
                '1: public_url: found "https://phrom.example", expected tls: own or files, or '
                "behind_tls_proxy: yes, to go with https"
            ),
        ),
        (
            "tls: own\npublic_url: https://phrom.example\n",
            (
                '2: public_url: found "https://phrom.example", expected bind: 0.0.0.0 with TLS, or '
                "behind_tls_proxy: yes; a collector on loopback is reached by nobody else"
            ),
        ),
        (
            "prot: 8480\n",
            '1: prot: found an unknown key, expected a known key: did you mean "port"?',
        ),
        (
            "port: 70000\n",
            '1: port: found "70000", expected a whole number from 0 to 65535, such as 8480',
        ),
        (
            "tls: yes\n",
            '1: tls: found "yes", expected one of none, own, files, such as own',
        ),
        (
            "port: 1\nresponder:\n  bind: hall\n",
            (
                '3: responder.bind: found "hall", expected an IP address of this machine, such as 0.0.0.0, or '
                "nothing for that of the collector"
            ),
        ),
        (
            "responder: {start: perhaps, sessions: 0, port: 8481}\n",
            (
                '1: responder.start: found "perhaps", expected yes or no, such as yes\n'
                '1: responder.sessions: found "0", expected a whole number from 1 to 100000, such as 500\n'
                "1: responder.port: found an unknown key, expected a known key: one of bind, of_one_source, sessions, "
                "start"
            ),
        ),
        (
            "retention:\n  windows_days: 1\nlimits:\n  requests_per_second: 0\n",
            (
                '2: retention.windows_days: found "1", expected a whole number from 2 to 3660, such as 90\n'
                '4: limits.requests_per_second: found "0", expected a number of more than 0 and 10000 or '
                "less, such as 30"
            ),
        ),
    ],
)
def test_each_mistake_has_its_words(tmp_path: Path, text: str, expected: str) -> None:
    assert "\n".join(mistakes(tmp_path, text)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "bind: 0.0.0.0\ntls: own\npublic_url: https://phrom.example:8480\n",
        "bind: 0.0.0.0\nbehind_tls_proxy: yes\npublic_url: https://phrom.example\n",
        "behind_tls_proxy: yes\npublic_url: https://phrom.example\n",
        "bind: ::1\n",
        "responder: {bind: 0.0.0.0, start: no}\n",
        "bind: 127.0.0.2\npublic_url: http://localhost:8480\n",
    ],
)
def test_each_safe_way_is_taken(tmp_path: Path, text: str) -> None:
    file = tmp_path / "collector.yaml"
    file.write_text(text)
    load(file)
