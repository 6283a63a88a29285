from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pipeline.checks.consequences import FAILS_TO_GENERALIZE, LEARNING_RATE
from pipeline.checks.finding import Finding, Signals
from pipeline.validation import number


@dataclass(frozen=True)
class InputsNotCentred:
    """Anti-pattern: inputs that are all of one sign, so that a unit's weights can only grow or shrink together.

    Rule: |mean| / std of the training inputs, after preprocessing, is small. For features of equal mean m and spread s
    the squared error's Hessian has a condition number of about 1 + D (m/s)^2 for D features, and 1 + (m/s)^2 for a
    unit's weight against its bias; centring removes both. Natural images in [0, 1] have m/s of about 2 and train well.
    """

    info: float
    warning: float
    explains: ClassVar[tuple[str, ...]] = (
        "loss_disagrees",
        "saturated_units",
        "dead_units",
        "exploding_activations",
        "initial_loss",
        "input_ignored",
        "unreachable_parameters",
        *LEARNING_RATE,
        *FAILS_TO_GENERALIZE,
    )

    def __post_init__(self) -> None:
        number("info", self.info, above=0)
        number("warning", self.warning, at_least=self.info)

    def __call__(self, signals: Signals) -> Finding | None:
        data = signals.get("data")
        if data is None:
            return None
        mean, spread = data["inputs"]["train"]["mean"], data["inputs"]["train"]["std"]
        if not spread > 0 or abs(mean) <= self.info * spread:
            return None
        ratio = abs(mean) / spread
        return Finding(
            check="inputs_not_centred",
            severity="warning" if ratio > self.warning else "info",
            measured={"input_mean": float(mean), "input_std": float(spread), "ratio": ratio},
            expected=f"a mean within {self.info:g} standard deviations of zero",
            message=f"The training inputs have mean {mean:.3g} and standard deviation {spread:.3g}: what all images "
            f"have in common is {ratio:.3g} times as large as what tells them apart.",
            why="With inputs of one sign the gradients of a unit's weights have one sign too, and descent zigzags: "
            "the problem's condition number grows with 1 + (mean/std)^2.",
            remedy=("preprocessing=channel_mean",),
            source="lecture notes, data preprocessing; LeCun et al. 1998, Efficient BackProp, section 4.3",
            step=0,
        )
