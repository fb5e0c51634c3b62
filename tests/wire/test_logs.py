"""Logs: JSON for machines, words for people, never a secret, one line on failure and one on recovery."""

import io
import json
import logging

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from wire.logs import MASK, Trouble, masked, set_up

TOKEN = "pha_" + "Ab3_-" * 8 + "xyz"
CODE = "ABCD-EFGH-IJKL-MN22"


def lines(level: str = "info") -> io.StringIO:
    out = io.StringIO()
    set_up("json", level, out)
    return out


def test_a_line_is_json_with_utc_time_and_thai_as_it_is() -> None:
    out = lines()
    structlog.get_logger().info("เริ่มทำงาน", site="na-yung", number=3)
    [line] = out.getvalue().splitlines()
    found = json.loads(line)
    assert found.pop("timestamp").endswith("Z")
    assert found == {"event": "เริ่มทำงาน", "level": "info", "site": "na-yung", "number": 3}
    assert "เริ่ม" in line


def test_libraries_log_in_the_same_form_from_warning_on() -> None:
    out = lines("debug")
    logging.getLogger("aiohttp.server").info("chatter")
    logging.getLogger("aiohttp.server").warning("trouble with %s", TOKEN)
    [line] = out.getvalue().splitlines()
    assert json.loads(line)["event"] == f"trouble with {MASK}"


def test_an_exception_is_logged_without_the_values_of_its_variables() -> None:
    for form in ("json", "console"):
        out = io.StringIO()
        set_up(form, "info", out)
        try:
            fail("the-value-of-a-variable".upper())
        except RuntimeError:
            structlog.get_logger().exception("failed")
        assert "RuntimeError" in out.getvalue()
        assert "THE-VALUE-OF-A-VARIABLE" not in out.getvalue()
        assert TOKEN not in out.getvalue()


def fail(held: str) -> None:
    raise RuntimeError(f"with {TOKEN}" if held else "")


def test_no_colour_off_a_terminal_and_with_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    def written() -> str:
        out = Terminal()
        set_up("auto", "info", out)
        structlog.get_logger().warning("words", site="phen")
        return out.getvalue()

    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[" in written()
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in written()
    assert "words site=phen" in written()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"token {TOKEN}.", f"token {MASK}."),
        ("phm_" + "x" * 43, MASK),
        (f"phrom-agent join https://c {CODE}.{'A' * 26} now", f"phrom-agent join https://c {MASK} now"),
        ("Authorization: Bearer abc.def", f"Authorization: Bearer {MASK}"),
        ("http://user:pass@proxy:3128/", f"http://{MASK}@proxy:3128/"),
        ("pha_", "pha_"),
        ("http://phrom.example:8480/", "http://phrom.example:8480/"),
    ],
)
def test_secrets_in_text_are_masked(text: str, expected: str) -> None:
    assert masked(text) == expected


def test_keys_that_name_a_secret_are_masked_whatever_they_hold() -> None:
    out = lines()
    structlog.get_logger().info("x", token="short", code="1", password="", cause=ValueError(f"bad {TOKEN}"))
    found = json.loads(out.getvalue())
    assert (found["token"], found["code"], found["password"]) == (MASK, MASK, "")
    assert found["cause"] == f"ValueError: bad {MASK}"


@given(st.text(), st.text())
def test_masking_leaves_no_token_wherever_it_stands(before: str, after: str) -> None:
    assert TOKEN not in masked(f"{before} {TOKEN} {after}")


def test_trouble_speaks_once_of_each_cause_and_once_of_its_end() -> None:
    out = lines()
    trouble = Trouble(structlog.get_logger(), "collector unreachable", "collector reachable again")
    trouble.worked()
    for cause in ("refused", "refused", "timed out", "timed out"):
        trouble.failed(cause, url="https://c")
    present = [trouble.present]
    trouble.worked()
    trouble.worked()
    assert [*present, trouble.present] == [True, False]
    found = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [(one["event"], one.get("cause"), one.get("after_failures")) for one in found] == [
        ("collector unreachable", "refused", None),
        ("collector unreachable", "timed out", None),
        ("collector reachable again", None, 4),
    ]
