"""``phrom-agent speedtest``: its words in both languages, its bar, its exit codes."""

import io
from typing import Any

import pytest

from agent.probe import Finding, Result, ok, skipped
from agent.probes.throughput.engine import Direction, Progress
from agent.settings import OwnSettings
from agent.speedtest import NoSuchResponder, Wanted, speedtest
from agent.speedtest_show import Bar, exit_code, lines
from agent.speedtest_words import LIMITS, REASONS, WORDS, verdicts
from agent.state import Identity
from wire.histogram import Histogram
from wire.lease import NoLease
from wire.reasons import Limit, Outcome, Reason
from wire.settings import AgentSettings, ContractTerms, ResponderAt, Role

TERMS = ContractTerms(download=200_000_000, upload=80_000_000)
MS = 1_000_000


def result(direction: str = "down", rate: float = 199.8e6, contract: float = 200e6, **more: Any) -> Result:
    values = {"throughput": rate, "throughput_contract": rate, "contract": contract}
    settled: dict[str, Any] = {
        "engine": "tcp",
        "start": 0,
        "end": 1_000_000,
        "outcome": Outcome.OK,
        "valid": True,
        "values": values,
    }
    return Result(direction=direction, **(settled | more))


@pytest.mark.parametrize(
    ("found", "thai", "english"),
    [
        (result(), "200 Mbit/s ได้ตามสัญญา 200 Mbit/s", "200 Mbit/s: reaches the contract's 200 Mbit/s"),
        (
            result(rate=140e6),
            "140 Mbit/s ต่ำกว่าสัญญา 200 Mbit/s (70.0%)",
            "140 Mbit/s: below the contract's 200 Mbit/s (70.0%)",
        ),
        (
            result(rate=79e6, valid=False, limits=(Limit.RESPONDER_CAPACITY, Limit.CROSS_TRAFFIC_UNSEEN)),
            (
                "79 Mbit/s จากสัญญา 200 Mbit/s (39.5%) ยังสรุปไม่ได้ เพราะจุดทดสอบปลายทางรับส่งได้ไม่เกินนี้ และ"
                "ไม่ทราบว่ามีผู้อื่นใช้วงจรอยู่หรือไม่ (เปิด UPnP ที่เราเตอร์จะเห็นได้)"
            ),
            (
                "79 Mbit/s of the contract's 200 Mbit/s (39.5%): inconclusive because the responder can do no more "
                "than this, and others may have been using the link (with UPnP on at the router it would show)"
            ),
        ),
        (result(contract=0.0), "200 Mbit/s (ไม่มีสัญญาให้เทียบ)", "200 Mbit/s (no contract to compare with)"),
        (
            result(values={"at_least": 190e6, "contract": 200e6}),
            "ได้อย่างน้อย 190 Mbit/s จากสัญญา 200 Mbit/s",
            "at least 190 Mbit/s of the contract's 200 Mbit/s",
        ),
        (
            result(outcome=Outcome.FAILED, reason=Reason.BROKEN_OFF, facts={"detail": "after 3 MB"}),
            "วัดไม่ได้: การเชื่อมต่อขาดระหว่างทดสอบ (after 3 MB)",
            "not measured: the connection broke in the middle (after 3 MB)",
        ),
    ],
)
def test_each_verdict_in_its_words(found: Result, thai: str, english: str) -> None:
    assert verdicts(ok(results=[found]), TERMS, "th")[0] == f"ดาวน์โหลด: {thai}"
    assert verdicts(ok(results=[found]), TERMS, "en")[0] == f"download: {english}"


def test_a_package_of_up_to_is_never_called_a_failure() -> None:
    up_to = ContractTerms(download=200_000_000, upload=80_000_000, up_to=True)
    (line,) = verdicts(ok(results=[result(rate=140e6)]), up_to, "th")
    assert line == "ดาวน์โหลด: 140 Mbit/s ต่ำกว่าความเร็วสูงสุดตามแพ็กเกจ 200 Mbit/s (70.0%) เพื่อทราบ"


