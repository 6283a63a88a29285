"""As many rounds as the time allows, since machines differ in speed by more than contestants do."""

from __future__ import annotations

import time
from collections.abc import Iterator


def rounds(seconds: float, *, at_least: int) -> Iterator[int]:
    """Yield 0, 1, ... while another round of mean length would end within `seconds`, and `at_least` rounds."""
    started, i = time.perf_counter(), 0
    while i < at_least or (time.perf_counter() - started) * (i + 1) / i <= seconds:
        yield i
        i += 1
