"""Settings from YAML: each message word by word, every mistake at once, and no text that brings the reader down."""

import datetime as dt
import enum
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from wire.yaml_nodes import LARGEST_FILE
from wire.yaml_settings import ByteSize, Mistake, Seconds, SettingsError, open_document, parse, read


class Colour(enum.StrEnum):
    """For the tests."""

    RED = "red"
    GREEN = "green"


class Inner(msgspec.Struct, frozen=True, kw_only=True, rename={"since": "from"}):
    """A struct within."""

    speed: Annotated[float, Meta(gt=0, examples=[200], extra={"expected": "a number of megabits per second"})] = 1.0
    since: dt.date | None = None


class Kinds(msgspec.Struct, frozen=True, kw_only=True):
    """One field of each kind."""

    text: str = ""
    short: Annotated[str, Meta(min_length=1, max_length=5)] = "x"
    named: Annotated[str, Meta(pattern="^[a-z]+$")] = "x"
    whole: Annotated[int, Meta(ge=0, le=65535, examples=[8480])] = 0
    at_least: Annotated[int, Meta(ge=5)] = 5
    number: float = 0.0
    truth: bool = False
    day: dt.date | None = None
    clock: dt.time | None = None
    moment: dt.datetime | None = None
    span: Annotated[dt.timedelta, Meta(extra={"ge": dt.timedelta(seconds=60)})] = dt.timedelta(minutes=1)
    seconds: Seconds = 0.0
    size: ByteSize = 0
    colour: Colour = Colour.RED
    choice: Literal["on", "off", 3] = "on"
    inner: Inner = Inner()
    many: list[Inner] = []
    few: Annotated[list[str], Meta(min_length=1, max_length=2)] = []
    pair: tuple[str, ...] = ()
    named_numbers: dict[str, int] = {}
    all_or_some: list[str] | Literal["all"] = "all"
    anything: dict[str, Any] = {}
    token: Annotated[str, Meta(max_length=3, extra={"secret": True})] = ""


class Needs(msgspec.Struct):
    """Required keys."""

    name: Annotated[str, Meta(examples=["Udon"])]
    port: int


