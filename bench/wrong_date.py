"""The agent on a box whose clock is wrong: ``python -m bench.wrong_date SECONDS [agent's words]``.

There is no namespace for the wall clock, so the agent's own clock is moved by SECONDS before it starts. What a reboot
changes besides (boot id, CLOCK_BOOTTIME, CLOCK_MONOTONIC) is made by whoever starts this, with namespaces.
"""

import sys

from agent import clock


def main() -> None:
    """Runs the agent."""
    offset = int(sys.argv.pop(1)) * 1_000_000
    true = clock.SystemClock.wall
    clock.SystemClock.wall = lambda self: true(self) + offset  # type: ignore[method-assign]
    from agent.cli import main as agent

    agent()


if __name__ == "__main__" and len(sys.argv) > 1:  # without words it is only a part of bench.outages, as for make bench
    main()
