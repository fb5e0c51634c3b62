"""``phrom-collector``: exit codes, words, JSON, and the daemon as a real process."""

import asyncio
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Connection

from collector import credentials
from collector.cli import main
from collector.serve import now_utc
from collector.store import Store
from collector.store.schema import agent
from tests.support.prometheus import free_port
from wire.settings import Role


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator["Runner"]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("collector.settings.PLACES", (Path("collector.yaml"),))
    yield Runner(tmp_path)


class Runner:
    """Runs commands in a folder with a ``collector.yaml``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings("data: data\n")

    def settings(self, text: str) -> None:
        (self.folder / "collector.yaml").write_text(text, encoding="utf-8")

    def __call__(self, *arguments: str) -> Result:
        return CliRunner().invoke(main, list(arguments))

    def json(self, *arguments: str) -> Any:
        result = self(*arguments, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)


def test_check_says_what_it_read(run: Runner) -> None:
    assert run("check").stdout.startswith("fine: 21 sites of udon-thani in ")
    assert run.json("check")["sites"] == 21


def test_wrong_settings_end_with_2_and_every_mistake(run: Runner) -> None:
    run.settings("bind: 0.0.0.0\nprot: 1\nport: x\n")
    for command in (["check"], ["serve"], ["enrol", "phen"], ["token", "list"]):
        result = run(*command)
        assert result.exit_code == 2
        assert result.stdout == ""
        assert [line.split(":")[1] for line in result.stderr.splitlines()] == ["2", "3"]


def test_wrong_inventory_ends_with_2(run: Runner) -> None:
    run.settings("data: data\ninventory: province\n")
    (run.folder / "province").mkdir()
    (run.folder / "province" / "province.yaml").write_text("sites: 3\n")
    result = run("check")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "province.yaml:1: sites: found " in result.stderr


def test_wrong_usage_ends_with_2(run: Runner) -> None:
    assert run("enrol").exit_code == 2
    assert run("enrol", "phen", "--role", "king").exit_code == 2
    assert run("nothing").exit_code == 2


def test_enrol_prints_the_command_alone_on_its_line(run: Runner) -> None:
    result = run("enrol", "na-yung")
    first = result.stdout.splitlines()[0].split()
    assert first[:3] == ["phrom-agent", "join", "http://127.0.0.1:8480"]
    assert len(first[3]) == 19
    made = run.json("enrol", "na-yung", "--role", "room")
    assert (made["role"], made["reusable"], made["link"]) == ("room", True, "")
    assert made["code"] in made["command"]


def test_enrol_names_what_there_is(run: Runner) -> None:
    wrong = run("enrol", "bangkok")
    assert wrong.exit_code == 1
    assert wrong.stderr.startswith("site: found 'bangkok', expected one of hall, ")
    wrong = run("enrol", "na-yung", "--link", "copper")
    assert wrong.stderr.startswith("link: found 'copper', expected one of ")


def test_enrol_writes_a_join_file_for_a_stick(run: Runner) -> None:
    file = run.folder / "phrom-join.yaml"
    made = run.json("enrol", "na-yung", "--file", str(file))
    from msgspec import Struct

    from wire.yaml_settings import parse

    class JoinFile(Struct):
        url: str
        code: str

    held = parse(file.read_text(), str(file), JoinFile)
    assert (held.url, held.code) == (made["url"], made["code"])
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_code_of_a_collector_with_its_own_ca_carries_the_pin(run: Runner) -> None:
    run.settings("data: data\nbind: 0.0.0.0\ntls: own\npublic_url: https://phrom.example:8480\n")
    made = run.json("enrol", "na-yung")
    secret, _, pin = made["code"].partition(".")
    assert (len(secret), len(pin)) == (19, 26)
    assert (run.folder / "data" / "tls" / "ca.key").stat().st_mode & 0o777 == 0o600


def test_codes_are_revoked(run: Runner) -> None:
    run("enrol", "phen", "--role", "room")
    assert run.json("enrol", "phen", "--role", "room", "--revoke") == {"site": "phen", "role": "room", "revoked": 1}
    assert run("enrol", "phen", "--role", "room", "--revoke").stdout == "0 open codes of phen (room) revoked\n"


def test_tokens_are_made_listed_and_revoked(run: Runner) -> None:
    made = run("token", "add", "prometheus", "--scope", "scrape")
    assert made.stdout.startswith("phm_")
    assert len(made.stdout.strip()) == 47
    assert "shown this once" in made.stderr
    assert run.json("token", "list") == [{"kind": "machine", "name": "prometheus", "detail": "scrape"}]
    assert made.stdout.strip() not in run("token", "list").stdout
    assert run("token", "revoke", "prometheus").stdout == "prometheus: 1 revoked\n"
    gone = run("token", "revoke", "prometheus")
    assert (gone.exit_code, gone.stdout) == (1, "")
    assert gone.stderr.startswith("prometheus: no valid token of that name")
    wrong = run("token", "add", "x", "--scope", "write")
    assert (wrong.exit_code, wrong.stderr) == (1, "scope: found write, expected one or more of scrape, read\n")


def test_an_agent_that_is_not_there_cannot_be_retired(run: Runner) -> None:
    result = run("agent", "retire", "nobody")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("nobody: no such agent")


def test_agents_are_listed_and_rivals_marked(run: Runner) -> None:
    async def fill() -> None:
        store = await asyncio.to_thread(Store.open, run.folder / "data" / "phrom.db")
        await store.write(two_agents)
        await asyncio.to_thread(store.close)

    def two_agents(connection: Connection) -> None:
        at = now_utc()
        for _ in range(2):
            code = credentials.enrol(connection, at, "phen", "fibre", Role.LINK, who="test")
            credentials.join(connection, at, code, machine="box", address="127.0.0.1", heard={})
        connection.execute(agent.update().values(heard=at))

    run("token", "list")
    asyncio.run(fill())
    rows = run.json("agent", "list")
    assert [(one["site"], one["role"], one["machine"], one["conflict"]) for one in rows] == [
        ("phen", "link", "box", True)
    ] * 2
    assert all(line.startswith("! ") for line in run("agent", "list").stdout.splitlines())
    assert run("agent", "retire", rows[0]["agent"]).exit_code == 0
    assert [one["conflict"] for one in run.json("agent", "list")] == [False]


def test_doctor_says_what_is_wrong_and_ends_with_3(run: Runner) -> None:
    port = free_port()
    run.settings(f"data: data\nport: {port}\n")
    fine = json.loads(run("doctor", "--json").stdout)
    responder = {"responder", "responder key", "responder address", "what responders prove"}
    assert {one["what"] for one in fine} == {"data folder", "disk", "inventory", "tls", "clock", "port"} | responder
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        result = run("doctor", "--json")
    [finding] = [one for one in json.loads(result.stdout) if one["what"] == "port"]
    assert (result.exit_code, finding["ok"]) == (3, False)
    assert finding["words"].startswith(f"127.0.0.1:{port}: Address already in use")


def test_backup_without_a_store_and_restore_of_nonsense_are_told(run: Runner) -> None:
    result = run("backup", "b.tar.gz")
    assert result.exit_code == 1
    assert "not found; is data: (or --data) that of the collector?" in result.stderr
    (run.folder / "b.tar.gz").write_bytes(b"nonsense")
    result = run("restore", "b.tar.gz")
    assert result.exit_code == 1
    assert "cannot be read" in result.stderr


def test_a_store_that_cannot_be_opened_is_told(run: Runner) -> None:
    (run.folder / "data").mkdir()
    (run.folder / "data" / "phrom.db").write_bytes(b"nonsense" * 1000)
    result = run("serve")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "phrom.db: found file is not a database" in result.stderr
    assert "Traceback" not in result.stderr


def test_help_fits_and_names_every_command(run: Runner) -> None:
    words = run("--help").stdout
    names = ("agent", "backup", "check", "demo", "doctor", "enrol", "responder", "restore", "serve", "token", "vantage")
    for command in names:
        assert f"\n  {command} " in words
    assert run("--version").stdout.startswith("phrom-collector, version ")


# As a real process


class Served:
    """``phrom-collector serve`` as systemd would run it."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.notices = folder / "notify"
        self.channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.channel.bind(str(self.notices))
        self.channel.settimeout(30)
        (folder / "collector.yaml").write_text(f"data: data\nport: {self.port}\nresponder: {{start: no}}\n")
        command = [sys.executable, "-m", "collector.cli", "serve", "--config", str(folder / "collector.yaml")]
        environment = {**os.environ, "NOTIFY_SOCKET": str(self.notices), "WATCHDOG_USEC": "200000", "NO_COLOR": "1"}
        self.process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def notice(self) -> str:
        return self.channel.recv(4096).decode()

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str, str]:
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=30)
        self.channel.close()
        return self.process.returncode, out, err


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    one = Served(tmp_path)
    yield one
    if one.process.poll() is None:
        one.process.kill()
        one.process.communicate()
    one.channel.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_tells_systemd_and_ends_in_order(served: Served, number: int) -> None:
    assert served.notice() == f"READY=1\nSTATUS=serving http://127.0.0.1:{served.port}"
    assert {served.notice() for _ in range(3)} == {"WATCHDOG=1"}
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)) as connection:
        connection.request("GET", "/readyz")
        assert connection.getresponse().read() == b"ready\n"
    code, out, err = served.end(number)
    assert (code, out) == (0, "")
    events = [json.loads(line) for line in err.splitlines()]
    assert [one["event"] for one in events] == ["collector serves", "collector stops"]


