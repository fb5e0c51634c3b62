"""Batches: observations sealed when spooled, chained by digest, and the envelope that carries them.

A batch's identity is its **exact bytes**. They are sealed once, written to disk, sent, digested and (for the evidence
stream) archived as they are; nothing on the way encodes them anew. ``prev`` is the SHA-256 of the predecessor's bytes,
so neither side can rewrite history without the other seeing it.
"""

import hashlib
import secrets
from enum import StrEnum
from typing import Annotated

import msgspec

from wire.clock import Anchor, Instant
from wire.observation import Observation
from wire.orders import Order, OrderAnswer
from wire.reasons import Refusal
from wire.version import PROTOCOL

GENESIS = "0" * 64
"""``prev`` of a stream's first batch."""
STREAM_ID_PATTERN = r"^[0-9a-f]{32}$"
DIGEST_PATTERN = r"^[0-9a-f]{64}$"

LARGEST_BATCH = 1024 * 1024
"""Bytes of one sealed batch."""
LARGEST_ENVELOPE = 4 * 1024 * 1024
"""Bytes of one request body, decompressed; a declared or actual length beyond it is refused with 413."""
MOST_BATCHES = 256
"""Batches in one envelope."""
MOST_OBSERVATIONS = 5000
"""Observations in one batch."""


class StreamName(StrEnum):
    """The two streams of a spool (DESIGN §4)."""

    EVIDENCE = "evidence"
    MONITOR = "monitor"


class Dropped(msgspec.Struct, frozen=True):
    """Batches that had to be dropped before they were delivered, declared by the next batch of the stream."""

    first: int
    last: int
    reason: str
    """``full`` (the spool's byte limit), ``age``, ``quarantine overflow``."""
    start: int = 0
    """UTC microseconds as believed of the earliest and latest record dropped; 0 where unknown."""
    end: int = 0


class Batch(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is sealed. Readers take ``observations`` one by one, so that an unknown kind spoils nothing."""

    protocol: Annotated[str, msgspec.Meta(max_length=16)]
    """Never defaulted: a reader of another release must see what the writer spoke."""
    stream: Annotated[str, msgspec.Meta(pattern=STREAM_ID_PATTERN)]
    name: StreamName
    seq: Annotated[int, msgspec.Meta(ge=1, le=2**53)]
    prev: Annotated[str, msgspec.Meta(pattern=DIGEST_PATTERN)]
    observations: Annotated[list[msgspec.Raw], msgspec.Meta(max_length=MOST_OBSERVATIONS)]
    dropped: list[Dropped] = []


class Sealed(msgspec.Struct, frozen=True):
    """A batch's exact bytes, embedded verbatim, with their digest."""

    digest: Annotated[str, msgspec.Meta(pattern=DIGEST_PATTERN)]
    batch: msgspec.Raw


class AgentClock(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the agent's clocks said when it sent the envelope, and its best anchor of this boot, if it has one."""

    boot: str
    boottime: int
    wall: int
    anchor: Anchor | None = None


class Envelope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of ``POST /api/v1/observations``. Without batches it is the heartbeat."""

    protocol: Annotated[str, msgspec.Meta(max_length=16)]
    agent_version: Annotated[str, msgspec.Meta(max_length=40)] = ""
    clock: AgentClock
    batches: Annotated[list[Sealed], msgspec.Meta(max_length=MOST_BATCHES)] = []
    answers: list[OrderAnswer] = []
    """What became of the orders received so far; repeated until a receipt names them as heard."""
    settings: str = ""
    """The settings revision in use."""
    backlog: dict[str, int] = {}
    """``batches``, ``bytes`` still waiting in the spool, ``quarantined``, ``dropped``: for the collector's metrics."""


class BatchStatus(StrEnum):
    """What the collector did with one batch."""

    STORED = "stored"
    DUPLICATE = "duplicate"
    """Held already with the same digest: as good as stored."""
    REFUSED = "refused"
    """Will never be taken: quarantine it."""
    DEFERRED = "deferred"
    """Not now (busy, disk full): keep it and send it again later. A status of a newer collector reads so too."""

    @classmethod
    def _missing_(cls, value: object) -> "BatchStatus | None":
        return cls.DEFERRED if isinstance(value, str) else None


class BatchReceipt(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer for one batch. ``stored`` and ``duplicate`` alone allow the agent to delete it."""

    stream: str
    seq: int
    status: BatchStatus
    refusal: Refusal | None = None
    detail: str = ""
    """What was found, where, and what was expected."""
    not_understood: int = 0
    """Records of kinds this collector does not know; their bytes are kept."""


class Receipt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The collector's answer, given only after everything it covers is committed to disk."""

    protocol: str
    received: Instant
    """When the request arrived, and when this answer left: the collector's half of the clock exchange."""
    sent: Instant
    batches: list[BatchReceipt] = []
    orders: list[Order] = []
    heard: list[str] = []
    """Ids of the orders whose answers are now stored; the agent stops repeating them."""
    settings: str = ""
    """Revision the agent should be running; if another than its own, it fetches ``/api/v1/settings``."""
    live_every: float = 5.0
    """Seconds between posts that the collector wishes (5 by default, more when it is loaded)."""


encoder = msgspec.json.Encoder()
_batch = msgspec.json.Decoder(Batch)
_observation: msgspec.json.Decoder[Observation] = msgspec.json.Decoder(Observation)


def new_stream_id() -> str:
    """A random 128-bit id: a cloned or restored disk that begins a new spool cannot collide."""
    return secrets.token_hex(16)


def digest_of(sealed: bytes | memoryview) -> str:
    """SHA-256 of a batch's exact bytes, in hex."""
    return hashlib.sha256(sealed).hexdigest()


def seal(
    stream: str,
    name: StreamName,
    seq: int,
    prev: str,
    observations: list[Observation],
    dropped: list[Dropped] | None = None,
) -> bytes:
    """The exact bytes of a batch. Raises ``ValueError`` if a number is not finite."""
    return seal_encoded(stream, name, seq, prev, [encode_observation(one) for one in observations], dropped)


def seal_encoded(
    stream: str, name: StreamName, seq: int, prev: str, observations: list[bytes], dropped: list[Dropped] | None = None
) -> bytes:
    """:func:`seal` for observations that :func:`encode_observation` has encoded already."""
    return encoder.encode(
        Batch(
            protocol=PROTOCOL,
            stream=stream,
            name=name,
            seq=seq,
            prev=prev,
            observations=[msgspec.Raw(one) for one in observations],
            dropped=dropped or [],
        )
    )


def encode_observation(observation: Observation) -> bytes:
    """JSON of one observation. Raises ``ValueError`` where a number is NaN or infinite: JSON has neither, and the
    encoder would write ``null`` in silence."""
    for values in (getattr(observation, "values", None), getattr(observation, "states", None)):
        for name, value in (values or {}).items():
            if value != value or value in (float("inf"), float("-inf")):
                raise ValueError(f"{name}: found {value}, expected a finite number")
    return encoder.encode(observation)


def decode_batch(sealed: bytes | memoryview) -> Batch:
    """Raises ``msgspec.DecodeError`` (not JSON) or ``msgspec.ValidationError`` (wrong shape, with its path)."""
    return _batch.decode(sealed)


def decode_observation(raw: bytes | memoryview | msgspec.Raw) -> Observation:
    """One observation of a batch; raises as :func:`decode_batch` does."""
    return _observation.decode(raw)
