"""How a voice call would sound: the E-model (ITU-T G.107) as CalSPEED simplified it (``field/bandwidth.md`` §6).

Voice only and lenient: a figure for people, never evidence.
"""


def mos(rtt: float, jitter: float, loss: float) -> float:
    """Estimated listening quality, 1 to 4.5. Round-trip time and jitter are seconds, the loss is a ratio.

    The latency of the formula is half the round trip; jitter counts twice, for the buffer that hides it.
    """
    latency = rtt * 1000 / 2 + 2 * jitter * 1000 + 10
    rating = 93.2 - (latency / 40 if latency < 160 else (latency - 120) / 10) - 2.5 * loss * 100
    if rating <= 0:
        return 1.0
    return max(1.0, 1 + 0.035 * rating + 7e-6 * rating * (rating - 60) * (100 - rating))
