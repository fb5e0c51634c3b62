"""The uplink: delivers what the spool holds, brings back settings and orders, and learns the time on the way.

Only a receipt's ``stored`` and ``duplicate`` delete; everything else stays or is quarantined (DESIGN §3, §6.2, §6.3).
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import msgspec
import structlog

from agent import __version__
from agent.anchoring import Anchoring
from agent.backoff import Backoff
from agent.clock import Clock, Timekeeper
from agent.connection import Answered, Connection
from agent.journal import Journal
from agent.lanes import Lanes
from agent.orders import Carry, Orders
from agent.refusals import ExchangeFailed, Rejected, TokenRefused, TooLarge
from agent.settlement import Outcome, Quarantined, settlement
from agent.spool import Refused, Spool, SpoolUnavailable, Waiting
from wire.batch import AgentClock, Envelope, Sealed
from wire.clock import SECOND
from wire.logs import Trouble
from wire.orders import Order, OrderAnswer, OrderKind, OrderStatus
from wire.reasons import Refusal
from wire.settings import AgentSettings
from wire.version import PROTOCOL

POST_EVERY = 5.0
"""Seconds between posts where neither settings nor receipts say otherwise."""
REVOKED_RETRY = 300.0
"""Seconds between attempts with a token that was refused: a person must act first."""
URGENT_RETRY = 1.0
"""Least seconds between attempts while nobody answers, urgent records or not."""
DEFERRED = 30.0
"""Seconds before a deferred batch is offered again."""
REFETCH = 60.0
"""Least seconds between two fetches of one revision of the settings."""
log = structlog.get_logger(__name__)


class Status(NamedTuple):
    """How the connection stands, for the page, the metrics and ``doctor``."""

    connected: bool = False
    since: int = 0
    """CLOCK_BOOTTIME, microseconds, of the last change of ``connected``."""
    heard: int | None = None
    """CLOCK_BOOTTIME of the last receipt."""
    cause: str = ""
    """Why there is no connection, in words."""
    token_refused: bool = False
    posts: int = 0
    failures: int = 0
    delivered: int = 0
    """Batches that receipts covered."""
    round_trip: float = 0.0
    """Seconds the last exchange took."""


class Uplink:
    """``run`` until cancelled. ``hurry`` posts at once."""

    def __init__(
        self,
        connection: Connection,
        spool: Spool,
        journal: Journal,
        clock: Clock,
        timekeeper: Timekeeper,
        *,
        on_order: Carry,
        on_settings: Callable[[AgentSettings], Awaitable[None]],
        on_token: Callable[[str], Awaitable[None]],
        revision: Callable[[], str],
        backoff: Backoff | None = None,
    ) -> None:
        """``on_order`` carries out what the uplink does not do itself; ``on_settings`` applies and keeps settings;
        ``on_token`` puts a new token on disk before it is used; ``revision`` is that of the settings being run."""
        self._connection = connection
        self._spool = spool
        self._journal = journal
        self._clock = clock
        self._timekeeper = timekeeper
        self._on_order, self._on_settings, self._on_token = on_order, on_settings, on_token
        self._revision = revision
        self._backoff = backoff or Backoff()
        self._lanes = Lanes()
        self._orders = Orders(spool, clock, self._carry, self.hurry)
        self._anchoring = Anchoring(clock, timekeeper, journal)
        self._quarantined = Quarantined(clock, journal)
        self._deferred: dict[int, int] = {}
        self._fetched: tuple[str, int] = ("", 0)
        self._hurried = asyncio.Event()
        self._suspect: Refused | None = None
        self._more = False
        self._choked = False
        """The last failure was of an envelope with batches: a heartbeat that passes is no recovery yet, since a filter
        on the way may let the one through and not the other."""
        self._trouble = Trouble(log, "collector does not answer", "collector answers again")
        self._spool_trouble = Trouble(log, "spool cannot be used", "spool can be used again")
        self._settings_trouble = Trouble(log, "new settings not taken", "new settings taken")
        self.post_every = POST_EVERY
        """Seconds between posts, from the settings; a receipt can only slow it down."""
        self._live_every = 0.0
        self.status = Status(since=clock.boottime())

    def hurry(self) -> None:
        """Something urgent is in the spool: post now."""
        self._hurried.set()

    async def run(self) -> None:
        """Posts, waits, posts again, until cancelled. The first post is an empty heartbeat, so that the collector has
        an anchor before data flows."""
        self._journal.on_urgent = self.hurry
        try:
            while True:
                wait, urgent = await self._turn()
                await self._pause(wait, urgent)
        finally:
            await self._orders.stop()

    async def drain(self, seconds: float) -> None:
        """Delivers what is new once more, within ``seconds``: for a clean stop, after ``run`` has ended."""
        if not self.status.connected:
            return
        try:
            async with asyncio.timeout(seconds):
                sent = await self._picked()
                answered = await self._connection.post(self._envelope(sent, self._orders.answers()))
                await self._settle(settlement(sent, answered.receipt))
        except (TimeoutError, ExchangeFailed, SpoolUnavailable) as error:
            log.info("stopping with undelivered records", batches=self._spool.counts.batches, cause=str(error))

    async def _turn(self) -> tuple[float, bool]:
        """One exchange. Returns how many seconds to wait, and whether an urgent record may cut that short."""
        self._hurried.clear()
        tokens = self._connection.tokens
        sent: list[Waiting] = []
        try:
            sent = await self._picked()
            more = await self._exchange(sent)
        except (TooLarge, Rejected) as error:
            return self._refused(error, sent)
        except TokenRefused as error:
            if self._connection.tokens != tokens:
                return 0.0, True  # refused was the token that was replaced while this was under way
            self._failed(error)
            self.status = self.status._replace(token_refused=True)
            return self._backoff.spread(REVOKED_RETRY), False
        except ExchangeFailed as error:
            self._choked = self._choked or bool(sent)
            self._failed(error)
            wait = self._backoff.failed()
            if error.wait is not None:
                return max(wait, self._backoff.spread(error.wait)), False
            return wait, True
        except SpoolUnavailable as error:
            self._spool_trouble.failed(str(error))
            more = False
        return (0.0 if more else max(self.post_every, self._live_every)), True

    async def _pause(self, seconds: float, urgent: bool) -> None:
        """Waits; an urgent record ends it, though while nobody answers not before a second has passed."""
        if seconds <= 0:
            return
        held = 0.0 if self.status.connected else min(URGENT_RETRY, seconds)
        if not urgent:
            held = seconds
        if held:
            await self._clock.sleep(held)
        if held >= seconds:
            return
        sleep = asyncio.ensure_future(self._clock.sleep(seconds - held))
        hurried = asyncio.ensure_future(self._hurried.wait())
        try:
            await asyncio.wait([sleep, hurried], return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleep.cancel()
            hurried.cancel()
            await asyncio.gather(sleep, hurried, return_exceptions=True)

    # one exchange

    async def _picked(self) -> list[Waiting]:
        """New batches first, a piece of the backlog beside them; both newest first. Nothing while there is no
        connection, while a batch is under suspicion, and while the spool cannot be read: the heartbeat goes on."""
        self._more = False
        if not self.status.connected or self._suspect is not None:
            return []
        now = self._clock.boottime()
        self._deferred = {number: until for number, until in self._deferred.items() if until > now}
        skip = frozenset(self._deferred)
        try:
            budget, most = self._lanes.live()
            live = await self._spool.newest(above=self._lanes.mark, budget=budget, most=most, skip=skip)
            self._more = len(live) >= most or sum(len(one.sealed) for one in live) >= budget // 2
            budget, most = self._lanes.backlog(len(live))
            if most and self._spool.counts.batches > len(live):
                live += await self._spool.newest(up_to=self._lanes.mark, budget=budget, most=most, skip=skip)
        except SpoolUnavailable as error:
            self._spool_trouble.failed(str(error))
            return []
        self._spool_trouble.worked()
        return live

    async def _exchange(self, sent: list[Waiting]) -> bool:
        """Posts, and does all that the receipt asks. Returns whether more new batches should follow at once."""
        told = self._orders.answers()
        answered = await self._connection.post(self._envelope(sent, told))
        receipt = answered.receipt
        self._live_every = min(max(receipt.live_every, 0.0), 60.0)
        self._anchoring.learn(answered)
        await self._connected(answered, sent)
        outcome = settlement(sent, receipt)
        await self._settle(outcome)
        await self._anchoring.note()
        await self._orders.receive(receipt, answered.received, told)
        await self._follow_settings(receipt.settings)
        if sent:
            self._lanes.fits()
        return self._more and bool(outcome.delivered)

    def _envelope(self, sent: list[Waiting], told: list[OrderAnswer]) -> Envelope:
        counts = self._spool.counts
        clock = AgentClock(self._clock.boot, self._clock.boottime(), self._clock.wall(), self._timekeeper.best)
        return Envelope(
            protocol=PROTOCOL,
            agent_version=__version__,
            clock=clock,
            batches=[Sealed(one.digest, msgspec.Raw(one.sealed)) for one in sent],
            answers=told,
            settings=self._revision(),
            backlog=counts._asdict(),
        )

    async def _connected(self, answered: Answered, sent: list[Waiting]) -> None:
        now = answered.received
        again = not self.status.connected
        if sent or not again or not self._choked:
            self._choked = False
            self._backoff.worked()
            self._trouble.worked()
        round_trip = (answered.received - answered.sent) / SECOND
        self.status = self.status._replace(heard=now, posts=self.status.posts + 1, round_trip=round_trip)
        if again:
            self.status = self.status._replace(connected=True, since=now, cause="", token_refused=False)
            self._lanes.connected(await self._spool.highest())
            self.hurry()  # this was the heartbeat; the newest of what waited follows at once

    async def _settle(self, outcome: Outcome) -> None:
        until = self._clock.boottime() + round(DEFERRED * SECOND)
        self._deferred.update(dict.fromkeys(outcome.deferred, until))
        refused = list(outcome.refused)
        if self._suspect is not None:  # without it the collector answers: the batch was to blame
            refused.append(self._suspect)
            self._suspect = None
        gone: list[Refused] = []
        if outcome.delivered or refused:
            gone = await self._spool.settle([(one.stream, one.seq) for one in outcome.delivered], refused)
            self.status = self.status._replace(delivered=self.status.delivered + len(outcome.delivered))
        if outcome.foreign and outcome.foreign & set(await self._spool.streams()):
            await self._spool.renew("the collector holds other batches under these numbers: a cloned disk?")
        await self._quarantined.tell(gone)

    # failures

    def _failed(self, error: ExchangeFailed) -> None:
        self._trouble.failed(str(error))
        if self.status.connected or not self.status.cause:
            self.status = self.status._replace(connected=False, since=self._clock.boottime())
        self.status = self.status._replace(cause=str(error), failures=self.status.failures + 1)

    def _refused(self, error: TooLarge | Rejected, sent: list[Waiting]) -> tuple[float, bool]:
        """Halves the envelope until the batch that will not pass is alone. Then a heartbeat must pass without it:
        where even that is refused, the fault lies elsewhere and no batch is to blame."""
        if not sent:
            self._suspect = None
            self._failed(error)
            return self._backoff.failed(), True
        log.warning("envelope refused", cause=str(error), batches=len(sent))
        if len(sent) > 1:
            self._lanes.too_large(len(sent))
        else:
            refusal = Refusal.TOO_LARGE if isinstance(error, TooLarge) else Refusal.WRONG_SHAPE
            self._suspect = Refused(sent[0].stream, sent[0].seq, refusal, str(error)[:500])
        return 0.0, True

    # what receipts ask

    async def _follow_settings(self, wanted: str) -> None:
        now = self._clock.boottime()
        if not wanted or wanted == self._revision():
            return
        revision, at = self._fetched
        if revision == wanted and now - at < REFETCH * SECOND:
            return
        self._fetched = (wanted, now)
        try:
            await self._fetch_settings()
        except TokenRefused:
            raise
        except Exception as error:  # noqa: BLE001 - whatever is wrong with new settings, the present ones are run on
            self._settings_trouble.failed(f"{type(error).__name__}: {error}", revision=wanted)
        else:
            self._settings_trouble.worked()

    async def _fetch_settings(self) -> None:
        settings = await self._connection.fetch_settings(self._revision())
        if settings is not None:
            await self._on_settings(settings)

    async def _carry(self, order: Order) -> OrderAnswer:
        if order.kind == OrderKind.FETCH_SETTINGS:
            await self._fetch_settings()
        elif order.kind == OrderKind.ROTATE_TOKEN:
            token = await self._connection.new_token()
            await self._on_token(token)
            self._connection.use_token(token)
        else:
            return await self._on_order(order)
        return OrderAnswer(order.id, OrderStatus.DONE)
