"""How uncertain a fraction is that was measured on a few examples."""

from __future__ import annotations

import math

Z95 = 1.959964
"""Of a 95 % interval: the normal distribution has 2.5 % beyond it on either side."""


def wilson_interval(fraction: float, n: int, *, z: float = Z95) -> tuple[float, float]:
    """Return the Wilson score interval of a probability, of which `fraction` was observed in `n` independent trials.

    With p the fraction, it is (p + z^2/2n +- z sqrt(p (1 - p) / n + z^2/4n^2)) / (1 + z^2/n), which stays in [0, 1] and
    keeps its coverage for few trials and fractions near 0 or 1 (Wilson 1927; Brown, Cai and DasGupta 2001, section 3).
    """
    if n < 1:
        return 0.0, 1.0
    centre = fraction + z * z / (2 * n)
    spread = z * math.sqrt(max(0.0, fraction * (1 - fraction)) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)
