from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.consequences import AT_INIT, FAILS_TO_GENERALIZE, LEARNING_RATE
from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.signals.schema import Signals
from pipeline.validation import number


@dataclass(frozen=True)
class InputsNotScaled(Rule):
    """Anti-pattern: raw pixels 0 .. 255 given to a network, a table in its own units, or images divided by 255 twice.

    Fires when the standard deviation of the preprocessed training inputs is below `min_std` or above `warning`. It is
    a failure above `failure` where no batchnorm layer brings the first outputs back to order one. Initializations
    assume inputs of order one: the first outputs, and with them logits and gradients, are proportional to them. Images
    in [0, 1] have 0.15 to 0.4, standardized ones 1, raw bytes 60 to 90.
    """

    check = "inputs_not_scaled"
    reads = ("data", "batchnorm_layers")
    severities = ("failure", "warning")
    why = (
        "Stored values were left in their own units (raw pixels 0..255 have 60 to 90) or scaled twice; `data.scale` "
        "and `preprocessing` decide. Initializations and learning rates are made for inputs of order one."
    )
    source = "lecture notes, data preprocessing; LeCun et al. 1998, Efficient BackProp, section 4.3"
    remedies = ("preprocessing=standardize",)
    advice = "Bring the inputs to a standard deviation of about one."
    code = "images = (images - train_images.mean()) / train_images.std()"
    explains = ("loss_disagrees", *AT_INIT, *LEARNING_RATE, *FAILS_TO_GENERALIZE)

    min_std: float
    warning: float
    failure: float

    def __post_init__(self) -> None:
        number("min_std", self.min_std, above=0)
        number("warning", self.warning, above=self.min_std)
        number("failure", self.failure, at_least=self.warning)

    def __call__(self, signals: Signals) -> Finding | None:
        data = signals.get("data")
        if data is None or data["constant_features"] >= 1:
            return None
        std = data["inputs"]["train"]["std"]
        if self.min_std <= std <= self.warning:
            return None
        has_no_batchnorm = signals.get("batchnorm_layers") == 0
        effect = (
            f"{std:.3g} times too large: sums saturate or explode, and the first loss is that of wild guesses"
            if std > self.warning
            else f"{1 / std if std > 0 else float('inf'):.3g} times too small: its outputs hardly depend on the image, "
            "and its gradients are as much too small"
        )
        return self.finding(
            "failure" if has_no_batchnorm and std > self.failure else "warning",
            measured={"input_std": float(std), "input_mean": float(data["inputs"]["train"]["mean"])},
            expected=f"a standard deviation of the order of one, between {self.min_std:g} and {self.warning:g}",
            message=f"After preprocessing the training inputs have a standard deviation of {std:.3g}: the input of the "
            f"first layer is {effect}.",
            remedy=self.remedies,
            step=0,
        )
