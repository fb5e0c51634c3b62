"""``phrom-agent run``: wires the parts together, keeps them running, and stops them in order."""

import asyncio
import contextlib
import gc
import signal
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from agent import __version__, alive
from agent.clock import SystemClock, Timekeeper
from agent.delivery import Delivery
from agent.directory import PLACE, Directory, still_true
from agent.health import health
from agent.journal import Journal
from agent.leases import CollectorLeases
from agent.memory import give_back
from agent.metrics import Exposition, Gauge, Tally
from agent.metrics import serve as serve_metrics
from agent.router_settings import counters_of
from agent.runner import Runner, UnknownAssignment
from agent.settings import OwnSettings, effective
from agent.slots import SlotTests
from agent.spool import Limits, Spool, SpoolInUse, machine_hint
from agent.standby import KeptLeases
from agent.state import State, StateUnusable
from agent.whereabouts import Whereabouts
from wire import systemd
from wire.orders import Order, OrderAnswer, OrderKind, OrderStatus
from wire.reasons import Event
from wire.settings import AgentSettings

LAST_POST = 2.0
"""Seconds that the last delivery may take when the agent stops."""
AGAIN = 5.0
"""Seconds before a part that broke is started anew."""
SETTLED = 20.0
"""Seconds after which every probe has run once (:data:`agent.schedule.SOON`)."""
REMEMBER_EVERY = 60.0
LONGEST_WINDOW = 600.0
"""Seconds of a window that an order may ask for."""
log = structlog.get_logger("agent")


