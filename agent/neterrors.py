"""What an operating system's error means for a measurement: the target's fault, or this machine's own.

The distinction is the product's most important one: a full table of open files here must never read as a provider's
outage there (DESIGN §2). Every probe that opens a socket turns its errors into findings with :func:`finding_of`.
"""

import errno
import socket
import ssl
from typing import Any

from agent.probe import Finding, error, failed, skipped
from wire.reasons import Reason


class Unresolved(Exception):
    """A name could not be turned into addresses; ``reason`` says which kind of failure it was."""

    def __init__(self, host: str, reason: Reason, detail: str) -> None:
        super().__init__(f"{host}: {detail}")
        self.host = host
        self.reason = reason


FAILED: dict[int, Reason] = {
    errno.ECONNREFUSED: Reason.REFUSED,
    errno.ETIMEDOUT: Reason.TIMED_OUT,
    errno.ECONNRESET: Reason.RESET,
    errno.ECONNABORTED: Reason.RESET,
    errno.EPIPE: Reason.RESET,
    errno.ENETRESET: Reason.RESET,
    errno.ENETUNREACH: Reason.NO_ROUTE,
    errno.ENETDOWN: Reason.INTERFACE_DOWN,
    errno.EHOSTUNREACH: Reason.HOST_UNREACHABLE,
    errno.EHOSTDOWN: Reason.HOST_UNREACHABLE,
    errno.ENOPROTOOPT: Reason.PROHIBITED,
}
"""Errors that tell of the path or the host. ENOPROTOOPT is how Linux reports ICMP "protocol unreachable"."""

OURS: dict[int, tuple[Reason, str]] = {
    errno.EMFILE: (Reason.NO_RESOURCES, "raise the limit of open files (LimitNOFILE=)"),
    errno.ENFILE: (Reason.NO_RESOURCES, "raise the system's limit of open files (fs.file-max)"),
    errno.ENOBUFS: (Reason.NO_RESOURCES, "free memory for network buffers"),
    errno.ENOMEM: (Reason.NO_RESOURCES, "free memory"),
    errno.EAGAIN: (Reason.NO_RESOURCES, "free local ports (net.ipv4.ip_local_port_range)"),
    errno.EADDRNOTAVAIL: (Reason.NO_RESOURCES, "free local ports (net.ipv4.ip_local_port_range) or an address"),
    errno.EADDRINUSE: (Reason.NO_RESOURCES, "free local ports (net.ipv4.ip_local_port_range)"),
    errno.EACCES: (Reason.NO_PERMISSION, "allow this in the machine's own firewall or sandbox"),
    errno.EPERM: (Reason.NO_PERMISSION, "allow this in the machine's own firewall or sandbox"),
    errno.EAFNOSUPPORT: (Reason.NOT_SUPPORTED, "enable this address family in the kernel or the sandbox"),
    errno.EINVAL: (Reason.BAD_TARGET, "check the target's address and port"),
    errno.EDESTADDRREQ: (Reason.BAD_TARGET, "check the target's address and port"),
}
"""Errors that tell of this machine, with what to do about them."""

NOT_NAMES = {
    socket.EAI_NONAME: Reason.NAME_NOT_FOUND,
    socket.EAI_NODATA: Reason.NAME_NOT_FOUND,
    socket.EAI_FAIL: Reason.NAME_SERVER_FAILED,
    socket.EAI_AGAIN: Reason.NAME_SERVER_FAILED,
    socket.EAI_MEMORY: Reason.NO_RESOURCES,
    socket.EAI_FAMILY: Reason.NAME_NOT_FOUND,
}
"""What ``getaddrinfo`` (RFC 3493, section 6.1) says about a name that it could not resolve."""

AGENTS_OWN = frozenset({Reason.NO_RESOURCES, Reason.NO_PERMISSION, Reason.NOT_SUPPORTED, Reason.BAD_TARGET})
"""Reasons that are an ``error`` of the agent and never a failure of the target."""


def finding_of(problem: Exception, **found: Any) -> Finding:
    """The finding for an error met while measuring; ``found`` is what was measured until then.

    Knows :class:`Unresolved`, ``TimeoutError`` and ``OSError``; an errno in neither table is an ``error`` that names
    it, because an unknown trouble must not be held against the target.
    """
    if isinstance(problem, Unresolved):
        return _finding(problem.reason, str(problem), "check the name in the settings", found)
    if isinstance(problem, ssl.SSLError):  # an OSError whose number is OpenSSL's own
        return _finding(Reason.TLS_HANDSHAKE, getattr(problem, "reason", None) or str(problem), "", found)
    number = problem.errno if isinstance(problem, OSError) else None
    if isinstance(problem, TimeoutError) or number == errno.ETIMEDOUT:
        return failed(Reason.TIMED_OUT, **found)
    if number in FAILED:
        return failed(FAILED[number], **found)
    if number in OURS:
        reason, remedy = OURS[number]
        return _finding(reason, _name(number), remedy, found)
    detail = _name(number) if number is not None else type(problem).__name__
    return _finding(Reason.PROBE_CRASHED, detail, "report this error to the maintainers", found)


def without_ipv6(problem: Exception) -> bool:
    """Whether an error met on an IPv6 address only says that this machine has no IPv6."""
    return isinstance(problem, OSError) and problem.errno in {
        errno.ENETUNREACH,
        errno.EADDRNOTAVAIL,
        errno.EAFNOSUPPORT,
        errno.EACCES,
    }


def no_ipv6(**found: Any) -> Finding:
    """The target has IPv6 addresses only and this machine has no IPv6: nobody's failure."""
    return skipped(Reason.NO_IPV6, **found)


def _finding(reason: Reason, detail: str, remedy: str, found: dict[str, Any]) -> Finding:
    own = reason in AGENTS_OWN or reason is Reason.PROBE_CRASHED
    facts = {**found.pop("facts", {}), "detail": detail[:200]}
    if own:
        facts["remedy"] = remedy
    return (error if own else failed)(reason, facts=facts, **found)


def _name(number: int) -> str:
    return errno.errorcode.get(number, f"errno {number}")
