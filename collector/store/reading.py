"""From a sealed batch's bytes to observations: pure, and every way to be wrong has its refusal."""

import hashlib
import re
from typing import NamedTuple

import msgspec

from wire.batch import LARGEST_BATCH, Batch, Sealed, decode_batch, decode_observation
from wire.histogram import HIGHEST_INDEX, LARGEST, BadHistogram, Histogram
from wire.observation import KINDS, NAME_PATTERN, Note, Observation, Test, Window
from wire.reasons import Event, Limit, Reason, Refusal
from wire.version import MINOR, UnknownProtocol, minor_of

_NO_NUMBER = re.compile(rb"[:\[,]\s*-?(?:NaN|Infinity|inf|nan)\b")
_OUT_OF_RANGE = re.compile(r"out of range|Expected `(?:int|float)` [<>]")
_NAME = re.compile(NAME_PATTERN)


class Refused(Exception):
    """A batch that will never be taken, with what was found, where, and what was expected."""

    def __init__(self, refusal: Refusal, detail: str) -> None:
        super().__init__(detail)
        self.refusal = refusal
        self.detail = detail[:500]


class Understood(NamedTuple):
    """A batch read whole: each observation with its bytes as they came."""

    observations: list[tuple[Observation, bytes]]
    not_understood: int


class _Identity(msgspec.Struct):
    stream: str = ""
    seq: int = 0
    protocol: str = ""


class _Kind(msgspec.Struct):
    kind: str = ""


_identity = msgspec.json.Decoder(_Identity)
_kind = msgspec.json.Decoder(_Kind)


def identify(batch: bytes | msgspec.Raw) -> tuple[str, int]:
    """Stream and number of a batch as far as they can be read, else ``""`` and 0: for the receipt of a refused one."""
    try:
        found = _identity.decode(batch)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "", 0
    return found.stream[:64], found.seq if abs(found.seq) <= 2**53 else 0


