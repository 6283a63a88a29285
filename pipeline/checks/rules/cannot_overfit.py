from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.checks.training_curves import lr_remedy, to_floats
from pipeline.signals.schema import Signals
from pipeline.validation import number


@dataclass(frozen=True)
class CannotOverfit(Rule):
    """Anti-pattern: training for hours what cannot even memorize a few examples.

    Fires when a very small part of the training data, with all regularization off, is not learned within the budget:
    the loss stays above the target or an example stays wrong. If every example is right and the loss is below
    `near_loss_ratio` of the first one, or below `still_falling_ratio` of the loss half way, only the budget was short:
    plain gradient descent is slow at the end, and the finding is `info`. Silent where another learning rate reaches the
    target, since then the rate is at fault and not the network.
    """

    check = "cannot_overfit"
    reads = (
        "overfit_reached",
        "overfit_loss",
        "overfit_target",
        "overfit_first_loss",
        "overfit_best_loss",
        "overfit_wrong",
        "overfit_examples",
        "overfit_steps",
        "overfit_other_rate",
        "losses",
        "lr",
    )
    severities = ("failure", "info")
    why = (
        "A network that cannot memorize a few examples is wired wrongly, is too small, or has a learning rate with "
        "which it cannot learn anything."
    )
    source = "lecture notes, step 4: overfit a very small portion of the training data"
    remedies = (
        "init=he",
        "activation=relu",
        "batchnorm=before_activation",
        "optimizer.lr=...",
        "stages.overfit.steps=...",
    )
    advice = "Fit one batch with a plain loop, and look for a layer that is cut off, saturated or too narrow."
    code = "for _ in range(1000): optimizer.zero_grad(); loss_fn(model(x), y).backward(); optimizer.step()"
    explains = ("late_start", "loss_plateau", "undertrained", "underfitting")

    near_loss_ratio: float
    still_falling_ratio: float

    def __post_init__(self) -> None:
        number("near_loss_ratio", self.near_loss_ratio, at_least=0, below=1)
        number("still_falling_ratio", self.still_falling_ratio, at_least=0, below=1)

    def __call__(self, signals: Signals) -> Finding | None:
        if signals.get("overfit_reached", True) or signals.get("overfit_other_rate") is not None:
            return None
        loss, target, first = signals["overfit_loss"], signals["overfit_target"], signals["overfit_first_loss"]
        wrong, examples, steps = signals.get("overfit_wrong"), signals["overfit_examples"], signals["overfit_steps"]
        losses = to_floats(signals.get("losses", ()))
        half = losses[len(losses) // 2] if losses else 0.0
        nearly = not wrong and 0 <= loss <= max(self.near_loss_ratio * first, self.still_falling_ratio * half)
        reason, remedy = ("The budget was too short.", _more_steps(steps)) if nearly else _reason(signals)
        return self.finding(
            "info" if nearly else "failure",
            measured={
                "loss": loss,
                **({} if wrong is None else {"wrong": float(wrong)}),
                "steps": float(steps),
                "best_loss": signals["overfit_best_loss"],
            },
            expected=f"loss below {target:g}{'' if wrong is None else f' and all {examples} examples right'} within "
            f"{steps} steps",
            message=f"Stuck at loss {loss:.4g} {'on' if wrong is None else f'with {wrong} of'} {examples} examples "
            f"{'' if wrong is None else 'wrong '}after {steps} steps (it began at {first:.4g}). {reason}",
            remedy=remedy,
            step=steps,
        )


def _reason(signals: Signals) -> tuple[str, tuple[str, ...]]:
    """Return what the shape of the curve says, and what may cure it."""
    loss, first, steps = signals["overfit_loss"], signals["overfit_first_loss"], signals["overfit_steps"]
    if loss > first:
        return "The loss went up: the learning rate is too high.", lr_remedy(signals, 0.1)
    losses = to_floats(signals.get("losses", ()))
    half = losses[len(losses) // 2] if losses else first
    if losses and half - loss <= 0.02 * first:
        if loss > 0.5 * first:
            return (
                "It stopped falling early: no gradient that tells the examples apart reaches the weights.",
                ("init=he", "activation=relu", "batchnorm=before_activation"),
            )
        return "It stopped falling: the network is too small, or units died.", lr_remedy(signals, 0.1)
    if loss > 0.5 * first:
        return "It falls steadily and slowly: the learning rate is too low.", lr_remedy(signals, 10.0)
    return "It was still falling.", _more_steps(steps)


def _more_steps(steps: int) -> tuple[str, ...]:
    return (f"stages.overfit.steps={4 * steps}",)
