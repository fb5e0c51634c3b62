"""Addresses that only this machine knows, under the names by which settings speak of them: ``@gateway``, ``@edge``."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

_REFERENCE = re.compile(r"^@([a-z][a-z0-9_-]*)")
BEYOND_GATEWAY = frozenset({"gateway", "gateway6", "edge"})
"""Names that mean nothing while the machine has no default route."""


DEFAULT_PORTS = {"https": "443", "http": "80"}


def of_collector(url: str) -> dict[str, str]:
    """The names under which settings speak of the collector: ``@collector`` its host, ``@collector_port``."""
    parts = urlsplit(url)
    try:
        port = str(parts.port or DEFAULT_PORTS.get(parts.scheme, ""))
    except ValueError:  # not a port number: the uplink says so
        port = ""
    return {"collector": parts.hostname or "", "collector_port": port}


PLACE = "vantage"
"""Name under which it is kept where addresses were learned."""


def still_true(learned: Mapping[str, str], vantage: str) -> dict[str, str]:
    """The addresses of an earlier run, if the machine stands where it learned them."""
    if not vantage or learned.get(PLACE) != vantage:
        return {}
    return {name: address for name, address in learned.items() if name != PLACE}


class NotLearnedYet(LookupError):
    """A setting speaks of an address that is not known yet. ``name`` is its name without the ``@``."""

    def __init__(self, name: str) -> None:
        super().__init__(f"@{name}: no address learned yet")
        self.name = name


class Directory:
    """What was learned. ``routed`` says whether the machine has a default route at all."""

    def __init__(self, addresses: Mapping[str, str] | None = None) -> None:
        self.addresses: dict[str, str] = dict(addresses or {})
        self.routed = True

    def learn(self, learned: Mapping[str, str]) -> bool:
        """Takes addresses over; an empty one is forgotten. Says whether anything is new."""
        before = dict(self.addresses)
        for name, address in learned.items():
            if address:
                self.addresses[name] = address
            else:
                self.addresses.pop(name, None)
        return self.addresses != before

    def resolve(self, value: Any) -> Any:
        """The settings with each text that begins with ``@name`` given its address, inside lists and mappings too;
        raises :class:`NotLearnedYet`."""
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, list):
            return [self.resolve(one) for one in value]
        if isinstance(value, dict):
            return {key: self.resolve(one) for key, one in value.items()}
        return value

    def _text(self, text: str) -> str:
        match = _REFERENCE.match(text)
        if not match:
            return text
        address = self.addresses.get(match[1])
        if address is None:
            raise NotLearnedYet(match[1])
        rest = text[match.end() :]
        return f"[{address}]{rest}" if ":" in address and rest.startswith(":") else address + rest


def references(value: Any) -> set[str]:
    """The names that settings speak of."""
    if isinstance(value, str):
        match = _REFERENCE.match(value)
        return {match[1]} if match else set()
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return set().union(*(references(one) for one in value)) if value else set()
    return set()
