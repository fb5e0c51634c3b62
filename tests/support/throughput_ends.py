"""Both ends of a throughput test as processes of their own, for lines between namespaces; leases without a collector.

python -m tests.support.throughput_ends respond HOST [--port N]       prints "ready PORT", serves until stdin ends
python -m tests.support.throughput_ends measure HOST PORT [...]       prints the results of each run as a line of JSON
    python -m tests.support.throughput_ends agent                         measures by the words of each line of stdin
"""

import argparse
import asyncio
import resource
import sys
import time
from typing import Any

import msgspec

from agent.probe import Result
from agent.probes.throughput.engine import Direction, Terms
from collector.responder import tcp
from collector.responder.admission import Admission, Capacity
from wire import lease
from wire.clock import SECOND
from wire.lease import Grant, Lease, Purpose
from wire.settings import ContractTerms, ResponderAt

SECRET = bytes(range(32))
NAME = "hall"
GIGABIT = 1_000_000_000


def now() -> int:
    """UTC, microseconds."""
    return time.time_ns() // 1000


def ledger(down: int = 2 * GIGABIT, up: int = 2 * GIGABIT, started: int | None = None) -> Admission:
    """A responder's ledger with the secret of these tests."""
    return Admission(NAME, SECRET, Capacity(down, up), now() if started is None else started)


def granted(down: int, up: int, seconds: float = 10.0, **changes: Any) -> Grant:
    """A lease signed with that secret."""
    issued = now()
    made = Lease(
        id=lease.new_id(),
        purpose=Purpose.THROUGHPUT,
        responder=NAME,
        site="na-yung",
        link="main",
        issued=issued,
        expires=issued + 60 * SECOND,
        down=down,
        up=up,
        seconds=seconds,
    )
    return lease.grant(msgspec.structs.replace(made, **changes), SECRET)


class OwnLeases:
    """Grants what is asked for, without a collector."""

    def __init__(self, down: int, up: int, seconds: float = 10.0) -> None:
        self.grant = (down, up, seconds)

    async def borrow(self, purpose: Purpose, responder: str = "", *, slot: str = "", profile: str = "") -> Grant:
        """A new lease each time, each of another link, so that a test cut off does not stand in the next one's way."""
        return granted(*self.grant, link=lease.new_id())


class Measured(msgspec.Struct):
    """What the measuring end prints."""

    results: list[Result]
    cpu: float
    """Seconds that its process used."""
    seconds: float


def terms(host: str, port: int, down: int, up: int, contract: ContractTerms | None = None, **changes: Any) -> Terms:
    """What an engine is given; the lease allows ``down`` and ``up``."""
    made = Terms(ResponderAt(id=NAME, host=host, tcp_port=port), contract, OwnLeases(down, up))
    return made._replace(**changes)


async def respond(host: str, port: int) -> None:
    """Serves until stdin ends."""
    async with await tcp.serve(host, port, ledger(), now) as server:
        print(f"ready {server.port}", flush=True)
        await asyncio.to_thread(sys.stdin.read)
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(f"cpu {used.ru_utime + used.ru_stime:.3f}", flush=True)


async def measure(host: str, port: int, down: int, up: int, directions: str, contract: ContractTerms) -> Measured:
    """One test."""
    from agent.probes.throughput.tcp import ENGINE

    begun, cpu = time.monotonic(), time.process_time()
    wanted = tuple(Direction(one) for one in directions.split("+"))
    results = await ENGINE.run(terms(host, port, down, up, contract, directions=wanted))
    return Measured(results, time.process_time() - cpu, time.monotonic() - begun)


def main(words: list[str] | None = None) -> None:
    """One end."""
    given = asked(sys.argv[1:] if words is None else words)
    if given.end == "agent":
        for line in sys.stdin:
            main(["measure", *line.split()])
    elif given.end == "respond":
        asyncio.run(respond(given.host, given.port))
    else:
        contract = ContractTerms(download=round(given.contract_down), upload=round(given.contract_up))
        rates = round(given.down), round(given.up)
        for number in range(given.runs):
            time.sleep(given.pause if number else 0)
            found = asyncio.run(measure(given.host, given.port, *rates, given.directions, contract))
            print(msgspec.json.encode(found).decode(), flush=True)


def asked(words: list[str]) -> argparse.Namespace:
    """The command line."""
    known = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known.add_argument("end", choices=["respond", "measure", "agent"])
    known.add_argument("host", nargs="?", default="")
    known.add_argument("port", type=int, nargs="?", default=0)
    known.add_argument("--down", type=float, default=1e9)
    known.add_argument("--up", type=float, default=1e9)
    known.add_argument("--contract-down", type=float, default=200e6)
    known.add_argument("--contract-up", type=float, default=80e6)
    known.add_argument("--directions", default="down+up")
    known.add_argument("--runs", type=int, default=1)
    known.add_argument("--pause", type=float, default=0.3, help="seconds between two runs")
    return known.parse_args(words)


if __name__ == "__main__":
    main()
