"""Rates at the layers that contracts count at."""

import pytest

from agent.probes.throughput import layers


@pytest.mark.parametrize(
    ("layer", "segment", "overhead", "factor"),
    [
        ("ip", 1500, 52, 1.0),
        ("tcp", 1500, 52, 1448 / 1500),
        ("tcp", 1500, 72, 1428 / 1500),
        ("tcp", 1400, 52, 1348 / 1400),
        ("ethernet", 1500, 52, 1518 / 1500),
        ("ethernet", 1400, 52, 1418 / 1400),
        ("a layer of a later release", 1500, 52, 1.0),
    ],
)
def test_there_and_back(layer: str, segment: int, overhead: int, factor: float):
    assert layers.at_layer(200e6, layer, segment, overhead) == pytest.approx(200e6 * factor)
    assert layers.at_ip(200e6, layer, segment, overhead) == pytest.approx(200e6 / factor)


def test_the_field_page_s_figure():
    """A 200 Mbps shaper of IP packets leaves 193.1 of payload."""
    assert layers.at_layer(200.0, "tcp") == pytest.approx(193.07, abs=0.01)


def test_what_a_port_carries():
    assert layers.port_carries(100e6) == pytest.approx(97.53e6, rel=1e-4)
    assert layers.port_carries(1e9) == pytest.approx(975.3e6, rel=1e-4)
