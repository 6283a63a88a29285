"""Which checks could not judge a run, and why: no finding is a good sign only where something was measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.checks.measured import NotMeasured, apply_rule
from pipeline.checks.rule import Rule
from pipeline.signals.schema import STAGES, stages_with

TRAINING_NEEDS = ("epochs_planned", "classes", "losses")
"""Needs of the rules that read `Training.from_signals`."""
FINISHED_NEEDS = ("not exploded", "not nonfinite", "not running", *TRAINING_NEEDS, "epochs.loss")
"""Needs of the rules that read `Training.if_finished`."""
LOSS_NEEDS = ("not exploded", "not nonfinite", "not running", "epochs_planned", "losses", "epochs.loss")
"""Needs of the rules that read the loss alone, of any kind of training."""
GAP_NEEDS = (*FINISHED_NEEDS, "epochs.probe_accuracy", "epochs.val_accuracy")
"""Needs of the rules that read `Training.gap`."""

REASONS = {
    "not exploded": "the training was broken off",
    "not nonfinite": "a number was not finite",
    "not running": "the training is not over",
    "classes": "the number of classes is unknown",
    "losses": "no step was made",
    "epochs.loss": "no epoch was completed",
    "epochs.lr": "the learning rate of the epochs is unknown",
    "schedule_moves|epochs.lr": "the learning rates are unknown",
    "schedule_mode|epochs.lr": "the learning rates are unknown",
    "epochs.val_accuracy": "there is no validation accuracy",
    "epochs.val_loss": "there is no validation loss",
    "epochs.probe_accuracy": "training examples were not measured in evaluation mode",
    "eval_loss|epochs.probe_accuracy": "training examples were not measured in evaluation mode",
    "epochs.probe_accuracy|epochs.accuracy": "there is no accuracy on training examples",
    "rewarded_labels|perfect_probability_loss|accuracies": "there is no accuracy of the training's steps",
    "data.augmented": "the training images are not augmented",
    "data.crop": "no image is cropped",
    "data.neighbours": "images were not compared with those most like them",
    "data.channel_orders": "the images do not have two to four channels",
    "data.layouts": "the pixels of an image have no other order",
    "data.near_copies": "there are fewer than 200 training images, or they are smaller than 12 pixels",
    "data.shared_groups": "no groups of examples are given",
    "data.transparency": "no image has transparency",
    "data.turns": "rows of a table cannot be turned",
    "samples": "nothing was recorded inside the network",
    "samples.weights": "nothing was recorded inside the network",
    "units.dead": "nothing was recorded inside the network",
    "activations.name": "the network has no activation layers that are known",
    "gradients.name": "the network has no weight layers",
    "expected_first_loss": "the loss of a guess is unknown",
    "penalized_losses": "no L2 penalty is configured",
    "fit_loss": "the network was not tried on a few examples, since no gradient arrives or a number is not finite",
    "reduced_pass_seconds": "nothing is computed in reduced precision on a device that may have to emulate it",
    "graph_steps|graph_refused": "the training did not run on a GPU",
}
"""Why a need is not met, in words; what is not in the list is named by its key."""


@dataclass(frozen=True)
class NotChecked:
    """A check that could not judge, as an entry of `not_checked` in outcome.json."""

    check: str
    """Its key in conf/checks/."""
    reason: str

    def to_dict(self) -> dict[str, str]:
        """Return the fields as plain JSON values."""
        return asdict(self)


def list_not_checked(
    rules: Mapping[str, Rule], signals_by_stage: Mapping[str, Mapping[str, Any]]
) -> tuple[NotChecked, ...]:
    """Return the checks for which no stage measured all that they need, in the order of `rules`.

    `signals_by_stage` has the signals of each stage that ran, as signals.json has.
    """
    reasons = {name: _reason(rule, signals_by_stage) for name, rule in rules.items()}
    return tuple(NotChecked(name, reason) for name, reason in reasons.items() if reason)


def group_by_reason(entries: Iterable[NotChecked]) -> dict[str, tuple[str, ...]]:
    """Return the checks of each reason; the reason of the most checks comes first."""
    groups: dict[str, tuple[str, ...]] = {}
    for entry in entries:
        groups[entry.reason] = (*groups.get(entry.reason, ()), entry.check)
    return dict(sorted(groups.items(), key=lambda item: -len(item[1])))


def _reason(rule: Rule, signals_by_stage: Mapping[str, Mapping[str, Any]]) -> str:
    """Return why the rule cannot judge any of the stages, or "" if it can judge one."""
    needs = rule.needs or rule.reads[:1]
    unmet = {stage: next((n for n in needs if not _is_met(n, rule, s)), "") for stage, s in signals_by_stage.items()}
    lacking = [_missing_signal(rule, stage, signals_by_stage[stage]) for stage, need in unmet.items() if not need]
    if lacking:
        return "" if "" in lacking else lacking[0]
    home = [stage for stage in STAGES if all(_may_meet(need, stage) for need in needs)]
    ran, absent = [stage for stage in home if stage in unmet], [stage for stage in home if stage not in unmet]
    if ran and not (absent and "|" in unmet[ran[0]]):  # what one stage lacks, another that did not run might have
        return _explain(unmet[ran[0]], rule, ran[0], signals_by_stage[ran[0]])
    return f"{absent[-1] if absent else 'its stage'} did not run"


def _missing_signal(rule: Rule, stage: str, signals: Mapping[str, Any]) -> str:
    """Return which signal the rule asks for in vain although its needs are met, in words; "" if it can judge."""
    try:
        apply_rule(rule, signals)
    except NotMeasured as error:
        return f"{stage} did not measure {error.args[0]}"
    return ""


def _may_meet(need: str, stage: str) -> bool:
    """Return whether the signals of a stage may have what the need names."""
    names = need.removeprefix("not ").partition(">=")[0].split("|")
    return need.startswith("not ") or any(stage in stages_with(name.partition(".")[0]) for name in names)


def _is_met(need: str, rule: Rule, signals: Mapping[str, Any]) -> bool:
    if need.startswith("not "):
        return not signals.get(need.removeprefix("not "))
    name, _, threshold = need.partition(">=")
    values = [value for choice in name.split("|") if (value := _look_up(choice, signals)) is not None]
    return any(len(value) >= getattr(rule, threshold) for value in values) if threshold else bool(values)


def _look_up(choice: str, signals: Mapping[str, Any]) -> Any:
    """Return the value of a key, or the part of a table if it has an entry; None where there is none."""
    key, _, part = choice.partition(".")
    value = signals.get(key)
    return (value or {}).get(part) or None if part else value


def _explain(need: str, rule: Rule, stage: str, signals: Mapping[str, Any]) -> str:
    if stage == "sanity" and "output_shape" in signals and "first_loss" not in signals:
        return "the network's output has the wrong shape"
    name, _, threshold = need.partition(">=")
    if threshold:
        return f"it takes {getattr(rule, threshold)} {'epochs' if name.startswith('epochs') else 'steps'} or more"
    return REASONS.get(need, f"{stage} did not measure {need.replace('|', ' or ')}")
