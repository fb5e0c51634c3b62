"""Matchers: what Prometheus would match is matched, and nothing can make them run for ever."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.prometheus.matching import BadPattern, Kind, accepted, compiled, matcher

NASTY = (
    "(a+)+$",
    "(a|a)*b",
    "(a*)*",
    "(.*)*x",
    "a?" * 30 + "a" * 30,
    "(a|a)" * 30 + "b",
    ".*" * 8 + "x",
    "(a{1,9}){1,9}",
)


@pytest.mark.parametrize(
    ("kind", "value", "text", "expected"),
    [
        (Kind.EQUAL, "phen", "phen", True),
        (Kind.EQUAL, "", "", True),
        (Kind.NOT_EQUAL, "phen", "phen", False),
        (Kind.NOT_EQUAL, "phen", "", True),
        (Kind.MATCHES, "ph.*", "phen", True),
        (Kind.MATCHES, "hen", "phen", False),
        (Kind.MATCHES, "phen|na-yung", "na-yung", True),
        (Kind.MATCHES, "", "", True),
        (Kind.MATCHES, ".+", "", False),
        (Kind.MATCHES, ".*", "", True),
        (Kind.MATCHES, "(?i)PHEN", "phen", True),
        (Kind.MATCHES, "zoom\\.(web|sip)", "zoom.sip", True),
        (Kind.MATCHES, "anchor-[0-9]{1,3}", "anchor-12", True),
        (Kind.NOT_MATCHES, "anchor-.+", "gateway", True),
        (Kind.NOT_MATCHES, "anchor-.+", "anchor-1", False),
    ],
)
def test_matches_as_prometheus_does(kind: Kind, value: str, text: str, expected: bool) -> None:
    assert matcher(kind, "site", value).accepts(text) is expected


def test_label_that_is_missing_counts_as_empty() -> None:
    assert accepted([matcher(Kind.NOT_EQUAL, "platform", "zoom")], {"site": "phen"})
    assert not accepted([matcher(Kind.EQUAL, "job", "node")], {"site": "phen"})


@pytest.mark.parametrize("pattern", NASTY)
def test_pattern_that_may_never_finish_is_refused(pattern: str) -> None:
    with pytest.raises(BadPattern):
        compiled(pattern)


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("a" * 4001, "regular expression: found 4001 characters, expected at most 4000"),
        ("(?=a)b", "character 1: found a group that begins with (?, expected"),
        ("(a)\\1", "character 4: found the escape \\1, expected an escaped sign"),
        ("[[:alpha:]]", "character 1: found a character class that is open or nested"),
        ("(a+)*", "character 5: found a repeat of something that repeats or branches"),
        ("a)", "character 2: found a parenthesis that was never opened"),
        ("(a", "missing ), unterminated subpattern at position 0"),
        ("x{1,999}", "character 2: found the repeat {1,999}, expected at most 100"),
        ("a++", "character 2: found a repeat of a repeat"),
    ],
)
def test_refusal_says_what_and_where(pattern: str, words: str) -> None:
    with pytest.raises(BadPattern, match=re.escape(words)):
        compiled(pattern)


@given(st.text(alphabet="ab.*+?|()[]{}1,\\^$-x", max_size=24), st.text(alphabet="abx1", max_size=80))
def test_any_pattern_is_refused_or_quick(pattern: str, text: str) -> None:
    began = time.process_time()
    try:
        found = compiled(pattern)
    except BadPattern:
        return
    found.fullmatch(text)
    assert time.process_time() - began < 2.0