def mistakes(text: str, kind: type[Any] = Kinds) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        parse(text, "a.yaml", kind)
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("text: 0812345678", "text", "0812345678"),
        ("text: 13:00", "text", "13:00"),
        ("text: no", "text", "no"),
        ("text: null", "text", "null"),
        ("text: 1e3", "text", "1e3"),
        ('text: ""', "text", ""),
        ("text: |\n  two\n  lines\n", "text", "two\nlines\n"),
        ("whole: 200", "whole", 200),
        ('whole: "200"', "whole", 200),
        ("whole: ๒๐๐", "whole", 200),
        ("number: -1.5", "number", -1.5),
        ("truth: yes", "truth", True),
        ("truth: No", "truth", False),
        ("truth: TRUE", "truth", True),
        ("day: 2026-11-21", "day", dt.date(2026, 11, 21)),
        ("day: none", "day", None),
        ("day:", "day", None),
        ("clock: 13:00", "clock", dt.time(13)),
        ("moment: 2026-11-21 09:00", "moment", dt.datetime(2026, 11, 21, 9)),  # noqa: DTZ001
        ("moment: 2026-11-21T09:00", "moment", dt.datetime(2026, 11, 21, 9)),  # noqa: DTZ001
        ("span: 10 min", "span", dt.timedelta(minutes=10)),
        ("span: 1 h 30 min", "span", dt.timedelta(minutes=90)),
        ("span: 1h30min", "span", dt.timedelta(minutes=90)),
        ("seconds: 250 ms", "seconds", 0.25),
        ("seconds: 3 days", "seconds", 259_200.0),
        ("size: 500 MB", "size", 500_000_000),
        ("size: 1.5 MiB", "size", 1_572_864),
        ("colour: green", "colour", Colour.GREEN),
        ("choice: off", "choice", "off"),
        ("choice: 3", "choice", 3),
        ("inner: {speed: 80, from: 2018-04-01}", "inner", Inner(speed=80, since=dt.date(2018, 4, 1))),
        ("many: []", "many", []),
        ("pair: [a, b]", "pair", ("a", "b")),
        ("named_numbers: {a: 1}", "named_numbers", {"a": 1}),
        ("all_or_some: all", "all_or_some", "all"),
        ("all_or_some: [no]", "all_or_some", ["no"]),
        (
            "anything: {a: 1, b: [1.5, x], c: true, d: '1', e: 010, f: }",
            "anything",
            {"a": 1, "b": [1.5, "x"], "c": True, "d": "1", "e": "010", "f": None},
        ),
    ],
)
def test_a_scalar_means_what_its_key_declares(text, field, value):
    found = getattr(parse(text, "a.yaml", Kinds), field)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("whole: 010", 'whole: found "010", expected a whole number from 0 to 65535, such as 8480'),
        ("whole: 70000", 'whole: found "70000", expected a whole number from 0 to 65535, such as 8480'),
        ("whole: 1_000", 'whole: found "1_000", expected a whole number from 0 to 65535, such as 8480'),
        ("whole: 0x10", 'whole: found "0x10", expected a whole number from 0 to 65535, such as 8480'),
        ("whole:", "whole: found nothing, expected a whole number from 0 to 65535, such as 8480"),
        ("whole: [1]", "whole: found a list, expected a whole number from 0 to 65535, such as 8480"),
        ("at_least: 4", 'at_least: found "4", expected a whole number of 5 or more'),
        ("number: .nan", 'number: found ".nan", expected a number'),
        ("number: 1e999", 'number: found "1e999", expected a number'),
        ("truth: on", 'truth: found "on", expected yes or no'),
        ("day: 21/11/2026", 'day: found "21/11/2026", expected a date, such as 2026-11-21'),
        ("day: 2026-02-30", 'day: found "2026-02-30", expected a date that exists in the calendar, such as 2026-11-21'),
        (
            "day: 2569-11-21",
            ('day: found "2569-11-21", expected a date with the year of the common era; 2569 is a Buddhist year, '
            "did you mean 2026-11-21?"),
        ),
        (
            "day: ๒๕๖๙-๑๑-๒๑",
            ('day: found "๒๕๖๙-๑๑-๒๑", expected a date with the year of the common era; 2569 is a Buddhist year, '
            "did you mean 2026-11-21?"),
        ),
        (
            "day: 0026-11-21",
            'day: found "0026-11-21", expected a date between 1900-01-01 and 2199-12-31, such as 2026-11-21',
        ),
        ("clock: 9.00", 'clock: found "9.00", expected a time of day, such as 13:00'),
        ("clock: 24:00", 'clock: found "24:00", expected a time of day, such as 13:00'),
        ("moment: 2026-11-21", 'moment: found "2026-11-21", expected a date and time, such as 2026-11-21 09:00'),
        ("span: 5", 'span: found "5", expected a duration of 1 min or more, such as 10 min'),
        ("span: 5 s", 'span: found "5 s", expected a duration of 1 min or more, such as 10 min'),
        ("seconds: 5 months", 'seconds: found "5 months", expected a duration, such as 10 min'),
        ("size: 500", 'size: found "500", expected a size with its unit, such as 500 MB'),
        ("short: toolong", 'short: found "toolong", expected a text of 1 to 5 characters'),
        ("named: A1", 'named: found "A1", expected a text that matches ^[a-z]+$'),
        ("colour: gren", 'colour: found "gren", expected one of red, green; did you mean "green"?'),
        ("colour: [red]", "colour: found a list, expected one of red, green"),
        ("choice: maybe", 'choice: found "maybe", expected one of on, off, 3'),
        ("inner: 5", 'inner: found "5", expected a group of keys (speed, from)'),
        ("inner: {speed: 0}", 'inner.speed: found "0", expected a number of megabits per second, such as 200'),
        ("many: {a: 1}", "many: found a group of keys, expected a list"),
        ("many: [{sped: 3}]", 'many[0].sped: found an unknown key, expected a known key: did you mean "speed"?'),
        ("few: []", "few: found a list of 0, expected a list of 1 to 2 entries"),
        ("few: [a, b, c]", "few: found a list of 3, expected a list of 1 to 2 entries"),
        ("named_numbers: {a: x}", 'named_numbers.a: found "x", expected a whole number'),
        ("all_or_some: al", 'all_or_some: found "al", expected one of all; did you mean "all"?'),
        ("token: secret", "token: found a value that is not shown, expected a text of at most 3 characters"),
        ("text: &a x", " found the anchor &a, expected the value alone; aliases are refused"),
        ("text: !!str x", " found the tag tag:yaml.org,2002:str, expected the value alone; its key decides the type"),
        ("? [a]\n: b", " found a list, expected a name, a colon and a value"),
        ("- a", (" found a list, expected a group of keys (text, short, named, whole, at_least, number, truth, day, "
         "clock, moment, span, seconds, size, colour, choice, inner, many, few, pair, named_numbers, all_or_some, "
         "anything, token)")),
        ("text: [", (' found "text: [" (while parsing a flow node expected the node content, but found '
         "'<stream end>'), expected YAML")),
        ("text: a: b", ' found "text: a: b" (mapping values are not allowed here), expected YAML'),
    ],
)  # fmt: skip
def test_each_mistake_says_file_line_key_found_and_expected(text, message):
    [found] = mistakes(text)
    message = message if message.startswith(" ") else f" {message}"
    assert found == f"a.yaml:1:{message}"


