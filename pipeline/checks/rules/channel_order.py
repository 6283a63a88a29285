from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.signals.schema import ChannelOrder as Fit
from pipeline.signals.schema import Signals
from pipeline.validation import number


@dataclass(frozen=True)
class ChannelOrder(Rule):
    """Anti-pattern: one split read by another library, whose colours come in another order (RGB and BGR).

    Fires when the colours of a split do not fit those of training, class by class, by `sigmas` standard deviations of
    the chi-squared distance, and a reordering of the channels of at least `min_share` of its images mends it: the
    distance falls by as much, and all but `max_left` of the excess is gone (or what is left is within `sigmas`). Other
    light, other cameras and grey images change colours too, but no reordering mends that. Above `failure` of the
    images it is a failure.
    """

    check = "channel_order"
    reads = ("data",)
    needs = ("data.channel_orders",)
    severities = ("failure", "warning")
    why = (
        "A network that knows red apples meets blue ones. OpenCV reads files as BGR, Pillow and torchvision as RGB; "
        "whoever loads one split with the one and another with the other scores colours that were never trained."
    )
    source = "OpenCV documentation, imread (channels are stored in B G R order); Hotelling 1931 (the distance)"
    advice = "Read all splits with the same library, or put the channels of this split into training's order."
    code = "images = images[:, [2, 1, 0]]"
    explains = (
        "split_shift",
        "label_noise",
        "train_eval_mismatch",
        "overfitting",
        "undertrained",
        "underfitting",
    )

    sigmas: float
    max_left: float
    min_share: float
    failure: float

    def __post_init__(self) -> None:
        number("sigmas", self.sigmas, above=0)
        number("max_left", self.max_left, above=0, below=1)
        number("min_share", self.min_share, above=0, below=1)
        number("failure", self.failure, at_least=self.min_share, at_most=1)

    def __call__(self, signals: Signals) -> Finding | None:
        data = signals.get("data")
        if data is None:
            return None
        reordered = {split: fit for split, fit in data.get("channel_orders", {}).items() if self._is_reordered(fit)}
        if not reordered:
            return None
        worst = max(reordered, key=lambda split: reordered[split]["share"])
        fit = reordered[worst]
        order, share = fit["order"], fit["share"]
        back = [order.index(channel) for channel in range(len(order))]
        amount = "" if share > 0.9 else f"About {share:.0%} of "
        return self.finding(
            "failure" if share > self.failure else "warning",
            measured={
                "share": share,
                "distance": fit["unchanged_distance"],
                "reordered_distance": fit["distance"],
                "expected_distance": fit["expected_distance"],
            },
            expected=f"colours of each class that fit training's as they are: a distance of "
            f"{fit['expected_distance']:.0f} +- {math.sqrt(max(2 * fit['expected_distance'], 0.0)):.0f}",
            message=f"{amount}{'T' if not amount else 't'}he {worst} images have their channels in another order: "
            f"channels {_list(range(len(order)))} hold training's {_list(order)}. Their colours are at a distance of "
            f"{fit['unchanged_distance']:.0f} from training's, reordered at {fit['distance']:.0f}.",
            where=worst,
            step=0,
            code=f"x_{worst} = x_{worst}[:, {back}]  # (N, C, H, W)",
        )

    def _is_reordered(self, fit: Fit) -> bool:
        expected = fit["expected_distance"]
        beyond_chance = self.sigmas * math.sqrt(max(2 * expected, 0.0))
        excess, left = fit["unchanged_distance"] - expected, max(fit["distance"] - expected, 0.0)
        return (
            fit["share"] >= self.min_share
            and min(excess, fit["unchanged_distance"] - fit["distance"]) > beyond_chance
            and left <= max(self.max_left * excess, beyond_chance)
        )


def _list(channels: Iterable[int]) -> str:
    return ", ".join(map(str, channels))
