from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.consequences import FAILS_TO_GENERALIZE, LEARNING_RATE
from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.signals.schema import Signals
from pipeline.validation import number


@dataclass(frozen=True)
class InputsNotCentred(Rule):
    """Anti-pattern: inputs that all have one sign, so that a unit's weights can only grow or shrink together.

    Fires when |mean| / standard deviation of the preprocessed training inputs exceeds `info` (a hint) or `warning`.
    For features of equal mean m and standard deviation s the squared error's Hessian has a condition number of about
    1 + D (m/s)^2 for D features, and 1 + (m/s)^2 for a unit's weight against its bias; centring removes both. Natural
    images in [0, 1] have m/s of about 2 and train well.
    """

    check = "inputs_not_centred"
    reads = ("data",)
    severities = ("warning", "info")
    why = (
        "With inputs of one sign the gradients of a unit's weights have one sign too, and descent zigzags: the "
        "problem's condition number grows with 1 + (mean/std)^2."
    )
    source = "lecture notes, data preprocessing; LeCun et al. 1998, Efficient BackProp, section 4.3"
    remedies = ("preprocessing=channel_mean",)
    advice = "Subtract the mean of the training examples from the examples of every split."
    code = "images = images - train_images.mean(dim=(0, 2, 3), keepdim=True)"
    explains = (
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

    info: float
    warning: float

    def __post_init__(self) -> None:
        number("info", self.info, above=0)
        number("warning", self.warning, at_least=self.info)

    def __call__(self, signals: Signals) -> Finding | None:
        data = signals.get("data")
        if data is None:
            return None
        mean, std = data["inputs"]["train"]["mean"], data["inputs"]["train"]["std"]
        if not std > 0 or abs(mean) <= self.info * std:
            return None
        ratio = abs(mean) / std
        return self.finding(
            "warning" if ratio > self.warning else "info",
            measured={"input_mean": float(mean), "input_std": float(std), "ratio": ratio},
            expected=f"a mean within {self.info:g} standard deviations of zero",
            message=f"The training inputs have mean {mean:.3g} and standard deviation {std:.3g}: what all "
            f"examples have in common is {ratio:.3g} times as large as what tells them apart.",
            remedy=self.remedies,
            step=0,
        )
