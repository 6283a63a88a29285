from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pipeline.checks.finding import Finding, Signals
from pipeline.validation import number


@dataclass(frozen=True)
class SlowPrecision:
    """Anti-pattern: reduced precision on a device that has no instructions for it, and imitates them.

    Rule: a pass in reduced precision takes at most `max_slowdown` times one in full precision, measured on this device with
    this network and a batch of the data.
    """

    max_slowdown: float
    explains: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        number("max_slowdown", self.max_slowdown, at_least=1)

    def __call__(self, signals: Signals) -> Finding | None:
        reduced, full = signals.get("reduced_pass_seconds"), signals.get("full_pass_seconds")
        if reduced is None or not full or not reduced > self.max_slowdown * full:
            return None
        return Finding(
            check="slow_precision",
            severity="warning",
            measured={"reduced_pass_seconds": float(reduced), "full_pass_seconds": float(full)},
            expected=f"passes in reduced precision that take at most {self.max_slowdown:g} times those in full",
            message=f"{signals['precision']} is {reduced / full:.1f} times slower here than full precision: "
            f"{1000 * reduced:.0f} ms a pass instead of {1000 * full:.0f}.",
            why="Where a device has no instructions for such numbers (a processor without AVX-512, an older GPU), "
            "they are imitated.",
            remedy=("trainer.precision=32-true",),
            source="measured: on an AVX2 processor torch falls back to a convolution without oneDNN",
            step=0,
        )
