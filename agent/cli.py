"""The entry point of ``phrom-agent``.

The daemon runs for months on a small box, so ``phrom-agent run`` starts without the library that reads command lines
(4.5 MB of memory, docs/decisions/004); everything else is in :mod:`agent.commands`.
"""

import os
import sys
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from agent.settings import OwnSettings


def main() -> None:
    """Runs a command and exits with its code."""
    plain, config = plain_run(sys.argv[1:])
    if plain:
        sys.exit(run(config or os.environ.get("PHROM_AGENT_CONFIG")))
    from agent.commands import main as commands

    commands()


def plain_run(arguments: list[str]) -> tuple[bool, str | None]:
    """Whether this is ``[-c FILE] run`` and nothing else, and the file."""
    match arguments:
        case ["run"]:
            return True, None
        case ["-c" | "--config", file, "run"]:
            return True, file
        case [option, "run"] if option.startswith("--config="):
            return True, option.removeprefix("--config=")
    return False, None


def run(config: str | None) -> int:
    """The daemon, until it is told to stop; returns the exit code."""
    from agent.memory import be_thrifty

    be_thrifty()
    own = own_settings(config)
    import asyncio

    from wire import logs

    logs.set_up(own.log_format, own.log_level)
    from agent.daemon import serve

    return asyncio.run(serve(own))


def own_settings(config: str | None) -> "OwnSettings":
    """The machine's own settings, or an end with code 2 that says every mistake on stderr."""
    from agent.settings import OwnSettings, find, read_own

    path = find(config or None)
    if path is None:
        return OwnSettings()
    from wire.yaml_settings import SettingsError

    try:
        return read_own(path)
    except SettingsError as mistakes:
        wrong(str(mistakes))


def wrong(words: str) -> NoReturn:
    """Ends with code 2: wrong usage or settings."""
    sys.stderr.write(words + "\n")
    sys.exit(2)
