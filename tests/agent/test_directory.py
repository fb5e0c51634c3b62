"""Addresses that only the machine knows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.directory import Directory, NotLearnedYet, of_collector, references, still_true

values = st.recursive(
    st.one_of(st.text(max_size=8), st.integers(), st.none(), st.sampled_from(["@edge", "@gateway:53", "a@gateway"])),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=8,
)


def test_names_are_resolved_wherever_they_stand() -> None:
    directory = Directory({"gateway": "192.0.2.1", "edge": "2001:db8::1"})
    settings = {
        "host": "@gateway",
        "controls": ["@gateway:3478", "@edge:53", "x@gateway"],
        "deep": {"port": 5, "a": "@edge"},
    }
    assert directory.resolve(settings) == {
        "host": "192.0.2.1",
        "controls": ["192.0.2.1:3478", "[2001:db8::1]:53", "x@gateway"],
        "deep": {"port": 5, "a": "2001:db8::1"},
    }
    assert references(settings) == {"gateway", "edge"}


def test_what_is_not_learned_is_named() -> None:
    with pytest.raises(NotLearnedYet) as caught:
        Directory().resolve({"host": ["@edge"]})
    assert caught.value.name == "edge"


def test_an_empty_address_is_forgotten() -> None:
    directory = Directory({"gateway": "192.0.2.1"})
    assert directory.learn({"gateway": ""})
    assert not directory.learn({"gateway": ""})
    assert directory.addresses == {}


@given(values)
def test_whatever_is_referred_to_is_all_that_is_needed(value: object) -> None:
    names = references(value)
    resolved = Directory(dict.fromkeys(names, "192.0.2.1")).resolve(value)
    assert not references(resolved)
    if names:
        with pytest.raises(NotLearnedYet):
            Directory().resolve(value)
    else:
        assert resolved == value


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("https://phrom.example:8480", "phrom.example", "8480"),
        ("https://phrom.example", "phrom.example", "443"),
        ("http://127.0.0.1", "127.0.0.1", "80"),
        ("http://[2001:db8::1]:8480/", "2001:db8::1", "8480"),
        ("http://phrom.example:port", "phrom.example", ""),
        ("", "", ""),
    ],
)
def test_the_collectors_place_is_told_by_its_address(url, host, port):
    assert of_collector(url) == {"collector": host, "collector_port": port}


def test_addresses_are_true_only_where_they_were_learned() -> None:
    kept = {"edge": "10.0.0.1", "vantage": "aaaaaaaa"}
    assert still_true(kept, "aaaaaaaa") == {"edge": "10.0.0.1"}
    assert still_true(kept, "bbbbbbbb") == {}
    assert still_true({"edge": "10.0.0.1"}, "") == {}
