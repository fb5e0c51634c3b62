"""A process that spools without end, for tests that kill it: ``python -m tests.support.spooling FOLDER``.

After each ``record`` has returned it writes "stream number" to stdout: what it claims to be on disk.
"""

import asyncio
import os
import sys
from pathlib import Path

from agent.clock import SystemClock
from agent.journal import Journal
from agent.spool import Spool
from wire.batch import StreamName
from wire.observation import Window
from wire.reasons import Outcome


async def spool_for_ever(folder: Path, first: int, count: int) -> None:
    clock = SystemClock()
    spool = await Spool.open(folder / "spool.db", clock)
    journal = Journal(spool, clock, gather=0.002)
    await journal.started("test")

    async def writer(stream: StreamName, offset: int) -> None:
        for number in range(first + offset, first + count, 4):
            now, wall = clock.boottime(), clock.wall()
            one = Window(
                boot=clock.boot,
                start=now,
                end=now,
                wall_start=wall,
                wall_end=wall,
                probe="icmp",
                target="gateway",
                outcome=Outcome.OK,
                counts={"sent": number},
            )
            await journal.record(stream, one, urgent=number % 7 == 0)
            os.write(1, f"{stream} {number}\n".encode())

    names = [StreamName.EVIDENCE, StreamName.MONITOR, StreamName.EVIDENCE, StreamName.MONITOR]
    await asyncio.gather(*(writer(name, offset) for offset, name in enumerate(names)))
    await journal.stopped()
    await spool.close()


if __name__ == "__main__":
    asyncio.run(spool_for_ever(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