def test_the_message_of_the_design():
    class Contract(msgspec.Struct):
        download_mbps: Annotated[float, Meta(examples=[200], extra={"expected": "a number of megabits per second"})]

    class Link(msgspec.Struct):
        contracts: list[Contract]

    class Site(msgspec.Struct):
        links: list[Link] = []

    class File(msgspec.Struct):
        sites: list[Site]

    text = "sites:\n" + "- {}\n" * 3 + "- links:\n  - contracts:\n    - download_mbps: 200M\n"
    with pytest.raises(SettingsError) as caught:
        parse(text, "province.yaml", File)
    assert str(caught.value) == (
        'province.yaml:7: sites[3].links[0].contracts[0].download_mbps: found "200M", '
        "expected a number of megabits per second, such as 200"
    )


def test_all_mistakes_come_at_once_in_the_order_of_their_lines():
    assert mistakes("prot: 1\nname:\nport: x\nport: 2\n", Needs) == [
        'a.yaml:1: prot: found an unknown key, expected a known key: did you mean "port"?',
        "a.yaml:2: name: found nothing, expected a text, such as Udon",
        'a.yaml:3: port: found "x", expected a whole number',
        "a.yaml:4: port: found the key a second time, first in line 3, expected each key once",
    ]


def test_a_missing_key_is_named_where_its_group_begins():
    assert mistakes("\n\nport: 3\n", Needs) == [
        "a.yaml:3: name: found nothing (the key is missing), expected a text, such as Udon"
    ]


def test_an_empty_file_has_all_defaults_or_lacks_all_that_is_required():
    assert parse("# nothing\n", "a.yaml", Kinds) == Kinds()
    assert len(mistakes("", Needs)) == 2


def test_an_unknown_key_that_resembles_none_lists_them_all():
    assert mistakes("zzz: 1\nname: a\nport: 1", Needs) == [
        "a.yaml:1: zzz: found an unknown key, expected a known key: one of name, port"
    ]


def test_aliases_and_further_documents_are_refused_with_their_lines():
    assert mistakes("text: &a x\nshort: *a\n---\ntext: y\n") == [
        "a.yaml:1: found the anchor &a, expected the value alone; aliases are refused",
        "a.yaml:2: found the alias *a, expected the value itself, written out",
        "a.yaml:3: found a second document (---), expected one document in a file",
    ]


