"""``POST /api/v1/observations``: an envelope in, committed to disk, a receipt out."""

from time import perf_counter

import msgspec
import structlog
from aiohttp import web

from collector.body import read_json_body
from collector.gate import AGENT, PRINCIPAL, Route, client_of
from collector.problems import Refused
from collector.services import Services
from collector.store import CannotWrite, Limits, Source, Taken
from wire.batch import LARGEST_ENVELOPE, BatchStatus, Envelope, Receipt
from wire.settings import Problem
from wire.version import PROTOCOL, UnknownProtocol, minor_of

log = structlog.get_logger()

PATH = "/api/v1/observations"
_decode = msgspec.json.Decoder(Envelope).decode
_encode = msgspec.json.Encoder().encode


class _Spoken(msgspec.Struct):
    """What is read of an envelope whose shape is not ours."""

    protocol: str = ""


_decode_spoken = msgspec.json.Decoder(_Spoken).decode


def routes(_services: Services) -> list[Route]:
    """The one route of this module."""
    return [
        Route(
            "POST",
            PATH,
            AGENT,
            post_observations,
            "Deliver batches of observations; answered after they are committed to disk. Without batches: a heartbeat.",
            asks=Envelope,
            answers={
                200: Receipt,
                400: Problem,
                401: Problem,
                403: Problem,
                413: Problem,
                415: Problem,
                426: Problem,
                429: Problem,
            },
            largest=LARGEST_ENVELOPE,
        )
    ]


async def post_observations(request: web.Request, services: Services) -> web.Response:
    """Takes one envelope of an agent."""
    begun = perf_counter()
    received = services.now()
    source = request[PRINCIPAL].source
    assert source is not None  # noqa: S101 - the gate admitted an agent
    body = await read_json_body(request, LARGEST_ENVELOPE)
    envelope = read_envelope(body)
    limits = Limits(series=services.settings.limits.series_per_agent)
    taken = await services.store.take(source, received, envelope.clock, envelope.batches, limits)
    heard = await _hear_answers(services, source, envelope)
    client = client_of(request, proxy_declared=services.settings.behind_tls_proxy)
    _tell(client, services, source, envelope, taken)
    await services.vantages.landed(taken.landed, client)
    await services.slots.landed(taken.landed)
    _count(services, taken, len(body))
    now = services.now()
    receipt = Receipt(
        protocol=PROTOCOL,
        received=received,
        sent=now,
        batches=taken.receipts,
        orders=services.orders.waiting(source.agent, now),
        heard=heard,
        settings=services.settings_of(source, now).revision,
    )
    services.tally.took(perf_counter() - begun)
    return web.Response(body=_encode(receipt), content_type="application/json")


async def _hear_answers(services: Services, source: Source, envelope: Envelope) -> list[str]:
    """Ids of the answers that are now on the disk; a disk that takes nothing makes the agent tell them again."""
    if not envelope.answers:
        return []
    try:
        heard = await services.orders.answered(source.agent, envelope.answers)
    except CannotWrite:
        return []
    await services.slots.answered(source, envelope.answers)
    return heard


def read_envelope(body: bytes) -> Envelope:
    """The envelope, or :class:`Refused` 400 naming the place, or 426 for a protocol that is not ours."""
    try:
        envelope = _decode(body)
    except msgspec.ValidationError as error:
        check_protocol(_spoken_of(body))
        raise Refused(400, "Envelope has the wrong shape", str(error), field=_place_of(str(error))) from error
    except msgspec.DecodeError as error:
        raise Refused(400, "Not JSON", f"{error}; expected an envelope in JSON (UTF-8)", field="body") from error
    if envelope.protocol != PROTOCOL:
        check_protocol(envelope.protocol)
    return envelope


def _spoken_of(body: bytes) -> str:
    try:
        return _decode_spoken(body).protocol
    except msgspec.ValidationError:
        return PROTOCOL  # not even an object: its shape is what is wrong


def check_protocol(protocol: str) -> None:
    try:
        minor_of(protocol)
    except UnknownProtocol as error:
        raise Refused(
            426, "Protocol not spoken here", str(error), field="protocol", headers={"Upgrade": f"phrom/{PROTOCOL}"}
        ) from error


def _place_of(words: str) -> str:
    """``$.clock.boot`` out of msgspec's "… - at `$.clock.boot`"."""
    _, found, rest = words.rpartition("at `$")
    return rest.rstrip("`").lstrip(".") if found else ""


def _tell(client: str, services: Services, source: Source, envelope: Envelope, taken: Taken) -> None:
    """Picture and accounts hear of it, after the commit. The picture itself never lets late data stand for now."""
    now = services.now()
    services.accounts.hear(source, now, client, envelope.agent_version, envelope.settings)
    services.picture.heard(
        source,
        now,
        time_known=envelope.clock.anchor is not None or any(one.time is not None for one in taken.landed),
        version=envelope.agent_version,
        backlog=envelope.backlog,
    )
    if taken.landed:
        services.picture.landed(taken.landed)


def _count(services: Services, taken: Taken, size: int) -> None:
    tally = services.tally
    tally.posts += 1
    tally.bytes += size
    for receipt in taken.receipts:
        tally.batches[receipt.status.value] += 1
        tally.not_understood += receipt.not_understood
        if receipt.status is BatchStatus.REFUSED:
            refusal = receipt.refusal.value if receipt.refusal else ""
            tally.batch_refusals[refusal] += 1
            log.warning(
                "batch refused", stream=receipt.stream, seq=receipt.seq, refusal=refusal, detail=receipt.detail[:300]
            )
    for one in taken.landed:
        tally.observations[one.observation.__struct_config__.tag] += 1  # type: ignore[index]
        tally.late += one.late
        tally.time_unknown += one.time is None