class Daemon:
    """The agent as it runs."""

    def __init__(self, own: OwnSettings, state: State, spool: Spool, clock: SystemClock) -> None:
        self._own = own
        self._state = state
        self._spool = spool
        self._clock = clock
        self._timekeeper = Timekeeper(clock)
        self._journal = Journal(spool, clock)
        self._alive = alive.Alive(state.folder / "alive")
        self._directory = Directory()
        self._tally = Tally()
        leases = KeptLeases(CollectorLeases(lambda: self._delivery.connection), state.folder)
        self._runner = Runner(clock, self._timekeeper, self._journal, self._directory, leases)
        self._runner.prepare = self._prepare
        self._slots = SlotTests(clock, self._timekeeper, self._runner, self._journal, leases, heard=self._heard)
        self._runner.measuring.listeners += [self._tally.window, self._slots.calm.saw]
        self._whereabouts = Whereabouts(clock, self._journal, self._directory, self._runner.stand)
        self._delivery = Delivery(
            own,
            state,
            spool,
            self._journal,
            clock,
            self._timekeeper,
            self._directory,
            on_order=self._on_order,
            on_settings=self._on_settings,
            revision=lambda: self._fetched.revision if self._fetched else "",
        )
        self._fetched: AgentSettings | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stopping = asyncio.Event()
        self._why = ""
        self._learned: dict[str, str] = {}

    def stop(self, why: str) -> None:
        """Begins the clean stop."""
        self._why = self._why or why
        self._stopping.set()

    async def run(self) -> None:
        """Until :meth:`stop` is called; everything is on disk when it returns."""
        await self._journal.started(__version__, await asyncio.to_thread(self._alive.last))
        self._fetched = await asyncio.to_thread(self._state.settings)
        await self._delivery.recall()
        self._apply(self._fetched)
        await self._whereabouts.look()
        await self._recall()
        async with contextlib.AsyncExitStack() as open_things:
            await self._listen(open_things)
            self._keep("runner", self._runner.run)
            self._keep("vantage", self._whereabouts.run)
            self._keep("memory", self._remember)
            self._keep("slots", self._slots.run)
            self._keep("alive", self._beat)
            self._keep("watchdog", systemd.watchdog)
            self._keep("uplink", self._delivery.run)
            log.info("running", version=__version__, assignments=len(self._runner.settings.assignments))
            systemd.notify("READY=1")
            self._keep("tidying", self._tidy_up)
            await self._stopping.wait()
            await self._end()

    async def _end(self) -> None:
        log.info("stopping", why=self._why)
        systemd.notify("STOPPING=1")
        await self._cancel("vantage")
        await self._save_learned()
        await self._runner.stop()
        await self._journal.stopped(self._why)
        await self._cancel("uplink")
        await self._delivery.last(LAST_POST)
        for name in list(self._tasks):
            await self._cancel(name)

    def _keep(self, name: str, part: Callable[[], Awaitable[None]]) -> None:
        self._tasks[name] = asyncio.create_task(self._supervise(name, part), name=name)

    def _prepare(self, name: str, made: Any) -> Any:
        """A probe as this machine needs it: how the whole link's traffic is counted stands in its own settings."""
        if name in ("throughput", "utilisation"):
            made.inline = self._own.router.counters == "this-machine"
            made.ask = lambda: counters_of(self._own.router, self._directory.addresses.get("gateway", ""))
        return made

    async def _supervise(self, name: str, part: Callable[[], Awaitable[None]]) -> None:
        """A part that breaks is logged and started anew: an agent in a district has nobody to restart it."""
        while True:
            try:
                return await part()
            except Exception as fault:  # noqa: BLE001 - whatever it is, the other parts go on
                lines = await asyncio.to_thread(traceback.format_exception, fault)
                log.error("part broke, starting it anew", part=name, exception="".join(lines))  # noqa: TRY400
            await self._clock.sleep(AGAIN)

    async def _cancel(self, name: str) -> None:
        task = self._tasks.pop(name)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def _tidy_up(self) -> None:
        """Once everything has run: what start-up left behind goes, what stays is never looked at again by the
        garbage collector."""
        await self._clock.sleep(SETTLED)
        await asyncio.to_thread(gc.collect)
        gc.freeze()
        await asyncio.to_thread(give_back)

    # what was learned

    async def _recall(self) -> None:
        """Addresses learned by the run before this one, if the machine still stands where it learned them."""
        found = await asyncio.to_thread(self._state.learned)
        self._directory.learn(still_true(found, self._runner.vantage.id if self._runner.vantage else ""))
        self._learned = self._worth_keeping()

    async def _beat(self) -> None:
        while True:
            await asyncio.to_thread(self._alive.beat, self._clock)
            await self._clock.sleep(alive.EVERY)

    async def _remember(self) -> None:
        while True:
            await self._clock.sleep(REMEMBER_EVERY)
            await self._save_learned()

    async def _save_learned(self) -> None:
        found = self._worth_keeping()
        if found == self._learned:
            return
        self._learned = found
        try:
            await asyncio.to_thread(self._state.keep_learned, found)
        except StateUnusable as trouble:
            log.warning("learned addresses not kept", cause=str(trouble))

    def _worth_keeping(self) -> dict[str, str]:
        """Without what is seen anew at every start."""
        seen = ("gateway", "gateway6", "resolver", "collector", "collector_port")
        found = {name: address for name, address in self._directory.addresses.items() if name not in seen}
        return {**found, PLACE: self._runner.vantage.id} if found and self._runner.vantage else {}

    # settings and orders

    def _apply(self, fetched: AgentSettings | None) -> None:
        who = self._delivery.identity
        settings = effective(self._own, fetched, who.province if who else "", who.site if who else "")
        self._runner.apply(settings)
        self._whereabouts.apply(settings)
        self._tally.keep_only({(one.probe, one.target, one.platform) for one in settings.assignments})
        self._delivery.post_every(settings.post_every)

    async def _on_settings(self, settings: AgentSettings) -> None:
        try:
            await asyncio.to_thread(self._state.keep_settings, settings)
        except StateUnusable as trouble:
            log.warning("settings followed but not kept", cause=str(trouble))
        self._fetched = settings
        self._apply(settings)
        log.info("settings", revision=settings.revision, assignments=len(settings.assignments), site=settings.site)
        await self._journal.note(Event.SETTINGS_CHANGED, facts={"revision": settings.revision})

    async def _on_order(self, order: Order) -> OrderAnswer:
        if order.kind == OrderKind.SLOT:
            return await self._slots.carry(order)
        if order.kind != OrderKind.MEASURE:
            return OrderAnswer(order.id, OrderStatus.UNKNOWN, f"this release does not know the order {order.kind!r}")
        names, window = order.arguments.get("assignments", []), order.arguments.get("window")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            return OrderAnswer(order.id, OrderStatus.REFUSED, "assignments: expected a list of names")
        if window is not None and not (isinstance(window, int | float) and 0 < window <= LONGEST_WINDOW):
            return OrderAnswer(order.id, OrderStatus.REFUSED, f"window: expected seconds up to {LONGEST_WINDOW:g}")
        try:
            windows = await self._runner.measure_now(names, window, order.id)
        except UnknownAssignment as unknown:
            return OrderAnswer(order.id, OrderStatus.REFUSED, str(unknown)[:500])
        return OrderAnswer(order.id, OrderStatus.DONE, f"{len(windows)} windows")

    def _heard(self) -> int | None:
        """When the collector was heard last in this run, CLOCK_BOOTTIME."""
        return self._delivery.uplink.status.heard if self._delivery.uplink else None

    # what others may read

    async def _listen(self, open_things: contextlib.AsyncExitStack) -> None:
        """``/metrics``; an address in use is no reason not to measure."""
        if self._own.listen_at is None:
            return
        try:
            close, port = await serve_metrics(Exposition(self._tally, self._health), *self._own.listen_at)
        except OSError as trouble:
            log.warning("no /metrics", listen=self._own.listen, cause=str(trouble))
            return
        open_things.push_async_callback(close)
        log.info("metrics", address=f"http://{self._own.listen_at[0]}:{port}/metrics")

    def _health(self) -> list[Gauge]:
        running = len(self._runner.settings.assignments)
        return health(
            self._clock,
            self._timekeeper,
            self._spool,
            self._journal,
            self._delivery.uplink,
            self._runner.vantage,
            running,
        )


async def serve(own: OwnSettings) -> int:
    """Runs the daemon until SIGTERM or SIGINT; returns the exit code."""
    clock = await asyncio.to_thread(SystemClock)
    state = State(own.state_dir)
    try:
        await asyncio.to_thread(state.prepare)
        limits = Limits(bytes=own.spool.size, age=own.spool.age)
        hint = await asyncio.to_thread(machine_hint)
        spool = await Spool.open(state.spool, clock, limits, hint)
    except (StateUnusable, SpoolInUse) as trouble:
        log.error("cannot start", cause=str(trouble))  # noqa: TRY400 - the words are the message
        return 1
    daemon = Daemon(own, state, spool, clock)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, daemon.stop, number.name)
    try:
        await daemon.run()
    finally:
        await spool.close()
    return 0