def test_delays_and_cost_follow_the_verdicts() -> None:
    durations = {"rtt": Histogram.of([20 * MS]), "rtt_loaded": Histogram.of([70 * MS])}
    down = result(durations=durations, counts={"test_bytes": 24_000_000})
    up = result("up", 80e6, 80e6, start=1_000_000, end=2_000_000, counts={"test_bytes": 11_000_000})
    assert lines(ok(results=[down, up]), TERMS, "en")[2:] == [
        "round trip 20 ms idle, 70 ms under load (95th percentile)",
        "cost 35 MB in 2 s",
        "This result is shown and not kept. Evidence comes from the slots that the collector grants.",
    ]


def test_refusal_says_why_and_promises_nothing() -> None:
    refused = skipped(Reason.QUIET_TIME, facts={"detail": "until 12:15"})
    assert lines(refused, TERMS, "th") == ["วัดไม่ได้: อยู่ในช่วงงดทดสอบความเร็ว (มีประชุม) (until 12:15)"]


def test_every_limit_and_refusal_has_words_in_both_languages() -> None:
    assert set(LIMITS) == set(Limit)
    assert {Reason(one.value) for one in NoLease if one is not NoLease.UNRECOGNISED} <= set(REASONS)
    for thai, english in (*WORDS.values(), *LIMITS.values(), *REASONS.values()):
        assert any("\u0e00" <= letter <= "\u0e7f" for letter in thai)
        assert not any("\u0e00" <= letter <= "\u0e7f" for letter in english)


@pytest.mark.parametrize(
    ("finding", "code"),
    [
        (ok(results=[result(), result("up", 80e6, 80e6)]), 0),
        (ok(results=[result(contract=0.0)]), 0),
        (ok(results=[result(values={"at_least": 190e6, "contract": 200e6})]), 0),
        (ok(results=[result(values={"at_least": 80e6, "contract": 200e6})]), 3),
        (ok(results=[result(values={"at_least": 190e6})]), 3),
        (ok(results=[result(), result("up", 60e6, 80e6)]), 3),
        (ok(results=[result(), result("up", outcome=Outcome.FAILED, reason=Reason.BROKEN_OFF)]), 3),
        (ok(results=[result(outcome=Outcome.FAILED, reason=Reason.BROKEN_OFF)]), 1),
        (skipped(Reason.QUIET_TIME), 1),
    ],
)
def test_exit_code(finding: Finding, code: int) -> None:
    assert exit_code(finding) == code


def test_bar_is_drawn_on_one_line_and_wiped() -> None:
    to = io.StringIO()
    bar = Bar("th", shown=True, to=to)
    bar.update(Progress("tcp", Direction.DOWN, 0.5, 132e6))
    bar.close()
    assert to.getvalue() == "\r\x1b[Kดาวน์โหลด ████████████░░░░░░░░░░░░ 132 Mbit/s\r\x1b[K"


def test_bar_off_a_terminal_draws_nothing() -> None:
    to = io.StringIO()
    bar = Bar("th", shown=False, to=to)
    bar.update(Progress("tcp", Direction.UP, 0.5, 0.0))
    bar.close()
    assert to.getvalue() == ""


WHO = Identity(url="https://192.0.2.1:1", token="t", province="p", site="phen", link="fibre", role=Role.LINK, agent="a")


async def test_without_joining_or_responder_it_says_so() -> None:
    own, settings = OwnSettings(), AgentSettings()
    found = await speedtest(own, settings, None, Wanted(), lambda _: None)
    assert (found.outcome, found.reason) == (Outcome.SKIPPED, Reason.NO_LEASE)
    assert found.facts["detail"] == "this machine has not joined: phrom-agent join URL CODE"
    found = await speedtest(own, settings, WHO, Wanted(), lambda _: None)
    assert found.reason is Reason.NO_RESPONDER


async def test_unknown_responder_names_those_there_are() -> None:
    settings = AgentSettings(responders=[ResponderAt(id="core", host="192.0.2.1")])
    with pytest.raises(NoSuchResponder, match=r"^responder: found 'hall', expected one of core$"):
        await speedtest(OwnSettings(), settings, WHO, Wanted(responder="hall"), lambda _: None)
