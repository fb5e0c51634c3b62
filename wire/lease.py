"""Leases: the collector's word, to a responder, that one agent may use it, for what and how much (DESIGN §6.4, §6.5).

A lease is signed with a secret that only the collector and the responder hold. The agent gets, over TLS, the signed
**token**, which it shows, and a **key**, which it never sends: whoever reads the token off the line cannot use it, as
every opening must prove the key against the responder's own challenge. The key is derived from the secret and the
lease's id, so a responder needs no list of leases.

Sans-IO; ``now`` is UTC microseconds and always an argument.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from enum import StrEnum
from typing import Annotated

import msgspec

from wire.clock import SECOND, Instant

SECRET_BYTES = 32
KEY_BYTES = 32
CHALLENGE_BYTES = 16
PROOF_BYTES = 16
"""An HMAC-SHA-256 truncated to 128 bits, as RFC 8762 section 4.4 does for STAMP."""
LONGEST_TOKEN = 600
"""Characters; a token longer than this is not read at all."""
SKEW = 30 * SECOND
"""Microseconds by which the clocks of a collector and a responder on another machine may differ."""


class Purpose(StrEnum):
    """What a lease is for. The load class follows from it."""

    THROUGHPUT = "throughput"
    """A ``full`` test over TCP, once."""
    LIGHT = "light"
    """Paced UDP below contract, once."""
    CALL = "call"
    """A stream like one meeting's, both ways."""
    STAMP = "stamp"
    """Ten small packets a second, for as long as the lease lives."""


ONCE = frozenset({Purpose.THROUGHPUT, Purpose.LIGHT, Purpose.CALL})
"""Purposes whose lease opens one session only; a second opening is a replay."""


