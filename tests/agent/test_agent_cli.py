"""The command phrom-agent, as a person uses it."""

import json
import logging
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from click.testing import CliRunner, Result

from agent.cli import plain_run
from agent.commands import main


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    """The commands set logging up for a process of their own."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "agent.yaml"
    file.write_text(f"state: {tmp_path}/state\nlisten: ''\n", encoding="utf-8")
    return file


def agent(*arguments: str | Path, **environment: str | None) -> Result:
    unset = {"LC_ALL": None, "LC_MESSAGES": None, "LANG": None, "NO_COLOR": None, "PHROM_AGENT_CONFIG": None}
    return CliRunner().invoke(main, [str(one) for one in arguments], env={**unset, **environment})


def measured(config: Path, port: int, extra: str = "") -> None:
    config.write_text(
        config.read_text(encoding="utf-8")
        + "assignments:\n"
        + f"  - {{probe: tcp, target: here, settings: {{host: 127.0.0.1, port: {port}}}}}\n"
        + extra,
        encoding="utf-8",
    )


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def closed() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def test_help_names_the_commands_and_the_exit_codes() -> None:
    text = agent("--help").stdout
    for command in ("run", "once", "check", "show-config", "doctor", "join"):
        assert f"\n  {command} " in text
    assert "Exit codes: 0 fine, 1 failed, 2 wrong usage or settings" in " ".join(text.split())
    assert agent("dance").exit_code == 2


def test_check_a_good_file_and_none(config: Path) -> None:
    found = agent("check", config)
    assert (found.exit_code, found.stdout) == (0, f"{config}: fine\n")
    if not Path("/etc/phrom/agent.yaml").exists():
        assert agent("check").stdout == "no settings file: the defaults are fine\n"


def test_check_as_json(config: Path) -> None:
    found = agent("check", config, "--json")
    assert (found.exit_code, json.loads(found.stdout)) == (0, {"settings": "fine", "file": str(config)})
    if not Path("/etc/phrom/agent.yaml").exists():
        assert json.loads(agent("check", "--json").stdout) == {"settings": "fine", "file": None}


def test_check_says_every_mistake_on_stderr_and_ends_with_2(config: Path) -> None:
    config.write_text("stat: x\nlog_level: loud\n", encoding="utf-8")
    found = agent("check", config)
    assert (found.exit_code, found.stdout) == (2, "")
    assert found.stderr.splitlines() == [
        f'{config}:1: stat: found an unknown key, expected a known key: did you mean "state"?',
        f'{config}:2: log_level: found "loud", expected one of debug, info, warning, error',
    ]
    assert agent("run", PHROM_AGENT_CONFIG=str(config)).exit_code == 2


def test_once_prints_what_it_measured(config: Path, listening: int) -> None:
    measured(config, listening)
    found = agent("-c", config, "once", "tcp:here")
    assert found.exit_code == 0, found.output
    assert found.stdout.startswith("tcp:here  ok  connect ")
    assert found.stderr == ""


def test_once_as_json_is_the_observations(config: Path, listening: int) -> None:
    measured(config, listening)
    found = agent("-c", config, "once", "tcp", "--json")
    (window,) = json.loads(found.stdout)
    assert (window["kind"], window["probe"], window["outcome"]) == ("window", "tcp", "ok")
    assert window["durations"]["connect"][1] > 0


def test_once_ends_with_3_when_something_failed(config: Path, closed: int) -> None:
    measured(config, closed)
    found = agent("-c", config, "once", "tcp")
    assert found.exit_code == 3
    assert found.stdout.startswith("tcp:here  failed: refused")


def test_once_needs_names_that_are_assigned(config: Path) -> None:
    found = agent("-c", config, "once", "levitation")
    assert found.exit_code == 2
    assert found.stderr == (
        "found levitation, expected the name of a probe or probe:target that is assigned: "
        "dns:resolver, gateway:gateway, host:machine, icmp:gateway\n"
    )


def test_a_continuous_probe_takes_the_window_it_is_given(config: Path) -> None:
    config.write_text(
        config.read_text(encoding="utf-8")
        + "assignments:\n  - {probe: icmp, target: self, settings: {host: 127.0.0.1, interval: 0.1}}\n",
        encoding="utf-8",
    )
    found = agent("-c", config, "once", "icmp:self", "--window", "1", "--json")
    (window,) = json.loads(found.stdout)
    if window.get("reason") == "no_permission":
        pytest.skip("no right to ping")
    assert window["counts"]["sent"] == 10
    assert window["counts"]["lost"] == 0


def test_show_config_masks_secrets(config: Path) -> None:
    measured(config, 80, "  - {probe: http, target: web, settings: {url: 'https://u:hunter2@example.go.th/'}}\n")
    found = agent("-c", config, "show-config")
    assert found.exit_code == 0, found.output
    assert "hunter2" not in found.stdout
    assert "example.go.th" in found.stdout
    plain = json.loads(agent("-c", config, "show-config", "--json").stdout)
    assert plain["own"]["state"].endswith("/state")
    assert [one["target"] for one in plain["running"]["assignments"]][-2:] == ["here", "web"]


def test_the_doctor_of_a_machine_that_has_not_joined(config: Path) -> None:
    found = agent("-c", config, "doctor")
    assert found.exit_code == 3
    assert "✗ joined · must be mended: not joined: run phrom-agent join URL CODE" in found.stdout
    assert "joined" in found.stdout.splitlines()[-1]
    assert "\x1b[" not in found.stdout
    thai = agent("-c", config, "doctor", LANG="th_TH.UTF-8")
    assert "ยังไม่ได้ลงทะเบียน" in thai.stdout
    assert "ยังไม่ได้ลงทะเบียน" in agent("-c", config, "doctor", "--lang", "th").stdout
    plain = json.loads(agent("-c", config, "doctor", "--json").stdout)
    assert plain["healthy"] is False
    assert {one["check"]: one["state"] for one in plain["checks"]}["joined"] == "bad"


def test_joining_with_nonsense_never_repeats_the_code(config: Path) -> None:
    found = agent("-c", config, "join", "https://phrom.example.go.th", "not-a-code")
    assert found.exit_code == 2
    assert "not-a-code" not in found.output
    unsafe = agent("-c", config, "join", "http://phrom.example.go.th", "ABCD-EFGH-IJKL-MNOP")
    assert unsafe.exit_code == 2
    assert "expected https" in unsafe.stderr


def test_joining_a_collector_that_is_not_there_fails(config: Path, closed: int) -> None:
    found = agent("-c", config, "join", f"http://127.0.0.1:{closed}", "ABCD-EFGH-IJKL-MNOP")
    assert found.exit_code == 1
    assert "ABCD" not in found.output


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["run"], (True, None)),
        (["-c", "a.yaml", "run"], (True, "a.yaml")),
        (["--config", "a.yaml", "run"], (True, "a.yaml")),
        (["--config=a.yaml", "run"], (True, "a.yaml")),
        (["run", "--help"], (False, None)),
        (["--verbose", "run"], (False, None)),
        (["once"], (False, None)),
        ([], (False, None)),
    ],
)
def test_only_a_plain_run_goes_without_the_command_line_library(
    arguments: list[str], found: tuple[bool, str | None]
) -> None:
    assert plain_run(arguments) == found


def test_a_plain_run_imports_neither_click_nor_rich_nor_yaml(tmp_path: Path) -> None:
    code = (
        "import sys, agent.cli\n"
        "from agent.memory import be_thrifty; be_thrifty()\n"
        "import agent.settings, wire.logs, agent.daemon\n"
        "print(sorted({'click', 'yaml', 'prometheus_client', 'cryptography', 'dns', 'psutil', 'aiohttp.web'}"
        " & set(sys.modules)), sys.modules['rich'])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[] None\n"
