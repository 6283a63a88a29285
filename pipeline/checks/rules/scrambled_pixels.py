from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.checks.consequences import FAILS_TO_GENERALIZE
from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.signals.schema import Layout, Signals
from pipeline.validation import number


@dataclass(frozen=True)
class ScrambledPixels(Rule):
    """Anti-pattern: images reshaped where they should be transposed, so that neighbours in the array are none in it.

    Fires when reading the same values in another order of height, width and channels makes neighbouring pixels at
    least `warning` times more alike (mean squared difference), in more than half of the images by `sigmas` binomial
    standard errors, and gives smooth images (a roughness of at most `max_roughness`; noise has 1). From `failure`
    times on it is a failure. Channels that are alike at every place are where they belong: silent above a correlation
    of `max_correlation` if each channel would hold another part of the picture (an array (H, W, C) reshaped), above
    `grey_correlation` if the channels would be mixed otherwise.
    """

    check = "scrambled_pixels"
    reads = ("data",)
    needs = ("data.layouts",)
    severities = ("failure", "warning")
    why = (
        "A convolution looks for edges and shapes among neighbours. A reshape keeps the order of the values and only "
        "renames the axes, so rows and channels are torn apart; a transpose moves the values."
    )
    source = "NumPy documentation, reshape and transpose; Simoncelli and Olshausen 2001, Natural image statistics"
    advice = "Move the axes with a transpose where the array was reshaped."
    code = "x = x.reshape(N, H, W, C).transpose(0, 3, 1, 2)"
    explains = (
        "channel_order",
        "split_shift",
        "near_duplicates",
        "label_noise",
        *FAILS_TO_GENERALIZE,
    )

    warning: float
    failure: float
    max_roughness: float
    max_correlation: float
    grey_correlation: float
    sigmas: float

    def __post_init__(self) -> None:
        number("warning", self.warning, above=1)
        number("failure", self.failure, at_least=self.warning)
        number("max_roughness", self.max_roughness, above=0, below=1)
        number("max_correlation", self.max_correlation, above=0, at_most=1)
        number("grey_correlation", self.grey_correlation, at_least=self.max_correlation, at_most=1)
        number("sigmas", self.sigmas, above=0)

    def __call__(self, signals: Signals) -> Finding | None:
        data = signals.get("data")
        if data is None:
            return None
        scrambled = {split: _gain(layout) for split, layout in data.get("layouts", {}).items() if self._is_one(layout)}
        if not scrambled:
            return None
        worst = max(scrambled, key=lambda split: scrambled[split])
        layout, gain = data["layouts"][worst], scrambled[worst]
        where = "all splits" if len(scrambled) == len(data["layouts"]) else f"the {' and '.join(scrambled)} split"
        listed, taken = layout["reading"]
        return self.finding(
            "failure" if gain >= self.failure else "warning",
            measured={
                "roughness": layout["roughness"],
                "reread_roughness": layout["reread_roughness"],
                "smoother": layout["smoother"],
            },
            expected="neighbouring pixels that are as alike as in any other reading of the same values",
            message=f"The images of {where} are scrambled: neighbouring pixels differ {gain:.3g} times as much (mean "
            f"square) as when the same values, listed by {_axes(listed)}, are taken for {_axes(taken)}. The array was "
            "reshaped where it should have been transposed.",
            where=worst,
            step=0,
            code=_rereading(listed, taken, layout["shape"]),
        )

    def _is_one(self, layout: Layout) -> bool:
        listed, taken = layout["reading"]
        are_mixed = listed[0] != "C" or taken[0] != "C"
        limit = self.max_correlation if listed[0] == "C" else self.grey_correlation
        if are_mixed and layout["channel_correlation"] > limit:
            return False
        return (
            layout["reread_roughness"] <= self.max_roughness
            and _gain(layout) >= self.warning
            and layout["smoother"] - 0.5 > self.sigmas * 0.5 / math.sqrt(layout["examples"])
        )


def _gain(layout: Layout) -> float:
    smooth = layout["reread_roughness"]
    return layout["roughness"] / smooth if smooth > 0 else float(layout["roughness"] > 0) * math.inf


def _axes(order: str) -> str:
    return "(" + ", ".join({"C": "channel", "H": "row", "W": "column"}[axis] for axis in order) + ")"


def _rereading(listed: str, taken: str, shape: Sequence[int]) -> str:
    """Return the line of code that brings the values back to (N, C, H, W)."""
    sizes = dict(zip("CHW", shape, strict=True))
    first = "" if listed == "CHW" else f".transpose(0, {', '.join(str(1 + 'CHW'.index(axis)) for axis in listed)})"
    last = "" if taken == "CHW" else f".transpose(0, {', '.join(str(1 + taken.index(axis)) for axis in 'CHW')})"
    return f"x = x{first}.reshape(len(x), {', '.join(str(sizes[axis]) for axis in taken)}){last}"