def test_a_thousand_levels_are_refused_before_anything_recurses():
    assert mistakes("text: " + "[" * 1000) == ["a.yaml:1: found 21 levels within each other, expected at most 20"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("text: a\nshort: \x07", "a.yaml:2: found the character U+0007, expected text without control characters"),
        ("text: a\nshort: \ud800", "a.yaml:2: found the character U+D800, expected text without control characters"),
        ('text: "\\ud800"', "a.yaml:1: found an escape for what is no character, expected text"),
        ('text: "a\\0"', "a.yaml:1: found an escape for what is no character, expected text"),
    ],
)  # fmt: skip
def test_what_is_no_text_is_refused(text, message):
    assert mistakes(text) == [message]


@pytest.mark.parametrize("text", ['text: "\\UFFFFFFFF"', "%YAML 1." + "9" * 5000 + "\n---\ntext: a"])
def test_what_the_yaml_library_itself_stumbles_over_is_refused(text):
    [message] = mistakes(text)
    assert message.startswith("a.yaml: found an escape or a number out of all bounds (")
    assert message.endswith("), expected YAML")


def test_a_file_larger_than_a_mebibyte_is_refused():
    assert mistakes("# " + "x" * LARGEST_FILE) == [
        "a.yaml: found more than 1 MiB, expected a settings file of at most 1 MiB"
    ]


def test_a_struct_may_refuse_its_own_values():
    class Ordered(msgspec.Struct):
        first: int
        last: int

        def __post_init__(self) -> None:
            if self.last < self.first:
                raise ValueError("last no less than first")

    assert mistakes("first: 3\nlast: 2", Ordered) == [
        "a.yaml:1: found a group of keys, expected last no less than first"
    ]


def test_files_that_cannot_be_read_say_why(tmp_path: Path):
    for content, message in (
        (b"text: a\nshort: \xff", "{}:2: found a byte 0xFF that is not UTF-8, expected a file saved as UTF-8"),
        (None, "{}: found no readable file (No such file or directory), expected a YAML file"),
    ):
        path = tmp_path / "settings.yaml"
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(SettingsError) as caught:
            read(path, Kinds)
        assert str(caught.value) == message.format(path)


def test_a_byte_order_mark_of_a_windows_editor_is_no_mistake(tmp_path: Path):
    path = tmp_path / "settings.yaml"
    path.write_bytes("﻿text: ก\r\nwhole: 3\r\n".encode())
    assert read(path, Kinds) == Kinds(text="ก", whole=3)


def test_a_later_check_finds_the_line_of_a_key_or_of_what_holds_it():
    document = open_document("text: a\nmany:\n- speed: 3\n- from: 2018-04-01\n", "a.yaml", Kinds)
    assert document.mistake("many[1].from", "x", "y") == Mistake("a.yaml", 4, "many[1].from", "x", "y")
    assert document.mistake("many[1].speed", "x", "y").line == 4
    assert document.mistake("elsewhere", "x", "y").line == 1


_fragments = st.sampled_from(
    ["text", "many", "day", ": ", "\n", "  ", "- ", "[", "]", "{", "}", "&a", "*a", "!!int", "---", "...", "? ", "|",
     ">", '"', "'", "\\UFFFFFFFF", "\\ud800", "%YAML 1.1", "%TAG", "#", "<<", "2569-11-21", "1 h",
     "๒", "\x00", "\ud800", "﻿"]
)  # fmt: skip


@given(st.text() | st.lists(_fragments | st.text(max_size=3), max_size=30).map("".join))
def test_no_text_raises_anything_but_a_settings_error(text):
    try:
        parse(text, "a.yaml", Kinds)
    except SettingsError as error:
        assert error.mistakes
        assert all(one.found and one.expected for one in error.mistakes)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_a_settings_error(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("any") / "a.yaml"
    path.write_bytes(data)
    try:
        read(path, Kinds)
    except SettingsError as error:
        assert error.mistakes