def test_two_collectors_never_share_a_data_folder_nor_a_port(served: Served, tmp_path: Path) -> None:
    served.notice()
    command = [sys.executable, "-m", "collector.cli", "serve", "--config", str(tmp_path / "collector.yaml")]
    same = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert same.returncode == 1
    assert same.stderr.endswith("another collector runs on it; stop that one first\n")
    other = subprocess.run(
        [*command, "--data", "other"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert other.returncode == 1
    assert other.stderr.splitlines()[-1].startswith(f"port 127.0.0.1:{served.port} is taken by another program")


def test_commands_work_beside_the_running_collector(served: Served, tmp_path: Path) -> None:
    served.notice()
    config = ["--config", str(tmp_path / "collector.yaml")]
    token = CliRunner().invoke(main, ["token", "add", "prom", "--scope", "scrape", *config]).stdout.strip()

    def status() -> int:
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
        with contextlib.closing(connection):
            connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {token}"})
            return connection.getresponse().status

    assert status() == 200
    assert CliRunner().invoke(main, ["token", "revoke", "prom", *config]).exit_code == 0
    deadline = time.monotonic() + 10
    while status() == 200 and time.monotonic() < deadline:
        time.sleep(0.1)  # the daemon looks once a second
    assert status() == 401
    doctor = json.loads(CliRunner().invoke(main, ["doctor", "--json", *config]).stdout)
    assert {"what": "collector", "ok": True, "words": "runs, ready"} in doctor
    backup = tmp_path / "backup.tar.gz"
    assert CliRunner().invoke(main, ["backup", str(backup), *config]).exit_code == 0
    assert backup.stat().st_mode & 0o777 == 0o600


def test_an_agents_installation_says_that_it_carries_no_collector(tmp_path: Path) -> None:
    """An agent has none of the collector's libraries: a path where importing SQLAlchemy fails stands for it."""
    (tmp_path / "sqlalchemy.py").write_text("raise ModuleNotFoundError('no', name='sqlalchemy')\n", "utf-8")
    command = [sys.executable, "-c", "from collector.cli import main; main()", "serve"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    result = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert result.returncode == 1
    assert result.stderr == (
        "the library sqlalchemy is missing: an agent's installation does not carry the collector; "
        "install it with: pip install --require-hashes -r requirements/collector.txt\n"
    )