def read_batch(sealed: Sealed) -> tuple[Batch, bytes, bytes]:
    """The batch, its exact bytes and their digest; raises :class:`Refused`."""
    raw = bytes(sealed.batch)
    if len(raw) > LARGEST_BATCH:
        raise Refused(Refusal.TOO_LARGE, f"batch: found {len(raw)} bytes, expected at most {LARGEST_BATCH}")
    digest = hashlib.sha256(raw).digest()
    if digest.hex() != sealed.digest:
        raise Refused(
            Refusal.DIGEST_MISMATCH,
            f"digest: found {sealed.digest}, expected {digest.hex()}, that of the bytes received",
        )
    try:
        return decode_batch(raw), raw, digest
    except msgspec.ValidationError as problem:
        raise _protocol_or(raw, _shape(problem)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        raise _not_json(raw, problem) from None


def read_observations(batch: Batch) -> Understood:
    """Every observation of a batch; raises :class:`Refused` at the first bad one."""
    try:
        minor = minor_of(batch.protocol)
    except UnknownProtocol as problem:
        raise Refused(Refusal.UNKNOWN_PROTOCOL, str(problem)) from None
    strict = minor <= MINOR
    found: list[tuple[Observation, bytes]] = []
    unknown = 0
    for place, raw in enumerate(batch.observations):
        body = bytes(raw)
        try:
            one = decode_observation(body)
        except msgspec.ValidationError as problem:
            if _is_unknown_kind(body):
                unknown += 1
                continue
            raise _at(place, _shape(problem)) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as problem:
            raise _at(place, _not_json(body, problem)) from None
        _check(place, one, strict=strict)
        found.append((one, body))
    for dropped in batch.dropped:
        if not 1 <= dropped.first <= dropped.last < batch.seq:
            raise Refused(
                Refusal.WRONG_SHAPE,
                f"dropped: found {dropped.first} to {dropped.last} in batch {batch.seq},"
                " expected an ascending range below the batch that declares it",
            )
        if len(dropped.reason) > 200 or max(abs(dropped.start), abs(dropped.end)) > 2**62:
            raise Refused(
                Refusal.WRONG_SHAPE, "dropped: expected a reason of at most 200 letters and times in microseconds"
            )
    return Understood(found, unknown)


def check_names(*names: str) -> None:
    """Raises :class:`Refused` if a probe's, target's or platform's name is not one (checked when first seen)."""
    for name in names:
        if name and not _NAME.match(name):
            raise Refused(Refusal.WRONG_SHAPE, f"name: found {name!r}, expected {NAME_PATTERN}")


def _check(place: int, one: Observation, *, strict: bool) -> None:
    if one.end < one.start:
        raise Refused(
            Refusal.BAD_NUMBER,
            f"observations[{place}].end: found {one.end}, expected no earlier than start {one.start}",
        )
    if strict:
        _known_words(place, one)
    if isinstance(one, Window | Test):
        for name, histogram in one.durations.items():
            if not _sound(histogram):
                try:
                    histogram.check()
                except BadHistogram as problem:
                    raise Refused(Refusal.BAD_NUMBER, f"observations[{place}].durations.{name}.{problem}") from None
                raise Refused(
                    Refusal.BAD_NUMBER,
                    f"observations[{place}].durations.{name}: found numbers too large to be counts or durations",
                )


def _known_words(place: int, one: Observation) -> None:
    """A word outside the closed vocabulary is news from a newer writer and a mistake from an older one."""
    if one.reason is Reason.UNRECOGNISED:
        raise Refused(
            Refusal.UNKNOWN_REASON,
            f"observations[{place}].reason: found a reason that protocol 1.{MINOR} does not have,"
            " expected one of wire.reasons.Reason",
        )
    if isinstance(one, Note) and one.event is Event.UNRECOGNISED:
        raise Refused(
            Refusal.UNKNOWN_REASON,
            f"observations[{place}].event: found an event that protocol 1.{MINOR} does not have,"
            " expected one of wire.reasons.Event",
        )
    if isinstance(one, Test) and Limit.UNRECOGNISED in one.limits:
        raise Refused(
            Refusal.UNKNOWN_REASON,
            f"observations[{place}].limits: found a limit that protocol 1.{MINOR} does not have,"
            " expected those of wire.reasons.Limit",
        )


def _sound(histogram: Histogram) -> bool:
    """The rules of :meth:`Histogram.check` at the speed of the built-ins; ``False`` = ask that one for the words."""
    buckets = histogram.buckets
    if (
        not 0 <= histogram.lost < 2**53
        or not 0 <= histogram.low <= histogram.high <= LARGEST
        or not 0 <= histogram.total < 2**62
    ):
        return False
    if not buckets:
        return True
    return (
        len(buckets) % 2 == 0
        and buckets[0] >= 0
        and min(buckets[1:]) >= 1
        and sum(buckets[::2]) <= HIGHEST_INDEX
        and max(buckets) < 2**31
    )


def _is_unknown_kind(body: bytes) -> bool:
    try:
        kind = _kind.decode(body).kind
    except msgspec.DecodeError:
        return False
    return bool(kind) and kind not in KINDS


def _shape(problem: msgspec.ValidationError) -> Refused:
    text = str(problem)
    return Refused(Refusal.BAD_NUMBER if _OUT_OF_RANGE.search(text) else Refusal.WRONG_SHAPE, text)


def _not_json(raw: bytes, problem: Exception) -> Refused:
    text = str(problem)
    if _NO_NUMBER.search(raw) or _OUT_OF_RANGE.search(text):
        return Refused(Refusal.BAD_NUMBER, f"{text}: expected finite numbers")
    return Refused(Refusal.NOT_JSON, text)


def _protocol_or(raw: bytes, otherwise: Refused) -> Refused:
    """Another major version may have any shape: then its version is what is wrong."""
    try:
        minor_of(_identity.decode(raw).protocol)
    except UnknownProtocol as problem:
        return Refused(Refusal.UNKNOWN_PROTOCOL, str(problem))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return otherwise
    return otherwise


def _at(place: int, refused: Refused) -> Refused:
    return Refused(refused.refusal, f"observations[{place}]: {refused.detail}")
