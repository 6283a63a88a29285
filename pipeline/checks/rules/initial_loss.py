from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.consequences import FAILS_TO_GENERALIZE
from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.signals.schema import Signals
from pipeline.validation import number


@dataclass(frozen=True)
class InitialLoss(Rule):
    """Anti-pattern: a network that is certain of its answers before it has seen any image.

    Fires when the first loss, without regularization, is more than `warning` above the loss of a guess, or more than
    `warning_below` below it, both relative to the latter; above `failure` it is a failure. A guess has a loss of ln C
    in cross-entropy, C - 1 in the hinge loss and 1/C in squared error. Independent logits of standard deviation s
    exceed ln C by about s^2/2, since E[exp(z)] = exp(s^2/2) for z ~ N(0, s^2).
    """

    check = "initial_loss"
    reads = ("expected_first_loss", "first_loss", "logit_std", "ignored_keys")
    needs = ("expected_first_loss", "first_loss")
    severities = ("failure", "warning")
    why = (
        "The first epochs are spent on unlearning wrong certainty, or the loss is computed wrongly: from probabilities "
        "instead of logits, as a sum instead of a mean, or with a wrong number of outputs."
    )
    source = "lecture notes, step 3: double check that the loss is reasonable"
    remedies = ("init=he", "init.output_scale=0.1")
    advice = "Begin with small weights in the last layer, and give its outputs to the loss as they are."
    code = "nn.init.normal_(output_layer.weight, std=0.01)"
    explains = ("input_ignored", *FAILS_TO_GENERALIZE)

    warning: float
    warning_below: float
    failure: float

    def __post_init__(self) -> None:
        number("warning", self.warning, above=0)
        number("warning_below", self.warning_below, above=0, at_most=1)
        number("failure", self.failure, at_least=self.warning)

    def __call__(self, signals: Signals) -> Finding | None:
        loss, expected = signals.get("first_loss"), signals.get("expected_first_loss")
        if loss is None or expected is None or not expected > 0:
            return None
        is_above = loss > expected
        deviation = abs(loss - expected) / expected
        if deviation <= (self.warning if is_above else self.warning_below):
            return None
        std = signals["logit_std"]
        # no init draws the weights behind the logits
        is_out_of_reach = {"init", "init.output_scale"} <= set(signals.get("ignored_keys") or ())
        reason = (
            f"The logits have a standard deviation of {std:.3g} before training; s^2/2 = {std * std / 2:.3g}."
            if is_above
            else "It is below chance: labels leak into the input, or the loss is another one than expected."
        )
        return self.finding(
            "failure" if deviation > self.failure else "warning",
            measured={"first_loss": loss, "logit_std": std},
            expected=f"{expected:.4g}, at most {self.warning:.0%} above and {self.warning_below:.0%} below",
            message=f"The first loss is {loss:.4g} where chance gives {expected:.4g}. {reason}",
            remedy=self.remedies if is_above and not is_out_of_reach else (),
            advice="Let the outputs begin near zero: with small weights in the last layer, or a smaller factor on them."
            if is_above and is_out_of_reach
            else None,
            code="logits = scale * cosine  # scale near 1 in the beginning, as a parameter that is learned"
            if is_above and is_out_of_reach
            else None,
            step=0,
        )
