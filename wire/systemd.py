"""What a service tells systemd (sd_notify(3)): ready, alive, stopping. Without systemd every call does nothing."""

import asyncio
import os
import socket


def notify(message: str) -> bool:
    """Sends one notification, such as ``READY=1``; ``False`` where no service manager listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):  # an abstract socket, unix(7)
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.setblocking(False)
            channel.sendto(message.encode(), address)
    except OSError:
        return False  # the manager is gone or its queue is full: a service never fails over this
    return True


def watchdog_interval() -> float | None:
    """Seconds between signs of life, half of ``WATCHDOG_USEC`` as sd_watchdog_enabled(3) advises; ``None`` = none
    wanted of this process."""
    wanted = os.environ.get("WATCHDOG_USEC", "")
    process = os.environ.get("WATCHDOG_PID", "")
    if not wanted.isdigit() or int(wanted) == 0 or (process and process != str(os.getpid())):
        return None
    return int(wanted) / 2_000_000


async def watchdog() -> None:
    """Tells systemd that the event loop still turns, for as long as it does; returns at once if nobody asked."""
    interval = watchdog_interval()
    while interval is not None:
        notify("WATCHDOG=1")
        await asyncio.sleep(interval)
