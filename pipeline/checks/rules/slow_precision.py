from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.signals.schema import Signals
from pipeline.validation import number


@dataclass(frozen=True)
class SlowPrecision(Rule):
    """Anti-pattern: reduced precision on a device that has no instructions for it, and emulates them.

    Fires when a pass in reduced precision takes more than `max_slowdown` times as long as one in full precision,
    measured on this device with this network and a batch of the data.
    """

    check = "slow_precision"
    reads = ("reduced_pass_seconds", "full_pass_seconds", "precision")
    severities = ("warning",)
    why = (
        "Where a device has no instructions for such numbers (a processor without AVX-512, an older GPU), they are "
        "emulated."
    )
    source = "measured: on an AVX2 processor torch falls back to a convolution without oneDNN"
    remedies = ("trainer.precision=32-true",)
    advice = "Compute in float32, without autocast."
    code = "autocast = torch.autocast(device.type, enabled=False)"

    max_slowdown: float

    def __post_init__(self) -> None:
        number("max_slowdown", self.max_slowdown, at_least=1)

    def __call__(self, signals: Signals) -> Finding | None:
        reduced, full = signals.get("reduced_pass_seconds"), signals.get("full_pass_seconds")
        if reduced is None or not full or not reduced > self.max_slowdown * full:
            return None
        return self.finding(
            "warning",
            measured={"reduced_pass_seconds": float(reduced), "full_pass_seconds": float(full)},
            expected=f"passes in reduced precision that take at most {self.max_slowdown:g} times those in full",
            message=f"{signals['precision']} is {reduced / full:.1f} times slower here than full precision: "
            f"{1000 * reduced:.0f} ms a pass instead of {1000 * full:.0f}.",
            remedy=self.remedies,
            step=0,
        )
