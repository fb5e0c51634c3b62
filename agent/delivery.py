"""From joining to delivering: waits until this machine is joined, keeps the uplink, and follows a new join."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import structlog

from agent.clock import Clock, Timekeeper
from agent.connection import Connection, UnsafeAddress
from agent.directory import Directory, of_collector
from agent.journal import Journal
from agent.orders import Carry
from agent.settings import OwnSettings
from agent.spool import Spool
from agent.state import Identity, State, StateDamaged, StateUnusable
from agent.uplink import POST_EVERY, Uplink
from wire.logs import Trouble
from wire.settings import AgentSettings

LOOK_EVERY = 5.0
"""Seconds between looks whether somebody joined this machine, anew or for the first time."""
log = structlog.get_logger("agent")


class NotJoined(Exception):
    """The join file that was found did not serve."""


class Delivery:
    """``run`` until cancelled, then ``last``."""

    def __init__(
        self,
        own: OwnSettings,
        state: State,
        spool: Spool,
        journal: Journal,
        clock: Clock,
        timekeeper: Timekeeper,
        directory: Directory,
        *,
        on_order: Carry,
        on_settings: Callable[[AgentSettings], Awaitable[None]],
        revision: Callable[[], str],
    ) -> None:
        self._own, self._state = own, state
        self._spool, self._journal, self._directory = spool, journal, directory
        self._clock, self._timekeeper = clock, timekeeper
        self._on_order, self._on_settings, self._revision = on_order, on_settings, revision
        self._connection: Connection | None = None
        self._post_every = POST_EVERY
        self.uplink: Uplink | None = None
        self.identity: Identity | None = None

    @property
    def connection(self) -> Connection | None:
        """The connection in use; ``None`` before the agent joined and after it stopped."""
        return self._connection

    async def recall(self) -> Identity | None:
        """Who this agent was when it ran last."""
        try:
            self._be(await asyncio.to_thread(self._state.identity))
        except (StateDamaged, StateUnusable) as damage:
            log.warning("identity not read", cause=str(damage))  # run() goes on telling until it is mended
        return self.identity

    def post_every(self, seconds: float) -> None:
        """The pace that the settings ask for."""
        self._post_every = seconds
        if self.uplink is not None:
            self.uplink.post_every = seconds

    async def run(self) -> None:
        """Delivers as whoever this machine is joined as; a new join takes effect without a restart."""
        while True:
            who = await self._joined()
            self._be(who)
            if self.uplink is None:
                self._connect(who)
            assert self.uplink is not None  # noqa: S101 - _connect made it
            parts = {asyncio.create_task(self.uplink.run()), asyncio.create_task(self._joined_anew())}
            try:
                done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
                for part in done:
                    part.result()
            finally:
                for part in parts:
                    part.cancel()
                await asyncio.gather(*parts, return_exceptions=True)
            log.info("joined anew")
            await self.close()

    async def last(self, seconds: float) -> None:
        """Delivers what is left, as far as that takes no longer, after ``run`` was cancelled."""
        if self.uplink is not None:
            await self.uplink.drain(seconds)
        await self.close()

    async def close(self) -> None:
        """Closes the connection."""
        self.uplink = None
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.close()

    def _be(self, who: Identity | None) -> None:
        self.identity = who
        self._directory.learn(of_collector(self._own.collector or (who.url if who else "")))

    def _connect(self, who: Identity) -> None:
        self._connection = Connection(self._own.collector or who.url, self._clock, token=who.token, ca=who.ca)
        self.uplink = Uplink(
            self._connection,
            self._spool,
            self._journal,
            self._clock,
            self._timekeeper,
            on_order=self._on_order,
            on_settings=self._on_settings,
            on_token=self._on_token,
            revision=self._revision,
        )
        self.uplink.post_every = self._post_every

    async def _on_token(self, token: str) -> None:
        await asyncio.to_thread(self._state.keep_token, token)
        if self.identity is not None:
            self.identity = msgspec.structs.replace(self.identity, token=token)

    async def _joined_anew(self) -> None:
        """Returns when the identity on disk is another than the one in use."""
        while True:
            await self._clock.sleep(LOOK_EVERY)
            try:
                found = await asyncio.to_thread(self._state.identity)
            except (StateDamaged, StateUnusable):
                continue  # the identity in use is good; a join writes a new one as a whole
            if found is not None and found != self.identity:
                return

    async def _joined(self) -> Identity:
        """Who this agent is, as soon as it has joined: by the command, or by a prepared file on a stick or card."""
        trouble = Trouble(log, "not joined: measuring and keeping", "joined")
        while True:
            cause = "no identity and no join file; join with: phrom-agent join URL CODE"
            try:
                found = await asyncio.to_thread(self._state.identity) or await self._join_by_file()
            except (StateDamaged, StateUnusable, NotJoined) as failure:
                found, cause = None, str(failure)
            if found is not None:
                trouble.worked(site=found.site)
                return found
            trouble.failed(cause)
            await self._clock.sleep(LOOK_EVERY)

    async def _join_by_file(self) -> Identity | None:
        files = [Path(name) for name in self._own.join_files]
        if not await asyncio.to_thread(lambda: any(file.is_file() for file in files)):
            return None
        from agent.join import BadCode, JoinFailed, join_by_file  # with YAML, which only a join needs
        from wire.yaml_nodes import SettingsError

        try:
            return await join_by_file(files, self._state, self._clock)
        except (BadCode, JoinFailed, SettingsError, UnsafeAddress) as failure:
            raise NotJoined(str(failure)) from failure
