"""The one writer: a thread that owns the only writing connection and commits many posts in one transaction.

A commit costs an fsync, whatever it holds. Takes that wait in the queue are therefore committed as a group: under load
the group grows and the cost of an fsync is shared; without load a take is committed at once.
"""

import asyncio
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeVar

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from collector.store.dialect import RESTORE, CannotWrite, Damaged, cannot_write, rows_changed

log = structlog.get_logger()

LARGEST_GROUP = 256
"""Posts in one transaction: bounds what a crash makes agents send again, and how long the first one waits."""
SPACING = 0.01
"""Least seconds from the beginning of one group to that of the next. A post that comes alone is committed at once; a
stream of them shares its commits, which at 800 posts a second saves a quarter of the processor and most fsyncs."""

_T = TypeVar("_T")


class Closed(RuntimeError):
    """The store was closed."""


class Grouped(Protocol):
    """A job that may share its transaction with others of its kind."""

    def deferred(self, why: CannotWrite) -> Any:
        """The answer when the transaction could not be committed."""


class Group(Protocol):
    """What runs grouped jobs inside one transaction; see :class:`collector.store.ledger.Ledger`."""

    def run(self, connection: Connection, jobs: list[Any]) -> list[Any]:
        """Answers (or exceptions) in the order of the jobs. Raises only what spoils the whole transaction."""

    def committed(self) -> None:
        """The transaction is on the disk."""

    def undone(self) -> None:
        """The transaction was rolled back: forget everything learned in it."""


class _Job(NamedTuple):
    work: Any  # a Grouped, or a function of the connection
    grouped: bool
    loop: asyncio.AbstractEventLoop | None
    future: "asyncio.Future[Any] | None"


class Writer:
    """Runs jobs in the order they came.

    Counts ``commits``, ``commits_of_posts``, ``posts_deferred`` and ``writes_failed``.
    """

    def __init__(self, engine: Engine, group: Group, counters: Counter[str]) -> None:
        self._engine = engine
        self._group = group
        self._counters = counters
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closed = False
        self._failing = False
        self._damaged = False
        self._thread = threading.Thread(target=self._run, name="phrom-store-writer", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Jobs in the queue."""
        return self._queue.qsize()

    async def take(self, job: Grouped) -> Any:
        """Runs a grouped job; returns only after COMMIT."""
        return await self._submit(job, grouped=True)

    async def write(self, function: Callable[[Connection], _T]) -> _T:
        """Runs a function in a transaction of its own; raises :class:`CannotWrite` when the disk does not let it."""
        result: _T = await self._submit(function, grouped=False)
        return result

    def post(self, function: Callable[[Connection], Any]) -> None:
        """Runs a function later in a transaction of its own, with nobody waiting; usable from any thread."""
        if not self._closed:
            self._queue.put(_Job(function, grouped=False, loop=None, future=None))

    def close(self) -> None:
        """Finishes what is queued and ends the thread; blocks."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
        self._thread.join()

    async def _submit(self, work: Any, *, grouped: bool) -> Any:
        if self._closed:
            raise Closed("the store is closed")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._queue.put(_Job(work, grouped, loop, future))
        return await future

    def _run(self) -> None:
        with self._engine.connect() as connection:
            held: _Job | None = None
            begun = -SPACING
            while True:
                job = held or self._queue.get()
                held = None
                if job is None:
                    return
                if not job.grouped:
                    self._single(connection, job)
                    continue
                due = begun + SPACING - time.monotonic()
                if due > 0:
                    time.sleep(due)
                begun = time.monotonic()
                jobs, held = self._gather(job)
                self._together(connection, jobs)

    def _gather(self, first: _Job) -> tuple[list[_Job], _Job | None]:
        """The grouped jobs that wait behind the first one, and the single job that ended the group, if one did."""
        jobs = [first]
        while len(jobs) < LARGEST_GROUP:
            try:
                following = self._queue.get_nowait()
            except queue.Empty:
                break
            if following is None:
                self._queue.put(None)
                break
            if not following.grouped:
                return jobs, following
            jobs.append(following)
        return jobs, None

    def _together(self, connection: Connection, jobs: list[_Job]) -> None:
        try:
            before = rows_changed(connection)
            with connection.begin():
                answers = self._group.run(connection, [job.work for job in jobs])
        except Exception as problem:  # noqa: BLE001 - every waiter learns of it; the thread must live
            self._group.undone()
            failure = self._failed(problem)
            if isinstance(failure, CannotWrite):
                answers = [job.work.deferred(failure) for job in jobs]
                self._counters["posts_deferred"] += len(jobs)
            elif len(jobs) == 1:
                answers = [failure]
            else:  # one of them found a mistake of ours: alone, it does no harm to the others
                for job in jobs:
                    self._together(connection, [job])
                return
        else:
            self._group.committed()
            self._committed(wrote=rows_changed(connection) > before)
            self._counters["commits_of_posts"] += 1
        _answer(jobs, answers)

    def _single(self, connection: Connection, job: _Job) -> None:
        answer: Any
        try:
            before = rows_changed(connection)
            with connection.begin():
                answer = job.work(connection)
        except Exception as problem:
            answer = self._failed(problem)
            if job.future is None and not isinstance(answer, CannotWrite):
                log.exception("store task failed")
        else:
            self._committed(wrote=rows_changed(connection) > before)
        if job.future is not None:
            _answer([job], [answer])

    def _failed(self, problem: Exception) -> Exception:
        meaning = cannot_write(problem) if isinstance(problem, DBAPIError) else None
        if meaning is None:
            return problem
        self._counters["writes_failed"] += 1
        if isinstance(meaning, Damaged):
            if not self._damaged:  # once and for good: that other pages still take writes is no recovery
                self._damaged = True
                log.error("store is damaged", problem=str(meaning), todo=RESTORE)
        elif not self._failing:
            self._failing = True
            log.error("store cannot write", problem=str(meaning))
        return meaning

    def _committed(self, *, wrote: bool) -> None:
        """A commit that wrote nothing never met the disk, and proves nothing about it."""
        self._counters["commits"] += 1
        if self._failing and wrote:
            self._failing = False
            log.info("store writes again")


def _answer(jobs: list[_Job], answers: list[Any]) -> None:
    """Hands the answers to their event loops, waking each loop once."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = {}
    for job, answer in zip(jobs, answers, strict=True):
        if job.loop is not None and job.future is not None:
            by_loop.setdefault(job.loop, []).append((job.future, answer))
    for loop, pairs in by_loop.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(_resolve, pairs)


def _resolve(pairs: list[tuple["asyncio.Future[Any]", Any]]) -> None:
    for future, answer in pairs:
        if future.done():
            continue  # its waiter was cancelled
        if isinstance(answer, BaseException):
            future.set_exception(answer)
        else:
            future.set_result(answer)
