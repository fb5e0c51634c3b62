"""Whom this machine trusts: TLS contexts with the system's roots, made once and shared, and what a refusal means.

Reading the system's roots takes 10 ms and more and about 1 MB, so probes share one context; it is made anew each day so
that an updated root store is seen by an agent that runs for months.
"""

import asyncio
import contextvars
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any

from wire.reasons import Reason

RENEWED_AFTER = 86_400.0
"""Seconds for which a context is kept."""

BY_CODE: dict[int, Reason] = {
    9: Reason.TLS_NOT_YET_VALID,
    10: Reason.TLS_EXPIRED,
    18: Reason.TLS_SELF_SIGNED,
    19: Reason.TLS_UNTRUSTED,
    20: Reason.TLS_UNTRUSTED,
    21: Reason.TLS_CHAIN_INCOMPLETE,
    62: Reason.TLS_WRONG_NAME,
    64: Reason.TLS_WRONG_NAME,
}
"""OpenSSL's X509_V_ERR numbers (openssl-verification-options(1)): 9 not yet valid, 10 expired, 18 self-signed leaf,
19 self-signed in chain, 20 no local issuer, 21 unable to verify the leaf, 62 and 64 host name and address mismatch."""

on_handshake: contextvars.ContextVar[Callable[[], None] | None] = contextvars.ContextVar("on_handshake", default=None)
"""Called when a TLS handshake begins in this context (of asyncio), which no library reports otherwise."""


class TimedContext(ssl.SSLContext):
    """A TLS context that tells :data:`on_handshake` when a handshake begins, i.e. when TCP is connected."""

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        """As ``ssl.SSLContext.wrap_bio``, which asyncio calls as soon as the connection stands."""
        tell = on_handshake.get()
        if tell is not None:
            tell()
        return super().wrap_bio(*args, **options)


def system_context() -> ssl.SSLContext:
    """A verifying client context with the system's roots; reads files, so call it in a thread."""
    context = TimedContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    return context


def unverified_context() -> ssl.SSLContext:
    """A client context that accepts any certificate, only to look at one that was refused; nothing is sent by it."""
    context = TimedContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Contexts:
    """The verifying context of one maker, kept for a day; safe for many tasks."""

    def __init__(self, make: Callable[[], ssl.SSLContext] = system_context) -> None:
        self._make = make
        self._made: ssl.SSLContext | None = None
        self._at = 0.0
        self._one_at_a_time = threading.Lock()

    async def get(self) -> ssl.SSLContext:
        """The context; made in a thread when there is none or it is a day old."""
        made = self._made
        if made is None or time.monotonic() - self._at > RENEWED_AFTER:
            made = await asyncio.to_thread(self._renew)
        return made

    def _renew(self) -> ssl.SSLContext:
        with self._one_at_a_time:
            if self._made is None or time.monotonic() - self._at > RENEWED_AFTER:
                self._made = self._make()
                self._at = time.monotonic()
            return self._made


SYSTEM = Contexts()
"""The system's roots, shared by every probe of this process."""


def reason_of(problem: ssl.SSLError) -> Reason:
    """Why OpenSSL refused: by its verification code, or ``tls_handshake`` when no certificate was judged."""
    if isinstance(problem, ssl.SSLCertVerificationError):
        return BY_CODE.get(problem.verify_code, Reason.TLS_UNTRUSTED)
    return Reason.TLS_HANDSHAKE


def detail_of(problem: ssl.SSLError) -> str:
    """OpenSSL's own words, without the library's file and line."""
    if isinstance(problem, ssl.SSLCertVerificationError) and problem.verify_message:
        return problem.verify_message
    return getattr(problem, "reason", None) or str(problem)  # one made in Python has no reason
