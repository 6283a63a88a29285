from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.consequences import FAILS_TO_GENERALIZE
from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.errors import list_names
from pipeline.signals.schema import Signals

MOST = 0.5
"""Share of a loop's passes above which their mode is no exception."""


@dataclass(frozen=True)
class WrongMode(Rule):
    """Anti-pattern: a network whose `train` or `eval` was overridden so that batchnorm or dropout stays in one mode.

    Fires when, after `network.eval()`, a module is still in training mode whose result depends on it. It is a warning
    when, after `network.train()`, dropout is off, or batchnorm with trained gamma and beta uses running statistics that
    are still 0 and 1; with other statistics, as of a pretrained network, it is `info`. Batchnorm whose gamma and beta
    are frozen may stay in evaluation mode. In a watched loop it fires when most steps are made in evaluation mode, or
    most passes without gradients in training mode, and the network has dropout or batchnorm.
    """

    check = "wrong_mode"
    reads = (
        "training_in_evaluation",
        "evaluation_in_training",
        "unused_statistics",
        "mode_modules",
        "steps_in_evaluation_mode",
        "evaluations_in_training_mode",
    )
    needs = ("training_in_evaluation|mode_modules",)
    severities = ("failure", "warning", "info")
    why = (
        "Batchnorm in training mode answers by the other images of a batch and goes on changing its statistics on "
        "validation images; dropout in training mode throws away a part of the answer. In evaluation mode neither does "
        "what it is there for: statistics of 0 and 1 normalize nothing. Where it is meant, switch the check off: "
        "checks.rules.wrong_mode=null."
    )
    source = "torch.nn.Module.train and eval: they set the mode of all submodules"
    advice = "Let train() and eval() reach every module; override train() only to freeze modules, and call super()."
    code = "def train(self, mode=True): return super().train(mode)"
    explains = (
        "random_evaluation",
        "batch_leak",
        "small_batch_batchnorm",
        "over_regularized",
        *FAILS_TO_GENERALIZE,
    )

    def __call__(self, signals: Signals) -> Finding | None:
        training = list(signals.get("training_in_evaluation", ()))
        evaluating = list(signals.get("evaluation_in_training", ()))
        unused = list(signals.get("unused_statistics", ()))
        if not training and not evaluating:
            return self._in_loop(signals)
        if training:
            message = f"After network.eval() still in training mode: {list_names(training)}."
        elif unused:
            message = f"After network.train() still in evaluation mode, without effect: {list_names(unused)}."
        else:
            message = (
                f"After network.train() still in evaluation mode: {list_names(evaluating)}. Gamma and beta are trained "
                "and the statistics are not."
            )
        names = training or unused or evaluating
        return self.finding(
            "failure" if training else "warning" if unused else "info",
            measured={"training_in_evaluation": float(len(training)), "evaluation_in_training": float(len(evaluating))},
            expected="modules that follow network.train() and network.eval()",
            message=message,
            where=names[0].partition(" (")[0],
            step=0,
        )

    def _in_loop(self, signals: Signals) -> Finding | None:
        steps = signals.get("steps_in_evaluation_mode", 0.0)
        evaluations = signals.get("evaluations_in_training_mode", 0.0)
        if max(steps, evaluations) <= MOST:
            return None
        names = list(signals.get("mode_modules", ()))
        what = f"{steps:.0%} of the steps were made in evaluation mode"
        cure = ("Switch to training mode before the steps of each epoch.", "model.train()")
        if evaluations > MOST:
            what = f"{evaluations:.0%} of the passes without gradients were made in training mode"
            cure = ("Switch to evaluation mode before validation, and back after it.", "model.eval()")
        return self.finding(
            "failure",
            measured={"steps_in_evaluation_mode": steps, "evaluations_in_training_mode": evaluations},
            expected="steps in training mode, and validation in evaluation mode",
            message=f"{what}, and these modules depend on the mode: {list_names(names)}.",
            where=names[0] if names else None,
            advice=cure[0],
            code=cure[1],
        )
