from __future__ import annotations

import math
from dataclasses import dataclass

from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.signals.schema import Signals, Turn
from pipeline.validation import number


@dataclass(frozen=True)
class TurnedImages(Rule):
    """Anti-pattern: one split whose images were saved turned, upside down, mirrored or transposed.

    Fires when, after a turn by quarters or a mirroring, more than `min_gain` more of the images of the validation or
    test split have the label of the nearest training image, by `sigmas` standard errors (McNemar), and most images
    are then nearer to a training image, as surely. Images that look alike from all sides are silent, and so are classes
    that are each other's mirror images, where numbering them the other way round has the same effect. It is a failure
    where, as they are, the images keep less than `min_kept` of the agreement above chance.
    """

    check = "turned_images"
    reads = ("data",)
    needs = ("data.turns",)
    severities = ("failure", "warning")
    why = (
        "What a network learned about images in one position says little about the same images in another, so the "
        "score of this split is that of another task. Usual causes: rows and columns exchanged by a reader of arrays, "
        "an origin at the bottom left, the orientation in a photograph's EXIF data."
    )
    source = "McNemar 1947 (paired comparison); EMNIST and MATLAB files, which store images transposed"
    advice = "Load all splits by the same code, and look at some images of each."
    code = "x_test = x_test.transpose(0, 2, 1)"
    explains = ("label_noise", "test_below_validation")

    min_gain: float
    min_kept: float
    sigmas: float

    def __post_init__(self) -> None:
        number("min_gain", self.min_gain, at_least=0, below=1)
        number("min_kept", self.min_kept, at_least=0, at_most=1)
        number("sigmas", self.sigmas, above=0)

    def __call__(self, signals: Signals) -> Finding | None:
        data = signals.get("data", {})
        turned = {split: turn for split, turn in data.get("turns", {}).items() if self._is_turned(turn)}
        if not turned:
            return None
        worst = max(turned, key=lambda split: turned[split]["turned_agreement"] - turned[split]["agreement"])
        turn, chance = turned[worst], data["neighbours"][worst]["chance"]
        before, after = turn["agreement"], turn["turned_agreement"]
        return self.finding(
            "failure" if before - chance < self.min_kept * (after - chance) else "warning",
            measured={
                "agreement": before,
                "turned_agreement": after,
                "nearer": turn["nearer"],
                "examples": float(turn["examples"]),
            },
            expected="images that lie as those of training do",
            message=f"Of {turn['examples']} {worst} images {before:.1%} have the label of the nearest training image, "
            f"and {after:.1%} after {turn['turn']}; {turn['nearer']:.0%} are nearer to one then.",
            where=worst,
            step=0,
        )

    def _is_turned(self, turn: Turn) -> bool:
        gained, lost = turn["turned_only"], turn["unturned_only"]
        gains = gained - lost > max(self.min_gain * turn["examples"], self.sigmas * math.sqrt(gained + lost))
        return gains and turn["nearer"] - 0.5 > self.sigmas * 0.5 / math.sqrt(turn["examples"])
