"""As many rounds as the time allows: machines differ by more than what is measured on them."""

from __future__ import annotations

import time
from collections.abc import Iterator


def rounds(seconds: float, *, least: int) -> Iterator[int]:
    """0, 1, ... while one more round, as long as the mean of those before, ends within the seconds; `least` in any
    case."""
    started, i = time.perf_counter(), 0
    while i < least or (time.perf_counter() - started) * (i + 1) / i <= seconds:
        yield i
        i += 1