class Lease(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is allowed. Rates are bits per second at the IP layer, from the district's point of view."""

    id: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{16}$")]
    purpose: Purpose
    responder: Annotated[str, msgspec.Meta(max_length=64)]
    site: Annotated[str, msgspec.Meta(max_length=64)]
    link: Annotated[str, msgspec.Meta(max_length=64)] = ""
    issued: Instant
    expires: Instant
    """No session opens after it; one that is open is cut then."""
    down: Annotated[int, msgspec.Meta(ge=0, le=100_000_000_000)] = 0
    """Most that the responder may send to the agent; 0 = nothing in that direction."""
    up: Annotated[int, msgspec.Meta(ge=0, le=100_000_000_000)] = 0
    """Most that the agent may send to the responder."""
    seconds: Annotated[float, msgspec.Meta(gt=0, le=86_400)] = 10.0
    """Longest time of one direction (THROUGHPUT, LIGHT, CALL) or of the session (STAMP)."""
    bytes: Annotated[int, msgspec.Meta(ge=0, le=10**12)] = 0
    """Most bytes at the IP layer in each direction; 0 = ``rate x seconds``."""


def session_seconds(lease: Lease) -> float:
    """How long a session may last from its opening: a call goes both ways at once, the tests one way after the other
    with a pause between; STAMP as long as the lease says."""
    if lease.purpose is Purpose.STAMP:
        return lease.seconds
    return 1.25 * lease.seconds if lease.purpose is Purpose.CALL else 2.5 * lease.seconds


class Grant(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the agent gets: answer of ``POST /api/v1/leases``. Never logged; ``key`` is hex."""

    lease: Lease
    token: str
    key: str

    def __repr__(self) -> str:
        """Without what gives the right."""
        return f"Grant({self.lease!r})"


class LeaseRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Body of ``POST /api/v1/leases``. Refused with a problem whose ``field`` is a code of :class:`NoLease`."""

    purpose: Purpose
    responder: Annotated[str, msgspec.Meta(max_length=64)] = ""
    """Id of the responder; empty = whichever the collector prefers for this site."""
    slot: Annotated[str, msgspec.Meta(max_length=64)] = ""
    """The slot that it is for; without one a ``throughput`` lease is judged as if asked for now."""
    profile: Annotated[str, msgspec.Meta(max_length=80)] = ""
    """For ``call``: the platform whose stream is imitated."""


class NoLease(StrEnum):
    """Why the collector gives no lease: ``field`` of the problem document."""

    QUIET_TIME = "quiet_time"
    NO_SLOT = "no_slot"
    RESPONDER_BUSY = "responder_busy"
    NO_RESPONDER = "no_responder"
    LINK_IN_USE = "link_in_use"
    BUDGET_SPENT = "budget_spent"
    NOT_ON_THIS_LINK = "not_on_this_link"
    CONTRACT_UNKNOWN = "contract_unknown"
    """A light check is paced by the contract, and the inventory has none in force."""
    UNRECOGNISED = "unrecognised"

    @classmethod
    def _missing_(cls, value: object) -> "NoLease | None":
        return cls.UNRECOGNISED if isinstance(value, str) else None


class BadLease(ValueError):
    """The token gives no right; the subclass names the cause."""


class Malformed(BadLease):
    """Not a token at all."""


class Forged(BadLease):
    """Signed with another secret, or altered."""


class Expired(BadLease):
    """Its time is over."""


class NotYet(BadLease):
    """Issued in the future: the clocks of collector and responder differ."""


def new_id() -> str:
    """A random lease id."""
    return secrets.token_hex(8)


def grant(lease: Lease, secret: bytes) -> Grant:
    """Signs a lease."""
    body = msgspec.json.encode(lease)
    token = f"{_text(body)}.{_text(_signature(body, secret))}"
    return Grant(lease=lease, token=token, key=key_of(lease.id, secret).hex())


def key_of(identity: str, secret: bytes) -> bytes:
    """The key that belongs to a lease id; :data:`KEY_BYTES` long."""
    return hmac.digest(secret, b"phrom key\0" + identity.encode(), hashlib.sha256)


def read(token: str, secret: bytes, now: Instant) -> Lease:
    """The lease of a token that is genuine and in force; raises a subclass of :class:`BadLease`."""
    if len(token) > LONGEST_TOKEN:
        raise Malformed(f"lease: found {len(token)} characters, expected at most {LONGEST_TOKEN}")
    head, dot, tail = token.partition(".")
    try:
        body, signature = _bytes(head), _bytes(tail)
    except (ValueError, binascii.Error) as wrong:
        raise Malformed("lease: expected BODY.SIGNATURE in base64url") from wrong
    if not dot or not hmac.compare_digest(signature, _signature(body, secret)):
        raise Forged("lease: its signature is not by this responder's collector; compare the two key files")
    try:
        lease = msgspec.json.decode(body, type=Lease)
    except msgspec.DecodeError as wrong:
        raise Malformed(f"lease: {wrong}") from wrong
    if now < lease.issued - SKEW:
        raise NotYet(f"lease: issued {(lease.issued - now) / SECOND:.0f} s in the future; compare the clocks")
    if now >= lease.expires:
        raise Expired(f"lease: expired {(now - lease.expires) / SECOND:.0f} s ago")
    return lease


def proof(key: bytes, challenge: bytes, context: bytes = b"") -> bytes:
    """Shows that one holds the key: :data:`PROOF_BYTES` over the responder's challenge and what is being opened."""
    return hmac.digest(key, b"phrom proof\0" + challenge + context, hashlib.sha256)[:PROOF_BYTES]


def proves(given: bytes, key: bytes, challenge: bytes, context: bytes = b"") -> bool:
    """Whether a proof is right, in constant time."""
    return hmac.compare_digest(given, proof(key, challenge, context))


def _signature(body: bytes, secret: bytes) -> bytes:
    return hmac.digest(secret, b"phrom lease\0" + body, hashlib.sha256)


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _bytes(text: str) -> bytes:
    raw = text.encode("ascii")
    found = base64.b64decode(raw + b"=" * (-len(raw) % 4), altchars=b"-_", validate=True)
    if _text(found) != text:  # the last character has bits that mean nothing: one lease, one token
        raise ValueError("not canonical")
    return found
