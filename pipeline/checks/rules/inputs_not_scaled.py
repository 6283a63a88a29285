from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pipeline.checks.consequences import AT_INIT, FAILS_TO_GENERALIZE, LEARNING_RATE
from pipeline.checks.finding import Finding, Severity, Signals
from pipeline.validation import number


@dataclass(frozen=True)
class InputsNotScaled:
    """Anti-pattern: raw pixels 0 .. 255 given to a network, a table in its own units, or images divided by 255 twice.

    Rule: the standard deviation of the training inputs, after preprocessing, is of the order of one. Initializations
    assume that: their first outputs, and with them logits and gradients, are proportional to it. Images in [0, 1] have
    0.15 to 0.4, standardized ones 1, raw bytes 60 to 90. A failure only where `failure` is exceeded and no batchnorm
    layer brings the first outputs back to order one.
    """

    min_std: float
    warning: float
    failure: float
    explains: ClassVar[tuple[str, ...]] = ("loss_disagrees", *AT_INIT, *LEARNING_RATE, *FAILS_TO_GENERALIZE)

    def __post_init__(self) -> None:
        number("min_std", self.min_std, above=0)
        number("warning", self.warning, above=self.min_std)
        number("failure", self.failure, at_least=self.warning)

    def __call__(self, signals: Signals) -> Finding | None:
        data = signals.get("data")
        if data is None or data["constant_features"] >= 1:
            return None
        spread = data["inputs"]["train"]["std"]
        if self.min_std <= spread <= self.warning:
            return None
        bare = signals.get("batchnorm_layers") == 0
        severity: Severity = "failure" if bare and spread > self.failure else "warning"
        seen = (
            f"{spread:.3g} times too large: sums saturate or explode, and the first loss is that of wild guesses"
            if spread > self.warning
            else f"{1 / spread if spread > 0 else float('inf'):.3g} times too small: its outputs hardly depend on the "
            "image, and its gradients are as much too small"
        )
        return Finding(
            check="inputs_not_scaled",
            severity=severity,
            measured={"input_std": float(spread), "input_mean": float(data["inputs"]["train"]["mean"])},
            expected=f"a standard deviation of the order of one, between {self.min_std:g} and {self.warning:g}",
            message=f"After preprocessing the training inputs have a standard deviation of {spread:.3g}: what the "
            f"first layer sees is {seen}.",
            why="Stored values were left in their own units (raw pixels 0..255 have 60 to 90), or scaled twice; "
            "data.scale and preprocessing decide. Initializations and learning rates are made for inputs of order one.",
            remedy=("preprocessing=standardize",),
            source="lecture notes, data preprocessing; LeCun et al. 1998, Efficient BackProp, section 4.3",
            step=0,
        )
