"""Orders of the collector: accepted on disk before they begin, hence done at most once, over crashes too.

An order rides on every receipt until its acknowledgement was heard, so its id is met again and again. Times count on
CLOCK_BOOTTIME from the receipt's arrival; after a reboot an order that had not begun has expired.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

import msgspec
import structlog

from agent.clock import Clock
from agent.spool import Spool, SpoolUnavailable
from wire.batch import Receipt
from wire.clock import SECOND
from wire.orders import Order, OrderAnswer, OrderKind, OrderStatus

KEPT = 500
"""Ids remembered after their answers were heard."""
MOST_ANSWERS = 64
"""Answers in one envelope."""
Carry = Callable[[Order], Awaitable[OrderAnswer]]
log = structlog.get_logger(__name__)


class Orders:
    """Takes orders in, has them carried out once, and keeps the answers until they are heard."""

    def __init__(self, spool: Spool, clock: Clock, carry: Carry, hurry: Callable[[], None]) -> None:
        self._spool = spool
        self._clock = clock
        self._carry = carry
        self._hurry = hurry
        self._answers: dict[str, OrderAnswer] = {}
        self._known: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loaded = False

    def answers(self) -> list[OrderAnswer]:
        """What the next envelope tells."""
        return list(self._answers.values())[:MOST_ANSWERS]

    async def load(self) -> None:
        """Takes up what the run before left: what had begun is failed, what had not begun may still be due."""
        if self._loaded:
            return
        rows = await self._spool.transact(_load)
        self._loaded = True
        for identity, body, boot, arrived, begun, status, detail, heard in rows:
            self._known.add(identity)
            if status != OrderStatus.ACCEPTED:
                if not heard:
                    self._answers[identity] = OrderAnswer(identity, OrderStatus(status), detail)
                continue
            if begun:
                answer = OrderAnswer(identity, OrderStatus.FAILED, "the agent stopped while it was carried out")
                await self._finish(answer)
            elif boot != self._clock.boot:
                await self._finish(
                    OrderAnswer(identity, OrderStatus.EXPIRED, "the machine was restarted before it began")
                )
            else:
                self._answers[identity] = OrderAnswer(identity, OrderStatus.ACCEPTED)
                self._start(msgspec.json.decode(body, type=Order), arrived)

    async def receive(self, receipt: Receipt, arrived: int, told: Iterable[OrderAnswer] = ()) -> None:
        """Takes in what a receipt brought at ``arrived`` (boottime), the answer to an envelope that held the answers
        ``told``. Returns when every new order is on disk and under way."""
        await self.load()
        heard = set(receipt.heard)
        await self._heard([one for one in told if one.id in heard and self._answers.get(one.id) == one])
        for order in receipt.orders:
            if order.id in self._known:
                continue
            answer = _first_answer(order)
            await self._spool.transact(partial(_insert, order, answer, self._clock.boot, arrived))
            self._known.add(order.id)
            self._answers[order.id] = answer
            if answer.status is OrderStatus.ACCEPTED:
                self._start(order, arrived)
            else:
                log.warning("order of an unknown kind", id=order.id, kind=order.kind)
            self._hurry()

    async def stop(self) -> None:
        """Cuts what is being carried out; at the next receipt, in this run or a later one, it is answered as failed."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._loaded = False

    async def _heard(self, answers: list[OrderAnswer]) -> None:
        # "accepted" is no final word: only its repetition ends here, the final answer still follows.
        final = [one.id for one in answers if one.status is not OrderStatus.ACCEPTED]
        if final:
            await self._spool.transact(lambda db: _mark_heard(db, final))
        for one in answers:
            if self._answers.get(one.id) == one:  # else the final answer came while the disk was written
                del self._answers[one.id]

    def _start(self, order: Order, arrived: int) -> None:
        task = asyncio.create_task(self._run(order, arrived), name=f"order {order.kind}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, order: Order, arrived: int) -> None:
        """One order from its acceptance to its final answer."""
        due = arrived + round(order.after * SECOND)
        await self._clock.sleep(max(0, due - self._clock.boottime()) / SECOND)
        try:
            if self._clock.boottime() > arrived + round(order.expires * SECOND):
                answer = OrderAnswer(order.id, OrderStatus.EXPIRED)
            else:
                await self._spool.transact(
                    lambda db: db.execute("UPDATE orders SET begun = 1 WHERE id = ?", (order.id,)).rowcount
                )
                answer = await self._carried(order)
            await self._finish(answer)
        except SpoolUnavailable as error:
            log.warning("order not carried out", id=order.id, cause=str(error))
            self._answers[order.id] = OrderAnswer(order.id, OrderStatus.FAILED, "the spool cannot be written")
        self._hurry()

    async def _carried(self, order: Order) -> OrderAnswer:
        try:
            answer = await self._carry(order)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong in an order is its answer, never the agent's end
            log.warning("order failed", id=order.id, kind=order.kind, cause=f"{type(error).__name__}: {error}")
            return OrderAnswer(order.id, OrderStatus.FAILED, f"{type(error).__name__}: {error}"[:500])
        return msgspec.structs.replace(answer, id=order.id)

    async def _finish(self, answer: OrderAnswer) -> None:
        await self._spool.transact(
            lambda db: (
                db.execute(
                    "UPDATE orders SET status = ?, detail = ? WHERE id = ?", (answer.status, answer.detail, answer.id)
                ).rowcount
            )
        )
        self._answers[answer.id] = answer


def _first_answer(order: Order) -> OrderAnswer:
    if order.kind not in set(OrderKind):
        return OrderAnswer(order.id, OrderStatus.UNKNOWN, f"this release does not know the order {order.kind!r}")
    return OrderAnswer(order.id, OrderStatus.ACCEPTED)


def _load(db: sqlite3.Connection) -> list[tuple[str, bytes, str, int, int, str, str, int]]:
    db.execute("DELETE FROM orders WHERE heard AND rank <= (SELECT max(rank) FROM orders) - ?", (KEPT,))
    return db.execute(
        "SELECT id, body, boot, arrived, begun, status, detail, heard FROM orders ORDER BY rank"
    ).fetchall()


def _insert(order: Order, answer: OrderAnswer, boot: str, arrived: int, db: sqlite3.Connection) -> None:
    rank = db.execute("SELECT coalesce(max(rank), 0) + 1 FROM orders").fetchone()[0]
    db.execute(
        "INSERT INTO orders VALUES (?, ?, ?, ?, 0, ?, ?, 0, ?)",
        (order.id, msgspec.json.encode(order), boot, arrived, answer.status, answer.detail, rank),
    )


def _mark_heard(db: sqlite3.Connection, ids: list[str]) -> None:
    db.executemany("UPDATE orders SET heard = 1 WHERE id = ?", [(one,) for one in ids])
