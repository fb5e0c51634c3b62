"""Label matchers of a remote read query: equality, and regular expressions that cannot be made to run for ever.

Prometheus matches with RE2, anchored at both ends, in time linear in the text. Python's ``re`` backtracks, so a pattern
is admitted only if it cannot blow up: within bounds of length and of the ways it may be tried, and without repeats of
something that itself repeats or branches. What RE2 does not know (look-around, back references) is refused as well.
"""

import re
from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import NamedTuple

LONGEST_PATTERN = 4_000
"""Characters; Grafana writes a variable's chosen values as one alternation, 80 characters each."""
MOST_STEPS = 2_000_000
"""How many ways a pattern may be tried on one label at worst: alternatives add up, what follows each other multiplies,
an optional part counts twice and a variable repeat as often as a label has characters. Two million take some 0.1 s."""
LABEL_LENGTH = 80
LARGEST_COUNT = 100
"""In ``{n,m}``."""

_GROUP = re.compile(r"\(\?(?:P?<[A-Za-z_]\w*>|[is]*:)")
_FLAGS = re.compile(r"\(\?[is]+\)")
_COUNT = re.compile(r"\{(\d+)(,(\d*))?\}")
_ESCAPES = "dDsSwWbBnrtfv"
_LITERALS = re.compile(r"[\w\-:/ .]*(?:\|[\w\-:/ .]*)*", re.ASCII)


class BadPattern(ValueError):
    """A regular expression that is not served; the message says what was found and what to write."""


class Kind(IntEnum):
    """Types of a matcher, numbered as on the wire."""

    EQUAL = 0
    NOT_EQUAL = 1
    MATCHES = 2
    NOT_MATCHES = 3


class Matcher(NamedTuple):
    """One condition on one label. A label that a series lacks counts as empty, as in Prometheus."""

    kind: Kind
    label: str
    value: str
    pattern: re.Pattern[str] | None = None

    def accepts(self, text: str) -> bool:
        """Whether a label with this value is wanted."""
        if self.kind is Kind.EQUAL:
            return text == self.value
        if self.kind is Kind.NOT_EQUAL:
            return text != self.value
        found = self.pattern is not None and self.pattern.fullmatch(text) is not None
        return found is (self.kind is Kind.MATCHES)


def matcher(kind: Kind, label: str, value: str) -> Matcher:
    """A matcher ready for use; raises :class:`BadPattern`."""
    if kind in (Kind.EQUAL, Kind.NOT_EQUAL):
        return Matcher(kind, label, value)
    return Matcher(kind, label, value, compiled(value))


def accepted(matchers: Iterable[Matcher], labels: Mapping[str, str]) -> bool:
    """Whether a series with these labels satisfies every matcher."""
    return all(one.accepts(labels.get(one.label, "")) for one in matchers)


def compiled(pattern: str) -> re.Pattern[str]:
    """The pattern for ``fullmatch``; raises :class:`BadPattern` for what Python reads otherwise or may never finish."""
    if len(pattern) > LONGEST_PATTERN:
        raise BadPattern(f"regular expression: found {len(pattern)} characters, expected at most {LONGEST_PATTERN}")
    if not _LITERALS.fullmatch(pattern):
        _Scan(pattern).check()
    try:
        return re.compile(pattern, re.ASCII | re.DOTALL)
    except (re.error, RecursionError, OverflowError) as problem:
        raise BadPattern(f"regular expression {pattern[:100]!r}: {problem}") from problem


class _Open:
    """A group being read: the ways of its alternatives so far, of the present one, and whether it varies."""

    def __init__(self) -> None:
        self.before = 0
        self.ways = 1
        self.varies = False


class _Scan:
    """Reads a pattern once, from left to right, and refuses it where it grows beyond the bounds."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0
        self.open = [_Open()]
        self.varies = False
        """Whether what a quantifier would now repeat is something that repeats or branches itself."""

    def check(self) -> None:
        while self.at < len(self.pattern):
            self._step(self.pattern[self.at])

    def _step(self, char: str) -> None:
        if char == "\\":
            self._escape()
        elif char == "[":
            self._klass()
        elif char == "(":
            self._group()
        elif char == ")":
            self._close()
        elif char == "|":
            group = self.open[-1]
            group.before, group.ways, group.varies = group.before + group.ways, 1, True
            self._atom(1)
        elif char in "*+?{":
            self._quantifier(char)
        else:
            self._atom(1)

    def _atom(self, length: int, *, varies: bool = False) -> None:
        self.at += length
        self.varies = varies

    def _multiply(self, ways: int) -> None:
        self.open[-1].ways *= ways
        if self.open[-1].ways > MOST_STEPS:
            raise self._bad("too many ways to match", "fewer of * + ? and alternatives")

    def _close(self) -> None:
        inside = self.open.pop()
        if not self.open:
            raise self._bad("a parenthesis that was never opened", "balanced parentheses")
        self._multiply(inside.before + inside.ways)
        self.open[-1].varies |= inside.varies
        self._atom(1, varies=inside.varies)

    def _escape(self) -> None:
        escaped = self.pattern[self.at + 1 : self.at + 2]
        if not escaped or (escaped.isascii() and escaped.isalnum() and escaped not in _ESCAPES):
            raise self._bad(f"the escape \\{escaped}", "an escaped sign, or one of \\d \\s \\w \\b \\n \\t")
        self._atom(2)

    def _klass(self) -> None:
        end = self.pattern.find("]", self.at + (3 if self.pattern.startswith("[^", self.at) else 2))
        inside = self.pattern[self.at + 1 : end] if end > 0 else ""
        if end < 0 or "[" in inside or "&&" in inside or "--" in inside or "||" in inside or "~~" in inside:
            raise self._bad("a character class that is open or nested", "one such as [a-z0-9-]")
        if "\\" in inside:
            raise self._bad("a character class with an escape", "one such as [a-z0-9-], or \\d outside of it")
        self._atom(end + 1 - self.at)

    def _group(self) -> None:
        flags = _FLAGS.match(self.pattern, self.at)
        if flags and self.at == 0:
            self._atom(flags.end())
            return
        if self.pattern.startswith("(?", self.at):
            group = _GROUP.match(self.pattern, self.at)
            if group is None:
                raise self._bad("a group that begins with (?", "(…), (?:…), (?i:…) or (?P<name>…)")
            self.at = group.end()
        else:
            self.at += 1
        self.open.append(_Open())
        self.varies = False

    def _quantifier(self, char: str) -> None:
        length, ways, repeats = 1, 2 if char == "?" else LABEL_LENGTH, char != "?"
        if char == "{":
            count = _COUNT.match(self.pattern, self.at)
            if count is None:
                self._atom(1)  # a plain brace, as in RE2
                return
            length = count.end() - count.start()
            ways = LABEL_LENGTH if count[2] else 1
            if max(int(count[1]), int(count[3] or 0)) > LARGEST_COUNT:
                raise self._bad(f"the repeat {count[0]}", f"at most {LARGEST_COUNT}")
        if repeats and self.varies:
            raise self._bad("a repeat of something that repeats or branches", "an alternation without a repeat")
        self._multiply(ways)
        self.open[-1].varies = True
        after = self.pattern[self.at + length : self.at + length + 1]
        if after == "+":
            raise self._bad("a repeat of a repeat", "one of * + ? {n,m}")
        self._atom(length + (after == "?"), varies=True)  # a lazy repeat is the same language

    def _bad(self, found: str, expected: str) -> BadPattern:
        return BadPattern(
            f"regular expression {self.pattern[:100]!r}, character {self.at + 1}: found {found}, expected {expected}"
        )
