"""``phrom-collector demo``: a collector, its responder and a real agent on this machine, beside the example province.

The agent is a site of its own, "this machine", and measures what is really there. The example's districts stand as they
are without agents: nothing that is shown was made up.
"""

import asyncio
import contextlib
import ctypes
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import click
import yaml
from sqlalchemy import select

from collector import credentials
from collector.enrolment import Enrolled, write_join_file
from collector.province import example, load_province
from collector.responder.beside import responding
from collector.serve import CannotStart, listening, lone, opened
from collector.services import Services
from collector.settings import CollectorSettings, load
from collector.store.schema import agent as agent_table
from wire.settings import Role

SITE = "this-machine"
AGENT_METRICS = 9848
STOPPING = 15.0
"""Seconds that the agent gets to end: it writes down that it stopped, and delivers it."""
_PDEATHSIG = 1  # PR_SET_PDEATHSIG of prctl(2)
_SITE_FILE = """\
# The demo's own site: the machine it runs on. It has no circuit, so it gives no evidence against a provider.
sites:
  - id: this-machine
    name: {th: เครื่องนี้, en: This machine}
    kind: other
    required: no
"""


def prepare(folder: Path, port: int) -> CollectorSettings:
    """Folders and files of the demo, each made once, so that what a person changes in them stays."""
    inventory = folder / "inventory"
    inventory.mkdir(parents=True, exist_ok=True)
    for file in sorted(example().glob("*.yaml")):
        if not (inventory / file.name).exists():
            shutil.copyfile(file, inventory / file.name)
    site = inventory / "this-machine.yaml"
    if not site.exists():
        site.write_text(_SITE_FILE, encoding="utf-8")
    config = folder / "collector.yaml"
    content = f"# Written by phrom-collector demo.\nport: {port}\ndata: collector\ninventory: inventory\n"
    config.write_text(content, encoding="utf-8")
    return load(config)


async def run(folder: Path, port: int) -> None:
    """Runs until Ctrl-C or SIGTERM; raises :class:`CannotStart`."""
    folder = await asyncio.to_thread(folder.resolve)
    try:
        settings = await asyncio.to_thread(prepare, folder, port)
    except OSError as error:
        raise CannotStart(
            f"{error.filename or folder}: {error.strerror}; expected a folder that can be written, with free space:"
            " phrom-collector demo --data FOLDER"
        ) from error
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with contextlib.ExitStack() as stack:
        await asyncio.to_thread(stack.enter_context, lone(Path(settings.data)))
        inventory = await asyncio.to_thread(load_province, settings)
        async with opened(settings, inventory) as services, _listening(services) as url, responding(services):
            config = await _agent_files(folder, services, url)
            async with _agent(folder, config) as process:
                _say(_welcome(url, folder, config))
                await _until(stop, services, process, folder)
        _say("stopped; everything is kept in " + str(folder))


@contextlib.asynccontextmanager
async def _listening(services: Services) -> AsyncIterator[str]:
    try:
        async with listening(services) as url:
            yield url
    except CannotStart as error:
        raise CannotStart(f"{error}: phrom-collector demo --port {services.settings.port + 1}") from error


async def _agent_files(folder: Path, services: Services, url: str) -> Path:
    """The agent's settings and, unless it joined this very store before, a join file with a new code."""
    config, join_file = folder / "agent.yaml", folder / "phrom-join.yaml"
    held = await services.store.read(
        lambda connection: connection.execute(
            select(agent_table.c.id).where(agent_table.c.site == SITE, agent_table.c.retired.is_(None))
        ).first()
    )
    known = await asyncio.to_thread((folder / "agent" / "identity.json").exists)
    if held is None or not known:
        at = services.now()
        code = await services.store.write(
            lambda connection: credentials.enrol(connection, at, SITE, "", Role.BOTH, who="demo")
        )
        await asyncio.to_thread(write_join_file, join_file, Enrolled(url, code, SITE, "", Role.BOTH))
    await asyncio.to_thread(_write_config, config, folder, join_file, url)
    return config


def _write_config(config: Path, folder: Path, join_file: Path, url: str) -> None:
    settings = {
        "state": str(folder / "agent"),
        "collector": url,
        "listen": f"127.0.0.1:{AGENT_METRICS}" if _free(AGENT_METRICS) else "",
        "join_files": [str(join_file)],
        "log_format": "console",
    }
    config.write_text("# Written by phrom-collector demo.\n" + yaml.safe_dump(settings, sort_keys=False), "utf-8")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@contextlib.asynccontextmanager
async def _agent(folder: Path, config: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """The agent as a process of its own; ended in order, before the collector is."""
    command = Path(sys.executable).with_name("phrom-agent")
    if not await asyncio.to_thread(command.exists):
        raise CannotStart(f"{command}: not found; the demo needs the agent beside the collector: pip install phrom")
    log = await asyncio.to_thread((folder / "agent.log").open, "ab")
    try:
        process = await asyncio.create_subprocess_exec(
            command, "--config", config, "run",
            stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,  # Ctrl-C is ours to pass on, after which the collector still listens
            preexec_fn=_die_with_parent,
        )  # fmt: skip
    finally:
        await asyncio.to_thread(log.close)
    try:
        yield process
    finally:
        await _end(process)


def _die_with_parent() -> None:
    """Between fork and exec: the agent gets SIGTERM if the demo is killed without a word."""
    ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGTERM)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(STOPPING):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


async def _until(stop: asyncio.Event, services: Services, process: asyncio.subprocess.Process, folder: Path) -> None:
    """Until somebody ends it, or the agent ends by itself; says when the first measurements are there."""
    stopping = asyncio.create_task(stop.wait())
    ended = asyncio.create_task(process.wait())
    first = asyncio.create_task(_first_words(services))
    try:
        await asyncio.wait({stopping, ended}, return_when=asyncio.FIRST_COMPLETED)
        if not stop.is_set():
            words = f"the agent ended with code {process.returncode}; its log is {folder / 'agent.log'}"
            raise CannotStart(words + await asyncio.to_thread(_tail, folder / "agent.log"))
    finally:
        for task in (stopping, ended, first):
            task.cancel()


async def _first_words(services: Services) -> None:
    while not services.tally.observations:  # noqa: ASYNC110 - a look twice a second; ingest need not know of it
        await asyncio.sleep(0.5)
    _say("the agent's first measurements have arrived / ผลการวัดชุดแรกมาถึงแล้ว")


def _tail(log: Path) -> str:
    lines = log.read_text("utf-8", "replace").splitlines()[-5:]
    return "".join(f"\n  {line}" for line in lines)


def _welcome(url: str, folder: Path, config: Path) -> str:
    here = Path(sys.executable).parent
    bin_ = here.relative_to(Path.cwd()) if here.is_relative_to(Path.cwd()) else here
    return f"""
เปิดเบราว์เซอร์ที่ / open   {url}/

  "เครื่องนี้ / This machine" is measured for real by an agent that was just started here; its first results show
  within a minute. The example districts have no agent, and say so.

What to try next (in another terminal):
  {bin_}/phrom-agent --config {config} once        measure everything here once, and print it
  {bin_}/phrom-agent --config {config} doctor      can this machine do an agent's work
  curl -s {url}/metrics                            the collector's own health, for Prometheus
  {bin_}/phrom-collector enrol na-yung --config {folder / "collector.yaml"}
                                                   a code, by which another machine joins as a district
  edit {folder / "inventory"}/                     and see the board follow within seconds

Ctrl-C ends everything; what was measured stays in {folder}.
"""


def _say(words: str) -> None:
    click.echo(words, err=True)
