"""Logs of agent and collector: events with keys, to stderr; for people on a terminal, JSON otherwise; no secret ever.

One line when something fails and one when it works again: :class:`Trouble` keeps that promise.
"""

import logging
import os
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Literal, TextIO

import structlog

Format = Literal["auto", "console", "json"]

_SECRET = re.compile(
    r"\bph[am]_[A-Za-z0-9_-]{8,}"  # tokens
    r"|\b(?:[A-Z2-7]{4}-){3}[A-Z2-7]{4}(?:\.[A-Z2-7]+)?\b"  # join codes
    r"|(?<=[Bb]earer )\S+"
    r"|(?<=://)[^/@\s:]+:[^/@\s]+(?=@)"  # user:password in an address
)
_SECRET_KEYS = frozenset({"token", "code", "password", "secret", "authorization", "community"})
MASK = "•••"


def masked(text: str) -> str:
    """The text with tokens, join codes and passwords in addresses replaced by dots."""
    return _SECRET.sub(MASK, text)


def _mask(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if key.lower() in _SECRET_KEYS and value:
            event[key] = MASK
        elif isinstance(value, str):
            event[key] = masked(value)
        elif isinstance(value, BaseException):
            event[key] = masked(f"{type(value).__name__}: {value}")
    return event


def _plain_json(value: Any, **_: Any) -> str:
    import json  # here, because an agent that logs to a terminal does without

    return json.dumps(value, ensure_ascii=False, default=str)


def set_up(form: Format = "auto", level: str = "info", stream: TextIO | None = None) -> None:
    """Sets up structlog and the standard library's logging alike; call once at start.

    ``auto`` is ``console`` on a terminal and ``json`` elsewhere; ``NO_COLOR`` is honoured.
    """
    out = stream or sys.stderr
    console = form == "console" or (form == "auto" and out.isatty())
    renderer: Any = (
        structlog.dev.ConsoleRenderer(
            colors=out.isatty() and not os.environ.get("NO_COLOR"),
            pad_event_to=0,
            exception_formatter=structlog.dev.plain_traceback,
        )
        if console
        else structlog.processors.JSONRenderer(serializer=_plain_json)
    )
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if console else "iso", utc=not console),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, _mask, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=out),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _mask, renderer],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(number, logging.WARNING), force=True)


class Trouble:
    """Logs a trouble once when it begins, once when its cause changes, and once when it is over.

    >>> link = Trouble(structlog.get_logger(), "collector unreachable", "collector reachable again")
    """

    def __init__(self, log: Any, failing: str, recovered: str) -> None:
        self._log = log
        self._failing = failing
        self._recovered = recovered
        self._cause: str | None = None
        self._times = 0

    @property
    def present(self) -> bool:
        """Whether it is failing now."""
        return self._cause is not None

    def failed(self, cause: str, **keys: Any) -> None:
        """Call at every failure; ``cause`` is the exact words of it."""
        self._times += 1
        if cause != self._cause:
            self._cause = cause
            self._log.warning(self._failing, cause=cause, **keys)

    def worked(self, **keys: Any) -> None:
        """Call at every success."""
        if self._cause is not None:
            self._log.info(self._recovered, after_failures=self._times, **keys)
            self._cause, self._times = None, 0
