"""A hand-made agent's end of the throughput protocol, for what a real one never does."""

import asyncio
import contextlib
from typing import Self, TypeVar

from wire import lease, throughput
from wire.lease import Grant
from wire.throughput import Asked, Begin, Join, Open, ResponderSays, Told

_T = TypeVar("_T", bound=Told)


class Peer:
    """One connection to a responder."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, challenge: bytes) -> None:
        self.reader, self.writer, self.challenge = reader, writer, challenge
        self._says = ResponderSays()
        self._waiting: list[Told] = []

    @classmethod
    async def connect(cls, port: int, host: str = "127.0.0.1") -> Self:
        """Connects and takes the greeting."""
        reader, writer = await asyncio.open_connection(host, port)
        try:
            return cls(reader, writer, throughput.challenge_of(await reader.readexactly(throughput.GREETING_BYTES)))
        except BaseException:
            writer.transport.abort()
            raise

    async def say(self, *messages: Asked) -> None:
        """Sends messages."""
        self.writer.write(b"".join(map(throughput.frame, messages)))
        await self.writer.drain()

    async def hear(self) -> Told | None:
        """The next message; ``None`` once the responder closed."""
        while not self._waiting:
            try:
                data = await self.reader.read(65_536)
            except ConnectionError:
                return None
            if not data:
                return None
            self._waiting += self._says.feed(data)
        return self._waiting.pop(0)

    async def wait_for(self, kind: type[_T]) -> _T | None:
        """The next message of one kind; ``None`` once the responder closed."""
        while (message := await self.hear()) is not None:
            if isinstance(message, kind):
                return message
        return None

    async def open(self, grant: Grant, streams: int = 1, *, challenge: bytes | None = None) -> Told | None:
        """Opens a session; returns the answer."""
        context = throughput.open_context(streams)
        proof = lease.proof(bytes.fromhex(grant.key), challenge or self.challenge, context).hex()
        await self.say(Open(grant.token, proof, streams))
        return await self.hear()

    async def join(self, grant: Grant, stream: int = 0, *, proof_of: int | None = None) -> Told | None:
        """Joins a session; returns the answer."""
        context = throughput.join_context(grant.lease.id, stream if proof_of is None else proof_of)
        proof = lease.proof(bytes.fromhex(grant.key), self.challenge, context).hex()
        await self.say(Join(grant.lease.id, stream, proof))
        return await self.hear()

    async def close(self) -> None:
        """Closes without a word."""
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


async def begun(port: int, grant: Grant, direction: str, seconds: float = 5.0) -> tuple[Peer, Peer]:
    """A session of one stream in which a direction has begun: the control connection and the stream."""
    control = await Peer.connect(port)
    await control.open(grant)
    stream = await Peer.connect(port)
    await stream.join(grant)
    await control.say(Begin(direction, seconds))
    return control, stream
