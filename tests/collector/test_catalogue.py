"""The Thai catalogue holds exactly the texts of code and pages, each translated, with the same blanks to fill."""

import re
from pathlib import Path
from typing import Any

import pytest
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

from collector.catalogue import catalogue, translate
from collector.picture import Doubt, State
from collector.slots.forecast import Why
from collector.slots.words import WHYS
from collector.words import DOUBTS, LIMITS, OUTCOMES, REASONS, STATES
from wire.reasons import Limit, Outcome, Reason

ROOT = Path(__file__).parents[2]
THAI = ROOT / "collector" / "locale" / "th" / "LC_MESSAGES" / "phrom.po"
KEYWORDS: dict[str, Any] = {"_": None, "words": None, "translate": None, "gettext": None, "ngettext": (1, 2)}
BLANKS = re.compile(r"%(?:\(\w+\))?[-+.\d]*[a-z]")


@pytest.fixture(scope="module")
def in_code() -> set[str]:
    found = set()
    method_map = [("**.py", "python"), ("**/templates/**.html", "jinja2")]
    for _, _, text, _, _ in extract_from_dir(str(ROOT / "collector"), method_map, keywords=KEYWORDS):
        found.add(text[0] if isinstance(text, tuple) else text)
    return found


@pytest.fixture(scope="module")
def thai() -> dict[str, str]:
    with THAI.open("rb") as file:
        messages = read_po(file, locale="th")
    found: dict[str, str] = {}
    for message in messages:
        if message.id:
            key = message.id[0] if isinstance(message.id, tuple | list) else message.id
            found[key] = str(message.string[0] if isinstance(message.string, tuple | list) else message.string)
            assert not message.fuzzy, key
    return found


def test_every_text_is_translated_and_none_is_left_over(in_code, thai):
    assert sorted(in_code - thai.keys()) == []
    assert sorted(thai.keys() - in_code) == []


def test_no_translation_is_empty_or_loses_a_blank(thai):
    for english, translated in thai.items():
        assert translated.strip(), english
        assert sorted(BLANKS.findall(english)) == sorted(BLANKS.findall(translated)), english


def test_every_translation_is_thai(thai):
    for english, translated in thai.items():
        assert re.search(r"[\u0e00-\u0e7f]", translated), english


def test_every_code_has_its_words():
    assert set(REASONS) == set(Reason)
    assert set(LIMITS) == set(Limit)
    assert set(WHYS) == set(Why)
    assert set(STATES) == set(State)
    assert set(DOUBTS) == set(Doubt)
    assert set(OUTCOMES) == set(Outcome)


def test_the_words_of_the_field_are_used():
    assert translate(STATES[State.SILENT], "th") == "ขาดการติดต่อ ยังไม่ทราบสาเหตุ"
    assert translate(STATES[State.UNKNOWN], "th") == "ยังยืนยันไม่ได้"
    assert translate("quiet time of a meeting", "th") == "อยู่ในช่วงงดทดสอบความเร็ว"
    assert catalogue("en").gettext("Link") == "Link"
