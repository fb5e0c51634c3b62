"""The quality of a call against the checks of ``field/bandwidth.md`` §6."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.mos import mos


@pytest.mark.parametrize(
    ("rtt", "jitter", "loss", "expected"), [(20, 1, 0, 4.40), (100, 30, 1, 4.28), (300, 50, 3, 3.68)]
)
def test_the_checks_of_the_formulas_source(rtt, jitter, loss, expected):
    assert round(mos(rtt / 1000, jitter / 1000, loss / 100), 2) == expected


@given(st.floats(0, 100), st.floats(0, 100), st.floats(0, 1))
def test_it_stays_within_its_scale(rtt, jitter, loss):
    assert 1.0 <= mos(rtt, jitter, loss) <= 4.5


@given(st.floats(0, 2), st.floats(0, 1), st.floats(0, 0.5))
def test_nothing_that_is_worse_sounds_better(rtt, jitter, loss):
    here = mos(rtt, jitter, loss)
    assert mos(rtt + 0.1, jitter, loss) <= here + 1e-9
    assert mos(rtt, jitter + 0.1, loss) <= here + 1e-9
    assert mos(rtt, jitter, loss + 0.1) <= here + 1e-9
