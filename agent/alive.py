"""Until when the agent was alive: a line that is written over every few seconds, so that a run that ended without a
word leaves a gap of seconds and not of a minute.

It is never synced, for that would wear a memory card: after a crash the line is as good as its last beat, after a loss
of power what the kernel had written out by itself, and the spool's own last batch (synced) stands beside it.
"""

import os
from pathlib import Path

import msgspec
import structlog

from agent.clock import Clock
from agent.spool import Life
from wire.logs import Trouble

EVERY = 5.0
"""Seconds between beats."""
_MOST = 2**53
_LENGTH = 128
"""Bytes, within one block: the line is changed in place."""


class Alive:
    """The file ``alive`` of the state folder. All of this reads and writes files: call it in a thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._trouble = Trouble(structlog.get_logger(__name__), "sign of life not kept", "sign of life kept again")

    def last(self) -> Life | None:
        """The last beat of the run before, or ``None`` where none can be read."""
        try:
            words = self._path.read_text(encoding="ascii").split()
            boot, boottime, wall = words[0], int(words[1]), int(words[2])
        except (OSError, ValueError, IndexError):
            return None
        if not (0 <= boottime <= _MOST and abs(wall) <= _MOST):
            return None
        return Life(boot, boottime, wall, 0, False)

    def beat(self, clock: Clock) -> None:
        """Writes the line. A disk that takes nothing is no reason to stop: the spool says so too."""
        line = f"{clock.boot} {clock.boottime()} {clock.wall()}\n".ljust(_LENGTH)
        try:
            file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.pwrite(file, line.encode("ascii"), 0)
            finally:
                os.close(file)
        except OSError as problem:
            self._trouble.failed(str(problem))
        else:
            self._trouble.worked()


def later(synced: Life | None, beat: Life | None) -> Life | None:
    """The last sign of life of a run: the beat where it is of the same boot and later than what was synced."""
    if synced is None or beat is None or synced.clean or beat.boot != synced.boot or beat.boottime <= synced.boottime:
        return synced
    return msgspec.structs.replace(synced, boottime=beat.boottime, wall=beat.wall)
