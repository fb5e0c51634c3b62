"""What deploy/ promises: every file is accepted by the tool that will read it, and what it pins stays pinned."""

import asyncio
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from collector.responder.settings import load as load_responder
from collector.settings import load
from dashboards import generated
from tests.support.prometheus import alertmanager, prometheus

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
SCHEMA = Path(__file__).parent / "schema/compose-spec.json"
RULES = DEPLOY / "prometheus/rules/phrom.yml"
UNITS = {"phrom-agent.service": 2.0, "phrom-collector.service": 1.6, "phrom-responder.service": 1.6}
"""Exposure by ``systemd-analyze security``, as deploy/README.md states it: it may fall and must not rise."""


def read(path: str) -> Any:
    return yaml.safe_load((DEPLOY / path).read_text(encoding="utf-8"))


def run(*arguments: str | Path, **options: Any) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([str(one) for one in arguments], text=True, capture_output=True, **options)


COMPOSE = read("compose.yaml")
SERVICES = COMPOSE["services"]
each_service = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)


def test_compose_is_of_the_compose_specification() -> None:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    jsonschema.validators.validator_for(schema)(schema).validate(COMPOSE)


@each_service
def test_every_service_is_sandboxed_and_watched(service: dict[str, Any]) -> None:
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["user"].partition(":")[0] not in ("", "0", "root")
    assert service["healthcheck"]["test"][0] == "CMD"
    assert service["restart"] == "unless-stopped"
    assert "ports" not in service, "the host's network is shared: ports are those that it listens on"


@each_service
def test_every_image_is_pinned_to_a_release(service: dict[str, Any]) -> None:
    assert re.fullmatch(r"[a-z/-]+:v?\d+\.\d+\.\d+", service["image"])


def test_base_image_is_pinned() -> None:
    text = (DEPLOY / "collector/Dockerfile").read_text(encoding="utf-8")
    assert re.findall(r"^FROM (\S+)", text, re.MULTILINE) == ["python:3.13-slim-bookworm"] * 2
    assert text.index("USER 10001") < text.index("ENTRYPOINT")
    for source in re.findall(r"^COPY (?!--from)(\S+(?: \S+)*) \S+$", text, re.MULTILINE):
        assert all((ROOT / one).exists() for one in source.split())


def test_only_the_collector_listens_beyond_loopback() -> None:
    for name in ("prometheus", "alertmanager"):
        assert any("--web.listen-address=127.0.0.1:" in one for one in SERVICES[name]["command"])
    assert SERVICES["grafana"]["environment"]["GF_SERVER_HTTP_ADDR"] == "127.0.0.1"
    assert "--cluster.listen-address=" in SERVICES["alertmanager"]["command"]


def test_secrets_are_files_that_git_ignores() -> None:
    ignored = (DEPLOY / ".gitignore").read_text(encoding="utf-8").split()
    assert "secrets/" in ignored
    assert all(secret["file"].startswith("./secrets/") for secret in COMPOSE["secrets"].values())
    used = {name for service in SERVICES.values() for name in service.get("secrets", [])}
    assert used == COMPOSE["secrets"].keys()
    environment = SERVICES["grafana"]["environment"]
    assert not [name for name in environment if "PASSWORD" in name and not name.endswith("__FILE")]


def test_mounted_files_exist() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (DEPLOY / source).exists(), source


def test_settings_of_the_collector_are_accepted() -> None:
    path = DEPLOY / "collector/collector.yaml"
    assert load(path).url == "https://phrom.example.go.th:8480"


def test_prometheus_reads_history_and_scrapes_the_present() -> None:
    settings = read("prometheus/prometheus.yml")
    (source,) = settings["remote_read"]
    assert source["read_recent"] is True
    assert source["url"].endswith("/api/v1/read")
    job = settings["scrape_configs"][0]
    assert job["job_name"] == "phrom"
    for part in (source, job):
        assert part["authorization"]["credentials_file"] == "/run/secrets/prometheus_token"


def test_grafana_is_given_the_dashboards_that_are_generated() -> None:
    (provider,) = read("grafana/provisioning/dashboards/phrom.yaml")["providers"]
    folder = provider["options"]["path"]
    assert f"../dashboards:{folder}:ro" in SERVICES["grafana"]["volumes"]
    home = Path(SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert home.parent == Path(folder)
    assert home.name in {path.name for path in generated()}
    (source,) = read("grafana/provisioning/datasources/phrom.yaml")["datasources"]
    assert (source["type"], source["url"]) == ("prometheus", "http://127.0.0.1:9090")


def test_rules_read_the_present_alone() -> None:
    """History would page for last night when it arrives late."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    alerts = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    assert len(alerts) == 6
    for rule in alerts:
        metrics = set(re.findall(r"\bphrom_[a-z_]+", rule["expr"]))
        assert all(name.startswith("phrom_current_") for name in metrics)
        assert rule["alert"] == "PhromCollectorDown" or "phrom:collector_watched" in rule["expr"]
        assert {"summary", "description"} == rule["annotations"].keys()
        assert rule["for"]


@pytest.mark.tool("promtool")
def test_promtool_accepts_configuration_and_rules() -> None:
    config = run("promtool", "check", "config", "--syntax-only", DEPLOY / "prometheus/prometheus.yml")
    assert config.returncode == 0, config.stderr
    rules = run("promtool", "check", "rules", "--lint=all", "--lint-fatal", RULES)
    assert rules.returncode == 0, rules.stderr + rules.stdout


@pytest.mark.tool("promtool")
def test_rules_fire_when_they_should_and_not_before() -> None:
    done = run("promtool", "test", "rules", Path(__file__).parent / "rules/rules_test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.tool("prometheus", "promtool")
async def test_prometheus_answers_its_health_check(tmp_path: Path) -> None:
    async with prometheus(tmp_path, "global: {}\n") as served:
        command = SERVICES["prometheus"]["healthcheck"]["test"][1:]
        asked = [one.replace("http://127.0.0.1:9090", served.url) for one in command]
        healthy = await asyncio.to_thread(run, *asked)
        assert healthy.returncode == 0, healthy.stderr


@pytest.mark.tool("amtool", "prometheus-alertmanager")
async def test_alertmanager_starts_and_answers_its_health_check(tmp_path: Path) -> None:
    settings = DEPLOY / "alertmanager/alertmanager.yml"
    checked = await asyncio.to_thread(run, "amtool", "check-config", settings)
    assert checked.returncode == 0, checked.stderr
    async with alertmanager(tmp_path, settings) as served:
        command = SERVICES["alertmanager"]["healthcheck"]["test"][1:]
        asked = [one.replace("http://127.0.0.1:9093", served.url) for one in command]
        healthy = await asyncio.to_thread(run, *asked)
        assert healthy.returncode == 0, healthy.stderr


@pytest.mark.tool("systemd-analyze")
@pytest.mark.parametrize("unit", UNITS)
def test_unit_is_valid(unit: str, tmp_path: Path) -> None:
    text = (DEPLOY / "systemd" / unit).read_text(encoding="utf-8")
    here = tmp_path / unit
    here.write_text(text.replace("/opt/phrom/bin/phrom", "/bin/true phrom"), encoding="utf-8")
    done = run("systemd-analyze", "verify", "--man=no", here)
    assert (done.returncode, done.stderr.strip()) == (0, "")


@pytest.mark.tool("systemd-analyze")
@pytest.mark.parametrize(("unit", "most"), UNITS.items())
def test_unit_is_no_more_exposed_than_stated(unit: str, most: float) -> None:
    done = run(
        "systemd-analyze", "security", "--offline=true", DEPLOY / "systemd" / unit, env=os.environ | {"LC_ALL": "C"}
    )
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert found is not None, done.stdout + done.stderr
    assert float(found[1]) <= most
    assert f"**{most}**" in (DEPLOY / "README.md").read_text(encoding="utf-8")


def settings_of(unit: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in (DEPLOY / "systemd" / unit).read_text(encoding="utf-8").splitlines():
        if "=" in line and not line.startswith("#"):
            found.setdefault(line.partition("=")[0], []).append(line.partition("=")[2])
    return found


@pytest.mark.parametrize("unit", ["phrom-collector.service", "phrom-responder.service"])
def test_who_serves_throughput_tests_may_read_how_busy_the_machine_is(unit: str) -> None:
    """A result says whether the responder's processors limited it: that stands in /proc/stat."""
    assert "ProcSubset" not in settings_of(unit)


@pytest.mark.parametrize("unit", UNITS)
def test_who_speaks_stamp_may_read_its_clocks_state_and_not_set_it(unit: str) -> None:
    """Reading is one of the calls of ``@privileged``: it is let through after that was taken away, and none that sets
    alone. The collector's responder is its child, and under its filter."""
    found = settings_of(unit)
    assert "ProtectClock" not in found
    assert found["SystemCallFilter"] == [
        "@system-service", "~@privileged @resources", "adjtimex clock_adjtime clock_adjtime64"
    ]  # fmt: skip
    assert [one for one in found["CapabilityBoundingSet"] if one not in ("", "CAP_NET_RAW")] == []
    assert found["PrivateDevices"] == ["yes"]


def test_the_responder_alone_has_no_right_and_no_folder() -> None:
    found = settings_of("phrom-responder.service")
    assert found["CapabilityBoundingSet"] == found["AmbientCapabilities"] == [""]
    assert "StateDirectory" not in found
    assert "ReadWritePaths" not in found


def test_settings_of_a_responder_in_the_readme_are_accepted(tmp_path: Path) -> None:
    text = (DEPLOY / "README.md").read_text(encoding="utf-8")
    content = text.partition("responder.yaml <<END\n")[2].partition("END\n")[0]
    (tmp_path / "responder.yaml").write_text(content, encoding="utf-8")
    found = load_responder(tmp_path / "responder.yaml")
    assert (found.id, found.bind, found.key_file) == ("core", "0.0.0.0", str(tmp_path / "core.key"))


def test_ports_of_the_image_are_those_that_the_collector_and_its_responder_use() -> None:
    text = (DEPLOY / "collector/Dockerfile").read_text(encoding="utf-8")
    assert re.findall(r"^EXPOSE (.+)$", text, re.MULTILINE) == ["8480 8481 8481/udp 8862/udp"]


def test_agent_has_one_right_and_one_folder() -> None:
    text = (DEPLOY / "systemd/phrom-agent.service").read_text(encoding="utf-8")
    lines = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    assert lines["CapabilityBoundingSet"] == lines["AmbientCapabilities"] == "CAP_NET_RAW"
    assert (lines["Type"], lines["ProtectSystem"], lines["StateDirectory"]) == ("notify", "strict", "phrom-agent")
    assert "ReadWritePaths" not in lines
    assert int(lines["WatchdogSec"]) > 0
